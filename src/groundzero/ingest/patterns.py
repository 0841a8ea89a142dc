"""Facts from prose about anything: two names in one sentence, and the words between them.

A pattern is a few words between a thing of one type and a thing of another: `human -was born in- city`. It is learnt by
distant supervision, from sentences that name two things which the graph joins, and judged on the sentences of other
documents: how many of the pairs that it finds there are facts. Pairs whose first end the graph says nothing of do not
count. Only patterns above a bar are kept; they can be read, and are, in `patterns.json`.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.errors import FormatError
from groundzero.graph.nouns import EntityId, RelationId
from groundzero.ingest.facts import Facts
from groundzero.ingest.gazetteer import Gazetteer, Mention
from groundzero.ingest.words import Sentence, sentences
from groundzero.run.files import write_atomic

SCHEMA = 1
_FURTHEST = 10  # words between two names
_TRUSTED = ("name", "inflected", "demonym")
_SHRINK = 2.0  # imaginary pairs, right as often as the relation's patterns are on average
_LEAST_PAIRS = 3  # different pairs that a pattern must have found

Key = tuple[str, str, str]
"""Type of the first, words between, type of the second."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a pattern means. `turned`: the second name is the subject."""

    relation: RelationId
    turned: bool
    precision: float
    """On documents it was not learnt from, shrunk towards that of its relation."""
    pairs: int


@dataclass(frozen=True, slots=True)
class Match:
    """A fact that a pattern found; characters of the sentence."""

    subject: EntityId
    relation: RelationId
    object: EntityId
    start: int
    end: int
    precision: float


@dataclass(frozen=True, slots=True)
class _Pair:
    key: Key
    first: EntityId
    second: EntityId
    start: int
    end: int


