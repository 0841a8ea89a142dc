"""What a build is asked for. The same order again means the same build, so it is kept with what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundzero.errors import UsageError

EMBEDDED = "embedded:"
"""As a text or a graph: what comes with the package."""
LONGEST = 7 * 24 * 60
"""Minutes: a week."""


@dataclass(frozen=True)
class Order:
    """Text, facts, or both, and how much may be spent on them."""

    text: str = ""
    """File or folder of text; EMBEDDED; empty where the facts are all there is to read."""
    graph: str = ""
    """File of facts, or a graph; EMBEDDED; empty for a model that knows no facts."""
    minutes: float = 20.0
    """For everything."""
    preset: str = ""
    """Name of the model's size; empty to go by the minutes."""
    overrides: tuple[str, ...] = ()
    """`section.key=value`, with the sections of `config.BuildConfig`."""
    seed: int = 1337
    """Of everything that is drawn."""
    device: str = "auto"
    """Where the network computes."""

    def check(self) -> None:
        """Raises UsageError where nothing can be meant by it."""
        if not self.text and not self.graph:
            raise UsageError("There is nothing to build from.", remedy="Give --text DIR, --graph FILE, or both.")
        if not 0 < self.minutes <= LONGEST:
            raise UsageError(
                f"--minutes cannot be {self.minutes:g}.", remedy=f"Give more than 0 and at most {LONGEST}."
            )
        if self.seed < 0:
            raise UsageError(f"--seed cannot be {self.seed}.", remedy="Give 0 or more.")

    def as_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it."""
        return {**asdict(self), "overrides": list(self.overrides)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Order:
        """What `as_json` gave."""
        return cls(**{**values, "overrides": tuple(values["overrides"])})

    def resumed_with(self, given: Mapping[str, Any]) -> Order:
        """This order, where what is given is part of it.

        Args:
            given: fields that somebody names again; others go without saying.

        Raises:
            UsageError: one of them is another.
        """
        for name, value in given.items():
            kept = getattr(self, name)
            if value != kept:
                raise UsageError(
                    f"This build was begun with --{_OPTIONS.get(name, name)} {_shown(kept)}, not {_shown(value)}.",
                    remedy="Leave it out to go on, or give another --out.",
                )
        return self


def anywhere(place: str) -> str:
    """A path or address as it can be found from any folder: a build may go on elsewhere than it began."""
    return place if place in (EMBEDDED, "-") or "://" in place else str(Path(place).absolute())


_OPTIONS = {"overrides": "set"}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "(nothing)"
    return str(value) or "(nothing)"
