"""What kind of answer a question wants: things, how many of them, the first or last by some measure, or yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal as OneOf

from groundzero.ground.hops import HopTable
from groundzero.ground.lexicon import load_lexicon
from groundzero.ground.words import Word, content, stems

_ASKING = frozenset(("is", "are", "was", "were", "does", "do", "did", "has", "have", "had", "can", "whether", "if"))
_WHETHER = frozenset(product(("is", "was"), ("it", "this", "that"), ("true", "right", "correct", "so")))
"""What may stand before a claim: "is it true that"."""
_COUNTING = (("how", "many"), ("number", "of"), ("count", "of"), ("total", "of"))
_COUNTED = frozenset({"answers", "results", "are", "were", "there"})
"""What may stand between that and what is asked: "how many answers are there: where is E"."""
_MOST = {"most": "max", "highest": "max", "largest": "max", "greatest": "max", "maximum": "max", "biggest": "max",
         "least": "min", "lowest": "min", "smallest": "min", "fewest": "min", "minimum": "min"}  # fmt: skip


NAMED = 0.3
"""Share that a superlative must have in a relation's name to belong to it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the things a question is about become its answer."""

    kind: OneOf["things", "count", "extreme", "exists"] = "things"
    said: frozenset[int] = frozenset()
    """Places of the words that say so: no relation need explain them."""
    measures: tuple[tuple[str, str], ...] = ()
    """Of extreme: (name of a relation with literals, "min" or "max"), the most likely first; an empty name for
    whichever relation the words behind it name."""


def read_shape(words: Sequence[Word], table: HopTable, named: frozenset[int] = frozenset()) -> Shape:
    """The shape of a question, by its first words and its superlatives.

    A superlative that names a relation ("highest point") is no superlative.

    Args:
        named: places of words that belong to names; "the Count of Monte Cristo" counts nothing.
    """
    texts = ["" if place in named else word.text for place, word in enumerate(words)]
    if texts and texts[0] in _ASKING and "or" not in texts:
        whether = tuple(texts[:3]) in _WHETHER
        return Shape("exists", frozenset(range(3 + (texts[3:4] == ["that"])) if whether else {0}))
    for place in range(len(texts) - 1):
        if (texts[place], texts[place + 1]) in _COUNTING:
            asked = (after for after in range(place + 2, len(texts)) if texts[after] not in _COUNTED)
            return Shape("count", frozenset(range(place, next(asked, len(texts)))))
    lexicon = load_lexicon()
    for place, text in enumerate(texts):
        said = frozenset({place} | ({place - 1} if place and texts[place - 1] in ("most", "least") else set()))
        end = _MOST.get(text) or ("min" if text in ("least",) else "")
        known = lexicon.superlatives.get(text, ())
        own = table.features.get(f"u:{words[place].stem}")
        if (known or end) and (own is None or own[1].max() < NAMED):
            said |= _measured(words, table) if end else frozenset()
            return Shape("extreme", said, ((("", end),) if end else ()) + known)
    return Shape()


def _measured(words: Sequence[Word], table: HopTable) -> frozenset[int]:
    """Places of the words that name a relation with literals: the "jersey number" of "the highest jersey number"."""
    places = {word.stem: place for place, word in enumerate(words)}
    for relation in table.relations:
        name = content(stems(relation.label))
        if relation.id in table.literal and all(word in places for word in name):
            return frozenset(places[word] for word in name)
    return frozenset()
