"""`gz doctor`: what could go wrong with this installation, before it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from groundzero.cli.checks import Check

FAILURE = 1


def command(
    folder: Annotated[Path, typer.Option("--dir", help="Check disk space and permissions here.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check versions, libraries with known vulnerabilities, compiler, disk, memory and permissions.

    Exit code 1 when something must be mended before training can work; warnings alone exit 0.

    Example: gz doctor
    """
    from groundzero.cli.checks import examine  # noqa: PLC0415 - imports every dependency
    from groundzero.cli.output import emit  # noqa: PLC0415

    checks = examine(folder)
    counts = {status: sum(check.status == status for check in checks) for status in ("ok", "warning", "error")}
    payload = {"ok": not counts["error"], **counts, "checks": [vars(check) for check in checks]}
    emit(payload, as_json, lambda: _print(checks))
    if counts["error"]:
        raise typer.Exit(FAILURE)


def _print(checks: list[Check]) -> None:
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import console, table  # noqa: PLC0415

    style = {"ok": "green", "warning": "yellow", "error": "bold red"}
    rows = [
        (check.name, Text(check.status, style=style[check.status]), f"{check.message} {check.remedy}".rstrip())
        for check in checks
    ]
    console().print(table(("Check", "Verdict", "Finding"), rows))
