"""The statements that lessons of one split are drawn from, indexed by their ends, with how they are shown."""

from __future__ import annotations

import hashlib

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId, Statement
from groundzero.ground.lessons import Fact, LessonSettings, Split, noun_of

_LONGEST_NAME = 60
"""Characters; what has a longer one is not taught."""


class TeachableFacts:
    """What a teacher of one split may show.

    Args:
        split: `train` has no statement about an entity of `test`; `test` has all of them, and asks about those alone.
    """

    def __init__(self, graph: Graph, settings: LessonSettings, split: Split) -> None:
        self.split = split
        self.relations = graph.relations
        self._settings, self._graph = settings, graph
        statements = (each for each in graph.store.statements() if self._readable(each))
        self.statements = [each for each in statements if split == "test" or self.belongs(each.subject)]
        self.asked = [each for each in self.statements if self.belongs(each.subject)]
        """Those that lessons start from."""
        self.asked_by_relation: dict[RelationId, list[Statement]] = {}
        for each in self.asked:
            self.asked_by_relation.setdefault(each.relation, []).append(each)
        self.asked_relations = sorted(self.asked_by_relation)
        self.by_subject: dict[EntityId, list[Statement]] = {}
        self.by_object: dict[EntityId, list[Statement]] = {}
        self.by_relation: dict[RelationId, list[Statement]] = {}
        self._second: dict[RelationId, float] = {}
        for each in self.statements:
            self.by_subject.setdefault(each.subject, []).append(each)
            self.by_relation.setdefault(each.relation, []).append(each)
            if each.object is not None:
                self.by_object.setdefault(each.object, []).append(each)

    def belongs(self, entity: EntityId) -> bool:
        """Whether an entity is of this split."""
        digest = hashlib.sha256(f"{self._settings.seed}:{entity}".encode()).digest()
        held = int.from_bytes(digest[:8], "big") / 2**64 < self._settings.test_share
        return held == (self.split == "test")

    def answers(self, subject: EntityId, relation: RelationId) -> list[Statement]:
        """What the graph says of a subject by one relation, each object once."""
        found: dict[object, Statement] = {}
        for each in self.by_subject[subject]:
            if each.relation == relation:
                found.setdefault((each.object, each.literal), each)
        return list(found.values())

    def share_of_many(self, relation: RelationId) -> float:
        """Share of a relation's subjects that have a second object by it."""
        if relation not in self._second:
            objects: dict[EntityId, set[object]] = {}
            for each in self.by_relation[relation]:
                objects.setdefault(each.subject, set()).add((each.object, each.literal))
            self._second[relation] = sum(len(found) > 1 for found in objects.values()) / len(objects)
        return self._second[relation]

    def fact(self, statement: Statement, step: int = 0) -> Fact:
        """A statement as the network sees it."""
        relation = noun_of(self.relations[statement.relation])
        ends = (statement.subject, statement.relation, statement.object)
        return Fact(self.label(statement.subject), relation, self.object(statement), statement.id, ends, step)

    def object(self, statement: Statement) -> str:
        """What a statement's object is called."""
        if statement.literal is not None:
            return statement.literal.value
        assert statement.object is not None
        return self.label(statement.object)

    def label(self, entity: EntityId) -> str:
        """What an entity is called."""
        return self._graph.label(entity)

    def _readable(self, statement: Statement) -> bool:
        subject, object_ = self.label(statement.subject), self.object(statement)
        return 0 < len(subject) <= _LONGEST_NAME and 0 < len(object_) <= _LONGEST_NAME and subject != object_
