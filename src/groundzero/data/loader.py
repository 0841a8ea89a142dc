"""Windows as tensors: what the PyTorch trainer is fed, made ahead in a background thread.

Which windows, and why, is said in `windows.py`; this file adds the tensors and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from groundzero.data.prefetch import Prefetch
from groundzero.data.windows import WindowLoader, Windows


@dataclass(frozen=True)
class Batch:
    """`Windows` as tensors; the fields mean the same."""

    tokens_BT: torch.Tensor
    """int64; 0 in padding."""
    targets_BT: torch.Tensor
    """int64; the next token, or -1."""
    documents_BT: torch.Tensor
    """int32; counts the documents of a row from 0; padding counts as one more."""
    positions_BT: torch.Tensor
    """int32; from 0 at the start of the row and of each document in it."""
    has_borders: bool
    """False when every row lies inside one document, so that plain causal attention is enough."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the loss by name, for objectives that need some: tensors, or named tuples of them."""

    @classmethod
    def of(cls, windows: Windows) -> Batch:
        """Tensors over the same memory."""
        return cls(
            tokens_BT=torch.from_numpy(windows.tokens_BT),
            targets_BT=torch.from_numpy(windows.targets_BT),
            documents_BT=torch.from_numpy(windows.documents_BT),
            positions_BT=torch.from_numpy(windows.positions_BT),
            has_borders=windows.has_borders,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """A copy on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, from which a GPU copies without waiting."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return Batch(
            tokens_BT=change(self.tokens_BT),
            targets_BT=change(self.targets_BT),
            documents_BT=change(self.documents_BT),
            positions_BT=change(self.positions_BT),
            has_borders=self.has_borders,
            extras={name: _map_nested(value, change) for name, value in self.extras.items()},
        )


def _map_nested(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Change a tensor, or each in a named tuple; None stays."""
    if value is None or isinstance(value, torch.Tensor):
        return None if value is None else change(value)
    return type(value)(*(_map_nested(part, change) for part in value))


class Loader(Protocol):
    """What a trainer asks of whatever feeds it."""

    batch_size: int
    context: int

    def steps_for(self, epochs: float) -> int:
        """Steps that cover this many epochs, at least 1."""
        ...

    def epoch_at(self, step: int) -> float:
        """How many epochs are behind when `step` begins."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0: the same whenever it is asked for."""
        ...

    def prefetch(
        self, start_step: int, stop_step: int | None = None, *, depth: int = 4, pin: bool = False
    ) -> AbstractContextManager[Iterator[tuple[int, Batch]]]:
        """Batches from `start_step` on, made ahead."""
        ...

    def validation_batches(self, *, max_tokens: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """What is to be validated on, in order."""
        ...

    def validation_bytes(self, *, max_tokens: int | None = None) -> int | None:
        """UTF-8 bytes of the targets of `validation_batches`; None where that is not known."""
        ...


class BatchLoader(WindowLoader):
    """Training batches by step, and a pass over the validation split, as tensors."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        return Batch.of(self.windows(step))

    def prefetch(
        self, start_step: int, stop_step: int | None = None, *, depth: int = 4, pin: bool = False
    ) -> AbstractContextManager[Iterator[tuple[int, Batch]]]:
        """Batches from `start_step` on, made ahead in a background thread.

        Use as `with loader.prefetch(step) as batches: for step, batch in batches: ...`. What goes wrong in the thread
        is raised in the loop; leaving the block, by any way, stops the thread.

        Args:
            stop_step: the first step not made; endless when None.
            depth: most batches held ready.
            pin: put them in page-locked memory (for CUDA).
        """
        return Prefetch(self._load_pinned if pin else self.batch, start_step, stop_step, depth)

    def validation_batches(self, *, max_tokens: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """`validation_windows` as tensors."""
        return map(Batch.of, self.validation_windows(max_tokens=max_tokens, batch_size=batch_size))

    def _load_pinned(self, step: int) -> Batch:
        return self.batch(step).pin_memory()
