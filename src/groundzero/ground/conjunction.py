"""Questions about two entities at once: "which player of E1 is from E2" asks for what both lead to by one hop each.

The words between the two mentions are cut once: those before the cut speak of the first, those behind it of the second;
words before the first mention or behind the second may speak of either.

Shapes: N words, A and B hops that lead on from the first and the second entity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundzero.graph.nouns import EntityId
from groundzero.ground.alignment import NEVER
from groundzero.ground.search import IMPOSSIBLE, PathSearch

TRIED = 40
"""Pairs of hops, best first, that are looked at for common ends."""
FREE = 0.7
"""Share of a free word's score that counts: it stands further from what it speaks of."""


@dataclass(frozen=True, slots=True)
class Conjunction:
    """One hop from each of two entities."""

    score: float
    codes: tuple[int, int]
    words: tuple[tuple[int, ...], tuple[int, ...]]
    """Places of the words that speak of each."""
    empty: bool = False
    """The two lead to nothing in common."""


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A mention taken to mean one entity."""

    first: int
    last: int
    entity: EntityId


def conjunctions(
    search: PathSearch,
    score_NC: NDArray[np.float64],
    bias_C: NDArray[np.float64],
    left: Mentioned,
    right: Mentioned,
    places: Sequence[int],
) -> list[Conjunction]:
    """Pairs of hops from `left` and `right`, best first; those of the best that lead nowhere are marked empty.

    Args:
        places: words that take part, none of them of a mention.
    """
    code_A, ends_A = search.onward(np.array([left.entity]))
    code_B, ends_B = search.onward(np.array([right.entity]))
    if not len(code_A) or not len(code_B):
        return []
    before = [place for place in places if place < left.first]
    between = [place for place in places if left.last <= place < right.first]
    behind = [place for place in places if place >= right.last]
    score_AB = np.zeros((len(code_A), len(code_B)))
    for place in (*before, *behind):
        pair_AB = np.maximum(score_NC[place, code_A][:, None], score_NC[place, code_B][None, :])
        score_AB += np.where(pair_AB > 0, FREE * pair_AB, pair_AB)
    ahead_JA = np.concatenate((np.zeros((1, len(code_A))), np.cumsum(score_NC[between][:, code_A], axis=0)))
    total_JB = np.concatenate((np.zeros((1, len(code_B))), np.cumsum(score_NC[between][:, code_B], axis=0)))
    cut_JAB = ahead_JA[:, :, None] + (total_JB[-1] - total_JB)[:, None, :]
    score_AB += cut_JAB.max(axis=0) + bias_C[code_A][:, None] + bias_C[code_B][None, :]
    score_AB = np.where(search.may_share_ends(code_A, code_B), score_AB, NEVER)
    order = np.argsort(-score_AB, axis=None)[:TRIED]
    found = []
    for flat in order:
        a, b = (int(each) for each in np.unravel_index(int(flat), score_AB.shape))
        common = np.intersect1d(ends_A[a], ends_B[b])
        common = common[(common != left.entity) & (common != right.entity)]
        cut = int(cut_JAB[:, a, b].argmax())
        codes = int(code_A[a]), int(code_B[b])
        if score_AB[a, b] < IMPOSSIBLE:
            break
        free = [(place, score_NC[place, codes[0]] >= score_NC[place, codes[1]]) for place in (*before, *behind)]
        words = (
            tuple(between[:cut]) + tuple(place for place, first in free if first),
            tuple(between[cut:]) + tuple(place for place, first in free if not first),
        )
        found.append(Conjunction(float(score_AB[a, b]), codes, words, empty=not len(common)))
    return found
