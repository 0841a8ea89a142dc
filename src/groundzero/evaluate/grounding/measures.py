"""What an exam finds: figures with how many questions stand behind each and how sure that makes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_Z = 1.959963984540054
"""Of a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure."""

    name: str
    """What was measured, in words."""
    value: float
    """A share between 0 and 1 where `unit` is `share`."""
    n: int
    """What it was counted over: questions, edits, claims."""
    unit: str = "share"
    low: float | None = None
    """End of the 95 % interval, where there is one."""
    high: float | None = None
    aim: float | None = None
    """What is to be reached; at most that where `at_most`."""
    at_most: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached; None without one, or with nothing counted."""
        if self.aim is None or not self.n:
            return None
        return self.value <= self.aim if self.at_most else self.value >= self.aim

    def as_json(self) -> dict[str, Any]:
        """`{name, value, n, unit, low, high, aim, at_most, reached, note}`."""
        return {
            "name": self.name, "value": self.value, "n": self.n, "unit": self.unit, "low": self.low,
            "high": self.high, "aim": self.aim, "at_most": self.at_most, "reached": self.reached, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that belong together."""

    key: str
    """Its name in JSON."""
    title: str
    measures: tuple[Measure, ...]
    seconds: float = 0.0
    """How long it took."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else JSON holds of it: samples, settings."""

    def as_json(self) -> dict[str, Any]:
        """`{title, measures, seconds, details}`."""
        return {
            "title": self.title, "measures": [each.as_json() for each in self.measures], "seconds": self.seconds,
            "details": self.details,
        }  # fmt: skip


def share(name: str, right: int, n: int, *, aim: float | None = None, at_most: bool = False, note: str = "") -> Measure:
    """`right` of `n`, with its interval (Wilson 1927)."""
    low, high = wilson(right, n)
    return Measure(name, right / n if n else 0.0, n, low=low, high=high, aim=aim, at_most=at_most, note=note)


def median(name: str, values: Sequence[float], unit: str, *, aim: float | None = None, note: str = "") -> Measure:
    """The middle of some values; the aim is an upper bound."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if ordered else math.nan
    return Measure(name, middle, len(ordered), unit, aim=aim, at_most=True, note=note)


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if not n:
        return 0.0, 1.0
    found, square = right / n, _Z * _Z / n
    middle = (found + square / 2) / (1 + square)
    half = _Z * math.sqrt(found * (1 - found) / n + square / (4 * n)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
