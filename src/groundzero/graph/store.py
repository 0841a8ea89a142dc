"""What every store of statements can do, and what it says of itself.

Three keep this promise: SQLite (the default), PostgreSQL (shared), and a SPARQL endpoint (huge, read-only). Nothing
outside this room speaks SQL or SPARQL.

Reads take `at`, a transaction: they show the graph as it was once that transaction had been committed; None is the
latest. `snapshot()` fixes one transaction for several reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundzero.graph.nouns import (
    Entity,
    EntityId,
    Literal,
    Name,
    NameKind,
    Relation,
    RelationId,
    Source,
    SourceId,
    Statement,
    StatementId,
    Status,
    Transaction,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can and cannot do; `verify` says what it could not check."""

    writable: bool
    as_of: bool
    """Reads at past transactions."""
    full_text: bool
    sources: bool
    """Statements carry source, span and confidence."""
    many_hosts: bool
    """Clients on several machines may share it."""
    readable_whole: bool = True
    """Near and small enough to be read from end to end, so that indexes of it can be kept in memory."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How large a graph is at one transaction."""

    triples: int
    entities: int
    relations: int
    sources: int
    quarantined: int
    retired: int


class Reader(Protocol):
    """Questions a store answers."""

    def transaction(self) -> Transaction: ...
    def counts(self, *, at: Transaction | None = None) -> Counts: ...

    def entity(self, entity: EntityId, *, at: Transaction | None = None) -> Entity: ...
    def find_entity(self, key: str) -> EntityId | None: ...
    def entities(self, *, at: Transaction | None = None) -> Iterator[Entity]: ...
    def entity_names(self, entity: EntityId, *, at: Transaction | None = None) -> list[Name]: ...
    def named(self, text: str, *, at: Transaction | None = None) -> list[EntityId]:
        """Entities with exactly this label or alias."""
        ...

    def surfaces(self, *, at: Transaction | None = None) -> Iterator[tuple[EntityId, str]]:
        """What entities are called: every label and alias; and the key of what has no label, unless all that was said
        of it has been retired: it must not go on being found."""
        ...

    def surfaces_of(self, entity: EntityId, *, at: Transaction | None = None) -> list[str]:
        """The same of one entity."""
        ...

    def search(self, text: str, *, limit: int = 20, at: Transaction | None = None) -> list[tuple[EntityId, float]]:
        """Entities whose names share words with `text`, best first; every character of `text` is a literal.

        A word that very many names share may be passed over where `text` has a rarer one.
        """
        ...

    def relation(self, relation: RelationId, *, at: Transaction | None = None) -> Relation: ...
    def find_relation(self, key: str) -> RelationId | None: ...
    def relations(self, *, at: Transaction | None = None) -> Iterator[Relation]: ...
    def relation_names(self, relation: RelationId, *, at: Transaction | None = None) -> list[Name]: ...

    def statement(self, statement: StatementId) -> Statement | None:
        """Whatever its state: retired statements are still there."""
        ...

    def outgoing(
        self, subject: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]:
        """Accepted statements about `subject`, in the order they were added."""
        ...

    def incoming(
        self,
        object: EntityId,
        relation: RelationId | None = None,
        *,
        limit: int | None = None,
        at: Transaction | None = None,
    ) -> list[Statement]:
        """Accepted statements whose object it is, in the order they were added; those of the lowest relations first
        where only `limit` of all relations are wanted."""
        ...

    def statements(
        self, *, status: Status | None = "accepted", source: SourceId | None = None, at: Transaction | None = None
    ) -> Iterator[Statement]:
        """All of them, a stream in bounded memory."""
        ...

    def changes(self, since: Transaction) -> Iterator[Statement]:
        """Statements added or retired after `since`: what an index must look at to catch up."""
        ...

    def renamed(self, since: Transaction) -> Iterator[tuple[EntityId, Name]]:
        """Entity names added or retired after `since`."""
        ...

    def newcomers(self, since: Transaction) -> Iterator[EntityId]:
        """Entities made after `since`, whether or not anybody named them."""
        ...

    def triples(self, *, at: Transaction | None = None) -> NDArray[np.int64]:
        """Accepted statements between entities as rows (subject, relation, object, id)."""
        ...

    def source(self, source: SourceId) -> Source: ...
    def find_source(self, key: str) -> SourceId | None: ...
    def sources(self) -> Iterator[Source]: ...
    def is_retired(self, source: SourceId) -> bool:
        """Whether it said something once, and all of that has been retired."""
        ...


class Writer(Protocol):
    """One transaction being written; nothing is seen by others until it is committed."""

    @property
    def transaction(self) -> Transaction:
        """The number that this transaction will have, if it writes anything."""
        ...

    def add_entity(self, key: str, *, label: str = "", types: Sequence[str] = (), description: str = "") -> EntityId:
        """The entity with this key, made if there is none. Names given are added where they are new."""
        ...

    def add_entities(self, keys: Sequence[str], *, labels: Sequence[str] | None = None) -> list[EntityId]:
        """Many at once; what `add_entity` says holds for each."""
        ...

    def add_relation(self, key: str, *, label: str = "") -> RelationId: ...
    def add_source(
        self, key: str, *, title: str = "", revision: str = "", licence: str = "", digest: str = ""
    ) -> SourceId:
        """The source with this key, made if there is none; what is known of it stays as first given, but for a digest
        that was not: a source may be named before it has been read to its end."""
        ...

    def name_entity(self, entity: EntityId, text: str, kind: NameKind = "alias", *, language: str = "") -> None: ...
    def retire_entity_name(self, entity: EntityId, text: str, kind: NameKind) -> bool: ...
    def name_relation(self, relation: RelationId, text: str, kind: NameKind, *, language: str = "") -> None: ...
    def retire_relation_name(self, relation: RelationId, text: str, kind: NameKind) -> bool: ...

    def add_statement(
        self,
        subject: EntityId,
        relation: RelationId,
        object: EntityId | Literal,
        *,
        source: SourceId | None = None,
        start: int | None = None,
        end: int | None = None,
        confidence: float = 1.0,
        valid_from: str = "",
        valid_to: str = "",
        status: Status = "accepted",
    ) -> StatementId:
        """A new statement; the living one with the same ends, source and span where there is one already."""
        ...

    def add_triples(self, rows: Iterable[tuple[EntityId, RelationId, EntityId]], *, source: SourceId | None) -> int:
        """Many plain statements at once; returns how many were new."""
        ...

    def retire(self, statement: StatementId) -> bool:
        """False where it was retired before."""
        ...

    def retire_source(self, source: SourceId) -> int:
        """Retire everything that rests on this source alone; returns how many statements."""
        ...


class Store(Reader, Protocol):
    """A reader that may also be written to."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def location(self) -> str:
        """What `Graph.open` was given, without credentials."""
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Reads that all see one transaction, whatever is committed meanwhile."""
        ...

    def writer(self) -> AbstractContextManager[Writer]:
        """A transaction: committed and on disk when the block ends, undone when it raises.

        Raises:
            StorageError: the store is read-only, full, or another process is writing and does not finish in time.
        """
        ...

    def close(self) -> None: ...
