"""The exam tells speakers of known worth apart, asks the same again, and keeps what was finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groundzero.errors import InputError, UsageError
from groundzero.evaluate.grounding.exam import chosen, hold, write_result
from groundzero.evaluate.grounding.measures import Section
from groundzero.evaluate.grounding.questions import ROWS, questions
from groundzero.evaluate.grounding.sections import PARTS, planned
from groundzero.evaluate.grounding.setting import Exam
from tests.evaluate.grounding.conftest import Lying, Refusing, Truthful

OURS = ("answers", "citations", "hallucination", "refusal", "comparison", "channels")


@pytest.fixture
def examined(make_exam: Callable[..., Exam]) -> Callable[..., dict[str, dict[str, Any]]]:
    """Figures by section and name."""

    def examine(speaker: Any, *names: str) -> dict[str, dict[str, Any]]:
        result = hold(make_exam(speaker), chosen(names or OURS))
        return {each.key: {measure.name: measure for measure in each.measures} for each in result.sections}

    return examine


def test_who_is_always_right_scores_one(examined: Callable[..., Any]) -> None:
    found = examined(Truthful)
    for title in ROWS.values():
        alone, reasoned = (found["answers"][f"{title} · {column}"] for column in ("model alone", "reasoning"))
        assert alone.value == reasoned.value, title
        by_rule = found["answers"][f"{title} · by rule"].value
        assert by_rule <= 1 - reasoned.value + 1e-9, "what was understood is let through"
    assert found["answers"]["One hop, unseen facts · model alone"].value == 1
    assert found["answers"]["Two hops · model alone"].value == 1
    assert found["citations"]["Citation precision"].value == found["citations"]["Citation recall"].value == 1
    assert found["citations"]["Citation recall, model alone"].value == 1
    assert found["citations"]["Answers that verify without a model"].value == 1
    assert found["hallucination"]["Supported · model alone"].value == 1
    assert found["hallucination"]["Contradicted · model alone"].value == 0
    assert found["refusal"]["Refusal recall"].value == found["refusal"]["Refusal precision"].value == 1
    assert found["channels"]["None · two hops"].value == 0
    assert found["channels"]["Copy · two hops"].value == 1
    assert found["channels"]["Lost without any · two hops"].value == 1


def test_who_lies_scores_nothing_and_is_found_out(examined: Callable[..., Any]) -> None:
    found = examined(Lying)
    for title in ROWS.values():
        assert found["answers"][f"{title} · model alone"].value == 0, title
        assert found["answers"][f"{title} · by rule"].value == 1, "the fallback stands in for every lie"
        assert found["answers"][f"{title} · fallback on"].value == found["answers"][f"{title} · reasoning"].value
    assert found["hallucination"]["Contradicted · model alone"].value > 0.5
    assert found["hallucination"]["Supported · model alone"].value == 0
    assert found["hallucination"]["Contradicted · fallback on"].value == 0
    assert found["citations"]["Citation recall, model alone"].value == 0
    assert found["citations"]["Citation recall"].value == 1
    assert found["comparison"]["Without the graph · one hop, unseen facts"].value == 0


def test_who_refuses_everything_covers_nothing(examined: Callable[..., Any]) -> None:
    found = examined(Refusing, "answers", "hallucination", "refusal")
    assert found["refusal"]["Refusal recall, model alone"].value == 1
    assert found["refusal"]["Refusal precision, model alone"].value <= 0.25
    assert found["hallucination"]["Coverage · model alone"].value == 0
    assert found["answers"]["One hop, unseen facts · model alone"].value == 0


def test_a_broken_judge_is_noticed(examined: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above would fail if nothing were looked up: a judge that believes every claim lets lies through."""
    from groundzero.evaluate.grounding.judge import Judge

    monkeypatch.setattr(Judge, "standing", lambda self, triple: "supported")
    found = examined(Lying, "hallucination")
    assert found["hallucination"]["Contradicted · model alone"].value == 0
    monkeypatch.setattr(Judge, "standing", lambda self, triple: "contradicted")
    assert examined(Truthful, "answers")["answers"]["Two hops · model alone"].value == 0


def test_the_same_seed_asks_the_same(make_exam: Callable[..., Exam]) -> None:
    def asked(**settings: int) -> list[str]:
        exam = make_exam(Truthful, **settings)
        return [each.text for row in ROWS for each in questions(exam, row, 8)]

    assert asked() == asked()
    assert asked() != asked(seed=7)
    one, other = (hold(make_exam(Lying), chosen(OURS)).as_json()["sections"] for _ in range(2))
    for sections in (one, other):
        for section in sections.values():
            section.pop("seconds")
    assert one == other


def test_questions_are_about_held_out_entities_only_and_asked_once(make_exam: Callable[..., Exam]) -> None:
    exam = make_exam(Truthful)
    taught = replace(exam, teacher=type(exam.teacher)(exam.graph, exam.teacher.settings, split="train"))
    for row in ("facts", "list", "two"):
        found = questions(exam, row, 12)
        texts = [each.text for each in found]
        assert len(set(texts)) == len(texts) > 0
        assert not {each.query.branch.start for each in found} & {
            each.query.branch.start for each in questions(replace(taught, kept={}), row, 12)
        }


def test_an_interrupted_exam_keeps_what_was_finished(make_exam: Callable[..., Exam], tmp_path: Path) -> None:
    def stop(exam: Exam) -> Section:
        raise KeyboardInterrupt

    first, second = chosen(["answers", "channels"])
    result = hold(make_exam(Truthful), [first, replace(second, examine=stop)])
    assert result.interrupted
    assert [each.key for each in result.sections] == ["answers"]
    facts, page = write_result(result, tmp_path / "exam")
    found = json.loads(facts.read_text(encoding="utf-8"))
    assert found["interrupted"]
    assert set(found["sections"]) == {"answers"}
    assert "Interrupted" in page.read_text(encoding="utf-8")


def test_a_section_that_cannot_be_held_takes_no_others_place(make_exam: Callable[..., Exam], tmp_path: Path) -> None:
    def fail(exam: Exam) -> Section:
        raise InputError("This graph cannot be <copied>.")

    first, second, third = chosen(["answers", "refusal", "channels"])
    result = hold(make_exam(Truthful), [first, replace(second, examine=fail), third])
    assert [bool(each.measures) for each in result.sections] == [True, False, True]
    _, page = write_result(result, tmp_path)
    assert "Not held: <bdi>This graph cannot be &lt;copied&gt;." in page.read_text(encoding="utf-8")
    with pytest.raises(InputError):
        hold(make_exam(Truthful), [replace(second, examine=fail)])


def test_sections_are_chosen_by_name() -> None:
    assert [each.key for each in chosen(["channels", "answers"])] == ["answers", "channels"]
    assert chosen([]) == PARTS
    with pytest.raises(UsageError, match="no section 'nonsense'"):
        chosen(["nonsense"])


def test_progress_is_as_much_as_was_announced(make_exam: Callable[..., Exam]) -> None:
    counted: list[int] = []
    exam = replace(make_exam(Truthful), advance=counted.append)
    parts = chosen(OURS)
    for part, amount in zip(parts, planned(parts, exam.settings), strict=True):
        counted.clear()
        part.examine(exam)
        assert 0.5 * amount <= sum(counted) <= amount, part.key
