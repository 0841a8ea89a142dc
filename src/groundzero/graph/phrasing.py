"""How a relation is said in English: sentences, questions for the object, and questions for the subject.

From what the graph says of the relation first (templates, questions, the name of the way back), then from a table of
common relations, then from the form of its label: `founded by`, `plays in club`, `member of`, `place of birth`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise, takewhile
from typing import Any

from groundzero.graph.derived import relation_label
from groundzero.graph.folding import form
from groundzero.graph.nouns import Relation


@dataclass(frozen=True, slots=True)
class Phrasing:
    """Templates for one relation; there is at least one of each."""

    sentences: tuple[str, ...]
    """With {subject} and {object}."""
    questions: tuple[str, ...]
    """With {subject}; the answer is the object."""
    inverse: tuple[str, ...]
    """With {object}; the answer is the subject."""

    def turned(self) -> Phrasing:
        """The same, said of the relation's inverse."""
        return Phrasing(_turned(self.sentences), _turned(self.inverse), _turned(self.questions))


def phrase(relation: Relation) -> Phrasing:
    """All ways to say a relation, the graph's own first."""
    general = phrase_label(_label_of(relation))
    inverse = general.inverse
    if relation.inverse:
        inverse = (*phrase_label(relation.inverse).turned().inverse, *inverse)
    questions = relation.questions or general.questions
    return Phrasing(
        tuple(dict.fromkeys(relation.templates or general.sentences)),
        tuple(dict.fromkeys((*questions, *(general.questions if relation.questions else ())))),
        tuple(dict.fromkeys(inverse)),
    )


def sayings(relation: Relation) -> tuple[str, ...]:
    """Every sentence that says this relation: the graph's own, those of common use, those in the words of its label."""
    own, usual = phrase(relation).sentences, phrase_label(_label_of(relation)).sentences
    return tuple(dict.fromkeys((*own, *usual, *plain_phrase(relation).sentences)))


def for_many(sentence: str, end: str) -> str:
    """A sentence in which `end` stands for several: "{subject} was born in {object}." has "were born".

    Only a verb right behind an `end` that the sentence begins with changes.
    """
    before, found, after = sentence.partition(end)
    verb, space, rest = after.strip().partition(" ")
    irregular = {"is": "are", "was": "were", "has": "have", "does": "do", "goes": "go"}
    if before or not found or not space:
        return sentence
    if verb in irregular:
        return f"{end} {irregular[verb]} {rest}"
    return f"{end} {verb[:-1]} {rest}" if verb.endswith("s") and not verb.endswith(("ss", "'s")) else sentence


def phrase_label(label: str) -> Phrasing:
    """All ways to say a relation of which nothing but its label is known."""
    words = label.replace("_", " ").split() or [label]
    if len(words) > 1 and words[-1].lower() == "inverse":
        return phrase_label(" ".join(words[:-1])).turned()
    known = _table().get(form(" ".join(words)))
    return known or _from_form(words)


def plain_phrase(relation: Relation) -> Phrasing:
    """All ways to say a relation in the words of its label, however common it is."""
    label = _label_of(relation)
    return _from_form(label.replace("_", " ").split() or [label])


def _label_of(relation: Relation) -> str:
    return relation.label if relation.label != relation.key else relation_label(relation.key) or relation.key


def is_person_word(word: str) -> bool:
    """Whether who, not what, is asked for by this noun."""
    return word.lower().removesuffix("s") in _words("persons") or word.lower() in (
        "children",
        "human",
        "person",
        "people",
    )


def _from_form(words: list[str]) -> Phrasing:
    text, first, last = " ".join(words), words[0].lower(), words[-1].lower()
    if first in ("is", "was", "are", "were"):
        return _copula(words)
    if _is_participle(first) and last in _words("prepositions"):
        return _participle(text, first)
    if _is_participle(first) and len(words) > 2 and words[1].lower() in _words("prepositions"):
        return _participle_of_kind(words)
    base = _base_form(first)
    if base is not None:
        return _verb(words, base)
    if last in _words("prepositions") and len(words) > 1:
        return _noun_of(text, first)
    if _is_participle(last) and len(words) > 1 and first not in ("date", "year", "time", "place", "location"):
        return _noun_done(text)
    return _noun(text, is_person_word(words[-1]))


def _copula(words: list[str]) -> Phrasing:
    """`is aged`, `is in country`, `was friend of`."""
    be, rest = words[0].lower(), " ".join(words[1:])
    if len(words) > 2 and words[1].lower() in _words("prepositions"):
        noun = " ".join(words[2:])
        question = f"{words[1].capitalize()} which {noun} {be} {{subject}}?"
    else:
        question = f"What {be} {{subject}} {rest}?"
    return Phrasing((f"{{subject}} {be} {rest} {{object}}.",), (question,), (f"Who or what {be} {rest} {{object}}?",))


def _participle(text: str, first: str) -> Phrasing:
    """`founded by`, `located in`."""
    be = "was" if first in _words("past") else "is"
    return Phrasing(
        (f"{{subject}} {be} {text} {{object}}.",),
        (f"What {be} {{subject}} {text}?",),
        (f"What {be} {text} {{object}}?",),
    )


