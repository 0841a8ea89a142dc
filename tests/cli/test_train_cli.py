"""`gz train`: one object on stdout, remarks on stderr, a code for every end, and stops that lose nothing."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from groundzero.cli.app import main
from groundzero.run import RunDirectory
from groundzero.train.trainer import Trainer

# The keys that DESIGN.md promises to scripts.
STABLE = {
    "run", "steps", "tokens", "train_loss", "val_loss", "val_bpb", "seconds", "tokens_per_second", "mfu",
    "peak_memory_bytes",
}  # fmt: skip
TIMES = {"seconds", "tokens_per_second", "mfu", "memory_bytes"}
SMALL = [
    "--preset", "nano", "--tokenizer", "char", "--device", "cpu", "--precision", "float32", "--compile", "off",
    "--batch-size", "4", "--set", "model.n_layer=1", "--set", "model.d_model=32", "--set", "model.context=16",
    "--set", "model.dropout=0.1", "--set", "train.sample_tokens=3", "--set", "train.log_every=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = random.Random(1)
    path = tmp_path_factory.mktemp("text") / "a text.txt"
    words = ["red", "green", "blue", "one", "two", "three", "and", "or"]
    path.write_text("".join(" ".join(generator.choices(words, k=9)) + ".\n" for _ in range(60)), encoding="utf-8")
    return path


def train(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    assert main(["train", *map(str, words)]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *words: object, code: int) -> dict[str, str]:
    """The error object; the plain form must be one line on stderr that says the same."""
    out, err = train(capsys, *words, code=code)
    assert out == ""
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert line.startswith("Error: ")
    out, _ = train(capsys, *words, "--json", code=code)
    error: dict[str, str] = json.loads(out)["error"]
    assert error["message"] in line
    return error


def test_json_has_the_promised_keys_and_stdout_nothing_else(capsys, text, tmp_path):
    out, err = train(capsys, "--text", text, *SMALL, "--steps", 6, "--out", tmp_path / "run", "--json")
    [line] = out.splitlines()
    result = json.loads(line)
    assert set(result) >= STABLE
    assert (result["run"], result["steps"], result["interrupted"]) == (str(tmp_path / "run"), 6, False)
    assert result["train_loss"] > 0
    assert result["val_bpb"] == pytest.approx(result["val_loss"] / math.log(2), rel=0.01)  # a byte a character
    assert result["peak_memory_bytes"] > 10e6
    assert "validation loss" in err
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert main(["runs", "verify", str(tmp_path / "run"), "--json"]) == 0
    capsys.readouterr()


def test_the_summary_ends_with_a_command_that_works(capsys, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = train(capsys, "--text", text, *SMALL, "--steps", 2, "--out", "my run")
    assert out.splitlines()[0].endswith("my run")
    assert "gz generate --run 'my run' --prompt" in out
    assert main(["generate", "--run", "my run", "--max-tokens", "3"]) == 0
    capsys.readouterr()


def test_metrics_have_their_fields(capsys, text, tmp_path):
    train(capsys, "--text", text, *SMALL, "--steps", 6, "--out", tmp_path / "run")
    records = list(RunDirectory.open(tmp_path / "run").metrics)
    trained = next(record for record in records if "train_loss" in record)
    assert {"step", "tokens", "seconds", "train_loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu",
            "memory_bytes"} <= set(trained)  # fmt: skip
    evaluated = next(record for record in records if "val_loss" in record)
    assert {"val_perplexity", "val_bpb", "val_accuracy"} <= set(evaluated)
    assert any("sample" in record for record in records)


def test_resuming_by_the_command_that_is_printed(capsys, text, tmp_path):
    train(capsys, "--text", text, *SMALL, "--steps", 4, "--out", tmp_path / "run")
    out, err = train(capsys, "--resume", "--out", tmp_path / "run", "--steps", 6, "--json")
    assert json.loads(out)["steps"] == 6
    assert "resuming at step 4 of 6" in err


def test_options_win_over_set_and_set_over_the_file(capsys, text, tmp_path):
    file = tmp_path / "f.toml"
    file.write_text("[train]\nseed = 1\nclip = 2.0\nbatch_size = 3\n", encoding="utf-8")
    train(capsys, "--text", text, "--config", file, *SMALL, "--set", "train.seed=5", "--seed", 7, "--set",
          "train.clip=0.5", "--steps", 1, "--out", tmp_path / "run")  # fmt: skip
    stored = RunDirectory.open(tmp_path / "run").manifest()["config"]["train"]
    assert (stored["seed"], stored["clip"], stored["batch_size"]) == (7, 0.5, 4)


def test_the_ancestors_spellings_train(capsys, text, tmp_path):
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"n_layer": 1, "n_embd": 32, "n_head": 2, "block_size": 16}), encoding="utf-8")
    out, _ = train(capsys, "--text", text, "--config", file, "--tokenizer", "char", "--device", "cpu", "--batch_size",
                   "4", "--learning_rate", "1e-3", "--steps", 1, "--out", tmp_path / "run", "--json")  # fmt: skip
    model = RunDirectory.open(json.loads(out)["run"]).manifest()["config"]["model"]
    assert (model["n_layer"], model["d_model"], model["context"]) == (1, 32, 16)


def test_without_out_each_run_gets_a_place_of_its_own(capsys, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [json.loads(train(capsys, "--text", text, *SMALL, "--steps", 1, "--json")[0])["run"] for _ in range(2)]
    assert len(set(runs)) == 2
    assert all(Path(run).parent == Path("runs") for run in runs)


def test_text_from_standard_input(text, tmp_path):
    with text.open("rb") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "groundzero", "train", "--text", "-", *SMALL, "--steps", "1", "--json", "--out",
             str(tmp_path / "run")],
            stdin=file, capture_output=True, text=True, env=environment, check=False, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 1


# ------------------------------------------------------------------ refusals


def test_refusals_name_the_thing_and_the_remedy(capsys, text, tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "short.txt").write_text("abcdefg", encoding="utf-8")
    out = ["--out", str(tmp_path / "run")]
    cases: list[tuple[list[object], int, str, str]] = [
        (["--text", "nowhere.txt", *out], 3, "input", "nowhere.txt"),
        (["--text", tmp_path / "empty.txt", *out], 3, "input", "empty.txt"),
        (["--text", tmp_path / "binary.txt", *out], 3, "input", "binary.txt"),
        (["--text", tmp_path / "short.txt", *SMALL, *out], 3, "input", "needs at least 17"),
        (["--text", text, "--set", "train.lerning_rate=1", *out], 3, "config", "lerning_rate"),
        (["--text", text, "--set", "model.n_head=5", *out], 3, "config", "not divisible"),
        (["--text", text, "--preset", "tinny", *out], 3, "config", "tinny"),
        (["--text", text, "--tokenizer", "words", *out], 3, "config", "words"),
        (["--text", text, "--precision", "int4", *out], 3, "config", "int4"),
        (["--text", text, "--device", "abacus", *out], 3, "config", "abacus"),
        (["--text", text, "--config", tmp_path / "no.toml", *out], 3, "input", "no.toml"),
        (["--text", text, "--epochs", "-1", *out], 3, "config", "epochs"),
        (["--text", text, "--steps", "0", *out], 2, "usage", "steps"),
        (["--text", text, "--stepz", "3", *out], 2, "usage", "stepz"),
        (["--resume"], 2, "usage", "--resume"),
        (["--resume", *out, "--seed", "3"], 2, "usage", "--seed"),
        (["--resume", *out, "--tokenizer", "char"], 2, "usage", "--tokenizer"),
        (["--resume", *out, "--set", "train.clip=2"], 2, "usage", "--set"),
        (["--resume", *out], 3, "input", str(tmp_path / "run")),
        (["--dataset", "nobody", *out], 3, "input", "nobody"),
    ]
    for words, code, kind, named in cases:
        error = refused(capsys, *words, code=code)
        assert error["kind"] == kind, words
        assert named in error["message"] + error["remedy"], words
        assert error["remedy"], words


def test_an_unknown_key_is_met_with_the_nearest(capsys, text):
    assert "learning_rate" in refused(capsys, "--text", text, "--set", "train.lerning_rate=1", code=3)["remedy"]


def test_a_loss_that_is_no_number_is_a_failure_with_a_remedy(capsys, text, tmp_path, monkeypatch):
    plain = Trainer._loss
    monkeypatch.setattr(
        Trainer, "_loss", lambda self, batch: plain(self, batch) * (float("nan") if self.progress.step == 3 else 1)
    )
    words = ["--text", text, *SMALL, "--steps", 6, "--set", "train.checkpoint_every=2", "--out"]
    error = refused(capsys, *words, tmp_path / "run", "--overwrite", code=1)
    assert error["kind"] == "training"
    assert "Step 4" in error["message"]
    assert "learning rate" in error["remedy"]
    assert RunDirectory.open(tmp_path / "run").latest_verified().checkpoint.step == 2


# ------------------------------------------------------------------ a process that is stopped

# Slow enough that a signal arrives long before the last step; nothing else depends on the clock.
SLOWLY = """
import sys, time
from groundzero.cli.app import main
from groundzero.train.trainer import Trainer
plain = Trainer._step
def step(self, batches):
    time.sleep(0.05)
    return plain(self, batches)
