"""Small talk beside a graph: told from questions, answered by the model, and never with a name of the graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from groundzero.generate import Engine
from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.graph.graph import Graph
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.kept import keep_answer, kept_answers
from groundzero.ground.lessons import Fact, LessonSettings
from groundzero.ground.reason import Reasoner
from groundzero.ground.remember import remember_refusal
from groundzero.ground.speech import Said, Speaker
from groundzero.ground.talk import is_talk
from groundzero.ground.teacher import _TALK, Teacher
from groundzero.ground.verify import verify
from groundzero.run import RunDirectory


class Chatter(Speaker):
    """Says one thing."""

    def __init__(self, engine: Engine, text: str, *, ended: bool = True) -> None:
        super().__init__(engine)
        self.text, self.ended = text, ended

    def say_all(
        self,
        asked: Sequence[tuple[str, Sequence[Fact]]],
        channels: Collection[Channel] = CHANNELS,
        *,
        seed: int | None = None,
        from_marked: bool = False,
    ) -> list[Said]:
        assert all(not facts for _, facts in asked), "small talk has no facts"
        return [Said(self.text, (), (70, 71), 0, self.ended) for _ in asked]


@pytest.fixture
def reasoner(world: Graph) -> Reasoner:
    return Reasoner(world)


@pytest.mark.parametrize(
    "text",
    [
        *(said for said, _ in _TALK),
        "hi", "hey, how is it going?", "Good evening to you!", "ok thanks a lot", "Nice to meet you.",
        "What is your name?", "See you later!", "I like cats.", "My day was long, and so was yesterday.",
    ],
)  # fmt: skip
def test_what_asks_the_graph_nothing_is_talk(reasoner: Reasoner, text: str) -> None:
    assert is_talk(text, reasoner)


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Peru?", "What is the capital of Atlantis?", "Who is Napoleon?", "Napoleon", "Peru",
        "Hello, what is the capital of Peru?", "Tell me about Peru.", "Tell me a joke.",
        "I want to know about Napoleon.", "I like Peru.", "I ask myself what the capital is.", "My capital is large.",
        "Do you know Atlantis?", "And of Chile?", "Who is he?", "?", "", "...",
        "What is the weather like today?", "I wonder who wrote Hamlet",
    ],
)  # fmt: skip
def test_what_may_be_a_question_is_not(reasoner: Reasoner, text: str) -> None:
    assert not is_talk(text, reasoner)


def test_no_lesson_that_asks_is_talk(world: Graph, reasoner: Reasoner) -> None:
    for lesson in Teacher(world, LessonSettings(test_share=0.4)).lessons(150):
        assert is_talk(lesson.question, reasoner) == (lesson.kind == "talk"), lesson.question


def test_the_model_answers_small_talk_and_nothing_is_cited(world: Graph, reader_engine: Engine, tmp_path: Path) -> None:
    model = GroundedModel(Chatter(reader_engine, "Hello! How can I help?"), world)
    answer = model.ask("Good morning!")
    assert (answer.text, answer.status, answer.reason) == ("Hello! How can I help?", "unknown", "talk")
    assert (answer.citations, answer.path, answer.tokens_generated) == ((), (), 2)
    assert verify(answer, world.store)
    run = RunDirectory.create(tmp_path / "run")
    keep_answer(run, answer)
    assert kept_answers(run) == [], "no edit could change it"
    assert remember_refusal(world, answer, tmp_path / "gaps") == ""
    assert not (tmp_path / "gaps").exists(), "no gap of the graph"


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        ("Hello! Lima is the capital of Peru.", True),
        ("Peru!", True),
        ("I do not know: no facts are given.", True),
        ("", True),
        ("Hello hello hello hello", False),
    ],
)
def test_a_reply_that_says_something_is_withheld(world: Graph, reader_engine: Engine, reply: str, ended: bool) -> None:
    answer = GroundedModel(Chatter(reader_engine, reply, ended=ended), world).ask("Thanks!")
    assert answer.text == "You are welcome."
    assert not answer.tokens_generated


def test_what_cannot_be_answered_is_refused_and_not_talked_about(world: Graph, reader_engine: Engine) -> None:
    model = GroundedModel(Chatter(reader_engine, "It is a lovely city."), world)
    for question in ("What is the capital of Atlantis?", "Who is Napoleon?", "Tell me a joke."):
        answer = model.ask(question)
        assert (answer.status, answer.reason) == ("unknown", "no_entity")
        assert answer.text.startswith("I do not know")


def test_a_follow_up_is_kept_under_the_question_in_full(world: Graph, reader_engine: Engine, tmp_path: Path) -> None:
    model = GroundedModel(Speaker(reader_engine, max_tokens=12), world)
    answer = model.ask("And of Chile?", history=["What is the capital of Peru?", "The capital of Peru is Peru City."])
    assert (answer.question, answer.meant) == ("And of Chile?", "What is the capital of Chile?")
    run = RunDirectory.create(tmp_path / "run")
    keep_answer(run, answer)
    assert kept_answers(run)[0]["question"] == "What is the capital of Chile?"
