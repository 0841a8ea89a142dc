"""Questions that go on about what was said before, on a small graph: what they are taken to mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.ground.follow_up import readings
from groundzero.ground.reason import Reasoner

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"


@pytest.fixture(scope="module")
def reasoner(tmp_path_factory: pytest.TempPathFactory) -> Reasoner:
    graph = Graph.open(tmp_path_factory.mktemp("atlas") / "facts.db", create=True)
    import_file(graph.store, FIXTURE)
    return Reasoner(graph)


def talk(reasoner: Reasoner, *questions: str) -> list[tuple[str, str]]:
    """Ask in turn: what each question was taken to mean, and what the graph said."""
    history: list[str] = []
    told = []
    for question in questions:
        found = [reasoner.ask(meant) for meant in readings(question, history, reasoner.linker)]
        answer = next((each for each in found if not each.reason), found[0])
        history += [question, answer.text]
        told.append((answer.question, ", ".join(each.entity for each in answer.candidates[:1]) or answer.reason))
    return told


@pytest.mark.parametrize(
    ("before", "question", "meant", "answer"),
    [
        ("How many people live in Lima?", "and its country?", "and Lima's country?", "Peru"),
        ("What is the country of Lima?", "and its capital?", "and Peru's capital?", "Lima"),
        ("What is the capital of Peru?", "And of Chile?", "What is the capital of Chile?", "Santiago"),
        ("What is the capital of Peru?", "what about Chile?", "What is the capital of Chile?", "Santiago"),
        ("What is the capital of Peru?", "how about chile", "What is the capital of chile?", "Santiago"),
        ("What is the capital of Peru?", "Chile?", "What is the capital of Chile?", "Santiago"),
        ("What is the capital of Peru?", "ok, and Chile then?", "What is the capital of Chile?", "Santiago"),
        ("What is Peru's capital?", "And Chile's?", "What is Chile's capital?", "Santiago"),
        ("What is the capital of Peru?", "And the population?", "What is the population of Lima?", "10092000"),
        ("Where was Ana Ruiz born?", "who is she married to?", "who is Ana Ruiz married to?", "Luis Vega"),
        ("Who is Ana Ruiz married to?", "Where was he born?", "Where was Luis Vega born?", "Cusco"),
        ("Who is Ana Ruiz married to?", "When was she born?", "When was Ana Ruiz born?", "1950-03-01"),
        ("Who is Luis Vega married to?", "Where did he die?", "Where did Luis Vega die?", "Santiago"),
        ("Which books are by Ana Ruiz?", "Who is married to her?", "Who is married to Ana Ruiz?", "Luis Vega"),
        ("What is the capital of Peru?", "Who was born there?", "Who was born in Lima?", "Ana Ruiz"),
        ("Who wrote Red Dust?", "What is its genre?", "What is Red Dust's genre?", "novel"),
        ("What is the capital of Peru?", "And of Atlantis?", "What is the capital of Atlantis?", "no_entity"),
        ("What is the capital of Atlantis?", "And of Peru?", "What is the capital of Peru?", "Lima"),
        ("Where was Ana Ruiz born?", "and Ana Lopez?", "Where was Ana Lopez born?", "no_entity"),
        ("Where was Ana Lopez born?", "Who is she married to?", "Who is Ana Lopez married to?", "no_entity"),
        ("What is the country of Cusco?", "What is that country's capital?", "What is Peru's capital?", "Lima"),
        ("Is Lima the capital of Peru?", "And Santiago?", "Is Santiago the capital of Peru?", "no_fact"),
        ("Is Lima the capital of Chile?", "And of Peru?", "Is Lima the capital of Peru?", "yes"),
        ("What is the population of Peru?", "Is its capital Lima?", "Is Peru's capital Lima?", "yes"),
    ],
)
def test_what_is_left_out_is_filled_in(reasoner: Reasoner, before: str, question: str, meant: str, answer: str) -> None:
    assert talk(reasoner, before, question)[-1] == (meant, answer)


def test_a_talk_of_many_turns(reasoner: Reasoner) -> None:
    """Follow-ups of follow-ups; and names outlast turns that name nothing."""
    told = talk(
        reasoner,
        "What is the capital of Peru?",
        "And of Chile?",
        "what about Bolivia?",
        "Thank you!",
        "and Peru?",
        "and its population?",
        "Thanks.",
        "Who was born there?",
        "and who is she married to?",
        "And Luis Vega?",
        "where was he born?",
    )
    assert [answer for _, answer in told] == [
        "Lima", "Santiago", "Sucre", "no_entity", "Lima", "10092000", "no_entity", "Ana Ruiz", "Luis Vega", "Ana Ruiz",
        "Cusco",
    ]  # fmt: skip
    assert told[9][0] == "and who is Luis Vega married to?"


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Chile?",
        "And what is the capital of Chile?",
        "What about the capital of Chile?",
        "Is it true that Santiago is the capital of Chile?",
        "Where do Chile and its capital lie?",
        "Who is Ana Ruiz?",
        "What is the capital of Atlantis?",
        "And where is Atlantis?",
    ],
)
def test_what_leaves_nothing_out_stays_as_it_is(reasoner: Reasoner, question: str) -> None:
    history = ["What is the population of Lima?", "Lima has a population of 10092000 [S1]."]
    assert readings(question, history, reasoner.linker) == [question]


def test_what_the_graph_has_not_hides_what_was_named_before(reasoner: Reasoner) -> None:
    """An answer about somebody else would be true, and to another question."""
    told = talk(reasoner, "Where was Ana Ruiz born?", "And Ana Lopez?", "Thank you, I see.", "Who is she married to?")
    assert told[-1] == ("Who is Ana Lopez married to?", "no_entity")


@pytest.mark.parametrize("question", ["and its capital?", "And of Chile?", "And the population?", "Who is she?"])
def test_without_anything_said_before_there_is_nothing_to_fill_in(reasoner: Reasoner, question: str) -> None:
    assert readings(question, [], reasoner.linker) == [question]
    assert readings(question, ["Hello!", "Hello! What would you like to know?"], reasoner.linker) == [question]


def test_a_word_in_a_question_with_another_name_may_mean_either(reasoner: Reasoner) -> None:
    history = ["Where was Luis Vega born?", "Luis Vega was born in Cusco [S18]."]
    found = readings("Is he married to Ana Ruiz?", history, reasoner.linker)
    assert found[-1] == "Is he married to Ana Ruiz?"
    assert "Is Luis Vega married to Ana Ruiz?" in found


def test_a_single_thing_said_before_is_enough(reasoner: Reasoner) -> None:
    """`gz.ask(history=[answer.text])`."""
    assert readings("and its country?", ["Cusco has 428450 people [S2]."], reasoner.linker) == ["and Cusco's country?"]
