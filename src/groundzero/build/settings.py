"""Settings of a build that no room below has."""

from __future__ import annotations

from pydantic import Field

from groundzero.settings import Settings


class ShortExam(Settings):
    """How much is asked at the end of a build."""

    questions: int = Field(default=100, ge=1)
    """Of each row, at most: fewer where the time does not last."""
    sections: tuple[str, ...] = ("answers", "citations", "hallucination", "refusal")
    """Of the exam; `gz eval grounding` knows more, and takes longer."""
    seed: int = 1337
    """Of which questions are asked."""
