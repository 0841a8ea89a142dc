"""From text to run directory and back into it: what is stored, what resuming takes up, and every way to be refused."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from groundzero.data import TokenDataset
from groundzero.errors import ConfigError, FormatError, InputError, StorageError, UsageError
from groundzero.run import RunDirectory, sha256_of
from groundzero.tokenizer import Tokenizer
from groundzero.train import Observer, RunConfig, Trainer, resolve, train_run
from groundzero.train import session as session_module

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "in", "a", "mat", "hat", "and", "then", "saw", "red", "big"]
TIMES = ("seconds", "tokens_per_second", "mfu", "memory_bytes")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    lines = [" ".join(generator.choices(WORDS, k=12)) + "." for _ in range(40)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def configure(text: Path | str, **train: Any) -> RunConfig:
    return resolve(
        preset_name="nano",
        options={
            "data": {"text": str(text), "document_separator": "line"},
            "tokenizer": {"kind": "char"},
            "model": {"n_layer": 2, "n_head": 2, "d_model": 32, "context": 16, "dropout": 0.1},
            "train": {
                "batch_size": 4,
                "precision": "float32",
                "compile": "off",
                "device": "cpu",
                "log_every": 2,
                "evaluate_every": 3,
                "checkpoint_every": 2,
                "sample_tokens": 4,
                **train,
            },
        },
    )


class Listener(Observer):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


class PowerCut(BaseException):
    pass


class CutAt(Listener):
    """Ends the training at a step, without any chance to save."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def stepped(self, step, record):
        if step == self.step:
            raise PowerCut


STEPS = 8


@pytest.fixture(scope="module")
def _trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    train_run(configure(text, steps=STEPS), path)
    return path


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A finished run of 8 steps, the test's own copy."""
    return Path(shutil.copytree(_trained, tmp_path / "whole"))


def stopped(text: Path, path: Path, step: int) -> Path:
    with pytest.raises(PowerCut):
        train_run(configure(text, steps=STEPS), path, observer=CutAt(step))
    return path


