"""The reads that every SQL store does alike. A store says how a query is run; what is asked is written once, here.

Queries are short: streams go page by page at a fixed transaction, so that a slow consumer never holds a lock or a
snapshot open. Parameters are written `?`.
"""

# ruff: noqa: S608 - names of tables and conditions are ours; every value is bound
from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import FormatError, InputError
from groundzero.graph import sql_rows as rows
from groundzero.graph.folding import index_terms, is_storable
from groundzero.graph.nouns import (
    Entity,
    EntityId,
    Name,
    Relation,
    RelationId,
    Source,
    SourceId,
    Statement,
    StatementId,
    Status,
    Transaction,
)
from groundzero.graph.store import Counts

PAGE = 4096
"""Rows read at a time by the streams."""
MAX_SEARCH_TOKENS = 64
"""Words of a search text beyond these are not looked at."""
_MAX_ID = 2**63 - 1
_Row = Sequence[Any]
_Made = TypeVar("_Made")


class SQLReader(ABC):
    """`Reader` over a database that `_all` can ask."""

    @property
    @abstractmethod
    def location(self) -> str: ...

    @abstractmethod
    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Every row of a query."""

    @abstractmethod
    def _search(self, words: list[str], limit: int, at: Transaction | None) -> list[tuple[EntityId, float]]:
        """(entity, score) of living names that share a word, best first; an entity may come twice."""

    def transaction(self) -> Transaction:
        return int(self._all("SELECT coalesce(max(id), 0) FROM transaction_log")[0][0])

    def counts(self, *, at: Transaction | None = None) -> Counts:
        at = self.transaction() if at is None else min(at, _MAX_ID)
        condition, parameters = rows.alive(at)
        by_status = dict(
            self._all(f"SELECT status, count(*) FROM statement WHERE {condition} GROUP BY status", parameters)
        )
        sizes = [
            self._all(f"SELECT count(*) FROM {table} WHERE {column} <= ?", (at,))[0][0]
            for table, column in (
                ("entity", "added"),
                ("relation", "added"),
                ("source", "added"),
                ("statement", "retired"),
            )
        ]
        entities, relations, sources, retired = sizes
        return Counts(by_status.get(0, 0), entities, relations, sources, by_status.get(1, 0), retired)

    def entity(self, entity: EntityId, *, at: Transaction | None = None) -> Entity:
        key = self._key("entity", entity, at)
        return rows.to_entity(entity, key, self._names("entity_name", entity, at))

    def find_entity(self, key: str) -> EntityId | None:
        return self._find("entity", key)

    def entities(self, *, at: Transaction | None = None) -> Iterator[Entity]:
        yield from self._named_things("entity", rows.to_entity, at)

    def entity_names(self, entity: EntityId, *, at: Transaction | None = None) -> list[Name]:
        self._key("entity", entity, at)
        return self._names("entity_name", entity, at)

    def named(self, text: str, *, at: Transaction | None = None) -> list[EntityId]:
        if not is_storable(text):
            return []
        condition, parameters = rows.alive(at)
        sql = f"SELECT DISTINCT owner FROM entity_name WHERE text = ? AND kind < 2 AND {condition} ORDER BY owner"
        return [row[0] for row in self._all(sql, (text, *parameters))]

    def surfaces(self, *, at: Transaction | None = None) -> Iterator[tuple[EntityId, str]]:
        at = self.transaction() if at is None else min(at, _MAX_ID)
        living, parameters = rows.alive(at)
        sql = f"SELECT id, owner, text FROM entity_name WHERE id > ? AND kind < 2 AND {living} ORDER BY id LIMIT {PAGE}"
        last = 0
        while page := self._all(sql, (last, *parameters)):
            yield from ((owner, text) for _, owner, text in page)
            last = page[-1][0]
        labels = (
            f"SELECT 1 FROM entity_name WHERE owner = entity.id AND kind = 0 AND {rows.alive(at, 'entity_name.')[0]}"
        )
        sql = (
            f"SELECT id, key FROM entity WHERE id > ? AND added <= ? AND NOT EXISTS ({labels}) ORDER BY id LIMIT {PAGE}"
        )
        retired = self._ends_of_retired(at)  # few or none: most of what has no label needs no second look
        last = 0
        while page := self._all(sql, (last, at, *parameters)):
            yield from ((id_, key) for id_, key in page if id_ not in retired or not self._is_forgotten(id_, at))
            last = page[-1][0]

    def surfaces_of(self, entity: EntityId, *, at: Transaction | None = None) -> list[str]:
        at = self.transaction() if at is None else min(at, _MAX_ID)
        names = self.entity_names(entity, at=at)
        found = [name.text for name in names if name.kind in ("label", "alias")]
        has_label = any(name.kind == "label" for name in names)
        return found if has_label or self._is_forgotten(entity, at) else [*found, self._key("entity", entity, at)]

    def search(self, text: str, *, limit: int = 20, at: Transaction | None = None) -> list[tuple[EntityId, float]]:
        words = index_terms(text)[:MAX_SEARCH_TOKENS]
        best: dict[EntityId, float] = {}
        ask = max(limit, 0) * 4
        while words and ask:
            found = self._search(words, ask, at)
            for entity, score in found:
                best[entity] = max(score, best.get(entity, score))
            if len(best) >= limit or len(found) < ask:
                break
            ask *= 4  # entities with many matching names filled the page
        return sorted(best.items(), key=lambda each: (-each[1], each[0]))[:limit]

    def relation(self, relation: RelationId, *, at: Transaction | None = None) -> Relation:
        key = self._key("relation", relation, at)
        return rows.to_relation(relation, key, self._names("relation_name", relation, at))

    def relation_names(self, relation: RelationId, *, at: Transaction | None = None) -> list[Name]:
        self._key("relation", relation, at)
        return self._names("relation_name", relation, at)

    def find_relation(self, key: str) -> RelationId | None:
        return self._find("relation", key)

    def relations(self, *, at: Transaction | None = None) -> Iterator[Relation]:
        yield from self._named_things("relation", rows.to_relation, at)

    def statement(self, statement: StatementId) -> Statement | None:
        if not 0 < statement <= _MAX_ID:
            return None
        found = self._all(f"SELECT {rows.STATEMENT} FROM statement WHERE id = ?", (statement,))
        return self._made(rows.to_statement, found)[0] if found else None

    def outgoing(
        self, subject: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]:
        return self._around("subject = ?", subject, relation, None, at)

    def incoming(
        self,
        object: EntityId,
        relation: RelationId | None = None,
        *,
        limit: int | None = None,
        at: Transaction | None = None,
    ) -> list[Statement]:
        return self._around("object = ? AND object > 0", object, relation, limit, at)

    def statements(
        self, *, status: Status | None = "accepted", source: SourceId | None = None, at: Transaction | None = None
    ) -> Iterator[Statement]:
        condition, parameters = rows.alive(self.transaction() if at is None else at)
        if status is not None:
            condition, parameters = f"{condition} AND status = ?", (*parameters, rows.STATUSES.index(status))
        if source is not None:
            condition, parameters = f"{condition} AND source = ?", (*parameters, min(source, _MAX_ID))
        sql = f"SELECT {rows.STATEMENT} FROM statement WHERE id > ? AND {condition} ORDER BY id LIMIT {PAGE}"
        last = 0
        while page := self._all(sql, (last, *parameters)):
            yield from self._made(rows.to_statement, page)
            last = page[-1][0]

    def changes(self, since: Transaction) -> Iterator[Statement]:
        # `+id` keeps SQLite from walking the whole table in the order of ids: few rows are retired lately.
        last = self._first_after(since, "first_statement") - 1
        seen_to = last
        sql = f"SELECT {rows.STATEMENT} FROM statement WHERE id > ? ORDER BY id LIMIT {PAGE}"
        while page := self._all(sql, (last,)):
            yield from self._made(rows.to_statement, page)
            last = page[-1][0]
        sql = f"SELECT {rows.STATEMENT} FROM statement WHERE retired > ? AND +id <= ? ORDER BY +id"
        yield from self._made(rows.to_statement, self._all(sql, (since, seen_to)))

    def renamed(self, since: Transaction) -> Iterator[tuple[EntityId, Name]]:
        first = self._first_after(since, "first_name")
        for row in self._all(f"SELECT {rows.NAME} FROM entity_name WHERE id >= ? ORDER BY id", (first,)):
            yield row[0], self._made(rows.to_name, (row,))[0]
        sql = f"SELECT {rows.NAME} FROM entity_name WHERE retired > ? AND +id < ? ORDER BY +id"
        for row in self._all(sql, (since, first)):
            yield row[0], self._made(rows.to_name, (row,))[0]

    def newcomers(self, since: Transaction) -> Iterator[EntityId]:
        last = self._first_after(since, "first_entity") - 1
        while page := self._all(f"SELECT id FROM entity WHERE id > ? ORDER BY id LIMIT {PAGE}", (last,)):
            yield from (row[0] for row in page)
            last = page[-1][0]

    def triples(self, *, at: Transaction | None = None) -> NDArray[np.int64]:
        """(N, 4) int64 in the order they were added."""
        condition, parameters = rows.alive(self.transaction() if at is None else at)
        sql = (
            "SELECT subject, relation, object, id FROM statement"
            f" WHERE id > ? AND status = 0 AND object > 0 AND {condition} ORDER BY id LIMIT 65536"
        )
        pages = []
        last = 0
        while page := self._all(sql, (last, *parameters)):
            pages.append(self._made(_as_array, (page,))[0])
            last = page[-1][3]
        return np.concatenate(pages) if pages else np.empty((0, 4), dtype=np.int64)

    def source(self, source: SourceId) -> Source:
        found = self._all(f"SELECT {rows.SOURCE} FROM source WHERE id = ?", (source,)) if 0 < source <= _MAX_ID else []
        if not found:
            raise InputError(f"No source {source} in {self.location}.", remedy="List them with `gz graph stats`.")
        return self._made(rows.to_source, found)[0]

    def find_source(self, key: str) -> SourceId | None:
        return self._find("source", key)

    def sources(self) -> Iterator[Source]:
        last = 0
        while page := self._all(f"SELECT {rows.SOURCE} FROM source WHERE id > ? ORDER BY id LIMIT {PAGE}", (last,)):
            yield from self._made(rows.to_source, page)
            last = page[-1][0]

    def is_retired(self, source: SourceId) -> bool:
        def any_of(condition: str) -> bool:
            sql = f"SELECT 1 FROM statement WHERE source = ? AND {condition} LIMIT 1"
            return bool(self._all(sql, (source,)))

        return any_of("retired IS NOT NULL") and not any_of("retired IS NULL")

    def _made(self, make: Callable[[_Row], _Made], found: Iterable[_Row]) -> list[_Made]:
        """Nouns from rows. A database that was tampered with may hold anything in any column."""
        try:
            return [make(row) for row in found]
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise FormatError(f"{self.location} is damaged: {error}.", remedy="Restore it from a backup.") from error

    def _around(
        self, ends: str, entity: EntityId, relation: RelationId | None, limit: int | None, at: Transaction | None
    ) -> list[Statement]:
        """Accepted statements at one end of an entity, oldest first."""
        if not 0 < entity <= _MAX_ID or (relation is not None and not 0 < relation <= _MAX_ID):
            return []
        condition, parameters = rows.alive(at)
        by_relation = "" if relation is None else "AND relation = ?"
        parameters = (entity, *(() if relation is None else (relation,)), *parameters)
        where = f"{ends} {by_relation} AND status = 0 AND {condition}"
        # In the order of the index where only some are wanted: a hub has a million, and sorting takes a second.
        order = "id" if limit is None or relation is not None else "relation, id"
        sql = f"SELECT {rows.STATEMENT} FROM statement WHERE {where} ORDER BY {order}"
        if limit is not None:
            sql, parameters = f"{sql} LIMIT ?", (*parameters, max(limit, 0))
        return self._made(rows.to_statement, self._all(sql, parameters))

    def _ends_of_retired(self, at: Transaction) -> set[EntityId]:
        """Subjects and objects of everything retired so far."""
        found = self._all(
            "SELECT DISTINCT subject, object FROM statement WHERE retired IS NOT NULL AND retired <= ?", (at,)
        )
        return {end for row in found for end in row}

    def _is_forgotten(self, entity: EntityId, at: Transaction) -> bool:
        """Whether something was said of an entity once, and all of it has been retired."""
        living, parameters = rows.alive(at)
        said = [
            bool(self._all(f"SELECT 1 FROM statement WHERE {end} AND {condition} LIMIT 1", (entity, *bound)))
            for condition, bound in ((living, parameters), ("added <= ?", (at,)))
            for end in ("subject = ?", "object = ? AND object > 0")
        ]
        return any(said[2:]) and not any(said[:2])

    def _key(self, table: str, id_: int, at: Transaction | None) -> str:
        """The key of an entity or relation.

        Raises:
            InputError: there is none with this id, or there was none yet at that transaction.
        """
        found = self._all(f"SELECT key, added FROM {table} WHERE id = ?", (id_,)) if 0 < id_ <= _MAX_ID else []
        if not found or (at is not None and found[0][1] > at):
            when = "" if at is None else f" at transaction {at}"
            raise InputError(f"No {table} {id_} in {self.location}{when}.", remedy="Look it up by key or name.")
        return str(found[0][0])

    def _find(self, table: str, key: str) -> int | None:
        found = self._all(f"SELECT id FROM {table} WHERE key = ?", (key,)) if is_storable(key) else []
        return found[0][0] if found else None

    def _names(self, table: str, owner: int, at: Transaction | None) -> list[Name]:
        condition, parameters = rows.alive(at)
        sql = f"SELECT {rows.NAME} FROM {table} WHERE owner = ? AND {condition} ORDER BY id"
        return self._made(rows.to_name, self._all(sql, (owner, *parameters)))

    def _named_things(
        self, table: str, make: Callable[[int, str, Sequence[Name]], Any], at: Transaction | None
    ) -> Iterator[Any]:
        """Entities or relations with their names, page by page."""
        at = self.transaction() if at is None else min(at, _MAX_ID)
        condition, parameters = rows.alive(at)
        name_sql = f"SELECT {rows.NAME} FROM {table}_name WHERE owner > ? AND owner <= ? AND {condition} ORDER BY id"
        page_sql = f"SELECT id, key FROM {table} WHERE id > ? AND added <= ? ORDER BY id LIMIT {PAGE}"
        last = 0
        while page := self._all(page_sql, (last, at)):
            names = defaultdict(list)
            for row in self._all(name_sql, (last, page[-1][0], *parameters)):
                names[row[0]].append(self._made(rows.to_name, (row,))[0])
            for id_, key in page:
                yield make(id_, key, names.get(id_, ()))
            last = page[-1][0]

    def _first_after(self, since: Transaction, column: str) -> int:
        """The first id that a transaction after `since` gave; beyond every id where there was none."""
        sql = f"SELECT {column} FROM transaction_log WHERE id > ? ORDER BY id LIMIT 1"
        found = self._all(sql, (min(max(since, 0), _MAX_ID),))
        return found[0][0] if found else _MAX_ID


def _as_array(page: _Row) -> NDArray[np.int64]:
    return np.array(page, dtype=np.int64)
