"""What a training tells whoever watches it. The command line draws it, tests record it, and silence is the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Observer:
    """Receives news of a training; every method does nothing unless overridden."""

    def message(self, text: str) -> None:
        """A line worth knowing: what was chosen and why, what was saved."""

    def preparing(self, stage: str, done: int, total: int | None) -> None:
        """Reading or encoding text: bytes or tokens done, of how many."""

    def begins(self, step: int, steps: int) -> None:
        """Training starts at `step` of `steps`."""

    def stepped(self, step: int, record: Mapping[str, Any] | None) -> None:
        """A step is done; `record` is what was logged, at every `log_every`-th step."""

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """The validation split was scored."""

    def sampled(self, step: int, prompt: str, text: str) -> None:
        """A fixed prompt was continued."""

    def ends(self) -> None:
        """No more steps will come, for whatever reason."""
