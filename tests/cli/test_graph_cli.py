"""`gz graph`: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groundzero.cli.app import main
from groundzero.graph.opening import open_store

FACTS = """Q419\tP36\tQ2868
Q298\tP36\tQ2887
Q419\tP47\tQ298
Q298\tP47\tQ419
Q419\tpopulation\t33000000
a bad row
"""
LABELS = "Q419\tPeru\nQ298\tChile\nQ2868\tLima\nQ2887\tSantiago\nQ1\tUniverse\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    texts = {
        "facts": FACTS, "labels": LABELS, "relations": '{"P36": "capital", "P47": "shares border with"}',
        "templates": '{"P36": "The capital of [X] is [Y] ."}',
    }  # fmt: skip
    paths = {name: tmp_path / f"{name}.txt" for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    return paths


@pytest.fixture
def db(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "graph.db"
    options = ["--labels", files["labels"], "--relation-labels", files["relations"], "--templates", files["templates"]]
    code, out, err = gz(capsys, "import", files["facts"], *options, "--graph", path)
    assert code == 0, out + err
    return path


def gz(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["graph", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    got, out, err = gz(capsys, *words, "--json")
    assert got == code, out + err
    (line,) = out.splitlines()
    return json.loads(line)


def test_help_needs_neither_numpy_nor_a_graph() -> None:
    program = (
        "import sys; from groundzero.cli.app import main; main(['graph', '--help']);"
        "print(sorted({'numpy', 'torch', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("import", "export", "stats", "query", "path", "edit", "names", "snapshot", "lint", "verbalise"):
        assert f" {command} " in done.stdout


def test_import_says_what_it_did(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", files["facts"], "--labels", files["labels"], "--graph", tmp_path / "g.db"]
    code, out, err = gz(capsys, *words)
    assert code == 0
    assert "facts.txt: 5 rows as tsv, 5 new triples, 4 new entities, 3 new relations, in" in out
    assert "g.db: 5 triples, 4 entities, 3 relations, transaction" in out
    assert "skipped 1: fewer than 3 columns\n    line 6: a bad row\n" in err
    assert "1 x label names for what is not in the graph" in err
    code, out, _ = gz(capsys, *words)
    assert "facts.txt: here already, nothing to add." in out
    payload = as_json(capsys, *words)
    assert (payload["triples"], payload["entities"], payload["relations"]) == (5, 4, 3)
    assert [one["already"] for one in payload["files"]] == [True, False]


def test_import_from_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"Peru\tcapital\tLima\n")))
    payload = as_json(capsys, "import", "-", "--graph", tmp_path / "g.db")
    assert payload["files"][0]["source"] == "standard input"
    assert payload["triples"] == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["gone.tsv"], 3, "No file at gone.tsv."),
        (["FACTS", "--labels", "gone.txt"], 3, "No file at gone.txt."),
        (["FACTS", "--format", "pdf"], 3, "Setting 'format' cannot be 'pdf'"),
        (["FACTS", "--columns", "a,b,c"], 3, "no column is called 'a'"),
        (["LABELS"], 3, "Nothing in"),
        (["FACTS", "FACTS", "--source", "x"], 2, "--source names one file."),
    ],
)
def test_import_refuses(
    words: list[str],
    code: int,
    message: str,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [str({"FACTS": files["facts"], "LABELS": files["labels"]}.get(word, word)) for word in words]
    got, _, err = gz(capsys, "import", *named, "--format", "tsv", "--graph", tmp_path / "g.db") if (
        "LABELS" in words
    ) else gz(capsys, "import", *named, "--graph", tmp_path / "g.db")  # fmt: skip
    assert got == code
    assert message in err


def test_interrupted_imports_say_what_is_kept(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundzero.graph import importing

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "import_names", interrupt)
    code, _, err = gz(capsys, "import", files["facts"], "--labels", files["labels"], "--graph", tmp_path / "g.db")
    assert code == 130
    assert "g.db holds 5 triples; give the same command again to go on." in err


def test_stats(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = as_json(capsys, "stats", "--graph", db, "--relations")
    assert (payload["triples"], payload["entities"], payload["relations"]) == (5, 4, 3)
    assert [(row["label"], row["statements"]) for row in payload["by_relation"]] == [
        ("capital", 2), ("shares border with", 2), ("population", 1),
    ]  # fmt: skip
    code, out, _ = gz(capsys, "stats", "--graph", db, "--relations")
    assert code == 0
    assert "shares border with" in out
    assert as_json(capsys, "stats", "--graph", db, "--at", 0)["triples"] == 0


def test_query_by_every_end(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def found(*words: object) -> list[str]:
        rows = as_json(capsys, "query", "--graph", db, *words)["statements"]
        return [f"{row['subject']} {row['relation']} {row['object']}" for row in rows]

    assert found("Peru", "capital") == ["Peru capital Lima"]
    assert found("?", "capital", "Santiago") == ["Chile capital Santiago"]
    assert found("?", "P36") == ["Peru capital Lima", "Chile capital Santiago"]
    assert found("Q419", "?", "33000000") == found("?", "?", "33000000") == ["Peru population 33000000"]
    assert found("peru", "?", "chile") == ["Peru shares border with Chile"]
    assert len(found()) == 5
    assert found("?", "?", "?", "--limit", 2) == found()[:2]
    code, out, err = gz(capsys, "query", "--graph", db, "Lima", "capital")
    assert (code, out, err) == (0, "", "Nothing matches.\n")
    code, out, err = gz(capsys, "query", "--graph", db, "--limit", 1)
    assert "Peru" in out
    assert "There are more" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "Peruu"], "No entity is called 'Peruu'. Did you mean Peru (Q419)?"),
        (["query", "Peru", "capitol"], "No relation is called 'capitol'. Did you mean 'capital'?"),
        (["query", "--at", "99"], "There is no transaction 99"),
        (["path", "Peru", "Atlantis"], "No entity is called 'Atlantis'."),
        (["edit", "Peru", "capital", "Atlantis"], "--new makes one."),
        (["edit", "Peru", "motto", "Firme"], "--new makes one."),
        (["edit", "Peru", "capital", "Chile", "--retire"], "The graph does not say Peru capital"),
        (
            ["edit", "Peru", "capital", "Chile", "--replace", "Santiago"],
            "The graph does not say Peru capital Santiago.",
        ),
        (["names", "Peru", "--retire", "Inca land"], "It has no alias 'Inca land'."),
        (["export", "--out", "facts.xyz"], "The name facts.xyz does not say which format."),
        (["export", "--out", "gone/facts.nt"], "Cannot write gone/facts.nt"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(
    words: list[str], message: str, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = gz(capsys, *words, "--graph", db)
    assert (code, out) == (3, "")
    assert message in err
    error = as_json(capsys, *words, "--graph", db, code=3)["error"]
    assert message in f"{error['message']} {error['remedy']}"


@pytest.mark.parametrize(
    "words",
    [
        ["edit", "Peru", "capital", "Lima", "--add", "--retire"],
        ["names", "Peru", "--add", "x", "--at", "1"],
        ["names", "Peru", "--add", "x", "--kind", "template"],
        ["export", "--out", "-"],
        ["export", "--out", "x.nt", "--format", "pdf"],
        ["lint", "--only", "spelling"],
        ["verbalise", "--kinds", "poem"],
        ["verbalise", "--json"],
        ["verbalise", "--out", "x.pdf"],
    ],
)
def test_options_that_cannot_be_meant(words: list[str], db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = gz(capsys, *words, "--graph", db)
    assert code == 2, err


def test_a_graph_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("stats", "query", "lint", "verbalise"):
        code, _, err = gz(capsys, command, "--graph", tmp_path / "gone.db")
        assert code == 3
        assert "gone.db" in err


def test_paths(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gz(capsys, "path", "Lima", "Santiago", "--graph", db)
    assert code == 0
    assert "Lima <-capital- Peru -shares border with-> Chile -capital-> Santiago" in out
    payload = as_json(capsys, "path", "Lima", "Chile", "--graph", db)
    assert [(step["from"], step["relation"], step["to"], step["inverse"]) for step in payload["paths"][0]] == [
        ("Lima", "capital", "Peru", True), ("Peru", "shares border with", "Chile", False),
    ]  # fmt: skip
    code, out, err = gz(capsys, "path", "Lima", "Santiago", "--graph", db, "--max-hops", 2)
    assert (code, out) == (4, "")
    assert "No path of 2 hops or fewer" in err


def test_an_edit_retires_and_adds_and_the_past_stays(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = as_json(capsys, "snapshot", "--graph", db)["transaction"]
    payload = as_json(capsys, "edit", "Peru", "capital", "Santiago", "--graph", db)
    (old,), (new,) = payload["retired"], payload["added"]
    assert (old["object"], old["retired"]) == ("Lima", before + 1)
    assert (new["object"], new["added"], new["source"]) == ("Santiago", before + 1, "gz graph edit")
    for at, capital in (((), "Santiago"), (("--at", before), "Lima")):
        (row,) = as_json(capsys, "query", "Peru", "capital", "--graph", db, *at)["statements"]
        assert row["object"] == capital
    code, out, err = gz(capsys, "edit", "Peru", "capital", "Lima", "--graph", db)
    assert code == 0
    assert f"- [{new['id']}] Peru  capital  Santiago\n+ [" in out
    assert "Transaction" in err


def test_edits_of_relations_with_many_objects_must_say_which(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "edit", "Peru", "P47", "Bolivia", "--add", "--new", "--graph", db)["retired"] == []
    code, _, err = gz(capsys, "edit", "Peru", "P47", "Lima", "--graph", db)
    assert code == 3
    assert "Peru shares border with has 2 answers. Say --add" in err
    payload = as_json(capsys, "edit", "Peru", "P47", "Lima", "--replace", "Bolivia", "--graph", db)
    assert [row["object"] for row in payload["retired"]] == ["Bolivia"]
    payload = as_json(capsys, "edit", "Peru", "P47", "Lima", "--retire", "--graph", db)
    assert (len(payload["retired"]), payload["added"]) == (1, [])


def test_edits_of_values(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = as_json(capsys, "edit", "Peru", "population", "34000000", "--graph", db, "--valid-from", "2024")
    assert [row["object"] for row in payload["retired"]] == ["33000000"]
    (new,) = payload["added"]
    assert (new["object"], new["datatype"], new["valid_from"]) == ("34000000", "integer", "2024")
    assert len(as_json(capsys, "edit", "Peru", "population", "34000000", "--retire", "--graph", db)["retired"]) == 1
    added = as_json(capsys, "edit", "Peru", "motto", "Firme", "--literal", "string", "--new", "--graph", db)["added"]
    assert (added[0]["object"], added[0]["object_key"]) == ("Firme", None)


def test_types_follow_edits_of_what_a_thing_is(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def types() -> list[str]:
        names = as_json(capsys, "names", "Peru", "--graph", db)["names"]
        return [name["text"] for name in names if name["kind"] == "type"]

    as_json(capsys, "edit", "Peru", "instance of", "kingdom", "--new", "--graph", db)
    assert types() == ["kingdom"]
    as_json(capsys, "edit", "Chile", "instance of", "republic", "--new", "--graph", db)
    as_json(capsys, "edit", "Peru", "instance of", "republic", "--graph", db)
    assert types() == ["republic"]


def test_an_edit_may_insist_that_nothing_changed(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = as_json(capsys, "snapshot", "--graph", db)["transaction"]
    as_json(capsys, "edit", "Peru", "capital", "Santiago", "--graph", db, "--at", before)
    code, _, err = gz(capsys, "edit", "Peru", "capital", "Lima", "--graph", db, "--at", before)
    assert code == 3
    assert f"The graph has changed here since transaction {before}." in err


def test_names_are_given_retired_and_looked_up(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = as_json(capsys, "names", "Peru", "--add", "Republic of Peru", "--graph", db)
    assert [(name["kind"], name["text"]) for name in payload["names"]] == [
        ("label", "Peru"),
        ("alias", "Republic of Peru"),
    ]
    assert as_json(capsys, "query", "republic of peru", "P36", "--graph", db)["statements"]
    as_json(capsys, "names", "Peru", "--retire", "Republic of Peru", "--graph", db)
    as_json(capsys, "names", "capital", "--relation", "--add", "seat", "--graph", db)
    assert as_json(capsys, "query", "Peru", "seat", "--graph", db)["statements"]
    near = as_json(capsys, "names", "Perru", "--graph", db)["near"]
    assert [each["label"] for each in near] == ["Peru"]


def test_exports_and_snapshots(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jsonl", "a.nq.gz", "a.ttl", "a.tsv"):
        payload = as_json(capsys, "export", "--graph", db, "--out", tmp_path / name)
        assert payload["statements"] == 5
        again = as_json(capsys, "import", tmp_path / name, "--graph", tmp_path / f"{name}.db")
        assert again["triples"] == 5
    code, _, err = gz(capsys, "export", "--graph", db, "--out", tmp_path / "p.tsv", "--plain", "--use-labels")
    assert (code, (tmp_path / "p.tsv").read_text(encoding="utf-8").split("\n")[0]) == (0, "Peru\tcapital\tLima")
    assert "Left out 1 statements: literals" in err
    before = as_json(capsys, "snapshot", "--graph", db)["transaction"]
    as_json(capsys, "edit", "Peru", "capital", "Santiago", "--graph", db)
    as_json(capsys, "snapshot", "--graph", db, "--at", before, "--out", tmp_path / "old.db")
    assert (
        as_json(capsys, "query", "Peru", "capital", "--graph", tmp_path / "old.db")["statements"][0]["object"] == "Lima"
    )
    code, _, _ = gz(capsys, "snapshot", "--graph", db, "--out", tmp_path / "now.nt")
    assert (code, (tmp_path / "now.nt").exists()) == (0, True)


def test_export_to_standard_output(db: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "groundzero",
        "graph",
        "export",
        "--graph",
        str(db),
        "--out",
        "-",
        "--format",
        "tsv",
    ]
    done = subprocess.run([*command, "--plain"], capture_output=True, check=True)
    assert done.stdout.splitlines()[0] == b"Q419\tP36\tQ2868"


def test_lint_and_quarantine(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gz(capsys, "lint", "--graph", db)
    assert (code, out) == (0, "Nothing found.\n")
    store = open_store(db)
    with store.writer() as writer:
        capital = store.find_relation("P36") or 0
        source = writer.add_source("census")
        ids = [writer.add_entity(f"land {i}") for i in range(120)]
        writer.add_triples([(id_, capital, ids[-1 - i]) for i, id_ in enumerate(ids)], source=source)
        writer.add_statement(store.find_entity("Q419") or 0, capital, ids[0], source=writer.add_source("rumour"))
    store.close()
    payload = as_json(capsys, "lint", "--graph", db, "--only", "contradiction")
    assert payload["counts"] == {"contradiction": 1}
    (finding,) = payload["findings"]
    assert len(finding["quarantine"]) == 2
    assert "rumour" in finding["sources"]
    code, out, err = gz(capsys, "lint", "--graph", db)
    assert "Peru (Q419) has 2 objects of capital" in out
    assert "--quarantine would set the facts of 1 contradictions aside." in err
    assert len(as_json(capsys, "lint", "--graph", db, "--quarantine")["quarantined"]) == 2
    rows = as_json(capsys, "query", "--graph", db, "--quarantined")["statements"]
    assert {row["object_key"] for row in rows} == {"Q2868", "land 0"}
    assert as_json(capsys, "query", "Peru", "capital", "--graph", db)["statements"] == []


def test_verbalise(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gz(capsys, "verbalise", "--graph", db, "--kinds", "sentence", "--limit", 1)
    assert (code, out) == (0, "The capital of Peru is Lima.\n")
    for name in ("v.jsonl.gz", "v.tsv", "v.txt"):
        payload = as_json(capsys, "verbalise", "--graph", db, "--out", tmp_path / name)
        assert payload["rows"] == sum(payload["kinds"].values()) > 20
    rows = (tmp_path / "v.tsv").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith("question\tWhat is the capital of Peru?\tLima\t") for row in rows)
    assert "What is the capital of Peru? Lima" in (tmp_path / "v.txt").read_text(encoding="utf-8")


def test_nothing_is_left_open_for_others(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_json(capsys, "edit", "Peru", "capital", "Santiago", "--graph", db)
    db.rename(db.with_name("moved.db"))
    assert as_json(capsys, "stats", "--graph", db.with_name("moved.db"))["triples"] == 5
