"""The graph as queries read it: the Reader of a store, with the names of entities kept in memory while they hold."""

from __future__ import annotations

from typing import Protocol

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import (
    Entity,
    EntityId,
    Relation,
    RelationId,
    Source,
    SourceId,
    Statement,
    StatementId,
    Transaction,
)


class Facts(Protocol):
    """What running, wording and verifying a query reads: part of every store's Reader."""

    def entity(self, entity: EntityId, *, at: Transaction | None = None) -> Entity: ...
    def find_entity(self, key: str) -> EntityId | None: ...
    def relation(self, relation: RelationId, *, at: Transaction | None = None) -> Relation: ...
    def find_relation(self, key: str) -> RelationId | None: ...
    def statement(self, statement: StatementId) -> Statement | None: ...
    def outgoing(
        self, subject: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]: ...
    def incoming(
        self, object: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]: ...
    def source(self, source: SourceId) -> Source: ...


class LiveFacts:
    """A graph at the transaction that its indexes show."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._store = graph.store

    def entity(self, entity: EntityId, *, at: Transaction | None = None) -> Entity:
        return self._graph.entity(entity)

    def find_entity(self, key: str) -> EntityId | None:
        return self._store.find_entity(key)

    def relation(self, relation: RelationId, *, at: Transaction | None = None) -> Relation:
        return self._graph.relation(relation)

    def find_relation(self, key: str) -> RelationId | None:
        return self._store.find_relation(key)

    def statement(self, statement: StatementId) -> Statement | None:
        return self._store.statement(statement)

    def outgoing(
        self, subject: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]:
        return self._store.outgoing(subject, relation, at=at)

    def incoming(
        self, object: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]:
        return self._store.incoming(object, relation, at=at)

    def source(self, source: SourceId) -> Source:
        return self._store.source(source)
