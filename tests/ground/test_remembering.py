"""What a graph could not answer: what of it is missing, and that it is remembered without any answer waiting for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import groundzero as gz
from groundzero.cli.app import main
from groundzero.generate import Engine
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.reason import Reasoner
from groundzero.ground.remember import remember_refusal
from groundzero.ground.speech import Speaker
from groundzero.ingest import gaps
from groundzero.ingest.folder import state_folder
from groundzero.ingest.gaps import GapLog, rank_gaps

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"
DIED = "Where did Ana Ruiz die?"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "facts" / "atlas.db"
    with Graph.open(made, create=True) as graph:
        import_file(graph.store, FIXTURE)
    return made


@pytest.fixture
def graph(path: Path) -> Iterator[Graph]:
    with Graph.open(path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("question", "entities", "relation", "inverse", "whole"),
    [
        (DIED, ["Ana Ruiz"], "place of death", False, True),
        ("When was Rosa Vega born?", ["Rosa Vega"], "date of birth", False, True),
        ("Who was born in Santiago?", ["Santiago"], "place of birth", True, True),
        ("How many children does Rosa Vega have?", ["Rosa Vega"], "child", False, False),
        ("Where did the spouse of Luis Vega die?", ["Luis Vega"], "spouse", False, False),
        ("Where did the author of Red Dust die?", ["Ana Ruiz"], "place of death", False, False),
        ("What is the favourite colour of Ana Ruiz?", ["Ana Ruiz"], "", False, False),
        ("Is Cusco the capital of Peru?", None, "", False, False),  # it has one, and says so
        ("What is the capital of Atlantis?", None, "", False, False),
    ],
)
def test_the_missing_hop_is_found(
    graph: Graph, question: str, entities: list[str] | None, relation: str, inverse: bool, whole: bool
) -> None:
    answer = Reasoner(graph).ask(question)
    assert answer.status == "unknown"
    missing = answer.missing
    if entities is None:
        assert missing is None
        return
    assert missing is not None
    assert [graph.label(each) for each in missing.entities] == entities
    assert ("" if missing.relation is None else graph.relation(missing.relation).label) == relation
    assert (missing.inverse, missing.whole) == (inverse, whole)
    assert "missing" not in answer.as_json()


def asked(path: Path, *more: str) -> int:
    return main(["ask", DIED, "--graph", str(path), "--json", *more])


def remembered(path: Path) -> list[str]:
    return [each.text for each in GapLog(path.with_name(f"{path.name}.learn")).questions()]


def test_a_refused_question_becomes_a_gap(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert asked(path) == 4
    assert main(["ask", "Who was born in Santiago?", "--graph", str(path), "--no-model"]) == 4
    assert main(["ask", "What is the favourite colour of Ana Ruiz?", "--graph", str(path)]) == 4
    assert main(["ask", "What is the capital of Peru?", "--graph", str(path)]) == 0
    _, err = capsys.readouterr()
    assert err == ""
    assert main(["graph", "gaps", "--graph", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["gaps"]
    rows = [(each["subject"], each["relation"], each["inverse"], each["asked"]) for each in found]
    assert rows[0] == ("Ana Ruiz", "place of death", False, 2)
    assert set(rows[1:]) == {("Santiago", "place of birth", True, 1), ("Ana Ruiz", "", False, 1)}
    assert main(["graph", "gaps", "--graph", str(path)]) == 0
    out = capsys.readouterr().out
    assert "Santiago - is place of birth of, asked once" in out
    assert "Ana Ruiz - anything, asked once\n  What is the favourite colour of Ana Ruiz?" in out


def test_a_gap_closes_when_the_graph_learns(graph: Graph, path: Path) -> None:
    gz.ask(DIED, graph=graph)
    gz.ask("Who was born in Santiago?", graph=path)
    assert {each.relation for each in rank_gaps(graph, state_folder(graph))} == {"place of death", "place of birth"}
    ids = [graph.store.find_entity(key) for key in ("Ana Ruiz", "Lima", "Rosa Vega", "Santiago")]
    ana, lima, rosa, santiago = (each for each in ids if each is not None)
    died, born = graph.store.find_relation("place of death"), graph.store.find_relation("place of birth")
    assert died is not None
    assert born is not None
    graph.edit(ana, died, lima)
    assert [each.relation for each in rank_gaps(graph, state_folder(graph))] == ["place of birth"]
    graph.edit(rosa, born, santiago)
    assert rank_gaps(graph, state_folder(graph)) == []


def test_a_quarantined_statement_that_answers_backwards_is_offered(graph: Graph, path: Path) -> None:
    gz.ask("Who was born in Santiago?", graph=path)
    with graph.store.writer() as writer:
        ends = writer.add_entity("Tito Vega"), writer.add_relation("place of birth"), writer.add_entity("Santiago")
        made = writer.add_statement(*ends, status="quarantined")
    graph.refresh()
    backwards = next(each for each in rank_gaps(graph, state_folder(graph)) if each.inverse)
    assert [(each.id, each.object) for each in backwards.candidates] == [(made, "Tito Vega")]


def test_nothing_is_remembered_where_nobody_wants_it(path: Path) -> None:
    assert asked(path, "--no-remember") == 4
    gz.ask(DIED, graph=path, remember=False)
    assert remembered(path) == []
    assert not path.with_name("atlas.db.learn").exists()


def test_a_graph_that_cannot_be_written_beside_answers_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: not mode & os.W_OK)  # root may write anywhere
    assert asked(path) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["reason"] == "no_fact"
    assert err == ""
    assert asked(path, "--remember") == 4
    assert "Not remembered:" in capsys.readouterr().err
    assert gz.ask(DIED, graph=path).reason == "no_fact"
    assert remembered(path) == []


def test_a_disk_that_refuses_costs_the_note_and_not_the_answer(
    graph: Graph, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.with_name("atlas.db.learn").write_text("a file where the folder should be", encoding="utf-8")
    assert asked(path, "--remember") == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["reason"] == "no_fact"
    assert "Not remembered:" in err
    assert "atlas.db.learn" in err
    assert remember_refusal(graph, Reasoner(graph).ask(DIED)) != ""


def test_a_graph_on_a_server_is_passed_over(graph: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = Reasoner(graph).ask(DIED)
    monkeypatch.setattr(Graph, "location", property(lambda _: "postgresql://host/facts"))
    assert "not a file" in remember_refusal(graph, answer)
    assert remember_refusal(graph, answer, tmp_path / "elsewhere") == ""
    assert [each.text for each in GapLog(tmp_path / "elsewhere").questions()] == [DIED]


def test_a_store_that_is_being_written_to_does_not_keep_an_answer_waiting(graph: Graph, path: Path) -> None:
    with graph.store.writer() as writer:
        writer.add_entity("half done")
        assert gz.ask(DIED, graph=path).reason == "no_fact"
        assert remembered(path) == [DIED]


def test_the_file_is_put_aside_when_it_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "_MAX_BYTES", 2000)
    log = GapLog(tmp_path)
    for number in range(61):
        log.remember(f"Question {number}?", "no_fact")
    assert log.path.stat().st_size + log.earlier.stat().st_size < 4500
    kept = [each.text for each in log.questions()]
    assert kept == [f"Question {number}?" for number in range(61 - len(kept), 61)]
    assert len(kept) >= 10


def test_remembering_does_not_wait_for_the_disk(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds are not timed here: waiting for the disk is what would take them."""
    answer = Reasoner(graph).ask(DIED)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert remember_refusal(graph, answer, tmp_path) == ""
    assert synced == []


def test_what_a_model_was_not_given_to_word_is_remembered_too(
    world: Graph, reader_engine: Engine, tmp_path: Path
) -> None:
    model = GroundedModel(Speaker(reader_engine, max_tokens=24), world)
    history = ["What is the capital of Peru?", "The capital of Peru is Peru City."]
    answer = model.ask("Where was Peru City born?", history=history)
    assert answer.status == "unknown"
    assert remember_refusal(world, answer, tmp_path) == ""
    (question,) = GapLog(tmp_path).questions()
    assert question.text == "Where was Peru City born?"
    assert question.entities == (world.store.find_entity("capital 0"),)
