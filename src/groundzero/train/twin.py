"""Training in NumPy: the same text, batches, settings, files and figures; every product and gradient made by the twin.

A run that was trained here is an ordinary run: `gz generate`, `gz info` and `gz train --resume` take it, as the twin
takes those that PyTorch trained. PyTorch is never imported.

Fine-tuning starts from another run's weights and keeps its tokenizer. With LoRA only thin matrices are learnt; the
checkpoint then holds the weights with the change folded in, and the change alone as `adapter.safetensors` beside them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundzero.data import TokenDataset, WindowLoader, Windows
from groundzero.data.preparation import prepare_corpus
from groundzero.data.sources import open_corpus
from groundzero.errors import FormatError, GroundzeroError, InputError, UsageError
from groundzero.hardware import peak_memory_bytes
from groundzero.model.aliases import translate
from groundzero.reference.config import GPTConfig
from groundzero.reference.lora import adapter_parameters, add_lora
from groundzero.reference.model import GPT
from groundzero.reference.module import Array, Parameter
from groundzero.reference.roles import OptimizerConfig, Optimizers
from groundzero.reference.safetensors import write
from groundzero.reference.training import Batch, DivergedError, Step, evaluate, fit
from groundzero.reference.utils import Checkpoint, Progress, assign, load_checkpoint, load_weights, save_checkpoint
from groundzero.run import RunDirectory
from groundzero.run.files import storage_errors
from groundzero.tokenizer import Tokenizer
from groundzero.train.config import RunConfig
from groundzero.train.inputs import DATA, prepare_data, removed_on_failure, resume_data, write_manifest
from groundzero.train.interrupt import graceful_interrupt
from groundzero.train.observer import Observer
from groundzero.train.plot import plot_loss
from groundzero.train.result import Evaluation, TrainResult
from groundzero.train.schedule import learning_rate_factor

BUDGET_SHARE = 0.85
"""Of a time budget, what steps may take; the rest is for evaluation, samples and saving."""
EVALUATION_TOKENS = 4096
"""Tokens in one forward pass of an evaluation, at least."""
ADAPTER = "adapter.safetensors"


@dataclass(frozen=True)
class Tuning:
    """What to start from, and how much of it may change."""

    base: RunDirectory
    rank: int = 0
    """Of the LoRA adapter; 0 trains every weight."""
    alpha: float = 8.0
    """Size of the adapter's change, relative to its rank."""


