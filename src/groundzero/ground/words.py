"""Words of a question as the reasoner compares them: folded, stemmed, with where they stand in the text.

No model and no download: a few English suffix rules, the irregular verbs of common relations, and a list of words that
carry no relation. Words of other languages fall through the rules unchanged, so labels still match letter by letter.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from groundzero.graph.folding import placed_tokens

_SILENT_TEXT = """
a an the of in on at to for from by with into about as and or is are was were am be been being do does did done has have
had having this that these those it its he she him his her hers they them their theirs i me my we us our you your
what which who whom whose when where why how s t there here please tell give show list find say know let can could
would should may might will shall must if then than also any some all both each every other one ones get got so
name named called exactly just currently ever
"""
SILENT = frozenset(_SILENT_TEXT.split())
"""Words that need no relation to explain them."""

_IRREGULAR = {
    "born": "birth", "bore": "birth", "births": "birth", "died": "die", "dies": "die", "dying": "die", "dead": "die",
    "death": "die", "deaths": "die", "wrote": "write", "written": "write", "writer": "writer", "sang": "sing",
    "sung": "sing", "won": "win", "wins": "win", "built": "build", "founded": "found", "founder": "founder",
    "led": "lead", "spoke": "speak", "spoken": "speak", "made": "make", "wore": "wear", "worn": "wear",
    "taught": "teach", "held": "hold", "went": "go", "wed": "marry", "wives": "wife", "children": "child",
    "people": "person", "persons": "person", "men": "man", "women": "woman", "cities": "city", "countries": "country",
    "nationalities": "nationality", "buried": "bury", "began": "begin", "begun": "begin", "lies": "lie", "lay": "lie",
    "chose": "choose", "drew": "draw", "flew": "fly", "grew": "grow", "ran": "run", "sold": "sell", "shot": "shoot",
    "drawn": "draw", "fought": "fight", "left": "leave", "lives": "live", "leaves": "leave", "owns": "own",
    "mum": "mother", "mom": "mother", "mommy": "mother", "dad": "father", "daddy": "father", "papa": "father",
    "kid": "child", "does": "do", "goes": "go", "kids": "child", "aged": "age",
}  # fmt: skip
_VOWELS = "aeiouy"


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The part of a folded English word that its forms share: "directed" and "directs" are both "direct"."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return stem(word[:-1])
    for suffix in ("ing", "ed"):
        rest = word[: -len(suffix)]
        if word.endswith(suffix) and len(rest) >= 3 and any(letter in _VOWELS for letter in rest):
            return _closed(rest)
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def _closed(rest: str) -> str:
    """What is left of a verb without its ending, as the verb's own stem: "marri" is "marry", "runn" is "run"."""
    if rest.endswith("i"):
        return rest[:-1] + "y"
    if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lszaeo":
        return rest[:-1]
    return rest


class Word(NamedTuple):
    """A word of a question."""

    text: str
    """Folded."""
    stem: str
    start: int
    """First character in the question."""
    end: int


def read_words(text: str) -> list[Word]:
    """The words of `text`; "grandmother" is two, `grand` and `mother`, because it is two steps."""
    words = []
    for token, start, end in placed_tokens(text):
        for prefix in ("grand", "great"):
            if token.startswith(prefix) and len(token) >= len(prefix) + 3 and _is_kin(token[len(prefix) :]):
                words.append(Word(prefix, prefix, start, start + len(prefix)))
                token, start = token[len(prefix) :], start + len(prefix)  # noqa: PLW2901 - the rest of the same token
        words.append(Word(token, stem(token), start, end))
    return words


_COURTESY = re.compile(
    r"""\W*(?:(?:hi|hello|hey|please|thanks|okay|ok|so|well)\b\W*)*
        (?:(?:can|could|would|will)\s+you\s+(?:please\s+|kindly\s+)?(?:tell|say|show|give|let)\b(?:\s+to)?
              (?:\s+(?:me|us))?(?:\s+know)?
          |do\s+you\s+(?:happen\s+to\s+)?know
          |(?:i|we)(?:\s+would|\s+should|['\u2019]d)\s+(?:like|love)\s+to\s+(?:know|ask|hear|learn)
          |(?:i|we)\s+(?:want|need|wish)\s+to\s+know
          |(?:i|we)\s+(?:wonder|am\s+wondering|are\s+wondering)
          |(?:tell|show|give)\s+(?:me|us))\b\W*(?:please\b\W*)?""",
    re.IGNORECASE | re.VERBOSE,
)


def read_question(text: str) -> list[Word]:
    """The words of what is asked, without "could you please tell me": that asks for no verdict, and for no relation."""
    words, courtesy = read_words(text), _COURTESY.match(text)
    asked = [word for word in words if courtesy is None or word.start >= courtesy.end()]
    return asked or words


_KIN_TEXT = """
father mother parent son daughter child dad mom mum pa ma kid uncle aunt nephew niece grandfather grandmother
grandparent grandson granddaughter grandchild
"""
_KIN = frozenset(_KIN_TEXT.split())


def _is_kin(word: str) -> bool:
    return word in _KIN or stem(word) in _KIN


def stems(text: str) -> list[str]:
    """The stems of a label or phrase, silent words included."""
    return [word.stem for word in read_words(text)]


def content(words: list[str]) -> list[str]:
    """Those that are not silent; all of them where nothing else is left."""
    return [word for word in words if word not in SILENT] or words
