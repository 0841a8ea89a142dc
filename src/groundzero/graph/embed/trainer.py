"""The training loop: steps, schedule, evaluation, early stopping, checkpoints, and resuming to the last bit.

    trainer = EmbeddingTrainer(config, splits)
    trainer.run(observer=..., checkpoints=..., should_stop=...)
    trainer.best_tables          # (entities_ED, relations_RW) of the best validation MRR

A step is a function of the tables, the optimiser's state and (seed, epoch, step) alone, so a checkpoint at any step and
a fresh process give the same numbers as never having stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from groundzero.graph.embed.batches import generator_for, make_batches
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import initial_tables
from groundzero.graph.embed.optimizer import RowOptimizer
from groundzero.graph.embed.ranking import RankingReport, evaluate_ranking
from groundzero.graph.embed.rows import Contributions, touched_all
from groundzero.graph.embed.splits import Splits
from groundzero.graph.embed.step import Gradients, StepFunction
from groundzero.hardware import choose_device, keep_freed_memory

VALIDATION_SCORES = 3e8
"""Scores in one evaluation where the settings do not say how many triples: some seconds of one core."""


@dataclass
class EmbedProgress:
    """How far a training is; all of it goes into checkpoints."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps done in the epoch at hand."""
    triples: int = 0
    """Training triples seen in all."""
    seconds: float = 0.0
    """Spent in steps, evaluation apart."""
    loss_sum: float = 0.0
    """Of the epoch at hand."""
    loss_weight: float = 0.0
    loss: float | None = None
    """Mean over the last whole epoch, per training triple."""
    rate: float = 0.0
    """Learning rate now."""
    best_mrr: float | None = None
    best_epoch: int = 0
    bad_evaluations: int = 0
    """Evaluations since the best."""
    plateau_evaluations: int = 0
    """Evaluations since the best or since the rate last fell."""
    stopped_early: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    """A record per evaluation: epoch, loss, mrr, hits_at_10, rate."""


class EmbedObserver:
    """Receives news of a training; every method does nothing unless overridden."""

    def begins(self, epoch: int, epochs: int, steps_per_epoch: int) -> None:
        """Training starts after `epoch` of `epochs`."""

    def stepped(self, progress: EmbedProgress) -> None:
        """A step is done."""

    def epoch_done(self, progress: EmbedProgress) -> None:
        """An epoch is done; `progress.loss` is its mean."""

    def evaluated(self, record: Mapping[str, float]) -> None:
        """The validation split was ranked."""

    def message(self, text: str) -> None:
        """A line worth knowing."""


