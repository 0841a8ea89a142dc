"""Yes or no: a claim that is worded as the graph words its relations, read letter by letter.

Every relation has sentences (`graph.phrasing`). Where what a question puts up is one of them with two mentions for its
ends, relation and direction are known, and no other way from the one to the other is looked for: there nearly always is
one, but it says something else. "Marktbreit is in Japan" was a Yes, because Germany has diplomatic relations with it.

What is in a place is also in what that place is in: "was born in Germany" is true of who was born in Bonn, and neither
true nor false of Bonn where all that is known is Germany.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from groundzero.graph.nouns import EntityId, Relation
from groundzero.graph.phrasing import phrase, sayings
from groundzero.ground.link import Link
from groundzero.ground.words import SILENT, Word, read_words, stem

if TYPE_CHECKING:
    from groundzero.ground.hops import HopTable
    from groundzero.ground.search import PathSearch

SINGLE = 0.9
"""Share of its subjects for which a relation has one object, from which another object means no."""
MUTUAL = 0.3
"""Share of a relation's statements that are said the other way round too, from which one way is as good as both. In
Wiki27K spouses, siblings, neighbours, twins and diplomats have from 0.75 up, and whatever else at most 0.01."""
OUTWARDS = 2
"""Places outside a place that are looked at: its region, and the country of that."""
_END = "<e>"
_PASSED_OVER = frozenset("is are was were be do does did has have had a an the".split())  # noqa: SIM905
"""Words that a question puts elsewhere than a sentence does, or leaves out."""
_INSIDE = ((_END, "in", _END), (_END, stem("located"), "in", _END), (_END, "part", "of", _END))
"""Sentences of being in a place."""
_WHICH = ("which", "what")
_KIND_WORDS = 4
"""Longest "which" with the kind of thing it asks for."""
_MANIFEST = 4
"""Length of a sentence, both ends included, that cannot be of any relation but one by chance."""
_ALIKE = 2
"""Relations that such a sentence may be of: one, or one and what leads back from it."""
_ENDS = re.compile(r"\{(subject|object)\}")

Key = tuple[str, ...]


class Sentences:
    """All that the relations of a graph are said as, and asked for, by their words.

    Args:
        relations: in the order of the hop table, where relation number n is gone along by hop 2 n.
    """

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._said: defaultdict[Key, list[tuple[int, bool]]] = defaultdict(list)
        for place, relation in enumerate(relations):
            for template in sayings(relation):
                parts = _ENDS.split(template)
                if sorted(parts[1::2]) != ["object", "subject"]:
                    continue
                row = [_telling(read_words(text)) for text in parts[::2]]
                either = row[1] == ["and"]  # "A and B are twin cities" does not tell them apart
                for forwards in (True, False) if either else (parts[1] == "subject",):
                    way = (2 * place, forwards)
                    known = self._said[(*row[0], _END, *row[1], _END, *row[2])]
                    if way not in known:
                        known.append(way)
        self._asked: defaultdict[Key, set[int]] = defaultdict(set)
        for place, relation in enumerate(relations):
            phrasing = phrase(relation)
            for inverse, templates in enumerate((phrasing.questions, phrasing.inverse)):
                for template in templates:
                    before, found, behind = template.partition("{object}" if inverse else "{subject}")
                    if found:
                        key = (*_telling(read_words(before)), _END, *_telling(read_words(behind)))
                        self._asked[key].add(2 * place + inverse)
        self.inside = frozenset(code for key in _INSIDE for code, forwards in self.read(key) if forwards)
        """Hops that lead from a thing to what it is in."""

    def read(self, key: Key) -> tuple[tuple[int, bool], ...]:
        """Hops that a sentence says, and for each whether it names the subject first."""
        return tuple(self._said.get(key, ()))

    def asked(self, words: Sequence[Word], said: frozenset[int], link: Link) -> frozenset[int]:
        """Hops that a question about one thing asks for in the very words that the graph has for it.

        Also with the kind of the answer named, "which river flows through E" and "what country is E the capital of": a
        sentence with the wh-phrase for its other end, in two words or more.
        """
        parts = range(link.first), range(link.last, len(words))
        before, behind = ([words[place] for place in part if place not in said] for part in parts)
        found = self._asked.get((*_telling(before), _END, *_telling(behind)), frozenset[int]())
        is_genitive = bool(behind) and behind[0].text == "s"  # "what gender is E's child": of the child, and not whose
        if found or is_genitive or not before or before[0].text not in _WHICH:
            return frozenset(found)
        for kind in range(2, min(len(before), _KIND_WORDS) + 1):
            if before[kind - 1].text in SILENT:  # "what is": no kind of thing
                break
            moved, kept = _telling(before[kind:]), _telling(behind)
            key = (_END, *moved, _END, *kept) if moved else (_END, *kept, _END)
            ways = self.read(key) if len(key) >= _MANIFEST else ()
            if 0 < len(ways) <= _ALIKE:
                return frozenset(code ^ (forwards == bool(moved)) for code, forwards in ways)
        return frozenset()


class Standing(IntEnum):
    """What the graph says to a claim."""

    SILENT = 0
    """Nothing."""
    OPEN = 1
    """Something else, which does not exclude it."""
    FALSE = 2
    TRUE = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, and how it stands."""

    links: tuple[Link, Link]
    """What it is about, and what it says of it."""
    ends: tuple[EntityId, EntityId]
    codes: tuple[int, ...]
    """Hops that lead to what is claimed, or to what is true instead."""
    standing: Standing
    score: float


