"""Sentences and questions made from templates, and which sentence suits a question."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence

_EMPTY = frozenset("is are was were do does did the a an of in by to what who wher whic when".split())  # noqa: SIM905
"""Stems of words that every question has."""


def fitting(sentences: Sequence[str], asked: str, rng: random.Random) -> str:
    """The sentence that takes up most of a question's words: who asks where somebody was born is told that."""

    def stems(text: str) -> set[str]:
        return {word[:4] for word in re.findall(r"\w+", re.sub(r"\{\w+\}", " ", text.lower()))} - _EMPTY

    wanted = stems(asked)
    scores = [(len(stems(each) & wanted) - len(stems(each) - wanted) / 8, rng.random(), each) for each in sentences]
    return max(scores)[2]


def worn(question: str, names: Collection[str], rng: random.Random) -> str:
    """A question of which words have gone, as people type them: "neighbours Lausanne", or just "Lausanne?".

    Args:
        names: what stays whole.
    """
    whole = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
    parts = re.findall(rf"(?:{whole})|\w+|[^\w\s]+" if whole else r"\w+|[^\w\s]+", question)
    gone = rng.uniform(0.2, 1.0)
    kept = [part for part in parts if part in names or rng.random() >= gone]
    return re.sub(r" (?=[?.,;:'])", "", " ".join(kept)) or question


def within(template: str) -> str:
    """A template as it reads in the middle of a sentence."""
    return "the" + template[3:] if template.startswith("The ") else template


def put(template: str, subject: str, object_: str) -> str:
    """A template with its ends filled in; a name that looks like a placeholder stays a name."""
    return template.replace("{subject}", "\0").replace("{object}", object_).replace("\0", subject)


def filled(template: str, subject: str, object_: str) -> str:
    """The same at the beginning of a text."""
    text = put(template, subject, object_)
    return text[:1].upper() + text[1:]
