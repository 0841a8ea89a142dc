"""Candidates into the graph: sources known by digest, ends linked before new ones are made, a batch a transaction.

A document is recorded whole or not at all, with its source and digest in the same transaction, so that a crash leaves
it to be read again and a second reading adds nothing. A document whose text has changed is a new version of its
source: what the old version said is retired, what the new one says is added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace

from groundzero.graph.folding import is_storable
from groundzero.graph.nouns import EntityId, Literal, RelationId, SourceId, Status
from groundzero.graph.store import Writer
from groundzero.ingest.candidates import Candidate, Title
from groundzero.ingest.documents import Document
from groundzero.ingest.knowledge import Knowledge
from groundzero.ingest.passages import PassageLog

_QUALIFIER = re.compile(r"\s*\([^()]+\)$")
_MAX_ALIASES = 8


@dataclass
class Counts:
    """What came of a run."""

    documents: int = 0
    unchanged: int = 0
    """Documents read before, passed over."""
    accepted: int = 0
    confirmed: int = 0
    """Of the accepted, those that the graph had from elsewhere."""
    quarantined: int = 0
    entities: int = 0
    retired: int = 0
    """Statements of earlier versions of changed documents."""
    by_way: dict[str, int] = field(default_factory=dict)
    """Accepted statements by how they were read."""

    def as_json(self) -> dict[str, object]:
        """One plain object."""
        return asdict(self)


Ends = tuple[EntityId, RelationId, EntityId]
NUMBERS = ("documents", "unchanged", "accepted", "confirmed", "quarantined", "entities", "retired")
"""The counts that are numbers, in their order."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A document and what was found in it."""

    document: Document
    subject: EntityId | Title | None
    candidates: Sequence[Candidate]
    type: str = ""
    description: str = ""


