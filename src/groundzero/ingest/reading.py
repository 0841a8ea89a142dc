"""One document into candidates: its infobox, its first sentence, its prose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from groundzero.graph.nouns import EntityId
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
        candidates += _lead_candidates(document, subject, lead, self.knowledge)
        if self.model is not None:
            page = Page(subject if isinstance(subject, int) else _NOBODY, document.text, _kind(lead, self.model))
            own = self.own.get(document.digest)
            found = self.model.find(page) if own is None else own()
            candidates += [_prose(document, subject, each, self.suggested) for each in found]
        kind = document.box or (lead.kinds[0].text if lead.kinds else "")
        if lead.is_person and not document.box:
            kind = "human"
        return Reading(document, subject, candidates, kind, lead.description)


def _matched(document: Document, match: Match) -> Candidate:
    place = document.places.of(match.start, match.end)
    return Candidate(
        match.subject, match.relation, match.object, *place, round(match.precision, 3), "accepted", "pattern"
    )


def _kind(lead: Lead, model: PageModel) -> str:
    """A type that the graph uses, for a subject that it does not know."""
    if lead.is_person and model.facts.known_type("human"):
        return "human"
    return next((kind.text for kind in lead.kinds if model.facts.known_type(kind.text)), "")


def _prose(document: Document, subject: EntityId | Title, found: Found, suggested: bool) -> Candidate:
    start, end = document.places.of(found.start, found.end)
    accepted = found.accepted and (found.named or suggested)
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
    document: Document, subject: EntityId | Title, lead: Lead, knowledge: Knowledge
) -> list[Candidate]:
    candidates = []
    for date in lead.dates:
        relation = (
            knowledge.relation("date of birth", "p569") if date.born else knowledge.relation("date of death", "p570")
        )
        place = document.places.of(date.start, date.end)
        candidates.append(Candidate(subject, relation, date.date, *place, _DATE, "accepted", "first sentence"))
    instance_of = knowledge.relation("instance of", "p31", "type")
    for kind in lead.kinds:
        relation = knowledge.relation("occupation", "p106") if lead.is_person else instance_of
        candidate = _kind_candidate(document, subject, relation, kind, knowledge)
        if candidate is not None:
            candidates.append(candidate)
    return candidates


def _kind_candidate(
    document: Document, subject: EntityId | Title, relation: int | str, kind: Kind, knowledge: Knowledge
) -> Candidate | None:
    """A kind that links to a page, that the graph knows by the longest end of its name, or that is only words."""
    place = document.places.of(kind.start, kind.end)
    if kind.target:
        return Candidate(subject, relation, Title(kind.target), *place, _KIND_LINKED, "accepted", "first sentence")
    parts = kind.text.split()
    for k in range(len(parts)):
        known = knowledge.link(" ".join(parts[k:]))
        if known is not None:
            return Candidate(subject, relation, known, *place, _KIND_KNOWN, "accepted", "first sentence")
    return Candidate(subject, relation, Title(clean_title(parts[-1])), *place, _KIND_TEXT, "accepted", "first sentence")