def verdicts(
    words: Sequence[Word], said: frozenset[int], links: Sequence[Link], table: HopTable, search: PathSearch, most: int
) -> list[Verdict]:
    """The readings of a claim that stand best: of two people of one name, the one of whom it is true.

    None where the words are no sentence of any relation.

    Args:
        said: places of words that only ask whether it is true.
        most: entities considered for each mention.
    """
    found: list[Verdict] = []
    for one, other in combinations(sorted(links, key=lambda link: link.first), 2):
        key = _key(words, said, one, other)
        for code, forwards in table.sentences.read(key) if one.last <= other.first else ():
            subject, claimed = (one, other) if forwards else (other, one)
            says_in = forwards and (key[-2:] == ("in", _END) or key in _INSIDE)
            inside = sorted(table.sentences.inside) if says_in else []
            for start, end in product(subject.candidates[:most], claimed.candidates[:most]):
                ends = start.entity, end.entity
                codes, standing, fit = _judged(table, search, code, inside, *ends)
                found.append(Verdict((subject, claimed), ends, codes, standing, start.score + end.score + fit))
    best = max((verdict.standing for verdict in found), default=Standing.SILENT)
    return [verdict for verdict in found if verdict.standing == best]


def _judged(
    table: HopTable, search: PathSearch, code: int, inside: Sequence[int], subject: EntityId, claimed: EntityId
) -> tuple[tuple[int, ...], Standing, float]:
    """The hops that decide a claim, how it stands by them, and how much speaks for its being about this relation.

    Args:
        inside: hops that lead further out; none where no place is claimed.
    """
    direct = [code, *([code ^ 1] if table.mutual_C[code] >= MUTUAL else ())]
    for ways in _outwards(direct, inside):
        for way in ways:
            if claimed in search.ends(subject, way):
                return way, Standing.TRUE, -float(len(way))
    fit = math.log1p(len(search.ends(claimed, (code ^ 1,))))  # "located in Japan" is of the country, not of the region
    for each in direct:
        known = search.ends(subject, (each,))
        if len(known):
            within = (search.ends(claimed, way) for ways in _outwards(inside, inside) for way in ways)
            single = table.single_C[each] >= SINGLE and not any(len(np.intersect1d(known, ends)) for ends in within)
            return (each,), Standing.FALSE if single else Standing.OPEN, fit
    return (code,), Standing.SILENT, fit


def _outwards(direct: Sequence[int], inside: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """Ways of one hop, then those that go on outwards from there, by how far they go."""
    ways: list[list[tuple[int, ...]]] = [
        [(code,) for code in dict.fromkeys((*direct, *(inside if set(direct) & set(inside) else ())))]
    ]
    for _ in range(OUTWARDS if inside else 0):
        ways.append([(*way, code) for way in ways[-1] for code in inside])
    return ways


def _key(words: Sequence[Word], said: frozenset[int], one: Link, other: Link) -> Key:
    """The words of a claim, with its two mentions as ends."""
    parts = (range(one.first), range(one.last, other.first), range(other.last, len(words)))
    row = [_telling([words[place] for place in part if place not in said]) for part in parts]
    return (*row[0], _END, *row[1], _END, *row[2])


def _telling(words: Iterable[Word]) -> list[str]:
    return [word.stem for word in words if word.text not in _PASSED_OVER]