Trainer._step = step
sys.exit(main(sys.argv[1:]))
"""
STEPS = 60


def state(path: Path) -> dict[str, Any]:
    folder = path / "checkpoints" / f"step-{STEPS}"
    tensors = {
        f"{file.name}/{name}": tensor.numpy().tobytes()
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    records = [{k: v for k, v in record.items() if k not in TIMES} for record in RunDirectory.open(path).metrics]
    return {**tensors, "metrics": records}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", ["SIGINT", "SIGKILL"])
def test_a_stopped_process_resumes_as_if_it_had_run_through(capsys, text, tmp_path, number):
    words = ["train", "--text", str(text), *SMALL, "--steps", str(STEPS), "--set", "train.evaluate_every=4"]
    path = tmp_path / "stopped run"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *words, "--out", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("step 8:"):
            break
    process.send_signal(getattr(signal, number))
    _, rest = process.communicate(timeout=120)
    if number == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, said + rest
        assert f"gz train --resume --out '{path}'" in rest
        assert "Traceback" not in rest
        assert RunDirectory.open(path).latest_verified().checkpoint.step < STEPS
    assert main(["train", "--resume", "--out", str(path)]) == 0
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    capsys.readouterr()
    assert state(path) == state(tmp_path / "whole")
    assert main(["runs", "verify", str(path)]) == 0
    capsys.readouterr()
