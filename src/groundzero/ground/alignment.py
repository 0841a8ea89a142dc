"""Cutting a question into stretches, one for each hop of a path, and what the best cut scores.

A question about one entity says the hops in order of distance from its mention: "the place of birth of E's father" says
`father` to the right and `place of birth` to the left. So the words are put in a row, either those to the right and
then those to the left from near to far ("E 's father | of birth of place the"), or the left first; and a path of L hops
cuts the row into L stretches of at least one word. Dynamic programming finds the best cut for many paths at once, and
bounds what any longer path could still gain, which makes the search over the graph (`search`) best-first.

Shapes: D = 2 readings (right first, left first), N words, J = N + 1 cuts, C hops, K paths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEVER = -1e9
RETURN = -1.0
"""Of going back at once the way one came: "whose father is the father of E" is asked, but seldom."""


class Reading:
    """The two rows of words around a mention, ready to be cut.

    Args:
        score_NC: of every word of the question for every hop (`PathScorer.scores`).
        first, last: places of the mention's words, `last` excluded.
        places: words that take part, if not all outside the mention.
        bias_C: what each hop costs by itself.
        direction_2: what reading right first, or left first, costs by itself.
    """

    def __init__(
        self,
        score_NC: NDArray[np.float64],
        first: int,
        last: int,
        bias_C: NDArray[np.float64],
        direction_2: NDArray[np.float64] | None = None,
        places: Sequence[int] | None = None,
        cut_NN: NDArray[np.float64] | None = None,
    ) -> None:
        taking = range(len(score_NC)) if places is None else places
        left = [place for place in reversed(taking) if place < first]
        right = [place for place in taking if place >= last]
        self.orders = (right + left, left + right)
        self.size = len(left) + len(right) + 1
        """Words in a row, and one: the number of cuts; a path must have fewer hops."""
        count, hops = len(left) + len(right), score_NC.shape[1]
        self.sums_DJC = np.zeros((2, count + 1, hops))
        for reading, order in enumerate(self.orders):
            np.cumsum(score_NC[order], axis=0, out=self.sums_DJC[reading, 1:])
        self.cut_DJ = np.zeros((2, count + 1))
        if cut_NN is not None and count > 1:
            for reading, order in enumerate(self.orders):
                self.cut_DJ[reading, 1:-1] = cut_NN[order[:-1], order[1:]]
        self.bias_C = bias_C
        self.start_DJ = np.full((2, count + 1), NEVER)
        self.start_DJ[:, 0] = 0.0 if direction_2 is None else direction_2
        self._ahead: list[NDArray[np.float64]] = []

    def extend(
        self, before_DJ: NDArray[np.float64], codes_K: NDArray[np.int64], last: int | None = None
    ) -> NDArray[np.float64]:
        """(K, D, J) best scores of a path up to each cut, once each of these hops is put behind it.

        Args:
            before_DJ: of the path so far (`start_DJ` at first), whose last hop is `last`.
        """
        sums_DJK = self.sums_DJC[:, :, codes_K]
        gain_DJK = np.maximum.accumulate((before_DJ + self.cut_DJ)[:, :, None] - sums_DJK, axis=1)
        bias_K = self.bias_C[codes_K]
        if last is not None:
            bias_K = bias_K + np.where(codes_K == (last ^ 1), RETURN, 0.0)
        after_KDJ = np.full((len(codes_K), *before_DJ.shape), NEVER)
        after_KDJ[:, :, 1:] = np.moveaxis(gain_DJK[:, :-1] + sums_DJK[:, 1:], 2, 0) + bias_K[:, None, None]
        return after_KDJ

    def ahead(self, hops: int) -> NDArray[np.float64]:
        """(D, J) the most that exactly so many further hops can add from each cut to the end, by any relations."""
        while len(self._ahead) <= hops:
            if not self._ahead:
                none_DJ = np.full(self.start_DJ.shape, NEVER)
                none_DJ[:, -1] = 0.0
                self._ahead.append(none_DJ)
                continue
            end_DJC = self.sums_DJC + self._ahead[-1][:, :, None]
            best_DJC = np.maximum.accumulate(end_DJC[:, ::-1], axis=1)[:, ::-1]
            most_DJ = np.full(self.start_DJ.shape, NEVER)
            most_DJ[:, :-1] = (best_DJC[:, 1:] - self.sums_DJC[:, :-1] + self.bias_C).max(axis=2)
            self._ahead.append(self.cut_DJ + most_DJ)
        return self._ahead[hops]

    def best_of_any(self, hops: int) -> float:
        """Score of the best path of so many hops, whether or not the graph has it."""
        return float((self.start_DJ[:, 0] + self.ahead(hops)[:, 0]).max())

    def any_path(self, hops: int) -> tuple[int, ...]:
        """The hops of that path."""
        reading = int((self.start_DJ[:, 0] + self.ahead(hops)[:, 0]).argmax())
        sums_JC, cut_J, at = self.sums_DJC[reading], self.cut_DJ[reading], 0
        codes: list[int] = []
        for left in range(hops - 1, -1, -1):
            gain_JC = sums_JC - sums_JC[at] + self.bias_C + self.ahead(left)[reading][:, None] + cut_J[at]
            gain_JC[: at + 1] = NEVER
            at, code = (int(each) for each in np.unravel_index(int(gain_JC.argmax()), gain_JC.shape))
            codes.append(code)
        return tuple(codes)

    def cut(self, codes: Sequence[int]) -> tuple[float, int, list[list[int]]]:
        """Score of one path, the reading it takes, and the words that each hop got."""
        before = [self.start_DJ]
        for step, code in enumerate(codes):
            last = codes[step - 1] if step else None
            before.append(self.extend(before[-1], np.array([code]), last)[0])
        reading = int(before[-1][:, -1].argmax())
        order, end = self.orders[reading], len(self.orders[reading])
        stretches: list[list[int]] = []
        for step in range(len(codes), 0, -1):
            sums_J = self.sums_DJC[reading, :, codes[step - 1]]
            gain_J = before[step - 1][reading] + self.cut_DJ[reading] - sums_J
            start = int(gain_J[:end].argmax())
            stretches.append(order[start:end])
            end = start
        return float(before[-1][reading, -1]), reading, stretches[::-1]
