"""`gz quickstart`: the main job on facts that come with the package, or on a text of the user's own, in minutes.

On the embedded facts it ends with what grounding is for: three cited answers, a refusal, a fact that changes and the
answer that follows; on a text alone, with what the model writes.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.ask import visible
from groundzero.cli.build import run_build
from groundzero.cli.output import console, emit, human_seconds, note
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.build.demonstration import Demonstration
    from groundzero.build.session import Built

RECIPE: tuple[str, ...] = ("ground.channels.copy_share=0.93",)
"""Settings of a quickstart, as `gz build --set` takes them: in two minutes of tuning nobody learns to spell names, and
lessons that ask for it take from copying (one hop by the model alone: 48 % after 244 steps at the usual share).

The size that five minutes afford has 4.8 M weights: with 4096 ids, and the 3 M weights of `micro`, samples still made
words up at the end of the first pass.
"""
BUILD_SHARE = 0.95
"""Of the minutes given, what the build may take; the rest is for the demonstration and for starting up."""
MINUTES = 5.0
SEED = 1337

N_SHOWN = 2
SHOWN_CHARACTERS = 400
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCE_END = (".", "!", "?", "…", ".”", "!”", "?”", '."', '!"', '?"', ".'", "!'", "?'", ".)", ":")
CURVE_WIDTH, CURVE_HEIGHT = 64, 10


def command(
    text: Annotated[
        str | None, typer.Option("--text", help="Your own file or folder; the embedded facts when left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; runs/quickstart by default.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time budget for everything; 5.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of everything that is drawn.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Build a small model in minutes, on facts that come with the package or on your own text, and show what it does.

    With --out of a quickstart that was stopped, it goes on.

    Examples:
      gz quickstart
      gz quickstart --text book.txt --minutes 3 --out runs/book
    """
    started = time.monotonic()
    if minutes is not None and not 0 < minutes <= 24 * 60:
        raise UsageError(f"--minutes cannot be {minutes:g}.", remedy="Give more than 0 and at most 1440.")
    from groundzero.build.order import EMBEDDED  # noqa: PLC0415
    from groundzero.run import fresh_run_path  # noqa: PLC0415

    path = out or fresh_run_path(name="quickstart")
    given: dict[str, Any] = {} if text is None else {"text": text}
    if seed is not None:
        given["seed"] = seed
    if minutes is not None:
        given["minutes"] = BUILD_SHARE * minutes
    defaults = {"minutes": BUILD_SHARE * MINUTES, "seed": SEED, "overrides": RECIPE}
    if text is None:
        defaults |= {"text": EMBEDDED, "graph": EMBEDDED}
    built = run_build(given, path, started=started, command="quickstart", defaults=defaults)
    if built.interrupted:
        raise typer.Exit(INTERRUPTED)
    shown = None
    if "ground" in built.stages:
        from groundzero.build.demonstration import demonstrate  # noqa: PLC0415 - PyTorch

        note("\nAsking it.")
        shown = demonstrate(path)
    payload = _payload(built, shown, time.monotonic() - started)
    emit(payload, as_json, lambda: _report(payload, built, shown))


def word_share(samples: Iterable[str], known: set[str]) -> float:
    """Share of the words in the samples, capitals ignored, that the training text has too; 0 without any word."""
    words = [word for sample in samples for word in WORD.findall(sample.lower())]
    return sum(word in known for word in words) / len(words) if words else 0.0


def punctuation_share(samples: Sequence[str]) -> float:
    """Share of the samples that end like a sentence."""
    return sum(sample.rstrip().endswith(SENTENCE_END) for sample in samples) / len(samples)


