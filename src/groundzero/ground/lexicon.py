"""What English calls common relations: a small table written by hand, so that a stranger's graph can be asked at once.

A row of `lexicon.json` names relations (as labels of graphs do) and lists further ways of asking for the object and for
the subject. It is general English, the same for every graph; what a graph itself says (labels, aliases, templates) and
what question-answer pairs teach come on top.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from groundzero.ground.words import content, stem, stems

KINDS = ("person", "place", "organization", "date", "number")
"""What an answer can be, as far as a question word tells; anything else is a thing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of relation and its wordings."""

    names: tuple[str, ...]
    ask: tuple[str, ...]
    back: tuple[str, ...]
    answer: str
    """Kind of the objects; empty or `thing` where any."""
    of: str
    """Kind of the subjects."""


@dataclass(frozen=True)
class Lexicon:
    """The table, read."""

    rows: tuple[Row, ...]
    synonyms: dict[str, tuple[str, ...]]
    """Stems to stems that may stand for them."""
    kind_of: dict[str, str]
    """Question words and general nouns, stemmed, to the kind of answer they ask for."""
    superlatives: dict[str, tuple[tuple[str, str], ...]]
    """Folded words to (name of a relation with literals, "min" or "max"), the most likely first."""
    named: dict[frozenset[str], tuple[Row, ...]]
    """Content stems of a name to the rows that have it."""

    def rows_for(self, name: str) -> tuple[Row, ...]:
        """Rows about a relation called `name`."""
        return self.named.get(frozenset(content(stems(name))), ())


@cache
def load_lexicon() -> Lexicon:
    """The table that ships with the package."""
    text = resources.files("groundzero.ground").joinpath("lexicon.json").read_text(encoding="utf-8")
    raw: dict[str, Any] = json.loads(text)
    rows = tuple(
        Row(
            tuple(row["names"]), tuple(row.get("ask", ())), tuple(row.get("back", ())), row.get("answer", ""),
            row.get("of", ""),
        )
        for row in raw["relations"]
    )  # fmt: skip
    synonyms: dict[str, set[str]] = {}
    for group in raw["words"]:
        members = {stem(word) for word in group}
        for member in members:
            synonyms.setdefault(member, set()).update(members - {member})
    kind_of = {stem(word): kind for kind, words in raw["kinds"].items() for word in words}
    named: dict[frozenset[str], list[Row]] = {}
    for row in rows:
        for name in row.names:
            held = named.setdefault(frozenset(content(stems(name))), [])
            if row not in held:
                held.append(row)
    return Lexicon(
        rows,
        {word: tuple(sorted(others)) for word, others in synonyms.items()},
        kind_of,
        {word: tuple((name, end) for name, end in pairs) for word, pairs in raw["superlatives"].items()},
        {key: tuple(value) for key, value in named.items()},
    )
