"""Sections that change a copy of the graph notice who does not follow: answers kept from before, memory, collateral."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from groundzero.errors import InputError
from groundzero.evaluate.grounding import changes, replies
from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.causal import examine_causal
from groundzero.evaluate.grounding.edits import examine_edits
from groundzero.evaluate.grounding.injection import examine_injection
from groundzero.evaluate.grounding.leak import examine_leak
from groundzero.evaluate.grounding.measures import Measure, Section
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.generate import Engine
from groundzero.graph.graph import Graph
from groundzero.ground.answer import Evidence
from groundzero.ground.grounded import GroundedModel, GroundedSettings
from groundzero.ground.lessons import Fact
from groundzero.ground.reason import Reasoner
from groundzero.ground.speech import Said, Speaker
from groundzero.ground.teacher import Teacher
from tests.evaluate.grounding.conftest import LESSONS, Refusing, Scripted, Truthful, words

FEW = Amounts.parse({
    "edits": 12, "untouched": 12, "worded": 6, "deletions": 12, "closed_book": 12, "choices": 4, "forgotten": 8,
})  # fmt: skip
MakeExam = Callable[..., Exam]


@pytest.fixture
def aliased(wide_path: Path, tmp_path: Path) -> Iterator[Graph]:
    """The wide world with second names, and its currencies from a source of their own."""
    path = tmp_path / "aliased.db"
    shutil.copy(wide_path, path)
    with Graph.open(path) as graph:
        currency = graph.store.find_relation("currency")
        coins = [each for each in graph.store.statements() if each.relation == currency]
        with graph.store.writer() as writer:
            book = writer.add_source("a book of coins")
            for each in coins:
                assert each.object is not None
                writer.name_entity(each.subject, f"Republic {graph.label(each.subject)}")
                writer.retire(each.id)
                writer.add_statement(each.subject, each.relation, each.object, source=book)
    with Graph.open(path, read_only=True) as graph:
        yield graph


@pytest.fixture
def aliased_exam(aliased: Graph, knowing_engine: Engine) -> MakeExam:
    def make(speaker: type[Speaker]) -> Exam:
        model = GroundedModel(speaker(knowing_engine), aliased, settings=GroundedSettings.parse({"meters": False}))
        return Exam(model, Teacher(aliased, LESSONS, split="test"), ExamSettings.parse({}))

    return make


def one(section: Section, part: str) -> Measure:
    """The measure with this in its name."""
    (found,) = [each for each in section.measures if part in each.name]
    return found


def remember_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant: what was once answered is answered again."""
    kept: dict[str, object] = {}
    evidence = Reasoner.evidence
    monkeypatch.setattr(Reasoner, "evidence", lambda self, text, *_: kept.setdefault(text, evidence(self, text)))


