"""`gz ask` and `gz verify`: what they print, where, and with which exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from groundzero.cli.app import main
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ask") / "facts.db"
    with Graph.open(path, create=True) as graph:
        import_file(graph.store, FIXTURE)
    return str(path)


def test_an_answer_is_a_sentence_with_citations(facts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "What is the capital of Peru?", "--graph", facts, "--no-model"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("The capital of Peru is Lima [S")
    assert "atlas.tsv" in out
    assert err == ""


def test_a_longer_path_is_shown(facts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Where was the spouse of Ana Ruiz born?", "--graph", facts]) == 0
    assert "Ana Ruiz -> spouse -> Luis Vega -> place of birth -> Cusco" in capsys.readouterr().out


def test_not_knowing_is_exit_code_4(facts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Where did Ana Ruiz die?", "--graph", facts, "--json"]) == 4
    raw = json.loads(capsys.readouterr().out)
    assert (raw["status"], raw["reason"]) == ("unknown", "no_fact")
    assert main(["ask", "What is the capital of Atlantis?", "--graph", facts]) == 4
    assert "(no entity)" in capsys.readouterr().out


def test_answers_are_verified_from_their_file(facts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", "Where was the spouse of Ana Ruiz born?", "--graph", facts, "--json"])
    answer = tmp_path / "answer.json"
    answer.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["verify", str(answer)]) == 0
    assert capsys.readouterr().out.startswith("Verified: 2 statements")
    raw = json.loads(answer.read_text(encoding="utf-8"))
    raw["citations"][1]["object"] = "Lima"
    answer.write_text(json.dumps(raw), encoding="utf-8")
    assert main(["verify", str(answer), "--graph", facts, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert "Cusco" in found["problems"][0]


def test_a_file_of_questions(facts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("\ufeffWhat is the capital of Peru?\n\nWhat is the capital of Atlantis?\n", encoding="utf-8")
    assert main(["ask", "--file", str(questions), "--jsonl", "--graph", facts]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["asserted", "unknown"]
    assert main(["ask", "--file", str(questions), "--json", "--graph", facts]) == 0
    assert len(json.loads(capsys.readouterr().out)["answers"]) == 2
    assert main(["ask", "--file", str(questions), "--graph", facts]) == 0
    assert "> What is the capital of Peru?" in capsys.readouterr().out


def test_questions_from_standard_input(
    facts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("What is the capital of Chile?\n"))
    assert main(["ask", "--file", "-", "--jsonl", "--graph", facts]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"][0]["entity"] == "Santiago"


def test_wordings_are_learnt_and_kept(facts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("who zibs Ana Ruiz?\tLuis Vega\nwho zibs Red Dust?\tAna Ruiz\nhm?\tnone\n" * 2, encoding="utf-8")
    scorer = tmp_path / "wordings.json"
    assert main(["ask", "--learn", str(pairs), "--scorer", str(scorer), "--graph", facts]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "4 of 6" in err
    assert main(["ask", "who zibs Ana Ruiz?", "--scorer", str(scorer), "--graph", facts]) == 0


@pytest.mark.parametrize(
    ("words", "code", "about"),
    [
        (["ask", "What?"], 2, "--graph"),
        (["ask", "--graph", "FACTS"], 2, "question"),
        (["ask", "  ", "--graph", "FACTS"], 2, "empty"),
        (["ask", "What?", "--file", "x", "--graph", "FACTS"], 2, "--file"),
        (["ask", "What?", "--jsonl", "--graph", "FACTS"], 2, "--jsonl"),
        (["ask", "--learn", "x", "--graph", "FACTS"], 2, "--scorer"),
        (["ask", "What?", "--max-hops", "4", "--graph", "FACTS"], 2, "max-hops"),
        (["ask", "What?", "--graph", "none.db"], 3, "none.db"),
        (["ask", "--file", "none.txt", "--graph", "FACTS"], 3, "none.txt"),
        (["ask", "What?", "--scorer", "none.json", "--graph", "FACTS"], 3, "none.json"),
        (["ask", "What?", "--learn", "none.tsv", "--graph", "FACTS"], 3, "none.tsv"),
        (["verify", "none.json"], 3, "none.json"),
    ],
)
def test_errors_name_the_thing(
    facts: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, about: str
) -> None:
    words = [facts if word == "FACTS" else word for word in words]
    assert main([*words, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert about in error["message"] + error["remedy"]
    assert error["remedy"]


def test_control_characters_of_labels_are_shown_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.db"
    with Graph.open(path, create=True) as graph, graph.store.writer() as writer:
        odd = writer.add_entity("odd", label="Li\x1b[31mma\x07")
        writer.add_statement(writer.add_entity("Peru"), writer.add_relation("capital"), odd)
    assert main(["ask", "What is the capital of Peru?", "--graph", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "Li\\x1b[31mma\\x07" in out
    assert main(["ask", "What is the capital of Peru?", "--graph", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"][0]["entity"] == "Li\x1b[31mma\x07"
