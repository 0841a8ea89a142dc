"""Answers prove themselves: cited paths replay, a cited statement that goes takes them along, tampering is found."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundzero.errors import FormatError, InputError
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.graph.verbalise import VerbaliseSettings, verbalise
from groundzero.ground.query import Query, cited, run
from groundzero.ground.reason import Reasoner
from groundzero.ground.verify import read_answer, verify

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"
QUESTIONS = [
    "What is the capital of Peru?",
    "Where was the spouse of Ana Ruiz born?",
    "Which countries does Peru border?",
    "How many children does Ana Ruiz have?",
    "Is Lima the capital of Peru?",
    "What is the largest city in Peru?",
    "Who is the daughter of Ana Ruiz?",
    "Which novel by Ana Ruiz was published by Andes Press?",
    "When was Ana Ruiz born?",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph, made once; the capital and the spouse were added last."""
    path = tmp_path_factory.mktemp("atlas") / "atlas.db"
    with Graph.open(path, create=True) as graph:
        import_file(graph.store, FIXTURE)
        late = (("Peru", "capital", "Lima"), ("Ana Ruiz", "spouse", "Luis Vega"))
        with graph.store.writer() as writer:
            for subject, relation, _ in late:
                for each in graph.store.outgoing(writer.add_entity(subject), writer.add_relation(relation)):
                    writer.retire(each.id)
        with graph.store.writer() as writer:
            for subject, relation, object_ in late:
                ends = writer.add_entity(subject), writer.add_relation(relation), writer.add_entity(object_)
                writer.add_statement(*ends)
    return path


@pytest.fixture
def graph(made: Path, tmp_path: Path) -> Iterator[Graph]:
    for file in made.parent.glob("atlas.db*"):
        shutil.copy(file, tmp_path / file.name)
    with Graph.open(tmp_path / "atlas.db") as graph:
        yield graph


def retired(graph: Graph, statement: int) -> None:
    with graph.store.writer() as writer:
        assert writer.retire(statement)
    graph.refresh()


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_verified_as_python_object_and_as_json(graph: Graph, question: str) -> None:
    answer = Reasoner(graph).ask(question)
    assert answer.status == "asserted", answer.text
    assert verify(answer, graph.store).ok
    found = verify(json.loads(json.dumps(answer.as_json())), graph.store)
    assert found.problems == []
    assert found.unchecked == []
    assert found.statements == len(answer.citations)


@pytest.mark.parametrize("question", QUESTIONS)
def test_without_a_cited_statement_the_answer_is_another(graph: Graph, question: str) -> None:
    reasoner = Reasoner(graph)
    before = reasoner.ask(question)
    for citation in before.citations:
        with graph.store.writer() as writer:
            writer.retire(citation.id)
        after = reasoner.ask(question)
        assert after.text != before.text
        assert citation.id not in [each.id for each in after.citations]
        assert verify(before, graph.store).ok, "as of its own transaction the old answer still stands"
        statement = graph.store.statement(citation.id)
        assert statement is not None
        with graph.store.writer() as writer:
            writer.add_statement(
                statement.subject, statement.relation, statement.literal or statement.object, source=statement.source
            )
        before = reasoner.ask(question)
        if citation.id == before.citations[-1].id:
            break


@pytest.mark.parametrize("question", QUESTIONS)
def test_without_a_statement_that_is_not_cited_it_is_the_same(graph: Graph, question: str) -> None:
    reasoner = Reasoner(graph)
    before = reasoner.ask(question)
    compared = {"largest": "population"}  # a superlative looks at statements that it does not cite
    chosen = [
        each
        for each in graph.store.statements()
        if each.id not in {citation.id for citation in before.citations}
        and not any(word in question and graph.relation(each.relation).label == name for word, name in compared.items())
    ]
    for statement in random.Random(0).sample(chosen, 5):
        label = graph.relation(statement.relation).label
        if label in question or (label == "country" and "city" in question):
            continue
        retired(graph, statement.id)
        after = reasoner.ask(question)
        assert [each.entity for each in after.candidates[:1]] == [each.entity for each in before.candidates[:1]]


Tamper = Callable[[dict[str, Any]], None]


def _set(*path: str | int, value: Any) -> Tamper:
    def change(raw: dict[str, Any]) -> None:
        at: Any = raw
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


