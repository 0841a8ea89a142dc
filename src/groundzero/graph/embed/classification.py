"""Triple classification: is this triple true? By the protocol of CoDEx (Safavi & Koutra 2020, section 5.2).

Scores are cut at a threshold per relation, the one with the most right answers on the validation split's positives and
negatives; relations that split does not have take the threshold fitted on all of it. Scores ask for the object, as
CoDEx's own script does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundzero.graph.embed.comparisons import gather
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import make_model
from groundzero.graph.embed.ranking import question_vectors
from groundzero.graph.embed.splits import Ids, Known, Splits

Scores = NDArray[np.float64]
SCORE_BLOCK = 8192  # triples whose vectors are held at once


@dataclass(frozen=True)
class Thresholds:
    """Scores from which a triple counts as true."""

    of_relation: dict[int, float]
    overall: float

    def of(self, relations: Ids) -> Scores:
        """One threshold for each triple."""
        return np.array([self.of_relation.get(int(relation), self.overall) for relation in relations], np.float64)


@dataclass(frozen=True)
class Classification:
    """How often the answer was right. Shares of 1."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    triples: int


def score_triples(
    config: EmbedConfig, entities_ED: Tensor, relations_RW: Tensor, triples: Ids, *, backward: bool = False
) -> Scores:
    """One score for each triple, asked for its object (or its subject, where `backward`)."""
    model = make_model(config)
    scores = np.empty(len(triples))
    for start in range(0, len(triples), SCORE_BLOCK):
        block = triples[start : start + SCORE_BLOCK]
        anchors, answers = (block[:, 2], block[:, 0]) if backward else (block[:, 0], block[:, 2])
        query_BD = question_vectors(model, config, entities_ED, relations_RW, anchors, block[:, 1], backward=backward)
        answer_BD = gather(entities_ED, torch.from_numpy(answers).to(entities_ED.device))
        scores[start : start + len(block)] = model.comparison.paired(query_BD, answer_BD).double().cpu().numpy()
    return scores


def fit_thresholds(positives: Ids, positive_scores: Scores, negatives: Ids, negative_scores: Scores) -> Thresholds:
    """The cut with the most right answers, for each relation and for all together."""
    relations = np.concatenate([positives[:, 1], negatives[:, 1]])
    scores = np.concatenate([positive_scores, negative_scores])
    truth = np.concatenate([np.ones(len(positives), bool), np.zeros(len(negatives), bool)])
    own = {}
    for relation in np.unique(relations):
        here = relations == relation
        own[int(relation)] = best_threshold(scores[here], truth[here])
    return Thresholds(own, best_threshold(scores, truth))


def best_threshold(scores: Scores, truth: NDArray[np.bool_]) -> float:
    """A cut with the most right answers, half way between two scores; the middle one of several as good.

    Where all are true it lies below the lowest score by a margin, and above the highest where none is: how far, nothing
    says, so it is the scores' own spread.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(scores, kind="stable")
    ordered, is_true = scores[order], truth[order]
    # Cut before position i: false below, true from there on. Only between unequal scores.
    right = np.concatenate([[0], np.cumsum(~is_true)]) + is_true.sum() - np.concatenate([[0], np.cumsum(is_true)])
    allowed = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    right = np.where(allowed, right, -1)
    best = np.flatnonzero(right == right.max())
    cut = int(best[len(best) // 2])
    spread = float(scores.std()) or 1.0
    if cut == 0:
        return float(ordered[0]) - spread
    if cut == len(ordered):
        return float(ordered[-1]) + spread
    return float(ordered[cut - 1] + ordered[cut]) / 2


def classify(
    thresholds: Thresholds, positives: Ids, positive_scores: Scores, negatives: Ids, negative_scores: Scores
) -> Classification:
    """Right answers on labelled triples."""
    true_positive = int((positive_scores >= thresholds.of(positives[:, 1])).sum())
    false_positive = int((negative_scores >= thresholds.of(negatives[:, 1])).sum())
    total = len(positives) + len(negatives)
    precision = true_positive / max(true_positive + false_positive, 1)
    recall = true_positive / max(len(positives), 1)
    return Classification(
        accuracy=(true_positive + len(negatives) - false_positive) / max(total, 1),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / max(precision + recall, 1e-12),
        triples=total,
    )


def hard_negatives(splits: Splits, triples: Ids, *, seed: int) -> Ids:
    """A false triple for each true one, as hard as can be made without a judge: the object is replaced by another that
    the graph has for the same relation, at odds with how often it has it, and the result is nowhere in the graph.

    A relation with a single object falls back on any entity. A triple for which 100 draws find nothing is left out.
    """
    random = np.random.default_rng(seed)
    known: Known = splits.known
    objects_of = {
        int(relation): splits.train[splits.train[:, 1] == relation, 2] for relation in np.unique(splits.train[:, 1])
    }
    negatives = triples.copy()
    open_ = np.arange(len(triples))
    for attempt in range(100):
        if not len(open_):
            break
        for relation in np.unique(triples[open_, 1]):
            rows = open_[triples[open_, 1] == relation]
            pool = objects_of.get(int(relation))
            if pool is None or attempt >= 50:
                negatives[rows, 2] = random.integers(splits.n_entities, size=len(rows))
            else:
                negatives[rows, 2] = random.choice(pool, len(rows))
        open_ = open_[known.contains(negatives[open_])]
    return np.delete(negatives, open_, axis=0)