class Patterns:
    """Patterns that were kept, by what they match."""

    def __init__(self, kept: dict[Key, Pattern], facts: Facts, gazetteer: Gazetteer) -> None:
        self.kept, self._facts, self._gazetteer = kept, facts, gazetteer

    def find(self, text: str) -> list[Match]:
        """The facts that a text states in words that are known."""
        found: dict[tuple[EntityId, RelationId, EntityId], Match] = {}
        for pair in _pairs(sentences(text), self._gazetteer, self._facts):
            pattern = self.kept.get(pair.key)
            if pattern is not None:
                subject, target = (pair.second, pair.first) if pattern.turned else (pair.first, pair.second)
                match = Match(subject, pattern.relation, target, pair.start, pair.end, pattern.precision)
                held = found.get((subject, pattern.relation, target))
                if held is None or held.precision < match.precision:
                    found[subject, pattern.relation, target] = match
        return list(found.values())

    def save(self, path: Path, labels: dict[RelationId, str]) -> None:
        """Write them for people and for later: the surest first."""
        rows = [
            {
                "first": key[0], "words": key[1], "second": key[2], "relation": each.relation,
                "means": labels.get(each.relation, ""), "turned": each.turned,
                "precision": round(each.precision, 4), "pairs": each.pairs,
            }
            for key, each in sorted(self.kept.items(), key=lambda item: (-item[1].precision, item[0]))
        ]  # fmt: skip
        write_atomic(path, json.dumps({"schema": SCHEMA, "patterns": rows}, indent=1, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: Path, facts: Facts, gazetteer: Gazetteer) -> Patterns:
        """Read them back. Raises FormatError where the file is damaged."""
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise ValueError(f"version {content['schema']}")
            kept = {
                (str(row["first"]), str(row["words"]), str(row["second"])): Pattern(
                    int(row["relation"]), bool(row["turned"]), float(row["precision"]), int(row["pairs"])
                )
                for row in content["patterns"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} cannot be read: {error}.", remedy="Delete it; it is learnt again.") from None
        return cls(kept, facts, gazetteer)


def learn_patterns(texts: Iterable[str], facts: Facts, gazetteer: Gazetteer, *, precision: float = 0.85) -> Patterns:
    """Patterns that these texts show, right at least so often on texts they were not learnt from."""
    halves: list[dict[Key, set[tuple[EntityId, EntityId]]]] = [defaultdict(set), defaultdict(set)]
    for text in texts:
        half = zlib.crc32(text[:1000].encode(errors="replace")) % 2  # whatever the order of the texts
        for pair in _pairs(sentences(text), gazetteer, facts):
            if pair.first in facts.by_subject or pair.second in facts.by_subject:
                halves[half][pair.key].add((pair.first, pair.second))
    proposed = [_meanings(half, facts) for half in halves]
    kept: dict[Key, Pattern] = {}
    average = _averages(proposed, halves, facts)
    for key in {**proposed[0], **proposed[1]}:
        meaning = _agreed(key, proposed)
        if meaning is None or average.get(meaning, 0.0) < precision / 2:
            continue
        # each half's pairs are judged by a meaning that the other half proposed; one that only one half proposes is
        # judged on the other
        unseen = {
            pair
            for half, others in ((0, 1), (1, 0))
            if proposed[others].get(key) == meaning
            for pair in halves[half][key]
        }
        right = sum(_is_fact(pair, meaning, facts) for pair in unseen)
        counted = sum(_is_known(pair, meaning, facts) for pair in unseen)
        share = (right + _SHRINK * average[meaning]) / (counted + _SHRINK)
        pairs = len(halves[0][key] | halves[1][key])
        if share >= precision and pairs >= _LEAST_PAIRS and counted >= 2:
            kept[key] = Pattern(*meaning, share, pairs)
    return Patterns(kept, facts, gazetteer)


Meaning = tuple[RelationId, bool]


def _meanings(half: dict[Key, set[tuple[EntityId, EntityId]]], facts: Facts) -> dict[Key, Meaning]:
    """The relation that most of a pattern's pairs stand in, if at least half of them do."""
    found = {}
    for key, pairs in half.items():
        counts: Counter[Meaning] = Counter()
        for first, second in pairs:
            counts.update((relation, False) for relation in facts.between(first, second))
            counts.update((relation, True) for relation in facts.between(second, first))
        if counts:
            meaning, count = max(counts.items(), key=lambda item: (item[1], not item[0][1], -item[0][0]))
            if count >= 1 and count >= 0.5 * sum(_is_known(pair, meaning, facts) for pair in pairs):
                found[key] = meaning
    return found


def _averages(
    proposed: Sequence[dict[Key, Meaning]], halves: Sequence[dict[Key, set[tuple[EntityId, EntityId]]]], facts: Facts
) -> dict[Meaning, float]:
    """How often the patterns of a relation are right on the half they were not proposed by."""
    right: Counter[Meaning] = Counter()
    counted: Counter[Meaning] = Counter()
    for own, other in ((0, 1), (1, 0)):
        for key, meaning in proposed[own].items():
            for pair in halves[other].get(key, ()):
                counted[meaning] += _is_known(pair, meaning, facts)
                right[meaning] += _is_fact(pair, meaning, facts)
    return {meaning: right[meaning] / count for meaning, count in counted.items() if count}


def _agreed(key: Key, proposed: Sequence[dict[Key, Meaning]]) -> Meaning | None:
    """What a pattern means by both halves, or by the only one that says; None where they differ."""
    found = {each[key] for each in proposed if key in each}
    return found.pop() if len(found) == 1 else None


def _is_fact(pair: tuple[EntityId, EntityId], meaning: Meaning, facts: Facts) -> bool:
    subject, target = (pair[1], pair[0]) if meaning[1] else pair
    return (meaning[0], target) in facts.by_subject.get(subject, ())


def _is_known(pair: tuple[EntityId, EntityId], meaning: Meaning, facts: Facts) -> bool:
    """Whether the graph says anything of the subject, so that its silence means something."""
    return bool(facts.by_subject.get(pair[1] if meaning[1] else pair[0]))


def _pairs(found: Sequence[Sentence], gazetteer: Gazetteer, facts: Facts) -> Iterator[_Pair]:
    """Neighbouring names, and names with one other between them."""
    for sentence in found:
        named = [(each, _meaning(each)) for each in gazetteer.find(sentence)]
        sure = [(mention, entity) for mention, entity in named if entity is not None]
        for i, (first, one) in enumerate(sure):
            for second, two in sure[i + 1 : i + 3]:
                between = sentence.words[first.end : second.start]
                if one == two or len(between) > _FURTHEST:
                    continue
                words = " ".join("0" if word[0].isdigit() else word for word in between)
                key = (facts.type(one), words, facts.type(two))
                yield _Pair(key, one, two, sentence.start, sentence.end)


def _meaning(mention: Mention) -> EntityId | None:
    """What a mention means, if only one thing has that name."""
    named = [entity for entity, kind in mention.meanings if kind in _TRUSTED]
    return named[0] if len(named) == 1 else None
