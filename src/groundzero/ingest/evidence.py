"""What a page says around each mention of an entity: the features from which a relation is recognised.

The page is about its subject, so that every sentence speaks of it unless shown otherwise: pairs are (subject, mention).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groundzero.graph.nouns import EntityId
from groundzero.ingest.gazetteer import FormKind, Gazetteer, Mention
from groundzero.ingest.words import Sentence

_WINDOW = 8
_LIST_WORDS = {",", "and", "or", "&", "as", "well", "the", "a", "an", "/", ";"}
_COPULAS = {"is", "was", "are", "were", "be", "being", "been"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One mention of one entity on a page."""

    object: EntityId
    kind: FormKind
    form: str
    sentence: int
    start: int
    """Characters of the mention in the page's text."""
    end: int
    sentence_start: int
    sentence_end: int
    features: tuple[str, ...]


def page_evidence(found_sentences: Sequence[Sentence], gazetteer: Gazetteer, subject: EntityId) -> list[Evidence]:
    """Every mention of something other than the subject, with its surroundings."""
    evidence = []
    for number, sentence in enumerate(found_sentences):
        mentions = gazetteer.find(sentence)
        in_mention = [False] * len(sentence.words)
        for mention in mentions:
            for i in range(mention.start, mention.end):
                in_mention[i] = True
        depth = _depths(sentence.words)
        for order, mention in enumerate(mentions):
            features = (
                *_around(sentence, mention, number, in_mention, depth),
                f"order={min(order, 6)}/{min(number, 1)}",
            )
            form = " ".join(sentence.words[mention.start : mention.end])
            evidence += [
                Evidence(
                    meaning, kind, form, number, sentence.starts[mention.start], sentence.ends[mention.end - 1],
                    sentence.start, sentence.end, (*features, f"kind={kind}"),
                )
                for meaning, kind in mention.meanings
                if meaning != subject
            ]  # fmt: skip
    return evidence


def _around(
    sentence: Sentence, mention: Mention, number: int, in_mention: Sequence[bool], depth: Sequence[int]
) -> list[str]:
    """Context features of one mention, each a readable pattern."""
    found_words, i, j = sentence.words, mention.start, mention.end
    left = [_shape(word) for word in found_words[max(0, i - _WINDOW) : i]]
    right = [_shape(word) for word in found_words[j : j + 4]]
    place = "first" if number == 0 else "early" if number < 3 else "late"
    features = [f"at={place}", f"depth={min(depth[i], 1)}/{place}"]
    for length in (1, 2, 3):
        features.append("left=" + " ".join(left[-length:]) if len(left) >= length else "left=^")
    for length in (1, 2):
        features.append("right=" + " ".join(right[:length]))
    features += [f"near={word}" for word in set(left) if len(word) > 2]
    features += [f"after={word}" for word in set(right) if len(word) > 2]
    head = _list_head(found_words, i, in_mention)
    features += [f"head={' '.join(head[-length:])}" for length in (1, 2, 3) if len(head) >= length]
    verb = _first_copula(found_words)
    features.append(f"copula={'before' if verb is not None and verb < i else 'after'}/{place}")
    if verb is not None and verb < i:
        features.append(f"distance={min((i - verb) // 3, 5)}/{place}")
    return features


def _list_head(found_words: Sequence[str], i: int, in_mention: Sequence[bool]) -> list[str]:
    """Words before the list that the mention stands in: `was an` for every trade of `was an actor, singer and poet`."""
    k = i - 1
    while k >= 0 and (in_mention[k] or found_words[k] in _LIST_WORDS):
        k -= 1
    return [_shape(word) for word in found_words[max(0, k - 2) : k + 1]]


def _first_copula(found_words: Sequence[str]) -> int | None:
    return next((k for k, word in enumerate(found_words) if word in _COPULAS), None)


def _depths(found_words: Sequence[str]) -> list[int]:
    """Parentheses open at each word."""
    depths, depth = [], 0
    for word in found_words:
        depth = max(0, depth + (word in "([") - (word in ")]"))
        depths.append(depth)
    return depths


def _shape(word: str) -> str:
    return "0" if word[0].isdigit() else word
