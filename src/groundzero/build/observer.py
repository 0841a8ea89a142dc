"""What a build tells whoever watches it: the news of its trainings, and which stage it is at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class OverdueError(Exception):
    """A training takes far longer than it was given: the machine has become busier than it was when it was measured."""


class Deadline(Observer):
    """Passes the news of a training on, and ends it where it is overdue and has something to show.

    Args:
        late: says whether it is, and whether a checkpoint can be used.
    """

    def __init__(self, inner: Observer, late: Callable[[], bool]) -> None:
        self._late = late
        self._inner = inner
        self.message = inner.message  # type: ignore[method-assign]
        self.preparing = inner.preparing  # type: ignore[method-assign]
        self.begins = inner.begins  # type: ignore[method-assign]
        self.evaluated = inner.evaluated  # type: ignore[method-assign]
        self.sampled = inner.sampled  # type: ignore[method-assign]
        self.ends = inner.ends  # type: ignore[method-assign]

    def stepped(self, step: int, record: Mapping[str, Any] | None) -> None:
        """Raises OverdueError."""
        self._inner.stepped(step, record)
        if self._late():
            raise OverdueError
