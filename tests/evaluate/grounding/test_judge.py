"""The judge: right names, nothing false, and nobody's word for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from groundzero.errors import InputError
from groundzero.evaluate.grounding.citations import tally
from groundzero.evaluate.grounding.clarity import has_one_meaning, is_only_one
from groundzero.evaluate.grounding.judge import Judge
from groundzero.evaluate.grounding.questions import Question, questions
from groundzero.evaluate.grounding.reading import Triple
from groundzero.evaluate.grounding.setting import Exam
from groundzero.graph.graph import Graph
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.lessons import Fact
from tests.evaluate.grounding.conftest import Truthful, words


@pytest.fixture
def exam(make_exam: Callable[..., Exam]) -> Exam:
    return make_exam(Truthful)


@pytest.fixture
def judge(exam: Exam) -> Judge:
    return Judge(exam.graph)


def capital(exam: Exam) -> tuple[Question, tuple[Fact, ...], str, str]:
    """A question about a capital with its evidence, the country and the right answer."""
    question = next(each for each in questions(exam, "facts", 12) if each.step.relation == "capital")
    evidence, _ = exam.model.evidence(question.text)
    return question, exam.model.facts_for(evidence), question.query.branch.start, question.names[0][0]


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("The capital of {s} is {o}.", True),
        ("{o} is the capital of {s}.", True),
        ("The capital of {s} is {o} [S1].", True),
        ("{s} is the capital of {o}.", False),
        ("The capital of {s} is {o}. The capital of {s} is {other}.", False),
        ("The capital of {s} is {other}.", False),
        ("1: {o}.", False),
        ("Yes: the capital of {s} is {o}.", False),
        ("The capital of {s} is {o}, as everybody knows.", False),
        ("The capital of {s} is {o}land.", False),
        ("{o}", False),
        ("I do not know: the facts do not say. {o}", False),
        ("", False),
    ],
)
def test_right_is_what_names_the_answer_and_states_nothing_false(
    exam: Exam, judge: Judge, said: str, right: bool
) -> None:
    question, facts, country, answer = capital(exam)
    other = next(each.names[0][0] for each in questions(exam, "facts", 12) if each.names[0][0] != answer)
    text = said.format(s=country, o=answer, other=other)
    assert judge.mark(question, words(text), facts).right == right
    assert not judge.mark(question, replace(words(text), ended=False), facts).right, "a sentence without an end"


def test_what_was_not_asked_does_harm_though_it_is_true(exam: Exam, judge: Judge) -> None:
    question, facts, country, answer = capital(exam)
    fact = next(each for each in facts if each.step)
    said = next(each for each in exam.graph.store.outgoing(fact.ends[0]) if each.literal is not None)
    assert said.literal is not None
    more = Fact(country, "population", said.literal.value, said.id, (said.subject, said.relation, None))
    text = f"The capital of {country} is {answer}. The population of {country} is {more.object}."
    mark = judge.mark(question, words(text), (*facts, more))
    assert [each.standing for each in mark.claims] == ["supported", "supported"]
    assert not mark.right
    wrong = judge.mark(question, words(text.replace(more.object, "12")), (*facts, more))
    assert [each.standing for each in wrong.claims] == ["supported", "contradicted"]


def test_claims_are_told_apart(exam: Exam, judge: Judge) -> None:
    question, _, country, answer = capital(exam)
    relation = exam.graph.store.find_relation("capital")
    borders = exam.graph.store.find_relation("shares border with")
    assert relation is not None
    assert borders is not None
    assert question.names == ((answer,),)
    assert judge.standing(Triple(country, relation, answer)) == "supported"
    assert judge.standing(Triple(country, relation, "Nowhere")) == "contradicted"
    assert judge.standing(Triple("Nowhere", relation, answer)) == "unverifiable"
    assert judge.standing(Triple(country, borders, answer)) == "unverifiable", "borders are not one to a country"


@pytest.mark.parametrize(("row", "said"), [("count", "{n}: {names}."), ("verdict", "{lead}.")])
def test_numbers_and_verdicts_must_be_right(exam: Exam, judge: Judge, row: str, said: str) -> None:
    for question in questions(exam, row, 8):  # type: ignore[arg-type]
        evidence, _ = exam.model.evidence(question.text)
        facts = exam.model.facts_for(evidence)
        if not facts:
            continue
        names = " and ".join(each[0] for each in question.names)
        fill = {"n": question.lead, "lead": question.lead, "names": names}
        wrong = {**fill, "n": f"{question.lead}7", "lead": {"Yes": "No", "No": "Yes"}.get(question.lead, "")}
        assert judge.mark(question, words(said.format(**fill)), facts).led
        assert not judge.mark(question, words(said.format(**wrong)), facts).right


def test_a_verdict_must_be_reasoned_with_what_was_asked_about(exam: Exam, judge: Judge) -> None:
    found = questions(exam, "verdict", 12)
    question = next(each for each in found if each.lead == "Yes" and "capital" in each.text)
    other = next(each for each in questions(exam, "facts", 12)
                 if each.step.relation == "capital" and each.about != question.about)  # fmt: skip
    evidence, _ = exam.model.evidence(other.text)
    facts = exam.model.facts_for(evidence)
    assert judge.mark(question, words(f"Yes: {question.about}'s capital is {question.names[0][0]}."), facts).right
    beside = judge.mark(question, words(f"Yes: {other.about}'s capital is {other.names[0][0]}."), facts)
    assert [each.standing for each in beside.claims] == ["supported"]
    assert not beside.right


def test_a_closed_book_is_judged_mildly(exam: Exam, judge: Judge) -> None:
    question, _, country, answer = capital(exam)
    other = next(each.names[0][0] for each in questions(exam, "facts", 12)
                 if each.step.relation == "capital" and each.names[0][0] != answer)  # fmt: skip
    assert judge.mark(question, words(f"I think that it is {answer}."), ()).right
    assert judge.mark(question, words(f"{answer}, in {country}, I think."), ()).right
    assert not judge.mark(question, words(f"{answer} or {other}."), ()).right
    assert not judge.mark(question, words(f"{other}."), ()).right


def test_a_citation_must_say_what_it_stands_behind(exam: Exam, judge: Judge) -> None:
    question, facts, country, answer = capital(exam)
    fact = next(each for each in facts if each.step)
    text = f"The capital of {country} is {answer}"
    mark = judge.mark(question, words(f"{text}."), facts)
    assert mark.right
    other = next(each for each in exam.graph.store.outgoing(fact.ends[0]) if each.id != fact.statement)

    def counted(said: str) -> tuple[int, int, int, int]:
        found = tally(exam.graph, said, mark)
        return found.citations, found.supporting, found.claims, found.supported

    assert counted(f"{text} [S{fact.statement}].") == (1, 1, 1, 1)
    assert counted(f"{text} [S{other.id}].") == (1, 0, 1, 0)
    assert counted(f"{text} [S{fact.statement}][S{other.id}].") == (2, 1, 1, 1)
    assert counted(f"{text}.") == (0, 0, 1, 0)
    assert counted(f"{text} [S999999].") == (1, 0, 1, 0)
    assert counted(f"The capital [S{fact.statement}] of {country} is {answer}.") == (1, 0, 1, 0)


def test_what_has_two_meanings_is_not_asked(exam: Exam) -> None:
    with exam.copy() as graph:
        country = graph.store.find_entity(capital(exam)[2])
        assert country is not None
        relation = graph.store.find_relation("capital")
        assert relation is not None
        label, elsewhere = graph.label(country), graph.store.outgoing(country)[-1].object
        assert elsewhere is not None
        asked = f"What is the seat of {label}?"
        with graph.store.writer() as writer:
            seat, throne = writer.add_relation("seat", label="seat"), writer.add_relation("throne", label="throne")
            writer.name_relation(throne, "What is the seat of {subject}?", "question")
            writer.add_statement(country, seat, graph.store.outgoing(country, relation)[0].object or 0)
        graph.refresh()
        assert has_one_meaning(graph, asked, country, [(seat, False)])
        with graph.store.writer() as writer:
            writer.add_statement(country, throne, graph.store.outgoing(country, seat)[0].object or 0)
        graph.refresh()
        assert has_one_meaning(graph, asked, country, [(seat, False)]), "both lead to the same"
        with graph.store.writer() as writer:
            writer.add_statement(country, throne, elsewhere)
        graph.refresh()
        assert not has_one_meaning(graph, asked, country, [(seat, False)])
        assert is_only_one(graph, country)
        with graph.store.writer() as writer:
            writer.add_entity("a namesake", label=label)
        graph.refresh()
        assert not is_only_one(graph, country)


def test_gold_does_not_come_from_reasoning(exam: Exam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reasoning finds, what is right stays the same."""
    before = [(each.text, each.answers) for each in questions(exam, "two", 6)]

    def broken(self: GroundedModel, question: str, history: object = ()) -> None:
        raise AssertionError("questions are drawn without it")

    monkeypatch.setattr(GroundedModel, "evidence", broken)
    exam.kept.clear()
    assert [(each.text, each.answers) for each in questions(exam, "two", 6)] == before


def test_the_copy_of_the_graph_is_gone_afterwards(exam: Exam) -> None:
    with exam.copy() as graph:
        assert graph.location != exam.graph.location
        location = graph.location
    with pytest.raises(InputError):
        Graph.open(location, read_only=True)
