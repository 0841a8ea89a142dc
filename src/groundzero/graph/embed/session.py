"""From triples, or from a store, to an embedding with its figures: what `gz graph embed` calls.

embedding = train_embedding(config, splits, folder)         # arrays of ids
embedding = embed_graph(store, config, folder)              # a graph; holds statements out to measure itself on
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundzero.errors import InputError, UsageError
from groundzero.graph.embed.answers import fit_answer_curves, winners
from groundzero.graph.embed.calibration import Platt, calibration_error, fit_platt
from groundzero.graph.embed.checkpoint import discard_training, resume_training, save_training
from groundzero.graph.embed.classification import Thresholds, classify, fit_thresholds, hard_negatives, score_triples
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.embedding import Embedding, witnesses_of
from groundzero.graph.embed.ranking import evaluate_ranking
from groundzero.graph.embed.splits import Ids, Splits, split_triples
from groundzero.graph.embed.trainer import EmbeddingTrainer, EmbedObserver
from groundzero.graph.nouns import EntityId
from groundzero.graph.store import Reader
from groundzero.metrics import MetricLog
from groundzero.run.files import storage_errors

HELD_OUT = 0.05
"""Share of a graph's triples kept back for validation, and as much again for test."""

TEST_SCORES = 2e10
"""Scores in the ranking of the test split, beyond which only its first triples are ranked: minutes of one core. Public
test splits fit (FB15k-237 makes 6e8)."""


@dataclass(frozen=True)
class Labelled:
    """Negatives that go with the splits; made where none are given."""

    valid: Ids
    test: Ids


class UnfinishedError(Exception):
    """Training was asked to stop. What there is has been saved and can be resumed."""


