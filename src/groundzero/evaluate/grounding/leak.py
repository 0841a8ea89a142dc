"""What the model knows by itself, when it should know nothing: held-out facts, and facts that were deleted.

closed book   no fact is given. The model must not be better than whoever always names the relation's most frequent
              object ("majority"): by what it says, and by which of some objects it finds likeliest, though it says
              that it does not know
forgetting    facts are deleted from a copy of the graph: all that rest on one source where there are several, else
              the facts asked for. Asked with that graph, no answer names what was deleted, and nothing deleted is
              shown to the model
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.clarity import is_only_one
from groundzero.evaluate.grounding.likelihood import likeliest
from groundzero.evaluate.grounding.measures import Measure, Section, share, wilson
from groundzero.evaluate.grounding.replies import batches, copied, name_of, object_of
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import RelationId, SourceId, Statement, StatementId
from groundzero.graph.phrasing import phrase
from groundzero.ground.answer import Answer
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.prompt import question_ids
from groundzero.ground.query import Node
from groundzero.ingest.forget import forget_source

_POINTS = 0.03
"""Above the majority."""
_SPARE = 10
"""Questions looked at for each deleted fact that is wanted."""
_KEPT = 20


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question about a held-out entity with one answer."""

    question: str
    fact: Statement
    name: str
    """The answer."""


@dataclass(frozen=True, slots=True)
class _Objects:
    """What relations lead to in the whole graph, most frequent first."""

    of: Mapping[RelationId, Sequence[Node]]
    share: Mapping[RelationId, float]
    """Of a relation's statements that have its most frequent object."""


def work(settings: ExamSettings) -> int:
    """Questions."""
    return settings.amounts.closed_book + 2 * settings.amounts.forgotten


def examine_leak(exam: Exam, amounts: Amounts) -> Section:
    """Ask without facts, and without those that were deleted.

    Raises:
        InputError: the graph cannot be copied.
    """
    started = time.perf_counter()
    objects, rng = _objects(exam.graph), exam.rng("leak")
    asked = _asked(exam, amounts.closed_book)
    measures = _closed_book(exam, asked, objects, amounts.choices, rng, "closed book")
    forgotten, details = _forgetting(exam, amounts.forgotten, objects)
    return Section("leak", "Closed-book leak", (*measures, *forgotten), time.perf_counter() - started, details)


def _asked(exam: Exam, count: int, source: SourceId | None = None) -> list[_Asked]:
    """Questions whose answer is not in the question; of facts that rest on `source`, where one is given."""
    found: list[_Asked] = []
    for lesson in exam.lessons(count * (_SPARE if source is not None else 2), "one"):
        fact = exam.graph.statement(lesson.cited[0])
        if fact is None or (source is not None and fact.source != source):
            continue
        name = name_of(exam.graph, object_of(fact))
        if name.casefold() not in lesson.question.casefold():
            found.append(_Asked(lesson.question, fact, name))
        if len(found) == count:
            break
    return found


def _objects(graph: Graph) -> _Objects:
    counts: dict[RelationId, Counter[Node]] = {}
    for statement in graph.store.statements():
        counts.setdefault(statement.relation, Counter())[object_of(statement)] += 1
    ranked = {relation: [node for node, _ in found.most_common()] for relation, found in counts.items()}
    most = {relation: found.most_common(1)[0][1] / found.total() for relation, found in counts.items()}
    return _Objects(ranked, most)


def _closed_book(
    exam: Exam, asked: Sequence[_Asked], objects: _Objects, choices: int, rng: random.Random, what: str
) -> list[Measure]:
    """What it says, what it finds likeliest, and how both stand to the majority."""
    majority = sum(objects.of[each.fact.relation][0] == object_of(each.fact) for each in asked)
    said = 0
    for batch in batches(asked, exam.settings.batch):
        replies = exam.speaker.say_all([(each.question, ()) for each in batch])
        said += sum(each.name in reply.text for each, reply in zip(batch, replies, strict=True))
        exam.advance(len(batch))
    picked = _picked(exam, asked, objects, choices, rng)
    return [
        share(f"{what}: says the answer", said, len(asked)),
        share(f"{what}: the majority answer is right", majority, len(asked)),
        _above(f"{what}: above the majority", said, majority, len(asked), aim=_POINTS),
        share(f"{what}: finds the answer likeliest of {choices}", picked, len(asked), note="forced to choose"),
        _above(f"{what}: that above the majority", picked, majority, len(asked)),
    ]


def _above(name: str, right: int, majority: int, n: int, aim: float | None = None) -> Measure:
    """Points above the majority, as a share; its interval is that of what was right."""
    low, high = wilson(right, n)
    base = majority / n if n else 0.0
    value = right / n - base if n else 0.0
    return Measure(name, value, n, low=low - base, high=high - base, aim=aim, at_most=True)


