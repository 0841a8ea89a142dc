"""`gz train`: parse, call `train_run`, show how it goes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.output import emit, human_bytes, human_seconds, note
from groundzero.errors import UsageError


def command(
    text: Annotated[str | None, typer.Option("--text", help="File, folder of .txt/.md/.jsonl/.gz, or - .")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="A prepared dataset, by folder or name.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; a fresh one under runs/.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Model and recipe by name; see `gz info --presets`.")] = "",
    config: Annotated[Path | None, typer.Option("--config", help="TOML or JSON settings; see `gz config`.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; may be repeated; wins over --config.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="char or bpe.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Updates of the weights.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the text, instead of steps.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time budget, instead of steps.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Sequences per forward pass.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "--lr", help="AdamW's peak rate.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of weights, dropout and batch order.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, mps or xpu.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, float32, bfloat16 or float16.")] = None,
    compile_: Annotated[str | None, typer.Option("--compile", help="auto, on or off.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Of the text: utf-8, cp1252, ... or auto.")] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Leave out unreadable files and broken lines, and say so.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Train a model on text, or resume. Without any option on a terminal, asks a few questions.

    Examples:
      gz train --text books/ --preset tiny --minutes 20 --out runs/books
      gz train --text input.txt --tokenizer char --steps 500 --set train.batch_size=32
      gz train --resume --out runs/books
    """
    if resume and out is None:
        raise UsageError("--resume needs the run to go on with.", remedy="Add --out RUN.")
    given: dict[str, dict[str, Any]] = {
        "train": {
            "steps": steps,
            "epochs": epochs,
            "minutes": minutes,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "device": device,
            "precision": precision,
            "compile": compile_,
        },
        "data": {"text": text, "dataset": dataset, "encoding": encoding, "skip_bad": skip_bad},
        "tokenizer": {"kind": tokenizer},
    }
    options = {
        section: {key: value for key, value in values.items() if value is not None} for section, values in given.items()
    }
    if resume:
        _refuse_changes(options, {"preset": preset, "config": config, "set": overrides})
    nothing_given = not (text or dataset or config or overrides or resume or preset)
    if nothing_given and sys.stdin.isatty() and sys.stderr.isatty():
        from groundzero.cli.wizard import ask  # noqa: PLC0415 - only for this case

        answers = ask(options, out)
        if answers is None:
            raise typer.Exit(0)
        preset, out, options = answers.preset, answers.out, answers.options
    from groundzero.cli.training import TrainingDisplay  # noqa: PLC0415
    from groundzero.run import fresh_run_path  # noqa: PLC0415
    from groundzero.train import resolve, train_run  # noqa: PLC0415

    resolved = resolve(preset_name=preset, config_file=config, overrides=overrides or (), options=options)
    path = out or fresh_run_path()
    with TrainingDisplay() as display:
        result = train_run(resolved, path, resume=resume, overwrite=overwrite, observer=display)
    payload = asdict(result)
    emit(payload, as_json, lambda: summary(payload))
    if result.interrupted:
        note(f"Stopped and saved at step {result.steps}. Go on with: {resume_command(path)}")
        raise typer.Exit(INTERRUPTED)


def _refuse_changes(options: Mapping[str, Mapping[str, Any]], others: Mapping[str, object]) -> None:
    """A resumed run keeps its settings: whoever asks for others is told, and not passed over."""
    asked = [
        "tokenizer" if key == "kind" else key
        for section, values in options.items()
        for key in values
        if (section, key) not in {("train", "steps"), ("train", "device")}
    ]
    asked += [name for name, value in others.items() if value]
    if asked:
        raise UsageError(
            f"A resumed run keeps its settings; --{asked[0].replace('_', '-')} would change them.",
            remedy="Leave it out (more --steps and another --device are taken), or start a new run.",
        )


def resume_command(path: Path) -> str:
    """What to type to go on with a run."""
    return f"gz train --resume --out {shlex.quote(str(path))}"


def summary(payload: Mapping[str, Any]) -> None:
    """Print how a training ended."""
    loss = payload["val_loss"]
    print(f"run               {payload['run']}")
    print(
        f"steps             {payload['steps']:,} ({payload['tokens']:,} tokens, {payload['parameters']:,} parameters)"
    )
    print(f"train loss        {payload['train_loss']:.4f}")
    if loss is not None:
        bits = f", {payload['val_bpb']:.4f} bits per byte" if payload["val_bpb"] is not None else ""
        print(f"validation loss   {loss:.4f}{bits}")
    mfu = f", {payload['mfu']:.0%} of the hardware's peak" if payload["mfu"] else ""
    print(f"speed             {payload['tokens_per_second']:,.0f} tokens/s{mfu}")
    print(f"time              {human_seconds(payload['seconds'])}, {human_bytes(payload['peak_memory_bytes'])} at most")
    print(f'\nnext              gz generate --run {shlex.quote(payload["run"])} --prompt "..."')
