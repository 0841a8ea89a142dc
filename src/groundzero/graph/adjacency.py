"""Who is next to whom, in memory: a base of sorted arrays and a small delta of what came and went since.

The base holds every accepted statement between entities, once sorted by subject and once by object. A retired row of
the base is marked; an added one goes into a list at its entity. Both cost microseconds, whatever the size of the base.

Shapes: N statements of one answer, E statements of the base, V entities.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundzero.graph.nouns import EntityId, RelationId, Statement, StatementId


class Neighbours(NamedTuple):
    """The statements at one end of an entity: three arrays of one length, ordered by relation, then as added."""

    relation_N: NDArray[np.int64]
    entity_N: NDArray[np.int64]
    """At the other end."""
    statement_N: NDArray[np.int64]


class _Side:
    """The base as seen from one end: rows of one entity lie together, ordered by relation."""

    def __init__(self, from_E: NDArray[np.int64], rows_E4: NDArray[np.int64], to_column: int) -> None:
        order_E = np.lexsort((rows_E4[:, 1], from_E))
        self.relation_E = rows_E4[order_E, 1].copy()
        self.entity_E = rows_E4[order_E, to_column].copy()
        self.statement_E = rows_E4[order_E, 3].copy()
        entities = int(from_E.max(initial=0)) + 1
        self.start_V = np.zeros(entities + 1, dtype=np.int64)
        np.cumsum(np.bincount(from_E, minlength=entities), out=self.start_V[1:])
        self.retired_E = np.zeros(len(rows_E4), dtype=np.bool_)
        self.touched: set[EntityId] = set()
        self.added: dict[EntityId, list[tuple[RelationId, EntityId, StatementId]]] = defaultdict(list)

    def slice_of(self, entity: EntityId, relation: RelationId | None) -> slice:
        if not 0 <= entity < len(self.start_V) - 1:
            return slice(0, 0)
        low, high = int(self.start_V[entity]), int(self.start_V[entity + 1])
        if relation is not None and low < high:
            low, high = low + np.searchsorted(self.relation_E[low:high], (relation, relation + 1))
        return slice(low, high)

    def neighbours(self, entity: EntityId, relation: RelationId | None) -> Neighbours:
        rows = self.slice_of(entity, relation)
        found = Neighbours(self.relation_E[rows], self.entity_E[rows], self.statement_E[rows])
        if entity in self.touched:
            kept_N = ~self.retired_E[rows]
            found = Neighbours(found.relation_N[kept_N], found.entity_N[kept_N], found.statement_N[kept_N])
        added = [each for each in self.added.get(entity, ()) if relation is None or each[0] == relation]
        return _joined(found, added) if added else found

    def around(self, entities_V: NDArray[np.int64]) -> tuple[NDArray[np.int64], Neighbours]:
        inside_V = (entities_V >= 0) & (entities_V < len(self.start_V) - 1)
        known_V = np.where(inside_V, entities_V, 0)
        low_V = self.start_V[known_V]
        count_V = np.where(inside_V, self.start_V[known_V + 1] - low_V, 0)
        origin_N = np.repeat(np.arange(len(entities_V)), count_V)
        row_N = np.arange(len(origin_N)) + np.repeat(low_V - np.cumsum(count_V) + count_V, count_V)
        if self.touched:
            kept_N = ~self.retired_E[row_N]
            origin_N, row_N = origin_N[kept_N], row_N[kept_N]
        found = Neighbours(self.relation_E[row_N], self.entity_E[row_N], self.statement_E[row_N])
        if self.added:
            places = [place for place, entity in enumerate(entities_V.tolist()) if self.added.get(entity)]
            for place in places:
                added = self.added[int(entities_V[place])]
                found = _joined(found, added, in_order=False)
                origin_N = np.concatenate((origin_N, np.full(len(added), place)))
        return origin_N, found

    def add(self, entity: EntityId, row: tuple[RelationId, EntityId, StatementId]) -> None:
        self.added[entity].append(row)

    def retire(self, entity: EntityId, relation: RelationId, statement: StatementId) -> bool:
        rows = self.slice_of(entity, relation)
        place_N = np.flatnonzero(self.statement_E[rows] == statement)
        if len(place_N):
            fresh = not self.retired_E[rows.start + place_N[0]]
            self.retired_E[rows.start + place_N[0]] = True
            self.touched.add(entity)
            return bool(fresh)
        left = [each for each in self.added.get(entity, ()) if each[2] != statement]
        fresh = len(left) < len(self.added.get(entity, ()))
        if fresh:
            self.added[entity] = left
        return fresh


class Adjacency:
    """The graph between entities at one transaction.

    Args:
        rows_E4: (subject, relation, object, statement) as `Reader.triples` gives them.
    """

    def __init__(self, rows_E4: NDArray[np.int64]) -> None:
        self._forward = _Side(rows_E4[:, 0], rows_E4, 2)
        self._backward = _Side(rows_E4[:, 2], rows_E4, 0)
        self._last_base = int(rows_E4[:, 3].max(initial=0))
        self._added_ids: set[StatementId] = set()
        self.size = len(rows_E4)
        """Living statements, delta included."""

    @property
    def delta(self) -> int:
        """How many statements were added since the base was built."""
        return len(self._added_ids)

    def neighbours(self, entity: EntityId, relation: RelationId | None = None, *, inverse: bool = False) -> Neighbours:
        """Statements about `entity`; with `inverse`, those whose object it is."""
        return (self._backward if inverse else self._forward).neighbours(entity, relation)

    def around(self, entities_V: NDArray[np.int64], *, inverse: bool = False) -> tuple[NDArray[np.int64], Neighbours]:
        """Statements about many entities at once: for each the place of its entity in `entities_V`, and itself."""
        return (self._backward if inverse else self._forward).around(entities_V)

    def degree(self, entity: EntityId, *, inverse: bool = False) -> int:
        """How many statements `neighbours` would give, near enough: retired ones of the base are counted."""
        side = self._backward if inverse else self._forward
        rows = side.slice_of(entity, None)
        return int(rows.stop - rows.start) + len(side.added.get(entity, ()))

    def rows(self) -> NDArray[np.int64]:
        """(E, 4) as `Reader.triples` gives them, for those who need the whole."""
        side = self._forward
        subject_E = np.repeat(np.arange(len(side.start_V) - 1), np.diff(side.start_V))
        base_E4 = np.stack((subject_E, side.relation_E, side.entity_E, side.statement_E), axis=1)[~side.retired_E]
        added = [(subject, *row) for subject, rows in side.added.items() for row in rows]
        rows_E4 = np.concatenate((base_E4, np.array(added, dtype=np.int64).reshape(-1, 4)))
        return rows_E4[np.argsort(rows_E4[:, 3])]

    def apply(self, statement: Statement) -> None:
        """Take in a statement that was added or retired since. Applying it twice changes nothing."""
        if statement.object is None:
            return
        known = statement.id <= self._last_base or statement.id in self._added_ids
        subject, relation, other = statement.subject, statement.relation, statement.object
        if statement.retired is None and statement.status == "accepted" and not known:
            self._added_ids.add(statement.id)
            self._forward.add(subject, (relation, other, statement.id))
            self._backward.add(other, (relation, subject, statement.id))
            self.size += 1
        elif statement.retired is not None and self._forward.retire(subject, relation, statement.id):
            self._backward.retire(other, relation, statement.id)
            self._added_ids.discard(statement.id)
            self.size -= 1


def _joined(
    found: Neighbours, added: list[tuple[RelationId, EntityId, StatementId]], *, in_order: bool = True
) -> Neighbours:
    added_N3 = np.array(added, dtype=np.int64)
    relation_N = np.concatenate((found.relation_N, added_N3[:, 0]))
    order_N = np.argsort(relation_N, kind="stable") if in_order else np.arange(len(relation_N))
    entity_N = np.concatenate((found.entity_N, added_N3[:, 1]))
    statement_N = np.concatenate((found.statement_N, added_N3[:, 2]))
    return Neighbours(relation_N[order_N], entity_N[order_N], statement_N[order_N])