TAMPERED: dict[str, Tamper] = {
    "statement id": _set("citations", 0, "id", value=3),
    "no such statement": _set("citations", 0, "id", value=10**6),
    "id of no number": _set("citations", 0, "id", value="1 OR 1=1"),
    "id that is a truth": _set("citations", 0, "id", value=True),
    "subject": _set("citations", 0, "subject", value="Chile"),
    "relation": _set("citations", 0, "relation", value="largest city"),
    "object": _set("citations", 0, "object", value="Cusco"),
    "source": _set("citations", 0, "source", value="elsewhere.txt"),
    "span": _set("citations", 0, "start", value=7),
    "missing citation": lambda raw: raw["citations"].pop(),
    "added citation": lambda raw: raw["citations"].append(dict(raw["citations"][0], id=2)),
    "path end": _set("path", 0, "to", value="Cusco"),
    "path relation": _set("path", 0, "relation", value="twin town"),
    "path cut": lambda raw: raw["path"].clear(),
    "query relation": _set("query", "hops", 0, "relation", value="country"),
    "query start": _set("query", "hops", 0, "from", value="Chile"),
    "query direction": _set("query", "hops", 0, "inverse", value=True),
    "query counted": _set("query", "aggregate", value={"kind": "count"}),
    "query constrained": _set(
        "query", "constraints", value=[{"hops": [{"from": "Chile", "relation": "capital", "inverse": False}]}]
    ),
    "no query": _set("query", value=None),
    "candidate": _set("candidates", 0, "entity", value="Sucre"),
    "no candidates": _set("candidates", value=[]),
    "text": _set("text", value="The capital of Peru is Cusco [S1]."),
    "status": _set("status", value="certain"),
    "refusal with citations": _set("status", value="unknown"),
    "transaction to come": _set("graph", "transaction", value=10**6),
    "transaction before it was known": _set("graph", "transaction", value=1),
    "facts": _set("facts_retrieved", value=0),
}


@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("question", ["What is the capital of Peru?", "Where was the spouse of Ana Ruiz born?"])
def test_tampering_is_found(graph: Graph, name: str, question: str) -> None:
    raw = json.loads(json.dumps(Reasoner(graph).ask(question).as_json()))
    assert verify(raw, graph.store).ok
    changed = copy.deepcopy(raw)
    TAMPERED[name](changed)
    assert changed != raw
    found = verify(changed, graph.store)
    assert not found.ok, name
    assert all(problem for problem in found.problems)


@pytest.mark.parametrize(
    ("change", "about"),
    [
        (lambda raw: raw.pop("citations"), "citations"),
        (_set("citations", value="none"), "citations"),
        (_set("graph", value={}), "graph"),
        (_set("query", value={"hops": []}), "query"),
        (_set("query", "hops", 0, "inverse", value="no"), "query"),
        (_set("text", value=None), "text"),
    ],
)
def test_what_is_no_answer_is_refused(graph: Graph, change: Tamper, about: str) -> None:
    raw = json.loads(json.dumps(Reasoner(graph).ask("What is the capital of Peru?").as_json()))
    change(raw)
    with pytest.raises(FormatError, match=about):
        verify(raw, graph.store)


def test_files_that_hold_no_answer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json"):
        read_answer(tmp_path / "none.json")
    for text in ("", "[]", "{", "[" * 100_000, "{}"):
        (tmp_path / "bad.json").write_text(text, encoding="utf-8")
        with pytest.raises(FormatError):
            read_answer(tmp_path / "bad.json")


def test_a_refusal_is_verified_for_what_it_is(graph: Graph) -> None:
    answer = Reasoner(graph).ask("What is the capital of Atlantis?")
    found = verify(answer, graph.store)
    assert found.ok
    assert found.unchecked
    raw = answer.as_json() | {"reason": "tired"}
    assert not verify(raw, graph.store).ok


def test_a_query_survives_its_json(graph: Graph) -> None:
    for question in QUESTIONS:
        query = Reasoner(graph).ask(question).query
        assert query is not None
        assert Query.from_json(json.loads(json.dumps(query.as_json()))) == query


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_whatever_the_graph_every_asserted_answer_replays(tmp_path: Path, seed: int) -> None:
    """Random graphs, asked in the words of their own verbaliser."""
    chance = random.Random(seed)
    names = ["Abo", "Bel", "Cor Dun", "Eif", "Fen", "Gor Hal", "Ist", "Jar"]
    relations = ["mother", "place of birth", "member of", "owned by", "population"]
    path = tmp_path / f"{seed}-{chance.random()}.db"
    with Graph.open(path, create=True) as graph:
        with graph.store.writer() as writer:
            entities = [writer.add_entity(name, label=name) for name in names]
            ids = [writer.add_relation(name, label=name) for name in relations]
            for _ in range(14):
                writer.add_statement(chance.choice(entities), chance.choice(ids), chance.choice(entities))
        graph.refresh()
        reasoner = Reasoner(graph)
        rows = list(verbalise(graph.store, VerbaliseSettings(kinds=("question", "inverse"), paraphrases=1)))
        for row in chance.sample(rows, min(len(rows), 6)):
            answer = reasoner.ask(row.text)
            assert verify(answer, graph.store).ok, (row.text, answer.text)
            if answer.status == "asserted":
                assert answer.query is not None
                result = run(answer.query, graph.store, answer.graph.transaction)
                assert [each.id for each in cited(result)] == [each.id for each in answer.citations]
                assert all(f"[S{each.id}]" in answer.text for each in answer.citations[:1])
