"""Files into a store: batch by batch, each batch one transaction, so that a killed import loses its last batch only.

Reading the same file again adds nothing, whatever the first time came to: a statement that is there already is found
again, and a file read to its end is known by the digest of its source. A file that changed is a new source beside the
old one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from groundzero.errors import InputError
from groundzero.graph.derived import entity_label, relation_label
from groundzero.graph.folding import is_storable
from groundzero.graph.formats.names import Owner, read_names
from groundzero.graph.formats.options import ImportOptions
from groundzero.graph.formats.reader import detect, read_rows
from groundzero.graph.formats.reading import Input, file_digest, open_input
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import THIS_FILE, EntityName, Fact, RelationName, Row, SourceRow, Triple
from groundzero.graph.naming import finish_names, name_types, set_label
from groundzero.graph.nouns import Literal, NameKind, SourceId
from groundzero.graph.sql_writer import MAX_TEXT
from groundzero.graph.store import Counts, Store, Writer

Progress = Callable[[int, int, str], None]
"""Called with bytes read, bytes in all, and a remark."""

_MAX_CACHED_IDS = 1_000_000
_MAX_BATCH_CHARACTERS = 2**26
_PLAIN = Fact("", "", "")[4:]
_REPORT_EVERY = 10_000  # rows between two calls of progress


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    path: Path
    format: str
    source: str
    """Key of the source that its statements are cited from."""
    rows: int = 0
    added: dict[str, int] = field(default_factory=dict)
    """triples, entities, relations, sources and quarantined: by how many the graph grew."""
    already: bool = False
    """The file was imported before, to its end; nothing was read."""
    seconds: float = 0.0
    read: ReadReport = field(default_factory=ReadReport)

    def as_json(self) -> dict[str, Any]:
        """One plain object; `skipped` and what belongs to it as in `ReadReport.as_json`."""
        return {
            "path": str(self.path),
            "format": self.format,
            "source": self.source,
            "already": self.already,
            "rows": self.rows,
            "added": self.added,
            "seconds": self.seconds,
            **self.read.as_json(),
        }


def import_file(
    store: Store, path: Path, options: ImportOptions | None = None, *, progress: Progress | None = None
) -> ImportReport:
    """Add what a file says to a store.

    Raises:
        InputError: there is no such file, nothing in it can be read, or it is damaged; what was read of a damaged file
            is kept.
        StorageError: the store cannot be written.
    """
    options = options or ImportOptions()
    started = time.monotonic()
    digest = file_digest(path, progress=progress)
    with open_input(path) as source:
        format_ = detect(source, options.format)
        report = ImportReport(path, format_, "")
        report.source, report.already = _source_key(store, path, options.source, digest)
        if report.already:
            if progress is not None:
                progress(source.size, source.size, "here already")
            return report
        before = store.counts()
        importer = _Importer(store, report, options)
        rows = read_rows(source, report.read, options, format=format_, scope=digest[:12])
        importer.take_all(_watched(_storable(rows, report.read), source, report, progress))
        if not report.rows:
            raise _nothing(path, report)
        finish_names(store, derive=options.derive_labels and not importer.derives and not report.read.all_names_given)
        importer.finish(digest)
    report.added = _growth(before, store.counts())
    report.seconds = time.monotonic() - started
    return report


def import_names(
    store: Store, path: Path, kind: NameKind, *, owner: Owner = "entity", everyone: bool = False
) -> ImportReport:
    """Add names from a file to what the graph already holds.

    Args:
        everyone: also make the entities or relations that the graph does not have.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    started = time.monotonic()
    with open_input(path) as source:
        report = ImportReport(path, f"{owner} {kind} names", "")
        find = store.find_entity if owner == "entity" else store.find_relation
        types = _Types(store) if kind == "type" else None
        added = 0
        stream = iter(read_names(source, report.read, kind, owner=owner))
        while batch := list(islice(stream, 20_000)):
            wanted = [row for row in batch if everyone or find(row.key) is not None]
            if types is not None:
                wanted = [row._replace(text=types.label(row.text)) for row in wanted]
            if len(batch) > len(wanted):
                report.read.note(f"{kind} names for what is not in the graph", len(batch) - len(wanted))
            if everyone:
                with store.writer() as writer:
                    for row in wanted:
                        writer.add_entity(row.key) if owner == "entity" else writer.add_relation(row.key)
            with store.writer() as writer:
                for row in wanted:
                    added += _add_name(store, writer, row, report.read)
            report.rows += len(batch)
    if kind == "label" and owner == "entity" and added:
        name_types(store)
    report.added = {"names": added}
    report.seconds = time.monotonic() - started
    return report


