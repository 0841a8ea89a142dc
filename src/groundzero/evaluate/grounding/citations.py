"""Whether citations hold: precision and recall as in ALCE (Gao et al. 2023), with entailment decided by the graph.

ALCE asks a language model whether a cited passage entails a sentence. A citation of ours is a statement, and a sentence
of ours reads back as triples, so entailment is exact: a citation *supports* a claim where the statement of that number
is in the graph, believed, and says the very same by the same names, and where it stands behind one of its own names.

    precision   of all citations, those that support a claim of their answer
    recall      of all claims, those with a citation that supports them; what cannot be read is a claim without one

A sentence made by rule is proven otherwise: its query is replayed (`ground.verify`), which must lead to exactly the
statements cited. Whatever replays counts as a claim with its citation, one for each citation.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace

from groundzero.evaluate.grounding.judge import Mark
from groundzero.evaluate.grounding.measures import Section, share
from groundzero.evaluate.grounding.questions import ROWS
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.evaluate.grounding.sitting import Sitting, sit
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Statement
from groundzero.ground.answer import Answer
from groundzero.ground.facts import LiveFacts
from groundzero.ground.grounded import Wording
from groundzero.ground.query import label_of
from groundzero.ground.respond import respond
from groundzero.ground.verify import verify

_MARKS = re.compile(r"(?:\s*\[S\d+\])+")
_NUMBER = re.compile(r"\[S(\d+)\]")


@dataclass(slots=True)
class Tally:
    """What was counted over some answers."""

    citations: int = 0
    supporting: int = 0
    claims: int = 0
    supported: int = 0

    def add(self, other: Tally) -> None:
        """Count another's, too."""
        self.citations += other.citations
        self.supporting += other.supporting
        self.claims += other.claims
        self.supported += other.supported


def work(settings: ExamSettings) -> int:
    """Questions."""
    return len(ROWS) * settings.questions


def examine_citations(exam: Exam) -> Section:
    """Citations of the answers to every row."""
    started = time.perf_counter()
    shown, alone = Tally(), Tally()
    answers = verified = 0
    for row in ROWS:
        for each in sit(exam, row, exam.settings.questions):
            if each.refused:
                continue
            answer = answer_of(exam.graph, each)
            proven = verify(answer, exam.graph.store).ok
            answers, verified = answers + 1, verified + proven
            alone.add(worded(exam.graph, each.wording and each.wording.alone, each.mark))
            own = worded(exam.graph, each.wording, each.shown)
            shown.add(by_rule(answer, proven) if each.fell_back else own)
    measures = (
        share("Citation precision", shown.supporting, shown.citations, aim=0.99),
        share("Citation recall", shown.supported, shown.claims, aim=0.98),
        share("Citation precision, model alone", alone.supporting, alone.citations),
        share("Citation recall, model alone", alone.supported, alone.claims),
        share("Answers that verify without a model", verified, answers, aim=1.0),
    )
    return Section("citations", "Citations", measures, time.perf_counter() - started)


def answer_of(graph: Graph, sitting: Sitting) -> Answer:
    """The answer that a user gets."""
    answer = replace(respond(sitting.evidence, graph), question=sitting.question.text)
    if sitting.fell_back or sitting.wording is None:
        return answer
    return replace(answer, text=sitting.wording.text, tokens_generated=sitting.wording.said.tokens)


def by_rule(answer: Answer, proven: bool) -> Tally:
    """An answer that was worded by rule: all of its citations hold, or none is believed."""
    marks = [int(number) for number in _NUMBER.findall(answer.text)]
    known = {each.id for each in answer.citations}
    held = [number for number in marks if proven and number in known]
    return Tally(len(marks), len(held), max(1, len(marks)), len(held))


def worded(graph: Graph, wording: Wording | None, mark: Mark | None) -> Tally:
    """The model's own words. Only what the system understood of them carries citations."""
    if wording is None or mark is None or mark.refused:
        return Tally()
    return tally(graph, wording.text, mark)


def tally(graph: Graph, text: str, mark: Mark) -> Tally:
    """Citations of a text against what it states."""
    claims = [(each.triple.subject, each.triple.relation, each.triple.object) for each in mark.claims if each.triple]
    unread = sum(each.triple is None for each in mark.claims)
    found = Tally(claims=max(1, len(claims) + unread))
    proven = set()
    for group in _MARKS.finditer(text):
        for number in map(int, _NUMBER.findall(group.group())):
            found.citations += 1
            said = _says(graph, number, text[: group.start()])
            if said in claims:
                found.supporting += 1
                proven.add(said)
    found.supported = sum(claim in proven for claim in claims)
    return found


def _says(graph: Graph, number: int, before: str) -> tuple[str, int, str] | None:
    """What a cited statement says; None where it is not believed, or stands behind no name of its own."""
    statement = graph.statement(number) if 0 < number < 2**63 else None
    if statement is None or statement.status != "accepted" or statement.retired is not None:
        return None
    subject, object_ = _ends(graph, statement)
    behind = before.rstrip(" .")
    if not any(behind.endswith(name.rstrip(" .")) for name in (subject, object_)):
        return None
    return subject, statement.relation, object_


def _ends(graph: Graph, statement: Statement) -> tuple[str, str]:
    end = statement.object if statement.literal is None else statement.literal
    assert end is not None
    return graph.label(statement.subject), label_of(end, LiveFacts(graph))
