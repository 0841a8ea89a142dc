"""How well each word of a question asks for each hop: what is known beforehand, plus what pairs have taught.

The score of a word for a hop is MATCH times how much the word names the relation (`hops.HopTable.features`), less
UNEXPLAINED for a telling word that does not, plus its agreement with the kind of thing the hop leads to ("who" with
persons), plus learnt weights of the word and its neighbours. It is additive, so that a stretch of words costs a
difference of two cumulative sums, and a path is the best way to cut the question into stretches (`alignment`).

Shapes: N words of a question (those of the mention taken out), C hops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import JaroWinkler

from groundzero.ground.hops import ENTITY, HopTable, kind_of
from groundzero.ground.lexicon import KINDS
from groundzero.ground.words import SILENT, Word, stem

MATCH = 4.0
UNEXPLAINED = 2.0
NAME = 3.0
"""How many times as much it costs to leave a name unexplained."""
KIND = 1.5
HOP = -1.6
"""What every hop of a path costs: its words must pay for it."""
BACKWARDS = -0.2
CUT = 2.0
"""What it adds to begin a hop at "of" or "'s": there the next relation is said."""
WITHIN = -2.0
"""Of beginning a hop within the name of a relation: "location of formation" is one, though "location" is another. Where
beginning one at its "of" gained as elsewhere, a needless hop won by 1.2 to 3.4."""
LONGEST = 7
"""Words of a relation's name that are looked for."""
_NO_CONNECTOR_AFTER = frozenset({"name", "names", "type", "kind", "sort", "title", "lot", "number", "example", "one"})
"""Behind these, "of" says no relation: "the name of E's father"."""
WRONG_KIND = -2.5
"""Of "who" for a hop to places."""
_WHERE_OR_WHO = [KINDS.index(kind) for kind in ("person", "place", "organization")]
_WHO = frozenset({"who", "whom", "whose"})
_ASKING = frozenset({"who", "whom", "whose", "where", "when", "how", "why"})
GENITIVE = -2.0
"""Of reading to the left of "E's" first: the genitive binds more tightly."""
OF = -1.0
"""Of reading to the right first in "the capital of E borders", where no genitive binds E to what is behind it: else
the two orders score alike."""
CLAUSE = -2.0
"""Of reading to the right first in "that the capital of E borders": the clause's subject is said before its verb."""
OBJECT = 0.6
"""Of a hop backwards for "in E", "from E": what is in E, or comes from E, has E for its object."""
_BEFORE_OBJECTS = frozenset({"in", "at", "from", "by", "on", "for"})
_CONNECTORS = frozenset({"of", "s", "that", "who", "which", "whose", "whom"})
_RELATIVE = frozenset({"that", "which", "who", "whom"})
_ANTECEDENTS = frozenset({"one", "ones", "thing", "person", "place"})
"""What a clause says more of."""
DOER = 0.85
"""Of "player" for "plays"."""
NEAR = 0.9
"""Jaro-Winkler similarity from which two words may be forms of one ("religious", "religion")."""


@dataclass
class Learned:
    """Weights that question-answer pairs taught (`learning.fit`)."""

    rows: dict[str, int] = field(default_factory=dict)
    """Feature to row of `weight_FC`."""
    weight_FC: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    bias_C: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    direction_2: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    """Of reading to the right of the mention first, and to the left first."""
    cut_rows: dict[str, int] = field(default_factory=dict)
    """Feature of the word that a hop begins with to place in `cut_F`."""
    cut_F: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    words: frozenset[str] = frozenset()
    """Stems met in the pairs: telling words among them need no explanation."""
    margin: float = 0.0
    """How much better than the best path here one found elsewhere may be before the answer is refused; 0: MARGIN."""