def train_twin(
    config: RunConfig,
    out: Path,
    *,
    tuning: Tuning | None = None,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> TrainResult:
    """Train in NumPy and leave a run in `out`.

    Args:
        tuning: start from another run; None starts from random weights.
        resume: go on with the run in `out`, whichever world trained it.

    Raises:
        InputError, FormatError, ConfigError, UsageError, StorageError: see the rooms that raise them.
    """
    observer = observer or Observer()
    if resume:
        run = RunDirectory.open(out)
        if run.manifest().get("tuning", {}).get("rank"):
            raise UsageError(f"{out} holds a merged adapter, which cannot be resumed.", remedy="Tune its base again.")
        stored = RunConfig.parse(run.manifest()["config"])
        longer = max(config.train.steps, stored.train.steps)
        config = stored.replace(train={**stored.train.model_dump(), "steps": longer})
        tokenizer, dataset = resume_data(run)
    else:
        run = RunDirectory.create(out, overwrite=overwrite)
        with removed_on_failure(run):
            if tuning is None:
                tokenizer, dataset = prepare_data(run, config, observer)
            else:
                tokenizer, dataset = _prepare_with(tuning.base, run, config, observer)
    model_config = {
        **config.model.model_dump(include=config.model.model_fields_set),
        "vocab_size": tokenizer.vocab_size,
    }
    config = config.replace(model=model_config)
    session = _Session(config, run, tokenizer, dataset, observer)
    if resume:
        session.restore()
    elif tuning is not None:
        session.start_from(tuning)
    steps = config.train.steps or session.steps_for_budget()
    config = config.replace(train={**config.train.model_dump(), "steps": steps, "compile": "off"})
    session.config = config
    if not resume:
        write_manifest(run, config, tokenizer, dataset, {"device": "cpu", "precision": "float32", "world": "numpy"})
        if tuning is not None:
            run.write_manifest(tuning={"base": str(tuning.base.path), "rank": tuning.rank, "alpha": tuning.alpha})
    interrupted = session.train(steps)
    with storage_errors(f"write {run.path / 'loss.png'}"):
        plot_loss(run.metrics, run.path / "loss.png")
    return session.result(interrupted)


def load_twin(run: RunDirectory, which: Any = "best") -> GPT:
    """The network of a run's checkpoint, in NumPy.

    Raises:
        InputError, FormatError: there is no sound checkpoint, or it does not fit its configuration.
    """
    stored = RunConfig.parse(translate(run.manifest()["config"]))
    gpt = GPT(GPTConfig.from_mapping(stored.model.model_dump()))
    found = run.checkpoint(which)
    assert found.checkpoint is not None
    with _readable(found.checkpoint.path):
        assign(gpt.parameters(), load_weights(found.checkpoint.path))
    return gpt


class _Session:
    """One training: the model, what trains it, and where it leaves what."""

    def __init__(
        self, config: RunConfig, run: RunDirectory, tokenizer: Tokenizer, dataset: TokenDataset, observer: Observer
    ) -> None:
        train = config.train
        self.config, self.run, self.tokenizer, self.observer = config, run, tokenizer, observer
        self.starts_with_bos = dataset.starts_with_bos
        self.loader = WindowLoader(dataset, batch_size=train.batch_size, context=config.model.context, seed=train.seed)
        if train.accumulate > 1:
            raise UsageError("The NumPy trainer makes one pass a step.", remedy="Set train.accumulate=1.")
        if train.isolate_documents:
            raise UsageError("The NumPy trainer lets documents of a row see each other.", remedy="Leave it out.")
        self.gpt = GPT(GPTConfig.from_mapping(config.model.model_dump()), seed=train.seed)
        self.adapter: dict[str, Parameter] = {}
        self.adapted: list[Any] = []
        self.optimizers = self._optimizers(self.gpt.parameters())
        self.progress = Progress()
        self.evaluation: Evaluation | None = None
        self.train_loss = math.nan
        self.speeds: list[float] = []

    def _optimizers(self, parameters: dict[str, Parameter]) -> Optimizers:
        train = self.config.train
        names = OptimizerConfig.__dataclass_fields__
        settings = OptimizerConfig(**{name: getattr(train, name) for name in names})
        return Optimizers(parameters, settings)

    def start_from(self, tuning: Tuning) -> None:
        """Take over another run's weights; with a rank, freeze them and add an adapter."""
        self.gpt = load_twin(tuning.base)
        if tuning.rank:
            self.adapted = list(add_lora(self.gpt, tuning.rank, tuning.alpha, seed=self.config.train.seed))
            self.adapter = adapter_parameters(self.gpt)
            all_weights = sum(p.value.size for p in self.gpt.parameters().values())
            thin = sum(p.value.size for p in self.adapter.values())
            share = thin / (all_weights - thin)
            self.observer.message(f"LoRA of rank {tuning.rank}: {thin:,} numbers to learn, {share:.1%} of the model's")
        self.optimizers = self._optimizers(self.adapter or self.gpt.parameters())

    def restore(self) -> None:
        """Go back to the newest sound checkpoint."""
        found = self.run.checkpoint("latest")
        assert found.checkpoint is not None
        with _readable(found.checkpoint.path):
            checkpoint = load_checkpoint(found.checkpoint.path)
            assign(self.gpt.parameters(), checkpoint.weights)
            self.optimizers.load_state(checkpoint.optimizer)
        self.progress = checkpoint.progress
        step = self.progress.step
        with storage_errors(f"write {self.run.metrics_path}"):
            self.run.metrics.retain(lambda record: record["step"] <= step)
        self.observer.message(f"resuming at step {step} of {self.config.train.steps}")

    def steps_for_budget(self) -> int:
        """Steps from epochs, or from a time budget measured on copies; one epoch when neither is given."""
        train = self.config.train
        if train.epochs or not train.minutes:
            return self.loader.steps_for(train.epochs or 1.0)
        gpt = copy.deepcopy(self.gpt)
        names = self.adapter or self.gpt.parameters()
        parameters = {name: parameter for name, parameter in gpt.parameters().items() if name in names}
        trial = fit(gpt, self._optimizers(parameters), self.batch_of, lambda step: 0.0, range(4))
        times = [step.seconds for step in trial]
        seconds = sorted(times[1:])[1]
        steps = max(1, int(train.minutes * 60 * BUDGET_SHARE / seconds))
        self.observer.message(f"{train.minutes:g} minutes at {seconds * 1e3:.0f} ms a step: {steps} steps")
        return steps

    def batch_of(self, step: int) -> Batch:
        """The very batch that PyTorch would see."""
        return _pair(self.loader.windows(step))

    def train(self, steps: int) -> bool:
        """Train until `steps` steps are done in all; returns whether a signal ended it before."""
        train, first = self.config.train, self.progress.step
        evaluate_every = train.evaluate_every or max(1, math.ceil(steps / 10))
        checkpoint_every = train.checkpoint_every or evaluate_every
        sample_every = train.sample_every or evaluate_every
        losses: list[float] = []
        interrupted = False
        self.observer.begins(first, steps)
        try:
            with graceful_interrupt() as stop:
                for step in self._fit(range(first, steps), lambda s: learning_rate_factor(s, steps, train), train.clip):
                    losses.append(step.loss)
                    self.speeds.append(step.tokens / step.seconds)
                    self.progress.step, self.progress.tokens = step.number, self.progress.tokens + step.tokens
                    self.progress.seconds += step.seconds
                    last, record = step.number == steps, None
                    interrupted = stop.requested and not last
                    if step.number % train.log_every == 0 or last:
                        self.train_loss = float(np.mean(losses))
                        losses.clear()
                        record = self._log(step, learning_rate_factor(step.number - 1, steps, train))
                    self.observer.stepped(step.number, record)
                    if step.number % checkpoint_every == 0 or last or interrupted:
                        self.progress.pending_losses = list(losses)
                        self._save(step.number)
                    if interrupted:
                        break
                    if step.number % evaluate_every == 0 or last:
                        self._evaluate(step.number)
                    if step.number % sample_every == 0 or last:
                        self._sample(step.number)
        finally:
            self.observer.ends()
        return interrupted

    def _fit(self, steps: range, rate_factor: Callable[[int], float], clip: float) -> Iterator[Step]:
        try:
            seed = self.config.train.seed
            yield from fit(self.gpt, self.optimizers, self.batch_of, rate_factor, steps, clip=clip, seed=seed)
        except DivergedError as error:
            raise GroundzeroError(
                f"{str(error).capitalize()}.", remedy="Train again with a lower learning rate."
            ) from None

    def _log(self, step: Step, factor: float) -> dict[str, Any]:
        record = {
            "step": step.number,
            "tokens": self.progress.tokens,
            "seconds": round(self.progress.seconds, 3),
            "epoch": round(self.loader.epoch_at(step.number), 4),
            "train_loss": self.train_loss,
            "grad_norm": step.gradient_length,
            "learning_rate": factor * self.config.train.learning_rate,
            "tokens_per_second": round(step.tokens / step.seconds, 1),
            "mfu": None,
            "memory_bytes": peak_memory_bytes("cpu"),
        }
        self._record(record)
        return record

    def _record(self, record: dict[str, Any]) -> None:
        with storage_errors(f"write {self.run.metrics_path}"):
            self.run.metrics.append(**record)

    def _save(self, step: int) -> None:
        for layer in self.adapted:
            layer.merge()
        weights = {name: p.value for name, p in self.gpt.parameters().items() if name not in self.adapter}
        state: dict[str, Array] = {} if self.adapter else self.optimizers.state()

        def save(folder: Path) -> None:
            save_checkpoint(folder, Checkpoint(dict(weights), dict(state), self.progress))
            if self.adapter:
                scale = str(self.adapted[0].scale)
                write(folder / ADAPTER, {n: p.value for n, p in self.adapter.items()}, metadata={"scale": scale})

        try:
            self.run.publish_checkpoint(step, save, {"tokens": self.progress.tokens})
        finally:
            for layer in self.adapted:
                layer.unmerge()
        self.run.prune(self.config.train.keep_checkpoints)

    def _evaluate(self, step: int) -> None:
        limit = self.config.train.evaluate_tokens or None
        rows = max(self.loader.batch_size, EVALUATION_TOKENS // self.loader.context)
        score = evaluate(self.gpt, map(_pair, self.loader.validation_windows(max_tokens=limit, batch_size=rows)))
        n_byte = self.loader.validation_bytes(max_tokens=limit)
        loss_sum, correct = score.loss * score.tokens, round(score.accuracy * score.tokens)
        self.evaluation = Evaluation.of_sums(loss_sum, correct, score.tokens, n_byte)
        record = {"step": step, **self.evaluation.as_record()}
        self._record(record)
        if self.progress.best_loss is None or score.loss < self.progress.best_loss:
            self.progress.best_loss = score.loss
            if step in self.run.checkpoints.steps():
                self.run.mark_best(step, val_loss=score.loss)
        self.observer.evaluated(record)

    def _sample(self, step: int) -> None:
        train, start = self.config.train, [self.tokenizer.bos_id] if self.starts_with_bos else []
        for prompt in train.sample_prompts if train.sample_tokens else ():
            ids = [*start, *self.tokenizer.encode(prompt)] or [self.tokenizer.bos_id]
            ends = {self.tokenizer.eos_id}
            new = list(self.gpt.generate(ids, train.sample_tokens, temperature=0.8, stop=ends, seed=step))
            self.observer.sampled(step, prompt, self.tokenizer.decode(new))

    def result(self, interrupted: bool) -> TrainResult:
        """What `gz reference train --json` prints."""
        evaluation, speeds = self.evaluation, sorted(self.speeds)
        return TrainResult(
            run=str(self.run.path),
            steps=self.progress.step,
            tokens=self.progress.tokens,
            train_loss=self.train_loss,
            val_loss=evaluation.loss if evaluation else None,
            val_bpb=evaluation.bits_per_byte if evaluation else None,
            seconds=self.progress.seconds,
            tokens_per_second=speeds[len(speeds) // 2] if speeds else 0.0,
            mfu=None,
            peak_memory_bytes=peak_memory_bytes("cpu"),
            parameters=sum(parameter.value.size for parameter in self.gpt.parameters().values()),
            interrupted=interrupted,
        )


def _pair(windows: Windows) -> Batch:
    return windows.tokens_BT, windows.targets_BT


def _prepare_with(
    base: RunDirectory, run: RunDirectory, config: RunConfig, observer: Observer
) -> tuple[Tokenizer, TokenDataset]:
    """Encode new text with the tokenizer of the run that is tuned."""
    if not config.data.text:
        raise UsageError("There is no text to tune on.", remedy="Give --text FILE or a folder.")
    tokenizer = Tokenizer.load(base.tokenizer_path)
    with open_corpus(config.data.text, config.data) as corpus:
        if not corpus.bytes:
            raise InputError(f"{corpus.root} is empty.", remedy="Give a file or folder with text.")
        tokenizer.save(run.tokenizer_path)
        dataset = prepare_corpus(corpus, run.path / DATA, tokenizer, overwrite=True, progress=observer.preparing)
    return tokenizer, dataset


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """The reference knows none of our errors: say which checkpoint it could not use."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise FormatError(
            f"Cannot use the checkpoint {folder}: {error}",
            remedy="Use another checkpoint of the run (`gz runs verify RUN` lists the sound ones).",
        ) from None
