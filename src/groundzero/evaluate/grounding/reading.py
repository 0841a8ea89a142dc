"""From the words of an answer to the triples that they state. No model does this.

A text may be read in several ways (a name within a name, a word that is also a name); the judge takes the kindest. The
first is the system's own way (`ground.claims`), which knows which words were copied. The next ones know only the text:
names are what the facts and the right answers are called, and a sentence must be one of the ways to say a relation
(`graph.phrasing`); then it states a triple, whether or not that is so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from groundzero.evaluate.grounding.questions import whole
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Relation, RelationId
from groundzero.graph.phrasing import sayings
from groundzero.ground.claims import read_claims
from groundzero.ground.lessons import Fact
from groundzero.ground.speech import Said, Span

_FIRST = 0xE000
"""Private-use characters stand for names; texts and names that hold some are read without."""
_MOST = 0xF8FF - _FIRST
_ENDS = re.compile(r"(?<=[.!?;]) ")
_LEAD = re.compile(r"(?:Yes|No|\d+)[:,.]? ")


@dataclass(frozen=True, slots=True)
class Triple:
    """A claim by the names in it."""

    subject: str
    relation: RelationId
    object: str


Reading = list[tuple[str, list[Triple]]]
"""Sentences, each with what it states; with nothing where it could not be read."""


class Reader:
    """Reads answers as statements by some relations, tried in this order."""

    def __init__(self, graph: Graph, relations: Iterable[RelationId]) -> None:
        self._graph = graph
        self._relations = list(relations)

    def readings(self, said: Said, facts: Sequence[Fact], names: Iterable[str] = ()) -> Iterator[Reading]:
        """Ways to read an answer, the likeliest first.

        Args:
            facts: what it was given to speak from.
            names: what else it may name.
        """
        known = [*dict.fromkeys([*(each for fact in facts for each in (fact.subject, fact.object)), *names])]
        for spans in (said.spans, _found(said.text, facts)) if facts else ():
            told = read_claims(replace(said, spans=spans), facts, lambda each: sayings(self._graph.relation(each)))
            if told is not None:
                yield [(said.text, [Triple(each.subject, each.ends[1], each.object) for each in told.claims])]
        text = said.text
        if not re.search("[\ue000-\uf8ff]", text) and 0 < len(known) <= _MOST:
            places = {name: chr(_FIRST + number) for number, name in enumerate(known)}
            hidden = text
            for name in sorted(known, key=len, reverse=True):
                hidden = whole(name).sub(places[name], hidden)
            yield self._sentences(hidden, {place: name for name, place in places.items()})
        yield self._sentences(text, {})

    def _sentences(self, text: str, names: dict[str, str]) -> Reading:
        lead = _LEAD.match(text)
        found: Reading = []
        for sentence in _ENDS.split(text[lead.end() if lead else 0 :].strip()):
            whole_text = _shown(sentence, names)
            bare = sentence.rstrip(".!?; ")
            if bare:
                found.append((whole_text, self._stated(bare, names)))
        return found

    def _stated(self, sentence: str, names: dict[str, str]) -> list[Triple]:
        """What a sentence states by the first relation that it is a way to say."""
        for relation in self._relations:
            for pattern in _patterns(self._graph.relation(relation)):
                match = pattern.fullmatch(sentence)
                if match is not None:
                    subjects, objects = (_listed(match[end], names) for end in ("subject", "object"))
                    if min(len(subjects), len(objects)) == 1:
                        return [Triple(one, relation, other) for one, other in product(subjects, objects)]
        return []


@cache
def _patterns(relation: Relation) -> list[re.Pattern[str]]:
    """The ways to say a relation, as patterns of a whole sentence."""
    found = []
    for template in sayings(relation):
        parts = re.split(r"(\{subject\}|\{object\})", template.rstrip(". "))
        if sorted(part for part in parts if part in ("{subject}", "{object}")) != ["{object}", "{subject}"]:
            continue
        pattern = "".join(f"(?P<{part[1:-1]}>.+?)" if part in ("{subject}", "{object}") else re.escape(part)
                          for part in parts)  # fmt: skip
        for case in dict.fromkeys((pattern, pattern[:1].upper() + pattern[1:])):
            found.append(re.compile(case))
    return found


def _listed(text: str, names: dict[str, str]) -> list[str]:
    """`A, B and C` as three names, where these are known; else one."""
    parts = re.split(r", (?:and )?| and ", text)
    if len(parts) > 1 and all(part in names for part in parts):
        return [names[part] for part in parts]
    return [_shown(text, names)]


def _shown(text: str, names: dict[str, str]) -> str:
    return "".join(names.get(character, character) for character in text)


def _found(text: str, facts: Sequence[Fact]) -> tuple[Span, ...]:
    """Where a text names the ends of facts, longer names first, none within another."""
    names: dict[str, Span] = {}
    for fact in facts:
        names.setdefault(fact.subject, Span(0, 0, fact, True))
        names.setdefault(fact.object, Span(0, 0, fact, False))
    spans: list[Span] = []
    for name in sorted((name for name in names if name), key=len, reverse=True):
        for match in whole(name).finditer(text):
            if all(match.end() <= span.start or span.end <= match.start() for span in spans):
                spans.append(replace(names[name], start=match.start(), end=match.end()))
    return tuple(sorted(spans, key=lambda span: span.start))
