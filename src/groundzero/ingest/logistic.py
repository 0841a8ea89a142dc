"""Logistic regression over sparse binary features, and the calibration of its scores: NumPy and SciPy, nothing learnt
elsewhere.

Shapes: N rows, F features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

Floats = NDArray[np.float64]


def fit(features_NF: sparse.csr_matrix, truth_N: Floats, *, penalty: float = 1.0, steps: int = 60) -> Floats:
    """Weights of an L2-penalised logistic regression, the intercept last.

    Args:
        penalty: what half a squared weight costs against one row's log loss; the intercept is free.
        steps: iterations of L-BFGS, which at this number is within 1 % of the optimum's loss.
    """
    width = features_NF.shape[1]
    transposed_FN = features_NF.T.tocsr()
    signs_N = 2 * truth_N - 1

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores_N = features_NF @ weights[:width] + weights[width]
        value = np.logaddexp(0, -signs_N * scores_N).sum() + 0.5 * penalty * (weights[:width] ** 2).sum()
        error_N = sigmoid(scores_N) - truth_N
        gradient = np.append(transposed_FN @ error_N + penalty * weights[:width], error_N.sum())
        return float(value), gradient

    start = np.zeros(width + 1)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    weights: Floats = found.x
    return weights


def sigmoid(scores: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * scores))
    return result


def monotone(scores_N: Floats, truth_N: Floats) -> tuple[Floats, Floats]:
    """Scores -> probabilities that never fall as the score rises (pool adjacent violators), as points to interpolate.

    Source: Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates, 2002.
    """
    order = np.argsort(scores_N, kind="stable")
    pools: list[list[float]] = []  # mean, size, lowest score, highest score
    for score, truth in zip(scores_N[order], truth_N[order], strict=True):
        pools.append([float(truth), 1.0, float(score), float(score)])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, size, _, high = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * size) / (last[1] + size)
            last[1], last[3] = last[1] + size, high
    points_x = [edge for pool in pools for edge in (pool[2], pool[3])]
    points_y = [pool[0] for pool in pools for _ in (0, 1)]
    return np.asarray(points_x or [0.0]), np.asarray(points_y or [0.0])
