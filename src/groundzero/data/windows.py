"""Batches addressed by step: the batch of a step is a pure function of dataset, seed, batch size, context and step.

A resumed run therefore needs no saved position, and sees exactly the batches that an uninterrupted one would.

An epoch lays the stream of tokens out as a ring, cuts it into windows of `context` inputs from a point that the epoch
shifts by less than a window, and visits the windows in the epoch's own order. The target of an input is the token after
it, so in an epoch every token but a document's first is a target exactly once, whatever the lengths. The last window
may be ragged. The last batch of an epoch is filled from the next epoch: batches have one size.

Shapes: B batch, T context, W windows of an epoch, N tokens of a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundzero.data.dataset import Split, TokenDataset, TokenStream
from groundzero.data.order import mix, permute
from groundzero.errors import InputError, UsageError

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Windows:
    """Rows of inputs and what to predict from them.

    `targets_BT` is -1 where nothing is to be predicted: after a document's last token, and in padding. Nothing but such
    targets is possible (context 1, or one ragged window), so divide by `max(targets, 1)`.
    """

    tokens_BT: Int64s
    """0 in padding."""
    targets_BT: Int64s
    """The next token, or -1."""
    documents_BT: Int32s
    """Counts the documents of a row from 0; padding counts as one more."""
    positions_BT: Int32s
    """From 0 at the start of the row and of each document in it."""
    has_borders: bool
    """False when every row lies inside one document, so that plain causal attention is enough."""


class WindowLoader:
    """Training batches by step, and a pass over the validation split, as arrays.

    Raises:
        UsageError: batch_size or context is below 1.
        InputError: the split is not longer than the context.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        split: Split = "train",
        *,
        batch_size: int,
        context: int,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or context < 1:
            raise UsageError(f"batch_size {batch_size} and context {context} must be at least 1.", remedy="Raise it.")
        self.dataset = dataset
        self.stream = dataset.stream(split)
        self.batch_size = batch_size
        self.context = context
        self.seed = seed
        if len(self.stream) <= context:
            raise InputError(
                f"The {split} split has {len(self.stream)} tokens; a context of {context} needs at least "
                f"{context + 1}.",
                remedy=f"Give more text, or lower the context below {len(self.stream)}.",
            )
        self.windows_per_epoch = -(-len(self.stream) // context)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see every window at least once."""
        return -(-self.windows_per_epoch // self.batch_size)

    def steps_for(self, epochs: float) -> int:
        """Steps that cover this many epochs, at least 1."""
        return max(1, int(np.ceil(epochs * self.windows_per_epoch / self.batch_size)))

    def epoch_at(self, step: int) -> float:
        """How many epochs are behind when `step` begins."""
        return step * self.batch_size / self.windows_per_epoch

    def windows(self, step: int) -> Windows:
        """The batch of a step, counted from 0."""
        assert step >= 0
        window_B = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        start_B, length_B = np.empty_like(window_B), np.empty_like(window_B)
        epoch_B, index_B = np.divmod(window_B, self.windows_per_epoch)
        for epoch in range(int(epoch_B[0]), int(epoch_B[-1]) + 1):
            rows = epoch_B == epoch
            key = mix(mix(self.seed) + epoch)
            offset_W = permute(index_B[rows], self.windows_per_epoch, key) * self.context
            start_B[rows] = offset_W + mix(key) % self.context
            length_B[rows] = np.minimum(len(self.stream) - offset_W, self.context)
        return cut(self.stream, start_B % len(self.stream), length_B, self.context)

    def validation_windows(self, *, max_tokens: int | None = None, batch_size: int | None = None) -> Iterator[Windows]:
        """The validation split in order, in windows side by side: every token but a document's first is a target once.

        All batches have one shape; the last is filled up with rows of padding.

        Args:
            max_tokens: only the first so many tokens (a stated fixed part); the whole split when None.
            batch_size: rows; the training batch size when None.

        Raises:
            InputError: the split has fewer than 2 tokens, so nothing to predict.
        """
        inputs = self._validation_inputs(max_tokens)
        rows = batch_size or self.batch_size
        for first in range(0, inputs, rows * self.context):
            start_B = first + np.arange(rows, dtype=np.int64) * self.context
            length_B = np.clip(inputs - start_B, 0, self.context)
            yield cut(self.dataset.validation, np.minimum(start_B, inputs - 1), length_B, self.context)

    def validation_bytes(self, *, max_tokens: int | None = None) -> int | None:
        """UTF-8 bytes of the targets of `validation_windows`, for bits per byte; None when the dataset cannot say.

        <EOS> is a target of no bytes: coding where a document ends is part of the price of its text.
        """
        token_bytes = self.dataset.token_bytes
        if token_bytes is None:
            return None
        stream, stop = self.dataset.validation, self._validation_inputs(max_tokens) + 1
        total = 0
        for first in range(0, stop, 2**20):
            total += int(token_bytes[stream.read(first, min(first + 2**20, stop))].sum(dtype=np.int64))
        starts = stream.starts[: np.searchsorted(stream.starts, stop)]
        firsts = np.array([stream.read(int(start), int(start) + 1)[0] for start in starts], dtype=np.int64)
        return total - int(token_bytes[firsts].sum(dtype=np.int64))

    def _validation_inputs(self, max_tokens: int | None) -> int:
        length = len(self.dataset.validation)
        if length < 2 or (max_tokens is not None and max_tokens < 2):
            raise InputError(
                f"The validation split has {min(length, max_tokens or length)} token to evaluate on; it needs 2.",
                remedy="Give more text, or raise validation_fraction.",
            )
        return min(length, max_tokens or length) - 1


def cut(stream: TokenStream, start_B: Int64s, length_B: Int64s, context: int) -> Windows:
    """Windows of the stream, read as a ring: row b holds `length_B[b]` inputs from `start_B[b]` on, then padding."""
    row_B = np.arange(len(start_B))
    tokens_BT1 = _gather(stream, start_B, context + 1)
    border_rows, border_columns = _borders(stream.starts, len(stream), start_B, context + 1)
    tokens_BT = tokens_BT1[:, :-1]
    targets_BT = tokens_BT1[:, 1:].copy()
    has_target = border_columns > 0
    targets_BT[border_rows[has_target], border_columns[has_target] - 1] = -1

    inner = has_target & (border_columns < context)
    border_rows, border_columns = border_rows[inner], border_columns[inner]
    ragged = row_B[length_B < context]
    if len(ragged):
        tokens_BT = tokens_BT.copy()
        for row in ragged:
            tokens_BT[row, length_B[row] :] = 0
            targets_BT[row, length_B[row] :] = -1
        real = border_columns < length_B[border_rows]
        border_rows = np.concatenate([border_rows[real], ragged])
        border_columns = np.concatenate([border_columns[real], length_B[ragged]])
    documents_BT, positions_BT = _documents_and_positions(len(start_B), context, border_rows, border_columns)
    return Windows(
        tokens_BT=np.ascontiguousarray(tokens_BT),
        targets_BT=targets_BT,
        documents_BT=documents_BT,
        positions_BT=positions_BT,
        has_borders=len(border_rows) > 0,
    )


def _gather(stream: TokenStream, start_B: Int64s, width: int) -> Int64s:
    tokens_BW = np.empty((len(start_B), width), dtype=np.int64)
    for row, start in enumerate(start_B.tolist()):
        filled = 0
        while filled < width:  # once, unless the window passes the end of the ring
            stop = min(start + width - filled, len(stream))
            tokens_BW[row, filled : filled + stop - start] = stream.read(start, stop)
            filled, start = filled + stop - start, 0  # noqa: PLW2901
    return tokens_BW


def _borders(starts: Int64s, n: int, start_B: Int64s, width: int) -> tuple[Int64s, Int64s]:
    """Rows and columns at which a document starts; column 0 means that the window itself starts with a document.

    The stream is a ring of n, so a place is a lap and an index, and the starts before it are counted lap by lap.
    """
    stop_lap_B, stop_B = np.divmod(start_B + width, n)
    first_B = np.searchsorted(starts, start_B)
    count_B = stop_lap_B * len(starts) + np.searchsorted(starts, stop_B) - first_B
    rows = np.repeat(np.arange(len(start_B)), count_B)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count_B) - count_B, count_B)
    lap, index = np.divmod(first_B[rows] + within, len(starts))
    return rows, starts[index] + lap * n - start_B[rows]


def _documents_and_positions(batch_size: int, context: int, rows: Int64s, columns: Int64s) -> tuple[Int32s, Int32s]:
    column_T = np.arange(context, dtype=np.int32)
    if not len(rows):
        return np.zeros((batch_size, context), np.int32), np.tile(column_T, (batch_size, 1))
    documents_BT = np.zeros((batch_size, context), np.int32)
    documents_BT[rows, columns] = 1
    since_BT = documents_BT * column_T
    np.maximum.accumulate(since_BT, axis=1, out=since_BT)
    np.cumsum(documents_BT, axis=1, out=documents_BT)
    return documents_BT, column_T - since_BT