class EmbeddingTrainer:
    """Trains one embedding. `entities_ED` and `relations_RW` are the tables as they stand."""

    def __init__(self, config: EmbedConfig, splits: Splits) -> None:
        keep_freed_memory()
        config = config.resolved(splits.n_entities)
        self.config, self.splits = config, splits
        self.device = torch.device(choose_device(config.device).name)
        entities_ED, relations_RW = initial_tables(config, splits.n_entities, splits.n_relations)
        self.entities_ED, self.relations_RW = entities_ED.to(self.device), relations_RW.to(self.device)
        self.entity_optimizer = RowOptimizer(config.optimizer, self.entities_ED)
        self.relation_optimizer = RowOptimizer(config.optimizer, self.relations_RW)
        self.batches = make_batches(config, splits)
        self.progress = EmbedProgress(rate=config.learning_rate)
        self.best_tables = (self.entities_ED, self.relations_RW)
        self._step_function = StepFunction(config)
        self._order: tuple[int, Tensor] | None = None

    @property
    def finished(self) -> bool:
        """No more steps will be taken."""
        return self.progress.stopped_early or self.progress.epoch >= self.config.epochs

    def run(
        self,
        observer: EmbedObserver | None = None,
        *,
        save: Callable[[EmbeddingTrainer], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> EmbedProgress:
        """Train until the end, until validation stops improving, or until `should_stop` between two steps.

        `save` is called after each evaluation, when asked to stop, and at the end.
        """
        observer = observer or EmbedObserver()
        observer.begins(self.progress.epoch, self.config.epochs, self.batches.steps_per_epoch)
        while not self.finished:
            if not self.run_epoch(observer, should_stop):
                break
            if self._is_evaluation_due():
                self._evaluate(observer)
                if save:
                    save(self)
        if save:
            save(self)
        return self.progress

    def step(self) -> Gradients:
        """One batch: gradients, then the update of the rows it touched."""
        progress = self.progress
        start = time.perf_counter()
        if self._order is None or self._order[0] != progress.epoch:
            self._order = (progress.epoch, self.batches.epoch(progress.epoch))
        batch = self.batches.batch(progress.epoch, progress.step, self._order[1]).to(self.device)
        dropout = self._dropout(len(batch.anchor_B))
        gradients = self._step_function.gradients(self.entities_ED, self.relations_RW, batch, dropout)
        self._apply(gradients)
        progress.step += 1
        progress.triples += gradients.triples
        progress.loss_sum += gradients.loss
        progress.loss_weight += gradients.weight
        progress.seconds += time.perf_counter() - start
        return gradients

    def evaluate(self, triples: str = "valid", *, limit: int = 0) -> RankingReport:
        """Filtered ranking of a split by the tables as they stand."""
        rows = getattr(self.splits, triples)
        if limit and limit < len(rows):
            chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:limit]
            rows = rows[chosen.numpy()]
        return evaluate_ranking(self.config, self.entities_ED, self.relations_RW, rows, self.splits.known)

    def run_epoch(self, observer: EmbedObserver | None = None, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """The rest of the epoch at hand; False where it was cut short."""
        observer, progress = observer or EmbedObserver(), self.progress
        while progress.step < self.batches.steps_per_epoch:
            if should_stop():
                return False
            self.step()
            observer.stepped(progress)
        progress.loss = progress.loss_sum / progress.loss_weight
        progress.loss_sum, progress.loss_weight = 0.0, 0.0
        progress.epoch += 1
        progress.step = 0
        observer.epoch_done(progress)
        return True

    def _apply(self, gradients: Gradients) -> None:
        """The mean gradient, where it is not zero."""
        scale = 1 / gradients.weight
        if gradients.all_entities_ED is None:
            self._update(self.entities_ED, self.entity_optimizer, gradients.entities, scale, self.config.unit_entities)
        else:
            full_ED = gradients.all_entities_ED
            for rows, gradient_UD in gradients.entities.pieces(full_ED):
                full_ED.index_add_(0, rows, gradient_UD)
            self.entity_optimizer.begin_step()
            for part, gradient_UD in touched_all(self.entities_ED, full_ED.mul_(scale)):
                self.entity_optimizer.update(
                    self.entities_ED, part, gradient_UD, self.progress.rate, unit=self.config.unit_entities
                )
        self._update(self.relations_RW, self.relation_optimizer, gradients.relations, scale, False)

    def _update(
        self, table_ED: Tensor, optimizer: RowOptimizer, contributions: Contributions, scale: float, unit: bool
    ) -> None:
        optimizer.begin_step()
        for rows, gradient_UD in contributions.scaled(scale).pieces(table_ED):
            optimizer.update(table_ED, rows, gradient_UD, self.progress.rate, unit=unit)

    def _dropout(self, batch_size: int) -> Tensor | None:
        rate = self.config.dropout
        if not rate:
            return None
        generator = generator_for(self.config.seed, self.progress.epoch, f"dropout {self.progress.step}")
        kept = torch.rand(batch_size, self.config.dim, generator=generator) >= rate
        return (kept.to(torch.float32) / (1 - rate)).to(self.device)

    def _is_evaluation_due(self) -> bool:
        every = self.config.evaluate_every
        if not len(self.splits.valid):
            return False
        return self.progress.epoch == self.config.epochs or bool(every and self.progress.epoch % every == 0)

    def _evaluate(self, observer: EmbedObserver) -> None:
        """Rank the validation split; remember the best tables; lower the rate or stop where nothing gets better."""
        progress, config = self.progress, self.config
        affordable = max(500, int(VALIDATION_SCORES / (2 * self.splits.n_entities)))
        report = self.evaluate(limit=config.evaluate_triples or affordable)
        if progress.best_mrr is None or report.mrr > progress.best_mrr:
            progress.best_mrr, progress.best_epoch = report.mrr, progress.epoch
            progress.bad_evaluations = progress.plateau_evaluations = 0
            self.best_tables = (self.entities_ED.clone(), self.relations_RW.clone())
        else:
            progress.bad_evaluations += 1
            progress.plateau_evaluations += 1
            if progress.plateau_evaluations > config.plateau_patience:
                progress.rate *= config.plateau_factor
                progress.plateau_evaluations = 0
            progress.stopped_early = bool(config.patience) and progress.bad_evaluations >= config.patience
        record = {
            "epoch": progress.epoch,
            "loss": progress.loss if progress.loss is not None else float("nan"),
            "mrr": report.mrr,
            "hits_at_1": report.hits_at_1,
            "hits_at_10": report.hits_at_10,
            "rate": progress.rate,
            "seconds": progress.seconds,
        }
        progress.history.append(record)
        observer.evaluated(record)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint must hold besides `progress`, on the CPU."""
        tensors = {"entities": self.entities_ED, "relations": self.relations_RW}
        if self.progress.best_mrr is not None:
            tensors |= {"best_entities": self.best_tables[0], "best_relations": self.best_tables[1]}
        for name, optimizer in (("entity", self.entity_optimizer), ("relation", self.relation_optimizer)):
            tensors |= {f"{name}_{key}": value for key, value in optimizer.tensors().items()}
        return {name: tensor.detach().cpu() for name, tensor in tensors.items()}

    def state(self) -> dict[str, Any]:
        """The rest of it, as JSON."""
        return {**asdict(self.progress), "steps": self.entity_optimizer.steps}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on from what `tensors` and `state` gave.

        Raises:
            KeyError: something is missing.
        """
        names = {each.name for each in fields(EmbedProgress)}
        self.progress = EmbedProgress(**{name: state[name] for name in names})
        self.entities_ED.copy_(tensors["entities"])
        self.relations_RW.copy_(tensors["relations"])
        for prefix, optimizer in (("entity_", self.entity_optimizer), ("relation_", self.relation_optimizer)):
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            optimizer.load(own, int(state["steps"]))
        if "best_entities" in tensors:
            self.best_tables = (
                tensors["best_entities"].to(self.device),
                tensors["best_relations"].to(self.device),
            )
        else:
            self.best_tables = (self.entities_ED, self.relations_RW)
        self._order = None
