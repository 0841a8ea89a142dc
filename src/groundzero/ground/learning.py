"""Learning what questions mean from question-answer pairs: no paths are given, only what the answers are.

Among the paths that the graph offers from the mentioned entity, those that lead to exactly the given answers are right.
A log-linear model over paths is trained so that right paths outscore the others the search finds, and outscore
sequences of hops that the graph does not have there (which is how a missing fact is told from a present one). The cut
of the question into stretches is latent: each step takes the best cut under the current weights. AdaGrad, one pair at
a time, weights averaged over the last half of the passes.

Shapes: N words, C hops, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from groundzero.ground.hypotheses import read
from groundzero.ground.scorer import Learned, PathScorer, cut_features, learned_features
from groundzero.ground.search import Path, PathSearch
from groundzero.ground.words import Word
from groundzero.settings import Settings


class LearningConfig(Settings):
    """How a scorer is fitted."""

    epochs: int = Field(default=6, ge=1)
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


@dataclass(slots=True)
class Pair:
    """A question about one mentioned entity, ready to learn from."""

    words: list[Word]
    first: int
    last: int
    entity: int
    right: tuple[tuple[int, ...], ...]
    """Paths that lead to the given answers."""

    @property
    def covered(self) -> frozenset[int]:
        return frozenset(range(self.first, self.last))


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
    """Weights on top of what `scorer` knows beforehand.

    Args:
        scorer: without learnt weights.
        pairs: those without a right path teach nothing.
    """
    config = config or LearningConfig()
    pairs = [pair for pair in pairs if pair.right]
    learned, hops = _empty(scorer, pairs, config), len(scorer.table)
    weights = _Weights((len(learned.rows) + 1, hops))  # the last row is the hops' own bias
    cuts, directions = _Weights((len(learned.cut_rows),)), _Weights((2,))
    weights.value = np.zeros((len(learned.rows) + 1, hops))
    learned.weight_FC, learned.bias_C = weights.value[:-1], weights.value[-1]
    learned.cut_F, learned.direction_2 = cuts.value, directions.value
    model = PathScorer(scorer.table, learned)
    base_C = scorer.bias_C
    order = np.random.default_rng(config.seed)
    averaged = 0
    for epoch in range(config.epochs):
        for number in order.permutation(len(pairs)):
            model.bias_C = base_C + learned.bias_C
            _learn_one(model, search, pairs[number], (weights, cuts, directions), config)
        if 2 * epoch + 1 >= config.epochs:
            averaged += 1
            for each in (weights, cuts, directions):
                each.total += each.value
    count = max(averaged, 1)
    learned.weight_FC, learned.bias_C = weights.total[:-1] / count, weights.total[-1] / count
    learned.cut_F, learned.direction_2 = cuts.total / count, directions.total / count
    return learned


def _empty(scorer: PathScorer, pairs: Sequence[Pair], config: LearningConfig) -> Learned:
    """The features worth a weight."""
    seen: Counter[str] = Counter()
    seen_cuts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for pair in pairs:
        seen.update({feature for _, feature in learned_features(pair.words, pair.covered)})
        seen_cuts.update({feature for _, feature in cut_features(pair.words)})
        words.update({word.stem for place, word in enumerate(pair.words) if place not in pair.covered})

    def kept(counts: Counter[str]) -> dict[str, int]:
        often = sorted(feature for feature, count in counts.items() if count >= config.min_count)
        return {feature: row for row, feature in enumerate(often)}

    return Learned(
        rows=kept(seen),
        cut_rows=kept(seen_cuts),
        words=frozenset(word for word, count in words.items() if count >= config.min_count),
    )


def _learn_one(
    model: PathScorer,
    search: PathSearch,
    pair: Pair,
    weights: tuple[_Weights, _Weights, _Weights],
    config: LearningConfig,
) -> None:
    reading = read(model, pair.words, pair.first, pair.last)
    met = search.paths(pair.entity, reading, max_hops=config.max_hops, beam=config.beam)[:12]
    right = set(pair.right)
    rivals = {path.codes for path in met} | {
        reading.any_path(hops) for hops in range(1, config.max_hops + 1) if hops < reading.size
    }
    tried = [codes for codes in chain(pair.right, rivals - right) if len(codes) < reading.size]
    if not tried or tried[0] not in right:
        return
    cut = [reading.cut(codes) for codes in tried]
    score = np.array([each[0] for each in cut])
    chance = np.exp(score - score.max())
    chance /= chance.sum()
    is_right = np.array([codes in right for codes in tried])
    wanted = np.where(is_right, chance, 0.0)
    wanted /= max(wanted.sum(), 1e-12)
    features: dict[int, list[int]] = {}
    learned = model.learned
    assert learned is not None
    for place, feature in learned_features(pair.words, pair.covered):
        row = learned.rows.get(feature)
        if row is not None:
            features.setdefault(place, []).append(row)
    cut_rows: dict[int, list[int]] = {}
    for place, feature in cut_features(pair.words):
        row = learned.cut_rows.get(feature)
        if row is not None:
            cut_rows.setdefault(place, []).append(row)
    of_hops, of_cuts, of_directions = weights
    for number in np.flatnonzero(np.abs(wanted - chance) > 1e-3):
        slope = float(wanted[number] - chance[number])
        _, direction, stretches = cut[number]
        of_directions.step(np.array([direction]), slope, config)
        for step, (code, stretch) in enumerate(zip(tried[number], stretches, strict=True)):
            rows = [row for place in stretch for row in features.get(place, ())]
            rows.append(len(learned.rows))
            of_hops.step((np.array(rows), np.full(len(rows), code)), slope, config)
            if step and (begun := cut_rows.get(stretch[0])):
                of_cuts.step(np.array(begun), slope, config)


def right_paths(search: PathSearch, entity: int, answers: Iterable[int], *, max_hops: int = 3) -> list[tuple[int, ...]]:
    """Every path from `entity` that leads to exactly these entities."""
    wanted = np.unique(np.fromiter(answers, np.int64))
    found: list[tuple[int, ...]] = []
    frontier: list[tuple[tuple[int, ...], NDArray[np.int64]]] = [((), np.array([entity]))]
    for _ in range(max_hops):
        grown = []
        for codes, entities in frontier:
            code_K, ends = search.onward(entities)
            for code, end in zip(code_K.tolist(), ends, strict=True):
                reached = np.unique(end)
                if np.array_equal(reached, wanted):
                    found.append((*codes, code))
                if len(reached):
                    grown.append(((*codes, code), reached))
        frontier = grown[:4000]
    return found


__all__ = ["LearningConfig", "Pair", "Path", "fit", "read", "right_paths"]
