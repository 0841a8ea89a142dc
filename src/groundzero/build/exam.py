"""The short exam at the end of a build: sections of the whole one, with as many questions as the time allows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from groundzero.build.job import Job, StoppedError
from groundzero.build.settings import ShortExam
from groundzero.evaluate.grounding.exam import chosen, hold, write_result
from groundzero.evaluate.grounding.sections import Part
from groundzero.evaluate.grounding.setting import ExamSettings, open_exam
from groundzero.evaluate.grounding.sitting import sit
from groundzero.graph.graph import Graph
from groundzero.run import RunDirectory

PILOT = 16
"""Questions that are timed to know how many there is time for."""
FEWEST = 10
OVERDRAWN = 2.0
"""Times its share of the budget, after which no further section is begun."""
FOLDER = "exam"


def hold_exam(job: Job, seconds: float) -> dict[str, Any]:
    """Ask about entities that were never taught, and mark the answers by the graph.

    Returns:
        The exam's JSON (`ExamResult.as_json`), with its `folder` and the `summary` of it.

    Raises:
        StoppedError: Ctrl-C came; the exam is held anew.
        InputError: nothing can be asked.
    """
    wanted = job.config.exam
    parts = chosen(wanted.sections)
    with job.graph() as graph:
        settings = _affordable(job, graph, wanted, parts, seconds)
        total, done = sum(part.work(settings) for part in parts), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            job.observer.preparing("exam, questions", min(done, total), total)

        exam = open_exam(RunDirectory.open(job.out), graph, settings, advance=advance, device=job.order.device)
        started = time.monotonic()
        result = hold(exam, parts[:1])
        for part in parts[1:]:
            if not result.interrupted and time.monotonic() - started < OVERDRAWN * seconds:
                more = hold(exam, (part,))
                result = replace(
                    result, sections=(*result.sections, *more.sections), seconds=result.seconds + more.seconds,
                    interrupted=more.interrupted,
                )  # fmt: skip
    if result.interrupted:
        raise StoppedError
    write_result(result, job.out / FOLDER)
    found = result.as_json()
    return {**found, "folder": str(job.out / FOLDER), "summary": summary(found)}


def _affordable(job: Job, graph: Graph, wanted: ShortExam, parts: tuple[Part, ...], seconds: float) -> ExamSettings:
    """As many questions as a pilot says there is time for."""
    settings = ExamSettings.parse({"questions": wanted.questions, "seed": wanted.seed})
    if wanted.questions <= FEWEST:
        return settings
    pilot = open_exam(RunDirectory.open(job.out), graph, settings.replace(questions=PILOT), device=job.order.device)
    sit(pilot, "phrasing", PILOT // 4)  # opens the graph's indexes, which is no part of a question
    started = time.monotonic()
    asked = len(sit(pilot, "facts", PILOT))
    each = (time.monotonic() - started) / max(1, asked)
    of_one = sum(part.work(settings) for part in parts) / settings.questions
    count = int(seconds / max(1e-6, each * of_one))
    return settings.replace(questions=max(FEWEST, min(wanted.questions, count)))


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The few figures that say it all: shares between 0 and 1, None where nothing was counted."""
    rows = _measures(found, "answers", "fallback on")
    right = sum(round(each["value"] * each["n"]) for each in rows)
    asked = sum(each["n"] for each in rows)
    return {
        "accuracy": right / asked if asked else None,
        "questions": asked,
        "one_hop": _value(found, "answers", "One hop, unseen facts · fallback on"),
        "one_hop_by_model_alone": _value(found, "answers", "One hop, unseen facts · model alone"),
        "two_hops": _value(found, "answers", "Two hops · fallback on"),
        "two_hops_by_model_alone": _value(found, "answers", "Two hops · model alone"),
        "citation_precision": _value(found, "citations", "Citation precision"),
        "refusal_precision": _value(found, "refusal", "Refusal precision"),
        "refusal_recall": _value(found, "refusal", "Refusal recall"),
    }


def _measures(found: dict[str, Any], section: str, column: str) -> list[dict[str, Any]]:
    measures = found["sections"].get(section, {}).get("measures", [])
    return [each for each in measures if each["name"].endswith(f" · {column}") and each["n"]]


def _value(found: dict[str, Any], section: str, name: str) -> float | None:
    measures = found["sections"].get(section, {}).get("measures", [])
    return next((each["value"] for each in measures if each["name"] == name and each["n"]), None)
