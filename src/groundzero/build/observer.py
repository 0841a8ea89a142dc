"""What a build tells whoever watches it: the news of its trainings, and which stage it is at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from groundzero.train.observer import Observer

if TYPE_CHECKING:
    from groundzero.build.plan import Plan


class BuildObserver(Observer):
    """Every method does nothing unless overridden. `preparing` also counts what a stage does that is no training."""

    def planned(self, plan: Plan) -> None:
        """What the build will be, before anything is spent."""

    def stage(self, name: str, what: str, number: int, total: int) -> None:
        """A stage begins, the `number`-th of `total`."""

    def finished(self, name: str, figures: Mapping[str, Any], seconds: float) -> None:
        """A stage is done, and what it came to is kept."""
