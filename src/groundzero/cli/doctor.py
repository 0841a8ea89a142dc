"""`gz doctor`: what could go wrong with this installation, before it does; and with a run, after it was trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from groundzero.cli.checkpoint_option import CheckpointOption, step_of

FAILURE = 1
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "failed": "bold red"}


class Finding(Protocol):
    """One line of the verdict, about the installation or a run."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def remedy(self) -> str: ...


def command(
    run: Annotated[Path | None, typer.Option("--run", help="Check this run, and not the installation.")] = None,
    checkpoint: CheckpointOption = "best",
    device: Annotated[str, typer.Option("--device", help="Where the run's network computes.")] = "cpu",
    folder: Annotated[Path, typer.Option("--dir", help="Check disk space and permissions here.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check versions, libraries with known vulnerabilities, compiler, disk, memory and permissions.

    With --run, check a run instead: files, tokenizer and text belong together; the shape of every layer; attention
    rows sum to one; nothing looks ahead; the cache changes nothing; gradients reach every block; temperature 0 is
    deterministic.

    Exit code 1 when something must be mended; warnings alone exit 0.

    Examples:

    gz doctor

    gz doctor --run runs/book
    """
    sound = _run(run, step_of(checkpoint), device, as_json) if run is not None else _installation(folder, as_json)
    if not sound:
        raise typer.Exit(FAILURE)


def _installation(folder: Path, as_json: bool) -> bool:
    from groundzero.cli.checks import examine  # noqa: PLC0415 - imports every dependency
    from groundzero.cli.output import emit  # noqa: PLC0415

    checks = examine(folder)
    counts = {status: sum(check.status == status for check in checks) for status in ("ok", "warning", "error")}
    payload = {"ok": not counts["error"], **counts, "checks": [vars(check) for check in checks]}
    emit(payload, as_json, lambda: print_findings(checks))
    return not counts["error"]


def _run(run: Path, step: Any, device: str, as_json: bool) -> bool:
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.cli.run_report import print_report  # noqa: PLC0415
    from groundzero.evaluate.doctor import examine_run  # noqa: PLC0415 - PyTorch takes a second to import

    with _told() as tell:
        report = examine_run(run, step=step, device=device, progress=tell)
    emit(report.as_json(), as_json, lambda: print_report(report))
    return report.ok


@contextmanager
def _told() -> Iterator[Callable[[str], object]]:
    """Say on a terminal what is examined; a large network takes its time."""
    from groundzero.cli.output import console  # noqa: PLC0415

    if not sys.stderr.isatty():
        yield lambda what: None
        return
    with console(to_stderr=True).status("Examining") as status:
        yield lambda what: status.update(f"Examining {what}")


def print_findings(checks: Iterable[Finding]) -> None:
    """A table of verdicts."""
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import console, table  # noqa: PLC0415

    rows = [
        (check.name, Text(check.status, style=_STYLES[check.status]), f"{check.message} {check.remedy}".rstrip())
        for check in checks
    ]
    console().print(table(("Check", "Verdict", "Finding"), rows))
