"""What each channel is worth: the same questions with all eight combinations of prompt, attention and copy.

The fallback is off: it is the network that is examined. With every channel off it answers from the question alone.
"""

from __future__ import annotations

import time
from itertools import combinations

from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.questions import ROWS, Row
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.evaluate.grounding.sitting import sit
from groundzero.generate.evidence import CHANNELS, Channel

_ROWS: tuple[Row, ...] = ("facts", "two")
_LOSS = 0.5
"""What taking all facts away is to cost at least."""
COMBINATIONS: tuple[tuple[Channel, ...], ...] = tuple(
    chosen for size in range(len(CHANNELS), -1, -1) for chosen in combinations(sorted(CHANNELS), size)
)
"""All of them, the fullest first."""


def work(settings: ExamSettings) -> int:
    """Questions."""
    return len(COMBINATIONS) * len(_ROWS) * _count(settings)


def examine_channels(exam: Exam) -> Section:
    """Accuracy of the model alone with each combination of channels."""
    started, count = time.perf_counter(), _count(exam.settings)
    measures: list[Measure] = []
    found: dict[tuple[tuple[Channel, ...], Row], tuple[float, int]] = {}
    for chosen in COMBINATIONS:
        for row in _ROWS:
            sittings = sit(exam, row, count, chosen)
            right, n = sum(each.right_alone for each in sittings), len(sittings)
            measures.append(share(f"{name_of(chosen)} · {ROWS[row].lower()}", right, n))
            found[chosen, row] = (right / n if n else 0.0, n)
    for row in _ROWS:
        (full, n), (closed, _) = found[COMBINATIONS[0], row], found[COMBINATIONS[-1], row]
        measures.append(Measure(f"Lost without any · {ROWS[row].lower()}", full - closed, n, aim=_LOSS))
    return Section("channels", "Channels", tuple(measures), time.perf_counter() - started)


def name_of(chosen: tuple[Channel, ...]) -> str:
    """A combination as the table calls it."""
    return " + ".join(chosen).capitalize() if chosen else "None"


def _count(settings: ExamSettings) -> int:
    return min(settings.questions, settings.questions_per_ablation)