class Recorder:
    """Writes readings. `again` records documents anew that were read before."""

    def __init__(self, knowledge: Knowledge, passages: PassageLog | None = None, *, again: bool = False) -> None:
        self.knowledge, self.again = knowledge, again
        self.passages = passages or PassageLog(None)
        self.counts = Counts()
        self._made: set[str] = set()

    def is_known(self, document: Document) -> bool:
        """Whether this very text was read before."""
        latest = self._latest(document.key)
        return not self.again and latest is not None and self._digest(latest[0]) == document.digest

    def record(self, readings: Sequence[Reading]) -> None:
        """Add what was found, in one transaction.

        Raises:
            StorageError: the store cannot be written; nothing of this batch is.
        """
        if not readings:
            return
        store = self.knowledge.store
        counted = Counts()
        with store.writer() as writer:
            for reading in readings:
                self._record(writer, reading, counted)
        self._add(counted)
        self.passages.keep(
            (reading.document.key, each.start, each.end, reading.document.passage(each.start, each.end))
            for reading in readings
            for each in reading.candidates
            if each.status == "quarantined"
        )

    def alias(self, redirects: Mapping[str, str]) -> None:
        """Give things the names that lead to their pages; titles that the graph does not have are left out."""
        named = [(alias, self.knowledge.store.find_entity(target)) for alias, target in sorted(redirects.items())]
        known = [(alias, entity) for alias, entity in named if entity is not None and _clean(alias)]
        if known:
            with self.knowledge.store.writer() as writer:
                for alias, entity in known:
                    writer.name_entity(entity, _clean(alias), "alias")

    def _add(self, counted: Counts) -> None:
        for name in NUMBERS:
            setattr(self.counts, name, getattr(self.counts, name) + getattr(counted, name))
        for way, count in counted.by_way.items():
            self.counts.by_way[way] = self.counts.by_way.get(way, 0) + count

    def _record(self, writer: Writer, reading: Reading, counted: Counts) -> None:
        document = reading.document
        latest = self._latest(document.key)
        key = document.key
        replaced: set[Ends] = set()
        if latest is not None:
            replaced = self._said_only_by(latest[0])
            counted.retired += writer.retire_source(latest[0])
            key = _version_key(document.key, latest[1] + 1)
        source = writer.add_source(
            key,
            title=_clean(document.title),
            revision=_clean(document.revision),
            licence=_clean(document.licence),
            digest=document.digest,
        )
        counted.documents += 1
        made: dict[str, EntityId] = {}
        if reading.subject is not None:
            self._describe(writer, reading, made, counted)
        for candidate in _distinct(self._linked(each) for each in reading.candidates):
            self._write(writer, candidate, source, made, counted, replaced)

    def _said_only_by(self, source: SourceId) -> set[Ends]:
        """What a version of a document says that no other source does: it must not speak against the next version."""
        store = self.knowledge.store
        return {
            (each.subject, each.relation, each.object)
            for each in store.statements(source=source)
            if each.object is not None
            and all(
                other.source == source or other.object != each.object
                for other in store.outgoing(each.subject, each.relation)
            )
        }

    def _describe(self, writer: Writer, reading: Reading, made: dict[str, EntityId], counted: Counts) -> None:
        """Names, kind and description of a page's subject; what the graph said of it already stays."""
        known = isinstance(reading.subject, int)
        subject = self._end(writer, reading.subject, made, counted) if reading.subject is not None else None
        assert subject is not None
        if known:
            return
        for alias in reading.document.aliases[:_MAX_ALIASES]:
            if _clean(alias) and alias != reading.document.title:
                writer.name_entity(subject, _clean(alias), "alias")
        if reading.type:
            writer.name_entity(subject, _clean(reading.type), "type")
        if _clean(reading.description):
            writer.name_entity(subject, _clean(reading.description), "description")

    def _write(
        self,
        writer: Writer,
        candidate: Candidate,
        source: SourceId,
        made: dict[str, EntityId],
        counted: Counts,
        replaced: Set[Ends],
    ) -> None:
        ends = (candidate.subject, candidate.object)
        if any(isinstance(end, Title) and not _clean(end.text) for end in ends):
            return
        if isinstance(candidate.object, Literal) and not is_storable(candidate.object.value):
            return
        subject = self._end(writer, candidate.subject, made, counted)
        relation = self._relation(writer, candidate.relation)
        target = (
            candidate.object
            if isinstance(candidate.object, Literal)
            else self._end(writer, candidate.object, made, counted)
        )
        if subject == target:
            return
        status, known = self._status(candidate.status, subject, relation, target, replaced)
        writer.add_statement(
            subject, relation, target,
            source=source, start=candidate.start, end=candidate.end, confidence=candidate.confidence, status=status,
        )  # fmt: skip
        if status == "accepted":
            counted.accepted += 1
            counted.confirmed += known
            counted.by_way[candidate.how] = counted.by_way.get(candidate.how, 0) + 1
        else:
            counted.quarantined += 1

    def _linked(self, candidate: Candidate) -> Candidate:
        """The candidate with every end that is known by its id."""
        target = candidate.object
        return replace(
            candidate,
            subject=self.knowledge.end(candidate.subject),
            object=target if isinstance(target, Literal) else self.knowledge.end(target),
        )

    def _status(
        self,
        status: Status,
        subject: EntityId,
        relation: RelationId,
        target: EntityId | Literal,
        replaced: Set[Ends],
    ) -> tuple[Status, bool]:
        """The status, quarantined where the graph says something else that can only be said once; and if it has it.

        Args:
            replaced: what is being retired with the earlier version of the document, and so is no longer said.
        """
        if isinstance(target, Literal):
            return status, False
        facts = self.knowledge.facts.by_subject.get(subject, ())
        objects = {other for kind, other in facts if kind == relation and (subject, kind, other) not in replaced}
        if objects and target not in objects and relation in self.knowledge.functional:
            return "quarantined", False
        return status, target in objects

    def _end(self, writer: Writer, end: EntityId | Title, made: dict[str, EntityId], counted: Counts) -> EntityId:
        if not isinstance(end, Title):
            return end
        known = self.knowledge.link(end.text)
        if known is not None:
            return known
        key = _clean(end.text)
        if key not in made:
            label = _QUALIFIER.sub("", key) or key
            types = (_clean(end.type),) if _clean(end.type) else ()
            counted.entities += key not in self._made and self.knowledge.store.find_entity(key) is None
            self._made.add(key)
            made[key] = writer.add_entity(key, label=label, types=types)
        return made[key]

    def _relation(self, writer: Writer, relation: RelationId | str) -> RelationId:
        if isinstance(relation, str):
            return writer.add_relation(_clean(relation), label=_clean(relation))
        return relation

    def _latest(self, key: str) -> tuple[SourceId, int] | None:
        """The last version of a source and its number."""
        store, number = self.knowledge.store, 1
        source = store.find_source(key)
        if source is None:
            return None
        while (later := store.find_source(_version_key(key, number + 1))) is not None:
            source, number = later, number + 1
        return source, number

    def _digest(self, source: SourceId) -> str:
        return self.knowledge.store.source(source).digest


def _version_key(key: str, number: int) -> str:
    return key if number == 1 else f"{key}#version={number}"


def _clean(text: str) -> str:
    """What a store takes: no half pairs, no NUL, white space as single spaces."""
    storable = text if is_storable(text) else text.encode("utf-8", errors="replace").decode("utf-8").replace("\0", "")
    return " ".join(storable.split())[:500]


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One candidate for each statement: the accepted before the doubted, then the likeliest, then the first."""
    best: dict[tuple[object, object, object], Candidate] = {}
    for each in candidates:
        key = (each.subject, each.relation, each.object)
        held = best.get(key)
        rank = (each.status == "accepted", each.confidence)
        if held is None or rank > (held.status == "accepted", held.confidence):
            best[key] = each
    return list(best.values())