def weights(path: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    folder = path / "checkpoints" / f"step-{step}"
    return {
        f"{file.name}/{name}": tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def records(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in RunDirectory.open(path).metrics]


def assert_same_training(ours: Path, theirs: Path) -> None:
    a, b = weights(ours), weights(theirs)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert records(ours) == records(theirs)
    assert RunDirectory.open(ours).best() == RunDirectory.open(theirs).best()


# ------------------------------------------------------------------ what a run is


def test_a_run_holds_everything_that_was_promised(trained, text):
    run = RunDirectory.open(trained)
    assert run.verify() == []
    manifest = run.manifest()
    assert manifest["schema"] == 1
    assert {"groundzero", "python", "torch", "numpy", "platform"} <= set(manifest["versions"])
    assert manifest["seeds"] == {"train": 1337, "data": 1337}
    assert manifest["tokenizer"]["sha256"] == sha256_of(run.tokenizer_path)
    assert manifest["tokenizer"]["fingerprint"] == Tokenizer.load(run.tokenizer_path).fingerprint
    assert manifest["data"]["sha256"] == sha256_of(trained / "data" / "manifest.json")
    assert manifest["data"]["sources"] == [text.name]
    assert manifest["hardware"] == {"device": "cpu", "precision": "float32"}
    assert "git" in manifest
    config = RunConfig.parse(manifest["config"])
    assert config.train.steps == STEPS
    assert config.model.vocab_size == Tokenizer.load(run.tokenizer_path).vocab_size
    assert (trained / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert len(TokenDataset.open(trained / "data").train) == manifest["data"]["train_tokens"]


def test_the_checkpoints_kept_are_the_newest_and_the_best(trained):
    run = RunDirectory.open(trained)
    assert run.checkpoints.steps()[-2:] == [6, 8]
    assert run.best() in run.checkpoints.steps()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_configuration_gives_the_same_run(text, tmp_path, seed):
    for name in ("one", "two"):
        train_run(configure(text, steps=4, seed=seed), tmp_path / name)
    a, b = weights(tmp_path / "one", 4), weights(tmp_path / "two", 4)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert records(tmp_path / "one") == records(tmp_path / "two")


def test_a_prepared_dataset_is_used_where_it_lies(trained, tmp_path):
    config = configure("", steps=4)
    config = config.replace(data={"dataset": str(trained / "data")})
    result = train_run(config, tmp_path / "run")
    manifest = RunDirectory.open(tmp_path / "run").manifest()
    assert manifest["data"]["path"] == str(trained / "data")
    assert not (tmp_path / "run" / "data").exists()
    assert train_run(config, tmp_path / "run", resume=True).steps == result.steps == 4


# ------------------------------------------------------------------ how long


def test_minutes_become_steps_once_and_are_stored(text, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda self, n_step=3: 0.6)
    listener = Listener()
    result = train_run(configure(text, minutes=0.1), tmp_path / "run", observer=listener)
    assert result.steps == int(0.1 * 60 * session_module.BUDGET_SHARE / 0.6) == 8
    assert "0.1 minutes at 600 ms a step: 8 steps" in listener.messages
    assert RunDirectory.open(tmp_path / "run").manifest()["config"]["train"]["steps"] == 8
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda self, n_step=3: pytest.fail("measured again"))
    assert train_run(configure(text, minutes=0.1), tmp_path / "run", resume=True).steps == 8


def test_a_measured_time_budget_changes_nothing_but_the_steps(text, tmp_path, monkeypatch):
    plain = Trainer.seconds_per_step
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda self, n_step=3: min(1.0, plain(self, 1)) * 0 + 0.6)
    train_run(configure(text, minutes=0.1), tmp_path / "budget")
    train_run(configure(text, steps=8), tmp_path / "steps")
    assert_same_training(tmp_path / "budget", tmp_path / "steps")


@pytest.mark.parametrize(("epochs", "accumulate"), [(0.0, 1), (1.0, 2), (2.0, 1), (0.4, 1)])
def test_epochs_become_the_steps_that_cover_them(text, tmp_path, epochs, accumulate):
    config = configure(text, epochs=epochs, accumulate=accumulate, batch_size=32, sample_tokens=0, evaluate_every=100)
    result = train_run(config, tmp_path / "run")
    windows = -(-len(TokenDataset.open(tmp_path / "run" / "data").train) // 16)
    per_step = 32 * accumulate
    assert result.steps == -(-windows * (epochs or 1.0) // per_step)


# ------------------------------------------------------------------ resuming


@pytest.mark.parametrize("step", [1, 3, 4, 6, 7])
def test_a_run_that_died_resumes_as_if_it_had_not(text, trained, tmp_path, step):
    path = stopped(text, tmp_path / "died", step)
    listener = Listener()
    result = train_run(resolve(), path, resume=True, observer=listener)
    assert result.steps == STEPS
    saved = (step - 1) // 2 * 2
    expected = f"resuming at step {saved} of 8" if saved else "nothing was saved yet: starting at step 0 of 8"
    assert expected in listener.messages
    assert_same_training(path, trained)


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word(text, trained, tmp_path):
    path = stopped(text, tmp_path / "died", 7)
    damaged = path / "checkpoints" / "step-6" / "training.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    listener = Listener()
    train_run(resolve(), path, resume=True, observer=listener)
    assert any("passed over a damaged checkpoint" in line and "6" in line for line in listener.messages)
    assert "resuming at step 4 of 8" in listener.messages
    assert_same_training(path, trained)
    assert RunDirectory.open(path).verify() == []


def test_without_any_sound_checkpoint_resuming_is_refused_and_touches_nothing(text, tmp_path):
    path = stopped(text, tmp_path / "died", 7)
    for file in path.glob("checkpoints/*/state.json"):
        file.write_text("{}", encoding="utf-8")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(FormatError, match="No intact checkpoint"):
        train_run(resolve(), path, resume=True)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_more_steps_extend_and_are_stored(trained, text, tmp_path):
    result = train_run(configure(text, steps=12), trained, resume=True)
    assert result.steps == 12
    assert RunDirectory.open(trained).manifest()["config"]["train"]["steps"] == 12
    assert RunDirectory.open(trained).verify() == []
    listener = Listener()
    assert train_run(resolve(), trained, resume=True, observer=listener).steps == 12
    assert "resuming at step 12 of 12" in listener.messages


def test_resuming_a_finished_run_gives_its_figures_and_changes_no_weight(trained):
    before, logged = weights(trained), records(trained)
    result = train_run(resolve(), trained, resume=True)
    evaluated = [record for record in logged if "val_loss" in record]
    assert result.val_loss == evaluated[-1]["val_loss"]
    assert result.train_loss == [r for r in logged if "train_loss" in r][-1]["train_loss"]
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(trained).items())
    assert records(trained) == logged


def test_fewer_steps_are_refused(trained, text):
    with pytest.raises(UsageError, match="set to 8 steps; 5 would cut it short") as caught:
        train_run(configure(text, steps=5), trained, resume=True)
    assert caught.value.exit_code == 2


def test_resuming_where_there_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="No run at"):
        train_run(resolve(), tmp_path / "nowhere", resume=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not a run"):
        train_run(resolve(), tmp_path / "empty", resume=True)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["manifest.json", "data/train-00000.npy", "data/manifest.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", [_flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_file_of_the_run_is_named(trained, name, damage):
    damage(trained / name)
    with pytest.raises((FormatError, InputError)) as caught:
        train_run(resolve(), trained, resume=True)
    assert Path(name).name in str(caught.value)
    assert caught.value.exit_code == 3
    assert caught.value.remedy


def test_a_run_of_a_newer_release_says_so(trained):
    manifest = json.loads((trained / "manifest.json").read_text(encoding="utf-8"))
    (trained / "manifest.json").write_text(json.dumps({**manifest, "schema": 2}), encoding="utf-8")
    with pytest.raises(FormatError, match="newer groundzero"):
        train_run(resolve(), trained, resume=True)


# ------------------------------------------------------------------ what cannot be trained on, and where not to put it


def test_a_run_is_not_replaced_unless_asked(trained, text):
    before = weights(trained)
    with pytest.raises(UsageError, match="There is a run at"):
        train_run(configure(text, steps=2), trained)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(trained).items())
    assert train_run(configure(text, steps=2), trained, overwrite=True).steps == 2
    assert RunDirectory.open(trained).checkpoints.steps() == [2]
    assert RunDirectory.open(trained).verify() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "text.txt"), (b"", "text.txt"), (b" \n\n", "text"), (bytes(range(256)) * 9, "text.txt"), (b"ab\n", "")],
    ids=["missing", "empty", "blank", "binary", "shorter than the context"],
)
def test_text_that_cannot_be_trained_on_is_named(tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        train_run(configure(path, steps=2), tmp_path / "run")
    assert message in str(caught.value)
    assert caught.value.exit_code == 3
    assert caught.value.remedy


def test_a_corpus_shorter_than_the_context_says_both_lengths(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abc\ndef\nghi\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a context of 16 needs at least 17") as caught:
        train_run(configure(path, steps=2), tmp_path / "run")
    assert "lower the context" in caught.value.remedy


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(ConfigError, match="nothing to train on"):
        train_run(resolve(), tmp_path / "run")


def test_a_refused_start_can_be_mended_in_the_same_place(tmp_path, text):
    with pytest.raises(InputError):
        train_run(configure(tmp_path / "nowhere", steps=2), tmp_path / "run")
    assert train_run(configure(text, steps=2), tmp_path / "run").steps == 2


def test_a_place_that_cannot_hold_a_run(tmp_path, text):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        train_run(configure(text, steps=2), tmp_path / "file")
    with pytest.raises(StorageError, match="Not a directory"):
        train_run(configure(text, steps=2), tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "target",
    [
        "groundzero.train.trainer.save_training",
        "groundzero.train.session.plot_loss",
        "groundzero.run.directory.write_sealed",
        "groundzero.metrics.MetricLog.append",
    ],
)
def test_a_full_disk_is_a_storage_error_and_what_was_saved_still_resumes(text, trained, tmp_path, monkeypatch, target):
    path = stopped(text, tmp_path / "died", 5)

    def full(*args: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(target, full)
    with pytest.raises(StorageError, match="No space left on device"):
        train_run(configure(text, steps=STEPS + 4 if "write_sealed" in target else STEPS), path, resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    train_run(resolve(), path, resume=True)
    assert_same_training(path, trained)
