"""Lessons: what is copied is a fact's own text, what is examined is never taught, and nothing false is stored."""

from __future__ import annotations

from typing import get_args

import pytest

from groundzero.graph.graph import Graph
from groundzero.ground.lessons import REFUSAL, Copied, Kind, Lesson, LessonSettings
from groundzero.ground.teacher import Teacher

COUNT = 150


@pytest.fixture(params=["train", "test"])
def teacher(world: Graph, request: pytest.FixtureRequest) -> Teacher:
    return Teacher(world, LessonSettings(test_share=0.4), split=request.param)


def test_every_copied_piece_is_the_text_of_its_fact(teacher: Teacher) -> None:
    for lesson in teacher.lessons(COUNT):
        for piece in lesson.answer:
            if isinstance(piece, Copied):
                fact = lesson.facts[piece.fact]
                assert piece.text == (fact.subject if piece.role == "subject" else fact.object)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_can_be_drawn(world: Graph, kind: Kind) -> None:
    lessons = list(Teacher(world, LessonSettings(test_share=0.4)).lessons(20, kind))
    assert lessons
    assert {lesson.kind for lesson in lessons} == {kind}


def test_a_lesson_is_the_same_whenever_it_is_asked_for(world: Graph) -> None:
    one, other = Teacher(world), Teacher(world)
    list(one.lessons(7))
    assert [one.lesson(number) for number in (30, 3)] == [other.lesson(number) for number in (30, 3)]


def test_training_never_shows_a_statement_about_an_examined_entity(world: Graph) -> None:
    settings = LessonSettings(test_share=0.4)
    trained = Teacher(world, settings)
    examined = {
        fact.ends[0]
        for lesson in Teacher(world, settings, split="test").lessons(COUNT, "one")
        for fact in lesson.facts
        if fact.statement in lesson.cited
    }
    shown = {fact.ends[0] for lesson in trained.lessons(COUNT) for fact in lesson.facts}
    assert examined
    assert not examined & shown


def test_held_back_phrasings_are_never_taught(world: Graph) -> None:
    settings = LessonSettings(test_share=0.4, made_up_share=0.0)

    def asked(split: str) -> set[str]:
        lessons = Teacher(world, settings, split=split).lessons(COUNT, "one")
        return {" ".join(lesson.question.split()[:3]) for lesson in lessons if "currency" in lesson.question}

    assert asked("train") and asked("test")
    assert not asked("train") & asked("test")


def test_made_up_lessons_hold_no_name_of_the_graph(world: Graph) -> None:
    names = {world.label(entity.id) for entity in world.store.entities()}
    lessons = [each for each in Teacher(world, LessonSettings(made_up_share=1.0)).lessons(COUNT) if each.kind != "talk"]
    assert all(lesson.made_up for lesson in lessons)
    for lesson in lessons:
        shown = {name for fact in lesson.facts for name in (fact.subject, fact.object)}
        assert not shown & names
        assert not any(f" {name} " in f" {lesson.question} " for name in names if len(name) > 6)


def test_answers_say_what_the_cited_facts_say(world: Graph) -> None:
    teacher = Teacher(world, LessonSettings(made_up_share=0.0))
    for lesson in teacher.lessons(COUNT, "one"):
        (cited,) = lesson.cited
        statement = world.store.statement(cited)
        assert statement is not None
        assert world.label(statement.subject) in lesson.text


def test_refusals_show_nothing_that_answers(world: Graph) -> None:
    for lesson in Teacher(world, LessonSettings(made_up_share=0.0)).lessons(COUNT, "unknown"):
        assert lesson.text.startswith(REFUSAL)
        silent_about = [fact for fact in lesson.facts if fact.subject in lesson.mentioned]
        answers = [fact for fact in silent_about if fact.relation in lesson.question]
        assert not answers


def test_conflicts_are_told_and_not_stored(world: Graph) -> None:
    before = world.store.counts()
    lesson: Lesson | None = Teacher(world).lesson(1, "conflict")
    assert lesson is not None
    assert len({piece.text for piece in lesson.answer if isinstance(piece, Copied)}) == 2
    assert world.store.counts() == before
