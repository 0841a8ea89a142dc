"""Training in NumPy: an ordinary run, the same lessons as PyTorch's, resumable to the last bit, in either world."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundzero.cli.app import main
from groundzero.errors import UsageError
from groundzero.reference.safetensors import read
from groundzero.reference.utils import load_weights
from groundzero.run import RunDirectory
from groundzero.train import RunConfig, resolve, train_run
from groundzero.train.twin import ADAPTER, Tuning, load_twin, train_twin

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "in", "a", "mat", "hat", "and", "then", "saw", "red", "big"]


def write_text(path: Path, words: list[str], seed: int = 0) -> Path:
    generator = random.Random(seed)
    lines = [" ".join(generator.choices(words, k=12)) + "." for _ in range(40)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "lines.txt", WORDS)


def configure(text: Path, family: str = "classic", **train: Any) -> RunConfig:
    model = {"family": family, "n_layer": 2, "n_head": 2, "d_model": 32, "context": 16}
    return resolve(
        preset_name="nano",
        options={
            "data": {"text": str(text), "document_separator": "line"},
            "tokenizer": {"kind": "char"},
            "model": {**model, "dropout": train.pop("dropout", 0.0)},
            "train": {
                "batch_size": 4,
                "precision": "float32",
                "compile": "off",
                "device": "cpu",
                "steps": 8,
                "log_every": 2,
                "evaluate_every": 4,
                "checkpoint_every": 4,
                "keep_checkpoints": 9,
                "sample_tokens": 4,
                **train,
            },
        },
    )


def weights_at(run: Path, step: int) -> dict[str, np.ndarray]:
    return load_weights(run / "checkpoints" / f"step-{step}")


def halfway(run: Path, to: Path, step: int) -> Path:
    """The run as it was when the checkpoint of `step` was the newest."""
    shutil.copytree(run, to)
    for folder in (to / "checkpoints").iterdir():
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
    (to / "best").unlink(missing_ok=True)
    return to


@pytest.fixture(scope="module")
def numpy_run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "numpy"
    train_twin(configure(text, dropout=0.1), out)
    return out


def test_a_twin_run_is_an_ordinary_run(numpy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.open(numpy_run)
    assert run.verify() == []
    assert run.best() in run.checkpoints.steps() == [4, 8]
    records = list(run.metrics)
    assert [r["step"] for r in records if "train_loss" in r] == [2, 4, 6, 8]
    assert [r["step"] for r in records if "val_loss" in r] == [4, 8]
    assert (numpy_run / "loss.png").stat().st_size > 0
    assert main(["generate", "--run", str(numpy_run), "--prompt", "the", "--max-tokens", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 3


def test_loss_falls(text: Path, tmp_path: Path) -> None:
    result = train_twin(configure(text, steps=60, learning_rate=3e-3, evaluate_every=0, checkpoint_every=0), tmp_path)
    losses = [record["train_loss"] for record in RunDirectory.open(tmp_path).metrics if "train_loss" in record]
    assert losses[-1] < 0.75 * losses[0]
    assert result.val_loss is not None
    assert result.val_loss < losses[0]


def test_resumed_equals_uninterrupted_bit_for_bit(numpy_run: Path, text: Path, tmp_path: Path) -> None:
    resumed = halfway(numpy_run, tmp_path / "resumed", 4)
    train_twin(configure(text, dropout=0.1), resumed, resume=True)
    straight, again = weights_at(numpy_run, 8), weights_at(resumed, 8)
    assert all(np.array_equal(straight[name], again[name]) for name in straight)


def test_a_resume_that_forgets_the_optimiser_is_noticed(
    numpy_run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundzero.train.twin.Optimizers.load_state", lambda self, state: None)
    resumed = halfway(numpy_run, tmp_path / "resumed", 4)
    train_twin(configure(text, dropout=0.1), resumed, resume=True)
    straight, again = weights_at(numpy_run, 8), weights_at(resumed, 8)
    assert not all(np.array_equal(straight[name], again[name]) for name in straight)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_crosses_worlds_in_the_middle(family: str, optimizer: str, text: Path, tmp_path: Path) -> None:
    config = configure(text, family, optimizer=optimizer)
    train_run(config, tmp_path / "torch")
    straight = weights_at(tmp_path / "torch", 8)
    train_twin(config, halfway(tmp_path / "torch", tmp_path / "to numpy", 4), resume=True)
    train_run(config, halfway(tmp_path / "to numpy", tmp_path / "and back", 4), resume=True)
    for crossed in ("to numpy", "and back"):
        arrays = weights_at(tmp_path / crossed, 8)
        moved = weights_at(tmp_path / "torch", 4)
        for name in straight:
            if not name.endswith("key.bias"):  # its gradient is zero but for rounding, which AdamW makes a full step
                step = np.abs(straight[name] - moved[name]).max()
                assert np.abs(arrays[name] - straight[name]).max() <= 2e-3 * step + 1e-7, (crossed, name)


def test_the_batches_are_those_of_pytorch(text: Path, tmp_path: Path) -> None:
    """Without updates both worlds see the same losses, to rounding, at every step."""
    frozen = {"learning_rate": 1e-12, "muon_learning_rate": 1e-12, "weight_decay": 0.0, "log_every": 1}
    config = configure(text, **frozen)
    train_run(config, tmp_path / "torch")
    train_twin(config, halfway(tmp_path / "torch", tmp_path / "numpy", 4), resume=True)
    losses = [
        [r["train_loss"] for r in RunDirectory.open(tmp_path / world).metrics if "train_loss" in r and r["step"] > 4]
        for world in ("torch", "numpy")
    ]
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_finetuning_starts_from_the_base_and_leaves_it_alone(numpy_run: Path, tmp_path: Path) -> None:
    other = write_text(tmp_path / "other.txt", ["cat", "hat", "mat"])
    before = {path: path.read_bytes() for path in numpy_run.rglob("*") if path.is_file()}
    config = configure(other, dropout=0.1, learning_rate=1e-12, muon_learning_rate=1e-12, weight_decay=0.0)
    train_twin(config, tmp_path / "tuned", tuning=Tuning(RunDirectory.open(numpy_run)))
    assert {path: path.read_bytes() for path in numpy_run.rglob("*") if path.is_file()} == before
    base, tuned = load_twin(RunDirectory.open(numpy_run)), load_twin(RunDirectory.open(tmp_path / "tuned"))
    for name, parameter in base.parameters().items():
        np.testing.assert_allclose(tuned.parameters()[name].value, parameter.value, atol=1e-9)


def test_lora_trains_thin_matrices_only_and_merges_them(numpy_run: Path, tmp_path: Path) -> None:
    other = write_text(tmp_path / "other.txt", ["cat", "hat", "mat"])
    out = tmp_path / "lora"
    train_twin(
        configure(other, learning_rate=1e-2), out, tuning=Tuning(RunDirectory.open(numpy_run), rank=2, alpha=4.0)
    )
    base = load_twin(RunDirectory.open(numpy_run)).parameters()
    merged, adapter = weights_at(out, 8), read(out / "checkpoints" / "step-8" / ADAPTER)
    assert set(merged) == set(base)
    changed = {name for name in merged if not np.array_equal(merged[name], base[name].value)}
    assert changed == {name.removesuffix("lora_a") + "weight" for name in adapter if name.endswith("lora_a")}
    for name in changed:
        stem = name.removesuffix("weight")
        change = 2.0 * adapter[stem + "lora_b"] @ adapter[stem + "lora_a"]
        np.testing.assert_allclose(merged[name], base[name].value + change, atol=1e-6)
    assert RunDirectory.open(out).verify() == []
    with pytest.raises(UsageError, match="adapter"):
        train_twin(configure(other), out, resume=True)


def test_pytorch_is_never_imported(text: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from groundzero.cli.app import main; "
        f"code = main(['reference', 'train', '--text', {str(text)!r}, '--tokenizer', 'char', '--steps', '2', "
        f"'--set', 'model.n_layer=1', '--set', 'model.context=16', '--out', {str(tmp_path / 'run')!r}]); "
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_divergence_is_told_and_nothing_is_updated(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("groundzero.reference.training.clip_gradients", lambda parameters, longest: float("nan"))
    code = main(["reference", "train", "--text", str(text), "--tokenizer", "char", "--steps", "2",
                 "--set", "model.n_layer=1", "--set", "model.context=16", "--out", str(tmp_path / "run")])  # fmt: skip
    assert code == 1
    assert "lower learning rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "--resume"], 2, "--out"),
        (["train", "--text", "missing.txt", "--out", "{tmp}/a"], 3, "missing.txt"),
        (["finetune", "--run", "{run}", "--out", "{tmp}/b"], 2, "--text"),
        (["lora", "--run", "{tmp}/none", "--text", "{text}", "--out", "{tmp}/c"], 3, "No run"),
        (["lora", "--run", "{run}", "--text", "{text}", "--rank", "0"], 2, "--rank"),
        (
            ["train", "--text", "{text}", "--set", "train.accumulate=2", "--steps", "1", "--out", "{tmp}/d"],
            2,
            "one pass",
        ),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: list[str],
    code: int,
    said: str,
    numpy_run: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(tmp=tmp_path, run=numpy_run, text=text) for word in arguments]
    assert main(["reference", *words]) == code
    assert said in capsys.readouterr().err
