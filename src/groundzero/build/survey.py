"""What there is to build from, as far as a glance tells: sizes for the plan, and faults that can be seen at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from groundzero.build.order import EMBEDDED, Order
from groundzero.data import DataConfig
from groundzero.data.embedded import facts
from groundzero.data.sources import Corpus, open_corpus
from groundzero.errors import InputError
from groundzero.graph.formats.reader import detect
from groundzero.graph.formats.reading import open_input
from groundzero.graph.opening import open_store

EMBEDDED_BYTES = 1.4e6
"""Of the prose that comes with the package, without what is examined."""
UNPACKED = 3.0
"""Times a .gz file's size: what prose comes to."""
SPOKEN = 105.0
"""Bytes of text to a statement: 104 on Wiki27K, 163 on the embedded facts, whose relations have many wordings."""
_LOOKED_AT = 200
"""Files whose beginning is read."""
_SAMPLE = 2**20
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Inputs:
    """About how much there is."""

    text_bytes: float = 0.0
    """Of the user's text, unpacked."""
    statements: int = 0
    """Of the graph."""

    @property
    def facts_bytes(self) -> float:
        """Of the graph as text."""
        return SPOKEN * self.statements


def look(order: Order, data: DataConfig) -> Inputs:
    """Glance at text and graph.

    Raises:
        InputError: one of them is missing, empty or unreadable, or not what it has to be.
        FormatError, StorageError: the graph is damaged, or cannot be reached.
    """
    return Inputs(_text_bytes(order.text, data) if order.text else 0.0, _statements(order.graph) if order.graph else 0)


def is_graph(location: str) -> bool:
    """Whether it is a graph already, and no file to be read into one.

    Raises:
        InputError: there is nothing there.
    """
    if "://" in location:
        return True
    with open_input(Path(location)) as file:
        return file.peek(len(_SQLITE)) == _SQLITE


def _text_bytes(text: str, data: DataConfig) -> float:
    if text == EMBEDDED:
        return EMBEDDED_BYTES
    with open_corpus(text, data) as corpus:
        _begin_reading(corpus)
        total = sum(file.bytes * (UNPACKED if file.name.lower().endswith(".gz") else 1.0) for file in corpus.files)
    if not total:
        raise InputError(f"{text} is empty.", remedy="Give a file or folder with text.")
    return total


def _begin_reading(corpus: Corpus) -> None:
    """The first piece of each file: what cannot be read is told before an hour is spent."""
    for file in () if corpus.config.skip_bad else corpus.files[:_LOOKED_AT]:
        next(corpus.pieces(file), None)


def _statements(location: str) -> int:
    if location == EMBEDDED:
        return len(facts())
    if not is_graph(location):
        return _lines(Path(location))
    store = open_store(location, read_only=True)
    try:
        if not store.capabilities.readable_whole:
            raise InputError(
                f"{location} is too far away to learn from.", remedy="Export what is needed, and build on that file."
            )
        counted = store.counts().triples
    finally:
        store.close()
    if not counted:
        raise InputError(f"{location} holds no statements.", remedy="Import some: `gz graph import FILE --graph DB`.")
    return counted


def _lines(path: Path) -> int:
    """Lines of a file, from those of its beginning.

    Raises:
        InputError: it is empty, or of no format known.
    """
    with open_input(path) as file:
        detect(file)
        sample = file.read(_SAMPLE)
        if len(sample) < _SAMPLE:
            return max(1, sample.count(b"\n"))
        return max(1, round(sample.count(b"\n") * file.size / max(1, file.position())))
