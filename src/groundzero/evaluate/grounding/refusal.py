"""Whether what cannot be answered is refused, and nothing else: a fifth of the questions cannot, as KBLaM has it.

    the fact is gone        a copy of the graph lost every statement between what is asked about and its answers
    nobody has the name     the same question about a name that is in no graph
    no such relation        a question that no relation of this graph answers

For the system a refusal is a status; for the model alone, handed evidence that is silent or is not, it is what it says
(`ground.claims.is_refusal`). Precision: refusals that were called for; recall: unanswerable questions that were
refused.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Literal as OneOf

from groundzero.evaluate.grounding.clarity import filled
from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.questions import Question, questions, whole
from groundzero.evaluate.grounding.replies import batches, object_of
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.graph.folding import tokens
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId
from groundzero.ground.claims import is_refusal
from groundzero.ground.facts import LiveFacts
from groundzero.ground.lessons import Kind, Lesson
from groundzero.ground.names import made_up
from groundzero.ground.query import Node, run

Why = OneOf["", "fact", "name", "relation"]
UNANSWERABLE = 0.2
"""Share of the questions."""
_WHYS: dict[Why, str] = {
    "fact": "the fact is gone",
    "name": "nobody has the name",
    "relation": "no such relation",
}
_AIM = 0.97
_NOWHERE = (
    "shoe size of", "favourite breakfast of", "blood type of", "telephone number of", "star sign of",
    "bank balance of", "left neighbour of", "nickname at school of", "favourite colour of", "bus stop nearest to",
    "password of", "horsepower of",
)  # fmt: skip
"""What no graph that we know says of anything; those whose words a relation of this graph has are not asked."""
_ANSWERABLE: tuple[Kind, ...] = ("one", "two", "inverse", "list")
_SILENT: tuple[Kind, ...] = ("unknown", "silent")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and why it has no answer, where it has none."""

    text: str
    why: Why


def work(settings: ExamSettings) -> int:
    """Questions to the system and to the model."""
    return 2 * settings.questions


def examine_refusal(exam: Exam) -> Section:
    """Refusals of the system, and of the model when it is handed silent evidence."""
    started = time.perf_counter()
    count = exam.settings.questions
    with exam.copy() as graph:
        asked = _asked(exam, graph, count)
        model = exam.over(graph)
        refused: list[bool] = []
        for batch in batches(asked, exam.settings.batch):
            refused += [bool(model.evidence(each.text)[0].reason) for each in batch]
            exam.advance(len(batch))
    measures = _pair("", [bool(each.why) for each in asked], refused)
    for why, title in _WHYS.items():
        kept = [said for each, said in zip(asked, refused, strict=True) if each.why == why]
        measures.append(share(f"Refused: {title}", sum(kept), len(kept)))
    wrong = [
        {"question": each.text, "unanswerable": each.why, "refused": said}
        for each, said in zip(asked, refused, strict=True)
        if bool(each.why) != said
    ]
    measures += _alone(exam, count)
    return Section("refusal", "Refusal", tuple(measures), time.perf_counter() - started, {"wrong": wrong[:20]})


def _pair(of: str, unanswerable: list[bool], refused: list[bool]) -> list[Measure]:
    both = sum(one and other for one, other in zip(unanswerable, refused, strict=True))
    return [
        share(f"Refusal precision{of}", both, sum(refused), aim=_AIM),
        share(f"Refusal recall{of}", both, sum(unanswerable), aim=_AIM),
    ]


def _asked(exam: Exam, graph: Graph, count: int) -> list[Asked]:
    """Questions in the order they are asked; `graph` loses what must not be known."""
    rng = exam.rng("refusal")
    pool = list(questions(exam, "facts", exam.settings.questions))
    rng.shuffle(pool)
    n_missing = round(UNANSWERABLE * len(pool))
    missing, rest = pool[:n_missing], pool[n_missing:]
    unknown = _unknown_relations(graph)
    whys: list[Why] = ["fact", "name", "relation"] if unknown else ["fact", "name"]
    asked: list[Asked] = []
    gone: list[Question] = []
    for place, question in enumerate(missing):
        why = whys[place % len(whys)]
        start = graph.label(_start(graph, question))
        if why == "fact":
            gone.append(question)
            asked.append(Asked(question.text, why))
        elif why == "name":
            asked.append(Asked(whole(start).sub(_nobody(graph, rng), question.text), why))
        else:
            asked.append(Asked(filled(f"What is the {rng.choice(unknown)} {{subject}}?", start), why))
    untouched = [(each, _ends(graph, each)) for each in rest]
    lost = _forget(graph, gone)
    asked += [Asked(each.text, "") for each, ends in untouched if not lost & set(ends)]
    rng.shuffle(asked)
    return asked[:count]


def _forget(graph: Graph, gone: list[Question]) -> set[tuple[Node, Node]]:
    """Retire everything between what a question is about and its answers; what was so retired, as pairs of ends."""
    lost: set[tuple[EntityId, Node]] = {pair for question in gone for pair in _ends(graph, question)}
    starts = {start for start, _ in lost}
    with graph.store.writer() as writer:
        for start in starts:
            for each in graph.store.outgoing(start):
                if (start, object_of(each)) in lost:
                    writer.retire(each.id)
            for each in graph.store.incoming(start):
                if (start, each.subject) in lost:
                    writer.retire(each.id)
    graph.refresh()
    return {*lost, *((end, start) for start, end in lost)}


def _ends(graph: Graph, question: Question) -> list[tuple[EntityId, Node]]:
    start = _start(graph, question)
    return [(start, answer) for answer in run(question.query, LiveFacts(graph)).answers]


def _start(graph: Graph, question: Question) -> EntityId:
    start = graph.store.find_entity(question.query.branch.start)
    assert start is not None, "the copy holds what the graph holds"
    return start


def _nobody(graph: Graph, rng: random.Random) -> str:
    """A name that nothing in a graph has."""
    name = made_up(rng)
    while graph.store.named(name):
        name = made_up(rng)
    return name


def _unknown_relations(graph: Graph) -> list[str]:
    known = {word for each in graph.relations.values() for word in tokens(" ".join((each.label, *each.aliases)))}
    return [each for each in _NOWHERE if not known & (set(tokens(each)) - {"of", "at", "to"})]


def _alone(exam: Exam, count: int) -> list[Measure]:
    """The model, handed evidence of which a fifth does not answer the question."""
    n_silent = round(UNANSWERABLE * count)
    lessons: list[Lesson] = []
    for kinds, wanted in ((_SILENT, n_silent), (_ANSWERABLE, count - n_silent)):
        for place, kind in enumerate(kinds):
            part = wanted // len(kinds) + (place < wanted % len(kinds))
            lessons += exam.lessons(part, kind)
    exam.rng("refusal alone").shuffle(lessons)
    refused: list[bool] = []
    for batch in batches(lessons, exam.settings.batch):
        refused += map(is_refusal, exam.speaker.say_all([(each.question, each.facts) for each in batch]))
        exam.advance(len(batch))
    return _pair(", model alone", [each.kind in _SILENT for each in lessons], refused)
