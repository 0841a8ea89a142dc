"""A source is taken back: its facts, the names that it alone brought, its vectors and its weight in the others are gone
from answers, retrieval and predictions; what others say stays, and the past can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundzero.cli.app import main
from groundzero.errors import InputError
from groundzero.graph.embed.classification import Thresholds
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.embed.session import embed_graph
from groundzero.graph.embed.updating import bring_up_to_date, remove_departed
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.graph.nouns import Literal
from groundzero.ground.answer import Answer
from groundzero.ground.predict import PredictConfig, Predictor
from groundzero.ground.reason import Reasoner
from groundzero.ground.verify import verify
from groundzero.ingest.folder import state_folder
from groundzero.ingest.forget import forget_source
from groundzero.ingest.gaps import GapLog, rank_gaps
from groundzero.ingest.passages import PassageLog

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"
RUMOURS = "rumours.txt"
CAPITAL, DIED, PERU = "What is the capital of Atlantis?", "Where did Ana Ruiz die?", "What is the capital of Peru?"


def believe_rumours(graph: Graph) -> None:
    """Atlantis and its king, which nobody else tells of; a death; a kind of thing; and a fact that is known as well."""
    with graph.store.writer() as writer:
        entity = writer.add_entity
        source = writer.add_source(RUMOURS)
        capital, died = writer.add_relation("capital"), writer.add_relation("place of death")
        rules, motto = writer.add_relation("rules", label="rules"), writer.add_relation("motto", label="motto")
        kind = writer.add_relation("instance of", label="instance of")
        atlantis = entity("Q999", label="Atlantis", types=["island"], description="sunk")
        writer.name_entity(atlantis, "Atlantica")
        for subject, relation, object_ in (
            (atlantis, capital, entity("Poseidonis", label="Poseidonis")),
            (entity("Q998"), rules, atlantis),
            (atlantis, motto, Literal("below")),
            (entity("Ana Ruiz"), died, atlantis),
            (entity("Ana Ruiz"), kind, entity("ghost", label="ghost")),
            (entity("Peru"), capital, entity("Lima")),
        ):
            writer.add_statement(subject, relation, object_, source=source, start=0, end=9)
        writer.name_entity(entity("Ana Ruiz"), "ghost", "type")
        writer.add_statement(entity("Tito Vega"), died, atlantis, source=source, status="quarantined", start=3, end=7)
    graph.refresh()


@pytest.fixture
def place(new_location: Callable[[], str]) -> str:
    return new_location()


@pytest.fixture
def graph(place: str) -> Iterator[Graph]:
    with Graph.open(place, create=True) as opened:
        import_file(opened.store, FIXTURE)
        believe_rumours(opened)
        yield opened


@pytest.fixture
def file_graph(tmp_path: Path) -> Iterator[Graph]:
    with Graph.open(tmp_path / "facts.db", create=True) as opened:
        import_file(opened.store, FIXTURE)
        believe_rumours(opened)
        yield opened


def entity(graph: Graph, key: str) -> int:
    found = graph.store.find_entity(key)
    assert found is not None
    return found


def relation(graph: Graph, key: str) -> int:
    found = graph.store.find_relation(key)
    assert found is not None
    return found


def answers(graph: Graph) -> tuple[Answer, ...]:
    reasoner = Reasoner(graph)
    return tuple(reasoner.ask(question) for question in (CAPITAL, DIED, PERU))


def test_answers_retrieval_and_names_forget_it(graph: Graph, place: str) -> None:
    reasoner = Reasoner(graph)  # open all along
    before = answers(graph)
    assert [each.status for each in before] == ["asserted"] * 3
    gone = {each.id for each in graph.store.statements(status=None, source=graph.store.find_source(RUMOURS))}
    assert len(gone) == 7
    found = forget_source(graph.store, RUMOURS)
    assert (found.sources, found.statements, found.quarantined) == ([RUMOURS], 6, 1)
    assert sorted(found.entities) == ["Poseidonis", "Q998", "Q999", "ghost"]
    assert sorted(found.relations) == ["instance of", "motto", "rules"]
    with Graph.open(place) as fresh:
        for asked in (reasoner, Reasoner(fresh)):
            assert [asked.ask(CAPITAL).reason, asked.ask(DIED).reason] == ["no_entity", "no_fact"]
            peru = asked.ask(PERU)
            assert [each.source for each in peru.citations] == [FIXTURE.as_posix()]
            for question in (CAPITAL, DIED, PERU, "Tell me of Atlantica, Q998 and Ana Ruiz, the ghost."):
                assert not gone & {each.statement for each in asked.retrieve(question)}
        for each in (graph, fresh):
            assert each.mentions("Atlantis, Atlantica, Poseidonis, Q998, Q999, a ghost") == []
            assert each.store.search("Atlantis Poseidonis") == []
            assert each.store.named("Atlantis") == []
            assert each.entity(entity(each, "Ana Ruiz")).types == ()
            assert each.relation(relation(each, "motto")).templates == ()
            assert not set(each.adjacency.rows()[:, 3].tolist()) & gone
        assert next(fresh.store.statements(status="quarantined"), None) is None


def test_the_past_and_what_was_cited_from_it_stay(graph: Graph) -> None:
    before = answers(graph)
    forget_source(graph.store, RUMOURS)
    for answer in before:
        assert verify(answer, graph.store).ok  # at its transaction
    at = before[0].graph.transaction
    assert graph.store.entity(entity(graph, "Q999"), at=at).label == "Atlantis"
    assert graph.store.entity(entity(graph, "Q999")).label == "Q999"
    assert set(graph.store.surfaces(at=at)) - set(graph.store.surfaces())
    now = before[1].as_json()
    now["graph"]["transaction"] = graph.store.transaction()
    assert any("not believed" in each for each in verify(now, graph.store).problems)


def test_it_is_one_transaction_or_none(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    before, statements = graph.store.transaction(), list(graph.store.statements(status=None))
    kind = type(graph.store.writer().__enter__())  # of the writer that names are retired by
    with pytest.raises(ZeroDivisionError), monkeypatch.context() as broken:
        broken.setattr(kind, "retire_entity_name", lambda *_: 1 / 0)
        forget_source(graph.store, RUMOURS)
    assert graph.store.transaction() == before
    assert list(graph.store.statements(status=None)) == statements
    assert forget_source(graph.store, RUMOURS).transaction == before + 1
    again = forget_source(graph.store, RUMOURS)
    assert (again.statements, again.entities, again.transaction) == (0, [], before + 1)


def test_what_another_source_speaks_of_keeps_its_name(graph: Graph) -> None:
    with graph.store.writer() as writer:
        other = writer.add_source("atlas of the sea")
        ends = writer.add_entity("Q999"), writer.add_relation("country"), writer.add_entity("Greece", label="Greece")
        writer.add_statement(*ends, source=other, status="quarantined")
    found = forget_source(graph.store, RUMOURS)
    assert "Q999" not in found.entities
    assert "Poseidonis" in found.entities
    assert graph.store.entity(entity(graph, "Q999")).label == "Atlantis"


def test_a_key_alone_is_found_again_when_it_is_spoken_of_again(graph: Graph) -> None:
    forget_source(graph.store, RUMOURS)
    graph.refresh()
    assert graph.mentions("Q998") == []
    with graph.store.writer() as writer:
        writer.add_statement(writer.add_entity("Q998"), writer.add_relation("capital"), writer.add_entity("Lima"))
    graph.refresh()
    assert [each.surface for each in graph.mentions("Q998")] == ["Q998"]


# Files, dumps and folders


def test_parts_and_versions_go_with_their_source_and_namesakes_stay(graph: Graph) -> None:
    keys = ["d.xml", "d.xml#Lima", "d.xml#Lima#version=2", "d.xml@0123456789ab", "d.xml@0123456789ab-1"]
    others = ["d.xml.old", "d.xml@home", "a d.xml"]
    with graph.store.writer() as writer:
        for number, key in enumerate((*keys, *others)):
            ends = writer.add_entity(f"e{number}"), writer.add_relation("capital"), writer.add_entity("Lima")
            writer.add_statement(*ends, source=writer.add_source(key))
    assert sorted(forget_source(graph.store, "d.xml").sources) == sorted(keys)
    left = {graph.store.source(each.source).key for each in graph.store.statements() if each.source is not None}
    assert left >= set(others)
    assert not left & set(keys)


def test_a_source_that_is_not_there_is_named_with_what_is_near(graph: Graph) -> None:
    with pytest.raises(InputError, match=r"'rumors\.txt'") as caught:
        forget_source(graph.store, "rumors.txt")
    assert RUMOURS in caught.value.remedy


def test_an_imported_file_is_forgotten_by_its_path_and_can_be_imported_again(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("more.tsv").write_text("Quito\tcountry\tEcuador\n", encoding="utf-8")
    for _ in range(3):
        report = import_file(graph.store, Path("more.tsv"))
        assert report.added["triples"] == 1
        assert import_file(graph.store, Path("more.tsv")).already
        assert Reasoner(graph).ask("In which country is Quito?").status == "asserted"
        assert forget_source(graph.store, "more.tsv").entities == ["Quito", "Ecuador"]
        graph.refresh()
        assert Reasoner(graph).ask("In which country is Quito?").reason == "no_entity"


def test_passages_and_questions_about_it_go_too(file_graph: Graph) -> None:
    folder = state_folder(file_graph)
    kept = [(RUMOURS, 3, 7, "Tito drowned at Atlantis."), ("other.txt", 3, 7, "Tito lives.")]
    PassageLog(folder).keep(kept)
    with (folder / "passages.jsonl").open("ab") as file:
        file.write(b'["half a li')  # a crash
    GapLog(folder).remember("What is the anthem of Atlantis?", "no_relation", entities=(entity(file_graph, "Q999"),))
    assert any(each.subject == "Atlantis" for each in rank_gaps(file_graph, folder))
    assert forget_source(file_graph.store, RUMOURS, folder).passages == 1
    text = (folder / "passages.jsonl").read_text(encoding="utf-8")
    assert "drowned" not in text
    assert "Tito lives." in text
    file_graph.refresh()
    assert rank_gaps(file_graph, folder) == []


def test_learning_a_folder_again_does_not_bring_it_back_unless_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "Arvelia.wiki"
    page.write_text("{{Infobox settlement|country=[[Freedonia]]}}\n'''Arvelia''' is a [[city]].\n", encoding="utf-8")
    db = str(tmp_path / "g.db")

    def run(*words: str) -> dict[str, Any]:
        assert main(["graph", *words, "--graph", db, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert run("learn", str(page))["accepted"] > 0
    assert run("forget", str(page))["statements"] > 0
    assert run("learn", str(page))["accepted"] == 0
    assert run("query", "?", "country")["statements"] == []
    assert run("learn", str(page), "--again")["accepted"] > 0
    with Graph.open(db) as graph:
        assert [each.surface for each in graph.mentions("Arvelia in Freedonia")] == ["Arvelia", "Freedonia"]


# Vectors


def trained(graph: Graph, folder: Path, **settings: Any) -> Embedding:
    config = EmbedConfig.parse({"dim": 16, "epochs": 5, "evaluate_every": 0, "device": "cpu", **settings})
    return embed_graph(graph.store, config, folder)


@pytest.mark.parametrize("reciprocal", [True, False])
def test_vectors_that_only_it_needed_are_gone_and_the_others_are_as_they_were(
    file_graph: Graph, tmp_path: Path, reciprocal: bool
) -> None:
    embedding = trained(file_graph, tmp_path / "v", reciprocal=reciprocal)
    rules, spouse = relation(file_graph, "rules"), relation(file_graph, "spouse")
    rows = embedding.relation_row_of(spouse), embedding.relation_row_of(rules)
    embedding.thresholds = Thresholds({rows[0]: -1.25, rows[1]: 9.0}, 0.5)
    kept = {each: embedding.vector(each).clone() for each in embedding.entity_ids.tolist()}
    ways = {each: embedding.relation_vector(each).clone() for each in embedding.relation_ids.tolist()}
    back = embedding.relations_RW[len(ways) + rows[0]].clone() if reciprocal else None
    forget_source(file_graph.store, RUMOURS)
    update = bring_up_to_date(embedding, file_graph.store)
    gone = {entity(file_graph, key) for key in ("Q999", "Q998", "Poseidonis", "ghost")}
    assert set(update.removed_entities) == gone
    assert set(update.removed_relations) == {rules, relation(file_graph, "instance of")}
    assert not any(embedding.has(each) for each in gone)
    assert not embedding.has_relation(rules)
    assert embedding.transaction == file_graph.store.transaction()
    touched = {entity(file_graph, key) for key in ("Ana Ruiz", "Peru", "Lima")}
    for each in embedding.entity_ids.tolist():
        assert torch.equal(embedding.vector(each), kept[each]) == (each not in touched)
    for each in embedding.relation_ids.tolist():
        assert torch.equal(embedding.relation_vector(each), ways[each])
    if back is not None:
        now = len(embedding.relation_ids) + embedding.relation_row_of(spouse)
        assert torch.equal(embedding.relations_RW[now], back)
    assert embedding.thresholds == Thresholds({embedding.relation_row_of(spouse): -1.25}, 0.5)
    embedding.save(tmp_path / "v")
    again = Embedding.load(tmp_path / "v")
    for each in again.relation_ids.tolist():
        for side in ("subject", "object"):
            ids = {p.entity for p in again.predict(relation=each, limit=99, **{side: entity(file_graph, "Peru")})}
            assert not ids & gone


def test_predictions_forget_it(file_graph: Graph, tmp_path: Path) -> None:
    """Also those of an embedding that nobody has brought up to date yet."""
    stale = trained(file_graph, tmp_path / "v")
    forget_source(file_graph.store, RUMOURS)
    file_graph.refresh()
    fresh = Embedding.load(tmp_path / "v")
    bring_up_to_date(fresh, file_graph.store)
    asked = Reasoner(file_graph).ask(DIED)
    for embedding in (stale, fresh):
        config = PredictConfig(threshold=0.0, candidates=50)
        answer = Predictor(file_graph, embedding, config).fill_in(asked)
        assert answer.status == "predicted"
        names = {each.entity for each in answer.candidates}
        assert not names & {"Atlantis", "Poseidonis", "ghost", "Q998", "Q999"}
        assert "Lima" in names


def test_what_it_taught_the_other_vectors_is_unlearnt(data_dir: Path, tmp_path: Path) -> None:
    """False statements between things that stay. Broken on purpose: rows removed, nothing placed anew."""
    lines = (data_dir / "kg-umls-text" / "train.tsv").read_text(encoding="utf-8").splitlines()
    random = np.random.default_rng(0)
    with Graph.open(tmp_path / "umls.db", create=True) as graph:
        with graph.store.writer() as writer:
            rows = [tuple(line.split("\t")) for line in lines]
            ends = [(writer.add_entity(s), writer.add_relation(r), writer.add_entity(o)) for s, r, o in rows]
            writer.add_triples(ends, source=writer.add_source("truth"))
        commonest = int(np.bincount([r for _, r, _ in ends]).argmax())
        silent = sorted({s for s, _, _ in ends} - {s for s, r, _ in ends if r == commonest})
        objects = sorted({o for _, r, o in ends if r == commonest})
        false = [(int(s), commonest, int(random.choice(objects))) for s in random.permutation(silent)[:20]]
        with graph.store.writer() as writer:
            writer.add_triples(false, source=writer.add_source("liar"))
        embedding = trained(graph, tmp_path / "v", model="complex", dim=64, epochs=60)
        broken = Embedding.load(tmp_path / "v")

        def first_guesses(vectors: Embedding) -> float:
            guesses = [vectors.predict(relation=r, subject=s, limit=1)[0].entity for s, r, _ in false]
            return float(np.mean([guess == o for guess, (_, _, o) in zip(guesses, false, strict=True)]))

        before = first_guesses(embedding)
        forget_source(graph.store, "liar")
        bring_up_to_date(embedding, graph.store)
        remove_departed(broken, graph.store)
        assert before >= 0.8
        assert first_guesses(broken) == before
        assert first_guesses(embedding) <= 0.25


def test_the_command_says_what_it_did_and_brings_the_vectors_along(
    file_graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "facts.db.embedding"
    trained(file_graph, folder)
    db = file_graph.location
    assert main(["graph", "forget", RUMOURS, "--graph", db]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == RUMOURS
    assert "6 facts retired, 1 in quarantine; 4 entities and 3 relations are left with nothing." in out
    assert "6 vectors removed" in err
    assert not Embedding.load(folder).has(entity(file_graph, "Q999"))
    assert main(["graph", "forget", RUMOURS, "--graph", db, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statements"] == 0
    assert main(["graph", "forget", "none.txt", "--graph", db, "--json"]) == 3
    assert "none.txt" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["graph", "embed", "--graph", db, "--update", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 0
