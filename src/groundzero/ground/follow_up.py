"""What a question means that goes on about what was said before. Three ways of leaving things out are filled in:

    and its capital?  who is he married to?      a word for a name: tried with each name said before, newest first
    and of Chile?  what about Chile?  Chile?     another name: the question before, asked of it
    and the population?                          another relation: of each name said before

A follow-up of a follow-up is filled in first. What comes out are readings of the question, likeliest first; whoever
asks takes the first that the graph has an answer to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from groundzero.ground.link import Link, Linker
from groundzero.ground.words import read_words

_OWNED = re.compile(r"\b(its|their|his|her)\b(?! own)(?=\s+\w)", re.IGNORECASE)
_MEANT = re.compile(r"\b(it|they|them|he|she|him|her|that one)\b", re.IGNORECASE)
_THERE = re.compile(r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )\bthere\b(?! (?:is|are|was|were)\b)", re.IGNORECASE)
_SUCH = re.compile(r"\b(?:this|that|the same) (?!(?:is|are|was|were|one|has|had)\b)[a-z]+\b", re.IGNORECASE)
_NOTHING = re.compile(r"\bit(?: is| was)? (?:true|right|correct|so|said|known|that|the case)\b", re.IGNORECASE)
"""An "it" that stands for what follows: "is it true that ..."."""
_MARK = re.compile(r"\s*\[S\d+\]")
_LEAD = re.compile(
    r"\s*(?:(?:and|but|or|so|also|ok|okay|now|then)\b[\s,]*)*(?:(?:what|how) about\b)?\s*", re.IGNORECASE
)
_ASKING = re.compile(r"(?:what|which|who|whose|whom|when|where|why|how|is|are|was|were|do|does|did|has|have|had|can)\b")
_GENDERS = {"he": "male", "him": "male", "his": "male", "she": "female", "her": "female"}
_PREPOSITIONS = frozenset({"of", "in", "for", "from", "to", "at", "on", "with", "by"})
_FILLERS = _PREPOSITIONS | frozenset("and but or so also ok okay now then what how about the too instead s".split())  # noqa: SIM905
"""Words around a name that alone ask nothing."""
_TOPICS = 6
"""Names of before that are tried."""
_TURNS = 6
"""Turns that are looked back on for the question that another name is put into."""


def readings(question: str, history: Sequence[str], linker: Linker) -> list[str]:
    """What the question may mean, likeliest first: as it stands, where it leaves nothing out.

    Args:
        history: what was said before, questions and answers in turn, oldest first.
    """
    if not history:
        return [question]
    named = _named(question, linker)
    patterns = (_OWNED, _MEANT, _THERE) if named else (_OWNED, _MEANT, _THERE, _SUCH)
    word = next((found for pattern in patterns if (found := pattern.search(question))), None)
    if word is not None and not _NOTHING.search(question) and not any(start < word.start() for start, _, _ in named):
        own = {question[start:end] for start, end, _ in named}
        names = _topics(history, linker, _GENDERS.get(word[0].lower(), ""))
        meant = [_with(question, name) for name in names if name not in own]
        return [*meant, question] if named or not meant else meant
    if len(named) == 1 and _says_nothing_else(question, named[0]):
        return _asked_of_another(question, named[0], history, linker) or [question]
    rest = question[_lead(question) :].strip().rstrip("?!. ")
    if not named and _lead(question) and rest and not _ASKING.match(rest.lower()):
        return [f"What is {rest} of {name}?" for name in _topics(history, linker)] or [question]
    return [question]


_Place = tuple[int, int, Link]
"""Where a name stands in a text: first character, one behind its last, and what it was linked to."""


def _named(text: str, linker: Linker) -> list[_Place]:
    """The names in a text, the longest where they overlap, in the order in which they stand."""
    words = read_words(text)
    taken: set[int] = set()
    found: list[_Place] = []
    for link in sorted(linker.link(text, words), key=lambda link: (-len(link.words), -link.last)):
        if link.exact and not link.words & taken:
            taken |= link.words
            found.append((words[link.first].start, words[link.last - 1].end, link))
    return sorted(found, key=lambda place: place[0])


def _topics(history: Sequence[str], linker: Linker, gender: str = "") -> list[str]:
    """What was named, the last turn first; in a turn, the name that was said last first.

    Args:
        gender: people of whom the graph says another are left out.
    """

    def said() -> Iterator[str]:
        for text in reversed(history):
            plain = _MARK.sub("", text)
            for start, end, link in reversed(_named(plain, linker)):
                if not gender or linker.gender(link) in ("", gender):
                    yield plain[start:end]

    return list(islice(dict.fromkeys(said()), _TOPICS))


def _with(question: str, name: str) -> str:
    owned = f"{name}'" if name.endswith("s") else f"{name}'s"
    for pattern, put in ((_OWNED, owned), (_MEANT, name), (_THERE, f"in {name}"), (_SUCH, name)):
        once = pattern.sub(lambda _, put=put: put, question, count=1)  # type: ignore[misc]  # no pattern in a name
        if once != question:
            return once
    return question


def _lead(question: str) -> int:
    """Characters of "and", "what about" and the like in front."""
    found = _LEAD.match(question)
    return 0 if found is None or not found[0].strip() else found.end()


def _says_nothing_else(question: str, place: _Place) -> bool:
    """Whether nothing is asked of a name: only "and of" it, say."""
    start, end, _ = place
    around = [word.text for word in read_words(f"{question[:start]} {question[end:]}")]
    return set(around) <= _FILLERS and ("about" in around or not {"what", "how"} & set(around))


def _asked_of_another(question: str, place: _Place, history: Sequence[str], linker: Linker) -> list[str]:
    """The last question that named something, asked of this name instead; each of its names may be the one that makes
    way: the one behind the same preposition first, then the one of the likest kind."""
    start, end, link = place
    before = _preposition(question, start)
    history = history[-2 * _TURNS :]
    for last in range(len(history) - 2 + len(history) % 2, -1, -2):
        asked = _filled(history, last, linker)
        options = [
            (_preposition(asked, first) == before != "", linker.likeness(other, link), first, stop)
            for first, stop, other in _named(asked, linker)
        ]
        if options:
            name = question[start:end]
            return [asked[:first] + name + asked[stop:] for *_, first, stop in sorted(options, reverse=True)]
    return []


def _filled(history: Sequence[str], place: int, linker: Linker) -> str:
    """A question of before with nothing left out: of its readings the one whose name the answer has."""
    options = readings(history[place], history[:place], linker)
    answer = history[place + 1] if place + 1 < len(history) else ""
    return next(
        (each for each in options if any(each[start:end] in answer for start, end, _ in _named(each, linker))),
        options[0],
    )


def _preposition(text: str, start: int) -> str:
    """The preposition in front of a place in a text."""
    words = [word.text for word in read_words(text[:start])][-2:]
    near = [word for word in words if word != "the"][-1:]
    return near[0] if near and near[0] in _PREPOSITIONS else ""
