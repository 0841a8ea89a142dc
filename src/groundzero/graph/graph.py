"""A graph in use: a store, and in memory who is next to whom and what everything is called.

The two indexes are built when first asked for and then catch up, transaction by transaction, whoever wrote. They do so
in `refresh`, which every question should call once when it starts: a question then sees one state throughout.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from groundzero.errors import InputError
from groundzero.graph.adjacency import Adjacency, Neighbours
from groundzero.graph.mentions import Mention, MentionIndex
from groundzero.graph.nouns import (
    Entity,
    EntityId,
    Literal,
    Relation,
    RelationId,
    SourceId,
    Statement,
    StatementId,
    Transaction,
)
from groundzero.graph.opening import open_store
from groundzero.graph.remote import remote_mentions, remote_neighbours
from groundzero.graph.store import Reader, Store

REBUILD = 20_000
"""Changes since the last look beyond which an index is built anew rather than brought up to date."""
RENEW = 0.25
"""Part of the base that a delta may grow to before a new base is built in the background."""


class Graph:
    """Facts to ask: `with Graph.open("facts.db") as graph: ...`. Threads may share one, and the state it shows.

    `store` has all that is not here: literals, sources, names, history, writing.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.RLock()  # one thread at a time builds indexes or brings them up to date
        self._changing = threading.Lock()  # held for the moment in which what was read is put into them
        self._transaction: Transaction = store.transaction()
        self._renewing: threading.Thread | None = None
        self._adjacency: Adjacency | None = None
        self._mentions: MentionIndex | None = None
        self._entities: dict[EntityId, Entity] = {}
        self._relations: dict[RelationId, Relation] | None = None

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False, read_only: bool = False) -> Self:
        """The graph at a path, a `postgresql://` address or a SPARQL endpoint. Raises as `open_store` does."""
        return cls(open_store(location, create=create, read_only=read_only))

    def close(self) -> None:
        """Close the store. An index that is being built is waited for."""
        if self._renewing is not None:
            self._renewing.join()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def location(self) -> str:
        """What it was opened with, without credentials."""
        return self.store.location

    @property
    def transaction(self) -> Transaction:
        """The one that the indexes show."""
        return self._transaction

    def refresh(self) -> Transaction:
        """Take in what was committed since the last look, by anyone; returns the transaction now shown."""
        if self.store.transaction() == self._transaction:
            return self._transaction
        with self._lock, self.store.snapshot() as now:
            since, latest = self._transaction, now.transaction()
            if latest != since:
                self._catch_up(now, since)
                self._transaction = latest
        self._renew_if_grown()
        return latest

    @property
    def adjacency(self) -> Adjacency:
        """Statements between entities."""
        if self._adjacency is None:
            with self._lock:
                if self._adjacency is None:
                    self._adjacency = Adjacency(self.store.triples(at=self._as_of()))
        return self._adjacency

    @property
    def mention_index(self) -> MentionIndex:
        """Names of entities."""
        if self._mentions is None:
            with self._lock:
                if self._mentions is None:
                    self._mentions = MentionIndex(self.store.surfaces(at=self._as_of()))
        return self._mentions

    def neighbours(self, entity: EntityId, relation: RelationId | None = None, *, inverse: bool = False) -> Neighbours:
        """Statements about `entity` to other entities, as arrays; with `inverse`, those whose object it is."""
        if not self.store.capabilities.readable_whole:
            return remote_neighbours(self.store, entity, relation, inverse=inverse)
        adjacency = self.adjacency
        with self._changing:
            return adjacency.neighbours(entity, relation, inverse=inverse)

    def mentions(self, text: str, *, overlapping: bool = False) -> list[Mention]:
        """Entities that `text` names, by label or alias: leftmost and longest, or every one."""
        if not self.store.capabilities.readable_whole:
            return remote_mentions(self.store, text, overlapping=overlapping)
        index = self.mention_index
        with self._changing:
            return index.find(text, overlapping=overlapping)

    def entity(self, entity: EntityId) -> Entity:
        """The entity with the names it has now. Raises InputError where there is none with this id."""
        found = self._entities.get(entity)
        if found is None:
            found = self._entities[entity] = self.store.entity(entity, at=self._as_of())
        return found

    def label(self, entity: EntityId) -> str:
        """What an entity is called; its key where nobody named it."""
        return self.entity(entity).label

    @property
    def relations(self) -> dict[RelationId, Relation]:
        """Every relation by id."""
        if self._relations is None:
            self._relations = {each.id: each for each in self.store.relations(at=self._as_of())}
        return self._relations

    def relation(self, relation: RelationId) -> Relation:
        """Raises InputError where there is none with this id."""
        return self.relations.get(relation) or self.store.relation(relation)

    def statement(self, statement: StatementId) -> Statement | None:
        """Whatever its state."""
        return self.store.statement(statement)

    def edit(
        self,
        subject: EntityId,
        relation: RelationId,
        object: EntityId | Literal,
        *,
        replacing: EntityId | Literal | None = None,
        source: SourceId | None = None,
    ) -> StatementId:
        """Make `object` what the graph says of `subject` and `relation`: retire the old statement, add the new.

        Args:
            replacing: the object whose statements are retired; all of this subject and relation where None.

        Raises:
            InputError: `replacing` is given and the graph does not say so.
            StorageError: the store cannot be written to.
        """
        with self.store.writer() as writer:
            old = self.store.outgoing(subject, relation)
            if replacing is not None:
                old = [each for each in old if replacing in (each.object, each.literal)]
                if not old:
                    raise InputError("There is no such statement to replace.", remedy="See `gz graph query`.")
            added = writer.add_statement(subject, relation, object, source=source)
            for each in old:
                if each.id != added:
                    writer.retire(each.id)
        self.refresh()
        return added

    def _renew_if_grown(self) -> None:
        """Start a thread that builds bases of the indexes whose delta has grown large; questions go on meanwhile."""
        grown = [
            each is not None and each.delta > max(REBUILD, RENEW * each.size)
            for each in (self._adjacency, self._mentions)
        ]
        if any(grown) and (self._renewing is None or not self._renewing.is_alive()):
            self._renewing = threading.Thread(target=self._renew, args=grown, name="graph-renewal", daemon=True)
            self._renewing.start()

    def _renew(self, adjacency: bool, mentions: bool) -> None:
        with self.store.snapshot() as now:
            base = now.transaction()
            new_adjacency = Adjacency(now.triples()) if adjacency else None
            new_mentions = MentionIndex(now.surfaces()) if mentions else None
        with self._lock, self.store.snapshot() as now:  # what came while they were built
            if new_adjacency is not None:
                for statement in now.changes(base):
                    new_adjacency.apply(statement)
            if new_mentions is not None:
                for entity in set(_renamed(now, base, now.changes(base))):
                    new_mentions.rename(entity, now.surfaces_of(entity))
            self._catch_up(now, self._transaction)
            self._transaction = now.transaction()
            self._adjacency, self._mentions = new_adjacency or self._adjacency, new_mentions or self._mentions

    def _as_of(self) -> Transaction | None:
        return self._transaction if self.store.capabilities.as_of else None

    def _catch_up(self, now: Reader, since: Transaction) -> None:
        is_read = self._adjacency is not None or self._mentions is not None
        changes = list(islice(now.changes(since), REBUILD + 1)) if is_read else []
        renamed = set(islice(_renamed(now, since, changes), REBUILD + 1))
        if len(renamed) > REBUILD or len(changes) > REBUILD:
            self._mentions = None if self._mentions is None else MentionIndex(now.surfaces())
            self._entities.clear()
            renamed = set()
        if len(changes) > REBUILD:
            self._adjacency = None if self._adjacency is None else Adjacency(now.triples())
            changes = []
        names = {entity: now.surfaces_of(entity) for entity in renamed}
        with self._changing:
            if self._adjacency is not None:
                for statement in changes:
                    self._adjacency.apply(statement)
            for entity, surfaces in names.items():
                self._entities.pop(entity, None)
                if self._mentions is not None:
                    self._mentions.rename(entity, surfaces)
            self._relations = None


def _renamed(now: Reader, since: Transaction, changes: Iterable[Statement]) -> Iterator[EntityId]:
    """Entities that may be called otherwise since: named, made, or, where all they have is a key, spoken of."""
    yield from (entity for entity, _ in now.renamed(since))
    yield from now.newcomers(since)
    ends = dict.fromkeys(end for each in changes for end in (each.subject, each.object) if end is not None)
    for end in ends:
        found = now.entity(end)
        if found.label == found.key:
            yield end
