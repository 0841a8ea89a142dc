"""What the graph does not say and an embedding foretells: when, in which words, and never as a fact."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import groundzero as gz
from groundzero.cli.app import main
from groundzero.errors import InputError
from groundzero.graph.embed.answers import AnswerCurves
from groundzero.graph.embed.calibration import Platt
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.ground.answer import Answer
from groundzero.ground.kept import changed_answers
from groundzero.ground.predict import PredictConfig, Predictor
from groundzero.ground.reason import Reasoner
from groundzero.ground.verify import verify

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"
DIED = "Where did Ana Ruiz die?"


def atlas(place: Path) -> Graph:
    graph = Graph.open(place / "atlas.db", create=True)
    import_file(graph.store, FIXTURE)
    graph.refresh()
    return graph


def foreteller(graph: Graph) -> Embedding:
    """Of TransE, with vectors by hand: Ana Ruiz died in Lima for certain, in Cusco as likely as not."""
    triples = graph.store.triples()
    entities, relations = np.unique(triples[:, [0, 2]]), np.unique(triples[:, 1])
    generator = torch.Generator().manual_seed(3)
    config = EmbedConfig(dim=8, reciprocal=False)
    embedding = Embedding(
        config,
        torch.randn(len(entities), 8, generator=generator) * 10,
        torch.randn(len(relations), 8, generator=generator) * 10,
        entities, relations, graph.transaction,
        answers=AnswerCurves(Platt(0.5, 0.0), Platt(0.5, 0.0)),
    )  # fmt: skip
    embedding.relations_RW[embedding.relation_row_of(relation(graph, "place of death"))] = 0.0
    ana = embedding.vector(entity(graph, "Ana Ruiz"))  # and so the best answer of all, were it not the question's own
    for name, away in (("Lima", 0.0), ("Cusco", 0.5)):
        embedding.entities_ED[embedding.row_of(entity(graph, name))] = ana + away
    return embedding


def entity(graph: Graph, key: str) -> int:
    found = graph.store.find_entity(key)
    assert found is not None
    return found


def relation(graph: Graph, key: str) -> int:
    found = graph.store.find_relation(key)
    assert found is not None
    return found


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    with atlas(tmp_path) as opened:
        yield opened


def predicted(graph: Graph, question: str = DIED, **settings: float) -> Answer:
    config = PredictConfig.parse(settings)
    return Predictor(graph, foreteller(graph), config).fill_in(Reasoner(graph).ask(question))


def test_a_silent_graph_is_filled_in_and_nothing_is_cited(graph: Graph) -> None:
    answer = predicted(graph)
    assert (answer.status, answer.reason) == ("predicted", "")
    assert answer.text.startswith("The graph does not say the place of death of Ana Ruiz; it predicts Lima (prob")
    assert answer.citations == ()
    assert answer.path == ()
    assert answer.query is not None
    hop = {"from": "Ana Ruiz", "relation": "place of death", "inverse": False}
    assert answer.query.as_json() == {"hops": [hop], "constraints": [], "aggregate": None}
    assert [each.entity for each in answer.candidates[:2]] == ["Lima", "Cusco"]
    scores = [each.score for each in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    assert 0.5 <= answer.probability == scores[0] < 1
    assert "Ana Ruiz" not in [each.entity for each in answer.candidates]


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Peru?",  # the graph says it
        "When did Luis Vega die?",  # no relation leads to a date of death
        "What is the favourite colour of Ana Ruiz?",
        "What is the capital of Atlantis?",
        "How many children does Rosa Vega have?",
        "Is Cusco the capital of Peru?",
        "Where was the spouse of Rosa Vega born?",
        "When was Rosa Vega born?",  # literals have no vectors
    ],
)
def test_only_one_missing_statement_is_filled_in(graph: Graph, question: str) -> None:
    asked = Reasoner(graph).ask(question)
    assert Predictor(graph, foreteller(graph), PredictConfig(threshold=0.0)).fill_in(asked) == asked


def test_below_the_threshold_the_refusal_stands(graph: Graph) -> None:
    likely = predicted(graph).probability
    assert predicted(graph, threshold=likely).status == "predicted"
    assert predicted(graph, threshold=min(1.0, likely + 1e-6)).status == "unknown"
    assert predicted(graph, threshold=1.0).text == Reasoner(graph).ask(DIED).text


def test_subjects_are_predicted_from_objects(graph: Graph) -> None:
    answer = predicted(graph, "Who was born in Santiago?", threshold=0.0)
    assert answer.status == "predicted"
    assert answer.text.startswith("The graph does not say whose place of birth is Santiago; it predicts ")
    assert verify(answer, graph.store).ok


def test_what_left_the_graph_is_not_predicted(graph: Graph) -> None:
    """The embedding still has Lima; a graph that says nothing of it any more does not."""
    embedding = foreteller(graph)
    lima = entity(graph, "Lima")
    with graph.store.writer() as writer:
        for statement in (*graph.store.outgoing(lima), *graph.store.incoming(lima)):
            writer.retire(statement.id)
    graph.refresh()
    predictor = Predictor(graph, embedding, PredictConfig(threshold=0.0))
    assert predictor.behind == 1
    answer = predictor.fill_in(Reasoner(graph).ask(DIED))
    assert answer.candidates[0].entity == "Cusco"
    assert "Lima" not in [each.entity for each in answer.candidates]


# Verification


def test_a_prediction_verifies_and_says_what_it_could_not_check(graph: Graph) -> None:
    found = verify(predicted(graph), graph.store)
    assert found.ok
    assert "how likely" in found.unchecked[-1]


def test_what_the_graph_came_to_say_since_does_not_spoil_the_prediction(graph: Graph) -> None:
    answer = predicted(graph)
    graph.edit(entity(graph, "Ana Ruiz"), relation(graph, "place of death"), entity(graph, "Cusco"))
    assert verify(answer, graph.store).ok  # at its transaction the graph was silent
    now = dataclasses.replace(answer, graph=dataclasses.replace(answer.graph, transaction=graph.transaction))
    assert any("The graph says it" in each for each in verify(now, graph.store).problems)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"citations": [{"id": 1}]}, "no fact"),
        ({"path": [{"from": "Ana Ruiz", "relation": "place of death", "to": "Lima"}]}, "no fact"),
        ({"query": None}, "one hop"),
        ({"probability": 0.99}, "likeliest"),
        ({"candidates": []}, "candidates"),
        ({"candidates": [{"entity": "Lima", "score": 7}]}, "probability each"),
        ({"candidates": [{"entity": "Atlantis", "score": 0.6}], "probability": 0.6}, "'Atlantis'"),
        ({"text": "Ana Ruiz died in Lima [S1]."}, "text"),
        ({"status": "asserted"}, "leads to nothing"),
    ],
)
def test_a_tampered_prediction_is_caught(graph: Graph, damage: dict[str, object], message: str) -> None:
    raw = copy.deepcopy(predicted(graph).as_json()) | damage
    assert any(message in each for each in verify(raw, graph.store).problems)


def test_a_predictor_that_cites_or_contradicts_the_graph_does_not_verify(graph: Graph, monkeypatch) -> None:
    """Broken on purpose: one that fills in answers the graph has."""
    answer = Reasoner(graph).ask("What is the capital of Peru?")
    broken = dataclasses.replace(predicted(graph), query=answer.query, citations=answer.citations)
    problems = verify(broken, graph.store).problems
    assert any("The graph says it" in each for each in problems)
    assert any("no fact" in each for each in problems)


# What can be asked for


def test_an_embedding_that_cannot_be_believed_is_refused(graph: Graph, tmp_path: Path) -> None:
    unsure = foreteller(graph)
    unsure.answers = None
    with pytest.raises(InputError, match="how likely"):
        Predictor(graph, unsure)
    strange = foreteller(graph)
    strange.transaction = graph.transaction + 1
    with pytest.raises(InputError, match="has not reached"):
        Predictor(graph, strange)
    foreign = foreteller(graph)
    foreign.witnesses = dict.fromkeys(foreign.entity_ids.tolist(), "somebody")
    with pytest.raises(InputError, match="another graph"):
        Predictor(graph, foreign)
    with pytest.raises(InputError):
        Predictor(graph, tmp_path / "none")


def test_python_asks_with_a_folder(graph: Graph, tmp_path: Path) -> None:
    foreteller(graph).save(tmp_path / "vectors")
    answer = gz.ask(DIED, graph=graph, embedding=tmp_path / "vectors")
    assert answer == dataclasses.replace(predicted(graph), seconds=answer.seconds)
    assert gz.verify(answer, graph)
    assert gz.ask(DIED, graph=graph, embedding=tmp_path / "vectors", threshold=1.0).status == "unknown"
    assert gz.ask(DIED, graph=graph).status == "unknown"


def test_the_command_line_predicts_verifies_and_remembers(
    graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreteller(graph).save(tmp_path / "vectors")
    ask = ["ask", DIED, "--graph", graph.location, "--embedding", str(tmp_path / "vectors")]
    assert main(ask) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == predicted(graph).text
    assert "no fact; else Cusco" in out
    assert err == ""
    assert main([*ask, "--json"]) == 0
    raw = capsys.readouterr().out
    assert json.loads(raw)["status"] == "predicted"
    (tmp_path / "answer.json").write_text(raw, encoding="utf-8")
    assert main(["verify", str(tmp_path / "answer.json")]) == 0
    assert "not how likely" in "".join(capsys.readouterr())
    assert main([*ask, "--threshold", "1"]) == 4
    assert main(["ask", DIED, "--graph", graph.location, "--threshold", "0.2"]) == 2
    assert main(["ask", DIED, "--graph", graph.location, "--embedding", str(tmp_path / "none")]) == 3
    capsys.readouterr()
    # A prediction does not close the gap.
    assert main(["graph", "gaps", "--graph", graph.location, "--json"]) == 0
    (gap,) = json.loads(capsys.readouterr().out)["gaps"]
    assert (gap["subject"], gap["relation"], gap["asked"]) == ("Ana Ruiz", "place of death", 3)


def test_the_age_of_the_vectors_is_said(graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreteller(graph).save(tmp_path / "vectors")
    with graph.store.writer() as writer:
        writer.add_entity("Quito")
    assert main(["ask", DIED, "--graph", graph.location, "--embedding", str(tmp_path / "vectors")]) == 0
    assert "1 transactions old" in capsys.readouterr().err


def test_a_kept_prediction_has_not_changed_while_the_graph_is_silent(graph: Graph) -> None:
    kept = [predicted(graph).as_json()]
    assert list(changed_answers(kept, Reasoner(graph))) == []
    graph.edit(entity(graph, "Ana Ruiz"), relation(graph, "place of death"), entity(graph, "Cusco"))
    (change,) = changed_answers(kept, Reasoner(graph))
    assert "predicts Lima" in change.before
    assert "Cusco" in change.after
