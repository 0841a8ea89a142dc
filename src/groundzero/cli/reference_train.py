"""`gz reference train | finetune | lora`: the three trainings of the NumPy twin. PyTorch is never imported."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.output import emit, note
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.train.config import RunConfig
    from groundzero.train.twin import Tuning

# Compared over 300 steps of 1,024 tokens on the embedded text (validation loss, seconds on one EPYC core): Muon at
# 0.02 with AdamW at 3e-3 for the tables 2.52 in 43 s; AdamW alone at 1e-3 with a cosine 4.46 in 35 s.
RECIPE: dict[str, dict[str, Any]] = {
    "train": {
        "optimizer": "muon",
        "schedule": "wsd",
        "batch_size": 8,
        "learning_rate": 3e-3,
        "evaluate_tokens": 16384,
        "sample_tokens": 40,
    }
}
TUNING_RATE = 5e-4
"""Peak rate for tuning every weight: a sixth of pretraining's, so that what is known is not thrown away."""
LORA_RATE = 3e-3
"""Peak rate for an adapter, whose thin matrices start from nothing."""

TextOption = Annotated[str | None, typer.Option("--text", help="File, or folder of .txt/.md/.jsonl/.gz.")]
RunOption = Annotated[Path, typer.Option("--run", help="The trained run to start from.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; a fresh one under runs/.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Updates of the weights.")]
MinutesOption = Annotated[float | None, typer.Option("--minutes", help="Time budget, instead of steps.")]
RateOption = Annotated[float | None, typer.Option("--learning-rate", "--lr", help="AdamW's peak rate.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Of weights, dropout and batch order.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in --out.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")]


def train(
    text: TextOption = None,
    out: OutOption = None,
    preset: Annotated[str, typer.Option("--preset", help="Model and recipe by name.")] = "numpy-gpt",
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="char or bpe.")] = None,
    overrides: SetOption = None,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pretrain a GPT from random weights, in NumPy alone: two minutes on the facts that come with the package.

    The run is an ordinary one: `gz generate --run RUN` writes with it, `gz train --resume` goes on in PyTorch.

    Examples:
      gz reference train --out runs/numpy
      gz reference train --text book.txt --minutes 5 --set model.n_layer=2
    """
    if resume and out is None:
        raise UsageError("--resume needs the run to go on with.", remedy="Add --out RUN.")
    from groundzero.run import RunDirectory, fresh_run_path  # noqa: PLC0415 - `gz --help` is to answer at once

    path = out or fresh_run_path(name="numpy")
    options = _options(text, steps, minutes, learning_rate, seed)
    if tokenizer:
        options["tokenizer"] = {"kind": tokenizer}
    if not resume and text is None:
        RunDirectory.create(path, overwrite=overwrite)
        options["data"] = dict(_embedded_text(path / "corpus.txt"))
    if not resume and steps is None and minutes is None and not _sets_length(overrides):
        options["train"]["minutes"] = 2.0
    _run(_resolved(preset, overrides, options), path, resume=resume, overwrite=overwrite, as_json=as_json)


def finetune(
    run: RunOption,
    text: TextOption = None,
    out: OutOption = None,
    overrides: SetOption = None,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on training every weight of a run on other text, in NumPy alone. The run itself stays as it is.

    Example: gz reference finetune --run runs/numpy --text poems.txt --minutes 1 --out runs/poems
    """
    options = _options(text, steps, minutes, learning_rate or TUNING_RATE, seed)
    _tune(run, 0, 0.0, options, overrides, out, overwrite=overwrite, as_json=as_json)


