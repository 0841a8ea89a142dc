"""The fast byte-pair engine: rustbpe trains, tiktoken encodes.

Measured on 10 MB of books and Wikipedia at 32,000 ids, two cores (`python -m benchmarks tokenizer`): rustbpe trains
in about a quarter of the time of tokenizers (tiktoken cannot train); tiktoken, asked for its raw buffer, encodes in
half the time of rustbpe and a seventh of that of tokenizers, and needs no list of Python integers in between.

tiktoken merges by the *bytes* of two neighbours, not by which pair was learnt. For a vocabulary that BPE training
made, the two are the same. A token boundary that survives the first k merges means that no merge crossed it, so each
side reads as it would alone. If `abc` was learnt as (ab, c), then `abc` alone reads ab|c before that merge; it can
then not read a|bc in any other place. Nor can two tokens have the same bytes. `tests/tokenizer/test_engine.py` holds
this against the merge-by-merge encoder of `reference/bpe.py`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import numpy.typing as npt
import rustbpe
import tiktoken

from groundzero.reference.bpe import N_CONTROL
from groundzero.tokenizer.blocks import blocks_of, stream_blocks
from groundzero.tokenizer.patterns import SplitPattern

FIRST_MERGE = N_CONTROL + 256
BLOCK = 1 << 16
"""Characters of text that one thread takes at a time: 64 Ki keeps two cores busy and the switches rare."""


def train_tokens(texts: Iterable[str], n_tokens: int, pattern: SplitPattern, min_frequency: int) -> list[bytes]:
    """The bytes of each token, the 256 bytes first, then merges in the order learnt; at most `n_tokens`.

    Args:
        texts: read twice where `min_frequency` is above 1, so not an iterator then.
    """
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(stream_blocks(texts, BLOCK), n_tokens, buffer_size=256, pattern=pattern.regex)
    tokens = [bytes(token) for token, _rank in trainer.get_mergeable_ranks()]
    if min_frequency > 1 and len(tokens) > 256 and not _surely_frequent(texts, trainer, tokens, min_frequency):
        tokens = tokens[: 256 + _n_frequent(texts, tokens, pattern, min_frequency)]
    return tokens


def _surely_frequent(texts: Iterable[str], trainer: rustbpe.Tokenizer, tokens: list[bytes], least: int) -> bool:
    """Whether the last merge, and with it every earlier one, was certainly made often enough.

    Counts never rise along the merges, but for runs: `xx` is counted at every place in `xxxx` and made at every
    second one. So a last merge made 2 x `least` times vouches for all. A few places of its text settle that.
    """
    try:
        wanted = tokens[-1].decode("utf-8")
    except UnicodeDecodeError:
        return False
    last, found = len(tokens) - 1, 0
    for text in texts:
        at = text.find(wanted)
        while at >= 0:
            start = max(text.rfind("\n", 0, at), 0)
            end = text.find("\n", at + len(wanted))
            block = text[start : end if end >= 0 else len(text)]
            if len(block) > BLOCK:
                return False
            found += trainer.encode(block).count(last)
            if found >= 2 * least:
                return True
            at = text.find(wanted, start + len(block))
    return False


def _n_frequent(texts: Iterable[str], tokens: list[bytes], pattern: SplitPattern, least: int) -> int:
    """How many merges come before the first that was made fewer than `least` times.

    Every token of the encoded text was made once, and so were the two parts of every token made.
    """
    engine = BytePairEngine(tokens, pattern, ())
    made = np.zeros(FIRST_MERGE + len(tokens) - 256, dtype=np.int64)
    for text in texts:
        for ids in engine.encode_batch([text]):
            made += np.bincount(ids, minlength=len(made))
    pairs = merges_of(tokens)
    for k in reversed(range(len(pairs))):
        for part in pairs[k]:
            made[N_CONTROL + part] += made[FIRST_MERGE + k]
    rare = np.flatnonzero(made[FIRST_MERGE:] < least)
    return int(rare[0]) if len(rare) else len(pairs)


def merges_of(tokens: Sequence[bytes]) -> list[tuple[int, int]]:
    """The pair of earlier tokens (indices) that each token after the 256 bytes was merged from.

    Most tokens can be cut into two known ones in one way only; the others are encoded with the earlier tokens.
    """
    rank_of = {token: rank for rank, token in enumerate(tokens)}
    pairs = []
    for rank in range(256, len(tokens)):
        token = tokens[rank]
        cuts = [
            (left, right)
            for i in range(1, len(token))
            if (left := rank_of.get(token[:i], rank)) < rank and (right := rank_of.get(token[i:], rank)) < rank
        ]
        pairs.append(cuts[0] if len(cuts) == 1 else _last_two(token, rank, rank_of))
    return pairs


def _last_two(token: bytes, rank: int, rank_of: dict[bytes, int]) -> tuple[int, int]:
    """The two parts that encoding `token` with the tokens before it ends in."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        ranks = [rank_of.get(left + right, rank) for left, right in itertools.pairwise(parts)]
        i = min(range(len(ranks)), key=ranks.__getitem__)
        assert ranks[i] < rank, f"token {token!r} was not made by merging"
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return rank_of[parts[0]], rank_of[parts[1]]


class BytePairEngine:
    """Encodes text with a trained vocabulary, in parallel and straight into arrays."""

    def __init__(self, tokens: Sequence[bytes], pattern: SplitPattern, controls: Sequence[str]) -> None:
        self._tokens = tokens
        self._pattern = pattern
        self._controls = controls

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return tiktoken.Encoding(
            "groundzero",
            pat_str=self._pattern.regex,
            mergeable_ranks={token: N_CONTROL + i for i, token in enumerate(self._tokens)},
            # At least one name: with none, tiktoken's search for names stops at every character.
            special_tokens={name: i for i, name in enumerate(self._controls)} or {"<PAD>": 0},
        )

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """Ids of one text. `text` holds no lone surrogate (checked by the caller)."""
        if control:
            return self._encoding.encode(text, allowed_special="all")
        return self._encoding.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str], *, control: bool = False) -> list[npt.NDArray[np.uint32]]:
        """Ids of each text, from all cores."""
        names = set(self._controls) if control else set()
        buffer_of = self._encoding._core_bpe.encode_to_tiktoken_buffer

        def encode(blocks: list[str]) -> list[npt.NDArray[np.uint32]]:
            return [np.frombuffer(buffer_of(block, names), dtype=np.uint32) for block in blocks]

        n_blocks = []
        blocks: list[str] = []
        for text in texts:
            own = blocks_of(text, BLOCK)
            n_blocks.append(len(own))
            blocks += own
        jobs = list(_jobs(blocks))
        if len(jobs) <= 1:
            encoded = iter(encode(blocks))
        else:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                encoded = itertools.chain.from_iterable(list(pool.map(encode, jobs)))
        return [_join(list(itertools.islice(encoded, n))) for n in n_blocks]


def _jobs(blocks: list[str]) -> Iterator[list[str]]:
    """Neighbouring blocks together, at least `BLOCK` characters in each lot but the last."""
    lot: list[str] = []
    size = 0
    for block in blocks:
        lot.append(block)
        size += len(block)
        if size >= BLOCK:
            yield lot
            lot, size = [], 0
    if lot:
        yield lot


def _join(arrays: list[npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint32]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
