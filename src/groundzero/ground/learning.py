"""Learning what questions mean from question-answer pairs: no paths are given, only what the answers are.

Among the paths that the graph offers from what a question mentions, those that lead to the given answers are right
(`examples`). A log-linear model over paths is trained so that right paths outscore the others that the search finds,
and outscore sequences of hops that the graph does not have there (which is how a missing fact is told from a present
one). The cut of the question into stretches is latent: each step takes the best cut under the current weights.
AdaGrad, one pair at a time, weights averaged over the second half of the passes; pairs already sure are mostly skipped.

Shapes: N words, C hops, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from groundzero.ground.alignment import Reading
from groundzero.ground.conjunction import Mentioned, conjunctions
from groundzero.ground.hypotheses import read
from groundzero.ground.scorer import Learned, PathScorer, cut_features, learned_features
from groundzero.ground.search import PathSearch
from groundzero.ground.words import Word
from groundzero.settings import Settings

Branches = tuple[tuple[int, ...], ...]
"""Hops from each mention."""
RIVALS = 12
"""Paths that a right one is compared with."""
SURE = 0.98
"""Probability of the right paths from which a pair is skipped but for one time in SKIPPED."""
SKIPPED = 5
MARGINS = (0.7, 4.0)
"""Least and greatest margin of refusal. On PathQuestion, folds that nothing is reported on, 0.7 refuses 99 % (2 hops)
and 96 % (3) of what cannot be answered; the 1 to 4 of before refused 97 and 61, and wrongly 2 of 1,899 fewer."""
LOOKED_AT = 300
"""Pairs whose leads are looked at once the weights are final."""
TYPICAL = 0.9
"""Quantile of these leads that is added to the least margin. The highest are of pairs whose own fact the graph lacks,
and whose answer another path happens to reach: with 0.95 a graph with gaps had a margin of 1.9, and refused 77 % of
what it could not answer instead of 96."""


class LearningConfig(Settings):
    """How a scorer is fitted."""

    epochs: int = Field(default=4, ge=1)
    """Passes over the pairs."""
    learning_rate: float = Field(default=0.3, gt=0)
    """AdaGrad's."""
    l2: float = Field(default=1e-3, ge=0)
    """Pull of every touched weight towards 0, at each step."""
    min_count: int = Field(default=2, ge=1)
    """Pairs that a feature must occur in."""
    beam: int = Field(default=24, ge=1)
    """Paths kept at each hop of the search."""
    max_hops: int = Field(default=3, ge=1, le=3)
    """Longest path."""
    seed: int = 0
    """Of the order of the pairs."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question about one or two mentioned entities, with what it was found to mean."""

    words: tuple[Word, ...]
    mentions: tuple[Mentioned, ...]
    right: frozenset[Branches]
    """Readings that lead to the given answers."""

    @property
    def covered(self) -> frozenset[int]:
        return frozenset(place for each in self.mentions for place in range(each.first, each.last))


@dataclass(frozen=True, slots=True)
class _Tried:
    """A reading of a pair under the current weights."""

    branches: Branches
    score: float
    stretches: tuple[tuple[tuple[int, ...], ...], ...]
    direction: int | None = None


