"""From a resolved configuration to a trained run directory: text -> tokenizer -> shards -> model -> `Trainer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from groundzero.data import BatchLoader, TokenDataset
from groundzero.errors import UsageError
from groundzero.generate import Engine, Request, SamplingConfig
from groundzero.hardware import (
    Device,
    Precision,
    choose_device,
    choose_precision,
    keep_freed_memory,
    peak_flops,
    peak_memory_bytes,
    should_compile,
)
from groundzero.model.gpt import GPT
from groundzero.run import RunDirectory
from groundzero.run.files import storage_errors
from groundzero.tokenizer import Tokenizer
from groundzero.train.config import RunConfig
from groundzero.train.inputs import prepare_data, removed_on_failure, resume_data, write_manifest
from groundzero.train.observer import Observer
from groundzero.train.plot import plot_loss
from groundzero.train.result import TrainResult
from groundzero.train.trainer import Outcome, Sampler, Trainer

BUDGET_SHARE = 0.85
"""Of a time budget, what steps may take; the rest is for evaluation, samples and saving."""


def train_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> TrainResult:
    """Train, or resume, the run in `out`.

    On resuming, the stored configuration counts; of `config` only a larger `train.steps` and a named `train.device` are
    taken.

    Raises:
        InputError, FormatError, ConfigError, UsageError, StorageError: see the rooms that raise them.
    """
    observer = observer or Observer()
    if resume:
        run = RunDirectory.open(out)
        tuned = run.manifest().get("tuning", {}).get("kind")
        if tuned:
            raise UsageError(f"{out} was tuned, not trained.", remedy=f"Resume it with `gz finetune {tuned}`.")
        config = stored_config(run, config)
    else:
        run = RunDirectory.create(out, overwrite=overwrite)
    run.sweep()
    keep_freed_memory()
    device = choose_device(config.train.device)
    precision = choose_precision(device, config.train.precision)
    observer.message(f"{device.reason}; {precision.reason}")
    if resume:
        tokenizer, dataset = resume_data(run)
    else:
        with removed_on_failure(run):
            tokenizer, dataset = prepare_data(run, config, observer)
    config = config.replace(model={**_given(config.model), "vocab_size": tokenizer.vocab_size})

    trainer = _make_trainer(run, config, tokenizer, dataset, device, precision, observer)
    steps = config.train.steps or steps_for(config, trainer, observer)
    compiling = config.train.compile == "on"
    if not resume:
        compiling = choose_compiling(config, trainer, device, steps, observer)
    resolved = {"steps": steps, "compile": "on" if compiling else "off"}
    config = config.replace(train={**config.train.model_dump(), **resolved})
    if resume:
        restore(trainer, run, steps, observer)
        if run.manifest()["config"]["train"]["steps"] != steps:
            run.write_manifest(config=json.loads(config.model_dump_json()))
    else:
        write_manifest(run, config, tokenizer, dataset, {"device": device.name, "precision": precision.name})
    if compiling:
        trainer.forward = torch.compile(trainer.model.loss)
    outcome = trainer.fit(steps)
    with storage_errors(f"write {run.path / 'loss.png'}"):
        plot_loss(run.metrics, run.path / "loss.png")
    return result_of(run, trainer.model, outcome)


def _make_trainer(
    run: RunDirectory,
    config: RunConfig,
    tokenizer: Tokenizer,
    dataset: TokenDataset,
    device: Device,
    precision: Precision,
    observer: Observer,
) -> Trainer:
    """The seeded model on its device, its batches, and the trainer of both."""
    torch.manual_seed(config.train.seed)
    model = GPT(config.model).to(device.name)
    model.compute_dtype = None if precision.name == "float32" else getattr(torch, precision.name)
    loader = BatchLoader(
        dataset, batch_size=config.train.batch_size, context=config.model.context, seed=config.train.seed
    )
    return Trainer(
        model,
        loader,
        config.train,
        run=run,
        observer=observer,
        peak_flops=peak_flops(device, precision),
        sampler=_sampler(model, tokenizer, add_bos=dataset.starts_with_bos),
    )


def _given(config: Any) -> dict[str, Any]:
    """The values of a settings object that were given, not derived."""
    dumped: dict[str, Any] = config.model_dump(include=config.model_fields_set)
    return dumped


def stored_config(run: RunDirectory, wanted: RunConfig) -> RunConfig:
    """The settings a run was started with; of `wanted` only a larger `train.steps` and a named device are taken."""
    stored = RunConfig.parse(run.manifest()["config"])
    steps = wanted.train.steps
    if steps and steps < stored.train.steps:
        raise UsageError(
            f"The run is set to {stored.train.steps} steps; {steps} would cut it short.",
            remedy="Leave --steps out, or give more.",
        )
    if wanted.train.device != "auto":
        stored = stored.replace(train={**stored.train.model_dump(), "device": wanted.train.device})
    if steps > stored.train.steps:
        stored = stored.replace(train={**stored.train.model_dump(), "steps": steps})
    return stored


def restore(trainer: Trainer, run: RunDirectory, steps: int, observer: Observer) -> None:
    """Go back to the newest sound checkpoint; to the first step where the training ended before saving one."""
    if not run.checkpoints.steps():
        run.metrics.retain(lambda record: False)
        observer.message(f"nothing was saved yet: starting at step 0 of {steps}")
        return
    found = run.checkpoint("latest")
    assert found.checkpoint is not None
    for line in found.skipped:
        observer.message(f"passed over a damaged checkpoint: {line}")
    trainer.restore(found.checkpoint.path)
    observer.message(f"resuming at step {trainer.progress.step} of {steps}")


def steps_for(config: RunConfig, trainer: Trainer, observer: Observer) -> int:
    """Steps from epochs, or from a time budget; one epoch when neither is given."""
    train = config.train
    if train.epochs or not train.minutes:
        return max(1, -(-trainer.loader.steps_for(train.epochs or 1.0) // train.accumulate))
    seconds = trainer.seconds_per_step()
    steps = max(1, int(train.minutes * 60 * BUDGET_SHARE / seconds))
    observer.message(f"{train.minutes:g} minutes at {seconds * 1e3:.0f} ms a step: {steps} steps")
    return steps


def choose_compiling(config: RunConfig, trainer: Trainer, device: Device, steps: int, observer: Observer) -> bool:
    """Whether to compile; stored with the run, because compiled and plain kernels differ in the last bits."""
    on_auto = config.train.compile == "auto" and device.kind != "cpu"
    seconds = steps * trainer.seconds_per_step(1) if on_auto else 0.0
    choice = should_compile(config.train.compile, device, expected_seconds=seconds)
    observer.message(f"{'compiling' if choice.compile else 'not compiling'}: {choice.reason}")
    return choice.compile


def _sampler(model: GPT, tokenizer: Tokenizer, *, add_bos: bool) -> Sampler:
    engine = Engine(model, tokenizer, add_bos=add_bos)

    def sample(prompt: str, tokens: int, seed: int) -> str:
        sampling = SamplingConfig(max_tokens=tokens, temperature=0.8, seed=seed)
        return engine.run([Request(prompt, sampling)])[0].text

    return sample


def result_of(run: RunDirectory, model: GPT, outcome: Outcome) -> TrainResult:
    evaluation = outcome.evaluation
    return TrainResult(
        run=str(run.path),
        steps=outcome.progress.step,
        tokens=outcome.progress.tokens,
        train_loss=outcome.train_loss,
        val_loss=evaluation.loss if evaluation else None,
        val_bpb=evaluation.bits_per_byte if evaluation else None,
        seconds=outcome.progress.seconds,
        tokens_per_second=outcome.tokens_per_second,
        mfu=outcome.mfu,
        peak_memory_bytes=peak_memory_bytes(model.device),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        interrupted=outcome.interrupted,
    )
