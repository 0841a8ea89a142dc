"""Whether what was copied from a fact is letter for letter what the fact says, and stands on the page as a word.

Copied spans are compared with the facts that the model was given, not with what the span says of itself; and what
stands around a span is looked at, too, because "Lima" that runs on into "Limas" is misspelt on the page, though every
letter was copied.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.measures import Section, share
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.ground.lessons import Fact, Kind, Lesson
from groundzero.ground.speech import Said, Span

_KINDS: tuple[Kind, ...] = ("two", "list", "one", "inverse", "three", "compare")
_PER_ANSWER = 3
"""Spans that an answer has, about."""
_KEPT = 20


@dataclass
class _Tally:
    spans: int = 0
    misspelt: int = 0
    running_on: int = 0
    answers: int = 0
    names: Counter[str] = field(default_factory=Counter)
    """What was copied, and how often."""
    failures: list[dict[str, str]] = field(default_factory=list)


def work(settings: ExamSettings) -> int:
    """Answers, about."""
    return settings.amounts.spans // _PER_ANSWER


def examine_spelling(exam: Exam, amounts: Amounts) -> Section:
    """Look at copied spans until there are enough of them, or no more questions."""
    started = time.perf_counter()
    tally = _Tally()
    lessons = _lessons(exam, amounts.spans)
    while tally.spans < amounts.spans and (batch := list(itertools.islice(lessons, exam.settings.batch))):
        said = exam.speaker.say_all([(lesson.question, lesson.facts) for lesson in batch])
        for lesson, each in zip(batch, said, strict=True):
            _look(each, lesson.facts, tally)
        exam.advance(len(batch))
    measures = (
        share("copied spans that are not letter for letter a name or value of their fact", tally.misspelt, tally.spans,
              aim=0.0, at_most=True),
        share("copied spans that run into other letters", tally.running_on, tally.spans, aim=0.0, at_most=True),
    )  # fmt: skip
    details = {"answers": tally.answers, "different_names": len(tally.names), "failures": tally.failures}
    return Section("spelling", "Spelling", measures, time.perf_counter() - started, details)


def _lessons(exam: Exam, count: int) -> Iterator[Lesson]:
    """Questions of every kind that takes names from facts, in turns, `count` at most."""
    turns = itertools.zip_longest(*(exam.lessons(count, kind) for kind in _KINDS))
    return itertools.islice((lesson for turn in turns for lesson in turn if lesson is not None), count)


def _look(said: Said, facts: Sequence[Fact], tally: _Tally) -> None:
    tally.answers += 1
    for span in said.spans:
        tally.spans += 1
        written = said.text[span.start : span.end]
        tally.names[written] += 1
        if not _is_spelt(span, written, facts):
            tally.misspelt += 1
        elif _runs_on(said.text, span):
            tally.running_on += 1
        else:
            continue
        if len(tally.failures) < _KEPT:
            name = span.fact.subject if span.is_subject else span.fact.object
            tally.failures.append({"written": said.text[max(0, span.start - 5) : span.end + 5], "name": name})


def _is_spelt(span: Span, written: str, facts: Sequence[Fact]) -> bool:
    """Whether the span's fact was given and calls it so."""
    given = [fact for fact in facts if fact.statement == span.fact.statement]
    return any(written == (fact.subject if span.is_subject else fact.object) for fact in given)


def _runs_on(text: str, span: Span) -> bool:
    """Whether a letter or digit touches one of the span's."""
    before, after = text[: span.start][-1:], text[span.end :][:1]
    written = text[span.start : span.end]
    return (before.isalnum() and written[:1].isalnum()) or (after.isalnum() and written[-1:].isalnum())
