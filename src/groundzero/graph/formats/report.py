"""What a reader left out and why: counts by reason, and the first examples with their line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES_PER_REASON = 5
EXCERPT = 120  # characters of a bad row that are shown


@dataclass(frozen=True, slots=True)
class Skipped:
    """One row that was left out."""

    line: int
    reason: str
    excerpt: str


@dataclass(slots=True)
class ReadReport:
    """Filled while a file is read. `skipped` are rows lost; `notes` are things that a reader chose not to keep or had
    to guess, and none of them is a fault of the file."""

    line: int = 0
    """The line being read, counted from 1."""
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: list[Skipped] = field(default_factory=list)
    """The first few of every reason."""
    all_names_given: bool = False
    """The file names all it wants named: an export of ours."""

    def skip(self, reason: str, excerpt: str = "", *, line: int | None = None) -> None:
        """Count a row that cannot be used."""
        self.skipped[reason] += 1
        if self.skipped[reason] <= EXAMPLES_PER_REASON:
            short = excerpt if len(excerpt) <= EXCERPT else excerpt[: EXCERPT - 1] + "…"
            self.examples.append(Skipped(self.line if line is None else line, reason, short))

    def note(self, remark: str, count: int = 1) -> None:
        """Count something worth knowing that cost no row."""
        self.notes[remark] += count

    def as_json(self) -> dict[str, Any]:
        """`{skipped, skipped_by_reason, examples, notes}`."""
        return {
            "skipped": sum(self.skipped.values()),
            "skipped_by_reason": dict(self.skipped),
            "examples": [{"line": one.line, "reason": one.reason, "excerpt": one.excerpt} for one in self.examples],
            "notes": dict(self.notes),
        }
