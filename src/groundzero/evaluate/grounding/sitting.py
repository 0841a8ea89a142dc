"""Questions put to the system, as they come out: what reasoning found, what the model made of it, what both are worth.

One generation serves two columns. With the fallback off an answer is whatever the model said first; with it on, what
the evidence does not bear out (`Wording.entailed`) is said anew, and at last replaced by the sentence made by rule,
which is right where reasoning found exactly the right answers. A question that reasoning refuses is answered by
neither. An answer that rests on more statements than the model is shown is worded by rule, too: it counts as one in
which the fallback was used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from groundzero.evaluate.grounding.judge import Judge, Mark
from groundzero.evaluate.grounding.questions import Question, Row, questions
from groundzero.evaluate.grounding.replies import batches
from groundzero.evaluate.grounding.setting import Exam
from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.ground.answer import Evidence
from groundzero.ground.grounded import GroundedModel, Wording


@dataclass(frozen=True, slots=True)
class Sitting:
    """One question, answered."""

    question: Question
    evidence: Evidence
    wording: Wording | None
    """None where there was nothing to word, or too much."""
    mark: Mark | None
    """What the model's own words are worth, the likeliest ones; None where it said nothing."""
    shown: Mark | None
    """What those are worth that it said last, where they are shown."""
    reasoned: bool
    """Reasoning found exactly the right answers."""

    @property
    def refused(self) -> bool:
        """The system says that it does not know."""
        return bool(self.evidence.reason)

    @property
    def fell_back(self) -> bool:
        """Answered by rule."""
        return not self.refused and (self.wording is None or not self.wording.entailed)

    @property
    def right_alone(self) -> bool:
        """Right with the fallback off."""
        return self.mark is not None and self.mark.right

    @property
    def right(self) -> bool:
        """Right with the fallback on."""
        return not self.refused and (self.reasoned if self.fell_back else self.shown is not None and self.shown.right)


def judge_of(exam: Exam) -> Judge:
    """The one judge of an exam."""
    judge: Judge = exam.kept.setdefault("judge", Judge(exam.graph))
    return judge


def sit(
    exam: Exam,
    row: Row,
    count: int,
    channels: Collection[Channel] = CHANNELS,
    *,
    model: GroundedModel | None = None,
) -> list[Sitting]:
    """Ask `count` questions of a row. What was asked before is not asked again.

    Args:
        channels: ways in which the model gets facts; without any it is asked with a closed book.
        model: over the same graph; the exam's own when None. With fewer than all channels it has one attempt: it is
            examined alone.
    """
    model = model or exam.model
    if set(channels) != CHANNELS:
        model = GroundedModel(
            model.speaker, model.graph, settings=model.settings.replace(attempts=1), reasoner=model.reasoner
        )
    key = f"sitting:{row}:{'+'.join(sorted(channels))}:{model.settings!r}"
    before: list[Sitting] = exam.kept.get(key, [])
    asked = questions(exam, row, exam.settings.questions)[:count]
    if len(before) < len(asked):
        before = before + _answered(exam, asked[len(before) :], channels, model)
        exam.kept[key] = before
    return before[:count]


def _answered(
    exam: Exam, asked: Sequence[Question], channels: Collection[Channel], model: GroundedModel
) -> list[Sitting]:
    judge, done = judge_of(exam), list[Sitting]()

    def marked(question: Question, wording: Wording | None) -> Mark | None:
        return None if wording is None else judge.mark(question, wording.said, wording.facts if channels else ())

    for batch in batches(asked, exam.settings.batch):
        found = [_evidence(exam, question) for question in batch]
        for question, evidence, wording in zip(batch, found, model.word_all(found, channels), strict=True):
            alone = marked(question, None if wording is None else wording.alone)
            last = marked(question, wording) if wording and wording.first else alone
            done.append(Sitting(question, evidence, wording, alone, last, judge.by_rule(question, evidence)))
        exam.advance(len(batch))
    return done


def _evidence(exam: Exam, question: Question) -> Evidence:
    """What reasoning finds; looked for once."""
    known: dict[str, Evidence] = exam.kept.setdefault("evidence", {})
    if question.text not in known:
        known[question.text] = exam.model.evidence(question.text)[0]
    return known[question.text]
