"""A graph to a file, as it was at any transaction: rows from the store, handed to the writer of a format.

JSON lines lose nothing but history. N-Quads keep statements, names and sources; N-Triples and Turtle statements and
names; TSV and CSV statements alone. The file appears whole or not at all.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast
from typing import Literal as OneOf

from groundzero.errors import InputError, StorageError
from groundzero.graph.formats.jsonl import SCHEMA, statement_record, write_jsonl
from groundzero.graph.formats.rdf import write_rdf
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import EntityName, Fact, RelationName, Row
from groundzero.graph.formats.tabular import write_table
from groundzero.graph.nouns import EntityId, Name, RelationId, SourceId, Statement, Status, Transaction
from groundzero.graph.store import Reader, Store

ExportFormat = OneOf["tsv", "csv", "jsonl", "ntriples", "nquads", "turtle"]
_SUFFIXES: dict[str, ExportFormat] = {
    ".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".nt": "ntriples", ".nq": "nquads", ".ttl": "turtle"
}  # fmt: skip
_MAX_CACHED_KEYS = 1_000_000

Progress = Callable[[int, int], None]
"""Called with statements written and statements in all."""


@dataclass(slots=True)
class ExportReport:
    """What an export wrote."""

    path: str
    format: str
    transaction: Transaction
    statements: int = 0
    left_out: ReadReport = field(default_factory=ReadReport)
    """Statements and details that the format has no place for."""

    def as_json(self) -> dict[str, Any]:
        left = self.left_out.as_json()
        return {
            "path": self.path,
            "format": self.format,
            "transaction": self.transaction,
            "statements": self.statements,
            "left_out": left["skipped_by_reason"],
            "notes": left["notes"],
        }


def export_file(
    store: Store,
    path: Path,
    *,
    format: ExportFormat | None = None,
    at: Transaction | None = None,
    plain: bool = False,
    labels: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the graph to `path`; `.gz` and `.bz2` are packed.

    Args:
        format: None to tell by the ending of the name.
        at: the transaction whose graph is written; None is the latest.
        plain: of tables, three columns without a header, entities only.
        labels: of tables, labels instead of keys.

    Raises:
        InputError: the ending says no format.
        StorageError: the file cannot be written.
    """
    format = format or format_of(path)
    with replacing(path) as stream:
        return export_stream(
            store, stream, str(path), format=format, at=at, plain=plain, labels=labels, progress=progress
        )