def embed_graph(
    store: Reader,
    config: EmbedConfig,
    folder: Path,
    *,
    resume: bool = False,
    observer: EmbedObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Embedding:
    """Train on a graph as it is now, measure on statements held out, and save in `folder`.

    Raises:
        InputError: the graph has no statements between entities.
        UnfinishedError: `should_stop` said so; the same call with `resume` goes on.
    """
    transaction = store.transaction()
    triples = store.triples(at=transaction)[:, :3]
    if not len(triples):
        raise InputError("The graph has no statements between entities.", remedy="Import some: `gz graph import FILE`.")
    entity_ids = np.unique(triples[:, [0, 2]])
    relation_ids = np.unique(triples[:, 1])
    rows = np.stack(
        [
            np.searchsorted(entity_ids, triples[:, 0]),
            np.searchsorted(relation_ids, triples[:, 1]),
            np.searchsorted(entity_ids, triples[:, 2]),
        ],
        axis=1,
    )
    splits = split_triples(rows, len(entity_ids), len(relation_ids), held_out=HELD_OUT, seed=config.seed)
    return train_embedding(
        config, splits, folder, entity_ids=entity_ids, relation_ids=relation_ids, transaction=transaction,
        witnesses=witnesses_of(store, entity_ids), resume=resume, observer=observer, should_stop=should_stop,
    )  # fmt: skip


def train_embedding(
    config: EmbedConfig,
    splits: Splits,
    folder: Path,
    *,
    negatives: Labelled | None = None,
    entity_ids: Ids | None = None,
    relation_ids: Ids | None = None,
    transaction: int = 0,
    witnesses: dict[EntityId, str] | None = None,
    resume: bool = False,
    observer: EmbedObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Embedding:
    """Train, choose by validation MRR, then report on the test split once, and save in `folder`.

    Args:
        negatives: labelled negatives for thresholds and classification; hard ones are made where there are none.
        entity_ids, relation_ids: the graph's ids of rows 0..n-1; the row numbers themselves if left out.
        witnesses: see `Embedding.witnesses`.

    Raises:
        UsageError: `folder` holds a training that was not finished, and `resume` was not given.
        ConfigError: `resume` with other settings or triples.
        UnfinishedError: `should_stop` said so; the same call with `resume` goes on.
    """
    trainer = EmbeddingTrainer(config, splits)
    resumed = resume and resume_training(trainer, folder)
    if not resume and (folder / "checkpoints").exists() and not (folder / "embedding.json").exists():
        raise UsageError(f"{folder} holds an unfinished training.", remedy="Add --resume, or give another --out.")
    if not resumed:
        discard_training(folder)
    log = _Log(folder, observer or EmbedObserver(), keep=resumed, epoch=trainer.progress.epoch)
    trainer.run(log, save=lambda each: save_training(each, folder), should_stop=should_stop)
    if not trainer.finished:
        raise UnfinishedError(str(folder))
    log.message("Measuring on held-out triples.")
    if negatives is None:
        negatives = Labelled(
            hard_negatives(splits, splits.valid, seed=config.seed),
            hard_negatives(splits, splits.test, seed=config.seed + 1),
        )
    entities_ED, relations_RW = (tensor.cpu() for tensor in trainer.best_tables)
    embedding = Embedding(
        config=trainer.config,
        entities_ED=entities_ED,
        relations_RW=relations_RW,
        entity_ids=np.arange(splits.n_entities) if entity_ids is None else entity_ids,
        relation_ids=np.arange(splits.n_relations) if relation_ids is None else relation_ids,
        transaction=transaction,
        witnesses=witnesses or {},
    )
    embedding.figures = {**_training_figures(trainer), **measure(embedding, splits, negatives)}
    embedding.save(folder)
    return embedding


def measure(embedding: Embedding, splits: Splits, negatives: Labelled) -> dict[str, Any]:
    """Fit thresholds and calibration on the validation split, then look at the test split, once."""
    config, tables = embedding.config, (embedding.entities_ED, embedding.relations_RW)

    def score(triples: Ids) -> np.ndarray[Any, np.dtype[np.float64]]:
        return score_triples(config, *tables, triples)

    figures: dict[str, Any] = {"positive_score": float(score(splits.train[:10_000]).mean())}
    if not len(splits.valid):
        return figures
    positive, negative = score(splits.valid), score(negatives.valid)
    embedding.thresholds = fit_thresholds(splits.valid, positive, negatives.valid, negative)
    embedding.platt = _fit_platt(embedding.thresholds, splits.valid, positive, negatives.valid, negative)
    embedding.answers = fit_answer_curves(config, *tables, splits)
    if not len(splits.test):
        return figures
    ranked = splits.test[: max(2000, int(TEST_SCORES / (2 * splits.n_entities)))]
    report = evaluate_ranking(config, *tables, ranked, splits.known)
    positive, negative = score(splits.test), score(negatives.test)
    judged = classify(embedding.thresholds, splits.test, positive, negatives.test, negative)
    probability = embedding.platt.probability(
        np.concatenate(
            [
                positive - embedding.thresholds.of(splits.test[:, 1]),
                negative - embedding.thresholds.of(negatives.test[:, 1]),
            ]
        )
    )
    truth = np.arange(len(probability)) < len(positive)
    by_relation = [asdict(row) for row in report.per_relation]
    for row in by_relation:
        row["relation"] = int(embedding.relation_ids[row["relation"]])
    return figures | {
        "mrr": report.mrr,
        "hits_at_1": report.hits_at_1,
        "hits_at_3": report.hits_at_3,
        "hits_at_10": report.hits_at_10,
        "mean_rank": report.mean_rank,
        "accuracy": judged.accuracy,
        "f1": judged.f1,
        "calibration_error": calibration_error(probability, truth),
        "answer_calibration_error": _answer_error(embedding, splits),
        "test_triples": len(splits.test),
        "ranked_triples": len(ranked),
        "per_relation": by_relation,
    }


def _fit_platt(thresholds: Thresholds, positives: Ids, positive: Any, negatives: Ids, negative: Any) -> Platt:
    above = np.concatenate([positive - thresholds.of(positives[:, 1]), negative - thresholds.of(negatives[:, 1])])
    return fit_platt(above, np.arange(len(above)) < len(positive))


def _answer_error(embedding: Embedding, splits: Splits) -> float | None:
    """Calibration error of predicted objects over the test questions that the training triples say nothing of."""
    tables = embedding.entities_ED, embedding.relations_RW
    found = winners(embedding.config, *tables, splits, splits.test, backward=False)
    if embedding.answers is None or not found.silent.any():
        return None
    return calibration_error(embedding.answers.objects.probability(found.odds[found.silent]), found.right[found.silent])


def _training_figures(trainer: EmbeddingTrainer) -> dict[str, Any]:
    progress = trainer.progress
    return {
        "model": trainer.config.model,
        "loss": progress.loss,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "validation_mrr": progress.best_mrr,
        "seconds": progress.seconds,
        "triples_per_second": progress.triples / progress.seconds if progress.seconds else None,
        "train_triples": len(trainer.splits.train),
    }


class _Log(EmbedObserver):
    """Writes metrics.jsonl, a record per epoch, and passes the news on."""

    def __init__(self, folder: Path, inner: EmbedObserver, *, keep: bool, epoch: int) -> None:
        with storage_errors(f"write in {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            self._log, self._inner = MetricLog(folder / "metrics.jsonl"), inner
            self._log.retain(lambda record: keep and record.get("epoch", 0) <= epoch)
        self.begins = inner.begins  # type: ignore[method-assign]
        self.stepped = inner.stepped  # type: ignore[method-assign]
        self.message = inner.message  # type: ignore[method-assign]

    def epoch_done(self, progress: Any) -> None:
        self._log.append(epoch=progress.epoch, loss=progress.loss, rate=progress.rate, seconds=progress.seconds)
        self._inner.epoch_done(progress)

    def evaluated(self, record: Any) -> None:
        self._log.append(**record)
        self._inner.evaluated(record)
