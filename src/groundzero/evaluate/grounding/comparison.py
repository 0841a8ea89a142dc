"""The same questions, answered with less: what the graph adds to the model, and the model to the graph.

    grounded, fallback on    the system
    grounded, model alone    its network's own words
    unmarked evidence        the network is not told which of the statements before it answer
    facts in the prompt      the other channels closed: what retrieval-augmented generation does
    symbolic answer          reasoning alone, worded by rule
    without the graph        the network with the question alone (closed book)
    majority                 always the commonest answer of the relation: what can be guessed without knowing anything

A network that has not learnt the examined facts by heart is no better without the graph than the majority answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.questions import ROWS, Question, Row
from groundzero.evaluate.grounding.replies import object_of
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.evaluate.grounding.sitting import sit
from groundzero.generate.evidence import Channel
from groundzero.graph.graph import Graph
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.query import Node

_ROWS: tuple[Row, ...] = ("facts", "two")
_PROMPT: tuple[Channel, ...] = ("prompt",)
_MARGIN = 0.03
"""By which a closed book may beat the majority answer."""


def work(settings: ExamSettings) -> int:
    """Questions: four ways for the model to answer them."""
    return 4 * len(_ROWS) * settings.questions


def work_after(settings: ExamSettings) -> int:
    """The same without the whole system, which was asked before."""
    return 3 * len(_ROWS) * settings.questions


def examine_comparison(exam: Exam) -> Section:
    """One and two hops, answered in seven ways."""
    started, count = time.perf_counter(), exam.settings.questions
    unmarked = GroundedModel(
        exam.speaker, exam.graph, settings=exam.model.settings.replace(marks=False, attempts=1), reasoner=exam.reasoner
    )
    table: dict[str, list[Measure]] = {}
    for row in _ROWS:
        full = sit(exam, row, count)
        bare = sit(exam, row, count, model=unmarked)
        prompt = sit(exam, row, count, _PROMPT)
        closed = sit(exam, row, count, ())
        n, column = len(full), ROWS[row].lower()
        guessed = majority(exam.graph, [each.question for each in full])
        limit = min(1.0, guessed / n + _MARGIN) if n else None
        for name, right in (
            ("Grounded, fallback on", sum(each.right for each in full)),
            ("Grounded, model alone", sum(each.right_alone for each in full)),
            ("Unmarked evidence, model alone", sum(each.right_alone for each in bare)),
            ("Facts in the prompt, model alone", sum(each.right_alone for each in prompt)),
            ("Symbolic answer alone", sum(each.reasoned for each in full)),
        ):
            table.setdefault(name, []).append(share(f"{name} · {column}", right, n))
        known = sum(each.right_alone for each in closed)
        table.setdefault("closed", []).append(share(f"Without the graph · {column}", known, n, aim=limit, at_most=True))
        table.setdefault("majority", []).append(share(f"Majority answer · {column}", guessed, n))
    measures = tuple(measure for line in table.values() for measure in line)
    return Section("comparison", "Comparison", measures, time.perf_counter() - started)


def majority(graph: Graph, asked: Sequence[Question]) -> int:
    """Questions that the commonest answer of their last relation answers; what is asked about is not counted in."""
    starts = {graph.store.find_entity(each.query.branch.start) for each in asked}
    wanted = {(graph.store.find_relation(each.step.relation), each.step.inverse) for each in asked}
    counts: dict[tuple[int | None, bool], Counter[Node]] = {key: Counter() for key in wanted}
    for each in graph.store.statements():
        if each.subject not in starts:
            if (each.relation, False) in counts:
                counts[each.relation, False][object_of(each)] += 1
            if (each.relation, True) in counts:
                counts[each.relation, True][each.subject] += 1
    commonest = {key: {node for node, _ in found.most_common(1)} for key, found in counts.items()}
    return sum(
        set(each.answers) == commonest[graph.store.find_relation(each.step.relation), each.step.inverse]
        for each in asked
    )
