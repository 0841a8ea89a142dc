"""What answers make up: each claim is supported, contradicted or unverifiable (see `judge`).

FActScore (Min et al. 2023) reports the share of supported claims; here the graph tells a false claim from one that
nobody can check. Who says nothing makes nothing up, so coverage stands beside: the share of answerable questions that
were answered with claims at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from groundzero.evaluate.grounding.judge import Claim, Standing
from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.questions import ROWS
from groundzero.evaluate.grounding.reading import Triple
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.evaluate.grounding.sitting import Sitting, judge_of, sit
from groundzero.graph.nouns import Statement
from groundzero.ground.facts import LiveFacts
from groundzero.ground.query import cited, label_of

_STANDINGS: tuple[Standing, ...] = ("supported", "contradicted", "unverifiable")
_MOST_CONTRADICTED = 0.005
_SAMPLES = 8


def work(settings: ExamSettings) -> int:
    """Questions."""
    return len(ROWS) * settings.questions


def examine_hallucination(exam: Exam) -> Section:
    """Claims of the answers to every row, with the fallback on and off."""
    started = time.perf_counter()
    sittings = [each for row in ROWS for each in sit(exam, row, exam.settings.questions)]
    shown = [_shown(exam, each) for each in sittings]
    alone = [() if each.mark is None else each.mark.claims for each in sittings]
    false = [
        {"question": each.question.text, "answer": "" if each.wording is None else each.wording.alone.text}
        for each, claims in zip(sittings, alone, strict=True)
        if any(claim.standing == "contradicted" for claim in claims)
    ]
    measures = (*_measures("fallback on", shown), *_measures("model alone", alone))
    details = {"contradicted": false[:_SAMPLES]}
    return Section("hallucination", "Hallucination", measures, time.perf_counter() - started, details)


def _measures(column: str, answers: Sequence[Sequence[Claim]]) -> list[Measure]:
    counts = Counter(claim.standing for claims in answers for claim in claims)
    n = counts.total()
    false = share(f"Contradicted · {column}", counts["contradicted"], n, aim=_MOST_CONTRADICTED, at_most=True)
    return [
        share(f"Supported · {column}", counts["supported"], n),
        false,
        share(f"Unverifiable · {column}", counts["unverifiable"], n),
        share(f"Coverage · {column}", sum(bool(claims) for claims in answers), len(answers)),
    ]


def _shown(exam: Exam, sitting: Sitting) -> tuple[Claim, ...]:
    """The claims of what a user gets: of a sentence made by rule, the statements that it cites."""
    if sitting.refused:
        return ()
    if not sitting.fell_back:
        return () if sitting.shown is None else sitting.shown.claims
    assert sitting.evidence.result is not None
    judge, found = judge_of(exam), []
    for statement in cited(sitting.evidence.result):
        triple = _triple(exam, statement)
        found.append(Claim("", triple, judge.standing(triple)))
    return tuple(found)


def _triple(exam: Exam, statement: Statement) -> Triple:
    end = statement.object if statement.literal is None else statement.literal
    assert end is not None
    return Triple(exam.graph.label(statement.subject), statement.relation, label_of(end, LiveFacts(exam.graph)))
