"""The writes that every SQL store does alike: checks, ids, what is already there, and rows added.

Ids are counted here, from the highest there is: the store has one writer at a time, rows are never deleted, so no id
is ever given twice. The only update anywhere is `retired`.
"""

# ruff: noqa: S608 - names of tables and conditions are ours; every value is bound
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import InputError
from groundzero.graph import sql_rows as rows
from groundzero.graph.folding import is_storable
from groundzero.graph.nouns import EntityId, Literal, NameKind, RelationId, SourceId, StatementId, Status, Transaction

BULK = 1_000_000
"""Triples taken at a time by `add_triples`: 24 MB as numbers."""
MAX_TEXT = 16 * 2**20
"""Characters of one text. Longer ones are documents, not facts."""
_CACHED_KEYS = 1_000_000
_ASKED = 500
"""Keys looked up in one query."""
_NAME_COLUMNS = "id, owner, text, kind, language, added"
_TABLES = ("entity", "relation", "source", "statement", "entity_name", "relation_name")


class SQLWriter(ABC):
    """`Writer` over a database that can be asked and told. Made by a store at the start of a transaction."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._last = {table: self._all(f"SELECT coalesce(max(id), 0) FROM {table}")[0][0] for table in _TABLES}
        self._first = [self._last[table] + 1 for table in ("statement", "entity_name", "entity")]
        self._transaction = int(self._all("SELECT coalesce(max(id), 0) FROM transaction_log")[0][0]) + 1
        self._wrote = False
        self._known: dict[str, dict[str, int]] = {"entity": {}, "relation": {}, "source": {}}

    @abstractmethod
    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Every row of a query."""

    @abstractmethod
    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """A statement that changes something; how many rows it changed."""

    @abstractmethod
    def _insert(self, table: str, columns: str, values: Iterable[Sequence[Any]]) -> None:
        """Many rows of one table."""

    @abstractmethod
    def _insert_names(self, names: Sequence[tuple[int, int, str, int, str]]) -> None:
        """Rows (id, owner, text, kind, language) of `entity_name`; labels and aliases also findable by their words."""

    @abstractmethod
    def _bulk_rows(self, start: int, ends_N3: NDArray[np.int64], source: SourceId | None) -> None:
        """Plain statements with ids from `start`."""

    @abstractmethod
    def _living_among(self, ends_N3: NDArray[np.int64], source: SourceId | None) -> NDArray[np.bool_]:
        """Which of these triples there are already, living, from this source and without a span."""

    @property
    def transaction(self) -> Transaction:
        """The number that this transaction will have, if it writes anything."""
        return self._transaction

    def add_entity(self, key: str, *, label: str = "", types: Sequence[str] = (), description: str = "") -> EntityId:
        entity, is_new = self._id_of("entity", key)
        for kind, text in (("label", label), *(("type", each) for each in types), ("description", description)):
            if text:
                self._name("entity", entity, text, kind, "", certainly_new=is_new and kind != "type")
        return entity

    def add_entities(self, keys: Sequence[str], *, labels: Sequence[str] | None = None) -> list[EntityId]:
        if labels is not None and len(labels) != len(keys):
            raise InputError(f"{len(keys)} keys with {len(labels)} labels.", remedy="Give one label for each key.")
        known = self._known["entity"]
        if len(known) > _CACHED_KEYS:
            known.clear()
        new = self._new_entities([key for key in dict.fromkeys(keys) if key not in known])
        known.update(new)
        if labels is not None:
            self._label_entities(keys, labels, new)
        return [known[key] for key in keys]

    def add_relation(self, key: str, *, label: str = "") -> RelationId:
        relation, is_new = self._id_of("relation", key)
        if label:
            self._name("relation", relation, label, "label", "", certainly_new=is_new)
        return relation

    def add_source(
        self, key: str, *, title: str = "", revision: str = "", licence: str = "", digest: str = ""
    ) -> SourceId:
        for text in (title, revision, licence, digest):
            self._check_text(text)
        source, is_new = self._id_of("source", key, title, revision, licence, digest)
        if digest and not is_new:  # known only now that it has been read to its end
            self._wrote |= self._run("UPDATE source SET digest = ? WHERE id = ? AND digest = ''", (digest, source)) > 0
        return source

    def name_entity(self, entity: EntityId, text: str, kind: NameKind = "alias", *, language: str = "") -> None:
        self._check_id("entity", entity)
        self._name("entity", entity, text, kind, language)

    def retire_entity_name(self, entity: EntityId, text: str, kind: NameKind) -> bool:
        return self._retire_name("entity_name", entity, text, kind)

    def name_relation(self, relation: RelationId, text: str, kind: NameKind, *, language: str = "") -> None:
        self._check_id("relation", relation)
        self._name("relation", relation, text, kind, language)

    def retire_relation_name(self, relation: RelationId, text: str, kind: NameKind) -> bool:
        return self._retire_name("relation_name", relation, text, kind)

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
        self._check_id("entity", subject)
        self._check_id("relation", relation)
        if source is not None:
            self._check_id("source", source)
        if not 0.0 <= confidence <= 1.0:
            raise InputError(f"Confidence {confidence} is no probability.", remedy="Give one between 0 and 1.")
        if (start is None) != (end is None) or (start is not None and end is not None and not 0 <= start <= end):
            raise InputError(f"A passage from {start} to {end}.", remedy="Give both ends, the first no later.")
        if status not in rows.STATUSES:
            raise InputError(f"Unknown status {status!r}.", remedy=f"Give one of {', '.join(rows.STATUSES)}.")
        code, value = self._object(object)
        for text in (*value, valid_from, valid_to):
            self._check_text(text or "")
        there = self._same_statement(subject, relation, code, value, source, start, end)
        if there is not None:
            return there
        id_ = self._next("statement")
        row = (
            id_, subject, relation, code, *value, source, start, end, float(confidence), valid_from, valid_to,
            rows.STATUSES.index(status), self._transaction, None,
        )  # fmt: skip
        self._run(f"INSERT INTO statement ({rows.STATEMENT}) VALUES ({_marks(16)})", row)
        return id_

    def add_triples(self, triples: Iterable[tuple[EntityId, RelationId, EntityId]], *, source: SourceId | None) -> int:
        if source is not None:
            self._check_id("source", source)
        added = 0
        for ends_N3 in _blocks(triples):
            self._check_ends(ends_N3)
            new_N3 = ends_N3[_first_of_each(ends_N3)]
            new_N3 = new_N3[~self._living_among(new_N3, source)]
            if len(new_N3):
                self._wrote = True
                self._bulk_rows(self._last["statement"] + 1, new_N3, source)
                self._last["statement"] += len(new_N3)
                added += len(new_N3)
        return added

    def retire(self, statement: StatementId) -> bool:
        if not 0 < statement <= self._last["statement"]:
            raise InputError(f"No statement {statement} in {self.location}.", remedy="See `gz graph query`.")
        return self._change("UPDATE statement SET retired = ? WHERE id = ? AND retired IS NULL", (statement,)) == 1

    def retire_source(self, source: SourceId) -> int:
        self._check_id("source", source)
        return self._change("UPDATE statement SET retired = ? WHERE source = ? AND retired IS NULL", (source,))

    def finish(self) -> bool:
        """Enter this transaction in the log; False where it wrote nothing, and then there is none."""
        if self._wrote:
            columns = "id, committed, first_statement, first_name, first_entity"
            row = (self._transaction, datetime.now(UTC).isoformat(), *self._first)
            self._run(f"INSERT INTO transaction_log ({columns}) VALUES ({_marks(5)})", row)
        return self._wrote

    def _id_of(self, table: str, key: str, *details: str) -> tuple[int, bool]:
        """The id with this key, and whether it was made now."""
        known = self._known[table]
        if key in known:
            return known[key], False
        if not key:
            raise InputError(f"A {table} without a key.", remedy="Give every one a key that is not empty.")
        self._check_text(key)
        found = self._all(f"SELECT id FROM {table} WHERE key = ?", (key,))
        if len(known) >= _CACHED_KEYS:
            known.clear()
        if found:
            known[key] = found[0][0]
            return known[key], False
        id_ = self._next(table)
        columns = rows.SOURCE if table == "source" else "id, key"
        values = (id_, key, *details, self._transaction)
        self._run(f"INSERT INTO {table} ({columns}, added) VALUES ({_marks(len(values))})", values)
        known[key] = id_
        return id_, True

    def _new_entities(self, keys: Sequence[str]) -> dict[str, int]:
        """Make those of these keys that are not there yet; the others go to what is known."""
        if not all(keys):
            raise InputError("An entity without a key.", remedy="Give every one a key that is not empty.")
        for key in keys:
            self._check_text(key)
        if self._last["entity"]:
            for start in range(0, len(keys), _ASKED):
                asked = keys[start : start + _ASKED]
                found = self._all(f"SELECT key, id FROM entity WHERE key IN ({_marks(len(asked))})", asked)
                self._known["entity"].update(found)
        new = {}
        for key in keys:
            if key not in self._known["entity"]:
                new[key] = self._next("entity")
        self._insert("entity", "id, key, added", ((id_, key, self._transaction) for key, id_ in new.items()))
        return new

    def _label_entities(self, keys: Sequence[str], labels: Sequence[str], new: dict[str, int]) -> None:
        """Those just made all at once, the others one by one, since they may have the label already."""
        names, others = [], []
        for key, label in zip(keys, labels, strict=True):
            if label and key in new:
                owner = new.pop(key)
                self._check_name(label, "label", f"entity {owner}")
                names.append((self._next("entity_name"), owner, label, 0, ""))
            elif label:
                others.append((self._known["entity"][key], label))
        self._insert_names(names)
        for owner, label in others:
            self._name("entity", owner, label, "label", "")

    def _name(
        self, owner_kind: str, owner: int, text: str, kind: str, language: str, *, certainly_new: bool = False
    ) -> None:
        code, table = _kind_code(kind), f"{owner_kind}_name"
        self._check_name(text, kind, f"{owner_kind} {owner}")
        self._check_text(language)
        if not certainly_new:
            sql = (
                f"SELECT id FROM {table} WHERE owner = ? AND kind = ? AND text = ? AND language = ? AND retired IS NULL"
            )
            if self._all(sql, (owner, code, text, language)):
                return
        row = (self._next(table), owner, text, code, language)
        if table == "entity_name":
            self._insert_names([row])
        else:
            self._insert(table, _NAME_COLUMNS, [(*row, self._transaction)])

    def _retire_name(self, table: str, owner: int, text: str, kind: str) -> bool:
        if not is_storable(text):
            return False
        sql = f"UPDATE {table} SET retired = ? WHERE owner = ? AND text = ? AND kind = ? AND retired IS NULL"
        return self._change(sql, (owner, text, _kind_code(kind))) > 0

    def _change(self, sql: str, parameters: Sequence[Any]) -> int:
        changed = self._run(sql, (self._transaction, *parameters))
        self._wrote = self._wrote or changed > 0
        return changed

    def _same_statement(
        self, subject: int, relation: int, code: int, value: tuple[Any, ...], *place: int | None
    ) -> StatementId | None:
        """The living statement with the same ends, source and span, if there is one."""
        sql = (
            "SELECT id, value, datatype, language, source, span_start, span_end FROM statement"
            " WHERE subject = ? AND relation = ? AND object = ? AND retired IS NULL ORDER BY id"
        )
        for id_, *found in self._all(sql, (subject, relation, code)):
            if tuple(found) == (*value, *place):
                return int(id_)
        return None

    def _object(self, object: EntityId | Literal) -> tuple[int, tuple[str | None, str | None, str | None]]:
        """The `object` column and the three of a literal."""
        if isinstance(object, Literal):
            for text in (object.value, object.datatype, object.language):
                self._check_text(text)
            return rows.literal_code(object), (object.value, object.datatype, object.language)
        self._check_id("entity", object)
        return object, (None, None, None)

    def _check_ends(self, ends_N3: NDArray[np.int64]) -> None:
        for column, table in ((0, "entity"), (1, "relation"), (2, "entity")):
            wrong = (ends_N3[:, column] < 1) | (ends_N3[:, column] > self._last[table])
            if wrong.any():
                self._check_id(table, int(ends_N3[wrong, column][0]))

    def _check_id(self, table: str, id_: int) -> None:
        if not 0 < id_ <= self._last[table]:
            raise InputError(f"No {table} {id_} in {self.location}.", remedy=f"Add the {table} first.")

    def _check_name(self, text: str, kind: str, owner: str) -> None:
        self._check_text(text)
        if not text.strip():
            raise InputError(f"An empty {kind} for {owner}.", remedy="Give a name with letters in it.")

    def _check_text(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise InputError(f"A text of {len(text):,} characters.", remedy=f"Keep each below {MAX_TEXT:,}.")
        if not is_storable(text):
            raise InputError(
                f"The text {text[:40]!r} holds a NUL or half a surrogate pair.",
                remedy="Remove it, or put � in its place.",
            )

    def _next(self, table: str) -> int:
        self._wrote = True
        self._last[table] += 1
        return int(self._last[table])


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _kind_code(kind: str) -> int:
    codes = {name: code for code, name in enumerate(rows.KINDS)}
    if kind not in codes:
        raise InputError(f"Unknown kind of name {kind!r}.", remedy=f"Give one of {', '.join(rows.KINDS)}.")
    return codes[kind]


def _first_of_each(ends_N3: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows are the first of their kind."""
    order_N = np.lexsort(ends_N3.T)  # stable: among equals the first comes first
    first_N = np.ones(len(ends_N3), dtype=np.bool_)
    first_N[order_N[1:]] = (ends_N3[order_N[1:]] != ends_N3[order_N[:-1]]).any(axis=1)
    return first_N


def _blocks(triples: Iterable[tuple[int, int, int]]) -> Iterator[NDArray[np.int64]]:
    """The triples as arrays (N, 3) of at most `BULK` rows."""
    if isinstance(triples, np.ndarray):
        for start in range(0, len(triples), BULK):
            yield np.asarray(triples[start : start + BULK], dtype=np.int64)
        return
    stream = iter(triples)
    while block := list(islice(stream, BULK)):
        yield np.array(block, dtype=np.int64).reshape(-1, 3)
