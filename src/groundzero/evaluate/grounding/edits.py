"""What an edit changes at once, and what it leaves alone; on a copy of the graph.

    reliability     the question has the new answer
    generalisation  so has every other way to ask it
    portability     so have questions by another name, from the other end, and one hop further
    locality        questions about other things, asked before the first edit and after the last, have the same answers

The names are those of EasyEdit (Wang et al. 2023). A question counts where it was answered rightly before the edit, as
in MQuAKE (Zhong et al. 2023), and has one meaning before and after: what was never understood says nothing about
editing. All edits stay: the last is made in a graph that has been changed as often as there are edits.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.changes import PROBES, Change, Probe, Question, planned
from groundzero.evaluate.grounding.measures import Measure, Section, median, share
from groundzero.evaluate.grounding.replies import Reply, copied, name_of, object_of, reply, worded
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import StatementId
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.lessons import Kind
from groundzero.ground.query import Node

_SPARE = 1.5
"""Edits planned for each that is made: some questions are not understood."""
_KEPT = 20
"""Failures that are kept to be looked at."""
_NAMED = 5
"""Right answers that are named there."""
_NAMES: dict[Probe, str] = {
    "asked": "reliability: the question has the new answer",
    "rephrased": "generalisation: in other words",
    "alias": "portability: by another name of the subject",
    "inverse": "portability: from the other end",
    "further": "portability: one hop further",
}
_EDIT_MS = 100.0


@dataclass
class _Tally:
    """What has been found so far."""

    formed: Counter[Probe] = field(default_factory=Counter)
    """Questions asked before their edit."""
    counted: Counter[Probe] = field(default_factory=Counter)
    """Those answered rightly then, and clear before and after."""
    right: Counter[Probe] = field(default_factory=Counter)
    """Those answered rightly after it, too."""
    milliseconds: list[float] = field(default_factory=list)
    before: list[Reply] = field(default_factory=list)
    """Of each edit, what the question was answered with."""
    after: list[Reply] = field(default_factory=list)
    added: list[tuple[StatementId, Node]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)


def work(settings: ExamSettings) -> int:
    """Edits, questions about what they leave alone, and answers that the model words."""
    return settings.amounts.edits + settings.amounts.untouched + 2 * settings.amounts.worded


def examine_edits(exam: Exam, amounts: Amounts) -> Section:
    """Edit a copy of the graph, and ask.

    Raises:
        InputError: the graph cannot be copied.
    """
    started = time.perf_counter()
    tally, rng = _Tally(), exam.rng("edits")
    with copied(exam) as graph:
        model = exam.over(graph)
        plan = planned(exam, round(_SPARE * amounts.edits), rng)
        untouched = [(each, reply(model, each)) for each in _untouched(exam, plan, amounts.untouched)]
        for change in plan:
            if len(tally.after) == amounts.edits:
                break
            _edit(model, change, tally)
            exam.advance(1)
        edited = {change.old.id for change in plan}
        kept, same = 0, 0
        for question, before in untouched:
            if any(each.id in edited for each in before.statements):  # understood as a question about what was edited
                continue
            now = reply(model, question)
            kept += 1
            same += now.by_rule == before.by_rule
            if now.by_rule != before.by_rule:
                _keep(tally, "untouched", question, before.by_rule, now.by_rule)
            exam.advance(1)
        measures = [*_of_probes(tally), share("locality: untouched questions", same, kept, aim=0.995)]
        measures.append(
            median("from edit to right answer, the model's wording left out", tally.milliseconds, "ms", aim=_EDIT_MS)
        )
        measures += _of_words(exam, model, tally, amounts.worded)
    details = {"questions_left_out": _dropped(tally), "failures": tally.failures}
    return Section("edits", "Edits", tuple(measures), time.perf_counter() - started, details)


def _edit(model: GroundedModel, change: Change, tally: _Tally) -> None:
    """One edit, with the questions that it changes before and after."""
    graph = model.graph
    before = reply(model, change.asked.text)
    tally.formed["asked"] += 1
    if before.answers != {object_of(change.old)} or not change.asked.is_clear(graph):
        return
    understood = [pair for pair in change.others if _is_understood(model, *pair, change)]
    tally.formed.update(each.probe for each, _ in change.others)
    started = time.perf_counter()
    added = change.apply(graph)
    after = reply(model, change.asked.text)
    spent = 1e3 * (time.perf_counter() - started)
    if after.answers == {change.new} == change.asked.right(graph):
        tally.milliseconds.append(spent)
    if change.asked.is_clear(graph):
        tally.before.append(before)
        tally.after.append(after)
        tally.added.append((added, change.new))
        _judge(tally, change.asked, change.new, after, graph, right=after.answers == {change.new})
    for earlier, later in understood:
        if later.is_clear(graph):
            now = reply(model, later.text)
            left = earlier is not later and change.old.subject in reply(model, earlier.text).answers
            _judge(tally, later, change.new, now, graph, right=_is_right(later, now, change, graph) and not left)


def _judge(tally: _Tally, question: Question, new: Node, now: Reply, graph: Graph, *, right: bool) -> None:
    tally.counted[question.probe] += 1
    tally.right[question.probe] += right
    if not right:
        wanted = {new} if question.probe == "asked" else question.right(graph)
        names = ", ".join(name_of(graph, node) for node in list(wanted)[:_NAMED])
        _keep(tally, question.probe, question.text, names, now.by_rule)


def _is_understood(model: GroundedModel, earlier: Question, later: Question, change: Change) -> bool:
    """Whether a question is answered rightly before the edit, and what is asked after it for what it is, too."""
    if not earlier.is_clear(model.graph) or not _is_right(earlier, reply(model, earlier.text), change, model.graph):
        return False
    return earlier is later or reply(model, later.text).answers == later.right(model.graph)


def _is_right(question: Question, found: Reply, change: Change, graph: Graph) -> bool:
    """All answers and no others; from the other end, where there may be thousands, that the subject is among them."""
    if question.probe == "inverse":
        return change.old.subject in found.answers
    return bool(found.answers) and found.answers == question.right(graph)


def _untouched(exam: Exam, plan: Sequence[Change], count: int) -> list[str]:
    """Questions whose right answer no edit of the plan changes, of four kinds."""
    pairs = {(each.old.subject, each.old.relation) for each in plan}
    backs = {(each.old.relation, node) for each in plan for node in (object_of(each.old), each.new)}
    asked: dict[str, None] = {}
    kinds: tuple[Kind, ...] = ("one", "list", "two", "inverse")
    for kind in kinds:
        wanted = len(asked) + -(-count // len(kinds))
        for lesson in exam.lessons(2 * (count + len(plan)), kind):
            needed = [found for number in lesson.cited if (found := exam.graph.statement(number)) is not None]
            if any((each.subject, each.relation) in pairs for each in needed):
                continue
            if kind == "inverse" and any((each.relation, object_of(each)) in backs for each in needed):
                continue
            asked[lesson.question] = None
            if len(asked) >= wanted:
                break
    return list(asked)[:count]


def _of_probes(tally: _Tally) -> list[Measure]:
    return [
        share(_NAMES[probe], tally.right[probe], tally.counted[probe], aim=1.0,
              note="" if tally.formed[probe] else "the graph has none to ask")
        for probe in PROBES
    ]  # fmt: skip


def _of_words(exam: Exam, model: GroundedModel, tally: _Tally, count: int) -> list[Measure]:
    """The model words answers of before and then of after the edits: nothing it keeps may outlive them."""
    worded(exam, model, tally.before[:count])
    after = worded(exam, model, tally.after[:count])
    own = [each for each in after if each.wording is not None]
    says = sum(each.wording.alone.entailed for each in own if each.wording is not None)
    right = sum(
        f"[S{number}]" in each.text and name_of(model.graph, new) in each.text
        for each, (number, new) in zip(after, tally.added, strict=False)
    )
    return [
        share("in the model's own words: exactly the new answer", says, len(own)),
        share("as answered, model and symbolic fallback: the new answer, cited", right, len(after), aim=1.0),
    ]


def _dropped(tally: _Tally) -> dict[str, int]:
    return {probe: tally.formed[probe] - tally.counted[probe] for probe in PROBES}


def _keep(tally: _Tally, probe: str, question: str, expected: str, got: str) -> None:
    if len(tally.failures) < _KEPT:
        tally.failures.append({"probe": probe, "question": question, "expected": expected, "got": got})
