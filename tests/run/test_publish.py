"""Checkpoints are there whole or not at all: at every failing call, at every power loss, for every flipped byte.

Each fault test is also run against deliberately broken variants, and must catch them: a test that passes whatever the
code does proves nothing.
"""

from __future__ import annotations

import errno
import itertools
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from groundzero.errors import ConfigError, StorageError
from groundzero.run import checkpoints as under_test
from groundzero.run.checkpoints import Checkpoint, Checkpoints, Search, verify_folder

OLD, NEW = b"old weights, " * 3, b"new weights, but longer, " * 2


class NeverFlushes(Checkpoints):
    """Broken: trusts the page cache."""

    def _seal(self, folder: Path, step: int, metadata: Mapping[str, Any]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(under_test, "flush_file", lambda path: None)
            patch.setattr(under_test, "write_durably", lambda path, content: path.write_bytes(content))
            super()._seal(folder, step, metadata)


class RenamesBeforeHashing(Checkpoints):
    """Broken: the folder has its final name before it is complete."""

    def _seal(self, folder: Path, step: int, metadata: Mapping[str, Any]) -> None:
        target = self.path_of(step)
        if target.exists():
            self._discard(target)
        folder.rename(target)
        super()._seal(target, step, metadata)

    def _put_in_place(self, temporary: Path, step: int) -> None:
        pass


class PrunesBeforePublishing(Checkpoints):
    """Broken: makes room first."""

    def publish(
        self, step: int, write: Callable[[Path], None], metadata: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        for older in self.steps():
            self._discard(self.path_of(older))
        return super().publish(step, write, metadata)


class NeverVerifies(Checkpoints):
    """Broken: takes the newest name for the newest checkpoint."""

    def latest(self) -> Search:
        for step, path in self._candidates():
            return Search(Checkpoint(step, path, {}), ())
        return Search(None, ())

    def verify(self, step: int) -> list[str]:
        return []


def writer(disk: ModuleType, content: bytes) -> Callable[[Path], None]:
    """Writes two weight files, one in a sub-folder."""

    def write(folder: Path) -> None:
        disk.write_unflushed(folder / "model.safetensors", content)
        (folder / "optimizer").mkdir()
        disk.write_unflushed(folder / "optimizer" / "state.bin", content[::-1])

    return write


def loaded(folder: Path) -> bytes | None:
    """The content of the checkpoint that a reader would take, read here without the code under test."""
    found = Checkpoints(folder).latest().checkpoint
    if found is None:
        return None
    content = (found.path / "model.safetensors").read_bytes()
    return content if (found.path / "optimizer" / "state.bin").read_bytes() == content[::-1] else None


def unsafe_power_losses(kind: type[Checkpoints], folder: Path, disk: ModuleType, *, step: int) -> int:
    """Lose power at every call of "publish `step` over step 1, prune to one"; how often was nothing left to load?"""
    lost = 0
    for at in itertools.count(1):
        shutil.rmtree(folder, ignore_errors=True)
        Checkpoints(folder).publish(1, writer(disk, OLD))
        fault = disk.FaultyDisk(at, "lose power")
        with fault.installed(folder):
            checkpoints = kind(folder)
            checkpoints.sweep()
            checkpoints.publish(step, writer(disk, NEW))
            checkpoints.prune(1)
        lost += loaded(folder) not in (OLD, NEW)
        Checkpoints(folder).sweep()
        lost += loaded(folder) not in (OLD, NEW)
        if not fault.struck:
            return lost
    raise AssertionError


@pytest.mark.parametrize("step", [1, 2], ids=["saved again", "a new step"])
def test_power_loss_at_any_call_leaves_the_old_or_the_new(tmp_path: Path, faulty_disk: ModuleType, step: int) -> None:
    assert unsafe_power_losses(Checkpoints, tmp_path / "c", faulty_disk, step=step) == 0


@pytest.mark.parametrize(
    ("broken", "step"), [(NeverFlushes, 2), (RenamesBeforeHashing, 1), (PrunesBeforePublishing, 2)]
)
def test_the_power_loss_test_catches_broken_variants(
    tmp_path: Path, faulty_disk: ModuleType, broken: type[Checkpoints], step: int
) -> None:
    assert unsafe_power_losses(broken, tmp_path / "c", faulty_disk, step=step) > 0


@pytest.mark.parametrize("mode", ["refuse once", "refuse from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("step", [1, 2], ids=["saved again", "a new step"])
def test_a_refusal_at_any_call_is_a_storage_error_that_loses_nothing(
    tmp_path: Path, faulty_disk: ModuleType, mode: str, code: int, step: int
) -> None:
    folder = tmp_path / "c"
    for at in itertools.count(1):
        shutil.rmtree(folder, ignore_errors=True)
        Checkpoints(folder).publish(1, writer(faulty_disk, OLD))
        fault = faulty_disk.FaultyDisk(at, mode, code)
        checkpoints = Checkpoints(folder)
        with fault.installed(folder):
            try:
                checkpoints.publish(step, writer(faulty_disk, NEW))
                assert loaded(folder) == NEW
            except StorageError as error:
                assert "step-" in error.message
                assert "Nothing saved before is lost" in error.remedy
        assert loaded(folder) in (OLD, NEW), f"call {at}"
        if mode == "refuse once" and step == 2:
            assert not [path for path in folder.iterdir() if path.name.startswith(".tmp-")], f"call {at}"
        checkpoints.sweep()
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], f"call {at}"
        assert checkpoints.publish(step, writer(faulty_disk, NEW)).step == step
        assert loaded(folder) == NEW
        if not fault.struck:
            assert at > 10
            return


def undetected_flips(kind: type[Checkpoints], folder: Path, disk: ModuleType) -> int:
    """Change every byte of every file of a checkpoint, one at a time; how often was it taken for sound?"""
    checkpoints = kind(folder)
    checkpoints.publish(1, writer(disk, OLD))
    checkpoints.publish(2, writer(disk, NEW), {"loss": 2.5})
    generator = random.Random(0)
    undetected = 0
    for path in sorted(file for file in checkpoints.path_of(2).rglob("*") if file.is_file()):
        content = path.read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= generator.randrange(1, 256)
            path.write_bytes(bytes(changed))
            found = checkpoints.latest().checkpoint
            undetected += found is None or found.step != 1
        path.write_bytes(content)
    assert verify_folder(checkpoints.path_of(2), 2) == []
    return undetected


def test_every_flipped_byte_is_found_and_the_older_checkpoint_taken(tmp_path: Path, faulty_disk: ModuleType) -> None:
    assert undetected_flips(Checkpoints, tmp_path, faulty_disk) == 0


def test_the_flip_test_catches_a_reader_that_does_not_verify(tmp_path: Path, faulty_disk: ModuleType) -> None:
    assert undetected_flips(NeverVerifies, tmp_path, faulty_disk) > 0


def test_truncation_missing_extra_and_swapped_files_are_named(tmp_path: Path, faulty_disk: ModuleType) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 7):
        checkpoints.publish(step, writer(faulty_disk, b"%d" % step * 50))
    weights = {step: checkpoints.path_of(step) / "model.safetensors" for step in range(1, 7)}
    weights[2].write_bytes(weights[2].read_bytes()[:-1])
    weights[3].unlink()
    (checkpoints.path_of(4) / "stray.bin").write_bytes(b"?")
    weights[5].write_bytes(weights[1].read_bytes())
    (checkpoints.path_of(6) / "manifest.json").write_bytes((checkpoints.path_of(1) / "manifest.json").read_bytes())
    assert checkpoints.verify(1) == []
    assert checkpoints.verify(2) == ["model.safetensors has 49 bytes, not 50"]
    assert checkpoints.verify(3) == ["model.safetensors is missing"]
    assert checkpoints.verify(4) == ["stray.bin is not in the manifest"]
    assert checkpoints.verify(5) == ["model.safetensors was altered (its SHA-256 differs)"]
    assert checkpoints.verify(6)[0] == "its manifest is that of step 1"
    assert checkpoints.verify(9) == ["step-9 does not exist"]
    found = checkpoints.latest()
    assert found.checkpoint is not None
    assert found.checkpoint.step == 1
    assert [line.split(":")[0] for line in found.skipped] == ["step-6", "step-5", "step-4", "step-3", "step-2"]


def test_partial_folders_are_skipped_and_swept(tmp_path: Path, faulty_disk: ModuleType) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.publish(3, writer(faulty_disk, OLD))
    (tmp_path / "step-9").mkdir()
    (tmp_path / "step-9" / "model.safetensors").write_bytes(b"half")
    for leftover in (".tmp-1", ".trash-2"):
        (tmp_path / leftover).mkdir()
    (tmp_path / ".tmp-file").write_bytes(b"")
    (tmp_path / "step-007").mkdir()
    assert checkpoints.steps() == [3, 9]
    assert loaded(tmp_path) == OLD
    assert sorted(checkpoints.sweep()) == [".tmp-1", ".tmp-file", ".trash-2"]
    assert checkpoints.sweep() == []
    assert checkpoints.publish(9, writer(faulty_disk, NEW)).path.name == "step-9"
    assert loaded(tmp_path) == NEW


def test_a_manifest_cannot_name_files_outside(tmp_path: Path) -> None:
    from groundzero.run.files import seal, sha256_of

    outside = tmp_path / "secret"
    outside.write_bytes(b"x")
    entry = {"bytes": 1, "sha256": sha256_of(outside)}
    folder = tmp_path / "step-1"
    folder.mkdir()
    for name in ("../secret", str(outside)):
        (folder / "manifest.json").write_bytes(seal({"schema": 1, "step": 1, "files": {name: entry}}))
        assert verify_folder(folder, 1) == [f"{name} is outside the checkpoint"]
    (folder / "manifest.json").write_bytes(seal({"schema": 1, "step": 1}))
    assert verify_folder(folder, 1) == ["its manifest lists no files"]


def test_prune_counts_only_sound_ones_and_spares_the_pinned(tmp_path: Path, faulty_disk: ModuleType) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30, 40, 50):
        checkpoints.publish(step, writer(faulty_disk, OLD))
    for step in (40, 50):
        (checkpoints.path_of(step) / "model.safetensors").write_bytes(b"damaged")
    assert checkpoints.prune(2, pinned=[10]) == []
    assert checkpoints.prune(1, pinned=[10]) == [20]
    assert checkpoints.steps() == [10, 30, 40, 50]
    with pytest.raises(ConfigError, match="Cannot keep 0"):
        checkpoints.prune(0)


def test_prune_leaves_everything_when_there_are_too_few_sound_ones(tmp_path: Path, faulty_disk: ModuleType) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.publish(1, writer(faulty_disk, OLD))
    checkpoints.publish(2, writer(faulty_disk, OLD))
    (checkpoints.path_of(2) / "manifest.json").unlink()
    assert checkpoints.prune(2) == []
    assert loaded(tmp_path) == OLD


def test_an_error_of_the_writer_reaches_the_caller_and_leaves_no_trace(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Checkpoints(tmp_path).publish(1, write)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_reports_the_disk_in_its_own_words_is_understood(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(StorageError, match="No space left on device"):
        Checkpoints(tmp_path).publish(1, write)


def test_metadata_comes_back_with_infinities_as_null(tmp_path: Path) -> None:
    metadata = {"loss": 2.25, "norm": float("inf"), "name": "\udcff\u00e9", "nested": {"list": [1, float("nan")]}}
    found = Checkpoints(tmp_path).publish(0, lambda folder: None, metadata)
    assert found.metadata == {"loss": 2.25, "norm": None, "name": "\udcff\u00e9", "nested": {"list": [1, None]}}
