"""Keys and values of the tokens already seen, so that the next token costs one step and not the whole sequence.

Shapes: L layers, B rows, K key/value heads, S slots for tokens, E head_dim, T new tokens.

Every row has its own length, so that requests of different lengths share a batch. `rows(n)` is a view of the first n
rows: an engine keeps its live requests there and moves the last one into a gap, so a view is a slice and never a copy.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from groundzero.model.config import GPTConfig


class KVCache:
    """Keys and values per layer and row.

    Args:
        capacity: tokens a row can hold. `None` grows by doubling as needed; a number is allocated once and fixed,
            and a longer row is an error of the caller.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        capacity: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        slots = capacity if capacity is not None else min(64, config.context)
        shape = (config.n_layer, batch_size, config.n_kv_head, slots, config.head_dim)
        self.growing = capacity is None
        self.keys_LBKSE = torch.zeros(shape, dtype=dtype, device=device)
        self.values_LBKSE = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = [0] * batch_size
        """Tokens held by each row."""

    @property
    def batch_size(self) -> int:
        """Rows."""
        return len(self.lengths)

    @property
    def capacity(self) -> int:
        """Tokens a row can hold now."""
        return self.keys_LBKSE.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes held by keys and values."""
        return 2 * self.keys_LBKSE.nbytes

    def rows(self, start: int, stop: int) -> CacheRows:
        """A view of rows [start, stop) to hand to the model."""
        return CacheRows(self, start, stop)

    def all_rows(self) -> CacheRows:
        """A view of every row."""
        return CacheRows(self, 0, self.batch_size)

    def reserve(self, length: int) -> None:
        """Make room for rows of this many tokens."""
        if length <= self.capacity:
            return
        assert self.growing, f"a static cache of {self.capacity} tokens cannot hold {length}"
        grow_by = max(length, 2 * self.capacity) - self.capacity
        self.keys_LBKSE = torch.nn.functional.pad(self.keys_LBKSE, (0, 0, 0, grow_by))
        self.values_LBKSE = torch.nn.functional.pad(self.values_LBKSE, (0, 0, 0, grow_by))

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from `length` on; 0 empties it."""
        assert 0 <= length <= self.lengths[row]
        self.lengths[row] = length

    def copy_row(self, source: int, target: int) -> None:
        """Make row `target` equal to row `source`."""
        length = self.lengths[source]
        self.keys_LBKSE[:, target, :, :length] = self.keys_LBKSE[:, source, :, :length]
        self.values_LBKSE[:, target, :, :length] = self.values_LBKSE[:, source, :, :length]
        self.lengths[target] = length

    def read_row(self, row: int) -> tuple[Tensor, Tensor]:
        """A copy of one row's keys and values, each (L, K, length, E)."""
        length = self.lengths[row]
        return self.keys_LBKSE[:, row, :, :length].clone(), self.values_LBKSE[:, row, :, :length].clone()

    def write_row(self, row: int, keys_LKSE: Tensor, values_LKSE: Tensor) -> None:
        """Put what `read_row` returned back into a row."""
        length = keys_LKSE.shape[2]
        self.reserve(length)
        self.keys_LBKSE[:, row, :, :length] = keys_LKSE
        self.values_LBKSE[:, row, :, :length] = values_LKSE
        self.lengths[row] = length


class CacheRows:
    """A run of rows that take the same number of new tokens in one forward pass."""

    def __init__(self, cache: KVCache, start: int, stop: int) -> None:
        assert 0 <= start < stop <= cache.batch_size
        self.cache, self.start, self.stop = cache, start, stop
        lengths = cache.lengths[start:stop]
        self.even = len(set(lengths)) == 1
        """All rows are equally long, so their places are a slice."""
        self.longest = max(lengths)
        self.lengths_B1 = None if self.even else torch.tensor(lengths, device=cache.keys_LBKSE.device)[:, None]

    def begin(self, n_new: int) -> Self:
        """Reserve room for the new tokens; call once before the layers run."""
        self.cache.reserve(self.longest + n_new)
        return self

    def positions(self, n_new: int) -> Tensor | slice:
        """Where the new tokens stand: a slice when the rows are even, else positions_BT."""
        if self.lengths_B1 is None:
            return slice(self.longest, self.longest + n_new)
        return self.lengths_B1 + torch.arange(n_new, device=self.lengths_B1.device)

    def append(self, layer: int, keys_BKTE: Tensor, values_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values; returns all of them up to the longest row, (B, K, S, E)."""
        n_new = keys_BKTE.shape[2]
        places = self.positions(n_new)
        keys_BKSE = self.cache.keys_LBKSE[layer, self.start : self.stop]
        values_BKSE = self.cache.values_LBKSE[layer, self.start : self.stop]
        if isinstance(places, slice):
            keys_BKSE[:, :, places] = keys_BKTE
            values_BKSE[:, :, places] = values_BKTE
        else:
            index_BKTE = places[:, None, :, None].expand_as(keys_BKTE)
            keys_BKSE.scatter_(2, index_BKTE, keys_BKTE)
            values_BKSE.scatter_(2, index_BKTE, values_BKTE)
        held = self.longest + n_new
        return keys_BKSE[:, :, :held], values_BKSE[:, :, :held]

    def finish(self, n_new: int) -> None:
        """Count the new tokens; call once after the layers ran."""
        for row in range(self.start, self.stop):
            self.cache.lengths[row] += n_new
