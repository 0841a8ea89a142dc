"""`gz tokenizer`: results on stdout, one JSON object with --json, a line and an exit code for every mistake."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from groundzero.cli.app import main
from groundzero.tokenizer import Tokenizer

TEXT = "To be, or not to be, that is the question: 1984\n" * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a bpe tokenizer in a folder of its own, and a char tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizers")
    (folder / "book.txt").write_text(TEXT, encoding="utf-8")
    for kind, out in (("bpe", "run"), ("char", "char.json")):
        words = ["--text", str(folder / "book.txt"), "--out", str(folder / out), "--kind", kind, "--vocab-size", "340"]
        assert main(["tokenizer", "train", *words]) == 0
    return folder


def gz(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    """The JSON object that a command prints."""
    capsys.readouterr()
    code = main(["tokenizer", *map(str, words), "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1, out
    return {"exit_code": code, **json.loads(out)}


def test_train_writes_a_tokenizer_and_says_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = gz(capsys, "train", "--text", folder / "book.txt", "--out", folder / "new.json", "--vocab-size", 330)
    tokenizer = Tokenizer.load(folder / "new.json")
    assert said["exit_code"] == 0
    assert said["vocab_size"] == tokenizer.vocab_size == 330
    assert (said["kind"], said["pattern"], said["llama_cpp"]) == ("bpe", "qwen2", "qwen2")
    assert said["fingerprint"] == tokenizer.fingerprint
    assert said["characters"] == len(TEXT)


def test_train_reads_folders_and_standard_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "book.txt").write_text(TEXT, encoding="utf-8")
    gz(capsys, "train", "--text", tmp_path / "texts", "--out", tmp_path / "a.json", "--vocab-size", 340)
    stdin = io.TextIOWrapper(io.BytesIO(TEXT.encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    gz(capsys, "train", "--text", "-", "--out", tmp_path / "b.json", "--vocab-size", 340)
    assert Tokenizer.load(tmp_path / "a.json") == Tokenizer.load(folder / "run" / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "b.json") == Tokenizer.load(tmp_path / "a.json")


def test_train_keeps_what_is_there_unless_told_otherwise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train", "--text", folder / "book.txt", "--out", folder / "char.json", "--kind", "char")
    refused = gz(capsys, *words)
    assert refused["exit_code"] == 3
    assert "char.json exists already" in refused["error"]["message"]  # type: ignore[index]
    assert gz(capsys, *words, "--overwrite")["exit_code"] == 0


def test_encode_and_decode_are_inverse(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = gz(capsys, "encode", "--run", folder / "run", "To be 1984")["ids"]
    assert isinstance(ids, list)
    assert gz(capsys, "decode", "--run", folder / "run", *ids)["text"] == "To be 1984"
    assert gz(capsys, "decode", "--tokenizer", folder / "run", json.dumps(ids))["text"] == "To be 1984"
    assert main(["tokenizer", "encode", "--run", str(folder / "run"), "To be 1984"]) == 0
    assert capsys.readouterr().out.split() == [str(token) for token in ids]


def test_control_tokens_only_when_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = gz(capsys, "encode", "--run", folder / "run", "be<EOS>")
    asked = gz(capsys, "encode", "--run", folder / "run", "be<EOS>", "--control")
    assert 3 not in plain["ids"]  # type: ignore[operator]
    assert asked["ids"][-1] == 3  # type: ignore[index]
    ids = asked["ids"]
    assert gz(capsys, "decode", "--run", folder / "run", *ids, "--keep-control")["text"] == "be<EOS>"  # type: ignore[misc]
    assert gz(capsys, "decode", "--run", folder / "run", *ids)["text"] == "be"  # type: ignore[misc]


def test_any_bytes_pass_through_a_pipe(folder: Path) -> None:
    data = bytes(range(256)) + "é🙂".encode() + b"\xff\xfe"
    gz = [sys.executable, "-m", "groundzero", "tokenizer"]
    where = ["--run", str(folder / "run"), "-"]
    ids = subprocess.run([*gz, "encode", *where], input=data, capture_output=True, check=True)
    back = subprocess.run([*gz, "decode", *where], input=ids.stdout, capture_output=True, check=True)
    assert back.stdout == data
    assert b"\x1b" not in ids.stdout + ids.stderr


def test_inspect_shows_tokens_compression_and_difference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "inspect",
        "--run",
        folder / "run",
        "--text",
        folder / "book.txt",
        "--compare",
        folder / "char.json",
        "be é",
    )
    said = gz(capsys, *words)
    assert said["compression"]["bytes"] == len(TEXT.encode())  # type: ignore[index]
    assert said["compression"]["bytes_per_token"] > 1.5  # type: ignore[index]
    assert b"".join(bytes.fromhex(token["bytes"]) for token in said["tokens"]) == "be é".encode()  # type: ignore[attr-defined]
    comparison = said["comparison"]
    assert comparison["identical"] is False  # type: ignore[index]
    assert comparison["other"]["compression"]["bytes_per_token"] == 1  # type: ignore[index]
    assert comparison["shared_tokens"] == len(set(TEXT))  # type: ignore[index]
    assert main(["tokenizer", *map(str, words)]) == 0
    shown = capsys.readouterr().out
    assert "bytes per token" in shown
    assert r"\xc3" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["encode", "text"], 2, "Name one tokenizer"),
        (["encode", "--run", "RUN", "--tokenizer", "RUN", "text"], 2, "Name one tokenizer"),
        (["encode", "--tokenizer", "none.json", "text"], 3, "No tokenizer at none.json"),
        (["encode", "--run", "none", "text"], 3, "No tokenizer at none"),
        (["decode", "--run", "RUN", "12", "x"], 3, "'x' is not an id"),
        (["decode", "--run", "RUN", "999999"], 3, "Id 999999 is not in this tokenizer"),
        (["inspect", "--run", "RUN", "--compare", "none.json"], 3, "none.json"),
        (["inspect", "--run", "RUN", "--text", "none.txt"], 3, "none.txt"),
        (["train", "--text", "none.txt", "--out", "new.json"], 3, "none.txt"),
        (["train", "--text", "TEXT", "--out", "new.json", "--vocab-size", "100"], 3, "100"),
        (["train", "--text", "TEXT", "--out", "new.json", "--pattern", "gpt9"], 3, "gpt9"),
        (["train", "--text", "TEXT", "--out", "new.json", "--kind", "words"], 3, "words"),
        (["train", "--text", "EMPTY", "--out", "new.json"], 3, "empty.txt"),
        (["train", "--text", "BINARY", "--out", "new.json"], 3, "binary"),
        (["train", "--out", "new.json"], 2, "--text"),
        (["polish"], 2, "polish"),
    ],
)
def test_mistakes_get_one_line_and_a_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], code: int, complaint: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("binary.txt").write_bytes(b"\x7fELF\x00\x01")
    places = {"RUN": folder / "run", "TEXT": folder / "book.txt", "EMPTY": "empty.txt", "BINARY": "binary.txt"}
    capsys.readouterr()
    assert main(["tokenizer", *(str(places.get(word, word)) for word in words)]) == code
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert not Path("new.json").exists()


def test_a_damaged_tokenizer_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (folder / "char.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(data.replace('"T"', '"X"'), encoding="utf-8")
    refused = gz(capsys, "encode", "--tokenizer", tmp_path, "text")
    assert refused["exit_code"] == 3
    assert refused["error"]["kind"] == "format"  # type: ignore[index]


def test_importing_the_command_brings_in_nothing_heavy() -> None:
    check = (
        "import sys, groundzero.cli.tokenizer; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'tiktoken')))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