def export_stream(
    store: Store,
    stream: IO[bytes],
    name: str,
    *,
    format: ExportFormat,
    at: Transaction | None = None,
    plain: bool = False,
    labels: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """As `export_file`, to an open binary stream."""
    shown = _transaction(store, at)
    report = ExportReport(name, format, shown)
    rows = _Rows(store, shown if store.capabilities.as_of else None, progress)
    if format in ("ntriples", "nquads", "turtle"):
        report.statements = write_rdf(rows.everything(), stream, syntax=format, report=report.left_out)
        return report
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
    if format == "jsonl":
        report.statements = write_jsonl(rows.records(), text)
    else:
        facts = rows.labelled() if labels else rows.facts(None)
        delimiter = "\t" if format == "tsv" else ","
        report.statements = write_table(facts, text, delimiter=delimiter, plain=plain, report=report.left_out)
    text.flush()
    text.detach()
    return report


def format_of(path: Path) -> ExportFormat:
    """The format that the ending of a name says."""
    bare = path.with_suffix("") if path.suffix in (".gz", ".bz2") else path
    if bare.suffix not in _SUFFIXES:
        raise InputError(
            f"The name {path.name} does not say which format.",
            remedy=f"End it in one of {', '.join(_SUFFIXES)} (and .gz), or give --format.",
        )
    return _SUFFIXES[bare.suffix]


def _transaction(store: Store, at: Transaction | None) -> Transaction:
    """The transaction to be shown; reads at a fixed one agree with each other, whatever is committed meanwhile."""
    latest = store.transaction()
    if at is None:
        return latest
    if not 0 <= at <= latest:
        raise InputError(f"No transaction {at} in {store.location}.", remedy=f"Give one from 0 to {latest}.")
    if not store.capabilities.as_of and at != latest:
        raise InputError(f"{store.location} has no past.", remedy="Leave out --at.")
    return at


class _Rows:
    """The rows of a graph at one transaction, with keys in place of ids."""

    def __init__(self, reader: Reader, at: Transaction | None, progress: Progress | None) -> None:
        self._reader, self._at, self._progress = reader, at, progress
        self._relations = {relation.id: relation for relation in reader.relations(at=at)}
        self._sources = {source.id: source for source in reader.sources()}
        self._keys: dict[EntityId, tuple[str, str]] = {}

    def records(self) -> Iterator[dict[str, Any]]:
        """Lines of JSON."""
        yield {"kind": "graph", "schema": SCHEMA, "transaction": self._at}
        for source in self._sources.values():
            yield {
                "kind": "source",
                "key": source.key,
                "title": source.title,
                "revision": source.revision,
                "licence": source.licence,
                "digest": source.digest,
            }
        for relation in self._relations.values():
            names = [_name_record(name) for name in self._relation_names(relation.id)]
            yield {"kind": "relation", "key": relation.key, "names": names}
        for entity in self._reader.entities(at=self._at):
            names = [_name_record(name) for name in self._entity_names(entity.id)]
            yield {"kind": "entity", "key": entity.key, "names": names}
        for fact in self.facts(None):
            yield statement_record(fact)

    def everything(self) -> Iterator[Row]:
        """Names, then statements."""
        for relation in self._relations.values():
            yield RelationName(relation.key, "")
            for name in self._relation_names(relation.id):
                yield RelationName(relation.key, name.text, name.kind, name.language)
        for entity in self._reader.entities(at=self._at):
            for name in self._entity_names(entity.id):
                yield EntityName(entity.key, name.text, name.kind, name.language)
        yield from self.facts(None)

    def facts(self, status: Status | None) -> Iterator[Fact]:
        """Statements with keys."""
        for statement in self._statements(status):
            object_ = statement.literal or self._entity(_object(statement))[0]
            relation = self._relations[statement.relation].key
            yield self._fact(statement, self._entity(statement.subject)[0], relation, object_)

    def labelled(self) -> Iterator[Fact]:
        """Statements with labels."""
        for statement in self._statements("accepted"):
            object_ = statement.literal or self._entity(_object(statement))[1]
            relation = self._relations[statement.relation].label
            yield self._fact(statement, self._entity(statement.subject)[1], relation, object_)

    def _statements(self, status: Status | None) -> Iterator[Statement]:
        counts = self._reader.counts(at=self._at) if self._progress else None
        total = counts.triples + counts.quarantined if counts else 0
        for count, statement in enumerate(self._reader.statements(status=status, at=self._at), start=1):
            yield statement
            if self._progress and count % 10_000 == 0:
                self._progress(count, total)
        if self._progress:
            self._progress(total, total)

    def _fact(self, statement: Statement, subject: str, relation: str, object_: Any) -> Fact:
        return Fact(
            subject,
            relation,
            object_,
            None if statement.source is None else self._source(statement.source),
            statement.start,
            statement.end,
            statement.confidence,
            statement.valid_from,
            statement.valid_to,
            statement.status,
        )

    def _source(self, source: SourceId) -> str:
        if source not in self._sources:
            self._sources[source] = self._reader.source(source)
        return self._sources[source].key

    def _entity(self, entity: EntityId) -> tuple[str, str]:
        """Key and label."""
        found = self._keys.get(entity)
        if found is None:
            if len(self._keys) >= _MAX_CACHED_KEYS:
                self._keys.clear()
            named = self._reader.entity(entity, at=self._at)
            found = self._keys[entity] = (named.key, named.label)
        return found

    def _entity_names(self, entity: EntityId) -> list[Name]:
        return self._reader.entity_names(entity, at=self._at)

    def _relation_names(self, relation: RelationId) -> list[Name]:
        return self._reader.relation_names(relation, at=self._at)


def _object(statement: Statement) -> EntityId:
    assert statement.object is not None
    return statement.object


def _name_record(name: Name) -> dict[str, str]:
    return {"text": name.text, "kind": name.kind, "language": name.language}


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes are at `path` once the block has ended well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
                    yield cast(IO[bytes], packed)
            elif path.suffix == ".bz2":
                with bz2.BZ2File(raw, "wb") as squeezed:
                    yield cast(IO[bytes], squeezed)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror or error}.", remedy="Choose another place, or free some space."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
