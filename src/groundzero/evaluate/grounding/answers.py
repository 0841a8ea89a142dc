"""The rows of the exam: how often answers to each kind of question are right, and who got them right.

fallback on     what a user gets
model alone     the model's own words, none withheld
reasoning       the graph's part: exactly the right answers were found
by rule         answers in which the fallback stood in for the model
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.questions import ROWS, Row
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.evaluate.grounding.sitting import Sitting, sit
from groundzero.ground.respond import respond

_AIMS: dict[Row, tuple[float | None, float | None]] = {"facts": (0.97, 0.90), "two": (0.92, 0.75)}
"""With the fallback on and off."""
_MOST_BY_RULE = 0.05
_SAMPLES = 2
"""Answers of each row that are shown, and as many of those that went wrong."""


def work(settings: ExamSettings) -> int:
    """Questions."""
    return len(ROWS) * settings.questions


def examine_answers(exam: Exam) -> Section:
    """Accuracy over held-out entities, facts and phrasings, row by row."""
    started = time.perf_counter()
    measures: list[Measure] = []
    samples: list[dict[str, Any]] = []
    for row, title in ROWS.items():
        sittings = sit(exam, row, exam.settings.questions)
        measures += _measures(title, sittings, *_AIMS.get(row, (None, None)))
        samples += _samples(exam, title, sittings)
    details = {"samples": samples, "held_out": _held_out(exam)}
    return Section("answers", "Answers", tuple(measures), time.perf_counter() - started, details)


def _measures(title: str, sittings: Sequence[Sitting], on: float | None, alone: float | None) -> list[Measure]:
    n = len(sittings)
    answered = [each for each in sittings if not each.refused]
    by_rule = sum(each.fell_back for each in answered)
    return [
        share(f"{title} · fallback on", sum(each.right for each in sittings), n, aim=on),
        share(f"{title} · model alone", sum(each.right_alone for each in sittings), n, aim=alone),
        share(f"{title} · reasoning", sum(each.reasoned for each in sittings), n),
        share(f"{title} · by rule", by_rule, len(answered), aim=_MOST_BY_RULE, at_most=True),
    ]


def _samples(exam: Exam, title: str, sittings: Sequence[Sitting]) -> list[dict[str, Any]]:
    """A few answers as they were given, and a few of those that were wrong."""
    good = [each for each in sittings if each.right_alone][:_SAMPLES]
    bad = [each for each in sittings if not each.right_alone][:_SAMPLES]
    return [
        {
            "row": title,
            "question": each.question.text,
            "answer": respond(each.evidence, exam.graph).text if each.wording is None else each.wording.alone.text,
            "right": [names[0] for names in each.question.names] or [each.question.lead],
            "is_right": each.right_alone,
            "withheld": each.fell_back,
        }
        for each in (*good, *bad)
    ]


def _held_out(exam: Exam) -> bool:
    """Whether the entities asked about were kept from training."""
    if exam.run is None:
        return True
    tuning = exam.run.manifest().get("tuning", {})
    stored = tuning.get("settings", {}).get("lessons", {}) if isinstance(tuning, dict) else {}
    return bool(stored.get("test_share", exam.teacher.settings.test_share))
