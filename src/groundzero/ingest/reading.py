"""One document into candidates: its infobox, its first sentence, its prose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from groundzero.graph.nouns import EntityId, RelationId
from groundzero.ingest.candidates import Candidate, Title
from groundzero.ingest.documents import Document
from groundzero.ingest.infobox import FieldMap, infobox_candidates
from groundzero.ingest.knowledge import Knowledge
from groundzero.ingest.lead import Kind, Lead, read_lead
from groundzero.ingest.pages import Found, Page, PageModel
from groundzero.ingest.patterns import Match, Patterns
from groundzero.ingest.recording import Reading
from groundzero.ingest.wikitext import clean_title

_KIND_LINKED, _KIND_KNOWN, _KIND_TEXT, _DATE = 0.9, 0.88, 0.85, 0.95
_PERSON = "human"
_NOBODY = -1  # the subject's id where it has none yet


def subject_of(document: Document, knowledge: Knowledge) -> EntityId | Title | None:
    """What a document is about: the graph's entity of its title, or the title; None where it has none."""
    if not document.title.strip():
        return None
    return knowledge.end(Title(document.title))


@dataclass
class Reader:
    """What documents are read with."""

    knowledge: Knowledge
    fields: FieldMap
    model: PageModel | None = None
    """Reads the prose of pages about one thing."""
    patterns: Patterns | None = None
    """Read any prose."""
    suggested: bool = False
    """Accept also what no sentence names; it is quarantined otherwise."""
    own: dict[str, Callable[[], list[Found]]] = field(default_factory=dict)
    """By digest, what the model says of documents that it was trained on."""

    def read(self, document: Document) -> Reading:
        """Everything a document says that can be read."""
        candidates = [_matched(document, each) for each in self.patterns.find(document.text)] if self.patterns else []
        subject = subject_of(document, self.knowledge)
        if subject is None:
            return Reading(document, None, candidates)
        lead = read_lead(document)
        candidates += infobox_candidates(
            document, subject, self.fields, self.knowledge.relations, self.knowledge.lookup
        )
        kind = self._kind(subject, lead)
        candidates += _lead_candidates(document, subject, lead, kind, self.knowledge)
        if self.model is not None:
            page = Page(subject if isinstance(subject, int) else _NOBODY, document.text, kind)
            own = self.own.get(document.digest)
            found = self.model.find(page) if own is None else own()
            trusted = bool(kind) or not self.knowledge.facts.has_types  # of what is unknown anything may be said
            candidates += [_prose(document, subject, each, trusted=trusted, suggested=self.suggested) for each in found]
        type_ = document.box or kind or (lead.kinds[0].text if lead.kinds else "")
        return Reading(document, subject, candidates, type_, lead.description)

    def _kind(self, subject: EntityId | Title, lead: Lead) -> str:
        """What kind of thing the subject is, in the graph's words: its own, or that of others described alike."""
        facts = self.knowledge.facts
        if isinstance(subject, int) and facts.given_type(subject):
            return facts.given_type(subject)
        if lead.is_person:
            return _PERSON
        for kind in lead.kinds:
            if facts.known_type(kind.text):
                return kind.text
            known = _known_kind(kind, self.knowledge)
            use = facts.usual(known) if known is not None else None
            if use is not None and use[1]:
                return use[1]
        return facts.type(subject) if isinstance(subject, int) else ""


def _matched(document: Document, match: Match) -> Candidate:
    place = document.places.of(match.start, match.end)
    return Candidate(
        match.subject, match.relation, match.object, *place, round(match.precision, 3), "accepted", "pattern"
    )


def _prose(document: Document, subject: EntityId | Title, found: Found, *, trusted: bool, suggested: bool) -> Candidate:
    start, end = document.places.of(found.start, found.end)
    accepted = trusted and found.accepted and (found.named or suggested)
    return Candidate(
        subject,
        found.relation,
        found.object,
        start,
        end,
        round(found.probability, 3),
        "accepted" if accepted else "quarantined",
        "prose" if found.named else "suggested",
    )


def _lead_candidates(
    document: Document, subject: EntityId | Title, lead: Lead, subject_kind: str, knowledge: Knowledge
) -> list[Candidate]:
    candidates = []
    for date in lead.dates:
        relation = (
            knowledge.relation("date of birth", "p569") if date.born else knowledge.relation("date of death", "p570")
        )
        place = document.places.of(date.start, date.end)
        candidates.append(Candidate(subject, relation, date.date, *place, _DATE, "accepted", "first sentence"))
    for kind in lead.kinds:
        place = document.places.of(kind.start, kind.end)
        known = _known_kind(kind, knowledge)
        relation = _kind_relation(known, subject_kind, knowledge)
        target: EntityId | Title = (
            known if known is not None else Title(kind.target or clean_title(kind.text.split()[-1]))
        )
        confidence = _KIND_LINKED if kind.target else _KIND_KNOWN if known is not None else _KIND_TEXT
        candidates.append(Candidate(subject, relation, target, *place, confidence, "accepted", "first sentence"))
    return candidates


def _known_kind(kind: Kind, knowledge: Knowledge) -> EntityId | None:
    """The entity that a kind links to, or that the longest end of its words names."""
    if kind.target:
        return knowledge.link(kind.target)
    parts = kind.text.split()
    known = (knowledge.link(" ".join(parts[k:])) for k in range(len(parts)))
    return next((each for each in known if each is not None), None)


def _kind_relation(known: EntityId | None, subject_kind: str, knowledge: Knowledge) -> RelationId | str:
    """`was a weaver` is what the graph mostly says of weavers; of people their trade, of all else what they are."""
    use = knowledge.facts.usual(known) if known is not None else None
    if use is not None and subject_kind in ("", use[1]):
        return use[0]
    if subject_kind == _PERSON:
        return knowledge.relation("occupation", "p106")
    return knowledge.relation("instance of", "p31", "type")
