"""From scores to probabilities and to a verdict: which score of which relation is right often enough.

Both are measured on pages that the scoring model was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from groundzero.graph.nouns import RelationId
from groundzero.ingest.logistic import monotone

_SHRINK = 4.0
"""Imaginary candidates, right as often as the probability says, that each relation's own count starts from."""
_LEAST = 5
"""Fewer accepted on unseen pages prove nothing."""
_FLOOR = 0.6
"""No candidate is accepted on a smaller probability, however good its relation's average."""


@dataclass
class Calibration:
    """Points between which a score's probability is read off."""

    scores: list[float]
    probabilities: list[float]

    def probability(self, score: float) -> float:
        """The share of candidates with about this score that were facts."""
        return float(np.interp(score, self.scores, self.probabilities))


@dataclass
class Judge:
    """Calibrations of named and of suggested objects, and the least score accepted of each relation."""

    calibrations: dict[bool, Calibration]
    thresholds: dict[tuple[RelationId, bool], float] = field(default_factory=dict)
    """No entry: nothing of this relation is accepted."""
    measured: dict[tuple[RelationId, bool], tuple[int, int]] = field(default_factory=dict)
    """Accepted on pages not trained on, and how many of those the graph has."""
    least: float = 0.3
    """Candidates less probable than this are dropped."""

    def judge(self, relation: RelationId, score: float, *, named: bool) -> tuple[float, bool]:
        """A candidate's probability, and whether it is accepted."""
        probability = self.calibrations[named].probability(score)
        threshold = self.thresholds.get((relation, named))
        return probability, threshold is not None and score >= threshold


def judge_of(
    relations: Sequence[RelationId],
    named: Sequence[bool],
    scores_N: NDArray[np.float64],
    truth_N: NDArray[np.float64],
    *,
    precision: float,
) -> Judge:
    """Calibrate on scores of unseen pages, and set each relation's threshold so that what is above is right enough."""
    relations_n, named_n = np.asarray(relations, dtype=np.int64), np.asarray(named, dtype=bool)
    judge = Judge({})
    for each in (True, False):
        inside = named_n == each
        points = monotone(scores_N[inside], truth_N[inside]) if inside.any() else (np.zeros(1), np.zeros(1))
        judge.calibrations[each] = Calibration(points[0].tolist(), points[1].tolist())
        for relation in np.unique(relations_n[inside]).tolist():
            of_it = inside & (relations_n == relation)
            cut = _cut(scores_N[of_it], truth_N[of_it], judge.calibrations[each], precision)
            if cut is not None:
                threshold, accepted, right = cut
                judge.thresholds[relation, each] = threshold
                judge.measured[relation, each] = (accepted, right)
    return judge


def _cut(
    scores: NDArray[np.float64], truth: NDArray[np.float64], calibration: Calibration, precision: float
) -> tuple[float, int, int] | None:
    """The least score above which enough are right, with how many there are and how many of them right."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    expected = np.interp(ranked, calibration.scores, calibration.probabilities)
    right, count = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    shrunk = (right + _SHRINK * np.cumsum(expected) / count) / (count + _SHRINK)
    good = np.flatnonzero((shrunk >= precision) & (expected >= _FLOOR))
    if not len(good) or good[-1] + 1 < _LEAST:
        return None
    last = int(good[-1])
    return float(ranked[last]), last + 1, int(right[last])
