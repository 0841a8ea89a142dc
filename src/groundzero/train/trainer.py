"""The training loop: batch, loss, gradient, update; and between steps, whatever keeps a training safe and visible.

There is one. Tuning hands it other data and other parameters, never another loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from groundzero.data import Batch, Loader
from groundzero.errors import GroundzeroError
from groundzero.hardware import peak_memory_bytes
from groundzero.model.gpt import GPT
from groundzero.model.size import flops_per_token
from groundzero.run import RunDirectory
from groundzero.run.files import storage_errors
from groundzero.train.checkpoint import Progress, load_training, random_states, save_training, set_random_states
from groundzero.train.config import TrainConfig
from groundzero.train.evaluate import evaluate
from groundzero.train.interrupt import StopRequest, graceful_interrupt
from groundzero.train.observer import Observer
from groundzero.train.optimizer import Optimizers
from groundzero.train.result import Evaluation
from groundzero.train.schedule import learning_rate_factor

_DIVERGED = "Train again with a lower learning rate, or --precision float32; the checkpoints before it are intact."
Sampler = Callable[[str, int, int], str]
"""(prompt, tokens, seed) -> the continued text."""


class TrainingError(GroundzeroError):
    """The loss or the gradient stopped being a number; the weights are those of before."""

    kind = "training"


@dataclass(frozen=True)
class Outcome:
    """How a call of `Trainer.fit` ended."""

    progress: Progress
    """How far the training is."""
    train_loss: float
    """The last logged training loss, in nats; nan when no step ran."""
    evaluation: Evaluation | None
    """The last evaluation."""
    tokens_per_second: float
    """Median over the logged stretches, evaluation and saving left out."""
    mfu: float | None
    """Share of the hardware's peak spent on the model's own arithmetic; None where the peak is not known."""
    interrupted: bool
    """A signal asked to stop before the last step."""


class Trainer:
    """Trains a model that is already on its device, in the precision its `compute_dtype` says.

    Args:
        loader: batches of the training split, by micro-batch: step s takes `accumulate` of them from s * accumulate.
        run: where checkpoints and metrics go; None keeps nothing.
        peak_flops: the hardware's rate for matrix products, in FLOP/s, for MFU.
        sampler: continues the fixed prompts along the way.
        forward: the loss function, where it is not `model.loss` itself (compiled, say).
    """

    def __init__(
        self,
        model: GPT,
        loader: Loader,
        config: TrainConfig,
        *,
        run: RunDirectory | None = None,
        observer: Observer | None = None,
        peak_flops: float | None = None,
        sampler: Sampler | None = None,
        forward: Callable[..., torch.Tensor] | None = None,
    ) -> None:
        self.model, self.loader, self.config, self.run = model, loader, config, run
        self.observer = observer or Observer()
        self.peak_flops, self.sampler = peak_flops, sampler
        self.forward = forward or model.loss
        self.optimizers = Optimizers(model, config)
        self.progress = Progress()
        self.evaluation: Evaluation | None = None
        half = model.compute_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(model.device.type) if half else None
        self._speeds: list[float] = []
        self._owes_report = False

    def restore(self, checkpoint: Path) -> None:
        """Continue from a checkpoint's weights, optimiser and random state.

        Evaluation and samples of its step were recorded after it was saved, if at all: `fit` makes them again.
        """
        self.progress = load_training(checkpoint, self.model, self.optimizers)
        if self.scaler is not None and self.progress.scaler:
            self.scaler.load_state_dict(self.progress.scaler)
        if self.run is not None:
            step = self.progress.step
            with storage_errors(f"write {self.run.metrics_path}"):
                self.run.metrics.retain(
                    lambda record: record["step"] < step or (record["step"] == step and "train_loss" in record)
                )
            self._owes_report = True
            losses = [record["val_loss"] for record in self.run.metrics if "val_loss" in record]
            self.progress.best_loss = min(losses, default=None)

    def fit(self, steps: int) -> Outcome:
        """Train until `steps` steps are done in all.

        Checkpoints are saved before anything else that can fail at the same step. SIGINT and SIGTERM save and return.

        Raises:
            TrainingError: a loss or gradient is not finite; nothing was updated with it.
            StorageError: a checkpoint could not be saved.
        """
        config, observer = self.config, self.observer
        evaluate_every = config.evaluate_every or max(1, math.ceil(steps / 10))
        checkpoint_every = config.checkpoint_every or evaluate_every
        sample_every = config.sample_every or evaluate_every
        train_loss, interrupted = self._last_logged_loss(), False
        self.model.train()
        observer.begins(self.progress.step, steps)
        try:
            if self._owes_report:
                self._report(self.progress.step, steps, evaluate_every, sample_every)
                self._owes_report = False
            meter = _Meter(self.progress.pending_losses)
            with graceful_interrupt() as stop, self._batches(steps) as batches:
                for step, micro_batches in batches:
                    factor = learning_rate_factor(step, steps, config)
                    self.optimizers.set_factor(factor)
                    loss, grad_norm, tokens = self._step(micro_batches)
                    done = step + 1
                    self.progress.seconds += meter.add(loss, tokens)
                    self.progress.step, self.progress.tokens = done, self.progress.tokens + tokens
                    last, interrupted = done == steps, self._stopped(stop, done, steps)
                    record = None
                    if done % config.log_every == 0 or last:
                        train_loss, speed = meter.take()
                        self._check_finite(train_loss, done)
                        self._speeds.append(speed)
                        record = self._log(done, train_loss, float(grad_norm), factor, speed)
                    observer.stepped(done, record)
                    if done % checkpoint_every == 0 or last or interrupted:
                        self.progress.pending_losses = meter.losses()
                        self._save(done)
                    if not interrupted:
                        self._report(done, steps, evaluate_every, sample_every)
                    elif meter.losses():
                        train_loss, speed = meter.take()  # for the outcome; the record comes when its steps are done
                        self._speeds.append(speed)
                    meter.start()
                    if interrupted:
                        break
        finally:
            observer.ends()
        speed = sorted(self._speeds)[len(self._speeds) // 2] if self._speeds else 0.0
        return Outcome(self.progress, train_loss, self.evaluation, speed, self._mfu(speed), interrupted)

    def seconds_per_step(self, n_step: int = 3) -> float:
        """Time whole steps before the first one, for a time budget: weights, state and random numbers stay as they are.

        The updates are made at a rate of 0, and the optimisers' state is forgotten again.
        """
        assert self.progress.step == 0, "a training that has begun has state to lose"
        state = random_states(self.model.device)
        self.model.train()
        self.optimizers.set_factor(0.0)
        times = []
        for index in range(n_step + 1):
            batches = [self.loader.batch(micro) for micro in range(self.config.accumulate)]
            start = time.perf_counter()
            for batch in batches:
                self._loss(batch.to(self.model.device)).backward()  # type: ignore[no-untyped-call]
            self.optimizers.step()
            float(next(self.model.parameters()).detach().flatten()[0])  # waits for the device
            if index:  # the first one warms up
                times.append(time.perf_counter() - start)
        self.optimizers.forget()
        set_random_states(state, self.model.device)
        return sorted(times)[len(times) // 2]

    # ------------------------------------------------------------------ one step

    def _batches(self, steps: int) -> Any:
        """A context with (step, its micro-batches) from the present step on."""
        accumulate = self.config.accumulate
        first = self.progress.step * accumulate
        if steps <= self.progress.step:
            return nullcontext(iter(()))
        pin = self.model.device.type == "cuda"
        return _Grouped(self.loader.prefetch(first, steps * accumulate, pin=pin), accumulate)

    def _step(self, micro_batches: list[Batch]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Update the weights once: mean loss over all targets of the step, gradient norm, number of targets."""
        counts = [int((batch.targets_BT >= 0).sum()) for batch in micro_batches]
        total = max(1, sum(counts))
        loss = torch.zeros((), device=self.model.device)
        for batch, count in zip(micro_batches, counts, strict=True):
            part = self._loss(batch.to(self.model.device, non_blocking=True))
            if len(micro_batches) > 1:
                part = part * (count / total)  # every target weighs the same, however ragged the batches
            scaled = part if self.scaler is None else self.scaler.scale(part)
            scaled.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        if self.scaler is not None:
            for optimizer in self.optimizers.optimizers:
                self.scaler.unscale_(optimizer)  # type: ignore[arg-type]  # asks for param_groups only
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip or float("inf"), foreach=True)
        if self.scaler is not None:
            for optimizer in self.optimizers.optimizers:
                self.scaler.step(optimizer)  # type: ignore[arg-type]  # asks for step() only
                optimizer.zero_grad()
            self.scaler.update()
        elif math.isfinite(float(loss + grad_norm)):  # waits for the device, so that nothing bad reaches a weight
            self.optimizers.step()
        else:
            self.model.zero_grad(set_to_none=True)
            raise TrainingError(
                f"Step {self.progress.step + 1} gave a loss of {float(loss):.4g} and a gradient of length "
                f"{float(grad_norm):.4g}.",
                remedy=_DIVERGED,
            )
        return loss, grad_norm, sum(counts)

    def _loss(self, batch: Batch) -> torch.Tensor:
        if self.config.isolate_documents and batch.has_borders:
            borders = {"documents_BT": batch.documents_BT, "positions_BT": batch.positions_BT}
            return self.forward(batch.tokens_BT, batch.targets_BT, **borders, **batch.extras)
        return self.forward(batch.tokens_BT, batch.targets_BT, **batch.extras)

    @staticmethod
    def _check_finite(loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {step}.",
                remedy=_DIVERGED,
            )

    @staticmethod
    def _stopped(stop: StopRequest, done: int, steps: int) -> bool:
        return stop.requested and done < steps

    # ------------------------------------------------------------------ between steps

    def _log(self, step: int, loss: float, grad_norm: float, factor: float, speed: float) -> dict[str, Any]:
        record = {
            "step": step,
            "tokens": self.progress.tokens,
            "seconds": round(self.progress.seconds, 3),
            "epoch": round(self.loader.epoch_at(step * self.config.accumulate), 4),
            "train_loss": loss,
            "grad_norm": grad_norm if math.isfinite(grad_norm) else None,  # a float16 step that the scaler left out
            "learning_rate": factor * self.config.learning_rate,
            "tokens_per_second": round(speed, 1),
            "mfu": self._mfu(speed),
            "memory_bytes": peak_memory_bytes(self.model.device),
        }
        self._record(record)
        return record

    def _record(self, record: dict[str, Any]) -> None:
        if self.run is not None:
            with storage_errors(f"write {self.run.metrics_path}"):
                self.run.metrics.append(**record)

    def _last_logged_loss(self) -> float:
        losses = [record["train_loss"] for record in self.run.metrics if "train_loss" in record] if self.run else []
        return float(losses[-1]) if losses else float("nan")

    def _mfu(self, speed: float) -> float | None:
        if not self.peak_flops:
            return None
        return speed * flops_per_token(self.model.config, self.loader.context) / self.peak_flops

    def _save(self, step: int) -> None:
        if self.run is None:
            return
        if self.scaler is not None:
            self.progress.scaler = self.scaler.state_dict()

        def write(folder: Path) -> None:
            save_training(folder, self.model, self.optimizers, self.progress)

        self.run.publish_checkpoint(step, write, {"tokens": self.progress.tokens})
        self.run.prune(self.config.keep_checkpoints)

    def _report(self, step: int, steps: int, evaluate_every: int, sample_every: int) -> None:
        """Evaluate and sample, where due."""
        if step % evaluate_every == 0 or step == steps:
            self._evaluate(step)
        if step % sample_every == 0 or step == steps:
            self._sample(step)

    def _evaluate(self, step: int) -> None:
        self.evaluation = evaluate(
            self.model,
            self.loader,
            max_tokens=self.config.evaluate_tokens,
            isolate_documents=self.config.isolate_documents,
        )
        record = {"step": step, **self.evaluation.as_record()}
        best = self.progress.best_loss is None or self.evaluation.loss < self.progress.best_loss
        if best:
            self.progress.best_loss = self.evaluation.loss
        self._record(record)
        if self.run is not None and best and step in self.run.checkpoints.steps():
            self.run.mark_best(step, val_loss=self.evaluation.loss)
        self.observer.evaluated(record)

    def _sample(self, step: int) -> None:
        if self.sampler is None or not self.config.sample_tokens:
            return
        for prompt in self.config.sample_prompts:
            text = self.sampler(prompt, self.config.sample_tokens, self.config.seed)
            self._record({"step": step, "prompt": prompt, "sample": text})
            self.observer.sampled(step, prompt, text)


