"""How much is asked in the sections that change graphs, attack them, or take long.

The defaults are for every day: minutes on two cores. `published` made the tables of `docs/results.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field

from groundzero.settings import Settings


class Amounts(Settings):
    """Questions, edits and sizes."""

    edits: int = Field(default=200, ge=1)
    """Statements that are replaced, one after the other."""
    untouched: int = Field(default=200, ge=1)
    """Questions about other statements, asked before the first edit and after the last."""
    worded: int = Field(default=50, ge=0)
    """Edits, and deletions, whose answers the model words, too."""
    deletions: int = Field(default=100, ge=1)
    """Answers of which a cited fact is deleted, and then another fact."""
    closed_book: int = Field(default=200, ge=1)
    """Questions that the model is asked without any fact."""
    choices: int = Field(default=20, ge=2)
    """Objects that a closed-book question is answered from by likelihood."""
    forgotten: int = Field(default=100, ge=1)
    """Deleted facts that are asked for."""
    payloads: int = Field(default=100, ge=1)
    """Hostile texts of `payloads.json`, from its beginning, each in three places."""
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Statements of the graphs made to measure latency."""
    timed: int = Field(default=100, ge=1)
    """Questions, and edits, timed in each of those graphs."""
    spans: int = Field(default=1_000, ge=1)
    """Copied spans whose spelling is looked at, about."""
    held_out: int = Field(default=200, ge=1)
    """Lessons whose answers' loss is measured."""
    phrasings: int = Field(default=200, ge=1)
    """Answers among which phrasings are counted."""
    samples: int = Field(default=50, ge=0)
    """Questions with answers that are kept to be read."""
    bear: Path | None = None
    """Facts of the BEAR probe, JSON lines, .gz too; nothing is probed without."""
    bear_relations: Path | None = None
    """Its templates and answer spaces, JSON."""
    probed: int = Field(default=500, ge=1)
    """Facts of the probe at most, of those that the graph holds."""

    @classmethod
    def published(cls) -> Self:
        """Those of the published tables."""
        return cls.parse({
            "edits": 1_000, "untouched": 1_000, "worded": 200, "deletions": 500, "closed_book": 2_000,
            "forgotten": 500, "sizes": (1_000, 10_000, 100_000, 1_000_000), "spans": 10_000, "held_out": 2_000,
            "phrasings": 2_000, "probed": 10_000,
        })  # fmt: skip
