"""How often each merge was made in the training text: the minimum frequency, for a trainer that does not know it.

rustbpe merges until the vocabulary is full. `reference/tokenizer.py` stops at the first merge that would be made fewer
than `min_frequency` times; cutting rustbpe's list there gives the same merges. Two ways of finding the place:

- Nearly always nothing is to be cut. Pair counts never rise along the merges, so a last merge that was made often
  enough vouches for all the others, and a few places of its text prove that. A run needs care: `xx` is *counted* at
  each place of `xxx` and *made* once, so a merge of a token with itself may be made half as often as it is counted,
  and needs proof of its own.
- Else everything is counted: each token of the encoded text was made once, and so were both parts of each token made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from groundzero.reference.tokenizer import N_CONTROL
from groundzero.tokenizer.blocks import window_around
from groundzero.tokenizer.merges import N_BYTES, MergeTable


def surely_frequent(
    texts: Iterable[str], tokens: Sequence[bytes], encode: Callable[[str], list[int]], least: int
) -> bool:
    """Whether every merge was certainly made at least `least` times; False says only that this did not prove it.

    Args:
        encode: text to indices of `tokens`.
    """
    if len(tokens) == N_BYTES:
        return True
    prover = _Prover(texts, tokens, encode)
    last = len(tokens) - 1
    if prover.times_made(last, least) < least:
        return False
    for index in range(last, N_BYTES - 1, -1):
        half = len(tokens[index]) // 2
        if tokens[index][:half] != tokens[index][half:]:
            continue
        made = prover.times_made(index, 2 * least)
        if made < least:
            return False
        if made >= 2 * least:  # counted so often that every earlier merge was made `least` times, runs too
            break
    return True


MOST_PLACES = 1000
"""Places to look at for one token; 20 microseconds each. Where that is not enough, everything is counted."""

LONGEST = 64
"""Longer tokens, in bytes, are not taken apart here: that would recurse as deep as they are long."""


class _Prover:
    """Finds places where a token was made, without encoding more than their surroundings."""

    def __init__(self, texts: Iterable[str], tokens: Sequence[bytes], encode: Callable[[str], list[int]]) -> None:
        self._texts = texts
        self._tokens = tokens
        self._encode = encode
        self._merges = MergeTable(tokens)

    def times_made(self, index: int, enough: int) -> int:
        """How often the token was made in the texts, at least; stops looking at `enough`."""
        try:
            spelling = self._tokens[index].decode("utf-8")
        except UnicodeDecodeError:
            return 0
        if len(spelling) > LONGEST:  # rustbpe encodes in the square of a word's length
            return 0
        made = looked = 0
        for text in self._texts:
            at = text.find(spelling)
            while at >= 0 and looked < MOST_PLACES:
                looked += 1
                window = window_around(text, at, at + len(spelling))
                if window:
                    made += sum(self._made_in(token, index) for token in self._encode(text[slice(*window)]))
                    if made >= enough:
                        return made
                at = text.find(spelling, max(window[1], at + 1) if window else at + 512)
        return made

    def _made_in(self, token: int, index: int) -> int:
        """How often `index` was made on the way to `token`."""
        if token == index:
            return 1
        if token < index or self._tokens[index] not in self._tokens[token] or len(self._tokens[token]) > LONGEST:
            return 0
        return sum(self._made_in(part, index) for part in self._merges.parts(token))


def count_made(
    texts: Iterable[str],
    tokens: Sequence[bytes],
    pairs: Sequence[tuple[int, int]],
    encode_batch: Callable[[Sequence[str]], Sequence[npt.NDArray[np.uint32]]],
) -> npt.NDArray[np.int64]:
    """How often each merge was made. `pairs` are the two indices behind each token from 256 on."""
    made = np.zeros(N_CONTROL + len(tokens), dtype=np.int64)
    for text in texts:
        made += np.bincount(encode_batch([text])[0], minlength=len(made))
    made = made[N_CONTROL:]
    for index in range(len(tokens) - 1, N_BYTES - 1, -1):
        for part in pairs[index - N_BYTES]:
            made[part] += made[index]
    return made[N_BYTES:]
