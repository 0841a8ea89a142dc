"""What is asked, with what is right: lessons about held-out entities give the questions, the graph gives the answers.

A lesson knows which statements its answer rests on. Their relations, one after the other, are the gold path; following
it through the graph (`ground.query`) gives every right answer, whatever reasoning or the network make of the question.
A question that has no one meaning (`clarity`) has no one answer, and is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal as OneOf

from groundzero.errors import InputError
from groundzero.evaluate.grounding.clarity import filled, has_one_meaning, is_only_one, says
from groundzero.evaluate.grounding.setting import Exam
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, Literal, RelationId
from groundzero.graph.phrasing import phrase
from groundzero.ground.facts import LiveFacts
from groundzero.ground.lessons import Copied, Fact, Kind, Lesson
from groundzero.ground.query import Aggregate, Branch, Node, Query, Step, label_of, run

Row = OneOf["facts", "phrasing", "inverse", "list", "two", "three", "count", "verdict"]
ROWS: dict[Row, str] = {
    "facts": "One hop, unseen facts",
    "phrasing": "One hop, unseen phrasing",
    "inverse": "Inverse",
    "list": "Several answers",
    "two": "Two hops",
    "three": "Three hops",
    "count": "Counting",
    "verdict": "Yes or no",
}
"""Rows of the exam and what the report card calls them."""
_KINDS: dict[Row, tuple[Kind, ...]] = {
    "facts": ("one",), "phrasing": ("one",), "inverse": ("inverse",), "list": ("list",), "two": ("two",),
    "three": ("three",), "count": ("count",), "verdict": ("yes", "no"),
}  # fmt: skip
_SPARE = 4
"""Lessons looked at for each question that is wanted: some have two meanings, some one phrasing only."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and everything that is right."""

    row: Row
    text: str
    about: str
    """Label of what it starts from."""
    query: Query
    """The gold path."""
    answers: tuple[Node, ...]
    """All that it leads to; of yes or no: what is asked about, where it is so."""
    names: tuple[tuple[str, ...], ...]
    """What each answer is called: its label, then its aliases."""
    lead: str
    """`Yes`, `No` or the number that the answer must give; else empty."""
    path: frozenset[str]
    """Labels of everything on the way, the start included: these may be named, too."""
    lesson: Lesson
    """What it was drawn from."""

    @property
    def step(self) -> Step:
        """The last hop."""
        return self.query.branch.steps[-1]


def questions(exam: Exam, row: Row, count: int) -> list[Question]:
    """Up to `count` questions of a row, the same for the same seed; fewer where the graph has no more.

    Raises:
        InputError: nothing in the graph can be asked about.
    """
    if not exam.teacher.n_askable:
        raise InputError(
            f"{exam.graph.location} has no statement about a held-out entity.", remedy="Give a graph with more facts."
        )
    key = f"questions:{row}:{count}"
    if key not in exam.kept:
        kinds = _KINDS[row]
        shares = [count // len(kinds) + (place < count % len(kinds)) for place in range(len(kinds))]
        drawn = [each for kind, share in zip(kinds, shares, strict=True) for each in _drawn(exam, row, kind, share)]
        exam.kept[key] = drawn
    found: list[Question] = exam.kept[key]
    return found


def _drawn(exam: Exam, row: Row, kind: Kind, count: int) -> Iterator[Question]:
    found, asked = 0, set[str]()
    for lesson in exam.lessons(_SPARE * count, kind):
        if found == count:
            return
        question = question_of(exam.graph, lesson, row)
        if question is not None and question.text not in asked:
            found += 1
            asked.add(question.text)
            yield question


def question_of(graph: Graph, lesson: Lesson, row: Row) -> Question | None:
    """A lesson as a question of a row; None where it cannot be one, or has no one answer."""
    path = _gold_path(lesson)
    if path is None:
        return None
    start, steps = path
    text = lesson.question
    if row in ("facts", "phrasing"):
        ways = phrase(graph.relation(steps[0][0])).questions
        first = filled(ways[0], graph.label(start))
        if row == "phrasing" and (len(ways) < 2 or text == first):
            return None
        text = first if row == "facts" else text
    if not is_only_one(graph, start) or (row != "verdict" and not has_one_meaning(graph, text, start, steps)):
        return None
    return _with_gold(graph, lesson, row, text, start, steps)


def _with_gold(
    graph: Graph, lesson: Lesson, row: Row, text: str, start: EntityId, steps: Sequence[tuple[RelationId, bool]]
) -> Question | None:
    facts = LiveFacts(graph)
    branch = Branch(graph.entity(start).key, tuple(Step(graph.relation(each).key, back) for each, back in steps))
    query = Query(branch, aggregate=Aggregate("count") if row == "count" else None)
    result = run(query, facts)
    if result.truncated or not result.answers:
        return None
    if row == "count" and any(isinstance(node, Literal) for node in result.answers):
        return None  # "How many ... the population?" wants the value itself
    answers, lead = tuple(result.answers), ""
    if row == "count":
        lead = str(result.number)
    if row == "verdict":
        claimed = lesson.mentioned[0] if lesson.mentioned else ""
        answers = tuple(node for node in answers if claimed in _names(node, graph))
        if not claimed or bool(answers) != (lesson.kind == "yes") or bool(answers) != says(graph, text, start, claimed):
            return None
        lead = "Yes" if answers else "No"
    ways = [way for found in result.answers.values() for way in found]
    named = frozenset(label_of(node, facts) for way in ways for node in way.nodes)
    names = tuple(_names(node, graph) for node in answers)
    return Question(row, text, graph.label(start), query, answers, names, lead, named, lesson)


def _names(node: Node, graph: Graph) -> tuple[str, ...]:
    if isinstance(node, Literal):
        return (node.value,)
    found = graph.entity(node)
    return (found.label, *found.aliases)


def _gold_path(lesson: Lesson) -> tuple[EntityId, list[tuple[RelationId, bool]]] | None:
    """Where a lesson's answer starts and the relations it follows; None where that is no path."""
    facts = _cited(lesson)
    if not facts:
        return None
    if lesson.kind == "inverse":
        end = facts[0].ends[2]
        return None if end is None else (end, [(facts[0].ends[1], True)])
    hops = {(fact.ends[0], fact.ends[1]): {other.ends[2] for other in facts if other.ends[:2] == fact.ends[:2]}
            for fact in facts}  # fmt: skip
    reached = {end for ends in hops.values() for end in ends}
    starts = [subject for subject, _ in hops if subject not in reached]
    if len(set(starts)) != 1:
        return None
    at: set[EntityId | None] = {starts[0]}
    steps: list[tuple[RelationId, bool]] = []
    while True:
        ahead = [(subject, relation) for subject, relation in hops if subject in at]
        if len({relation for _, relation in ahead}) != 1:
            return (starts[0], steps) if not ahead and len(steps) >= 1 else None
        steps.append((ahead[0][1], False))
        at = {end for hop in ahead for end in hops.pop(hop)}


def _cited(lesson: Lesson) -> list[Fact]:
    places = dict.fromkeys(piece.fact for piece in lesson.answer if isinstance(piece, Copied))
    return [lesson.facts[place] for place in places]


def whole(name: str) -> re.Pattern[str]:
    """Finds a name as whole words."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