def lora(
    run: RunOption,
    text: TextOption = None,
    out: OutOption = None,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Directions that each matrix may change in.")] = 8,
    alpha: Annotated[float, typer.Option("--alpha", help="Size of the change, relative to the rank.")] = 16.0,
    overrides: SetOption = None,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Teach a run other text by low-rank adaptation: its weights are frozen, thin matrices beside them learn.

    The new run holds the weights with the change folded in, and the change alone as adapter.safetensors.

    Example: gz reference lora --run runs/numpy --text poems.txt --rank 4 --minutes 1 --out runs/poems-lora
    """
    options = _options(text, steps, minutes, learning_rate or LORA_RATE, seed)
    _tune(run, rank, alpha, options, overrides, out, overwrite=overwrite, as_json=as_json)


def _tune(
    base: Path,
    rank: int,
    alpha: float,
    options: dict[str, dict[str, Any]],
    overrides: list[str] | None,
    out: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    from groundzero.model.aliases import translate  # noqa: PLC0415 - as in `train`
    from groundzero.run import RunDirectory, fresh_run_path  # noqa: PLC0415
    from groundzero.settings import merge  # noqa: PLC0415
    from groundzero.train.config import RunConfig, resolve  # noqa: PLC0415
    from groundzero.train.twin import Tuning  # noqa: PLC0415

    directory = RunDirectory.open(base)
    stored = RunConfig.parse(translate(directory.manifest()["config"]))
    train = options["train"]
    if not train.keys() & {"steps", "minutes"} and not _sets_length(overrides):
        train["epochs"] = 3.0
    kept = {"model": stored.model.model_dump(), "tokenizer": stored.tokenizer.model_dump()}
    sections = merge({**RECIPE, "train": {**RECIPE["train"], "optimizer": "adamw", "schedule": "cosine"}}, options)
    config = resolve(preset_name="numpy-gpt", overrides=overrides or (), options=merge(sections, kept))
    path = out or fresh_run_path(name=f"{base.name}-{'lora' if rank else 'tuned'}")
    _run(config, path, tuning=Tuning(directory, rank, alpha), overwrite=overwrite, as_json=as_json)


def _embedded_text(corpus: Path) -> dict[str, str]:
    """Write the facts that come with the package, in prose, and return the `data` settings that read them."""
    from groundzero.data.embedded import documents  # noqa: PLC0415 - reads tables that a user's own text does not need
    from groundzero.run import write_atomic  # noqa: PLC0415

    write_atomic(corpus, ("\n\n".join(documents()) + "\n").encode())
    note(f"The facts that come with the package, in prose: {corpus}")
    return {"text": str(corpus), "document_separator": "blank-line"}


def _options(
    text: str | None, steps: int | None, minutes: float | None, learning_rate: float | None, seed: int | None
) -> dict[str, dict[str, Any]]:
    train = {"steps": steps, "minutes": minutes, "learning_rate": learning_rate, "seed": seed}
    return {
        "train": {name: value for name, value in train.items() if value is not None},
        "data": {} if text is None else {"text": text},
    }


def _sets_length(overrides: list[str] | None) -> bool:
    lengths = ("train.steps=", "train.epochs=", "train.minutes=")
    return any(override.replace(" ", "").startswith(lengths) for override in overrides or ())


def _resolved(preset: str, overrides: list[str] | None, options: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """The recipe under what was asked for, and the preset under the recipe."""
    from groundzero.settings import merge, parse_overrides  # noqa: PLC0415 - as in `train`
    from groundzero.train.config import resolve  # noqa: PLC0415

    asked = parse_overrides(overrides or ())
    recipe = {
        section: {key: value for key, value in values.items() if key not in asked.get(section, {})}
        for section, values in RECIPE.items()
    }
    return resolve(preset_name=preset, overrides=overrides or (), options=merge(recipe, options))


def _run(
    config: RunConfig,
    path: Path,
    *,
    tuning: Tuning | None = None,
    resume: bool = False,
    overwrite: bool = False,
    as_json: bool = False,
) -> None:
    from groundzero.cli.train import summary  # noqa: PLC0415 - as in `train`
    from groundzero.cli.training import TrainingDisplay  # noqa: PLC0415
    from groundzero.train.twin import train_twin  # noqa: PLC0415

    with TrainingDisplay() as display:
        result = train_twin(config, path, tuning=tuning, resume=resume, overwrite=overwrite, observer=display)
    payload = asdict(result)
    emit(payload, as_json, lambda: summary(payload))
    if result.interrupted:
        resumable = tuning is None or not tuning.rank
        go_on = f" Go on with: gz reference train --resume --out {shlex.quote(str(path))}" if resumable else ""
        note(f"Stopped and saved at step {result.steps}.{go_on}")
        raise typer.Exit(INTERRUPTED)
