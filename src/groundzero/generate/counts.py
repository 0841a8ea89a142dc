"""Which tokens each row has seen and generated, for the penalties; kept up to date by one scatter a step.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class TokenCounts:
    """A table over rows and vocabulary, made when the first request with a penalty arrives."""

    def __init__(self, rows: int, vocabulary: int, device: torch.device | str) -> None:
        self.seen_BV = torch.zeros(rows, vocabulary, dtype=torch.bool, device=device)
        self.generated_BV = torch.zeros(rows, vocabulary, dtype=torch.int32, device=device)

    @property
    def rows(self) -> int:
        """Rows there is room for."""
        return len(self.seen_BV)

    def set_row(self, row: int, prompt: Sequence[int], generated: Sequence[int]) -> None:
        """Make a row say what a request's tokens are."""
        self.seen_BV[row] = False
        self.generated_BV[row] = 0
        ids = torch.tensor([*prompt, *generated], dtype=torch.int64, device=self.seen_BV.device)
        self.seen_BV[row, ids] = True
        answer = ids[len(prompt) :]
        self.generated_BV[row].scatter_add_(0, answer, torch.ones_like(answer, dtype=torch.int32))

    def add(self, ids_B: Tensor) -> None:
        """Count one new token in each of the first rows."""
        ids_B1 = ids_B[:, None]
        self.seen_BV[: len(ids_B)].scatter_(1, ids_B1, True)
        self.generated_BV[: len(ids_B)].scatter_add_(1, ids_B1, torch.ones_like(ids_B1, dtype=torch.int32))

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        self.seen_BV[target] = self.seen_BV[source]
        self.generated_BV[target] = self.generated_BV[source]
