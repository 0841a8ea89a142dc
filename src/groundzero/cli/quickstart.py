"""`gz quickstart`: a model in minutes, from the embedded facts or from a file of the user's own; its curve, twenty
samples, how well they read, and what to try next."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.output import console, emit, human_seconds, note
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.api import Run

# Chosen on the embedded facts. After 900 steps (1.8 M tokens; 6 thousand tokens/s on one EPYC core with bfloat16) the
# validation loss is 0.94, and of six times twenty samples every one ends by itself, with 97.7-100 % words of the text.
# The vocabulary holds most words of the corpus whole, so that few are misspelt: with 4096 ids, and the 3 M weights of
# `micro`, samples still made words up at the end of the first pass.
RECIPE: dict[str, dict[str, Any]] = {
    "model": {"d_model": 256, "n_layer": 4, "n_head": 4, "context": 256},
    "tokenizer": {"vocab_size": 6144},
    "train": {"batch_size": 8, "learning_rate": 1.5e-3, "evaluate_tokens": 16384, "sample_tokens": 40},
}
# Of the minutes given, what training is planned to take, its evaluations included. Start-up, the tokenizer and the
# samples need 20 s; the rest is for a machine that turns out busier than it was when the steps were counted.
TRAINING_SHARE = 0.75

N_SAMPLE = 20
N_SHOWN = 4
SHOWN_CHARACTERS = 400
TEMPERATURE = 0.7
SAMPLE_TOKENS = 200

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCE_END = (".", "!", "?", "…", ".”", "!”", "?”", '."', '!"', '?"', ".'", "!'", "?'", ".)", ":")
CURVE_WIDTH, CURVE_HEIGHT = 64, 10


def command(
    text: Annotated[
        str | None, typer.Option("--text", help="Your own file or folder; the embedded facts when left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; runs/quickstart by default.")] = None,
    minutes: Annotated[float, typer.Option("--minutes", help="Time budget for everything.")] = 5.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of weights, batch order and samples.")] = 1337,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Train a small model in minutes, on facts that come with the package or on your own text, and show what it writes.

    Examples:
      gz quickstart
      gz quickstart --text book.txt --minutes 3 --out runs/book
    """
    if not 0 < minutes <= 24 * 60:
        raise UsageError(f"--minutes cannot be {minutes:g}.", remedy="Give more than 0 and at most 1440.")
    from groundzero.api import train  # noqa: PLC0415 - PyTorch takes a second to import
    from groundzero.cli.training import TrainingDisplay  # noqa: PLC0415
    from groundzero.run import fresh_run_path  # noqa: PLC0415

    path = out or fresh_run_path(name="quickstart")
    config = _config(text, path)
    with TrainingDisplay() as display:
        run = train(config=config, out=path, minutes=minutes * TRAINING_SHARE, seed=seed, observer=display)
    assert run.result is not None
    if run.result.interrupted:
        note(f"Stopped and saved. Go on with: gz train --resume --out {shlex.quote(str(path))}")
        raise typer.Exit(INTERRUPTED)
    texts, finished = _write_samples(run, seed)
    payload = {
        "run": str(path),
        "steps": run.result.steps,
        "tokens": run.result.tokens,
        "parameters": run.result.parameters,
        "train_loss": run.result.train_loss,
        "val_loss": run.result.val_loss,
        "val_bpb": run.result.val_bpb,
        "seconds": run.result.seconds,
        "tokens_per_second": run.result.tokens_per_second,
        "samples": texts,
        "samples_file": str(path / "samples.txt"),
        "loss_plot": str(path / "loss.png"),
        "word_share": word_share(texts, _corpus_words(run)),
        "punctuation_share": punctuation_share(texts),
        "finished_share": finished,
    }
    emit(payload, as_json, lambda: _report(payload, run.metrics, "The" if text else "The capital of Peru is"))


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


