"""`gz doctor --run` and `gz reference diff`: what they print, their JSON, and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from groundzero.cli.app import main
from groundzero.cli.checkpoint_option import step_of
from groundzero.errors import UsageError

RUN = Path(__file__).parents[1] / "fixtures" / "trained-run-v1"


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """The one JSON object that a command prints."""
    assert main([*(str(word) for word in words), "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    return json.loads(captured.out)


def printed(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert main([str(word) for word in words]) == code
    out = capsys.readouterr().out
    assert "\x1b" not in out
    return out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run to damage."""
    shutil.copytree(RUN, tmp_path / "run")
    return tmp_path / "run"


def test_a_sound_run_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    payload = said(capsys, "doctor", "--run", RUN)
    assert payload["ok"] is True
    assert (payload["step"], payload["family"], payload["failed"], payload["warnings"]) == (400, "qwen3", 0, 0)
    assert payload["passed"] == len(payload["checks"]) == 12
    assert set(payload["checks"][0]) == {"name", "status", "message", "remedy"}
    assert set(payload["shapes"][0]) == {"name", "axes", "shape", "expected", "parameters"}
    assert set(payload["gradients"][0]) == {"block", "stream", "weights", "share"}
    text = printed(capsys, "doctor", "--run", RUN)
    for word in ("attention.weights", "2 x 16 x 16", "3,920", "Causality", "Sound: 12 checks.", "step 400: qwen3"):
        assert word in text


def test_blocks_that_are_alike_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    from groundzero.cli.run_report import _alike
    from groundzero.evaluate.network import LayerShape

    def row(name: str, width: int = 4) -> LayerShape:
        return LayerShape(name, "T D", (3, width), (3, width), width)

    rows = [row("embedding"), *(row(f"blocks.{i}.{part}") for i in range(12) for part in ("a", "b.c")), row("logits")]
    assert [(title, count, len(members)) for title, count, members in _alike(rows)] == [
        ("", 1, 1),
        ("blocks.0 to 11, each", 12, 2),
        ("", 1, 1),
    ]
    rows[5] = row(rows[5].name, width=5)
    assert [title for title, _, _ in _alike(rows)] == [
        "",
        "blocks.0 to 1, each",
        "blocks.2",
        "blocks.3 to 11, each",
        "",
    ]


def test_a_damaged_run_exits_1_and_says_what_to_do(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = run / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    payload = said(capsys, "doctor", "--run", run, code=1)
    assert payload["ok"] is False
    assert payload["failed"] == 2
    assert payload["step"] is None
    text = printed(capsys, "doctor", "--run", run, code=1)
    assert "failed" in text
    assert "tokenizer.json was altered" in text
    assert "Restore it from a copy" in text
    assert "2 of 5 checks failed." in text


def test_the_doctor_refuses_what_is_no_run_and_no_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "doctor", "--run", tmp_path / "absent", code=3)["error"]["kind"] == "input"
    assert said(capsys, "doctor", "--run", RUN, "--checkpoint", "newest", code=2)["error"]["kind"] == "usage"
    assert "step-N" in said(capsys, "doctor", "--run", RUN, "--checkpoint-step", "x", code=2)["error"]["remedy"]
    assert (
        "checkpoint of step 9"
        in said(capsys, "doctor", "--run", RUN, "--checkpoint", "step-9", code=1)["checks"][-1]["message"]
    )


def test_diff_of_a_sound_run_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-9)):
        payload = said(capsys, "reference", "diff", RUN, "--prompt", "one two", "--dtype", dtype)
        assert payload["ok"] is True
        assert payload["first"] is None
        assert payload["parameters_apart"] == []
        assert payload["tolerance"] == tolerance
        assert max(layer["relative"] for layer in payload["layers"]) < tolerance / 10
        assert payload["next_tokens"]["numpy"] == payload["next_tokens"]["pytorch"]
    text = printed(capsys, "reference", "diff", RUN, "--prompt", "one two", "--checkpoint", "step-400")
    for word in ("qwen3 on 8 tokens in float32", "<BOS> o n e ␣ t w o", "blocks.0", "query_ready", "equal bit for bit"):
        assert word in text
    assert "First beyond" not in text
    assert "The layers agree: " in text


def test_diff_of_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("reference", "diff", RUN, "--prompt", "one two", "--gradients")
    payload = said(capsys, *words)
    assert [each["name"] for each in payload["gradients"]][-1] == "embedding.weight"
    assert len(payload["gradients"]) == payload["parameters"]
    text = printed(capsys, *words)
    assert "Gradient " in text
    assert "The layers and gradients agree: " in text
    assert said(capsys, *words[:-1])["gradients"] == []


def test_diff_beyond_the_tolerance_exits_1_and_names_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    payload = said(capsys, "reference", "diff", RUN, "-p", "one two", "--tolerance", "1e-12", code=1)
    assert payload["first"]["name"] == "blocks.0.attention_norm"
    assert set(payload["first"]["first"]["at"]) == {"token", "unit"}
    text = printed(capsys, "reference", "diff", RUN, "-p", "one two", "--tolerance", "1e-12", code=1)
    assert "First beyond the tolerance" in text
    assert "NumPy " in text
    assert "First beyond the tolerance: blocks.0.attention_norm, token " in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_names_stay_whole_on_a_narrow_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for options, code in (([], 0), (["--tolerance", "1e-12"], 1)):
        text = printed(capsys, "reference", "diff", RUN, "-p", "one two", *options, code=code)
        assert "  attention.query_ready  " in text
        assert "  feed_forward.hidden  " in text
        assert max(map(len, text.splitlines())) <= width
        assert ("token 0" in text) == bool(options)


def test_diff_says_what_it_cut_and_what_it_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "diff", str(RUN), "--prompt", "one two three four five"]) == 0
    captured = capsys.readouterr()
    assert "the last 8 of the prompt are left out" in captured.err
    assert "the prompt fills the context" in captured.out
    for words in (["--dtype", "bfloat16"], ["--tolerance", "-1"], ["--checkpoint", "first"], ["--max-tokens", "-1"]):
        error = said(capsys, "reference", "diff", RUN, "--prompt", "one", *words, code=2)["error"]
        assert words[0] in error["message"]
    assert said(capsys, "reference", "diff", RUN, code=2)["error"]["kind"] == "usage"
    assert said(capsys, "reference", "diff", RUN / "absent", "--prompt", "one", code=3)["error"]["kind"] == "input"


@pytest.mark.parametrize(("word", "step"), [("best", "best"), ("latest", "latest"), ("step-12", 12), ("12", 12)])
def test_checkpoints_are_named_as_they_lie_on_the_disk(word: str, step: Any) -> None:
    assert step_of(word) == step


@pytest.mark.parametrize("word", ["", "step-", "step-x", "-1", "1.5", "²", "BEST"])
def test_other_words_name_no_checkpoint(word: str) -> None:
    with pytest.raises(UsageError, match="--checkpoint cannot be"):
        step_of(word)
