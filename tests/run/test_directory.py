"""The run directory: what opens, what is refused and with which words, what `best` and the manifest promise."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from groundzero.errors import FormatError, InputError, StorageError, UsageError
from groundzero.run import RunDirectory, read_sealed, write_atomic, write_sealed
from groundzero.run.directory import git_state, versions
from groundzero.run.files import seal
from groundzero.run.summary import differences, find_runs, summarise

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run-v1"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A copy of the stored run of schema 1."""
    shutil.copytree(FIXTURE, tmp_path / "run")
    return RunDirectory.open(tmp_path / "run")


def save(run: RunDirectory, step: int, content: bytes = b"weights") -> None:
    run.publish_checkpoint(step, lambda folder: bytes_to(folder / "weights", content))


def bytes_to(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_a_run_of_schema_1_opens_and_verifies() -> None:
    run = RunDirectory.open(FIXTURE)
    assert run.verify() == []
    assert run.best() == 2
    assert run.manifest()["seeds"] == {"train": 1337, "data": 1337}
    found = run.checkpoint("best").checkpoint
    assert found is not None
    assert (found.step, dict(found.metadata)) == (2, {"tokens": 128})
    assert [record.get("train_loss") for record in run.metrics] == [2.5, 2.25, None]


def test_importing_the_run_directory_brings_in_no_torch() -> None:
    code = "import sys, groundzero.run, groundzero.run.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_manifest_says_what_made_the_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "deep" / "run")
    run.write_manifest(config={"model": {"n_layer": 2}}, command=["train"], seeds={"train": 1}, loss=float("nan"))
    first = run.manifest()
    assert first["versions"] == versions()
    assert set(first["versions"]) == {"groundzero", "python", "torch", "numpy", "platform"}
    assert first["loss"] is None
    run.write_manifest(command=["train", "--resume"])
    second = run.manifest()
    assert second["created"] == first["created"]
    assert second["config"] == first["config"]
    assert second["command"] == ["train", "--resume"]


def test_an_existing_run_is_not_overwritten_unless_asked(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="There is a run at") as caught:
        RunDirectory.create(run.path)
    assert "--resume" in caught.value.remedy
    (run.path / "notes.txt").write_text("mine", encoding="utf-8")
    fresh = RunDirectory.create(run.path, overwrite=True)
    assert fresh.checkpoints.steps() == []
    assert fresh.best() is None
    assert (run.path / "notes.txt").exists()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: None, InputError, "No run at"),
        (lambda path: path.mkdir(), InputError, "it has no manifest.json"),
        (lambda path: path.write_text("text"), InputError, "it has no manifest.json"),
        (lambda path: with_manifest(path, b""), FormatError, "damaged"),
        (lambda path: with_manifest(path, b"\xff\xfe\x00"), FormatError, "damaged"),
        (lambda path: with_manifest(path, b"[" * 100_000), FormatError, "damaged"),
        (lambda path: with_manifest(path, b"[1]"), FormatError, "damaged"),
        (lambda path: with_manifest(path, seal({"schema": 1})[:-3]), FormatError, "damaged"),
        (lambda path: with_manifest(path, b'{"schema": 1, "sha256": "0"}'), FormatError, "damaged"),
        (lambda path: with_manifest(path, b"{}"), FormatError, "has schema None"),
        (lambda path: with_manifest(path, seal({"schema": 0})), FormatError, "has schema 0"),
    ],
)
def test_what_is_no_run_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    path = tmp_path / "run"
    make(path)
    with pytest.raises(error, match=message) as caught:
        RunDirectory.open(path)
    assert str(path) in str(caught.value)


def with_manifest(path: Path, content: bytes) -> None:
    path.mkdir()
    (path / "manifest.json").write_bytes(content)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    with_manifest(tmp_path / "run", seal({"schema": 7, "anything": "new"}))
    with pytest.raises(FormatError) as caught:
        RunDirectory.open(tmp_path / "run")
    assert "written by a newer groundzero (schema 7); this release reads 1" in caught.value.message
    assert caught.value.remedy == "Upgrade groundzero."


def test_every_changed_byte_of_a_sealed_file_is_found(run: RunDirectory) -> None:
    generator = random.Random(1)
    for path in (run.manifest_path, run.path / "best"):
        content = path.read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= generator.randrange(1, 256)
            path.write_bytes(bytes(changed))
            with pytest.raises(FormatError):
                read_sealed(path, reads=1, what="file")
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            with pytest.raises(FormatError):
                read_sealed(path, reads=1, what="file")
        path.write_bytes(content)


def test_verify_names_what_is_wrong_in_the_whole_run(run: RunDirectory) -> None:
    (run.checkpoints.path_of(1) / "model.safetensors").write_bytes(b"not really weights! 1")
    run.tokenizer_path.write_text("{}", encoding="utf-8")
    assert run.verify() == [
        "tokenizer.json was altered (its SHA-256 differs)",
        "step-1: model.safetensors was altered (its SHA-256 differs)",
    ]
    assert run.verify(2) == []
    run.tokenizer_path.unlink()
    shutil.rmtree(run.checkpoints.path_of(2))
    assert run.verify()[0] == "tokenizer.json is missing"
    assert run.verify()[-1] == "the best step, 2, has no checkpoint"
    (run.path / "best").write_bytes(b"2")
    assert "is damaged" in run.verify()[-1]
    run.write_manifest(data={"path": "", "sha256": "0" * 64})
    assert "data/manifest.json is missing" in run.verify()
    run.manifest_path.write_bytes(b"")
    assert len(run.verify()) == 1


