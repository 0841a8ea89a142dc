"""Batches of packed conversations: the face of `data.BatchLoader`, so that the one trainer takes them.

The batch of a step is a pure function of the conversations, the seed and the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np

from groundzero.data import Batch
from groundzero.data.order import mix, permute
from groundzero.data.prefetch import Prefetch
from groundzero.errors import InputError, UsageError
from groundzero.finetune.packing import Lesson, pack


class ConversationLoader:
    """Training batches by step, and a pass over the validation conversations.

    Raises:
        InputError: there is nothing to learn from, or nothing to validate with.
        UsageError: batch_size is below 1.
    """

    def __init__(
        self,
        training: Sequence[Lesson],
        validation: Sequence[Lesson],
        *,
        batch_size: int,
        context: int,
        seed: int = 0,
        token_bytes: Sequence[int] | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size} must be at least 1.", remedy="Raise it.")
        if not training or not validation:
            which = "validate with" if training else "learn from"
            raise InputError(f"There is no conversation to {which}.", remedy="Give more of them.")
        self.batch_size, self.context, self.seed = batch_size, context, seed
        self.rows, self._validation = pack(training, context), pack(validation, context)
        self._validation_bytes = None
        if token_bytes is not None:
            sizes = np.asarray(token_bytes, dtype=np.int64)
            targets_RT = self._validation.targets_RT
            self._validation_bytes = int(sizes[targets_RT[targets_RT >= 0]].sum())

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see every row at least once."""
        return -(-len(self.rows) // self.batch_size)

    def steps_for(self, epochs: float) -> int:
        """Steps that cover this many epochs, at least 1."""
        return max(1, int(np.ceil(epochs * len(self.rows) / self.batch_size)))

    def epoch_at(self, step: int) -> float:
        """How many epochs are behind when `step` begins."""
        return step * self.batch_size / len(self.rows)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0; the last of an epoch is filled from the next."""
        place_B = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        epoch_B, index_B = np.divmod(place_B, len(self.rows))
        row_B = np.empty_like(place_B)
        for epoch in range(int(epoch_B[0]), int(epoch_B[-1]) + 1):
            here = epoch_B == epoch
            row_B[here] = permute(index_B[here], len(self.rows), mix(mix(self.seed) + epoch))
        return Batch.of(self.rows.windows(row_B))

    def prefetch(
        self, start_step: int, stop_step: int | None = None, *, depth: int = 4, pin: bool = False
    ) -> AbstractContextManager[Iterator[tuple[int, Batch]]]:
        """As `BatchLoader.prefetch`."""
        make = (lambda step: self.batch(step).pin_memory()) if pin else self.batch
        return Prefetch(make, start_step, stop_step, depth)

    def validation_batches(self, *, max_tokens: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """The validation conversations in order; the last batch may have fewer rows.

        Args:
            max_tokens: only the first rows that hold so many tokens.
        """
        rows = batch_size or self.batch_size
        n_row = len(self._validation)
        if max_tokens is not None:
            n_row = min(n_row, max(1, max_tokens // self.context))
        for first in range(0, n_row, rows):
            yield Batch.of(self._validation.windows(np.arange(first, min(first + rows, n_row))))

    def validation_bytes(self, *, max_tokens: int | None = None) -> int | None:
        """UTF-8 bytes of what is to be learnt in `validation_batches`; None where not known or only a part is asked."""
        return self._validation_bytes if max_tokens is None else None