class _Weights:
    """Weights with AdaGrad's accumulators and running sums."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.value = np.zeros(shape)
        self.squares = np.full(shape, 1e-2)
        self.total = np.zeros(shape)

    def step(self, at: tuple[NDArray[np.int64], ...] | NDArray[np.int64], slope: float, config: LearningConfig) -> None:
        gradient = slope - config.l2 * self.value[at]
        self.squares[at] += gradient**2
        self.value[at] += config.learning_rate * gradient / np.sqrt(self.squares[at])


def fit(scorer: PathScorer, search: PathSearch, pairs: Sequence[Pair], config: LearningConfig | None = None) -> Learned:
    """Weights on top of what `scorer` knows beforehand; pairs without a right reading teach nothing.

    Args:
        scorer: without learnt weights.
    """
    config = config or LearningConfig()
    pairs = [pair for pair in pairs if pair.right]
    training = _Training(scorer, search, pairs, config)
    order = np.random.default_rng(config.seed)
    for epoch in range(config.epochs):
        for number in order.permutation(len(pairs)).tolist():
            if training.sureness[number] < SURE or order.integers(SKIPPED) == 0:
                training.learn_from(number)
        if 2 * (epoch + 1) > config.epochs:
            training.remember()
    return training.finish()


class _Training:
    def __init__(self, scorer: PathScorer, search: PathSearch, pairs: list[Pair], config: LearningConfig) -> None:
        self.learned = _empty(pairs, config)
        self.sureness = np.zeros(len(pairs))
        self._pairs, self._search, self._config = pairs, search, config
        self._hops = _Weights((len(self.learned.rows) + 1, len(scorer.table)))  # the last row is the hops' own bias
        self._cuts, self._directions = _Weights((len(self.learned.cut_rows),)), _Weights((2,))
        self._base_C = scorer.bias_C
        self._remembered = 0
        learned = self.learned
        learned.weight_FC, learned.bias_C = self._hops.value[:-1], self._hops.value[-1]
        learned.cut_F, learned.direction_2 = self._cuts.value, self._directions.value
        self._model = PathScorer(scorer.table, learned)

    def learn_from(self, number: int) -> None:
        """One step on one pair."""
        pair = self._pairs[number]
        self._model.bias_C = self._base_C + self.learned.bias_C
        tried = self._readings(pair)
        is_right = np.array([each.branches in pair.right for each in tried])
        if not is_right.any():
            return
        score = np.array([each.score for each in tried])
        chance = np.exp(score - score.max())
        chance /= chance.sum()
        wanted = np.where(is_right, chance, 0.0)
        self.sureness[number] = wanted.sum()
        wanted /= max(float(wanted.sum()), 1e-12)
        of_words, of_cuts = self._rows(pair)
        for each, slope in zip(tried, (wanted - chance).tolist(), strict=True):
            if abs(slope) > 1e-3:
                self._step(each, slope, of_words, of_cuts)

    def remember(self) -> None:
        """Let the weights as they are count for the average."""
        self._remembered += 1
        for each in (self._hops, self._cuts, self._directions):
            each.total += each.value

    def finish(self) -> Learned:
        """The averaged weights, and the margin that hardly any pair needs under them."""
        learned, count = self.learned, max(self._remembered, 1)
        learned.weight_FC, learned.bias_C = self._hops.total[:-1] / count, self._hops.total[-1] / count
        learned.cut_F, learned.direction_2 = self._cuts.total / count, self._directions.total / count
        self._model.bias_C = self._base_C + learned.bias_C
        simple = [pair for pair in self._pairs if len(pair.mentions) == 1]
        chosen = np.random.default_rng(self._config.seed).permutation(len(simple))[:LOOKED_AT]
        leads = [lead for number in chosen.tolist() if (lead := self._lead(simple[number])) is not None]
        most = float(np.quantile(leads, TYPICAL)) if leads else 0.0
        learned.margin = min(max(most, 0.0) + MARGINS[0], MARGINS[1])
        return learned

    def _lead(self, pair: Pair) -> float | None:
        """By how much a path that the graph lacks here outscores the best that it has: what refusals go by.

        None where that one is wrong: then the answer may be right by chance, and what is asked for be missing indeed.
        """
        mention, config, table = pair.mentions[0], self._config, self._model.table
        reading = read(self._model, pair.words, mention.first, mention.last)
        met = self._search.paths(mention.entity, reading, max_hops=config.max_hops, beam=config.beam)
        if not met or (met[0].codes,) not in pair.right:
            return None
        first_C = table.plausible(path.codes[0] for path in met)
        lengths = range(1, min(config.max_hops, reading.size - 1) + 1)
        return max(reading.best_plausible(hops, first_C, table.plausible_after)[0] for hops in lengths) - met[0].score

    def _step(self, tried: _Tried, slope: float, of_words: dict[int, list[int]], of_cuts: dict[int, list[int]]) -> None:
        if tried.direction is not None:
            self._directions.step(np.array([tried.direction]), slope, self._config)
        for codes, stretches in zip(tried.branches, tried.stretches, strict=True):
            for step, (code, stretch) in enumerate(zip(codes, stretches, strict=True)):
                rows = [row for place in stretch for row in of_words.get(place, ())]
                rows.append(len(self.learned.rows))
                self._hops.step((np.array(rows), np.full(len(rows), code)), slope, self._config)
                if step and stretch and (begun := of_cuts.get(stretch[0])):
                    self._cuts.step(np.array(begun), slope, self._config)

    def _rows(self, pair: Pair) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Rows of the features of each word, as part of a stretch and as its beginning."""
        of_words: dict[int, list[int]] = {}
        for place, feature in learned_features(pair.words, pair.covered):
            if (row := self.learned.rows.get(feature)) is not None:
                of_words.setdefault(place, []).append(row)
        of_cuts: dict[int, list[int]] = {}
        for place, feature in cut_features(pair.words):
            if (row := self.learned.cut_rows.get(feature)) is not None:
                of_cuts.setdefault(place, []).append(row)
        return of_words, of_cuts

    def _readings(self, pair: Pair) -> list[_Tried]:
        """The right readings and their strongest rivals."""
        if len(pair.mentions) == 2:
            return list(self._pairings(pair))
        mention, config = pair.mentions[0], self._config
        reading = read(self._model, pair.words, mention.first, mention.last)
        met = self._search.paths(mention.entity, reading, max_hops=config.max_hops, beam=config.beam)[:RIVALS]
        lengths = range(1, min(config.max_hops, reading.size - 1) + 1)
        codes = {path.codes for path in met} | {reading.any_path(hops) for hops in lengths}
        codes |= {branches[0] for branches in pair.right}
        return [_cut(reading, each) for each in sorted(codes) if len(each) in lengths]

    def _pairings(self, pair: Pair) -> Iterator[_Tried]:
        score_NC = self._model.scores(pair.words, covered=pair.covered)
        places = [place for place in range(len(pair.words)) if place not in pair.covered]
        left, right = pair.mentions
        found = conjunctions(self._search, score_NC, self._model.bias_C, left, right, places)
        for rank, each in enumerate(found):
            branches = tuple((code,) for code in each.codes)
            if rank < RIVALS or branches in pair.right:
                yield _Tried(branches, each.score, tuple((stretch,) for stretch in each.words))
        for one, other in ((left, right), (right, left)):  # that a single mention explains it all is a rival too
            names = frozenset(range(other.first, other.last))
            reading = read(self._model, pair.words, one.first, one.last, names=names)
            for path in self._search.paths(one.entity, reading, max_hops=1, beam=1)[:2]:
                yield _cut(reading, path.codes)


def _cut(reading: Reading, codes: tuple[int, ...]) -> _Tried:
    score, direction, stretches = reading.cut(codes)
    return _Tried((codes,), score, (tuple(tuple(stretch) for stretch in stretches),), direction)


def _empty(pairs: Sequence[Pair], config: LearningConfig) -> Learned:
    """The features worth a weight, without weights."""
    seen: Counter[str] = Counter()
    seen_cuts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for pair in pairs:
        covered = pair.covered
        seen.update({feature for _, feature in learned_features(pair.words, covered)})
        seen_cuts.update({feature for _, feature in cut_features(pair.words)})
        words.update({word.stem for place, word in enumerate(pair.words) if place not in covered})

    def kept(counts: Counter[str]) -> dict[str, int]:
        often = sorted(feature for feature, count in counts.items() if count >= config.min_count)
        return {feature: row for row, feature in enumerate(often)}

    known = frozenset(word for word, count in words.items() if count >= config.min_count)
    return Learned(rows=kept(seen), cut_rows=kept(seen_cuts), words=known)
