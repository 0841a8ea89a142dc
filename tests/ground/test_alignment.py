"""Cutting a question into stretches: dynamic programming agrees with trying every cut, and its bounds hold."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.ground.alignment import NEVER, RETURN, Reading

HOPS = 4


def reading(seed: int, words: int) -> tuple[Reading, np.ndarray, np.ndarray, np.ndarray, int, int]:
    """A reading of random scores, with what it was made of."""
    chance = np.random.default_rng(seed)
    score_NC = chance.normal(size=(words, HOPS))
    first = int(chance.integers(0, words))
    last = int(chance.integers(first + 1, words + 1))
    bias_C = chance.normal(size=HOPS)
    cut_NN = chance.normal(size=(words, words))
    founding_N = chance.random(words) < 0.6
    back_CC = np.zeros((HOPS, HOPS), dtype=bool)
    back_CC[[0, 1, 2, 3], [1, 0, 3, 2]] = True
    made = Reading(score_NC, first, last, bias_C, cut_NN=cut_NN, founding_N=founding_N, back_CC=back_CC)
    return made, score_NC, cut_NN, founding_N, first, last


def by_trying(case: tuple[Reading, np.ndarray, np.ndarray, np.ndarray, int, int], codes: tuple[int, ...]) -> float:
    """The best score of a path over every cut of both rows."""
    made, score_NC, cut_NN, founding_N, first, last = case
    left, right = list(range(first - 1, -1, -1)), list(range(last, len(score_NC)))
    best = NEVER
    for row in (right + left, left + right):
        resting = founding_N[row] if len(row) and founding_N[row].any() else np.ones(len(row), dtype=bool)
        for inner in combinations(range(1, len(row)), len(codes) - 1):
            ends = [0, *inner, len(row)]
            if not all(resting[a:b].any() for a, b in pairwise(ends)):
                continue
            score = sum(
                score_NC[row[a:b], code].sum() + made.bias_C[code]
                for code, a, b in zip(codes, ends, ends[1:], strict=False)
            )
            score += sum(cut_NN[row[cut - 1], row[cut]] for cut in inner)
            score += sum(RETURN for one, other in pairwise(codes) if other == one ^ 1)
            best = max(best, float(score))
    return best


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    words=st.integers(2, 7),
    codes=st.lists(st.integers(0, HOPS - 1), min_size=1, max_size=3),
)
def test_the_best_cut_is_the_best_of_all(seed: int, words: int, codes: list[int]) -> None:
    case = reading(seed, words)
    made = case[0]
    if made.size == 1:
        return
    wanted = by_trying(case, tuple(codes))
    at = made.start_DJ
    for step, code in enumerate(codes):
        at = made.extend(at, np.array([code]), codes[step - 1] if step else None)[0]
    found = float(at[:, -1].max())
    if wanted == NEVER:
        assert found < NEVER / 2
    else:
        assert np.isclose(found, wanted)
        score, _, stretches = made.cut(codes)
        assert np.isclose(score, wanted)
        assert sorted(place for stretch in stretches for place in stretch) == [
            place for place in range(words) if not case[4] <= place < case[5]
        ]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), words=st.integers(3, 7), hops=st.integers(1, 3))
def test_bounds_are_reached_and_never_passed(seed: int, words: int, hops: int) -> None:
    case = reading(seed, words)
    made = case[0]
    if made.size <= hops:
        return
    best = max(by_trying(case, codes) for codes in product(range(HOPS), repeat=hops))
    if best == NEVER:
        return
    assert made.best_of_any(hops) >= best - 1e-9  # going back costs in paths and not in the bound
    anything = np.ones(HOPS, dtype=bool)
    score, codes = made.best_plausible(hops, anything, lambda tried: np.ones((len(tried), len(tried)), dtype=bool))
    assert np.isclose(score, best)
    assert np.isclose(made.cut(codes)[0], best)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_only_plausible_hops_are_taken(seed: int) -> None:
    made = reading(seed, 6)[0]
    if made.size < 3:
        return
    first_C = np.array([True, False, True, False])
    _, codes = made.best_plausible(2, first_C, lambda tried: (tried[:, None] + tried[None, :]) % 2 == 1)
    score, _, _ = made.cut(codes)
    if score > NEVER / 2:
        assert first_C[codes[0]]
        assert (codes[0] + codes[1]) % 2 == 1
