"""Keys and values of token prefixes seen before, so that a shared beginning (a chat so far, say) is read once.

A prefix is kept in blocks of 16 tokens. A block's key is a hash of the block before it, its own tokens and, in prompts
with islands, their islands; the first hangs on the model's version and the side inputs. So a hit means the same tokens
from the first on, seeing each other alike, the same weights and the same evidence. The least recently used blocks go
first when the bytes run out, ends before beginnings.

Shapes: L layers, K key/value heads, T tokens of a block, E head_dim.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from groundzero.model.cache import KVCache

BLOCK = 16
"""Tokens of a block: the last tokens of a prefix that do not fill one are read again."""

_Block = tuple[Tensor, Tensor]


class PrefixCache:
    """Blocks of keys and values, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.hits = 0
        """Tokens that were found."""
        self.misses = 0
        """Tokens that were looked up and not found."""
        self._blocks: OrderedDict[bytes, _Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self.nbytes = 0

    def restore(
        self, cache: KVCache, row: int, ids: Sequence[int], salt: bytes, islands: Sequence[int] | None = None
    ) -> int:
        """Fill an empty row with the longest known prefix of `ids`; returns its length in tokens.

        Args:
            salt: model version and side inputs, from `salt_of`.
            islands: of each of `ids`, where the prompt has some.
        """
        keys = []
        for key in _block_keys(ids, salt, islands):
            if key not in self._blocks:
                break
            keys.append(key)
        self._touch(keys)
        self.hits += BLOCK * len(keys)
        self.misses += len(ids) - BLOCK * len(keys)
        if keys:
            blocks = [self._blocks[key] for key in keys]
            cache.write_row(row, torch.cat([k for k, _ in blocks], dim=2), torch.cat([v for _, v in blocks], dim=2))
        return BLOCK * len(keys)

    def keep(
        self, cache: KVCache, row: int, ids: Sequence[int], salt: bytes, islands: Sequence[int] | None = None
    ) -> None:
        """Remember the full blocks of a row that holds `ids`."""
        keys = []
        for index, key in enumerate(islice(_block_keys(ids, salt, islands), cache.lengths[row] // BLOCK)):
            keys.append(key)
            if key not in self._blocks:
                span = slice(index * BLOCK, (index + 1) * BLOCK)
                block = cache.keys_LBKSE[:, row, :, span].clone(), cache.values_LBKSE[:, row, :, span].clone()
                self._blocks[key] = block
                self.nbytes += _nbytes(block)
        self._touch(keys)
        while self.nbytes > self.max_bytes:
            _, block = self._blocks.popitem(last=False)
            self.nbytes -= _nbytes(block)

    def _touch(self, keys: Sequence[bytes]) -> None:
        """Mark as just used, beginnings last, so that an end is dropped before what it stands on."""
        for key in reversed(keys):
            self._blocks.move_to_end(key)


def model_version(model: nn.Module) -> Hashable:
    """Changes whenever a weight or buffer is replaced or written in place, as an optimiser or `load_state_dict` does.

    It reads PyTorch's own write counters: a few microseconds for a hundred tensors. A write through `.data` goes
    around the counters; after one, call `Engine.forget_prefixes`.
    """
    tensors = [*model.parameters(), *model.buffers()]
    # Inference tensors cannot be written in place outside inference mode and keep no counter.
    return tuple((id(x), x.data_ptr(), -1 if x.is_inference() else x._version) for x in tensors)


def salt_of(version: int, side_hash: bytes) -> bytes:
    """What the first block of a prefix hangs on."""
    return hashlib.sha256(version.to_bytes(8, "little") + side_hash).digest()


def _block_keys(ids: Sequence[int], salt: bytes, islands: Sequence[int] | None) -> Iterator[bytes]:
    """With islands a block is twice as many bytes, so that no prompt without them has its key."""
    key = salt
    for start in range(0, len(ids) - BLOCK + 1, BLOCK):
        numbers = [*ids[start : start + BLOCK], *(() if islands is None else islands[start : start + BLOCK])]
        key = hashlib.sha256(key + b"".join(number.to_bytes(4, "little") for number in numbers)).digest()
        yield key


def _nbytes(block: _Block) -> int:
    return block[0].nbytes + block[1].nbytes