class _Types:
    """Types that are written as the key of a thing, by what the thing is called."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._labels: dict[str, str] = {}

    def label(self, text: str) -> str:
        """The label of the entity with this key; the text itself where there is none."""
        if text not in self._labels:
            found = self._store.find_entity(text)
            self._labels[text] = text if found is None else self._store.entity(found).label
        return self._labels[text]


class _Importer:
    """Rows to ids. Ids once given stay good: a batch that fails ends the import."""

    def __init__(self, store: Store, report: ImportReport, options: ImportOptions) -> None:
        self._store = store
        self._report = report
        self._batch_rows = options.batch_rows
        # In a table the key is all the name there is; elsewhere names may follow, and what has none is seen to last.
        self.derives = options.derive_labels and report.format in ("tsv", "csv")
        self._entities: dict[str, int] = {}
        self._relations: dict[str, int] = {}
        self._sources: dict[str, SourceId] = {}
        self._digests: dict[str, str] = {}

    def take_all(self, rows: Iterable[Row]) -> None:
        """Write every row. What came before a failure of the reader is kept."""
        for batch in _batches(rows, self._batch_rows):
            with self._store.writer() as writer:
                self._write(writer, batch)
            self._report.rows += len(batch)
            if len(self._entities) > _MAX_CACHED_IDS:
                self._entities.clear()

    def finish(self, digest: str) -> None:
        """Only now is every source known to have been read to its end."""
        if THIS_FILE in self._sources:
            self._digests[self._report.source] = digest
        if self._digests:
            with self._store.writer() as writer:
                for key, known in self._digests.items():
                    writer.add_source(key, digest=known)

    def _write(self, writer: Writer, batch: list[Row]) -> None:
        self._write_triples(writer, [row for row in batch if type(row) is Triple])
        plain: dict[str | None, list[tuple[int, int, int]]] = defaultdict(list)
        for row in batch:
            if type(row) is Triple:
                continue
            try:
                if isinstance(row, Fact) and isinstance(row.object, str) and row[4:] == _PLAIN:
                    ends = (self._entity(writer, row.subject), self._relation(writer, row.relation))
                    plain[row.source].append((*ends, self._entity(writer, row.object)))
                else:
                    self._write_other(writer, row)
            except InputError as error:
                self._report.read.skip("refused by the store", f"{error.message} {row}", line=0)
        for source, triples in plain.items():
            writer.add_triples(triples, source=None if source is None else self._source(writer, source))

    def _write_triples(self, writer: Writer, batch: list[Triple]) -> None:
        """Plain statements of this file, column by column: a million rows leave no time for more."""
        if not batch:
            return
        subjects, relations, objects = zip(*batch, strict=True)
        bad = self._meet(writer, dict.fromkeys(chain.from_iterable(zip(subjects, objects, strict=True))))
        if bad:
            for row in batch:
                if row[0] in bad or row[2] in bad:
                    self._report.read.skip("a name that no store keeps", str(row), line=0)
            self._write_triples(writer, [row for row in batch if not (row[0] in bad or row[2] in bad)])
            return
        for key in dict.fromkeys(relations):
            self._relation(writer, key)
        ends_N3 = np.empty((len(batch), 3), dtype=np.int64)
        ends_N3[:, 0] = list(map(self._entities.__getitem__, subjects))
        ends_N3[:, 1] = list(map(self._relations.__getitem__, relations))
        ends_N3[:, 2] = list(map(self._entities.__getitem__, objects))
        writer.add_triples(cast(Any, ends_N3), source=self._source(writer, THIS_FILE))

    def _meet(self, writer: Writer, keys: Iterable[str]) -> set[str]:
        """Give ids to entities that have none yet, many at a time; returns the keys that no store keeps."""
        new = [key for key in keys if key not in self._entities]
        bad = {key for key in new if len(key) > MAX_TEXT or not is_storable(key)}
        if bad:
            new = [key for key in new if key not in bad]
        labels = [entity_label(key) for key in new] if self.derives else None
        self._entities.update(zip(new, writer.add_entities(new, labels=labels), strict=True))
        return bad

    def _write_other(self, writer: Writer, row: Row) -> None:
        if isinstance(row, Fact):
            writer.add_statement(
                self._entity(writer, row.subject),
                self._relation(writer, row.relation),
                row.object if isinstance(row.object, Literal) else self._entity(writer, row.object),
                source=None if row.source is None else self._source(writer, row.source),
                start=row.start,
                end=row.end,
                confidence=row.confidence,
                valid_from=row.valid_from,
                valid_to=row.valid_to,
                status=row.status,
            )
        elif isinstance(row, EntityName):
            entity = self._entity(writer, row.key)
            if row.text:
                writer.name_entity(entity, row.text, row.kind, language=row.language)
        elif isinstance(row, RelationName):
            relation = self._relation(writer, row.key)
            if row.text:
                writer.name_relation(relation, row.text, row.kind, language=row.language)
        elif isinstance(row, SourceRow):
            self._sources[row.key] = writer.add_source(
                row.key, title=row.title, revision=row.revision, licence=row.licence
            )
            if row.digest:
                self._digests[row.key] = row.digest

    def _entity(self, writer: Writer, key: str) -> int:
        found = self._entities.get(key)
        if found is None:
            label = entity_label(key) if self.derives else ""
            found = self._entities[key] = writer.add_entity(key, label=label)
        return found

    def _relation(self, writer: Writer, key: str) -> int:
        found = self._relations.get(key)
        if found is None:
            label = relation_label(key) if self.derives else ""
            found = self._relations[key] = writer.add_relation(key, label=label)
        return found

    def _source(self, writer: Writer, key: str) -> SourceId:
        found = self._sources.get(key)
        if found is None:
            if key == THIS_FILE:
                found = writer.add_source(self._report.source, title=self._report.path.name)
            else:
                found = writer.add_source(key)
            self._sources[key] = found
        return found


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Rows in lists of at most `size`, fewer where they are long. A failure comes after the rows before it."""
    stream = iter(rows)
    failure: InputError | None = None
    while failure is None:
        batch: list[Row] = []
        characters = 0
        try:
            for row in stream:
                batch.append(row)
                if type(row) is not Triple:
                    characters += sum(len(part.value if isinstance(part, Literal) else str(part)) for part in row[:3])
                if len(batch) >= size or characters > _MAX_BATCH_CHARACTERS:
                    break
        except InputError as error:
            failure = error
        if batch:
            yield batch
        elif failure is None:
            return
    raise failure


