"""Statements that bear on a question, most relevant first: personalised PageRank from its entities, and its relations.

The walk starts at the linked entities and stays within a bounded neighbourhood; a statement is worth the rank that
flows along it, times how well the question's words match its relation. Hubs spread their rank thin, so that what is
particular to the question comes first (HippoRAG, Gutiérrez et al. 2024, uses the same walk).

Shapes: V entities and E statements of the neighbourhood, C hops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, StatementId
from groundzero.ground.link import Link
from groundzero.ground.scorer import PathScorer
from groundzero.ground.words import Word

DAMPING = 0.85
"""Probability of walking on rather than starting again."""
ROUNDS = 20
"""Steps of power iteration; 0.85 ** 20 is 0.04 of what is still to move."""
RADIUS = 2
"""Hops from the entities that the neighbourhood reaches."""
PER_ENTITY = 200
"""Statements of one entity, in each direction, that the neighbourhood takes."""
LARGEST = 20_000
"""Statements of the neighbourhood."""
UNMATCHED = 0.05
"""Worth of a relation that no word of the question matches, beside 1 for one named in full."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A statement and how relevant it is."""

    statement: StatementId
    score: float
    """In (0, 1], 1 for the most relevant."""


class Retriever:
    """Finds statements for questions over one graph."""

    def __init__(self, graph: Graph, scorer: PathScorer) -> None:
        self._graph, self._scorer = graph, scorer

    def retrieve(self, words: Sequence[Word], links: Sequence[Link], *, limit: int = 50) -> list[Retrieved]:
        """The most relevant statements between entities, best first."""
        starts = _starts(links)
        if not starts:
            return []
        rows_E4 = self._neighbourhood(np.array(sorted(starts), dtype=np.int64))
        if not len(rows_E4):
            return []
        rank_V, place_E2 = _walk(rows_E4, starts)
        flow_E = rank_V[place_E2[:, 0]] + rank_V[place_E2[:, 1]]
        score_E = flow_E * self._relation_match(words, links, rows_E4)
        best_N = np.argsort(-score_E, kind="stable")[:limit]
        top = float(score_E[best_N[0]])
        return [Retrieved(int(rows_E4[row, 3]), float(score_E[row]) / top) for row in best_N]

    def _neighbourhood(self, entities_V: NDArray[np.int64]) -> NDArray[np.int64]:
        """(E, 4) rows of (subject, relation, object, statement) near these entities."""
        found = []
        seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        for _ in range(RADIUS):
            ends = []
            for inverse in (False, True):
                origin_N, around = self._graph.adjacency.around(entities_V, inverse=inverse)
                kept_N = _first_of_each(origin_N, PER_ENTITY)
                here_N, there_N = entities_V[origin_N[kept_N]], around.entity_N[kept_N]
                subject_N, object_N = (there_N, here_N) if inverse else (here_N, there_N)
                found.append(
                    np.stack((subject_N, around.relation_N[kept_N], object_N, around.statement_N[kept_N]), axis=1)
                )
                ends.append(there_N)
            seen = np.union1d(seen, entities_V)
            entities_V = np.setdiff1d(np.concatenate(ends), seen)
            if not len(entities_V) or sum(map(len, found)) > LARGEST:
                break
            entities_V = entities_V[: LARGEST // 10]
        rows_E4 = np.concatenate(found)[: 2 * LARGEST]
        _, first_E = np.unique(rows_E4[:, 3], return_index=True)
        return rows_E4[np.sort(first_E)]

    def _relation_match(
        self, words: Sequence[Word], links: Sequence[Link], rows_E4: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(E,) how well the question's words match each statement's relation, in either direction."""
        named = {place for link in links[:1] for place in link.words}
        match_NC = self._scorer.match(words)
        asked = [place for place in range(len(words)) if place not in named]
        match_C = match_NC[asked].max(axis=0, initial=0.0)
        code_E = self._scorer.table.codes(rows_E4[:, 1], False)
        found: NDArray[np.float64] = UNMATCHED + np.maximum(match_C[code_E], match_C[code_E ^ 1])
        return found


def _starts(links: Sequence[Link]) -> dict[EntityId, float]:
    """Entities to walk from, by how likely each is meant."""
    weights: dict[EntityId, float] = {}
    for link in links:
        best = link.candidates[0].score if link.candidates else 0.0
        for candidate in link.candidates[:3]:
            weights[candidate.entity] = max(weights.get(candidate.entity, 0.0), float(np.exp(candidate.score - best)))
    return weights


def _walk(rows_E4: NDArray[np.int64], starts: dict[EntityId, float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(V,) rank of each entity of the neighbourhood, and (E, 2) the places in it of both ends of each statement."""
    entities_V, place = np.unique(rows_E4[:, (0, 2)], return_inverse=True)
    place_E2 = place.reshape(-1, 2)
    count = len(entities_V)
    both = np.concatenate((place_E2, place_E2[:, ::-1]))
    degree_V = np.bincount(both[:, 0], minlength=count)
    step_VV = csr_array((1.0 / degree_V[both[:, 0]], (both[:, 1], both[:, 0])), shape=(count, count))
    start_V = np.zeros(count)
    for entity, weight in starts.items():
        where = int(np.searchsorted(entities_V, entity))
        if where < count and entities_V[where] == entity:
            start_V[where] = weight / (1 + degree_V[where]) ** 0.5  # of several entities the particular one matters
    start_V /= max(float(start_V.sum()), 1e-12)
    rank_V = start_V
    for _ in range(ROUNDS):
        rank_V = (1 - DAMPING) * start_V + DAMPING * (step_VV @ rank_V)
    return rank_V / np.maximum(degree_V, 1), place_E2


def _first_of_each(origin_N: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Which rows are among the first `most` of their origin; rows of one origin lie together but for late ones."""
    order_N = np.argsort(origin_N, kind="stable")
    in_order_N = origin_N[order_N]
    start_N = np.searchsorted(in_order_N, in_order_N)
    kept_N = np.zeros(len(origin_N), dtype=bool)
    kept_N[order_N] = np.arange(len(origin_N)) - start_N < most
    return kept_N
