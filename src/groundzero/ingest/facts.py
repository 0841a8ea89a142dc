"""What the graph already knows, as learning from it needs it: facts as rows, and what kind of thing each entity is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from groundzero.graph.nouns import EntityId, RelationId, StatementId
from groundzero.graph.store import Reader

Triple = tuple[EntityId, RelationId, EntityId]

_SURE = 0.9
"""Confidence from which a statement read from a text is an example to learn from."""
_SAME_KIND = 3
"""Facts that a relation must have with objects of a type before any object of that type is thought possible."""


class Facts:
    """Triples and types.

    Args:
        triples: (subject, relation, object).
        types: the type of an entity; where there is none, its commonest role in the facts stands for it.
    """

    def __init__(self, triples: Iterable[Triple], types: Mapping[EntityId, str]) -> None:
        self.triples = frozenset(triples)
        self._types = {entity: name for entity, name in types.items() if name}
        self._roles = self._commonest_roles()
        self.by_subject: dict[EntityId, set[tuple[RelationId, EntityId]]] = defaultdict(set)
        self._between: dict[tuple[EntityId, EntityId], list[RelationId]] = defaultdict(list)
        self._of_object: dict[EntityId, set[RelationId]] = defaultdict(set)
        self._uses: dict[EntityId, Counter[tuple[RelationId, str]]] = defaultdict(Counter)
        of_type: Counter[tuple[str, RelationId]] = Counter()
        self._subject_types: set[tuple[RelationId, str]] = set()
        for subject, relation, target in self.triples:
            self.by_subject[subject].add((relation, target))
            self._between[subject, target].append(relation)
            self._of_object[target].add(relation)
            self._uses[target][relation, self.type(subject)] += 1
            of_type[self.type(target), relation] += 1
            self._subject_types.add((relation, self.type(subject)))
        self._subject_type_names = {name for _, name in self._subject_types if name}
        self._of_type: dict[str, set[RelationId]] = defaultdict(set)
        for (name, relation), count in of_type.items():
            if count >= _SAME_KIND and name:
                self._of_type[name].add(relation)

    @classmethod
    def of(cls, store: Reader) -> Facts:
        """The accepted facts of a store that are sure enough to learn from, and its entities' first types.

        What was read from prose with less than `_SURE` is left out: a model taught by its guesses would believe them.
        """
        types = {entity.id: entity.types[0] for entity in store.entities() if entity.types}
        rows = store.triples()
        unsure = _unsure(store)
        if unsure:
            rows = rows[~np.isin(rows[:, 3], np.fromiter(unsure, dtype=np.int64))]
        return cls(((subject, relation, target) for subject, relation, target in rows[:, :3].tolist()), types)

    def type(self, entity: EntityId) -> str:
        """What kind of thing it is; empty where nothing tells."""
        return self._types.get(entity) or self._roles.get(entity, "")

    def given_type(self, entity: EntityId) -> str:
        """The type that the graph gives; empty where it gives none."""
        return self._types.get(entity, "")

    @property
    def has_types(self) -> bool:
        """Whether the graph says of anything what it is."""
        return bool(self._types)

    def possible(self, kind: str, target: EntityId) -> list[RelationId]:
        """Relations that the target, or things of its type, are objects of, from subjects of this kind."""
        relations = self._of_object.get(target, set()) | self._of_type.get(self.type(target), set())
        return sorted(relation for relation in relations if self.allows(relation, kind))

    def between(self, subject: EntityId, target: EntityId) -> list[RelationId]:
        """The relations that a subject has to a target."""
        return self._between.get((subject, target), [])

    def usual(self, target: EntityId) -> tuple[RelationId, str] | None:
        """The relation that a thing is mostly the object of, and the type of most of those subjects."""
        counts = self._uses.get(target)
        if counts is None:
            return None
        use, count = max(counts.items(), key=lambda item: (item[1], item[0]))
        return use if count >= _SAME_KIND else None

    def known_type(self, name: str) -> bool:
        """Whether some subject is of this type."""
        return name in self._subject_type_names

    def allows(self, relation: RelationId, kind: str) -> bool:
        """Whether the relation is known of subjects of this kind; of an unknown kind all are."""
        return not kind or (relation, kind) in self._subject_types

    def _commonest_roles(self) -> dict[EntityId, str]:
        roles: dict[EntityId, Counter[str]] = defaultdict(Counter)
        for subject, relation, target in self.triples:
            if subject not in self._types:
                roles[subject][f"subject of {relation}"] += 1
            if target not in self._types:
                roles[target][f"object of {relation}"] += 1
        return {entity: max(sorted(counts), key=lambda role: counts[role]) for entity, counts in roles.items()}


def _unsure(store: Reader) -> set[StatementId]:
    """Statements read from texts with little confidence. Sources whose first statement has no passage are imports."""
    found = set()
    for source in store.sources():
        statements = store.statements(source=source.id)
        first = next(statements, None)
        if first is not None and first.start is not None:
            found |= {each.id for each in (first, *statements) if each.confidence < _SURE}
    return found
