"""`gz data`: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groundzero.cli.app import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDZERO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("It was a dark and stormy night; the rain fell in torrents.\n" * 40, encoding="utf-8")
    return path


def gz(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    got, out, err = gz(capsys, *words, "--json")
    assert got == code, out + err
    assert out.count("\n") == 1
    return json.loads(out)


def test_prepare_info_and_names(capsys: pytest.CaptureFixture[str], book: Path, tmp_path: Path) -> None:
    prepared = as_json(capsys, "prepare", book, "--out", tmp_path / "set", "--tokenizer", "char", "--name", "night")
    size = len(book.read_bytes())
    assert prepared["name"] == "night"
    assert prepared["train"]["text_tokens"] + prepared["validation"]["text_tokens"] == size
    assert prepared["train"]["text_tokens"] == int(size * 0.9)
    assert prepared["tokenizer"]["kind"] == "char"
    info = as_json(capsys, "info", "night")
    assert info == {key: value for key, value in prepared.items() if key != "name"} | {"path": info["path"]}
    assert as_json(capsys, "info", tmp_path / "set", "--verify")["train"] == prepared["train"]
    assert as_json(capsys, "add", "text", book)["kind"] == "text"
    assert as_json(capsys, "info", "text") == {"path": str(book), "kind": "text", "files": 1, "bytes": size}
    assert as_json(capsys, "use", "night")["name"] == "night"
    listed = as_json(capsys, "list")
    assert [entry["name"] for entry in listed["datasets"]] == ["night", "text"]
    assert listed["default"] == "night"
    assert as_json(capsys, "remove", "night") == {"removed": "night"}
    assert as_json(capsys, "list")["default"] is None
    assert (tmp_path / "set" / "manifest.json").exists()


def test_for_people(capsys: pytest.CaptureFixture[str], book: Path, tmp_path: Path) -> None:
    code, out, err = gz(capsys, "prepare", book, "--out", tmp_path / "set", "--vocab-size", 400)
    assert code == 0
    assert "validation" in out
    assert "Tokenizer: bpe" in out
    assert "Training a bpe tokenizer" in err
    assert "\x1b" not in out + err
    commands: list[tuple[object, ...]] = [
        ("add", "book", book),
        ("use", "book"),
        ("list",),
        ("info", "book"),
        ("info", tmp_path / "set"),
        ("doctor", "book", "--model-size", "nano"),
        ("doctor", tmp_path / "set"),
        ("remove", "book"),
        ("list",),
    ]
    for words in commands:
        code, out, err = gz(capsys, *words)
        assert code == 0
        assert out or err


def test_a_tokenizer_is_taken_from_a_file_or_a_folder(
    capsys: pytest.CaptureFixture[str], book: Path, tmp_path: Path
) -> None:
    first = as_json(capsys, "prepare", book, "--out", tmp_path / "one", "--tokenizer", "char")
    for place in (tmp_path / "one", tmp_path / "one" / "tokenizer.json"):
        again = as_json(capsys, "prepare", book, "--out", tmp_path / "two", "--tokenizer", place, "--overwrite")
        assert again["tokenizer"] == first["tokenizer"]


def test_standard_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'{"body": "one"}\n{"body": "two"}\n'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
    words = ("-", "--out", tmp_path / "set", "--tokenizer", "char", "--format", "jsonl", "--text-field", "body")
    words += ("--split", "document")
    prepared = as_json(capsys, "prepare", *words)
    assert prepared["train"]["documents"] == prepared["validation"]["documents"] == 1


def test_what_was_left_out_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "one"}\nrubbish\n{"text": "two"}\n', encoding="utf-8")
    code, out, err = gz(capsys, "prepare", lines, "--out", tmp_path / "set", "--tokenizer", "char")
    assert code == 3
    assert "a.jsonl line 2 is not JSON" in err
    code, out, err = gz(capsys, "prepare", lines, "--out", tmp_path / "set", "--tokenizer", "char", "--skip-bad")
    assert code == 0
    assert "Left out: " in err
    assert "line 2" in err
    assert "Left out" not in out


@pytest.mark.parametrize(
    ("words", "code", "kind", "message"),
    [
        (("prepare", "nowhere.txt", "--out", "x"), 3, "input", "No file or folder at nowhere.txt"),
        (("prepare", "BOOK"), 2, "usage", "--out"),
        (("prepare", "BOOK", "--out", "BOOK"), 3, "storage", "already exists"),
        (("prepare", "BOOK", "--out", "x", "--tokenizer", "nowhere.json"), 3, "input", "nowhere.json"),
        (("prepare", "BOOK", "--out", "x", "--validation-fraction", "1.5"), 3, "config", "validation_fraction"),
        (("prepare", "BOOK", "--out", "x", "--split", "sideways"), 3, "config", "split"),
        (("prepare", "BOOK", "--out", "x", "--encoding", "klingon"), 3, "config", "encoding"),
        (("prepare", "BOOK", "--out", "x", "--vocab-size", "5"), 3, "config", "vocab_size"),
        (("prepare", "BOOK", "--out", "x", "--name", "../x"), 2, "usage", "cannot name a dataset"),
        (("prepare", "EMPTY", "--out", "x"), 3, "input", "has no text"),
        (("prepare", "BINARY", "--out", "x"), 3, "input", "looks binary"),
        (("info", "nothing"), 3, "input", "no dataset named 'nothing'"),
        (("info", "some/where"), 3, "input", "No dataset at some/where"),
        (("add", "NAME!", "BOOK"), 2, "usage", "cannot name"),
        (("use", "nothing"), 3, "input", "nothing"),
        (("remove", "nothing"), 3, "input", "nothing"),
        (("doctor", "nothing"), 3, "input", "nothing"),
        (("doctor", "BOOK", "--model-size", "huge"), 3, "config", "huge"),
        (("doctor", "BOOK", "--model-size", "-5"), 2, "usage", "-5"),
        (("doctor", "BOOK", "--tokenizer", "nowhere.json"), 3, "input", "nowhere.json"),
        (("download", "http://example.org/a.txt"), 2, "usage", "https"),
        (("download", "shakespeare", "--name", "Not A Name"), 2, "usage", "cannot name"),
        (("download", "shakespeare", "--out", "BOOK"), 3, "storage", "already exists"),
        (("fetch",), 2, "usage", "fetch"),
    ],
)  # fmt: skip
def test_errors(
    words: tuple[str, ...], code: int, kind: str, message: str,
    capsys: pytest.CaptureFixture[str], book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary.txt").write_bytes(b"\0\1")
    places = {"BOOK": str(book), "EMPTY": "empty.txt", "BINARY": "binary.txt"}
    words = tuple(places.get(word, word) for word in words)
    error = as_json(capsys, *words, code=code)["error"]
    assert error["kind"] == kind
    assert message in error["message"]
    assert error["remedy"]
    got, out, err = gz(capsys, *words)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_download(
    capsys: pytest.CaptureFixture[str], book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundzero.data.download._open", lambda url: io.BytesIO(book.read_bytes()))
    words = ("download", "https://example.org/b.txt", "--out", tmp_path / "b.txt", "--name", "fetched")
    got = as_json(capsys, *words)
    assert got["bytes"] == len(book.read_bytes())
    assert as_json(capsys, "info", "fetched")["bytes"] == got["bytes"]
    code, out, _ = gz(capsys, *words, "--overwrite")
    assert code == 0
    assert got["sha256"] in out


def test_doctor_exits_0_with_its_findings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    report = as_json(capsys, "doctor", tmp_path / "a.txt")
    assert report["counts"]["error"] >= 1
    assert {"severity", "check", "message", "remedy", "count", "examples"} == set(report["findings"][0])
    code, out, _ = gz(capsys, "doctor", tmp_path / "a.txt")
    assert code == 0
    assert "not utf-8" in out


def test_doctor_knows_tokenizers_and_sizes(capsys: pytest.CaptureFixture[str], book: Path, tmp_path: Path) -> None:
    as_json(capsys, "prepare", book, "--out", tmp_path / "set", "--tokenizer", "char")
    report = as_json(capsys, "doctor", book, "--tokenizer", tmp_path / "set", "--model-size", "10M")
    assert report["tokens"] == len(book.read_bytes())
    assert any("10,000,000 parameters" in finding["message"] for finding in report["findings"])
    report = as_json(capsys, "doctor", tmp_path / "set", "--model-size", "nano")
    assert report["kind"] == "tokens"


@pytest.mark.skipif(os.name != "posix", reason="no such limit elsewhere")
def test_a_full_disk(book: Path, tmp_path: Path) -> None:
    """A real refusal by the system: no file may grow beyond 2 KB."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048));"
        "from groundzero.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["data", "prepare", str(book), "--out", str(tmp_path / "set"), "--tokenizer", "char", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "storage"
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"book.txt", "home"}


def test_nothing_of_this_needs_pytorch(book: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from groundzero.cli.app import main; code = main(sys.argv[1:]);"
        "sys.exit(code or 99 * ('torch' in sys.modules))"
    )
    for words in (["prepare", str(book), "--out", str(tmp_path / "set"), "--tokenizer", "char"], ["--help"]):
        done = subprocess.run([sys.executable, "-c", code, "data", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
