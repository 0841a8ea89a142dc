"""What "it" means: a question that names nothing of the graph goes on about something that was named before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from groundzero.ground.link import Linker
from groundzero.ground.words import read_words

_OWNED = re.compile(r"\b(its|their|his|her)\b(?! own)", re.IGNORECASE)
_MEANT = re.compile(r"\b(it|they|them|he|she|him|that one)\b", re.IGNORECASE)
_MARK = re.compile(r"\s*\[S\d+\]")
_TOPICS = 6
"""Names of before that are tried."""


def readings(question: str, history: Sequence[str], linker: Linker) -> list[str]:
    """The question as it stands; or, where it speaks of "it" and names nothing, once with each name said before, the
    newest turn's first.

    Args:
        history: what was said before, oldest first, questions and answers.
    """
    speaks_of_it = _OWNED.search(question) or _MEANT.search(question)
    if not history or not speaks_of_it or any(link.exact for link in linker.link(question, read_words(question))):
        return [question]
    names = islice(dict.fromkeys(_names(history, linker)), _TOPICS)
    return [_with(question, name) for name in names] or [question]


def _names(history: Sequence[str], linker: Linker) -> Iterator[str]:
    """What was named, the last turn first; in a turn, the name that was said last first."""
    for text in reversed(history):
        plain = _MARK.sub("", text)
        links = [link for link in linker.link(plain, read_words(plain)) if link.exact]
        longest: list[str] = []
        taken: set[int] = set()
        for link in sorted(links, key=lambda link: (-len(link.words), -link.last)):
            if not link.words & taken:
                taken |= link.words
                longest.append(link.surface)
        yield from sorted(longest, key=plain.rfind, reverse=True)


def _with(question: str, name: str) -> str:
    owned = f"{name}'" if name.endswith("s") else f"{name}'s"
    once = _OWNED.sub(lambda _: owned, question, count=1)
    return once if once != question else _MEANT.sub(lambda _: name, question, count=1)
