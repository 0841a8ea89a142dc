"""From scores to probabilities (Platt 1999), with the smoothed targets and the Newton steps of Lin, Lin & Weng (2007).

The score of a triple is first taken relative to its relation's threshold: one relation's -8 is another's -4, and a
single curve over raw scores would call the first always false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(slope * score + offset)."""

    slope: float
    offset: float

    def probability(self, scores: Array) -> Array:
        """How likely each triple is true, 0 to 1."""
        return _sigmoid(self.slope * np.asarray(scores, np.float64) + self.offset)


def fit_platt(scores: Array, truth: NDArray[np.bool_], *, steps: int = 100) -> Platt:
    """The curve of highest likelihood, its targets drawn in from 0 and 1 by one imagined example on each side.

    The problem is convex, so Newton's method with halved steps ends in its one minimum.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return Platt(0.0, float(np.log((positives + 1) / (negatives + 1))))
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    center, spread = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - center) / spread
    slope, offset = 0.0, float(np.log((positives + 1) / (negatives + 1)))
    loss = _loss(slope * z + offset, target)
    for _ in range(steps):
        share = _sigmoid(slope * z + offset)
        error, curve = share - target, share * (1 - share)
        gradient = np.array([(error * z).sum(), error.sum()])
        hessian = np.array([[(curve * z * z).sum(), (curve * z).sum()], [(curve * z).sum(), curve.sum()]])
        move = np.linalg.solve(hessian + 1e-10 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-8:
            trial = _loss((slope - size * move[0]) * z + offset - size * move[1], target)
            if trial <= loss:
                break
            size /= 2
        slope, offset = slope - size * move[0], offset - size * move[1]
        if loss - trial < 1e-12 * max(1.0, loss):
            break
        loss = trial
    return Platt(float(slope / spread), float(offset - slope * center / spread))


def calibration_error(probability: Array, truth: NDArray[np.bool_], *, bins: int = 10) -> float:
    """Expected calibration error: mean distance between what was said and what came, over bins of equal width."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(probability[place == b].mean() - truth[place == b].mean()) * (place == b).mean()
            for b in range(bins)
            if (place == b).any()
        )
    )


def _sigmoid(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)), np.float64)  # no overflow at either end


def _loss(z: Array, target: Array) -> float:
    return float((np.logaddexp(0, z) - target * z).sum())
