"""Wordings learnt from question-answer pairs: without paths, kept in a file, and left alone where they do not fit."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundzero.errors import FormatError, InputError
from groundzero.graph.graph import Graph
from groundzero.ground.examples import Example, Teacher, read_examples
from groundzero.ground.learning import LearningConfig
from groundzero.ground.reason import Reasoner
from groundzero.ground.weights import load_learned, save_learned

PEOPLE = [f"{first} {last}" for first in ("Ada", "Bo", "Cy", "Di") for last in ("Ash", "Birch", "Cole", "Dorn", "Elm")]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """Twenty people with a spouse, a child and a town each."""
    chance = random.Random(0)
    with Graph.open(tmp_path_factory.mktemp("people") / "people.db", create=True) as graph:
        with graph.store.writer() as writer:
            people = [writer.add_entity(name, label=name) for name in PEOPLE]
            towns = [writer.add_entity(name, label=name) for name in ("Mill", "Ford", "Kirk")]
            spouse, child = writer.add_relation("spouse"), writer.add_relation("child")
            town = writer.add_relation("place of birth")
            for number, person in enumerate(people):
                writer.add_statement(person, spouse, people[(number + 7) % 20])
                writer.add_statement(person, child, people[(number + 3) % 20])
                writer.add_statement(person, town, chance.choice(towns))
        graph.refresh()
        yield graph


def pairs(people: list[str], graph: Graph) -> list[Example]:
    """Questions in words that nothing but pairs explains, with one hop and with two."""
    ids = {relation.key: relation.id for relation in graph.relations.values()}

    def ends(name: str, *path: str) -> tuple[str, ...]:
        at = [graph.store.find_entity(name)]
        for key in path:
            at = [int(end) for each in at if each is not None for end in graph.neighbours(each, ids[key]).entity_N]
        return tuple(graph.label(each) for each in at if each is not None)

    made = []
    for name in people:
        made.append(Example(f"who is the zib of {name}?", ends(name, "spouse")))
        made.append(Example(f"who is {name}'s wup?", ends(name, "child")))
        made.append(Example(f"who is the wup of {name}'s zib?", ends(name, "spouse", "child")))
    return made


@pytest.fixture(scope="module")
def taught(graph: Graph) -> Reasoner:
    reasoner = Reasoner(graph)
    assert reasoner.learn(pairs(PEOPLE[:15], graph)) == 45
    return reasoner


def right(reasoner: Reasoner, examples: list[Example]) -> int:
    answers = [reasoner.ask(each.question) for each in examples]
    return sum(
        answer.status == "asserted" and answer.candidates[0].entity in example.answers
        for answer, example in zip(answers, examples, strict=True)
    )


def test_words_are_learnt_and_carry_over_to_people_not_seen(graph: Graph, taught: Reasoner) -> None:
    test = pairs(PEOPLE[15:], graph)
    assert right(Reasoner(graph), test) == 0
    assert right(taught, test) == len(test)


def test_paths_of_words_seen_apart_are_put_together(graph: Graph, taught: Reasoner) -> None:
    """Spouse of a child was never asked for."""
    answer = taught.ask("who is the zib of Ada Ash's wup?")
    assert answer.query is not None
    assert [step.relation for step in answer.query.branch.steps] == ["child", "spouse"]


def test_what_was_known_before_is_still_known(taught: Reasoner) -> None:
    assert taught.ask("Where was Di Elm born?").status == "asserted"


def test_learning_is_the_same_each_time(graph: Graph) -> None:
    examples = pairs(PEOPLE[:6], graph)
    first, second = Reasoner(graph), Reasoner(graph)
    for reasoner in (first, second):
        reasoner.learn(examples, LearningConfig(epochs=2))
    assert first.learned is not None
    assert second.learned is not None
    assert first.learned.weight_FC.tobytes() == second.learned.weight_FC.tobytes()


def test_a_file_keeps_what_was_learnt(graph: Graph, taught: Reasoner, tmp_path: Path) -> None:
    path = tmp_path / "wordings.json"
    assert taught.learned is not None
    save_learned(taught.learned, taught.table, path)
    again = Reasoner(graph)
    again.use(load_learned(path, again.table))
    test = pairs(PEOPLE[15:], graph)
    assert right(again, test) == len(test)
    assert [each.name for each in tmp_path.iterdir()] == ["wordings.json"]


def test_weights_of_relations_that_a_graph_lacks_are_left_out(taught: Reasoner, tmp_path: Path) -> None:
    path = tmp_path / "wordings.json"
    assert taught.learned is not None
    save_learned(taught.learned, taught.table, path)
    with Graph.open(tmp_path / "other.db", create=True) as other:
        with other.store.writer() as writer:
            writer.add_statement(writer.add_entity("A"), writer.add_relation("spouse"), writer.add_entity("B"))
        other.refresh()
        reasoner = Reasoner(other)
        learned = load_learned(path, reasoner.table)
        assert learned.weight_FC.shape[1] == 2
        reasoner.use(learned)
        assert reasoner.ask("who is the zib of A?").candidates[0].entity == "B"


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"schema": 1, "kind": "question scorer"}', '{"schema": 99, "kind": "x"}']
)
def test_files_that_are_none_of_ours(taught: Reasoner, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=r"bad\.json"):
        load_learned(path, taught.table)
    with pytest.raises(InputError, match=r"none\.json"):
        load_learned(tmp_path / "none.json", taught.table)


def test_pairs_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("# ours\n\nwho is x?\ty | z\nwhat is y?\ta\tb\n", encoding="utf-8")
    assert read_examples(path) == [Example("who is x?", ("y", "z")), Example("what is y?", ("a", "b"))]
    path.write_text("who is x?\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        read_examples(path)


def test_pairs_that_the_graph_cannot_answer_teach_nothing(graph: Graph) -> None:
    reasoner = Reasoner(graph)
    assert reasoner.learn([Example("who is the zib of Ada Ash?", ("Nobody",)), Example("hm?", ("Mill",))]) == 0
    assert reasoner.learned is None
    teacher = Teacher(graph, reasoner.linker, reasoner.search)
    (pair,) = teacher.pairs([Example("who is the zib of Ada Ash?", ("Bo Cole",))])
    code = {reasoner.table.relation(branches[0][0]).key for branches in pair.right if len(branches[0]) == 1}
    assert code == {"spouse"}


def test_weights_are_plain_json(taught: Reasoner, tmp_path: Path) -> None:
    path = tmp_path / "wordings.json"
    assert taught.learned is not None
    save_learned(taught.learned, taught.table, path)
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert raw["schema"] == 1
    assert raw["features"]["w:zib"][">spouse"] > 0


def test_a_new_relation_leaves_what_was_learnt_as_it_was(tmp_path: Path, graph: Graph, taught: Reasoner) -> None:
    path = tmp_path / "wordings.json"
    assert taught.learned is not None
    save_learned(taught.learned, taught.table, path)
    with Graph.open(tmp_path / "small.db", create=True) as small:
        with small.store.writer() as writer:
            a, b, c = (writer.add_entity(name, label=name) for name in ("Ann Ash", "Ben Oak", "Cat Elm"))
            writer.add_statement(a, writer.add_relation("spouse"), b)
            writer.add_statement(a, writer.add_relation("child"), c)
        reasoner = Reasoner(small)
        reasoner.use(load_learned(path, reasoner.table))
        before = reasoner.ask("who is the zib of Ann Ash?").candidates[0].entity
        with small.store.writer() as writer:
            writer.add_statement(b, writer.add_relation("aunt"), c)
        assert reasoner.ask("who is the zib of Ann Ash?").candidates[0].entity == before == "Ben Oak"
        assert reasoner.ask("who is Ann Ash's wup?").candidates[0].entity == "Cat Elm"
