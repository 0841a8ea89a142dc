"""Looking at a tokenizer: its tokens, how far it compresses a text, and how it differs from another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from groundzero.reference.tokenizer import N_CONTROL
from groundzero.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Compression:
    """What a text becomes."""

    characters: int
    bytes: int
    tokens: int
    unknown: int
    """Characters that became <UNK>."""
    ids_used: int
    """Different ids in the encoded text."""

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that one token stands for, on average; more is shorter sequences."""
        return self.bytes / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class Comparison:
    """Two vocabularies side by side, control tokens left out."""

    shared: int
    only_first: list[bytes]
    only_second: list[bytes]


def compression(tokenizer: Tokenizer, texts: Iterable[str]) -> Compression:
    """Encode texts and count."""
    characters = n_bytes = tokens = 0
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for text in texts:
        (ids,) = tokenizer.encode_batch([text])
        characters += len(text)
        n_bytes += len(text.encode("utf-8"))
        tokens += len(ids)
        counts += np.bincount(ids, minlength=tokenizer.vocab_size)
    return Compression(characters, n_bytes, tokens, int(counts[tokenizer.unk_id]), int(np.count_nonzero(counts)))


def compare(first: Tokenizer, second: Tokenizer) -> Comparison:
    """Tokens that both have, and those of one alone, in the order of their ids."""
    ours, theirs = _vocabulary(first), _vocabulary(second)
    return Comparison(
        len(ours.keys() & theirs.keys()),
        [token for token in ours if token not in theirs],
        [token for token in theirs if token not in ours],
    )


def show(tokenizer: Tokenizer, token: int) -> str:
    """An id as a person reads it: the name of a control token, else its bytes by `spell`."""
    return tokenizer.controls[token] if token < N_CONTROL else spell(tokenizer.token_bytes(token))


def spell(token: bytes) -> str:
    """Bytes as a person reads them: text, with unprintable characters escaped, and \\xNN for what is no text."""
    text = token.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _vocabulary(tokenizer: Tokenizer) -> dict[bytes, int]:
    return {tokenizer.token_bytes(i): i for i in range(N_CONTROL, tokenizer.vocab_size)}
