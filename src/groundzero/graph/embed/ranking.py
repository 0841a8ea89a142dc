"""Filtered ranking: where does the true answer stand among all entities, other known answers left out?

Every triple asks twice, for its object and for its subject. Ties are *realistic*: the rank is the mean of the best and
the worst that equal scores allow (Berrendorf et al. 2020), so a constant score earns nothing. Known answers are those
of all splits. Memory is one block of scores, whatever the number of triples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundzero.graph.embed.comparisons import gather
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import Model, make_model
from groundzero.graph.embed.splits import Ids, Known

MAX_QUESTIONS = 1024
"""Questions scored at once, however much memory there may be."""
COUNT_BYTES = 4 << 20
"""Scores compared with their truths at once."""


@dataclass(frozen=True)
class RankingReport:
    """How well true answers rank. Means over both directions of every triple."""

    mrr: float
    """Mean of 1 / rank."""
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float
    mean_rank: float
    questions: int
    """Twice the number of triples."""
    per_relation: tuple[RelationRanking, ...] = ()


@dataclass(frozen=True)
class RelationRanking:
    """The same for one relation."""

    relation: int
    triples: int
    mrr: float
    mrr_objects: float
    """Asked for the object."""
    mrr_subjects: float
    """Asked for the subject."""
    hits_at_10: float


def evaluate_ranking(
    config: EmbedConfig, entities_ED: Tensor, relations_RW: Tensor, triples: Ids, known: Known
) -> RankingReport:
    """Rank the objects and subjects of `triples` among all rows of `entities_ED`."""
    ranks_N2 = ranks(config, entities_ED, relations_RW, triples, known)
    return report(ranks_N2, triples)


def report(ranks_N2: NDArray[np.float64], triples: Ids) -> RankingReport:
    """Means of ranks, over all and by relation."""
    if not len(triples):
        nothing = float("nan")
        return RankingReport(nothing, nothing, nothing, nothing, nothing, 0)
    rows = []
    for relation in np.unique(triples[:, 1]):
        own = ranks_N2[triples[:, 1] == relation]
        by_side = (1 / own).mean(0)
        rows.append(
            RelationRanking(
                int(relation),
                len(own),
                float((1 / own).mean()),
                float(by_side[0]),
                float(by_side[1]),
                float((own <= 10).mean()),
            )
        )
    return RankingReport(
        mrr=float((1 / ranks_N2).mean()),
        hits_at_1=float((ranks_N2 <= 1).mean()),
        hits_at_3=float((ranks_N2 <= 3).mean()),
        hits_at_10=float((ranks_N2 <= 10).mean()),
        mean_rank=float(ranks_N2.mean()),
        questions=ranks_N2.size,
        per_relation=tuple(sorted(rows, key=lambda row: -row.triples)),
    )


def ranks(
    config: EmbedConfig, entities_ED: Tensor, relations_RW: Tensor, triples: Ids, known: Known
) -> NDArray[np.float64]:
    """Filtered realistic ranks (N, 2), from 1: of the objects, and of the subjects."""
    model = make_model(config)
    found = np.empty((len(triples), 2))
    for side, backward in enumerate((False, True)):
        anchors, answers = (triples[:, 2], triples[:, 0]) if backward else (triples[:, 0], triples[:, 2])
        order = np.lexsort((anchors, triples[:, 1]))  # equal questions side by side, scored once
        for part in _blocks(order, anchors, triples[:, 1], config, len(entities_ED)):
            found[part, side] = _ranks_of(
                model,
                config,
                entities_ED,
                relations_RW,
                anchors[part],
                triples[part, 1],
                answers[part],
                known,
                backward,
            )
    return found


def question_vectors(
    model: Model,
    config: EmbedConfig,
    entities_ED: Tensor,
    relations_RW: Tensor,
    anchors: Ids,
    relations: Ids,
    *,
    backward: bool,
) -> Tensor:
    """query_QD of questions all asked the same way."""
    device = entities_ED.device
    anchor_QD = gather(entities_ED, torch.from_numpy(anchors).to(device))
    rows = torch.from_numpy(relations).to(device)
    if config.reciprocal:
        if backward:
            rows = rows + len(relations_RW) // 2
        return model.query(anchor_QD, gather(relations_RW, rows), None)
    asked_backward = torch.ones(len(rows), dtype=torch.bool, device=device) if backward else None
    return model.query(anchor_QD, gather(relations_RW, rows), asked_backward)


def _ranks_of(
    model: Model,
    config: EmbedConfig,
    entities_ED: Tensor,
    relations_RW: Tensor,
    anchors: Ids,
    relations: Ids,
    answers: Ids,
    known: Known,
    backward: bool,
) -> NDArray[np.float64]:
    """Ranks of a block of triples, whose equal questions stand side by side."""
    device = entities_ED.device
    fresh = np.append(True, (np.diff(anchors) != 0) | (np.diff(relations) != 0))
    question = torch.from_numpy(np.cumsum(fresh) - 1).to(device)
    query_QD = question_vectors(
        model, config, entities_ED, relations_RW, anchors[fresh], relations[fresh], backward=backward
    )
    score_QE = model.comparison.ranking(query_QD, entities_ED)
    answer_B = torch.from_numpy(answers).to(device)
    truth_B = score_QE[question, answer_B]
    score_QE[question, answer_B] = float("-inf")
    positions, others = known.pairs(anchors[fresh], relations[fresh], backward=backward)
    score_QE[torch.from_numpy(positions).to(device), torch.from_numpy(others).to(device)] = float("-inf")
    better_B, equal_B = _count(score_QE, question, truth_B)
    # The answer itself was left out too; it takes its place among its equals.
    return (better_B + (equal_B + 2) / 2).cpu().numpy()


def _count(score_QE: Tensor, question_B: Tensor, truth_B: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores lie above each truth, and how many are equal to it. A score that is no number counts as equal."""
    better_B = torch.empty(len(truth_B), dtype=torch.float64, device=score_QE.device)
    equal_B = torch.empty_like(better_B)
    distinct = len(score_QE) == len(truth_B)
    size = max(1, COUNT_BYTES // (score_QE.shape[1] * 4))
    for start in range(0, len(truth_B), size):
        part = slice(start, start + size)
        row_BE = score_QE[part] if distinct else score_QE[question_B[part]]
        truth_B1 = truth_B[part, None]
        better_B[part] = torch.count_nonzero(row_BE > truth_B1, dim=1).double()
        least_B = torch.count_nonzero(row_BE < truth_B1, dim=1).double()
        equal_B[part] = score_QE.shape[1] - better_B[part] - least_B
    return better_B, equal_B


def _blocks(
    order: NDArray[np.intp], anchors: Ids, relations: Ids, config: EmbedConfig, n_entities: int
) -> Iterator[NDArray[np.intp]]:
    """Index arrays in `order`, each with at most as many distinct questions as the memory bound allows."""
    limit = min(MAX_QUESTIONS, max(1, (config.memory_mb << 20) // (n_entities * 4)))
    a, r = anchors[order], relations[order]
    fresh = np.append(True, (np.diff(a) != 0) | (np.diff(r) != 0)) if len(order) else np.zeros(0, bool)
    number = np.cumsum(fresh) - 1
    start = 0
    while start < len(order):
        stop = int(np.searchsorted(number, number[start] + limit))
        yield order[start:stop]
        start = stop
