"""Islands: stretches of a text that do not see each other, so that neither their order nor their number says anything.

Facts that stand one behind the other in a prompt are otherwise read one through the other: the third knows the first
two, the first knows none, and the question stands nearest to the last. K-BERT (Liu et al. 2020, sections 3.3 and 3.4)
hides them from each other with a visible matrix and gives them soft positions. The same for a decoder:

    tokens      <|user|> <KNOW>   [1] Lima ...   [2] Cusco is in ...   <SEP> Where ...
    island         0        0      1   1   1      2    2   2  2          0     0   0
    position       0        1      2   3   4      2    3   4  5          6     7   8

A token of an island sees its own island and the mainland (0) before it; the mainland sees all that came before. All
islands of a run begin at the same position, and the mainland goes on behind the longest. The mask alone would not do:
where a fact begins would still depend on the lengths of those before it, and every rotation with it. With both, a fact
is read as if it stood there alone, bit for bit, and the question is as far from each as from any other.

It costs nothing to learn and, early on, gains nothing: after 120 steps of lessons with facts in the prompt alone (three
layers of width 128, one seed) the held-out loss was 3.796 with islands and 3.800 without. So it is an option.
"""

from __future__ import annotations

from collections.abc import Sequence

MAINLAND = 0
"""The island of tokens that see everything before them, and are seen by everything after."""


def island_positions(islands: Sequence[int]) -> list[int]:
    """The position of each token of one text, from the island of each.

    >>> island_positions([0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 0])
    [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7]
    """
    positions: list[int] = []
    start, lengths = 0, dict[int, int]()
    for island in islands:
        if island == MAINLAND:
            start += max(lengths.values(), default=0)
            lengths.clear()
            positions.append(start)
            start += 1
        else:
            lengths[island] = lengths.get(island, 0) + 1
            positions.append(start + lengths[island] - 1)
    return positions
