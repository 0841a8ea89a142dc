"""Facts to sentences: telling, asking, riddling, listing. They begin small; `phrases.sentence` makes the capital."""

from __future__ import annotations

import random
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from groundzero.data.embedded.phrases import Words, fill, words
from groundzero.data.embedded.tables import entities, facts, folder

# More objects than this in one sentence tire the reader, and the small model.
LONGEST_LIST = 5

POSSESSIVE = {"it": "its", "he": "his", "she": "her"}


@cache
def templates() -> Mapping[str, Mapping[str, list[str]]]:
    """The sentence templates of each relation."""
    return tomllib.loads((folder() / "prose" / "templates.toml").read_text(encoding="utf-8"))


@cache
def frames() -> Mapping[str, Any]:
    """What stands around the facts."""
    return tomllib.loads((folder() / "prose" / "frames.toml").read_text(encoding="utf-8"))


@cache
def objects_of() -> Mapping[str, Mapping[str, list[str]]]:
    """subject -> relation -> objects."""
    table: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for fact in facts():
        table[fact.subject][fact.relation].append(fact.object)
    return table


@cache
def subjects_of() -> Mapping[str, Mapping[str, list[str]]]:
    """object -> relation -> subjects."""
    table: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for fact in facts():
        table[fact.object][fact.relation].append(fact.subject)
    return table


def tell(rng: random.Random, subject: str, relation: str, objects: Sequence[str], *, pronoun: bool = False) -> str:
    """A statement about the subject, by name or by pronoun."""
    forms = templates()[relation]
    number = "one" if len(objects) == 1 else "many"
    if pronoun:
        choices = forms.get("next", []) + forms.get(f"next_{number}", [])
    else:
        choices = forms.get("any", []) + forms.get(number, [])
    return fill(rng.choice(choices), _slots(subject, objects))


def tell_inverse(rng: random.Random, relation: str, subjects: Sequence[str], object_: str) -> str:
    """A statement from the object's side; only for relations with `inverse` templates."""
    return fill(
        rng.choice(templates()[relation]["inverse"]), {"s": [words(s) for s in subjects], "o": [words(object_)]}
    )


def tell_members(rng: random.Random, relation: str, subjects: Sequence[str], object_: str) -> str:
    """Several subjects that share the object; only for relations with `members` templates."""
    return fill(
        rng.choice(templates()[relation]["members"]), {"s": [words(s) for s in subjects], "o": [words(object_)]}
    )


def ask(rng: random.Random, subject: str, relation: str) -> str:
    """A question that `tell` answers."""
    return fill(rng.choice(templates()[relation]["ask"]), {"s": [words(subject)]})


def ask_inverse(rng: random.Random, relation: str, object_: str) -> str:
    """A question that `tell_inverse` answers."""
    return fill(rng.choice(templates()[relation]["ask_inverse"]), {"o": [words(object_)]})


def clue(rng: random.Random, subject: str, relation: str, objects: Sequence[str]) -> str:
    """A statement by the subject about itself."""
    return fill(rng.choice(templates()[relation]["clue"]), _slots(subject, objects))


def shorten(rng: random.Random, objects: Sequence[str]) -> list[list[str]]:
    """A long list of objects as parts short enough for one sentence each."""
    if len(objects) <= LONGEST_LIST:
        return [list(objects)]
    mixed = list(objects)
    rng.shuffle(mixed)
    n_parts = -(-len(mixed) // LONGEST_LIST)
    return [mixed[i::n_parts] for i in range(n_parts)]


def topic_of(subject: str) -> str:
    """The plain noun for things of the subject's type: "planets"."""
    return str(frames()["types"][entities()[subject].type]["topic"])


def _slots(subject: str, objects: Sequence[str]) -> Mapping[str, Sequence[Words] | str]:
    named = words(subject)
    return {
        "s": [named],
        "o": [words(o) for o in objects],
        "it": named.pronoun,
        "its": POSSESSIVE[named.pronoun],
    }
