"""`gz build`: the plan, the result, going on, and every refusal a line and a code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from groundzero.cli.app import main
from groundzero.cli.building import BuildDisplay

SETS = [
    word
    for setting in (
        "model.d_model=32", "model.n_layer=1", "model.n_head=2", "tokenizer.vocab_size=512", "train.steps=2",
        "train.batch_size=2", "train.precision=float32", "train.sample_tokens=0", "train.evaluate_tokens=256",
        "tuning.steps=2", "tuning.batch_size=4", "tuning.precision=float32", "tuning.sample_tokens=0",
        "ground.validation_lessons=8", "embed.epochs=1", "embed.dim=8", "exam.questions=2",
        'exam.sections=["answers"]',
    )
    for word in ("--set", setting)
]  # fmt: skip
SMALL = [*SETS, "--device", "cpu"]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text and a table in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("The cat sat on the mat. The dog sat on the log.\n" * 80, encoding="utf-8")
    rows = [f"Country{n}\tcapital\tCity{n}\nCity{n}\tmayor\tPerson{n}\n" for n in range(30)]
    Path("facts.tsv").write_text("subject\trelation\tobject\n" + "".join(rows), encoding="utf-8")
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], words: Sequence[str], code: int = 0) -> dict[str, Any]:
    assert main(["build", *words, "--json"]) == code
    [line] = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_plan_says_what_it_will_be_and_writes_nothing(inputs, capsys):
    before = sorted(inputs.rglob("*"))
    plan = run_json(capsys, ["--text", "book.txt", "--graph", "facts.tsv", "--plan", "--minutes", "7", *SMALL])["plan"]
    assert plan["minutes"] == 7
    assert set(plan) >= {"parameters", "memory_bytes", "text_tokens", "tokens_per_second", "seconds", "disk_bytes"}
    assert list(plan["seconds"]) == ["graph", "text", "pretrain", "embed", "ground", "exam", "report"]
    assert main(["build", "--text", "book.txt", "--plan", *SMALL]) == 0
    out, err = capsys.readouterr()
    for told in ("parameters", "tokens/s", "memory", "pretrain", "in all"):
        assert told in out
    assert "\x1b" not in out + err
    assert sorted(inputs.rglob("*")) == before


def test_a_build_stopped_goes_on_with_the_run_alone_and_is_asked(inputs, capsys, monkeypatch):
    def impatient(self, step, record):
        raise KeyboardInterrupt

    words = ["--text", "book.txt", "--graph", "facts.tsv", "--out", "run", *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(BuildDisplay, "stepped", impatient)
        assert main(["build", *words]) == 130
    out, err = capsys.readouterr()
    assert "Go on with: gz build --out run" in err
    assert "Plan for" in err and "[1/7] graph" in err
    result = run_json(capsys, ["--out", "run"])
    assert not result["interrupted"]
    assert list(result["stages"]) == ["graph", "text", "pretrain", "embed", "ground", "exam", "report"]
    Path("book.txt").unlink()
    Path("facts.tsv").unlink()
    assert main(["ask", "What is the capital of Country3?", "--run", "run"]) == 0
    assert "City3" in capsys.readouterr().out
    assert main(["build", *words]) == 0  # the same again: finished, and told again
    out, err = capsys.readouterr()
    assert "gz ask" in out and "report.html" in out
    assert run_json(capsys, ["--out", "run", "--minutes", "3"], code=2)["error"]["remedy"]


def test_piped_text_is_kept_in_the_run(inputs, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"A line of text.\n" * 200), encoding="utf-8"))
    result = run_json(capsys, ["--text", "-", "--out", "run", *SMALL])
    assert Path("run/corpus.txt").read_bytes() == b"A line of text.\n" * 200
    assert list(result["stages"]) == ["text", "pretrain", "report"]


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ([], 2, "nothing to build from"),
        (["--plan"], 2, "nothing to build from"),
        (["--resume"], 2, "--resume"),
        (["--resume", "--out", "nowhere"], 2, "nothing to build from"),
        (["--text", "book.txt", "--minutes", "0"], 2, "--minutes"),
        (["--text", "book.txt", "--seed", "-4"], 2, "--seed"),
        (["--text", "-", "--plan"], 2, "piped"),
        (["--text", "missing.txt"], 3, "missing.txt"),
        (["--text", "book.txt", "--graph", "missing.tsv"], 3, "missing.tsv"),
        (["--text", "hollow"], 3, "hollow"),
        (["--text", "book.txt", "--graph", "hollow.tsv"], 3, "hollow.tsv"),
        (["--text", "book.txt", "--graph", "book.txt", "--out", "x"], 3, "book.txt"),
        (["--text", "book.txt", "--preset", "gigantic"], 3, "gigantic"),
        (["--text", "book.txt", "--set", "modle.d_model=3"], 3, "modle"),
        (["--text", "book.txt", "--out", "book.txt"], 2, "book.txt"),
    ],
)
def test_bad_input_is_one_line_that_names_it(inputs, capsys, words, code, named):
    Path("hollow").mkdir()
    Path("hollow.tsv").write_text("", encoding="utf-8")
    error = run_json(capsys, words, code=code)["error"]
    assert named in error["message"]
    assert error["remedy"]
    assert "\n" not in error["message"]


def test_a_file_that_may_not_be_read_is_told(inputs, capsys, monkeypatch):
    really = Path.open

    def refuse(self, *arguments, **options):
        if self.name == "book.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return really(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    error = run_json(capsys, ["--text", "book.txt", "--out", "run"], code=3)["error"]
    assert "book.txt" in error["message"]
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_real_ctrl_c_in_the_middle(inputs):
    words = [sys.executable, "-m", "groundzero", "build", "--text", "book.txt", "--graph", "facts.tsv", "--out", "run"]
    sets = [*SMALL, "--set", "train.steps=100000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*words, *sets], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        metrics = Path("run/stages/base/metrics.jsonl")
        ends = time.monotonic() + 300
        while not metrics.exists() and time.monotonic() < ends:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Go on with: gz build --out run" in err
    assert json.loads(Path("run/build.json").read_text(encoding="utf-8"))["stages"].keys() == {"graph", "text"}
