"""One time budget dealt out over the stages, by what is left when each of them begins.

What a stage takes too long, or leaves over, all later ones share. Only stages that can be made shorter or longer have
a weight; the others take what they take.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

WEIGHTS: Mapping[str, float] = {"pretrain": 30.0, "embed": 3.0, "ground": 55.0, "exam": 12.0}
"""Of what is left. A base that reads well is a beginning; reading facts is learnt in tuning."""
EXAM_S = 150.0
"""For the exam at most: some hundred questions of each kind, whose figures more time would hardly sharpen."""
CLOSING_S = 12.0
"""Kept for the end: samples and the report."""
CLOSING_SHARE = 0.06
"""At most, where the whole is short."""
LEAST_S = 1.0
FLOOR = 0.3
"""Of what a stage would get of an untouched budget: that much it gets of an overdrawn one, so that a build ends well,
if late. A build on a busy machine had ten questions left for the exam."""


class Budget:
    """Seconds for everything, running from when it is made.

    Args:
        minutes: for the whole build.
        spent: seconds before this process.
        started: `time.monotonic()` at which this process began to count; now when None.
    """

    def __init__(self, minutes: float, *, spent: float = 0.0, started: float | None = None) -> None:
        self.seconds = 60.0 * minutes
        self._before = spent
        self._started = time.monotonic() if started is None else started

    @property
    def spent(self) -> float:
        """Seconds so far, those of earlier processes included."""
        return self._before + time.monotonic() - self._started

    def share(self, stage: str, ahead: Sequence[str]) -> float:
        """Seconds for a stage that begins now.

        Args:
            ahead: stages still to come, this one among them.
        """
        return share(self.seconds, self.spent, stage, ahead)


def share(seconds: float, spent: float, stage: str, ahead: Sequence[str]) -> float:
    """A stage's part of what is left of `seconds`, and something even of an overdrawn budget."""
    left = seconds - spent - min(CLOSING_S, CLOSING_SHARE * seconds)
    total = sum(WEIGHTS.get(name, 0.0) for name in ahead)
    least = FLOOR * seconds * WEIGHTS[stage] / sum(WEIGHTS.values())
    if "exam" not in ahead:
        return max(LEAST_S, least, left * WEIGHTS[stage] / total)
    exam = min(EXAM_S, left * WEIGHTS["exam"] / total)
    if stage == "exam":
        return max(LEAST_S, min(EXAM_S, least), exam)
    return max(LEAST_S, least, (left - exam) * WEIGHTS[stage] / (total - WEIGHTS["exam"]))