def _config(text: str | None, path: Path) -> dict[str, dict[str, Any]]:
    """The recipe with its text. What has no file of its own goes into the run, so that the training can be repeated."""
    if text not in (None, "-"):
        return {**RECIPE, "data": {"text": text}}
    from groundzero.run import RunDirectory, write_atomic  # noqa: PLC0415 - only here

    RunDirectory.create(path)
    corpus = path / "corpus.txt"
    if text == "-":
        write_atomic(corpus, sys.stdin.buffer.read())
        return {**RECIPE, "data": {"text": str(corpus)}}
    return {**RECIPE, "data": embedded_text(corpus)}


def embedded_text(corpus: Path) -> dict[str, str]:
    """Write the facts that come with the package, in prose, and return the `data` settings that read them."""
    from groundzero.data.embedded import documents  # noqa: PLC0415 - reads tables that a user's own text does not need
    from groundzero.run import write_atomic  # noqa: PLC0415 - only here

    write_atomic(corpus, ("\n\n".join(documents()) + "\n").encode())
    note(f"The facts that come with the package, in prose: {corpus}")
    return {"text": str(corpus), "document_separator": "blank-line"}


def _write_samples(run: Run, seed: int) -> tuple[list[str], float]:
    """Twenty samples into `samples.txt`; their texts, and the share of them that the model ended by itself."""
    from groundzero.generate import Request, SamplingConfig  # noqa: PLC0415 - PyTorch
    from groundzero.run import write_atomic  # noqa: PLC0415

    note(f"Writing {N_SAMPLE} samples.")
    sampling = SamplingConfig(max_tokens=SAMPLE_TOKENS, temperature=TEMPERATURE)
    requests = [Request("", sampling.replace(seed=seed + index)) for index in range(N_SAMPLE)]
    completions = run.engine.run(requests)
    texts = [completion.text.strip() for completion in completions]
    write_atomic(run.path / "samples.txt", ("\n\n---\n\n".join(texts) + "\n").encode())
    return texts, sum(completion.finish_reason == "eos" for completion in completions) / N_SAMPLE


def _corpus_words(run: Run) -> set[str]:
    """Every word of the training text."""
    from groundzero.data import read_texts  # noqa: PLC0415 - with the rest of the data room, only when needed

    data = run.config.data
    return {word for piece in read_texts(data.text, data) for word in WORD.findall(piece.lower())}


def _report(payload: Mapping[str, Any], metrics: Iterable[Mapping[str, Any]], prompt: str) -> None:
    """What a person wants to see: the curve, some samples, the figures, what to try next."""
    out = console()
    out.print("\nloss (nats per token)")
    for line in curve([(record["step"], record["train_loss"]) for record in metrics if "train_loss" in record]):
        out.print(line)
    out.print(f"\n{N_SHOWN} of {N_SAMPLE} samples at temperature {TEMPERATURE}:")
    for sample in payload["samples"][:N_SHOWN]:
        cut = sample if len(sample) <= SHOWN_CHARACTERS else sample[:SHOWN_CHARACTERS] + "..."
        out.print("\n  " + cut.replace("\n", "\n  "))
    loss = payload["val_loss"]
    validation = "" if loss is None else f", validation loss {loss:.3f}"
    out.print(
        f"\nmodel             {payload['parameters']:,} parameters, {payload['steps']:,} steps "
        f"in {human_seconds(payload['seconds'])}{validation}"
    )
    out.print(f"samples           {payload['word_share']:.1%} words of the text, ", end="")
    out.print(f"{payload['punctuation_share']:.0%} end in punctuation, {payload['finished_share']:.0%} by themselves")
    out.print(f"files             {payload['samples_file']}, {payload['loss_plot']}")
    run = shlex.quote(payload["run"])
    out.print("\nnext")
    out.print(f'  gz generate --run {run} --prompt "{prompt}" --temperature 0.3')
    out.print(f"  gz generate --run {run} --interactive")
    out.print("  gz quickstart --text your-book.txt")
    out.print("  gz train --text your-book.txt --preset tiny --minutes 30 --out runs/book")
