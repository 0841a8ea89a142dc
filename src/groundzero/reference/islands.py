"""Islands: facts in a prompt that do not see each other, so that their order and their number say nothing.

Write three facts before a question, and attention reads the third through the first two, the second through the first,
and the first through nothing. Swap them, and every vector changes, though the facts are the same. K-BERT (Liu et al.
2020) hides facts from each other (the visible matrix) and lets all of them begin at the same place (soft positions).

Every token has an island: 0, the *mainland*, for the text itself, and 1, 2, ... for the facts.

    visible     t sees s   where   s <= t   and   (island_t = 0  or  island_s = 0  or  island_t = island_s)
    position    each island of a run begins where the run begins; the mainland goes on behind the longest

So a fact is read as if nothing else stood there, and the question sees them all, each from the same distance.

Shapes: B batch, T queries, S keys (the queries are the last T of them).

Run me: `python -m groundzero.reference.islands`
"""

from __future__ import annotations

import numpy as np

from groundzero.reference.attention import Attention, causal_mask
from groundzero.reference.layers import rotary_frequencies, rotary_tables
from groundzero.reference.module import Array, Ids, Visible


def island_mask(islands_BS: Ids, n_query: int | None = None) -> Visible:
    """Who may see whom as far as islands go: (B, 1, T, S), to be joined with the causal mask by "and".

    >>> island_mask(np.array([[0, 1, 2, 0]]))[0, 0, 2].tolist()    # the token of island 2
    [True, False, True, True]
    """
    n_query = islands_BS.shape[1] if n_query is None else n_query
    asking_BT1 = islands_BS[:, islands_BS.shape[1] - n_query :, None]
    asked_B1S = islands_BS[:, None, :]
    return np.asarray((asking_BT1 == 0) | (asked_B1S == 0) | (asking_BT1 == asked_B1S))[:, None]


def island_positions(islands_BT: Ids) -> Ids:
    """Where each token stands, when all islands of a run begin at the same place.

    A token's position is how many tokens of the mainland came before it, plus the longest island of each earlier run,
    plus, on an island, how many tokens of this island came before it in the run.

    >>> island_positions(np.array([[0, 0, 1, 1, 2, 2, 2, 0]])).tolist()
    [[0, 1, 2, 3, 2, 3, 4, 5]]
    """
    positions_BT = np.zeros_like(islands_BT)
    for row_T, islands_T in zip(positions_BT, islands_BT, strict=True):
        start, first = 0, 0
        for place, island in enumerate(islands_T):
            if island == 0:
                run = islands_T[first:place]
                start += max(((run == each).sum() for each in set(run.tolist())), default=0)
                row_T[place] = start
                start, first = start + 1, place + 1
            else:
                row_T[place] = start + (islands_T[first:place] == island).sum()
    return positions_BT


def demo() -> None:
    """Two facts and a question: who sees whom, and what swapping the facts changes."""
    words = ["facts:", "Lima", "in", "Peru", "Nile", "is", "long", "where", "?"]
    islands_BT = np.array([[0, 1, 1, 1, 2, 2, 2, 0, 0]])
    visible = causal_mask(9, 9) & island_mask(islands_BT)
    print("Two facts in a prompt, each an island. Rows ask, columns are asked:\n")
    print(" " * 8 + "island pos  " + "".join(f"{word:>7s}" for word in words))
    positions_BT = island_positions(islands_BT)
    for word, island, position, row in zip(words, islands_BT[0], positions_BT[0], visible[0, 0], strict=True):
        print(f"{word:>7s} {island:6d} {position:4d}  " + "".join("    see" if seen else "      ." for seen in row))
    rng = np.random.default_rng(0)
    attention = Attention(16, 2, rotary_dim=8, rng=rng, std=0.3, out_std=0.3)
    x = rng.standard_normal((1, 9, 16))
    swapped = np.array([0, 4, 5, 6, 1, 2, 3, 7, 8])
    frequency_R, _ = rotary_frequencies(8, 10_000.0)

    def read(order: Ids, islands: bool) -> Array:
        places_T = positions_BT[0] if islands else np.arange(9)  # both facts have three words
        return attention(  # type: ignore[no-any-return]
            x[:, order], rotary_tables(places_T, frequency_R), visible if islands else None
        )

    print("\nThe same two facts in the other order. The largest change of what attention makes of a fact's words:")
    for name, islands in (("read one through the other", False), ("as islands", True)):
        before, after = read(np.arange(9), islands), read(swapped, islands)
        of_facts = np.abs(after[:, 4:7] - before[:, 1:4]).max(), np.abs(after[:, 1:4] - before[:, 4:7]).max()
        of_question = np.abs(after[:, 7:] - before[:, 7:]).max()
        print(f"   {name:28s} facts {max(of_facts):.3f}   question {of_question:.3f}")
    print("\nNext: lora, which teaches a trained model something new by changing almost nothing.")


if __name__ == "__main__":
    demo()