class _Grouped:
    """Micro-batches of one step together."""

    def __init__(self, prefetch: Any, accumulate: int) -> None:
        self._prefetch, self._accumulate = prefetch, accumulate

    def __enter__(self) -> Iterator[tuple[int, list[Batch]]]:
        return self._group(self._prefetch.__enter__())

    def __exit__(self, *raised: Any) -> Literal[False]:
        self._prefetch.__exit__(*raised)
        return False

    def _group(self, batches: Iterator[tuple[int, Batch]]) -> Iterator[tuple[int, list[Batch]]]:
        held: list[Batch] = []
        for micro, batch in batches:
            held.append(batch)
            if len(held) == self._accumulate:
                yield micro // self._accumulate, held
                held = []


class _Meter:
    """Mean loss and speed since the last record, without asking the device for a number at every step.

    Args:
        losses: of the steps before a stop that no record covers yet; the next mean is then as if nothing had happened.
    """

    def __init__(self, losses: Iterable[float]) -> None:
        self._losses = [torch.tensor(loss) for loss in losses]
        self._tokens = 0
        self._seconds = 0.0
        self.start()

    def start(self) -> None:
        """Begin timing a step; what lies between `add` and here is not counted."""
        self._since = time.perf_counter()

    def add(self, loss: torch.Tensor, tokens: int) -> float:
        """End of a step; returns its seconds."""
        seconds = time.perf_counter() - self._since
        self._losses.append(loss)
        self._tokens += tokens
        self._seconds += seconds
        return seconds

    def losses(self) -> list[float]:
        """Of the steps since the last record."""
        return [float(loss) for loss in self._losses]

    def take(self) -> tuple[float, float]:
        """Mean loss and tokens per second since the last call."""
        loss = float(torch.stack([loss.cpu() for loss in self._losses]).mean())
        speed = self._tokens / max(self._seconds, 1e-9)
        self._losses, self._tokens, self._seconds = [], 0, 0.0
        return loss, speed