def _participle_of_kind(words: list[str]) -> Phrasing:
    """`located in the administrative territorial entity`: what is asked for is named at the end."""
    be = "was" if words[0].lower() in _words("past") else "is"
    text, way = " ".join(words), " ".join(words[:2])
    kind = " ".join(words[3:] if len(words) > 3 and words[2].lower() in ("a", "an", "the") else words[2:])
    return Phrasing(
        (f"{{subject}} {be} {text} {{object}}.",),
        (f"Which {kind} {be} {{subject}} {way}?",),
        (f"What {be} {text} {{object}}?",),
    )


def _noun_done(text: str) -> Phrasing:
    """`award received`, `position held`, `languages spoken, written or signed`."""
    noun = takewhile(lambda word: not _is_participle(word.lower().rstrip(",")), text.split())
    be = "are" if _is_plural(" ".join(noun)) else "is"
    return Phrasing(
        (f"The {text} by {{subject}} {be} {{object}}.", f"{{object}} {be} the {text} by {{subject}}."),
        (f"What {be} the {text} by {{subject}}?",),
        (f"{{object}} {be} the {text} by whom?",),
    )


def _verb(words: list[str], base: str) -> Phrasing:
    """`treats`, `shares border with`, `plays position`, `plays in club`."""
    text, rest = " ".join(words), words[1:]
    if not rest or rest[-1].lower() in _words("prepositions") or rest[-1].lower() in ("out", "up", "off"):
        question = f"What does {{subject}} {' '.join([base, *rest])}?"
    elif rest[0].lower() in _words("prepositions"):
        question = f"Which {' '.join(rest[1:])} does {{subject}} {base} {rest[0]}?"
    else:
        question = f"Which {' '.join(rest)} does {{subject}} {base}?"
    return Phrasing((f"{{subject}} {text} {{object}}.",), (question,), (f"Who or what {text} {{object}}?",))


def _noun_of(text: str, first: str) -> Phrasing:
    """`member of`, `capital of`."""
    article = (
        ""
        if first in _words("no_article")
        else "the "
        if first in _words("the")
        else "an "
        if first[0] in "aeiou"
        else "a "
    )
    who = "Who" if is_person_word(first) else "What"
    return Phrasing(
        (f"{{subject}} is {article}{text} {{object}}.",),
        (f"What is {{subject}} {article}{text}?",),
        (f"{who} is {article}{text} {{object}}?",),
    )


def _noun(text: str, person: bool) -> Phrasing:
    """`place of birth`, `head coach`."""
    who, be = "Who" if person else "What", "are" if _is_plural(text) else "is"
    return Phrasing(
        (
            f"The {text} of {{subject}} {be} {{object}}.",
            f"{{object}} {be} the {text} of {{subject}}.",
            f"{{subject}}'s {text} {be} {{object}}.",
        ),
        (
            f"{who} {be} the {text} of {{subject}}?",
            f"{who} {be} {{subject}}'s {text}?",
            f"What can you say about the {text} of {{subject}}?",
        ),
        (f"What has {{object}} as its {text}?", f"{{object}} is the {text} of what?"),
    )


def _is_participle(word: str) -> bool:
    ends = word.endswith("ed") and not word.endswith("eed") and len(word) > 4  # breed, speed
    return word in _words("participles") or word in _words("past") or ends


def _is_plural(text: str) -> bool:
    """Whether a noun with what may follow it, `languages spoken` or `places of birth`, is in the plural."""
    words = text.lower().split() or [""]
    noun = next((before for before, word in pairwise(words) if word in _words("prepositions")), words[-1])
    return noun in ("children", "people") or (noun.endswith("s") and not noun.endswith(("ss", "us", "is")))


def _base_form(word: str) -> str | None:
    """`plays` as play, `carries` as carry; None where it is no verb that we know."""
    if word in ("has", "have"):
        return "have"
    prefix, hyphen, rest = word.rpartition("-")
    if hyphen:  # co-occurs
        base = _base_form(rest)
        return base and f"{prefix}-{base}"
    for ending, replaced in (("ies", "y"), ("es", ""), ("es", "e"), ("s", "")):
        if word.endswith(ending) and word[: len(word) - len(ending)] + replaced in _words("verbs"):
            return word[: len(word) - len(ending)] + replaced
    return None


def _turned(templates: tuple[str, ...]) -> tuple[str, ...]:
    swap = {"{subject}": "{object}", "{object}": "{subject}"}
    return tuple(re.sub(r"\{subject\}|\{object\}", lambda match: swap[match.group()], each) for each in templates)


@cache
def _data() -> Any:
    """The table of common relations, and the words that tell the form of a label."""
    return json.loads(files("groundzero.graph").joinpath("phrases.json").read_text(encoding="utf-8"))


@cache
def _words(kind: str) -> frozenset[str]:
    return frozenset(_data()["words"][kind].split())


@cache
def _table() -> dict[str, Phrasing]:
    return {
        form(label): Phrasing(tuple(found["sentences"]), tuple(found["questions"]), tuple(found["inverse"]))
        for label, found in _data()["relations"].items()
    }