def curve(points: Sequence[tuple[int, float]], *, width: int = CURVE_WIDTH, height: int = CURVE_HEIGHT) -> list[str]:
    """The loss over steps as lines of text: the axis to the left, one dot a column at the mean of its steps."""
    if not points:
        return []
    last = max(step for step, _ in points)
    columns: list[list[float]] = [[] for _ in range(width)]
    for step, loss in points:
        columns[min(width - 1, step * width // max(1, last))].append(loss)
    means = [sum(column) / len(column) if column else None for column in columns]
    known = [mean for mean in means if mean is not None]
    low, high = min(known), max(known)
    rows = [
        None if mean is None else round((high - mean) / (high - low) * (height - 1)) if high > low else height - 1
        for mean in means
    ]
    lines = []
    for row in range(height):
        label = f"{high - (high - low) * row / max(1, height - 1):6.2f}" if row in (0, height - 1) else " " * 6
        lines.append(f"{label} │{''.join('•' if at == row else ' ' for at in rows)}".rstrip())
    lines.append(" " * 7 + "└" + "─" * width)
    lines.append(" " * 8 + f"step 0{f'step {last}'.rjust(width - 6)}")
    return lines


def _payload(built: Built, shown: Demonstration | None, seconds: float) -> dict[str, Any]:
    """What `--json` prints: the figures of learning to write, then what became of it."""
    base, report = built.stages["pretrain"], built.stages["report"]
    samples = report["samples"]
    figures = {
        name: base[name] for name in ("steps", "tokens", "train_loss", "val_loss", "val_bpb", "tokens_per_second")
    }
    exam = built.stages.get("exam")
    return {
        "run": str(built.run),
        **figures,
        "parameters": built.stages.get("ground", base)["parameters"],
        "seconds": seconds,
        "samples": samples,
        "samples_file": str(built.run / "samples.txt"),
        "loss_plot": str(built.run / "loss.png"),
        "word_share": word_share(samples, _known_words(built)),
        "punctuation_share": punctuation_share(samples),
        "finished_share": report["finished_share"],
        "report": report["file"],
        "answers": [] if shown is None else shown.answers,
        "edit": None if shown is None else shown.edit,
        "exam": None if exam is None else {**exam["summary"], "folder": exam["folder"]},
    }


def _known_words(built: Built) -> set[str]:
    """Every word of the training text."""
    from groundzero.build.state import State  # noqa: PLC0415
    from groundzero.build.text import texts_of  # noqa: PLC0415

    state = State.find(built.run)
    assert state is not None
    return {word for piece in texts_of(state.order, state.config, built.run) for word in WORD.findall(piece.lower())}


def _report(payload: Mapping[str, Any], built: Built, shown: Demonstration | None) -> None:
    """What a person wants to see: how it learnt, what it answers or writes, what to try next."""
    from groundzero.build.report import curves  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415

    out = console()
    base = built.run if shown is None else built.run / "stages" / "base"
    out.print("\nloss of the text (nats per token)")
    for line in curve(curves(RunDirectory.open(base).metrics)["train_loss"]):
        out.print(line)
    for sample in payload["samples"][: N_SHOWN * (1 if shown else 2)]:
        cut = sample if len(sample) <= SHOWN_CHARACTERS else sample[:SHOWN_CHARACTERS] + "..."
        out.print("\n  " + visible_lines(cut))
    loss = payload["val_loss"]
    validation = "" if loss is None else f", validation loss {loss:.3f}"
    out.print(
        f"\nmodel             {payload['parameters']:,} parameters, {payload['steps']:,} steps of reading{validation}"
    )
    out.print(f"samples           {payload['word_share']:.1%} words of the text, ", end="")
    out.print(f"{payload['punctuation_share']:.0%} end in punctuation, {payload['finished_share']:.0%} by themselves")
    if shown is not None:
        _tell(shown, payload)
    out.print(f"time              {human_seconds(payload['seconds'])}")
    out.print(f"files             {payload['report']}, {payload['samples_file']}, {payload['loss_plot']}")
    out.print("\nnext")
    for line in _next(built.run, base, shown):
        out.print(f"  {line}")


def _tell(shown: Demonstration, payload: Mapping[str, Any]) -> None:
    """The demonstration, and the exam behind it."""
    from groundzero.cli.building import exam_line  # noqa: PLC0415

    out = console()
    out.print(f"exam              {exam_line(payload['exam'])}")
    for answer in (*shown.cited, shown.refused):
        out.print(f"\n> {visible(answer['question'])}\n  {visible(answer['text'])}")
    edit = shown.edit
    out.print(f"\nIn a copy of the graph, the {edit['relation']} of {edit['subject']} is now {edit['after']}.")
    out.print(f"> {visible(shown.edited['question'])}\n  {visible(shown.edited['text'])}")
    checked = sum(each["verified"] for each in shown.answers)
    out.print(
        f"\nanswers           {checked} of {len(shown.answers)} borne out by the graph; "
        f"{edit['milliseconds']:.0f} ms from the edit to the new fact"
    )


def _next(run: Path, base: Path, shown: Demonstration | None) -> list[str]:
    """What to try."""
    name, writer = shlex.quote(str(run)), shlex.quote(str(base))
    if shown is None:
        return [
            f'gz generate --run {name} --prompt "The" --temperature 0.3',
            f"gz generate --run {name} --interactive",
            "gz build --text your-book.txt --graph your-facts.tsv --out runs/mine",
        ]
    graph = shlex.quote(str(run / "graph.db"))
    return [
        f'gz ask "What is the official language of the country of Machu Picchu?" --run {name}',
        f'gz ask "{shown.edited["question"]}" --run {name} --graph {shlex.quote(shown.edit["graph"])}',
        f"gz graph edit Peru capital Cusco --graph {graph} --diff {name}",
        f'gz generate --run {writer} --prompt "The capital of Peru is" --temperature 0.3',
        "gz build --text your-texts/ --graph your-facts.tsv --out runs/mine --minutes 20",
    ]


def visible_lines(text: str) -> str:
    """Text of several lines, indented, with what a terminal would obey made visible."""
    return "\n  ".join(visible(line) for line in text.splitlines())