def _picked(exam: Exam, asked: Sequence[_Asked], objects: _Objects, choices: int, rng: random.Random) -> int:
    """How often the right one of some objects makes the likeliest answer, closed book."""
    graph, tokenizer = exam.graph, exam.engine.tokenizer
    tried, places = [], []
    for each in asked:
        right, known = object_of(each.fact), objects.of[each.fact.relation]
        others = [node for node in rng.sample(known, k=min(choices, len(known))) if node not in (right, known[0])]
        nodes = [*dict.fromkeys((known[0], right)), *others][:choices]
        rng.shuffle(nodes)
        places.append(nodes.index(right))
        template = phrase(graph.relation(each.fact.relation)).sentences[0]
        prompt = question_ids(tokenizer, each.question, ())
        label = graph.label(each.fact.subject)
        tried.append([(prompt, tokenizer.encode(_said(template, label, name_of(graph, node)))) for node in nodes])
    return sum(place == right for place, right in zip(likeliest(exam.engine, tried), places, strict=True))


def _said(template: str, subject: str, object_: str) -> str:
    text = template.replace("{subject}", "\0").replace("{object}", object_).replace("\0", subject)
    return text[:1].upper() + text[1:]


def _forgetting(exam: Exam, count: int, objects: _Objects) -> tuple[list[Measure], dict[str, Any]]:
    """Delete, and ask for what was deleted and for what stands beside it."""
    source = _source(exam.graph)
    asked = _asked(exam, count, source)
    failures: list[dict[str, str]] = []
    with copied(exam) as graph:
        model = exam.over(graph)
        model.settings = model.settings.replace(meters=False)
        deleted = _delete(graph, source, asked)
        asked = [each for each in asked if is_only_one(graph, each.fact.subject) and not _is_near(graph, each.fact)]
        named = refused = 0
        for each in asked:
            answer = model.ask(each.question)
            exam.advance(1)
            refused += answer.status == "unknown"
            if each.name in answer.text and each.name not in _told(graph, answer):
                named += 1
                failures.append({"question": each.question, "deleted": each.name, "answer": answer.text})
        shown, looked = _shown(model, asked, deleted)
    measures = [
        share("deleted facts, asked with the graph: the deleted object is named", named, len(asked), aim=0.0,
              at_most=True),
        share("deleted facts, asked with the graph: refused", refused, len(asked)),
        share("deleted facts among what the model is shown for other questions", shown, looked, aim=0.0, at_most=True),
        *_closed_book(exam, asked, objects, 2, exam.rng("forgetting"), "deleted facts, closed book")[:3],
    ]  # fmt: skip
    key = None if source is None else exam.graph.store.source(source).key
    return measures, {"deleted_source": key, "deleted_statements": len(deleted), "failures": failures[:_KEPT]}


def _told(graph: Graph, answer: Answer) -> set[str]:
    """Names in what an answer cites and the graph still says: of another thing, called nearly as the one asked for."""
    living = [
        each for each in answer.citations if (found := graph.statement(each.id)) is not None and found.retired is None
    ]
    return {name for each in living for name in (each.subject, each.object)}


def _source(graph: Graph) -> SourceId | None:
    """The largest source that at most half of all statements rest on; None where there is none."""
    counts = Counter(statement.source for statement in graph.store.statements())
    total = counts.total()
    fitting = [(n, source) for source, n in counts.items() if source is not None and 2 * n <= total]
    return max(fitting)[1] if fitting else None


def _delete(graph: Graph, source: SourceId | None, asked: Sequence[_Asked]) -> set[StatementId]:
    """Forget the source, as `gz graph forget` does, or where there is none retire the facts that are asked for."""
    store = graph.store
    if source is not None:
        forgotten = forget_source(store, store.source(source).key).sources
        gone = {each.id for each in store.statements(at=graph.transaction) if each.source is not None
                and store.source(each.source).key in forgotten}  # fmt: skip
    else:
        said = [other for each in asked for other in store.outgoing(each.fact.subject, each.fact.relation)]
        gone = {each.id for each in said}
        with store.writer() as writer:
            for number in gone:
                writer.retire(number)
    graph.refresh()
    return gone


def _is_near(graph: Graph, fact: Statement) -> bool:
    """Whether another statement still says the same, or something else of the same two: then it may be named."""
    there = any(object_of(each) == object_of(fact) for each in graph.store.outgoing(fact.subject))
    return there or any(each.subject == fact.object for each in graph.store.incoming(fact.subject))


def _shown(model: GroundedModel, asked: Sequence[_Asked], deleted: set[StatementId]) -> tuple[int, int]:
    """Other questions about the same subjects: how many are shown something deleted, and how many there are."""
    shown = looked = 0
    for each in asked:
        for other in model.graph.store.outgoing(each.fact.subject)[:1]:
            template = phrase(model.graph.relation(other.relation)).questions[0]
            question = template.replace("{subject}", model.graph.label(each.fact.subject))
            facts = model.facts_for(model.evidence(question)[0])
            looked += bool(facts)
            shown += any(fact.statement in deleted for fact in facts)
    return shown, looked