class Forgetful(Truthful):
    """Says again what it once said to a question."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.kept: dict[str, Said] = {}

    def answer(self, question: str, facts: Sequence[Fact]) -> Said:
        return self.kept.setdefault(question, super().answer(question, facts))


def test_edits_are_followed_at_once(aliased_exam: MakeExam) -> None:
    exam = aliased_exam(Truthful)
    before = exam.graph.store.counts(), exam.graph.store.transaction()
    section = examine_edits(exam, FEW)
    for part in ("reliability", "generalisation", "another name", "other end", "one hop further", "untouched"):
        found = one(section, "by another name" if part == "another name" else part)
        assert found.n, part
        assert found.value == 1, (part, section.details)
        assert found.reached, part
    assert one(section, "reliability").n == one(section, "from edit to right answer").n == FEW.edits
    assert one(section, "own words").value == one(section, "as answered").value == 1
    assert (exam.graph.store.counts(), exam.graph.store.transaction()) == before, "only a copy is edited"


def test_an_answer_from_before_the_edit_is_noticed(aliased_exam: MakeExam, monkeypatch: pytest.MonkeyPatch) -> None:
    exam = aliased_exam(Truthful)
    remember_answers(monkeypatch)
    section = examine_edits(exam, FEW)
    for part in ("reliability", "generalisation", "by another name", "one hop further"):
        assert one(section, part).reached is False, part
        assert one(section, part).value == 0, part
    assert one(section, "from edit to right answer").n == 0
    assert section.details["failures"]


def test_words_from_before_the_edit_are_noticed_and_not_let_through(aliased_exam: MakeExam) -> None:
    section = examine_edits(aliased_exam(Forgetful), FEW)
    assert one(section, "own words").value == 0
    assert one(section, "as answered").value == 1


def test_an_edit_that_changes_more_than_it_should_is_noticed(
    aliased_exam: MakeExam, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = changes.Change.apply

    def careless(self: changes.Change, graph: Graph) -> int:
        added = apply(self, graph)
        others = [each.id for each in graph.store.statements() if each.relation == self.old.relation]
        with graph.store.writer() as writer:
            for number in others:
                if number != added:
                    writer.retire(number)
        graph.refresh()
        return added

    monkeypatch.setattr(changes.Change, "apply", careless)
    locality = one(examine_edits(aliased_exam(Truthful), FEW), "untouched")
    assert locality.n
    assert locality.reached is False


def test_a_graph_that_cannot_be_copied_is_told(make_exam: MakeExam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "SQLiteStore", type("Elsewhere", (), {}))
    for examine in (examine_edits, examine_causal, examine_leak, examine_injection):
        with pytest.raises(InputError, match="gz graph snapshot"):
            examine(make_exam(Truthful), FEW)


def test_citations_are_causes(make_exam: MakeExam) -> None:
    section = examine_causal(make_exam(Truthful), FEW)
    assert [each.value for each in section.measures] == [1.0] * 6, section.details
    assert all(each.n for each in section.measures)


def test_an_answer_that_outlives_its_fact_is_noticed(make_exam: MakeExam, monkeypatch: pytest.MonkeyPatch) -> None:
    exam = make_exam(Truthful)
    remember_answers(monkeypatch)
    section = examine_causal(exam, FEW)
    assert one(section, "the cited fact is deleted").value == 0
    assert one(section, "another fact is deleted").value == 1


def test_an_answer_that_minds_other_facts_is_noticed(make_exam: MakeExam, monkeypatch: pytest.MonkeyPatch) -> None:
    exam = make_exam(Truthful)
    ask, first = Reasoner.evidence, exam.graph.transaction

    def touchy(self: Reasoner, question: str, *_: object) -> object:
        return ask(self, question if self.graph.refresh() == first else "What is nothing at all?")

    monkeypatch.setattr(Reasoner, "evidence", touchy)
    section = examine_causal(exam, FEW)
    assert one(section, "another fact is deleted").reached is False


def test_a_model_that_answers_from_memory_is_noticed(make_exam: MakeExam, wide: Graph) -> None:
    section = examine_causal(make_exam(knower(wide)), FEW)
    assert one(section, "gives the answer").value == 1
    assert one(section, "it no longer does").value == 0
    assert one(section, "it gives that one").value == 0


def knower(graph: Graph) -> type[Scripted]:
    """A speaker that knows the held-out facts by heart."""
    lessons = list(Teacher(graph, LESSONS, split="test").lessons(3_000, "one"))
    known = {each.question: each.text for each in lessons}

    class Knower(Scripted):
        def answer(self, question: str, facts: Sequence[Fact]) -> Said:
            return words(known.get(question, "I do not know."))

    return Knower


def test_who_knows_nothing_leaks_nothing(aliased_exam: MakeExam) -> None:
    section = examine_leak(aliased_exam(Truthful), FEW)
    assert section.details["deleted_source"] == "a book of coins"
    assert section.details["deleted_statements"] == 40
    assert one(section, "the deleted object is named").n == FEW.forgotten
    assert all(each.reached is not False for each in section.measures), section
    assert one(section, "asked with the graph: refused").value == 1


def test_what_is_known_by_heart_leaks(aliased_exam: MakeExam, aliased: Graph) -> None:
    section = examine_leak(aliased_exam(knower(aliased)), FEW)
    assert section.measures[0].value > 0.9
    assert one(section, "deleted facts, closed book: above").reached is False
    closed = [each for each in section.measures if each.name == "closed book: above the majority"]
    assert [each.reached for each in closed] == [False]


def test_who_names_what_was_deleted_is_noticed(aliased_exam: MakeExam, monkeypatch: pytest.MonkeyPatch) -> None:
    exam = aliased_exam(Truthful)
    kept = {lesson.question: exam.model.ask(lesson.question) for lesson in exam.lessons(200, "one")}
    monkeypatch.setattr(GroundedModel, "ask", lambda self, question: kept[question])
    section = examine_leak(exam, FEW)
    assert one(section, "the deleted object is named").value == 1


def test_what_was_deleted_and_is_still_shown_is_noticed(
    aliased_exam: MakeExam, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts_for = GroundedModel.facts_for

    def stale(self: GroundedModel, evidence: Evidence) -> tuple[Fact, ...]:
        facts = facts_for(self, evidence)
        old = [each.id for each in self.graph.store.statements(at=before) if each.source is not None]
        return (*facts, *(replace(facts[0], statement=number, step=0) for number in old)) if facts else ()

    before = aliased_exam(Truthful).graph.transaction
    monkeypatch.setattr(GroundedModel, "facts_for", stale)
    shown = one(examine_leak(aliased_exam(Truthful), FEW), "among what the model is shown")
    assert shown.n
    assert shown.reached is False


def test_without_sources_single_facts_are_forgotten(make_exam: MakeExam) -> None:
    section = examine_leak(make_exam(Refusing), FEW)
    assert section.details["deleted_source"] is None
    assert 0 < section.details["deleted_statements"] <= FEW.forgotten
    assert one(section, "the deleted object is named").value == 0