def test_a_damaged_best_falls_back_to_the_newest_and_says_so(run: RunDirectory) -> None:
    run.mark_best(1)
    (run.checkpoints.path_of(1) / "model.safetensors").write_bytes(b"")
    found = run.checkpoint("best")
    assert found.checkpoint is not None
    assert found.checkpoint.step == 2
    assert found.skipped[0].startswith("best, step-1: model.safetensors has 0 bytes")
    (run.path / "best").write_bytes(b"")
    found = run.checkpoint("best")
    assert found.checkpoint is not None
    assert found.checkpoint.step == 2
    assert "is damaged" in found.skipped[0]
    with pytest.raises(FormatError):
        run.prune(1)  # it might delete the best
    assert run.checkpoints.steps() == [1, 2]


def test_a_checkpoint_that_cannot_be_had_is_explained(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint of step 9") as caught:
        run.checkpoint(9)
    assert caught.value.remedy == "It has: 1, 2."
    for step in (1, 2):
        (run.checkpoints.path_of(step) / "manifest.json").write_bytes(b"")
    with pytest.raises(FormatError, match="No intact checkpoint"):
        run.checkpoint("latest")
    with pytest.raises(FormatError, match="No intact checkpoint"):
        run.checkpoint(1)
    with pytest.raises(FormatError, match="Step 1 cannot be the best"):
        run.mark_best(1)
    empty = RunDirectory.create(tmp_path / "empty")
    with pytest.raises(InputError, match="no checkpoint yet"):
        empty.checkpoint()


def test_sweeping_clears_temporary_files(run: RunDirectory) -> None:
    (run.path / ".tmp-abc").write_bytes(b"")
    (run.checkpoints.folder / ".tmp-def").mkdir()
    assert run.sweep() == [".tmp-abc", ".tmp-def"]
    assert run.verify() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_refusing_disk_is_a_storage_error_everywhere(
    run: RunDirectory, faulty_disk: ModuleType, tmp_path: Path, code: int
) -> None:
    before = run.manifest()
    (tmp_path / "other").mkdir()
    actions: list[Callable[[], Any]] = [
        lambda: run.write_manifest(command=[]),
        lambda: run.mark_best(1),
        lambda: save(run, 3),
        lambda: run.prune(1),
        lambda: RunDirectory.create(tmp_path / "other" / "run"),
    ]
    run.mark_best(2)
    for action in actions:
        disk = faulty_disk.FaultyDisk(1, "refuse from then on", code)
        with disk.installed(run.path), pytest.raises(StorageError) as caught:
            action()
        assert os.strerror(code) in caught.value.message
        assert run.manifest() == before
        assert run.best() == 2
        run.sweep()
        assert run.checkpoints.steps() in ([1, 2], [2])


def test_an_atomic_write_leaves_the_old_or_the_new(tmp_path: Path, faulty_disk: ModuleType) -> None:
    path = tmp_path / "file"
    for mode in ("refuse once", "refuse from then on", "lose power"):
        for at in range(1, 12):
            path.write_bytes(b"old")
            fault = faulty_disk.FaultyDisk(at, mode)
            with fault.installed(tmp_path):
                try:
                    write_atomic(path, b"new")
                except OSError:
                    assert mode != "lose power"
            assert path.read_bytes() in (b"old", b"new")
            if mode == "refuse once":
                assert [other.name for other in tmp_path.iterdir()] == ["file"]
            for leftover in tmp_path.glob(".tmp-*"):
                leftover.unlink()


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, bytes(content)[:1]))
    write_sealed(tmp_path / "file", {"schema": 1, "text": "all of it"})
    assert read_sealed(tmp_path / "file", reads=1, what="file")["text"] == "all of it"


def test_a_file_system_that_cannot_flush_directories_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        import stat

        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    run = RunDirectory.create(tmp_path / "run")
    save(run, 1)
    assert run.verify(1) == []


def test_git_state_is_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path) is None
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "someone@example.com")
    (tmp_path / "file").write_text("1", encoding="utf-8")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "file").write_text("2", encoding="utf-8")
    changed = git_state(tmp_path)
    assert changed is not None
    assert changed["dirty"] is True
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert git_state(tmp_path) is None


def test_a_summary_holds_the_final_figures(run: RunDirectory) -> None:
    summary = summarise(run)
    assert summary.steps == 2
    assert summary.tokens == 128
    assert summary.train_loss == 2.25
    assert summary.val_loss == summary.best_val_loss == 2.375
    assert summary.tokens_per_second == 1000.0
    assert summary.checkpoints == (1, 2)
    run.manifest_path.write_bytes(b"")
    assert "is damaged" in summarise(run).problem


def test_runs_are_found_three_levels_deep(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e", "b/d/f/too-deep", ".hidden"):
        shutil.copytree(FIXTURE, tmp_path / name)
    found = [run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)]
    assert found == ["a", "b/c", "b/d/e"]
    assert [run.path for run in find_runs(tmp_path / "a")] == [tmp_path / "a"]
    with pytest.raises(InputError, match="No folder at"):
        list(find_runs(tmp_path / "absent"))


def test_differences_are_dotted_keys_with_a_value_per_run() -> None:
    a = {"config": {"train": {"steps": 1, "seed": 3}}, "seeds": {"train": 1}, "created": "x"}
    b = {"config": {"train": {"steps": 2, "seed": 3}}, "seeds": {"train": 1}, "data": {"sha256": "f"}, "created": "y"}
    assert differences([a, b]) == {"train.steps": [1, 2], "data.sha256": [None, "f"]}
    assert differences([a, a]) == {}
    assert json.dumps(differences([a, b, a]))
