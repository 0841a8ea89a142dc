"""Which two tokens each token was merged from, told from the tokens alone.

Trainers and encoders that think in bytes (rustbpe, tiktoken) keep only the list of tokens; files of Hugging Face's
kind want the pairs. A token is cut where its bytes, encoded with only the tokens before it, are left in two parts.
"""

from __future__ import annotations

from collections.abc import Sequence

N_BYTES = 256

Pair = tuple[int, int]


class MergeTable:
    """The pair of earlier tokens behind each token, found when asked for. All numbers are indices of `tokens`."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._tokens = tokens
        self._index_of = {token: index for index, token in enumerate(tokens)}
        self._lengths = sorted({len(token) for token in tokens})
        self._known: dict[int, Pair] = {}

    def all(self) -> list[Pair]:
        """The pairs behind the tokens from 256 on; 0.15 s for 32,000."""
        return [self.parts(index) for index in range(N_BYTES, len(self._tokens))]

    def parts(self, index: int) -> Pair:
        """The pair behind one merged token. Most can be cut into two earlier tokens in one way only."""
        if index not in self._known:
            cuts = self._cuts(index)
            self._known[index] = (
                cuts[0] if len(cuts) == 1 else next(cut for cut in cuts if self._stay_apart(*cut, before=index))
            )
        return self._known[index]

    def _cuts(self, index: int) -> list[Pair]:
        token = self._tokens[index]
        cuts = []
        for length in self._lengths:
            if length >= len(token):
                break
            left = self._index_of.get(token[:length], index)
            if left < index and (right := self._index_of.get(token[length:], index)) < index:
                cuts.append((left, right))
        return cuts

    def _stay_apart(self, left: int, right: int, *, before: int) -> bool:
        """Whether no merge earlier than `before` joins what is left and right of the border between two tokens.

        Walks back in time: the later of the two tokens is taken apart, which uncovers its part at the border as it
        stood until then; that part must not have been merged across the border in the meantime. Of two overlapping
        places for the same merge the left one wins, so a token on the right also yields to its own pair.
        """
        while True:
            if self._index_of.get(self._tokens[left] + self._tokens[right], before) < before:
                return False
            if max(left, right) < N_BYTES:
                return True
            if left > right:
                before, left = left, self.parts(left)[1]
            else:
                before, right = right + 1, self.parts(right)[0]
