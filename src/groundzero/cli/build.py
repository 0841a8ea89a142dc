"""`gz build`: text and facts in, a chat model of one's own out, within a time budget."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.output import emit, human_seconds, note
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.build.session import Built

DEFAULTS: dict[str, Any] = {"minutes": 20.0, "seed": 1337}


def command(
    text: Annotated[str | None, typer.Option("--text", help="File, folder of .txt/.md/.jsonl/.gz, or - .")] = None,
    graph: Annotated[
        str | None, typer.Option("--graph", help="Facts: whatever `gz graph import` reads, or a graph.", metavar="FILE")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; a fresh one under runs/.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time budget for everything; 20.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Size by name; by the minutes when left out.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="model|train|tuning|ground|embed|exam|....key=value; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything that is drawn.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, mps or xpu.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would be and take; nothing is spent.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --out; the same command does so too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Build a model from text, from facts, or from both.

    Facts are learnt as something to read, never by heart: the model answers from the graph inside its run, cites it,
    says so where it is silent, and follows every edit. A tenth of what the graph speaks of is never taught, and is
    what the exam at the end asks about. Stopped or killed, the same command goes on; --out alone is enough.

    Examples:
      gz build --text books/ --graph facts.tsv --out runs/mine --minutes 20
      gz build --text books/ --graph facts.tsv --plan
      gz build --out runs/mine
    """
    started = time.monotonic()
    given: dict[str, Any] = {
        "text": text, "graph": graph, "minutes": minutes, "preset": preset, "seed": seed, "device": device,
        "overrides": tuple(overrides) if overrides else None,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if plan:
        _plan(given, as_json)
        return
    if resume and out is None:
        raise UsageError("--resume needs the build to go on with.", remedy="Add --out RUN.")
    if out is None and not (text or graph):
        raise UsageError("There is nothing to build from.", remedy="Give --text DIR, --graph FILE, or both.")
    from groundzero.run import fresh_run_path  # noqa: PLC0415

    path = out or fresh_run_path(name=_name(given))
    built = run_build(given, path, started=started)
    emit(built.as_json(), as_json, lambda: _report(built))
    if built.interrupted:
        raise typer.Exit(INTERRUPTED)


def run_build(
    given: Mapping[str, Any], path: Path, *, started: float, command: str = "build", defaults: Mapping[str, Any] = {}
) -> Built:
    """Build what is given, or go on with what is there, and show how it goes.

    Args:
        given: fields of an `Order` that somebody named.
        defaults: those of a new one; of an old one they go without saying.
    """
    from groundzero.build.session import build, order_for  # noqa: PLC0415 - PyTorch takes a second to import
    from groundzero.cli.building import BuildDisplay, go_on  # noqa: PLC0415

    corpus = path / "corpus.txt"
    piped = given.get("text") == "-"
    order = order_for(path, {**given, "text": str(corpus)} if piped else given, {**DEFAULTS, **defaults})
    if (path / "build.json").exists():
        note(f"Going on with {path}.")
    elif piped:
        _keep(sys.stdin.buffer.read(), corpus)
    with BuildDisplay() as display:
        built = build(order, path, observer=display, started=started)
    if built.interrupted:
        note(f"\nStopped, and nothing is lost. Go on with: {go_on(path, command)}")
    return built


def _keep(text: bytes, corpus: Path) -> None:
    """Piped text as a file of the run: it is read again when the build goes on."""
    from groundzero.run import write_atomic  # noqa: PLC0415
    from groundzero.run.files import storage_errors  # noqa: PLC0415

    with storage_errors(f"write {corpus}"):
        corpus.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(corpus, text)


def _plan(given: Mapping[str, Any], as_json: bool) -> None:
    """The forecast, and nothing else."""
    from groundzero.build.order import Order  # noqa: PLC0415
    from groundzero.build.session import plan_build  # noqa: PLC0415
    from groundzero.cli.building import print_plan  # noqa: PLC0415

    if given.get("text") == "-":
        raise UsageError("A plan cannot read what is piped in.", remedy="Give --text a file or folder.")
    _, plan = plan_build(Order(**{**DEFAULTS, **given}))
    emit({"plan": plan.as_json()}, as_json, lambda: print_plan(plan))


def _name(given: Mapping[str, Any]) -> str:
    """Of a run without one: after what it is made from."""
    source = str(given.get("graph") or given.get("text") or "")
    stem = Path(source).name.partition(".")[0] if "://" not in source else "graph"
    return stem if stem and stem.replace("-", "").replace("_", "").isalnum() else "build"


def _report(built: Built) -> None:
    """How it ended, and what to try."""
    from groundzero.build.report import next_commands  # noqa: PLC0415
    from groundzero.cli.ask import visible  # noqa: PLC0415
    from groundzero.cli.building import exam_line  # noqa: PLC0415

    print(f"run               {built.run}")
    print(f"time              {human_seconds(built.seconds)} of {built.plan.minutes:g} min")
    done = built.stages
    if "exam" in done:
        print(f"exam              {exam_line(done['exam']['summary'])}")
    report = done.get("report")
    if report:
        print(f"report            {report['file']}")
        for answer in report["answers"][:2]:
            print(f"\n  {visible(answer['question'])}\n  {visible(answer['text'])}")
        base = built.run / "stages" / "base" if "ground" in done else built.run
        question = report["questions"][0] if report["questions"] else ""
        print("\nnext")
        for line in next_commands(built.run, base, question):
            print(f"  {line}")
