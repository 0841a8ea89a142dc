"""What a question means that goes on about what was said before. Three ways of leaving things out are filled in:

    and its capital?  who is he married to?      a word for a name: tried with each name said before, newest first
    and of Chile?  what about Chile?  Chile?     another name: the question before, asked of it
    and the population?                          another relation: of each name said before

A follow-up of a follow-up is filled in first. What comes out are readings of the question, likeliest first; whoever
asks takes the first that the graph has an answer to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from groundzero.ground.link import Link, Linker
from groundzero.ground.words import SILENT, read_words

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
_PEOPLE = {"he": "male", "him": "male", "his": "male", "she": "female", "her": "female"}
_THINGS = frozenset({"it", "its", "there", "that one"})
_CAPITALS = re.compile(r"[A-Z][\w-]*(?: [A-Z][\w-]*)*")
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
        names = _topics(history, linker, word[0].lower())
        meant = [_with(question, name) for name in names if name not in own]
        return [*meant, question] if named or not meant else meant
    places = _places(question, linker)
    if len(places) == 1 and _says_nothing_else(question, places[0]):
        return _asked_of_another(question, places[0], history, linker) or [question]
    rest = question[_lead(question) :].strip().rstrip("?!. ")
    if not places and _lead(question) and rest and not _ASKING.match(rest.lower()):
        return [f"What is {rest} of {name}?" for name in _topics(history, linker)] or [question]
    return [question]


_Place = tuple[int, int, Link | None]
"""Where a name stands in a text: first character, one behind its last, and what it was linked to."""


def _named(text: str, linker: Linker) -> list[_Place]:
    """The names in a text, the longest where they overlap, in the order in which they stand."""
    words = read_words(text)
    taken: set[int] = set()
    found: list[_Place] = []
    for link in sorted(linker.named(text), key=lambda link: (-len(link.words), -link.last)):
        if not link.words & taken:
            taken |= link.words
            found.append((words[link.first].start, words[link.last - 1].end, link))
    return sorted(found, key=lambda place: place[0])


def _places(text: str, linker: Linker) -> list[_Place]:
    """The names in a text, and words in a row that are written like one, though the graph has none of that name: it has
    a "Newton", say, and the text an "Isaac Newton"."""
    named = _named(text, linker)
    start = _lead(text)
    asking = _ASKING.match(text[start:].lower())
    start += asking.end() if asking else 0
    written = [found.span() for found in _CAPITALS.finditer(text, start) if _is_name(text, *found.span(), start)]
    unknown = [span for span in written if not any(first <= span[0] and span[1] <= stop for first, stop, _ in named)]
    inside = [place for place in named if any(first <= place[0] and place[1] <= stop for first, stop in unknown)]
    kept = [place for place in named if place not in inside]
    return sorted([*kept, *((*span, None) for span in unknown)], key=lambda place: place[0])


def _is_name(text: str, start: int, end: int, lead: int) -> bool:
    """Whether capitals make a name: not where a sentence begins with one word of them, and not in "I"."""
    word = text[start:end]
    begins = start == 0 or (start != lead and text[:start].rstrip()[-1:] in ("", ".", "!", "?", ":"))
    return " " in word or not (begins or word.lower() in SILENT)


def _topics(history: Sequence[str], linker: Linker, word: str = "") -> list[str]:
    """What was named, the last turn first; in a turn, the name that was said last first. Where the person named what
    the graph has not, nothing from before that is meant.

    Args:
        word: what stands for it. "she" is nobody of whom the graph says that he is a man, and a person if there is
            one; "it" rather is none.
    """
    said: dict[str, Link | None] = {}
    for place in range(len(history) - 1, -1, -1):
        plain = _MARK.sub("", history[place])
        asked = len(history) % 2 == 0 and place % 2 == 0
        for start, end, link in reversed(_places(plain, linker) if asked else _named(plain, linker)):
            said.setdefault(plain[start:end], link)
        if len(said) >= 2 * _TOPICS or None in said.values():
            break
    known = {name: link for name, link in said.items() if link is not None}
    if word in _PEOPLE:
        fitting = [name for name in said if name not in known or linker.gender(known[name]) in ("", _PEOPLE[word])]
        people = [name for name in fitting if name not in known or linker.is_person(known[name])]
        return (people or fitting)[:_TOPICS]
    if word in _THINGS:
        return sorted(said, key=lambda name: name in known and linker.is_person(known[name]))[:_TOPICS]
    return list(said)[:_TOPICS]


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
            (_preposition(asked, first) == before != "", _likeness(other, link, linker), first, stop)
            for first, stop, other in _places(asked, linker)
        ]
        if options:
            name = question[start:end]
            return [asked[:first] + name + asked[stop:] for *_, first, stop in sorted(options, reverse=True)]
    return []


def _likeness(one: Link | None, other: Link | None, linker: Linker) -> float:
    return 0.0 if one is None or other is None else linker.likeness(one, other)


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
