"""Byte-pair encoding: how text becomes the whole numbers that a language model reads.

A model needs a fixed list of symbols. Letters alone make texts long; words alone never cover a new name. Byte-pair
encoding (Gage 1994; Sennrich et al. 2016) grows the list from the text itself:

1. Start with an alphabet: the 256 byte values, so that *any* text, emoji or binary can be written.
2. Cut the text into pieces (words; see `split.py`) and write each piece in the alphabet.
3. Count how often each two neighbours occur. The most frequent pair becomes a new symbol, everywhere.
4. Repeat until the vocabulary is full. The list of pairs, in order, is the whole of what was learnt.

Encoding replays the merges on new text in the same order. Decoding looks up bytes and joins them.

Step 3 done naively re-counts the text for each merge. The counts are kept instead: merging a pair changes only the
counts of its own neighbours, and only in the words that hold it. A heap yields the most frequent pair; an entry whose
count has since fallen goes back with the right count (counts of existing pairs never rise, because every pair that a
merge creates contains the new symbol, so the first up-to-date entry is the maximum).

Ties are broken towards the smaller pair of ids, so training is a function of the counts alone: neither the order of
the documents nor a hash seed can change it. Overlapping neighbours all count (`aaa` holds the pair `aa` twice), while
merging goes left to right (`aaa` becomes `aa`,`a`). A merge must be *made* at least `minimum_frequency` times.

Ids: control symbols come first (0-63; `<PAD>`, `<EOS>`, chat turns ...), then the alphabet (64-319), then the merges
(from 320). Text never becomes a control symbol unless `control=True` asks for it.

Run me: `python -m groundzero.reference.tokenizer`
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from groundzero.reference.split import split

Pair = tuple[int, int]

SPECIAL_TOKENS = ("<PAD>", "<UNK>", "<BOS>", "<EOS>", "<SEP>", "<MASK>", "<KNOW>")
CHAT_TURNS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
N_CONTROL = 64
NAMED = SPECIAL_TOKENS + CHAT_TURNS
CONTROL_TOKENS = NAMED + tuple(f"<|reserved_{i}|>" for i in range(len(NAMED), N_CONTROL))


@dataclass(frozen=True)
class BytePairEncoding:
    """A trained vocabulary: control symbols, alphabet, merges, in the order of their ids."""

    controls: tuple[str, ...]
    """Names of the control symbols, ids from 0."""
    symbols: tuple[bytes, ...]
    """The alphabet: single bytes, or the UTF-8 bytes of single characters; ids follow the controls."""
    merges: tuple[Pair, ...]
    """Pairs of ids in the order they were learnt; the k-th makes the id `first_merge + k`."""
    alphabet: Literal["byte", "character"]
    pattern: str
    """Name of the split pattern (`split.py`)."""

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """Ids of `text`. With `control`, names of control symbols in it become their ids."""
        if not control or not self.controls:
            return [token for piece in split(text, self.pattern) for token in self._encode_piece(piece)]
        names = re.compile("(" + "|".join(re.escape(name) for name in self.controls) + ")")
        ids: list[int] = []
        for i, part in enumerate(names.split(text)):  # plain text at even places, names at odd ones
            ids += [self.controls.index(part)] if i % 2 else self.encode(part)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; control symbols leave nothing, bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.tokens[token] for token in ids).decode("utf-8", errors="replace")

    @cached_property
    def tokens(self) -> tuple[bytes, ...]:
        """The bytes of every id; none for a control symbol."""
        tokens = [b""] * len(self.controls) + list(self.symbols)
        for left, right in self.merges:
            tokens.append(tokens[left] + tokens[right])
        return tuple(tokens)

    @property
    def vocabulary_size(self) -> int:
        return len(self.controls) + len(self.symbols) + len(self.merges)

    def _encode_piece(self, piece: str) -> list[int]:
        """Replay the merges, earliest first, until no neighbour is a learnt pair."""
        ids = [self._symbol_ids.get(symbol, self._unknown_id) for symbol in spell(piece, self.alphabet)]
        while len(ids) > 1:
            pair = min(itertools.pairwise(ids), key=lambda pair: self._merge_ids.get(pair, self.vocabulary_size))
            if pair not in self._merge_ids:
                break
            ids = merge(ids, pair, self._merge_ids[pair])
        return ids

    @cached_property
    def _merge_ids(self) -> dict[Pair, int]:
        return {pair: len(self.controls) + len(self.symbols) + k for k, pair in enumerate(self.merges)}

    @cached_property
    def _symbol_ids(self) -> dict[bytes, int]:
        return {symbol: len(self.controls) + k for k, symbol in enumerate(self.symbols)}

    @cached_property
    def _unknown_id(self) -> int:
        return self.controls.index("<UNK>") if "<UNK>" in self.controls else -1  # a byte alphabet knows every byte


def train(
    texts: str | Iterable[str],
    vocabulary_size: int,
    *,
    alphabet: Literal["byte", "character"] = "byte",
    controls: Sequence[str] = CONTROL_TOKENS,
    pattern: str = "qwen2",
    minimum_frequency: int = 2,
) -> BytePairEncoding:
    """Learn merges from documents until the vocabulary is full or no pair is frequent enough.

    Args:
        texts: one document, or several; a piece never spans two.
        vocabulary_size: ids in all: controls, alphabet and merges.
        alphabet: `byte`, or `character`: the characters of the text, any other becoming `<UNK>`.
        controls: names for the ids from 0; a small exercise takes fewer, `CONTROL_TOKENS[:4]` say.
        minimum_frequency: how often a merge must be made in the training text.

    Raises:
        ValueError: the vocabulary is smaller than the controls and the alphabet; or a character alphabet has no
            `<UNK>` among its controls.
    """
    pieces = Counter(piece for text in ([texts] if isinstance(texts, str) else texts) for piece in split(text, pattern))
    if alphabet == "byte":
        symbols = tuple(bytes([value]) for value in range(256))
    else:
        symbols = tuple(character.encode() for character in sorted(set().union(*pieces)))
        if "<UNK>" not in controls:
            raise ValueError("a character alphabet needs <UNK> among its controls")
    first_merge = len(controls) + len(symbols)
    if vocabulary_size < first_merge:
        raise ValueError(
            f"vocabulary_size {vocabulary_size} is less than {len(controls)} controls + {len(symbols)} symbols"
        )
    symbol_ids = {symbol: len(controls) + k for k, symbol in enumerate(symbols)}
    words = [[symbol_ids[symbol] for symbol in spell(piece, alphabet)] for piece in pieces]
    merges = learn_merges(words, list(pieces.values()), first_merge, vocabulary_size - first_merge, minimum_frequency)
    return BytePairEncoding(tuple(controls), symbols, tuple(merges), alphabet, pattern)


def learn_merges(
    words: list[list[int]], counts: list[int], first_merge: int, n_merges: int, minimum_frequency: int
) -> list[Pair]:
    """The merges, most frequent first. `words` are rewritten in place; `counts` says how often each occurs."""
    pair_counts: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that may hold a pair
    for w, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pair_counts[pair] += counts[w]
            holders[pair].add(w)
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)

    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        negative_count, pair = heapq.heappop(heap)
        if pair_counts[pair] != -negative_count:
            if pair_counts[pair] > 0:
                heapq.heappush(heap, (-pair_counts[pair], pair))
            continue
        new = first_merge + len(merges)
        made, created = 0, set()
        for w in holders.pop(pair):
            before, after = words[w], merge(words[w], pair, new)
            made += counts[w] * (len(before) - len(after))
            words[w] = after
            for old in itertools.pairwise(before):
                pair_counts[old] -= counts[w]
            for now in itertools.pairwise(after):
                pair_counts[now] += counts[w]
                if new in now:
                    holders[now].add(w)
                    created.add(now)
        if made < minimum_frequency:
            break
        merges.append(pair)
        for now in created:
            heapq.heappush(heap, (-pair_counts[now], now))
    return merges


def merge(ids: list[int], pair: Pair, new: int) -> list[int]:
    """`ids` with every `pair`, from the left, replaced by `new`."""
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def spell(piece: str, alphabet: Literal["byte", "character"]) -> list[bytes]:
    """A piece in the letters of the alphabet."""
    data = piece.encode("utf-8")
    return [bytes([value]) for value in data] if alphabet == "byte" else [character.encode() for character in piece]


def demo() -> None:
    """Learn the thirty-token vocabulary of a famous line and show what became of it."""
    text = "to be or not to be that is the question"
    bpe = train(text, 30, alphabet="character", controls=CONTROL_TOKENS[:4], minimum_frequency=1)
    print(f"text         {text!r}")
    print(f"alphabet     {' '.join(symbol.decode() for symbol in bpe.symbols)!r}")
    for k, (left, right) in enumerate(bpe.merges):
        new = bpe.vocabulary_size - len(bpe.merges) + k
        print(f"merge {k + 1:2d}     {bpe.tokens[left].decode()!r} + {bpe.tokens[right].decode()!r} -> id {new}")
    for example in ("to be", "question", "banana"):
        ids = bpe.encode(example)
        print(f"{example!r:12} -> {ids} -> {[bpe.tokens[i].decode() or bpe.controls[i] for i in ids]}")
    everything = train("", vocabulary_size=N_CONTROL + 256)
    ids = everything.encode("é世")
    print(f"bytes write  'é世' -> {ids} -> {everything.decode(ids)!r}")


if __name__ == "__main__":
    demo()
