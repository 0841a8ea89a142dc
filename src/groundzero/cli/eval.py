"""`gz eval`: how good a run is. `grounding` examines answers from a graph, `loss` predicts text that was held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.ask import visible
from groundzero.cli.output import emit, note
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.cli.output import Bar
    from groundzero.evaluate.grounding.exam import ExamResult
    from groundzero.evaluate.grounding.measures import Measure
    from groundzero.evaluate.grounding.sections import Part
    from groundzero.evaluate.grounding.setting import ExamSettings

app = typer.Typer(add_completion=False)

PUBLISHED = 2000
"""Questions of each row of the published tables: intervals of at most 2.2 points to either side."""

RunOption = Annotated[Path, typer.Option("--run", help="The run to examine.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps or xpu.")]


@app.callback()
def evaluate() -> None:
    """How good a run is. Nothing is learnt, and the run stays as it is."""


@app.command()
def grounding(
    run: RunOption,
    graph: Annotated[str, typer.Option("--graph", help="What is right; the run's own when left out.")] = "",
    questions: Annotated[int, typer.Option("--questions", "-n", min=1, help="Questions of each row.")] = 200,
    ablation: Annotated[
        int | None,
        typer.Option("--questions-per-ablation", min=1, help="The same in the table of channels; half as many."),
    ] = None,
    only: Annotated[str, typer.Option("--only", help="Sections, with commas between; all when left out.")] = "",
    published: Annotated[
        bool, typer.Option("--published", help="As much of everything as the published tables were made with.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of which questions are asked.")] = 1337,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where exam.json and report.html go; RUN/exam when left out.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="exam.key=value, as amounts.edits=1000; may be repeated.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Examine a grounded run over a graph: right answers, citations, refusals, edits, and what each channel is worth.

    Questions are about entities that were kept from training. Ctrl-C keeps the sections that are finished.

    Examples:
      gz eval grounding --run runs/grounded
      gz eval grounding --run runs/grounded --graph facts.db --questions 2000 --only answers,citations
    """
    from groundzero.evaluate.grounding.amounts import Amounts  # noqa: PLC0415
    from groundzero.evaluate.grounding.exam import chosen, hold, write_result  # noqa: PLC0415 - PyTorch
    from groundzero.evaluate.grounding.setting import ExamSettings, open_exam  # noqa: PLC0415
    from groundzero.graph.graph import Graph  # noqa: PLC0415
    from groundzero.ground.opening import graph_of  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415
    from groundzero.settings import merge, parse_overrides  # noqa: PLC0415

    parts = chosen([name.strip() for name in only.split(",") if name.strip()])
    given = parse_overrides([each.removeprefix("exam.") for each in overrides or ()])
    n_ablation = ablation or (PUBLISHED if published else max(1, questions // 2))
    asked = {"questions": PUBLISHED if published else questions, "questions_per_ablation": n_ablation, "seed": seed}
    amounts = Amounts.published().model_dump() if published else {}
    settings = ExamSettings.parse(merge({"amounts": amounts}, merge(asked, given)))
    directory = RunDirectory.open(run)
    with Graph.open(graph or graph_of(directory), read_only=True) as opened, _watched(parts, settings) as watch:
        exam = open_exam(directory, opened, settings, advance=watch.advance, device=device)
        result = hold(exam, parts, begins=watch.begins)
    if not result.sections:
        raise KeyboardInterrupt
    files = write_result(result, out or directory.path / "exam")
    payload = {**result.as_json(), "files": [str(each) for each in files]}
    emit(payload, as_json, lambda: _print_result(result))
    for section in result.sections:
        if section.details.get("error"):
            note(f"{section.title} was not held: {visible(section.details['error'])}")
    note(f"The report card: {files[1]}")
    if result.interrupted:
        note(f"Stopped: {len(result.sections)} of {len(parts)} sections were finished.")
        raise typer.Exit(INTERRUPTED)


@app.command()
def loss(
    run: RunOption,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Held-out tokens at most; 0 for all.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """How well a run predicts the part of its text that was held out: loss, perplexity, bits per byte, accuracy.

    Example: gz eval loss --run runs/book
    """
    from groundzero.data import BatchLoader  # noqa: PLC0415 - PyTorch
    from groundzero.generate import load_engine  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415
    from groundzero.train.evaluate import evaluate as predict  # noqa: PLC0415
    from groundzero.train.inputs import resume_data  # noqa: PLC0415

    directory = RunDirectory.open(run)
    kind = directory.manifest().get("tuning", {}).get("kind")
    if kind:
        raise UsageError(
            f"{run} was tuned ({kind}) and holds no text back.", remedy="Give the run that it was tuned from."
        )
    model = load_engine(directory, device=device).model
    _, dataset = resume_data(directory)
    loader = BatchLoader(dataset, batch_size=1, context=model.config.context, seed=0)
    found = predict(model, loader, max_tokens=tokens)
    payload = {"run": str(run), **asdict(found)}
    emit(payload, as_json, lambda: _print_loss(payload))


@contextmanager
def _watched(parts: Sequence[Part], settings: ExamSettings) -> Iterator[_Watch]:
    """A bar over the questions of all sections."""
    from groundzero.cli.output import progress  # noqa: PLC0415
    from groundzero.evaluate.grounding.sections import planned  # noqa: PLC0415

    amounts = planned(parts, settings)
    with progress("Examining", total=sum(amounts), unit="questions") as bar:
        yield _Watch(bar, {part.key: amount for part, amount in zip(parts, amounts, strict=True)})


class _Watch:
    """Counts questions, and is told of each section: what one did less than was expected is counted at its end."""

    def __init__(self, bar: Bar, amounts: dict[str, int]) -> None:
        self._bar, self._amounts = bar, amounts
        self._done = self._until = 0
        self._name = ""

    def begins(self, part: Part) -> None:
        """The next section: the one before is done."""
        self._done = self._until
        self._until += self._amounts[part.key]
        self._name = part.key
        self._bar.update(self._done, note=self._name)

    def advance(self, amount: int) -> None:
        """So many questions more."""
        self._done = min(self._done + amount, self._until)
        self._bar.update(self._done, note=self._name)


def _print_result(result: ExamResult) -> None:
    """Section by section: figure, interval, how many, aim."""
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import console, table  # noqa: PLC0415

    out = console()
    for section in (each for each in result.sections if each.measures):
        rows = []
        for each in section.measures:
            style = {True: "green", False: "bold red", None: ""}[each.reached]
            rows.append((visible(each.name), Text(figure(each), style=style), interval(each), f"{each.n:,}", aim(each)))
        out.print(table((section.title, "", "95 %", "n", "aim"), rows, numbers=",95 %,n"))
    reached, n_aim = result.reached
    out.print(f"{reached} of {n_aim} aims reached.")


def figure(measure: Measure) -> str:
    """A figure with its unit; a dash where nothing was counted."""
    if not measure.n:
        return "-"
    return f"{measure.value:.1%}" if measure.unit == "share" else f"{measure.value:,.3g} {measure.unit}"


def interval(measure: Measure) -> str:
    """Its interval, where it has one."""
    if measure.low is None or measure.high is None:
        return ""
    return f"{100 * measure.low:.1f} to {100 * measure.high:.1f}"


def aim(measure: Measure) -> str:
    """What was to be reached."""
    if measure.aim is None:
        return ""
    number = f"{measure.aim:.1%}" if measure.unit == "share" else f"{measure.aim:,.3g} {measure.unit}"
    return f"at most {number}" if measure.at_most else f"at least {number}"


def _print_loss(found: dict[str, Any]) -> None:
    bits = "" if found["bits_per_byte"] is None else f", {found['bits_per_byte']:.3f} bits per byte"
    print(f"loss {found['loss']:.4f} nats a token, perplexity {found['perplexity']:.2f}{bits}")
    print(f"{found['accuracy']:.1%} of {found['tokens']:,} held-out tokens were the first choice")
