"""What is read: a text with its name, its links, and where each of its characters stood in the source."""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass, field

_SHORT = 80


@dataclass(frozen=True, slots=True)
class Link:
    """A stretch of the text that its author linked to a page."""

    start: int
    end: int
    target: str


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an infobox field. Places are characters of the source."""

    text: str
    target: str
    """The page it links to; empty where it is only text."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Field:
    """One line of an infobox."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """From characters of the text to characters of the source: pieces that were copied, in order."""

    text_starts: tuple[int, ...] = ()
    source_starts: tuple[int, ...] = ()

    def of(self, start: int, end: int) -> tuple[int, int]:
        """Where a passage of the text stands in the source."""
        if not self.text_starts:
            return start, end
        first, last = self._of(start), self._of(max(end - 1, start)) + 1
        return first, max(first, last)

    def _of(self, place: int) -> int:
        i = max(bisect.bisect_right(self.text_starts, place) - 1, 0)
        return self.source_starts[i] + max(place - self.text_starts[i], 0)


@dataclass(frozen=True, slots=True)
class Document:
    """A text to learn from."""

    key: str
    """Unique: a path, an address, a page of a dump. The source's key in the graph."""
    title: str
    """What the text is about, where it is about one thing; empty otherwise."""
    text: str
    digest: str
    """SHA-256 of the source's characters."""
    links: tuple[Link, ...] = ()
    box: str = ""
    """The infobox's kind: `settlement`; empty where there is none."""
    fields: tuple[Field, ...] = ()
    aliases: tuple[str, ...] = ()
    places: Places = field(default_factory=Places)
    revision: str = ""
    licence: str = ""
    source_text: str = ""
    """The source as it was, where it is not the text: wikitext, say."""

    def passage(self, start: int, end: int) -> str:
        """Characters of the source; of a few words, the line around them."""
        source = self.source_text or self.text
        if end - start < _SHORT:
            start = max(source.rfind("\n", 0, start) + 1, start - _SHORT)
            line_end = source.find("\n", end)
            end = min(line_end if line_end >= 0 else len(source), end + _SHORT)
        return source[start:end]


def digest_of(text: str) -> str:
    """SHA-256 of a text; half surrogate pairs count as what they are."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def is_address(line: str) -> bool:
    """Whether a line reads like a place said with its surroundings: `Hodgenville, Kentucky, U.S.`"""
    return "," in line and " and " not in line and line.count(",") <= 3
