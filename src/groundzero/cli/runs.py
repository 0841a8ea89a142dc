"""`gz runs`: list, compare, verify and diff run directories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from groundzero.run.summary import Summary

# The rooms below are imported where they are used: `gz runs --help` is to answer at once.

app = typer.Typer(add_completion=False, help="List, compare, verify and diff runs.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BAD_INPUT = 3

_COLUMNS = {
    "run": "Run",
    "steps": "Steps",
    "tokens": "Tokens",
    "train_loss": "Train loss",
    "val_loss": "Val loss",
    "val_bpb": "Val bits/byte",
    "best_val_loss": "Best val loss",
    "best_step": "Best step",
    "tokens_per_second": "Tokens/s",
    "created": "Created",
}


@app.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, three levels deep.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """The runs in a folder with their final figures.

    Example: gz runs list runs
    """
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.run.summary import find_runs, summarise  # noqa: PLC0415

    summaries = [summarise(run) for run in find_runs(folder)]
    payload = {"folder": str(folder), "runs": [summary.as_dict() for summary in summaries]}
    emit(payload, as_json, lambda: _print_list(folder, summaries))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Two or more run directories.")],
    as_json: JsonOption = False,
) -> None:
    """Runs side by side: final figures, and the settings in which they differ.

    Example: gz runs compare runs/a runs/b
    """
    from groundzero.cli.output import console, emit, table  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415
    from groundzero.run.summary import differences, summarise  # noqa: PLC0415

    opened = [RunDirectory.open(path) for path in runs]
    summaries = [summarise(run) for run in opened]
    settings = differences([run.manifest() for run in opened])

    def human() -> None:
        names = [str(path) for path in runs]
        figures = [
            (title, *(_cell(getattr(summary, key)) for summary in summaries))
            for key, title in _COLUMNS.items()
            if key != "run"
        ]
        out = console()
        out.print(table(("Figure", *names), figures, numbers=",".join(names)))
        if settings:
            rows = [(key, *(_cell(value) for value in values)) for key, values in settings.items()]
            out.print(table(("Differs in", *names), rows, numbers=",".join(names)))

    emit({"runs": [summary.as_dict() for summary in summaries], "differences": settings}, as_json, human)


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    as_json: JsonOption = False,
) -> None:
    """Read every file of a run back and compare it with the hashes in its manifests. Exit code 3 if any differs.

    Example: gz runs verify runs/book
    """
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415

    opened = RunDirectory.open(run)
    problems = opened.verify() + _data_problems(opened.path / "data")
    steps = opened.checkpoints.steps()
    payload = {"run": str(run), "ok": not problems, "checkpoints": steps, "problems": problems}

    def human() -> None:
        if not problems:
            print(f"{run}: everything is as it was written ({len(steps)} checkpoints)")
        for problem in problems:
            print(f"{run}: {problem}")

    emit(payload, as_json, human)
    if problems:
        raise typer.Exit(BAD_INPUT)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run directory.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    as_json: JsonOption = False,
) -> None:
    """In which settings, seeds, data and versions two runs differ.

    Example: gz runs diff runs/a runs/b
    """
    from groundzero.cli.output import console, emit, table  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415
    from groundzero.run.summary import differences  # noqa: PLC0415

    settings = differences([RunDirectory.open(path).manifest() for path in (first, second)])
    listed = [{"key": key, "a": values[0], "b": values[1]} for key, values in settings.items()]

    def human() -> None:
        if not listed:
            print("No difference in settings, seeds, data or versions.")
            return
        rows = [(each["key"], _cell(each["a"]), _cell(each["b"])) for each in listed]
        console().print(table(("Setting", str(first), str(second)), rows))

    emit({"a": str(first), "b": str(second), "differences": listed}, as_json, human)


def _print_list(folder: Path, summaries: list[Summary]) -> None:
    from groundzero.cli.output import console, note, table  # noqa: PLC0415

    if not summaries:
        note(f"No runs in {folder}.")
        return
    sound = [summary for summary in summaries if not summary.problem]
    if sound:
        rows = [
            [*(_cell(getattr(each, key)) for key in _COLUMNS if key != "created"), _when(each.created)]
            for each in sound
        ]
        numbers = ",".join(title for key, title in _COLUMNS.items() if key not in ("run", "created"))
        console().print(table(_COLUMNS.values(), rows, numbers=numbers))
    for summary in summaries:
        if summary.problem:
            note(f"{summary.run}: {summary.problem}")


def _data_problems(folder: Path) -> list[str]:
    """Read the run's own token shards back, where it has some."""
    from groundzero.data.dataset import TokenDataset  # noqa: PLC0415
    from groundzero.errors import GroundzeroError  # noqa: PLC0415

    if not (folder / "manifest.json").exists():
        return []
    try:
        TokenDataset.open(folder, verify=True)
    except GroundzeroError as error:
        return [error.message]
    return []


def _when(created: str) -> str:
    """To the minute: "2026-11-20 19:08"."""
    return created[:16].replace("T", " ")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