class PathScorer:
    """Words to scores of hops."""

    def __init__(self, table: HopTable, learned: Learned | None = None) -> None:
        self.table = table
        self.learned = learned
        self._inverse_C = np.array([hop.inverse for hop in table.hops], dtype=bool)
        self.bias_C = np.where(self._inverse_C, HOP + BACKWARDS, HOP) + (0.0 if learned is None else learned.bias_C)
        self._unigrams = [feature[2:] for feature in table.features if feature.startswith("u:")]
        self._near: dict[str, NDArray[np.float64]] = {}

    def match(self, words: Sequence[Word], covered: frozenset[int] = frozenset()) -> NDArray[np.float64]:
        """(N, C) how much each word names each hop by what is known beforehand; 1 where it is the hop's own label.

        Args:
            covered: places of words that belong to a mention.
        """
        match_NC = np.zeros((len(words), len(self.table)))
        row: list[tuple[str, int]] = []  # stems and their places; a mention is one of them
        for place, word in enumerate(words):
            if place not in covered:
                match_NC[place] = self._word(word.stem)
                row.append((word.stem, place))
            elif not row or row[-1][0] != ENTITY:
                row.append((ENTITY, place))
        for end in range(2, len(row) + 1):
            for length in range(2, min(end, 5) + 1):
                part = row[end - length : end]
                found = self.table.features.get(f"p:{' '.join(each for each, _ in part)}")
                if found is not None:
                    place = next(place for each, place in reversed(part) if each != ENTITY)
                    match_NC[place, found[0]] += found[1]
        return match_NC

    def scores(
        self, words: Sequence[Word], *, covered: frozenset[int] = frozenset(), names: frozenset[int] = frozenset()
    ) -> NDArray[np.float64]:
        """(N, C) score of giving each word to each hop.

        Args:
            words: of the question, in order.
            covered: places of words that belong to a mention; they score 0 and stand as ENTITY beside others.
            names: places of words that name something else, and so ask for nothing.
        """
        match_NC = self.match(words, covered)
        score_NC = MATCH * match_NC
        for place, word in enumerate(words):
            if place in covered:
                score_NC[place] = 0.0
                continue
            telling = NAME if place in names else self._is_telling(word)
            if telling:
                score_NC[place] -= telling * UNEXPLAINED * (1.0 - np.minimum(match_NC[place], 1.0))
            score_NC[place] += self._agreement(word, match_NC[place])
            if word.text in _BEFORE_OBJECTS and place + 1 in covered:
                score_NC[place, self._inverse_C] += OBJECT
        if self.learned is not None:
            for place, feature in learned_features(words, covered):
                row = self.learned.rows.get(feature)
                if row is not None:
                    score_NC[place] += self.learned.weight_FC[row]
        return score_NC

    def _agreement(self, word: Word, match_C: NDArray[np.float64]) -> NDArray[np.float64]:
        """(C,) how far each hop leads to the kind of thing that a word asks for."""
        share_C = self.leads_to(word)
        if share_C is None:
            return np.zeros(len(self.table))
        agreement_C = KIND * (share_C - 0.4)
        if word.text in _ASKING:
            agreement_C = np.where(self.contradicts(word), WRONG_KIND, agreement_C)
        return np.where(match_C > 0.3, np.maximum(agreement_C, 0.0), agreement_C)

    def leads_to(self, word: Word, *, loosely: bool = False) -> NDArray[np.float64] | None:
        """(C,) share of what each hop leads to that is of the kind a word asks for; None where it asks for none.

        Args:
            loosely: countries are asked for by "who" as well, and universities by "where".
        """
        kind = kind_of(word.stem)
        if kind is None:
            return None
        share_C: NDArray[np.float64] = self.table.kinds_CK[:, kind]
        if word.text in _WHO:  # who owns it, who developed it
            share_C = np.maximum(share_C, 0.3 * self.table.kinds_CK[:, KINDS.index("organization")])
        if loosely and word.text in (*_WHO, "where"):
            share_C = np.maximum(share_C, self.table.kinds_CK[:, _WHERE_OR_WHO].max(axis=1))
        return share_C

    def contradicts(self, word: Word, *, loosely: bool = False) -> NDArray[np.bool_]:
        """(C,) hops that are known to lead to other things than a question word asks for: "when" to places."""
        share_C = self.leads_to(word, loosely=loosely)
        known_C: NDArray[np.bool_] = self.table.kinds_CK.sum(axis=1) > 0.5
        if share_C is None or word.text not in _ASKING:
            return np.zeros_like(known_C)
        return known_C & (share_C < 0.1)

    def cuts(self, words: Sequence[Word], first: int, last: int) -> NDArray[np.float64]:
        """(N, N) what it adds to begin a hop with the second of two words, when the first ends the hop before.

        The second is further from the mention, which is words `first` to `last`: to the right of the first in the text,
        or to its left. What is said right beside the mention connects it to the first hop, so nothing is gained there.
        What was said before speaks of a second hop: "in which region is the region of E located".
        """
        count = len(words)
        cut_NN = np.zeros((count, count))
        for place, word in enumerate(words):
            if word.text in _CONNECTORS and place not in (0, last) and self._connects(words, place):
                cut_NN[:, place] = CUT
            elif word.text == "grand":
                cut_NN[place] = CUT
        if last < count and words[last].text != "s" and first and words[first - 1].text == "of":
            cut_NN[:, first - 1] = 0.0
        for place in self._again(words, first, last):
            cut_NN[:, place] = np.maximum(cut_NN[:, place], CUT)
        clause = clause_before(words, first)
        if clause is not None:
            cut_NN[:, clause] = CUT
            if clause + 1 < first and last < count:
                cut_NN[clause + 1, last] = CUT
        for start, end in self._named(words):
            cut_NN[start:end, start:end] = WITHIN
        if self.learned is not None:
            for place, feature in cut_features(words):
                row = self.learned.cut_rows.get(feature)
                if row is not None:
                    cut_NN[:, place] += self.learned.cut_F[row]
        return cut_NN

    def _again(self, words: Sequence[Word], first: int, last: int) -> Iterator[int]:
        """Where telling words begin, seen from the mention, that are also said nearer to it or on its other side."""
        runs: list[tuple[int, int]] = []
        for place, word in enumerate(words):
            if not self._is_telling(word) or first <= place < last:
                continue
            joined = bool(runs) and runs[-1][1] == place
            runs[-1:] = [(runs[-1][0], place + 1)] if joined else [*runs[-1:], (place, place + 1)]
        texts = [[word.stem for word in words[start:end]] for start, end in runs]
        for number, (start, end) in enumerate(runs):
            left = end <= first
            nearer = texts[number + 1 :] if left else texts[:number]
            if texts[number] in nearer:
                yield end - 1 if left else start

    def _named(self, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
        """Stretches of words that are the name of a relation."""
        row = tuple(word.stem for word in words)
        for start in range(len(row)):
            for end in range(start + 2, min(len(row), start + LONGEST) + 1):
                if row[start:end] in self.table.names:
                    yield start, end

    def _connects(self, words: Sequence[Word], place: int) -> bool:
        """Whether a connector joins two relations: not in "the name of", nor a "which" that asks."""
        before = words[place - 1].text
        return before not in _NO_CONNECTOR_AFTER and (words[place].text in ("of", "s") or before not in SILENT)

    def founding(self, words: Sequence[Word], covered: frozenset[int] = frozenset()) -> NDArray[np.bool_]:
        """(N,) words that a hop can rest on: the telling ones; where there is none, question words."""
        known: frozenset[str] = frozenset() if self.learned is None else self.learned.words
        telling = [
            place not in covered and (word.text not in SILENT or word.stem in known) for place, word in enumerate(words)
        ]
        if not any(telling):
            telling = [word.text in _ASKING for word in words]
        return np.array(telling, dtype=bool)

    def directions(self, words: Sequence[Word], first: int, last: int) -> NDArray[np.float64]:
        """(2,) what it adds to read to the right of the mention first, and to the left first."""
        genitive = last < len(words) and words[last].text == "s"
        clause = clause_before(words, first)
        subject = clause is not None and any(word.text not in SILENT for word in words[clause:first])
        bound = not genitive and first > 0 and words[first - 1].text == "of"
        known_2 = np.array([CLAUSE if subject else OF if bound else 0.0, GENITIVE if genitive else 0.0])
        return known_2 if self.learned is None else known_2 + self.learned.direction_2

    def _is_telling(self, word: Word) -> float:
        if word.stem in SILENT or word.text in SILENT or (self.learned is not None and word.stem in self.learned.words):
            return 0.0
        return 0.4 if kind_of(word.stem) is not None else 1.0

    def _word(self, word: str) -> NDArray[np.float64]:
        """(C,) of one word: exactly, or of the words that look like forms or misspellings of it."""
        known = self._near.get(word)
        if known is None:
            known = np.zeros(len(self.table))
            found = self.table.features.get(f"u:{word}")
            verb = self.table.features.get(f"u:{_verb(word)}")
            if found is not None:
                known[found[0]] = found[1]
            if verb is not None and _verb(word) != word:  # a player plays
                known[verb[0]] = np.maximum(known[verb[0]], DOER * verb[1])
            elif found is None and word not in SILENT and len(word) >= 4:
                for other in self._unigrams:
                    likeness = _likeness(word, other)
                    if likeness:
                        codes, weights = self.table.features[f"u:{other}"]
                        known[codes] = np.maximum(known[codes], weights * likeness)
            if len(self._near) < 20_000:
                self._near[word] = known
        return known


def clause_before(words: Sequence[Word], first: int) -> int | None:
    """Place of the "that" of the clause around a mention: in "the one that the capital of E borders"; None for none."""
    for place in range(first - 1, 0, -1):
        if words[place].text in _RELATIVE and words[place - 1].text in _ANTECEDENTS:
            return place
    return None


def _verb(word: str) -> str:
    """What a doer does: "player", "play". The word itself where it is none."""
    return stem(word[:-2]) if len(word) > 5 and word.endswith(("er", "or")) else word


def _likeness(word: str, other: str) -> float:
    """0, or how surely two stems are forms or misspellings of one word."""
    if len(other) < 4 or abs(len(word) - len(other)) > 4 or word[0] != other[0] or other in SILENT:
        return 0.0
    if len(word) >= 2 * len(other):  # a password is no way to pass
        return 0.0
    similarity = float(JaroWinkler.similarity(word, other))
    return 0.8 * similarity if similarity >= NEAR else 0.0


def learned_features(words: Sequence[Word], covered: frozenset[int]) -> Iterator[tuple[int, str]]:
    """(place, feature) of every word outside mentions: the word, its stem, and it with each neighbour."""
    texts = [ENTITY if place in covered else word.stem for place, word in enumerate(words)]
    for place, word in enumerate(words):
        if place in covered:
            continue
        before = texts[place - 1] if place else "<"
        after = texts[place + 1] if place + 1 < len(texts) else ">"
        yield place, f"w:{word.text}"
        yield place, f"l:{before} {texts[place]}"
        yield place, f"r:{texts[place]} {after}"


def cut_features(words: Sequence[Word]) -> Iterator[tuple[int, str]]:
    """(place, feature) of every word that a hop may begin with: the word, and it with its neighbours."""
    for place, word in enumerate(words):
        before = words[place - 1].stem if place else "<"
        after = words[place + 1].stem if place + 1 < len(words) else ">"
        yield place, f"w:{word.stem}"
        yield place, f"l:{before} {word.stem}"
        yield place, f"r:{word.stem} {after}"
