"""From the words of a question to the entities it mentions.

First the gazetteer: every label and alias that the words spell, whatever their case and accents (`Graph.mentions`).
Where that finds nothing for a name, the name is corrected against the words of all labels, by edit distance, and looked
for again; then full-text search. Several entities under one name stay several: how well the question's relation fits
each, and how much is said of it, decides in `reason`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from groundzero.graph.folding import form, tokens
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, Transaction
from groundzero.ground.words import SILENT, Word, read_words

MAX_ENTITIES = 12
"""Entities under one name that are considered."""
PRIOR = 0.25
"""Worth of each doubling (natural) of what is said of an entity."""
CASE = 0.6
"""Of a name written with its capitals."""
LOWER = 2.0
"""Against one without, where the label has some and so has the question."""
MISSPELT = 6
"""The same, where names are told by their capitals."""
BRIDGED = 2
"""Words without a capital that may stand within a name: the "of the" of "Tower of the Winds"."""
WINDOWS = 16
"""Stretches of words that are tried as misspelt names."""
FUZZY = 2.5
"""What a name that had to be corrected costs, times how far it is from the label (1 - similarity) times 4."""

ONE_SLIP = (5, 9)
"""Letters from which one wrong letter is a slip, and two are. In shorter words they are another name: Iran is no Iraq,
Atlantis no Atlanta, and a name that the graph lacks must not be answered about."""
PERSONAL = frozenset({"birth", "die", "spouse", "sibling", "occupation", "profession", "citizenship", "gender", "sex"})
"""Stems of relations that start from people."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entity that a mention may mean."""

    entity: EntityId
    score: float
    """Prior and likeness; higher is likelier. Comparable between candidates of one question."""


@dataclass(frozen=True, slots=True)
class Link:
    """A stretch of a question that names something."""

    first: int
    """First of its words (`read_words`)."""
    last: int
    """One past its last word."""
    surface: str
    """As written."""
    candidates: tuple[Candidate, ...]
    """Likeliest first."""
    exact: bool = True
    """Found as a name; else by likeness."""

    @property
    def words(self) -> frozenset[int]:
        """Places of its words."""
        return frozenset(range(self.first, self.last))


