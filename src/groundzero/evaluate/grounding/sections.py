"""The sections of the exam, in the order of the report card.

A new one is a function in a file of its own, and a line here. A measure called `Two hops · model alone` stands on the
card in the row `Two hops` and the column `model alone`.
"""

from __future__ import annotations

from collections.abc import Callable
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


def _with(examine: Callable[[Exam, Amounts], Section]) -> Callable[[Exam], Section]:
    """A section that goes by the amounts of the exam."""
    return lambda exam: examine(exam, exam.settings.amounts)


PARTS: tuple[Part, ...] = (
    Part("answers", answers.examine_answers, answers.work),
    Part("citations", citations.examine_citations, citations.work),
    Part("hallucination", hallucination.examine_hallucination, hallucination.work),
    Part("refusal", refusal.examine_refusal, refusal.work),
    Part("comparison", comparison.examine_comparison, comparison.work),
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
