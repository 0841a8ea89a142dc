"""Where a copied name meets the text around it: what may stand directly before and after, lest a word grow longer.

A copied "Lima" followed by "ta", or a copied "12" after a written "3", would be a name or number that no fact holds.
Letters and digits that would grow into a copied span are therefore ruled out at both of its ends. Scripts that write
without spaces (and have no capitals, which is how they are told apart) are left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from groundzero.tokenizer import Tokenizer

_OPENING = frozenset("([{<\u201c\u201e\u00ab\u2018\u00bf\u00a1")
_CLOSING = frozenset(".,;:!?)]}%\u201d\u00bb\u2026")
_TAIL_TOKENS = 8


class Kind(IntEnum):
    """What a character is to its neighbour."""

    OTHER = 0
    LETTER = 1
    DIGIT = 2
    FRACTION = 3
    """A point or comma with a digit behind it: it goes on with a number before it."""
    INSIDE = 4
    """The middle of a character: nothing whole can stand before it."""


_GROWS = {
    (Kind.LETTER, Kind.LETTER),
    (Kind.LETTER, Kind.DIGIT),
    (Kind.DIGIT, Kind.DIGIT),
    (Kind.DIGIT, Kind.FRACTION),
}


def grows(last: Kind, first: Kind) -> bool:
    """Whether text of kind `first` directly behind text that ends in kind `last` makes one word or number of both."""
    return first == Kind.INSIDE or (last, first) in _GROWS


def kind_of(character: str) -> Kind:
    """Of one character, or of none."""
    if not character:
        return Kind.OTHER
    if character.isdecimal():
        return Kind.DIGIT
    category = unicodedata.category(character)
    return Kind.LETTER if category in {"Lu", "Ll", "Lt", "Lm", "Mn", "Mc"} else Kind.OTHER


def first_kind(text: str) -> Kind:
    """Of the beginning of a text."""
    return Kind.FRACTION if re.match(r"[.,]\d", text) else kind_of(text[:1])


def _first_kind_of_bytes(data: bytes) -> Kind:
    """Of a token, which may begin or end in the middle of a character."""
    if not data or data[0] < 0x80:
        return first_kind(data.decode("utf-8", errors="ignore"))
    if data[0] < 0xC0:
        return Kind.INSIDE
    whole = data.decode("utf-8", errors="ignore")
    if whole:
        return first_kind(whole)
    return Kind.LETTER if 0xC3 <= data[0] <= 0xDF else Kind.OTHER  # two-byte characters: Latin to Arabic letters


class TokenStarts:
    """How each token of a vocabulary begins."""

    def __init__(self, tokenizer: Tokenizer, device: torch.device | str = "cpu") -> None:
        kinds = [_first_kind_of_bytes(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
        kinds_V = torch.tensor([int(kind) for kind in kinds])
        self._forbidden_after = {
            last: torch.isin(kinds_V, torch.tensor([int(kind) for kind in Kind if grows(last, kind)])).to(device)
            for last in Kind
        }

    def forbidden_after(self, last: Kind) -> Tensor:
        """Which tokens, forbidden_V, would grow into a span that ends in kind `last`."""
        return self._forbidden_after[last]


def last_character(tokenizer: Tokenizer, ids: Sequence[int]) -> str | None:
    """The last character written: "" at the beginning of a text or of a turn, None in the middle of a character."""
    if not ids or not tokenizer.token_bytes(ids[-1]):
        return ""
    data = tokenizer.decode_bytes(ids[-_TAIL_TOKENS:])
    last = data.decode("utf-8", errors="ignore")[-1:]
    return last if last and data.endswith(last.encode()) else None


def wants_space(before: str) -> bool | None:
    """Whether a word behind this character has a space in front: yes, no, or as it likes (None)."""
    if not before or before.isspace() or before in _OPENING:
        return False
    if before in _CLOSING or kind_of(before) in (Kind.LETTER, Kind.DIGIT):
        return True
    return None
