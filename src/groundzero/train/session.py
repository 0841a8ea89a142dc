"""From a resolved configuration to a trained run directory: text -> tokenizer -> shards -> model -> `Trainer`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundzero.data import BatchLoader, TokenDataset
from groundzero.data.preparation import prepare_corpus
from groundzero.data.registry import Registry
from groundzero.data.sources import open_corpus
from groundzero.errors import ConfigError, InputError, UsageError
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
from groundzero.run import RunDirectory, sha256_of
from groundzero.run.files import storage_errors
from groundzero.tokenizer import Tokenizer, train_tokenizer
from groundzero.train.config import RunConfig
from groundzero.train.observer import Observer
from groundzero.train.plot import plot_loss
from groundzero.train.trainer import Outcome, Sampler, Trainer

DATA = "data"
"""Prepared text, inside the run directory, so that a run needs nothing else to go on."""
BUDGET_SHARE = 0.85
"""Of a time budget, what steps may take; the rest is for evaluation, samples and saving."""


@dataclass(frozen=True)
class TrainResult:
    """What `gz train --json` prints."""

    run: str
    """The run directory."""
    steps: int
    """Updates of the weights, in all."""
    tokens: int
    """Targets learned from, in all."""
    train_loss: float
    """Last logged training loss, in nats."""
    val_loss: float | None
    """Last validation loss, in nats."""
    val_bpb: float | None
    """The same in bits per byte."""
    seconds: float
    """Time spent in steps."""
    tokens_per_second: float
    """Median speed of the steps."""
    mfu: float | None
    """Share of the hardware's peak."""
    peak_memory_bytes: int
    """Most memory the process (or the GPU) has held."""
    parameters: int
    """Learned numbers."""
    interrupted: bool
    """Stopped by a signal; `--resume` goes on."""


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
        config = _stored_config(run, config)
    else:
        run = RunDirectory.create(out, overwrite=overwrite)
    run.sweep()
    keep_freed_memory()
    device = choose_device(config.train.device)
    precision = choose_precision(device, config.train.precision)
    observer.message(f"{device.reason}; {precision.reason}")
    if resume:
        tokenizer, dataset = _resume_data(run)
    else:
        with _removed_on_failure(run):
            tokenizer, dataset = _prepare_data(run, config, observer)
    config = config.replace(model={**_given(config.model), "vocab_size": tokenizer.vocab_size})

    trainer = _make_trainer(run, config, tokenizer, dataset, device, precision, observer)
    steps = config.train.steps or _steps_for(config, trainer, observer)
    compiling = config.train.compile == "on"
    if not resume:
        compiling = _choose_compiling(config, trainer, device, steps, observer)
    resolved = {"steps": steps, "compile": "on" if compiling else "off"}
    config = config.replace(train={**config.train.model_dump(), **resolved})
    if resume:
        _restore(trainer, run, steps, observer)
        if run.manifest()["config"]["train"]["steps"] != steps:
            run.write_manifest(config=json.loads(config.model_dump_json()))
    else:
        _write_manifest(run, config, tokenizer, dataset, {"device": device.name, "precision": precision.name})
    if compiling:
        trainer.forward = torch.compile(trainer.model.loss)
    outcome = trainer.fit(steps)
    with storage_errors(f"write {run.path / 'loss.png'}"):
        plot_loss(run.metrics, run.path / "loss.png")
    return _result(run, trainer.model, outcome)


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


def _stored_config(run: RunDirectory, wanted: RunConfig) -> RunConfig:
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


def _restore(trainer: Trainer, run: RunDirectory, steps: int, observer: Observer) -> None:
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


