"""Whether citations are causes: without a cited fact there is another answer, or none; without another fact the same.

As answered, facts are deleted from a copy of the graph. Of the model alone the same is asked by what it is shown: it
is given the facts of a lesson, then the same without the one that answers, without another one, and with a name that
nobody has in place of the answer. A model that answers from memory does not notice.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.replies import Reply, batches, copied, object_of, reply
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Statement, StatementId
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.lessons import Fact, Kind, Lesson
from groundzero.ground.names import made_up
from groundzero.ground.speech import Said

_KINDS: tuple[Kind, ...] = ("one", "two", "list", "inverse")
_KEPT = 20
_CAUSAL = 0.99


def work(settings: ExamSettings) -> int:
    """Questions."""
    return settings.amounts.deletions


def examine_causal(exam: Exam, amounts: Amounts) -> Section:
    """Delete facts from a copy of the graph, and take them from what the model is shown.

    Raises:
        InputError: the graph cannot be copied.
    """
    started = time.perf_counter()
    rng = exam.rng("causal")
    answered = changed = kept = others = 0
    failures: list[dict[str, Any]] = []
    with copied(exam) as graph:
        model = exam.over(graph)
        for lesson in _lessons(exam, amounts.deletions):
            before = reply(model, lesson.question)
            exam.advance(1)
            if not before.statements:
                continue
            other = _other(model, before, rng)
            if other is not None:
                _delete(graph, other)
                now = reply(model, lesson.question)
                others += 1
                kept += now.by_rule == before.by_rule
                if now.by_rule != before.by_rule:
                    failures.append(_failure("another fact was deleted", before, now))
            gone = _delete(graph, rng.choice(before.statements))
            now = reply(model, lesson.question)
            answered += 1
            rests = gone.isdisjoint(each.id for each in now.statements)
            changed += rests and now.by_rule != before.by_rule
            if not rests or now.by_rule == before.by_rule:
                failures.append(_failure("the cited fact was deleted", before, now))
    measures = (
        share("the cited fact is deleted: the answer changes", changed, answered, aim=_CAUSAL),
        share("another fact is deleted: it does not", kept, others, aim=_CAUSAL),
        *_of_the_model(exam, amounts.worded, rng),
    )
    seconds = time.perf_counter() - started
    return Section("causal", "Causal citations", measures, seconds, {"failures": failures[:_KEPT]})


def _lessons(exam: Exam, count: int) -> Iterator[Lesson]:
    for kind in _KINDS:
        yield from exam.lessons(-(-count // len(_KINDS)), kind)


def _delete(graph: Graph, statement: Statement) -> set[StatementId]:
    """Retire what a statement says, whoever says it; returns what was retired."""
    said = graph.store.outgoing(statement.subject, statement.relation)
    gone = {each.id for each in said if object_of(each) == object_of(statement)}
    with graph.store.writer() as writer:
        for number in gone:
            writer.retire(number)
    graph.refresh()
    return gone


def _other(model: GroundedModel, before: Reply, rng: random.Random) -> Statement | None:
    """A fact that is shown beside those that answer; else one about the same thing, by another relation."""
    cited = {each.id for each in before.statements}
    asked = {(each.subject, each.relation) for each in before.statements}
    numbers = [fact.statement for fact in model.facts_for(before.evidence) if fact.statement not in cited]
    shown = [found for number in numbers if (found := model.graph.statement(number)) is not None]
    about = [
        each
        for entity in sorted({each.subject for each in before.statements})
        for each in model.graph.store.outgoing(entity)
        if (each.subject, each.relation) not in asked
    ]
    return rng.choice(shown or about) if shown or about else None


def _failure(what: str, before: Reply, now: Reply) -> dict[str, Any]:
    return {"when": what, "question": before.evidence.question, "before": before.by_rule, "after": now.by_rule}


def _of_the_model(exam: Exam, count: int, rng: random.Random) -> list[Measure]:
    """What the model alone makes of facts that are shown and facts that are not; of answers that it gets right."""
    cases = list(itertools.islice(_shown(exam, 3 * count), count))
    said = _said(exam, [(question, facts) for question, facts, _ in cases])
    right = [case for case, each in zip(cases, said, strict=True) if case[2].object in each.text]
    names = [made_up(rng) for _ in right]
    without, beside, swapped = [], [], []
    for (question, facts, cited), name in zip(right, names, strict=True):
        others = tuple(each for each in facts if each is not cited)
        invented = replace(cited, object=name, ends=(*cited.ends[:2], None))
        without.append((question, others))
        beside.append((question, tuple(each for each in facts if each is not others[0])))
        swapped.append((question, tuple(invented if each is cited else each for each in facts)))
    old = [cited.object for _, _, cited in right]
    gone = sum(name not in each.text for name, each in zip(old, _said(exam, without), strict=True))
    stays = sum(name in each.text for name, each in zip(old, _said(exam, beside), strict=True))
    follows = sum(name in each.text for name, each in zip(names, _said(exam, swapped), strict=True))
    return [
        share("the model alone: gives the answer that it is shown", len(right), len(cases)),
        share("of these, the cited fact not shown: it no longer does", gone, len(right)),
        share("of these, another fact not shown: it still does", stays, len(right)),
        share("of these, another name in the cited fact: it gives that one", follows, len(right)),
    ]


def _shown(exam: Exam, count: int) -> Iterator[tuple[str, tuple[Fact, ...], Fact]]:
    """Questions with what the model is shown for them, and which fact of that answers; where others are shown, too,
    and none of them has the answer's name."""
    for lesson in exam.lessons(count, "one"):
        found = reply(exam.model, lesson.question)
        numbers = [each.id for each in found.statements]
        facts = exam.model.facts_for(found.evidence)
        cited = [fact for fact in facts if fact.statement in numbers]
        if len(numbers) != 1 or len(cited) != 1 or len(facts) < 2:
            continue
        elsewhere = [lesson.question, *(name for fact in facts if fact is not cited[0] for name in _names(fact))]
        if not any(cited[0].object in text for text in elsewhere):
            yield lesson.question, facts, cited[0]


def _names(fact: Fact) -> tuple[str, str]:
    return fact.subject, fact.object


def _said(exam: Exam, asked: Sequence[tuple[str, tuple[Fact, ...]]]) -> list[Said]:
    return [said for batch in batches(asked, exam.settings.batch) for said in exam.speaker.say_all(batch)]
