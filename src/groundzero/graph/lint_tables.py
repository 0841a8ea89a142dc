"""The living statements of a graph as arrays, ordered for the questions that lint asks.

Shapes: N statements; S subjects of one relation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from groundzero.graph.nouns import EntityId, RelationId, StatementId
from groundzero.graph.sql_rows import literal_code
from groundzero.graph.store import Reader

_RARE = 0.02
"""Share of a relation's entities on circles beyond which circles are what it is about (`spouse`, `borders`)."""


@dataclass(frozen=True, slots=True)
class Table:
    """All accepted statements, in order of relation, subject, object, id. Literals are negative numbers."""

    relation_N: NDArray[np.int64]
    subject_N: NDArray[np.int64]
    object_N: NDArray[np.int64]
    id_N: NDArray[np.int64]
    start_of: dict[RelationId, tuple[int, int]]
    """The rows of each relation."""

    def relations(self) -> list[RelationId]:
        """Relations that have statements."""
        return list(self.start_of)

    def ends(self, relation: RelationId, side: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of a relation's statements between entities, and their subjects or objects."""
        rows = slice(*self.start_of[relation])
        is_entity_N = self.object_N[rows] > 0
        ends_N = self.subject_N if side == "subject" else self.object_N
        return self.id_N[rows][is_entity_N], ends_N[rows][is_entity_N]

    def objects_per_subject(self, relation: RelationId) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Subjects (S) of a relation, and how many different objects each has."""
        rows = slice(*self.start_of[relation])
        pairs_N2 = np.unique(np.stack((self.subject_N[rows], self.object_N[rows]), axis=1), axis=0)
        return np.unique(pairs_N2[:, 0], return_counts=True)

    def several_objects(self, relation: RelationId) -> Iterator[tuple[EntityId, list[StatementId]]]:
        """Subjects with more than one object, and their statements."""
        subjects_S, counts_S = self.objects_per_subject(relation)
        low, high = self.start_of[relation]
        for subject in subjects_S[counts_S > 1].tolist():
            first, last = np.searchsorted(self.subject_N[low:high], (subject, subject + 1))
            yield subject, self.id_N[low + first : low + last].tolist()

    def repeated(self) -> Iterator[list[StatementId]]:
        """Statements with the same subject, relation and object."""
        same_N = (
            (self.relation_N[1:] == self.relation_N[:-1])
            & (self.subject_N[1:] == self.subject_N[:-1])
            & (self.object_N[1:] == self.object_N[:-1])
        )
        group: list[StatementId] = []
        for place in np.flatnonzero(same_N).tolist():
            if group and group[-1] == self.id_N[place]:
                group.append(int(self.id_N[place + 1]))
                continue
            if group:
                yield group
            group = [int(self.id_N[place]), int(self.id_N[place + 1])]
        if group:
            yield group

    def loops(self, relation: RelationId) -> list[StatementId]:
        """Statements whose subject is their object."""
        rows = slice(*self.start_of[relation])
        found: list[StatementId] = self.id_N[rows][self.subject_N[rows] == self.object_N[rows]].tolist()
        return found

    def rare_circles(self, relation: RelationId, *, min_subjects: int) -> list[list[EntityId]]:
        """Entities that lie on circles, where hardly any entity of the relation does: each circle as a way round."""
        rows = slice(*self.start_of[relation])
        between_N = (self.object_N[rows] > 0) & (self.subject_N[rows] != self.object_N[rows])
        subjects_N, objects_N = self.subject_N[rows][between_N], self.object_N[rows][between_N]
        entities_V, places_2N = np.unique(np.concatenate((subjects_N, objects_N)), return_inverse=True)
        if len(entities_V) < min_subjects:
            return []
        from_N, to_N = places_2N[: len(subjects_N)], places_2N[len(subjects_N) :]
        size = len(entities_V)
        matrix = coo_matrix((np.ones(len(from_N), dtype=np.int8), (from_N, to_N)), shape=(size, size)).tocsr()
        _, component_V = connected_components(matrix, directed=True, connection="strong")
        component_sizes = np.bincount(component_V)
        if component_sizes[component_sizes > 1].sum() > _RARE * size:
            return []
        circles = []
        for component in np.flatnonzero(component_sizes > 1).tolist():
            members = np.flatnonzero(component_V == component)
            circles.append(entities_V[_way_round(matrix, members.tolist())].tolist())
        return circles

    def mentioned(self) -> tuple[set[EntityId], set[EntityId]]:
        """Entities that are a subject, and entities that are an object."""
        return set(np.unique(self.subject_N).tolist()), set(np.unique(self.object_N[self.object_N > 0]).tolist())


@dataclass(frozen=True, slots=True)
class Functionality:
    """How surely each relation gives a subject one object, and an object one subject: 95 % lower bounds."""

    forward: dict[RelationId, float]
    inverse: dict[RelationId, float]

    @classmethod
    def learn(cls, table: Table, min_subjects: int) -> Functionality:
        """From the share of subjects with one object; relations with fewer than `min_subjects` are left out."""
        forward: dict[RelationId, float] = {}
        inverse: dict[RelationId, float] = {}
        for relation in table.relations():
            rows = slice(*table.start_of[relation])
            pairs_N2 = np.unique(np.stack((table.subject_N[rows], table.object_N[rows]), axis=1), axis=0)
            for column, bounds in ((0, forward), (1, inverse)):
                counts_S = np.unique(pairs_N2[:, column], return_counts=True)[1]
                if len(counts_S) >= min_subjects:
                    bounds[relation] = wilson(int((counts_S == 1).sum()), len(counts_S))
        return cls(forward, inverse)

    def relations(self, at_least: float, *, inverse: bool = False) -> list[RelationId]:
        """The relations that are functional."""
        bounds = self.inverse if inverse else self.forward
        return [relation for relation, bound in bounds.items() if bound >= at_least]


def read_table(reader: Reader) -> Table:
    """The accepted statements of a graph as they are now."""
    between_N4 = reader.triples()
    literals = [
        (statement.subject, statement.relation, literal_code(statement.literal), statement.id)
        for statement in reader.statements()
        if statement.literal is not None
    ]
    rows_N4 = np.concatenate((between_N4, np.array(literals, dtype=np.int64).reshape(-1, 4)))
    order_N = np.lexsort((rows_N4[:, 3], rows_N4[:, 2], rows_N4[:, 0], rows_N4[:, 1]))
    rows_N4 = rows_N4[order_N]
    relations, firsts = np.unique(rows_N4[:, 1], return_index=True)
    ends = [*firsts[1:].tolist(), len(rows_N4)][: len(relations)]
    start_of = dict(zip(relations.tolist(), zip(firsts.tolist(), ends, strict=True), strict=True))
    subject_N, relation_N, object_N, id_N = (np.ascontiguousarray(rows_N4[:, column]) for column in range(4))
    return Table(relation_N, subject_N, object_N, id_N, start_of)


def wilson(successes: int, trials: int, z: float = 1.96) -> float:
    """Lower end of Wilson's interval for a share (Wilson 1927): what it is at least, with 97.5 % certainty."""
    if trials == 0:
        return 0.0
    share = successes / trials
    middle = share + z * z / (2 * trials)
    spread = z * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)))
    return (middle - spread) / (1 + z * z / trials)


def _way_round(matrix: object, members: list[int]) -> list[int]:
    """A shortest circle through the first member, which lies in a strongly connected part."""
    inside = set(members)
    start = members[0]
    indptr, indices = matrix.indptr, matrix.indices  # type: ignore[attr-defined]
    came_from: dict[int, int] = {}
    frontier = [start]
    while frontier:
        following: list[int] = []
        for node in frontier:
            for other in indices[indptr[node] : indptr[node + 1]].tolist():
                if other == start:
                    way = [node]
                    while way[-1] != start:
                        way.append(came_from[way[-1]])
                    return way[::-1]
                if other in inside and other not in came_from:
                    came_from[other] = node
                    following.append(other)
        frontier = following
    raise AssertionError("no circle in a strongly connected part")
