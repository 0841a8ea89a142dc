"""Best-first search for the paths of a graph that a question asks for, from one entity, up to three hops.

At each hop the frontier is a set of entities; the hops that lead on from it are scored, bounded by what the rest of the
question could still add, and the best few are kept. The frontier is capped: the search only asks which paths exist, and
the path chosen is then followed in full (`query`).

Shapes: V entities of a frontier, K hops that lead on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId
from groundzero.ground.alignment import NEVER, Reading
from groundzero.ground.hops import HopTable

FRONTIER = 256
"""Entities of a frontier that are looked at."""
HOPELESS = 4.0
"""A branch that cannot come within this of the best path met is not followed."""
IMPOSSIBLE = NEVER / 2
LITERAL_FRONTIER = 24
"""Of those, how many are looked at for literals, which the store keeps."""


@dataclass(frozen=True, slots=True)
class Path:
    """Hops from an entity that exist in the graph."""

    score: float
    codes: tuple[int, ...]


@dataclass(slots=True)
class _Branch:
    codes: tuple[int, ...]
    entities_V: NDArray[np.int64]
    upto_DJ: NDArray[np.float64]
    bound: float


class PathSearch:
    """Searches one graph."""

    def __init__(self, graph: Graph, table: HopTable, *, literals: bool = True) -> None:
        self._graph = graph
        self._table = table
        self._literals = literals
        self._literal_hops: dict[tuple[int, EntityId], tuple[int, ...]] = {}

    def paths(self, entity: EntityId, reading: Reading, *, max_hops: int = 3, beam: int = 24) -> list[Path]:
        """Paths from `entity`, best first: every one met that ends within the beam."""
        branches = [_Branch((), np.array([entity]), reading.start_DJ, 0.0)]
        found: list[Path] = []
        for hops in range(1, max_hops + 1):
            grown = [each for branch in branches for each in self._grow(branch, reading, max_hops - hops, found)]
            best = max((path.score for path in found), default=NEVER)
            grown = [branch for branch in grown if branch.bound > best - HOPELESS]
            grown.sort(key=lambda branch: -branch.bound)
            branches = self._distinct(grown, beam)
        return sorted(found, key=lambda path: -path.score)

    def ends(self, entity: EntityId, codes: tuple[int, ...]) -> NDArray[np.int64]:
        """Entities that a path leads to, as far as the frontier shows."""
        entities_V = np.array([entity])
        for code in codes:
            hop = self._table.hops[code]
            _, around = self._graph.adjacency.around(entities_V[:FRONTIER], inverse=hop.inverse)
            entities_V = np.unique(around.entity_N[around.relation_N == hop.relation])
        return entities_V

    def may_share_ends(self, code_A: NDArray[np.int64], code_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(A, B) whether things that one hop leads to are often things that the other leads to."""
        return self._table.share_ends(code_A, code_B)

    def share_with(self, entities_V: NDArray[np.int64], code: int) -> float:
        """Share of these entities from which a hop leads somewhere."""
        hop = self._table.hops[code]
        origin_N, around = self._graph.adjacency.around(entities_V, inverse=hop.inverse)
        return len(np.unique(origin_N[around.relation_N == hop.relation])) / max(len(entities_V), 1)

    def reached(self, entities_V: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], frozenset[str]]]:
        """Codes that lead on from a frontier, with the entities and the texts of the literals that each leads to."""
        codes_K, groups = self.onward(entities_V)
        literals: dict[int, set[str]] = {}
        if self._literals:
            for entity in entities_V[:LITERAL_FRONTIER].tolist():
                for each in self._graph.store.outgoing(entity):
                    if each.literal is not None:
                        literals.setdefault(each.relation, set()).add(each.literal.value)
        for code, ends in zip(codes_K.tolist(), groups, strict=True):
            hop = self._table.hops[code]
            texts = frozenset() if hop.inverse else frozenset(literals.get(hop.relation, ()))
            yield code, np.unique(ends), texts

    def onward(self, entities_V: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Codes that lead on from a frontier, and where each leads (nowhere further, for literals)."""
        entities_V = entities_V[:FRONTIER]
        codes, ends = [], []
        for inverse in (False, True):
            _, around = self._graph.adjacency.around(entities_V, inverse=inverse)
            codes.append(self._table.codes(around.relation_N, inverse))
            ends.append(around.entity_N)
        code_N, end_N = np.concatenate(codes), np.concatenate(ends)
        order_N = np.argsort(code_N, kind="stable")
        code_N, end_N = code_N[order_N], end_N[order_N]
        code_K, first_K = np.unique(code_N, return_index=True)
        groups = np.split(end_N, first_K[1:]) if len(code_K) else []
        if self._literals:
            extra = self._literal_codes(entities_V) - set(code_K.tolist())
            if extra:
                code_K = np.concatenate((code_K, np.array(sorted(extra), dtype=np.int64)))
                groups = [*groups, *(np.zeros(0, dtype=np.int64) for _ in extra)]
        return code_K, groups

    def _grow(self, branch: _Branch, reading: Reading, left: int, found: list[Path]) -> list[_Branch]:
        codes_K, groups = self.onward(branch.entities_V)
        if not len(codes_K):
            return []
        after_KDJ = reading.extend(branch.upto_DJ, codes_K, branch.codes[-1] if branch.codes else None)
        found += [
            Path(float(score), (*branch.codes, int(code)))
            for score, code in zip(after_KDJ[:, :, -1].max(axis=1), codes_K, strict=True)
            if score > IMPOSSIBLE
        ]
        if not left:
            return []
        ahead_DJ = np.max([reading.ahead(hops) for hops in range(1, left + 1)], axis=0)
        bound_K = (after_KDJ + ahead_DJ).max(axis=(1, 2))
        return [
            _Branch((*branch.codes, int(codes_K[place])), groups[place], after_KDJ[place], float(bound_K[place]))
            for place in range(len(codes_K))
            if len(groups[place]) and bound_K[place] > IMPOSSIBLE
        ]

    def _distinct(self, grown: list[_Branch], beam: int) -> list[_Branch]:
        kept = grown[:beam]
        for branch in kept:
            branch.entities_V = np.unique(branch.entities_V[: 4 * FRONTIER])
        return kept

    def _literal_codes(self, entities_V: NDArray[np.int64]) -> set[int]:
        codes: set[int] = set()
        at = self._graph.transaction
        for entity in entities_V[:LITERAL_FRONTIER].tolist():
            known = self._literal_hops.get((at, entity))
            if known is None:
                said = self._graph.store.outgoing(entity)
                ids = {each.relation for each in said if each.literal is not None}
                known = tuple(int(code) for code in self._table.codes(np.array(sorted(ids), dtype=np.int32), False))
                if len(self._literal_hops) > 100_000:
                    self._literal_hops.clear()
                self._literal_hops[at, entity] = known
            codes.update(known)
        return codes
