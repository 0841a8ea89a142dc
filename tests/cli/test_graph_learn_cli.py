"""`gz graph learn` and `gz graph gaps`: results on stdout, errors that name the thing, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundzero.cli.app import main

PAGE = """{{Infobox settlement|country=[[Freedonia]]|population=1,200|motto=none|nickname=The [[Rose]]}}
'''Arvelia''' is a [[city]] of roses.
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "Arvelia.wiki"
    path.write_text(PAGE, encoding="utf-8")
    return path


def _json(capsys: pytest.CaptureFixture[str]) -> dict:  # type: ignore[type-arg]
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return dict(json.loads(out))


def test_learn_then_again(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = str(tmp_path / "g.db")
    assert main(["graph", "learn", "--graph", graph, str(page), "--json"]) == 0
    first = _json(capsys)
    assert (first["documents"], first["accepted"], first["by_way"]) == (1, 3, {"infobox": 2, "first sentence": 1})
    assert main(["graph", "learn", "--graph", graph, str(page)]) == 0
    assert "0 facts accepted" in capsys.readouterr().out
    assert main(["graph", "query", "--graph", graph, "Arvelia", "--json"]) == 0
    found = {(row["relation"], row["object"]) for row in _json(capsys)["statements"]}
    assert found == {("country", "Freedonia"), ("population", "1200"), ("instance of", "City")}


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        ([], 2, "Nothing to learn from"),
        (["nowhere.txt"], 3, "nowhere.txt"),
        (["http://127.0.0.1/x"], 3, "not a public address"),
        (["ftp://example.org/x"], 3, "ftp:"),
        (["https://u:p@example.org/x"], 2, "password"),
        (["--crawl", "--site", "example.org"], 2, "--site"),
        (["--crawl", "--watch"], 2, "--watch"),
        (["--precision", "1.5", "x"], 3, "precision"),
    ],
)
def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, names: str) -> None:
    assert main(["graph", "learn", "--graph", str(tmp_path / "g.db"), *words, "--json"]) == code
    error = _json(capsys)["error"]
    assert names in error["message"] + error["remedy"]
    assert error["remedy"]


def test_gaps_show_their_sentences_and_are_accepted(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = str(tmp_path / "g.db")
    page.write_text(PAGE.replace("[[Freedonia]]", "the land of Freedonia"), encoding="utf-8")
    assert main(["graph", "learn", "--graph", graph, str(page), "--json"]) == 0
    capsys.readouterr()
    assert main(["graph", "gaps", "--graph", graph, "--json"]) == 0
    (gap,) = _json(capsys)["gaps"]
    (candidate,) = gap["candidates"]
    assert (gap["subject"], gap["relation"], candidate["object"]) == ("Arvelia", "country", "the land of Freedonia")
    assert "country=the land of Freedonia" in candidate["sentence"]
    assert main(["graph", "gaps", "--graph", graph]) == 0
    assert "the land of Freedonia" in capsys.readouterr().out
    assert main(["graph", "gaps", "--graph", graph, "--accept", str(candidate["id"]), "--json"]) == 0
    assert _json(capsys)["gaps"] == []
    assert main(["graph", "gaps", "--graph", graph, "--reject", str(candidate["id"]), "--json"]) == 3
    assert str(candidate["id"]) in _json(capsys)["error"]["message"]


def test_one_key_accepts(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = str(tmp_path / "g.db")
    page.write_text(PAGE.replace("[[Freedonia]]", "the land of Freedonia"), encoding="utf-8")
    assert main(["graph", "learn", "--graph", graph, str(page)]) == 0
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "a")
    assert main(["graph", "gaps", "--graph", graph, "--ask"]) == 0
    capsys.readouterr()
    assert main(["graph", "query", "--graph", graph, "Arvelia", "country", "--json"]) == 0
    assert [row["object"] for row in _json(capsys)["statements"]] == ["the land of Freedonia"]


def test_watching_reads_a_new_file_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    folder, graph = tmp_path / "in", tmp_path / "g.db"
    folder.mkdir()
    words = [sys.executable, "-m", "groundzero", "graph", "learn", "--graph", str(graph), "--watch", "--every", "0.2"]
    process = subprocess.Popen([*words, str(folder)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Watching" in process.stderr.readline()
    (folder / "Arvelia.wiki").write_text(PAGE, encoding="utf-8")
    assert "facts accepted" in process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(2)
    out, _ = process.communicate(timeout=60)
    assert "3 facts accepted" in out


def test_an_embedding_beside_the_graph_is_brought_up_to_date(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = str(tmp_path / "g.db")
    (tmp_path / "Freedonia.wiki").write_text(
        "{{Infobox country|capital=[[Arvelia]]|currency=[[Crown]]}}'''Freedonia''' is a [[land]].",
        encoding="utf-8",
    )
    assert main(["graph", "learn", "--graph", graph, str(tmp_path / "Freedonia.wiki")]) == 0
    assert main(["graph", "embed", "--graph", graph, "--epochs", "1", "--dim", "8"]) == 0
    capsys.readouterr()
    page.write_text(
        "{{Infobox city|country=[[Freedonia]]|capital=[[Newtown]]}}'''Arvelia''' is a [[city]].", encoding="utf-8"
    )
    assert main(["graph", "learn", "--graph", graph, str(page), "--json"]) == 0
    embedding = _json(capsys)["embedding"]
    assert embedding["placed"] >= 1
    assert main(["graph", "learn", "--graph", graph, str(page), "--json"]) == 0
    assert "embedding" not in _json(capsys)