class Linker:
    """Links questions to one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._lock = threading.Lock()
        self._vocabulary: tuple[Transaction, dict[str, list[str]]] | None = None
        self._context: dict[EntityId, frozenset[str]] = {}

    def link(self, question: str, words: Sequence[Word] | None = None) -> list[Link]:
        """Every mention, overlapping ones too, the most telling first."""
        words = read_words(question) if words is None else words
        found = self._exact(question, words)
        named = {place for link in found for place in link.words}
        missing = self._unnamed(question, words, named, found)
        if missing:
            found += self._corrected(question, words, missing)
        return sorted(found, key=lambda link: (-_weight(words, link), link.first))

    def named(self, text: str) -> list[Link]:
        """What a text names, letter by letter: mentions that need no correction, overlapping ones too."""
        return self._exact(text, read_words(text))

    def likeness(self, one: Link, other: Link) -> float:
        """How alike the kinds of two things are, 0 to 1: the share that both have of the relations that either has."""
        first, second = (self._relations(link.candidates[0].entity) for link in (one, other))
        return len(first & second) / max(1, len(first | second))

    def is_person(self, link: Link) -> bool:
        """Whether the graph says of it what is said of people."""
        return any(
            {word.stem for word in read_words(self._graph.relations[relation].label)} & PERSONAL
            for inverse, relation in self._relations(link.candidates[0].entity)
            if not inverse and relation in self._graph.relations
        )

    def gender(self, link: Link) -> str:
        """What the graph calls the gender of whoever is named; empty where it says nothing."""
        entity = link.candidates[0].entity
        for relation in self._graph.relations.values():
            if {"gender", "sex"} & set(tokens(relation.label)):
                ends = self._graph.neighbours(entity, relation.id).entity_N
                if len(ends):
                    return form(self._graph.label(int(ends[0])))
        return ""

    def _relations(self, entity: EntityId) -> frozenset[tuple[bool, int]]:
        return frozenset(
            (inverse, relation)
            for inverse in (False, True)
            for relation in np.unique(self._graph.neighbours(entity, inverse=inverse).relation_N).tolist()
        )

    def _exact(self, question: str, words: Sequence[Word]) -> list[Link]:
        starts = {word.start: place for place, word in enumerate(words)}
        ends = {word.end: place + 1 for place, word in enumerate(words)}
        has_capitals = any(char.isupper() for char in question[1:])
        asked = {word.stem for word in words}
        links = []
        for mention in self._graph.mentions(question, overlapping=True):
            first, last = starts.get(mention.start), ends.get(mention.end)
            if first is None or last is None:  # in the middle of a word that was taken apart
                continue
            inside = words[first:last]
            if all(word.text in SILENT for word in inside) and not (mention.surface[:1].isupper() and mention.start):
                continue
            entities = self._likeliest(mention.entities)
            candidates = [
                Candidate(entity, self._score(entity, mention.surface, asked, has_capitals)) for entity in entities
            ]
            candidates.sort(key=lambda candidate: (-candidate.score, candidate.entity))
            links.append(Link(first, last, mention.surface, tuple(candidates)))
        return [
            link
            for link in links
            if not any(link.words < other.words and _is_written(other, has_capitals) for other in links)
        ]

    def _likeliest(self, entities: Sequence[EntityId]) -> list[EntityId]:
        if len(entities) <= MAX_ENTITIES:
            return list(entities)
        return sorted(entities, key=lambda entity: -self._degree(entity))[:MAX_ENTITIES]

    def _degree(self, entity: EntityId) -> int:
        adjacency = self._graph.adjacency
        return adjacency.degree(entity) + adjacency.degree(entity, inverse=True)

    def _score(self, entity: EntityId, surface: str, asked: set[str], has_capitals: bool) -> float:
        score = PRIOR * math.log1p(self._degree(entity))
        label = self._graph.label(entity)
        if surface == label and any(char.isupper() for char in surface):
            score += CASE
        elif has_capitals and surface.islower() and not label.islower():
            score -= LOWER
        return score + 0.5 * len(self._about(entity) & (asked - SILENT - set(tokens(surface))))

    def _about(self, entity: EntityId) -> frozenset[str]:
        """Stems of what an entity is said to be, for context: "the film Aladdin"."""
        known = self._context.get(entity)
        if known is None:
            found = self._graph.entity(entity)
            text = " ".join((found.description[:200], *found.types[:4]))
            known = frozenset(word.stem for word in read_words(text)) - SILENT
            if len(self._context) > 50_000:
                self._context.clear()
            self._context[entity] = known
        return known

    def _unnamed(
        self, question: str, words: Sequence[Word], named: set[int], found: list[Link]
    ) -> list[tuple[int, int]]:
        """Stretches of words that may be a name and were found as none.

        Those with capitals, where there are some; where nothing at all was found, any few words in a row.
        """
        capital = [place for place in range(len(words)) if _is_name(question, words, place)]
        runs: list[tuple[int, int]] = []
        for first, last in (*_together(capital, BRIDGED), *_together(capital, 0)):
            if any(link.words >= set(range(first, last)) for link in found):
                continue
            runs.append((first, last))
            if last < len(words) and _is_telling(words[last]):
                runs.append((first, last + 1))
        runs = list(dict.fromkeys(runs))
        if runs or any(link.candidates for link in found):
            return runs[:MISSPELT]
        telling = [_is_telling(word) for word in words]
        return [
            (first, first + length)
            for length in (4, 3, 2, 1)
            for first in range(len(words) - length + 1)
            if telling[first] and telling[first + length - 1]
        ][:WINDOWS]

    def _corrected(self, question: str, words: Sequence[Word], runs: Iterable[tuple[int, int]]) -> list[Link]:
        links = []
        for first, last in runs:
            surface = question[words[first].start : words[last - 1].end]
            scored = self._alike(surface)
            if scored:
                candidates = tuple(
                    Candidate(entity, PRIOR * math.log1p(self._degree(entity)) - 4 * FUZZY * (1 - likeness))
                    for entity, likeness in scored
                )
                ordered = tuple(sorted(candidates, key=lambda candidate: (-candidate.score, candidate.entity)))
                links.append(Link(first, last, surface, ordered, exact=False))
        return links

    def _alike(self, surface: str) -> list[tuple[EntityId, float]]:
        """Entities whose name is like `surface`, by likeness in (0, 1]."""
        wanted = form(surface)
        found: dict[EntityId, float] = {}
        queries = [wanted, *self._respelt(wanted.split())]
        for query in queries:
            for mention in self._graph.mentions(query):
                if form(mention.surface) == query:
                    for entity in self._likeliest(mention.entities):
                        found[entity] = max(found.get(entity, 0.0), self._likeness(entity, wanted))
            for entity, _ in self._graph.store.search(query, limit=10):
                found[entity] = max(found.get(entity, 0.0), self._likeness(entity, wanted))
        kept = [(entity, likeness) for entity, likeness in found.items() if likeness >= 0.8]
        return sorted(kept, key=lambda pair: (-pair[1], pair[0]))[:MAX_ENTITIES]

    def _likeness(self, entity: EntityId, wanted: str) -> float:
        named = self._graph.entity(entity)
        return max(fuzz.ratio(form(name), wanted) for name in (named.label, *named.aliases)) / 100

    def _respelt(self, spelt: list[str]) -> list[str]:
        """The text with each unknown word replaced by words of labels it may be a misspelling of; few variants."""
        vocabulary = self._words_of_labels()
        variants = [""]
        for word in spelt:
            near = [word]
            bucket = vocabulary.get(word[:1], [])
            limit = sum(len(word) >= least for least in ONE_SLIP)
            if limit:
                alike = process.extract(word, bucket, scorer=OSA.distance, score_cutoff=limit, limit=3)
                near += [each for each, _, _ in alike if each != word]
            variants = [f"{variant} {each}".strip() for variant in variants for each in near][:12]
        return [variant for variant in variants if variant != " ".join(spelt)]

    def _words_of_labels(self) -> dict[str, list[str]]:
        """Words of all labels by first letter; sorted when first needed, and again once the graph has changed."""
        with self._lock:
            at = self._graph.transaction
            if self._vocabulary is None or self._vocabulary[0] != at:
                by_letter: dict[str, list[str]] = {}
                for word in sorted(self._graph.mention_index.words):
                    if len(word) > 2:
                        by_letter.setdefault(word[0], []).append(word)
                self._vocabulary = at, by_letter
            return self._vocabulary[1]


def _is_written(link: Link, has_capitals: bool) -> bool:
    """Whether a mention is written like a name, where names are: parts of it ("York" of "New York") are none then."""
    return not has_capitals or link.surface != link.surface.lower()


def _weight(words: Sequence[Word], link: Link) -> float:
    """How telling a mention is: its length and its best candidate."""
    telling = sum(1.0 for word in words[link.first : link.last] if word.text not in SILENT)
    return telling + 0.3 * (link.last - link.first) + (link.candidates[0].score if link.candidates else -5.0)


def _is_telling(word: Word) -> bool:
    return word.text not in SILENT and word.stem not in SILENT


def _is_name(question: str, words: Sequence[Word], place: int) -> bool:
    """Whether a word is written like a name; the first of a sentence is where the next is too."""
    word = words[place]
    if not question[word.start].isupper() or word.text in SILENT:
        return False
    return place > 0 or (len(words) > 1 and question[words[1].start].isupper())


def _together(places: Sequence[int], bridged: int) -> list[tuple[int, int]]:
    """Runs of these places, with gaps of at most so many others."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and place - runs[-1][1] <= bridged:
            runs[-1] = runs[-1][0], place + 1
        else:
            runs.append((place, place + 1))
    return runs
