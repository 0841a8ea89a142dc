"""Words and sentences of a text, with their places, and the word forms that English makes of a name.

No model and no list of exceptions: what is missed here is missed by every later step, so the rules prefer a sentence
too long to a sentence cut in two.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

_WORD = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
# A full stop ends a sentence after a small letter, digit or closing mark, also where the next sentence is glued to it
# ("graph theory.Euler was", as where two paragraphs were joined); not after an initial ("J. S. Bach") or "St.".
_ABBREVIATIONS = ("St", "Dr", "Mr", "Ms", "Mrs", "Jr", "Sr", "No", "vs", "ca", "co", "Inc", "tr", "Rev", "Gen", "Col")
_END = re.compile(
    r"(?<=[a-z0-9)\]\"”%])"
    + "".join(rf"(?<!\b{each})" for each in _ABBREVIATIONS)
    + r"[.!?]+[\"”')\]]*(?:\s+|(?=[A-Z][a-z]))(?=[\"“'(\[]?[A-Z0-9])"
)
_BREAK = re.compile(r"\n\s*\n|\n(?=[*#=;:|])")
_MAX_SENTENCE = 2000
"""Characters after which a sentence is cut: tables and lists without full stops."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A stretch of a document and its words, in lower case, each with its place in the document."""

    start: int
    end: int
    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    capitals: tuple[bool, ...]
    """Which words were written with a capital."""


def sentences(text: str) -> list[Sentence]:
    """The sentences of `text` in order; those without a word are left out."""
    found = []
    for start, end in _pieces(text):
        matches = list(_WORD.finditer(text, start, end))
        if matches:
            found.append(
                Sentence(
                    matches[0].start(),
                    matches[-1].end(),
                    tuple(fold(match.group()) for match in matches),
                    tuple(match.start() for match in matches),
                    tuple(match.end() for match in matches),
                    tuple(match.group()[0].isupper() for match in matches),
                )
            )
    return found


@lru_cache(maxsize=65536)
def fold(word: str) -> str:
    """A word as it is compared: lower case, one kind of apostrophe, no accents."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.replace("’", "'")).casefold()
    return "".join(char for char in plain if not unicodedata.combining(char)) or word


def words(text: str) -> tuple[str, ...]:
    """The words of a name, folded."""
    return tuple(fold(match.group()) for match in _WORD.finditer(text))


def plural(word: str) -> str:
    """The regular English plural of a noun: `country` gives `countries`."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith("man") and word != "human":
        return word[:-3] + "men"
    return word + "s"


def feminine(word: str) -> str:
    """`actress` for `actor`; the word itself where English makes no such form."""
    return word[:-2] + "ress" if word.endswith("tor") else word


@lru_cache(maxsize=1)
def demonyms() -> dict[str, tuple[str, ...]]:
    """Adjectives and inhabitants of countries, continents and some cities: `france` -> (`french`,)."""
    table = resources.files("groundzero.ingest.english").joinpath("demonyms.tsv").read_text(encoding="utf-8")
    found = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            place, *forms = line.split("\t")
            found[fold(place)] = tuple(fold(form) for form in forms)
    return found


def _pieces(text: str) -> list[tuple[int, int]]:
    cuts = sorted({match.end() for match in _END.finditer(text)} | {match.end() for match in _BREAK.finditer(text)})
    pieces, start = [], 0
    for cut in [*cuts, len(text)]:
        while cut - start > _MAX_SENTENCE:
            space = text.rfind(" ", start + _MAX_SENTENCE // 2, start + _MAX_SENTENCE)
            middle = space if space > 0 else start + _MAX_SENTENCE
            pieces.append((start, middle))
            start = middle
        if cut > start:
            pieces.append((start, cut))
        start = cut
    return pieces
