"""The answers that a run has given, and which of them the graph would now give otherwise.

No PyTorch here: an edit should not have to wait for it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from groundzero.ground.answer import UNASKED, Answer
from groundzero.ground.reason import Reasoner
from groundzero.metrics import MetricLog
from groundzero.run import RunDirectory
from groundzero.run.files import storage_errors

ANSWERS = "answers.jsonl"
"""Living part of a run: one answer a line, oldest first."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Change:
    """An answer of before that is no longer what the graph says."""

    question: str
    before: str
    """The text that was given."""
    after: str
    """What the graph says now, worded by rule."""


def keep_answer(run: RunDirectory, answer: Answer) -> None:
    """Add an answer to those of the run, under the question in full; not what was asked of no graph.

    Raises:
        StorageError: the disk refuses.
    """
    if answer.reason in UNASKED:
        return
    answer = replace(answer, question=answer.meant or answer.question)
    path = run.path / ANSWERS
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with storage_errors(f"write {path}"):
        MetricLog(path).append(schema=SCHEMA_VERSION, at=now, answer=answer.as_json())


def kept_answers(run: RunDirectory) -> list[dict[str, Any]]:
    """The answers of a run, oldest first, as `gz ask --json` printed them; a torn last line is left out."""
    records = (record for record in MetricLog(run.path / ANSWERS) if isinstance(record, dict))
    return [record["answer"] for record in records if isinstance(record.get("answer"), dict)]


def changed_answers(answers: Iterable[Mapping[str, Any]], reasoner: Reasoner) -> Iterator[Change]:
    """The last answer to each question that rests on other statements now, or is refused, or no longer is."""
    latest = {answer["question"]: answer for answer in answers}
    for question, answer in latest.items():
        now = reasoner.ask(question)
        foretold = answer["status"] == "predicted"  # because the graph was silent; reasoning alone foretells nothing
        said = ("unknown", "no_fact") if foretold else (answer["status"], answer["reason"])
        before = (*said, sorted(each["id"] for each in answer["citations"]))
        if before != (now.status, now.reason, sorted(each.id for each in now.citations)):
            yield Change(question, answer["text"], now.text)