def _prepare_data(run: RunDirectory, config: RunConfig, observer: Observer) -> tuple[Tokenizer, TokenDataset]:
    """Train the tokenizer and encode the text into the run; or take a dataset that is prepared already."""
    place, prepared = _source(config)
    if prepared:
        dataset = TokenDataset.open(place)
        assert dataset.tokenizer_path is not None
        tokenizer = Tokenizer.load(dataset.tokenizer_path)
        tokenizer.save(run.tokenizer_path)
        return tokenizer, dataset
    with open_corpus(place, config.data) as corpus:
        if not corpus.bytes:
            raise InputError(f"{corpus.root} is empty.", remedy="Give a file or folder with text.")
        observer.message(f"training the {config.tokenizer.kind} tokenizer on {corpus.bytes / 1e6:.1f} MB")
        tokenizer = train_tokenizer(corpus, config.tokenizer)
        tokenizer.save(run.tokenizer_path)
        dataset = prepare_corpus(corpus, run.path / DATA, tokenizer, overwrite=True, progress=observer.preparing)
    return tokenizer, dataset


@contextmanager
def _removed_on_failure(run: RunDirectory) -> Iterator[None]:
    """Text that cannot be used leaves no half-made run behind, and its name free for the next try."""
    try:
        yield
    except BaseException:
        if not run.manifest_path.exists():
            shutil.rmtree(run.path / DATA, ignore_errors=True)
            run.tokenizer_path.unlink(missing_ok=True)
            with suppress(OSError):  # a folder with anything else in it is not ours to remove
                run.checkpoints.folder.rmdir()
                run.path.rmdir()
        raise


def _source(config: RunConfig) -> tuple[str, bool]:
    """Where the data are, and whether they are tokens already: `data.text`, `data.dataset`, or the chosen dataset."""
    if config.data.text:
        return config.data.text, False
    registry = Registry()
    entry = registry.locate(config.data.dataset) if config.data.dataset else registry.default()
    if entry is None:
        raise ConfigError(
            "There is nothing to train on.",
            remedy="Give --text FILE or a folder, --dataset NAME, or `gz data use NAME`.",
        )
    return str(entry.path), entry.kind != "text"


def _resume_data(run: RunDirectory) -> tuple[Tokenizer, TokenDataset]:
    tokenizer = Tokenizer.load(run.tokenizer_path)
    dataset = TokenDataset.open(run.manifest()["data"]["path"] or run.path / DATA)
    dataset.check_tokenizer(tokenizer.fingerprint)
    return tokenizer, dataset


def _steps_for(config: RunConfig, trainer: Trainer, observer: Observer) -> int:
    """Steps from epochs, or from a time budget; one epoch when neither is given."""
    train = config.train
    if train.epochs or not train.minutes:
        return max(1, -(-trainer.loader.steps_for(train.epochs or 1.0) // train.accumulate))
    seconds = trainer.seconds_per_step()
    steps = max(1, int(train.minutes * 60 * BUDGET_SHARE / seconds))
    observer.message(f"{train.minutes:g} minutes at {seconds * 1e3:.0f} ms a step: {steps} steps")
    return steps


def _choose_compiling(config: RunConfig, trainer: Trainer, device: Device, steps: int, observer: Observer) -> bool:
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


def _write_manifest(
    run: RunDirectory, config: RunConfig, tokenizer: Tokenizer, dataset: TokenDataset, hardware: Mapping[str, str]
) -> None:
    inside = dataset.path is not None and dataset.path.parent == run.path
    manifest = dataset.manifest
    run.write_manifest(
        config=json.loads(config.model_dump_json(exclude_defaults=False)),
        seeds={"train": config.train.seed, "data": config.data.seed},
        tokenizer={"sha256": sha256_of(run.tokenizer_path), "fingerprint": tokenizer.fingerprint},
        data={
            "path": "" if inside else str(dataset.path),
            "sha256": sha256_of(dataset.path / "manifest.json") if dataset.path else "",
            "starts_with_bos": dataset.starts_with_bos,
            "train_tokens": len(dataset.train),
            "validation_tokens": len(dataset.validation),
            "sources": [source.name for source in manifest.sources][:100] if manifest else [],
        },
        hardware=dict(hardware),
        command=sys.argv[1:],
    )


def _result(run: RunDirectory, model: GPT, outcome: Outcome) -> TrainResult:
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