def _storable(rows: Iterable[Row], report: ReadReport) -> Iterator[Row]:
    """The rows whose texts a store keeps; the others are reported while their line is known."""
    for row in rows:
        if type(row) is not Triple:
            texts = [part.value if isinstance(part, Literal) else part for part in row[:3]]
            if any(text and len(text) > MAX_TEXT for text in texts):
                report.skip(f"a text of more than {MAX_TEXT // 2**20} million characters", str(row[0]))
                continue
            if not all(is_storable(text) for text in texts if text):
                report.skip("a NUL, or half a surrogate pair", repr(tuple(row[:3])))
                continue
            if isinstance(row, EntityName | RelationName) and row.text and not row.text.strip():
                report.skip("a name of blanks only", row.key)
                continue
        yield row


def _watched(rows: Iterable[Row], source: Input, report: ImportReport, progress: Progress | None) -> Iterator[Row]:
    if progress is None:
        yield from rows
        return
    count = 0
    for row in rows:
        yield row
        count += 1
        if count % _REPORT_EVERY == 0:
            progress(source.position(), source.size, f"{count:,} rows")
    progress(source.size, source.size, f"{count:,} rows")


def _source_key(store: Store, path: Path, wanted: str, digest: str) -> tuple[str, bool]:
    """The key of the source that this file is, and whether it has been read to its end before.

    What was read and then taken back is read again, as a source of its own.
    """
    same = [known for known in store.sources() if known.digest == digest]
    for known in same:
        if not store.is_retired(known.id):
            return known.key, True
    key = wanted or path.resolve().as_posix()
    there = store.find_source(key)
    if there is not None and store.source(there).digest:  # an older state of the file
        key = f"{key}@{digest[:12]}" + (f"-{len(same)}" if same else "")
    return key, False


def _add_name(store: Store, writer: Writer, row: EntityName | RelationName, report: ReadReport) -> int:
    try:
        if isinstance(row, EntityName):
            entity = writer.add_entity(row.key)
            if row.kind == "label":
                return set_label(store, writer, "entity", entity, row.text, language=row.language)
            writer.name_entity(entity, row.text, row.kind, language=row.language)
        else:
            relation = writer.add_relation(row.key)
            if row.kind == "label":
                return set_label(store, writer, "relation", relation, row.text, language=row.language)
            writer.name_relation(relation, row.text, row.kind, language=row.language)
    except InputError as error:
        report.skip(error.message.rstrip("."), str(row))
        return 0
    return 1


def _growth(before: Counts, after: Counts) -> dict[str, int]:
    fields = ("triples", "entities", "relations", "sources", "quarantined")
    return {name: getattr(after, name) - getattr(before, name) for name in fields}


def _nothing(path: Path, report: ImportReport) -> InputError:
    why = "it holds no facts"
    if report.read.examples:
        first = report.read.examples[0]
        why = f"rows skipped: {sum(report.read.skipped.values()):,}, the first at line {first.line}: {first.reason}"
    is_table = report.format in ("tsv", "csv")
    remedy = "Say what it is with --format" + (", or name its columns with --columns." if is_table else ".")
    return InputError(f"Nothing in {path} could be read as {report.format}: {why}.", remedy=remedy)
