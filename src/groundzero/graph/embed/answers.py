"""How sure to be that the best answer of all is right.

A statement's own probability (`classification`, Platt) is of one statement against one hard negative. The best of
thousands of candidates is the one that chance favoured most as well: on CoDEx-S, TransE, such winners were called .79
likely and .45 were right. So answers have a curve of their own: over the share that the candidate has of a softmax over
all candidates, fitted to the winners of held-out questions. There the same winners came to .38, and to .59 with .61
right where the graph says nothing of subject and relation, which is where predictions are asked for.

All of this supposes that there is an answer: of whoever has no spouse the graph says nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundzero.graph.embed.calibration import Platt, fit_platt
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import make_model
from groundzero.graph.embed.ranking import question_vectors
from groundzero.graph.embed.splits import Ids, Known, Splits

SCORES = 3e8
"""Scores computed for fitting: seconds of one core."""
BLOCK = 256
"""Questions scored at once."""
ENOUGH = 50
"""Questions that the training triples say nothing of, from which the curve is fitted to these alone."""


@dataclass(frozen=True)
class AnswerCurves:
    """From log-odds of a candidate's share to the probability that it is an answer."""

    objects: Platt
    subjects: Platt

    def probability(self, score_E: Tensor, places: Tensor, *, backward: bool) -> NDArray[np.float64]:
        """Of the candidates at `places`, each by its share of all that are not left out (-inf)."""
        return (self.subjects if backward else self.objects).probability(log_odds(score_E, places))


def log_odds(score_E: Tensor, places: Tensor) -> NDArray[np.float64]:
    """Of the shares of a softmax over `score_E`."""
    double_E = score_E.double()
    log_share = double_E[places] - torch.logsumexp(double_E, 0)
    log_rest = torch.log1p(-log_share.exp().clamp(max=1 - 1e-12))
    return np.asarray((log_share - log_rest).cpu().numpy(), np.float64)


class Winners(NamedTuple):
    """The best candidates of questions whose answers were held out."""

    odds: NDArray[np.float64]
    right: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    """Of the question the shown triples say nothing at all."""


def fit_answer_curves(
    config: EmbedConfig, entities_ED: Tensor, relations_RW: Tensor, splits: Splits
) -> AnswerCurves | None:
    """Curves fitted to the questions of the validation split, what the training triples answer left out.

    None where there are no such questions. A direction that has few takes them together with the other's.
    """
    found = [winners(config, entities_ED, relations_RW, splits, splits.valid, backward=b) for b in (False, True)]
    both = Winners(*(np.concatenate(part) for part in zip(*found, strict=True)))
    if not len(both.odds):
        return None
    curves = []
    for own in found:
        used = own if len(own.odds) >= ENOUGH else both
        chosen = used.silent if used.silent.sum() >= ENOUGH else np.ones_like(used.silent)
        curves.append(fit_platt(used.odds[chosen], used.right[chosen]))
    return AnswerCurves(*curves)


def winners(
    config: EmbedConfig, entities_ED: Tensor, relations_RW: Tensor, splits: Splits, held_out: Ids, *, backward: bool
) -> Winners:
    """Of every question of `held_out` triples its best candidate, those that the training triples have left out."""
    trained = Known(splits.train, splits.n_entities, splits.n_relations)
    questions = np.unique(held_out[:, [2, 1] if backward else [0, 1]], axis=0)
    limit = max(200, int(SCORES / splits.n_entities))
    if len(questions) > limit:
        questions = np.random.default_rng(config.seed).permutation(questions)[:limit]
    model = make_model(config)
    odds: list[NDArray[np.float64]] = [np.zeros(0)]
    best: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    silent: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
    for start in range(0, len(questions), BLOCK):
        anchors, relations = questions[start : start + BLOCK].T
        query_QD = question_vectors(model, config, entities_ED, relations_RW, anchors, relations, backward=backward)
        score_QE = model.comparison.matrix(query_QD, entities_ED)
        positions, known = trained.pairs(anchors, relations, backward=backward)
        score_QE[torch.from_numpy(positions), torch.from_numpy(known)] = float("-inf")
        best.append(score_QE.argmax(1).cpu().numpy())
        silent.append(np.bincount(positions, minlength=len(anchors)) == 0)
        odds += [log_odds(score_E, torch.tensor([place])) for score_E, place in zip(score_QE, best[-1], strict=True)]
    ends = (np.concatenate(best), questions[:, 0])
    subject, object_ = ends if backward else ends[::-1]
    right = splits.known.contains(np.stack([subject, questions[:, 1], object_], axis=1))
    return Winners(np.concatenate(odds), right, np.concatenate(silent))
