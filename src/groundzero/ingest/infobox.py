"""Infobox lines as statements.

A field is the relation that the graph has used for the same pages and values (learnt by counting), else the one that a
short table names, else one called like the field. Values that link to a page are entities; dates and numbers are
literals; other text names an entity only if the graph has exactly one of that name, and is doubted otherwise.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import resources

from groundzero.graph.nouns import EntityId, Literal, RelationId
from groundzero.ingest.candidates import Candidate, Title
from groundzero.ingest.dates import read_date, read_number
from groundzero.ingest.documents import Document, Field, Value
from groundzero.ingest.facts import Facts
from groundzero.ingest.words import plural, words

_PRESENTATION = re.compile(
    r"image|img|photo|picture|caption|size|width|alt\b|logo|map|footnote|coord|pushpin|colou?r|style|^lat|^long|"
    r"latitude|longitude|module|embed|nocat|\bref|note|url|website|signature|icon|flag|seal|blank|native name|"
    r"^name$|title|audio|video|\bcoa\b|symbol|shield|anthem|motto|pronunciation|postal|code|timezone|utc|years? active|"
    r"label\d|data\d|header\d|rank|rowclass|pages|isbn|oclc|dewey|congress|iso\d|\bgeo\b|other names?|alias|nickname|"
    r"birth name|full name|fullname|conventional long name|common name|official name|image|ethnicity|list|below|above|"
    r"^caps|^goals|^years$|^stat ?(?:\d|value|label)|settlement type|house type|^term ?(?:start|end)|"
    r"year$|\bdst$|cctld|result$|record$|\bas of\b|medlineplus|diseasesdb|emedicine|omim|mesh|\bicd|genereviews|gini|"
    r"hdi|satcat|cospar|\btz\d|utc|glotto|issn|wikisource|prefix$|suffix$|"
    r"percent|density|sq ?mi|acre|feet|\bft\b|\bmi2\b|magnitude|range|status|^type$|^vs|^event|^date$|date\d|^era$"
)
_PAIRED = re.compile(r" (type|title)(\d*)$")
_NUMBERED = re.compile(r"^(.*?)\s*(\d+)$")
_EVENTS = {"born": "birth place", "died": "death place"}
"""Fields that give a date and a place."""
_LINKED, _NAMED, _NUMBER, _TEXT = 0.95, 0.9, 0.9, 0.5
"""DBpedia's mappings, the nearest relative, are right in 97 % of plain properties (its 3.7 gold standard)."""
_LEARNT_PAGES = 3  # pages on which the graph must have agreed before a field means a relation
_LONGEST_TEXT = 200

Lookup = Callable[[str], EntityId | None]
"""The one entity of a name, if there is exactly one."""


class FieldMap:
    """Which field of which infobox means which relation, as far as the graph's own facts tell."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Counter[RelationId]] = defaultdict(Counter)
        self._seen: Counter[tuple[str, str]] = Counter()

    def observe(self, document: Document, subject: EntityId, facts: Facts, lookup: Lookup) -> None:
        """Count the relations that the graph has between this page's subject and the values of each field."""
        known: dict[EntityId, list[RelationId]] = defaultdict(list)
        for relation, target in facts.by_subject.get(subject, ()):
            known[target].append(relation)
        if not known:
            return
        for field in document.fields:
            targets = {lookup(value.target or value.text) for value in field.values} - {None}
            if targets:
                self._seen[document.box, field.name] += 1
                agreed = {relation for target in targets if target is not None for relation in known.get(target, ())}
                self._counts[document.box, field.name].update(agreed)

    def relation(self, box: str, field: str) -> tuple[RelationId, float] | None:
        """The relation that a field mostly meant, and how often (shrunk); None where too few pages tell."""
        counts, seen = self._counts.get((box, field)), self._seen[box, field]
        if not counts:
            return None
        relation, agreed = max(counts.items(), key=lambda item: (item[1], -item[0]))
        if agreed < _LEARNT_PAGES or agreed / seen < 0.3:  # the graph knows only part of what infoboxes say
            return None
        return relation, (agreed + 1) / (seen + 2)


