"""`gz graph embed`, `predict` and `milestones`: what they print, keep and refuse."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from groundzero.cli.app import main

KEYS = {"model", "mrr", "hits_at_1", "hits_at_3", "hits_at_10", "loss", "seconds", "triples_per_second"}
SMALL = ["--epochs", "4", "--dim", "16", "--set", "evaluate_every=2", "--set", "batch_size=64"]


@pytest.fixture
def graph(tmp_path, data_dir, capsys) -> str:
    """A thousand triples of UMLS."""
    lines = (data_dir / "kg-umls-text" / "train.tsv").read_text(encoding="utf-8").splitlines()[:1000]
    facts = tmp_path / "facts.tsv"
    facts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    location = str(tmp_path / "facts.db")
    assert main(["graph", "import", str(facts), "--graph", location]) == 0
    capsys.readouterr()
    return location


def run(capsys, *words: str) -> dict:
    code = main([*words, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == 0, answer
    return answer


def failure(capsys, *words: str) -> tuple[int, str]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)["error"]["message"]


def test_embed_prints_the_promised_keys_and_predict_uses_what_it_kept(graph, tmp_path, capsys) -> None:
    answer = run(capsys, "graph", "embed", "--graph", graph, *SMALL)
    assert set(answer) >= KEYS
    assert answer["model"] == "transe"
    assert answer["test_triples"] == 50
    assert (tmp_path / "facts.db.embedding" / "embedding.json").exists()
    found = run(capsys, "graph", "predict", "--graph", graph, "location_of", "--subject", "acquired_abnormality")
    assert found["status"] == "predicted"
    assert len(found["predictions"]) == 10
    assert all(0 <= each["probability"] <= 1 and not each["asserted"] for each in found["predictions"])
    both = run(capsys, "graph", "predict", "--graph", graph, "location_of", "--subject", "acquired_abnormality",
               "--known", "--limit", "200")  # fmt: skip
    assert any(each["asserted"] for each in both["predictions"])
    backwards = run(capsys, "graph", "predict", "--graph", graph, "location_of", "--object", "fungus", "--limit", "3")
    assert len(backwards["predictions"]) == 3


def test_the_same_embedding_in_words(graph, capsys) -> None:
    assert main(["graph", "embed", "--graph", graph, "--model", "complex", *SMALL]) == 0
    captured = capsys.readouterr()
    assert "hits_at_10" in captured.out
    assert "4/4 epochs" in captured.err
    assert main(["graph", "predict", "--graph", graph, "location_of", "--subject", "acquired_abnormality"]) == 0
    assert "%" in capsys.readouterr().out


def test_each_relation_is_reported(graph, capsys) -> None:
    answer = run(capsys, "graph", "embed", "--graph", graph, "--relations", *SMALL)
    assert sum(each["triples"] for each in answer["by_relation"]) == answer["test_triples"]
    assert "affects" in {each["relation"] for each in answer["by_relation"]}
    assert main(["graph", "embed", "--graph", graph, "--relations", *SMALL]) == 0
    assert "mrr_subjects" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT between processes there")
def test_ctrl_c_saves_and_resume_goes_on(graph, tmp_path, capsys) -> None:
    words = ["graph", "embed", "--graph", graph, "--dim", "16", "--epochs", "100000", "--set", "patience=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "groundzero", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path / "facts.db.embedding" / "metrics.jsonl"
    while not (log.exists() and log.read_text(encoding="utf-8").count("\n") > 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, remarks = process.communicate()
    assert process.returncode == 130
    assert "--resume" in remarks
    saved = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["epoch"]
    code, message = failure(capsys, *words)
    assert code == 2
    assert "unfinished" in message
    words[words.index("100000")] = str(saved + 2)
    assert run(capsys, *words, "--resume")["epochs"] == saved + 2


def test_update_places_what_came_after(graph, tmp_path, capsys) -> None:
    run(capsys, "graph", "embed", "--graph", graph, *SMALL)
    more = tmp_path / "more.tsv"
    more.write_text("new_thing\tlocation_of\tfungus\nnew_thing\tisa\tbacterium\n", encoding="utf-8")
    run(capsys, "graph", "import", str(more), "--graph", graph)
    code, message = failure(capsys, "graph", "predict", "--graph", graph, "isa", "--subject", "new_thing")
    assert code == 3
    assert "has no vector" in message
    answer = run(capsys, "graph", "embed", "--graph", graph, "--update")
    assert (answer["placed"], answer["refreshed"]) == (1, 2)
    assert run(capsys, "graph", "predict", "--graph", graph, "isa", "--subject", "new_thing")["predictions"]
    assert run(capsys, "graph", "embed", "--graph", graph, "--update")["placed"] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["embed", "--graph", "missing.db"], 3, "missing.db"),
        (["embed", "--graph", "GRAPH", "--set", "dimm=3"], 3, "dimm"),
        (["embed", "--graph", "GRAPH", "--model", "transh"], 3, "transh"),
        (["embed", "--graph", "GRAPH", "--update"], 3, "No embedding at"),
        (["predict", "--graph", "GRAPH", "location_of", "--subject", "fungus"], 3, "No embedding at"),
        (["predict", "--graph", "GRAPH", "location_of"], 2, "--subject or --object"),
        (["milestones", "--graph", "GRAPH", "--record", "tests=maybe"], 2, "tests=maybe"),
        (["milestones", "--graph", "GRAPH", "--record", "weather=passed"], 2, "weather"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(graph, capsys, words, code, message) -> None:
    found = failure(capsys, "graph", *(graph if word == "GRAPH" else word for word in words))
    assert found[0] == code
    assert message in found[1]


def test_milestones_of_a_small_graph(graph, capsys, tmp_path) -> None:
    answer = run(capsys, "graph", "milestones", "--graph", graph, "--record", "tests=passed")
    by_name = {each["name"]: each for each in answer["milestones"]}
    assert list(by_name) == [
        "triples",
        "entities",
        "relations",
        "epochs",
        "hinge",
        "accuracy",
        "learning",
        "dashboard",
        "tests",
    ]
    assert by_name["triples"]["percent"] == 2.0
    assert (answer["done"], answer["of"]) == (1, 9)
    assert main(["graph", "milestones", "--graph", graph, "--state", str(tmp_path / "state")]) == 0
    assert "0 of 9 reached" in capsys.readouterr().out
