"""The sections of the exam, in the order of the report card.

A new one is a function in a file of its own, and a line here. A measure called `Two hops · model alone` stands on the
card in the row `Two hops` and the column `model alone`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groundzero.evaluate.grounding import (
    answers,
    bear,
    causal,
    channels,
    citations,
    comparison,
    edits,
    fluency,
    hallucination,
    injection,
    latency,
    leak,
    refusal,
    spelling,
)
from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.measures import Section
from groundzero.evaluate.grounding.setting import Exam, ExamSettings


@dataclass(frozen=True, slots=True)
class Part:
    """A section before it is held."""

    key: str
    """What `--only` calls it."""
    examine: Callable[[Exam], Section]
    work: Callable[[ExamSettings], int]
    """Questions it will deal with, about: what it tells `Exam.advance` comes to that."""
    work_after: Callable[[ExamSettings], int] | None = None
    """The same where the answers were examined before: what they were asked is not asked again."""


def _with(examine: Callable[[Exam, Amounts], Section]) -> Callable[[Exam], Section]:
    """A section that goes by the amounts of the exam."""
    return lambda exam: examine(exam, exam.settings.amounts)


def _nothing(settings: ExamSettings) -> int:
    return 0


PARTS: tuple[Part, ...] = (
    Part("answers", answers.examine_answers, answers.work),
    Part("citations", citations.examine_citations, citations.work, _nothing),
    Part("hallucination", hallucination.examine_hallucination, hallucination.work, _nothing),
    Part("refusal", refusal.examine_refusal, refusal.work),
    Part("comparison", comparison.examine_comparison, comparison.work, comparison.work_after),
    Part("channels", channels.examine_channels, channels.work),
    Part("edits", _with(edits.examine_edits), edits.work),
    Part("causal", _with(causal.examine_causal), causal.work),
    Part("leak", _with(leak.examine_leak), leak.work),
    Part("injection", _with(injection.examine_injection), injection.work),
    Part("spelling", _with(spelling.examine_spelling), spelling.work),
    Part("fluency", _with(fluency.examine_fluency), fluency.work),
    Part("bear", _with(bear.examine_bear), bear.work),
    Part("latency", _with(latency.examine_latency), latency.work),
)
"""All of them."""


def planned(parts: Sequence[Part], settings: ExamSettings) -> list[int]:
    """Questions that each of some sections will deal with, one section after the other."""
    amounts, answered = [], False
    for part in parts:
        work = part.work_after if answered and part.work_after is not None else part.work
        amounts.append(work(settings))
        answered |= part.key == "answers"
    return amounts