def infobox_candidates(
    document: Document, subject: EntityId | Title, fields: FieldMap, relations: dict[str, RelationId], lookup: Lookup
) -> list[Candidate]:
    """What the infobox says.

    Args:
        relations: the graph's relations by folded name.
        lookup: finds an entity by its name.
    """
    candidates = []
    for name, field in _named_fields(document.fields):
        learnt = fields.relation(document.box, field.name)
        relation: RelationId | str = learnt[0] if learnt else relation_for(name, relations)
        for value in field.values:
            candidate = _candidate(subject, relation, value, lookup)
            if candidate is None or candidate.object == subject:
                continue
            if name in _EVENTS:
                if not isinstance(candidate.object, Literal):
                    candidate = replace(candidate, relation=relation_for(_EVENTS[name], relations))
                elif candidate.object.datatype != "date":
                    continue
            if learnt is None and _table().get(name, ("", False))[1]:
                candidate = _turned(candidate)
            if candidate is not None:
                candidates.append(candidate)
    return candidates


def relation_for(field: str, relations: dict[str, RelationId]) -> RelationId | str:
    """The relation of a field's name: the graph's where it has it, else a label."""
    for name in (_table().get(field, (field, False))[0], field):
        key = " ".join(words(name))
        if key in relations:
            return relations[key]
    for key, relation in relations.items():
        if plural(key) == field:
            return relation
    return _table().get(field, (field, False))[0]


def _named_fields(fields: Sequence[Field]) -> list[tuple[str, Field]]:
    """Fields that say something, by name. `subdivision type1 = State` names `subdivision name1`."""
    types = {each.name: each.values[0].text.strip().lower() for each in fields if _PAIRED.search(each.name)}
    names = {each.name for each in fields}
    named = []
    for each in fields:
        if _PAIRED.search(each.name) and _PAIRED.sub(r" name\2", each.name) in names:
            continue
        told = next((types[pair] for pair in _pairs(each.name) if pair in types), "")
        if 0 < len(told) < 40:
            named.append((told, each))
            continue
        match = _NUMBERED.match(each.name)
        name = match[1] if match else each.name
        if name and not _PRESENTATION.search(name):
            named.append((name, each))
    return named


def _turned(candidate: Candidate) -> Candidate | None:
    """`influenced` as `influenced by` the other way round; None where the value is no entity."""
    if isinstance(candidate.object, Literal):
        return None
    return replace(candidate, subject=candidate.object, object=candidate.subject)


def _pairs(name: str) -> list[str]:
    """The fields that may say what `leader name1` is: `leader type1`, `leader title1`."""
    match = re.fullmatch(r"(.+) name(\d*)", name)
    return [f"{match[1]} {word}{match[2]}" for word in ("type", "title")] if match else []


def _candidate(subject: EntityId | Title, relation: RelationId | str, value: Value, lookup: Lookup) -> Candidate | None:
    text = " ".join(value.text.split())
    if not text or len(text) > _LONGEST_TEXT:
        return None
    place = (value.start, value.end)
    if value.target and len(text) > 2:
        return Candidate(subject, relation, Title(value.target), *place, _LINKED, "accepted", "infobox")
    literal = read_date(text) or read_number(text)
    if literal is not None:
        return Candidate(subject, relation, literal, *place, _NUMBER, "accepted", "infobox")
    known = lookup(text)
    if known is not None:
        return Candidate(subject, relation, known, *place, _NAMED, "accepted", "infobox")
    return Candidate(subject, relation, Literal(text), *place, _TEXT, "quarantined", "infobox")


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, bool]]:
    """Fields with what their relation is called, and whether it is said the other way round."""
    lines = resources.files("groundzero.ingest.english").joinpath("fields.tsv").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return {each[0]: (each[1], each[2:] == ["inverse"]) for each in pairs}
