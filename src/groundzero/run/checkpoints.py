"""Checkpoints that are there whole or not at all.

Publishing: write into a fresh `.tmp-...` folder beside the others, flush every file, write `manifest.json` with the
size and SHA-256 of each, flush, rename to `step-N`, flush the parent, read everything back. Only then may older ones
go: renamed to `.trash-...` first, then deleted. A step that is saved again moves its predecessor to `.old-N-...`
until the new one has been read back; readers look there too, so no moment is without a loadable checkpoint.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.errors import ConfigError, GroundzeroError
from groundzero.run.files import (
    flush_directory,
    flush_file,
    read_sealed,
    seal,
    sha256_of,
    storage_error,
    storage_errors,
    write_durably,
)

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(0|[1-9][0-9]*)")
_OLD = re.compile(r"\.old-(0|[1-9][0-9]*)-[0-9a-f]{32}")

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose every byte was found as written."""

    step: int
    path: Path
    metadata: Mapping[str, Any]
    """What the writer noted in the manifest: loss, tokens, and so on."""


@dataclass(frozen=True)
class Search:
    """The newest sound checkpoint, and the newer ones that were passed over."""

    checkpoint: Checkpoint | None
    skipped: tuple[str, ...]
    """One line for each checkpoint passed over, with the reason."""


class Checkpoints:
    """The folder `checkpoints/` of a run. One writer at a time; any number of readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read_back: dict[int, Signature] = {}  # steps this object has verified, with the files' sizes and times

    def publish(
        self, step: int, write: Callable[[Path], None], metadata: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        """Save a checkpoint: `write(folder)` writes its files, in any sub-folders.

        Raises:
            StorageError: the disk refused (full, read-only, no permission) or did not read back what was written.
                Older checkpoints are untouched and the temporary folder is gone.
        """
        assert step >= 0, f"step {step} is negative"
        temporary = self.folder / f".tmp-{uuid.uuid4().hex}"
        with storage_errors(f"save checkpoint step-{step} in {self.folder}"):
            try:
                temporary.mkdir(parents=True)
                write(temporary)
                self._seal(temporary, step, metadata or {})
                self._put_in_place(temporary, step)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)  # the first error is the one to tell; `sweep` comes later
                raise
        path = self.path_of(step)
        return Checkpoint(step, path, self._metadata(path))

    def path_of(self, step: int) -> Path:
        """Where checkpoint `step` is, or would be."""
        return self.folder / f"step-{step}"

    def steps(self) -> list[int]:
        """Published steps, oldest first, sound or not."""
        return sorted({step for step, _ in self._candidates()})

    def verify(self, step: int) -> list[str]:
        """What is wrong with checkpoint `step`; nothing when every byte is as written."""
        problems = [f"step-{step} does not exist"]
        for path in self._places_of(step):
            problems = verify_folder(path, step)
            if not problems:
                self._read_back[step] = _signature(path)
                break
        return problems

    def find(self, step: int) -> Search:
        """Checkpoint `step`, verified."""
        problems = [f"step-{step} does not exist"]
        for path in self._places_of(step):
            problems = verify_folder(path, step)
            if not problems:
                return Search(Checkpoint(step, path, self._metadata(path)), ())
        return Search(None, tuple(problems))

    def latest(self) -> Search:
        """The newest checkpoint that verifies, trying newest to oldest."""
        skipped: list[str] = []
        for step, path in self._candidates():
            problems = verify_folder(path, step)
            if not problems:
                return Search(Checkpoint(step, path, self._metadata(path)), tuple(skipped))
            skipped.append(f"{path.name}: {'; '.join(problems)}")
        return Search(None, tuple(skipped))

    def prune(self, keep: int, pinned: Collection[int] = ()) -> list[int]:
        """Delete what is older than the newest `keep` sound checkpoints, except `pinned`; returns the deleted steps.

        Damaged ones do not count, so a run always keeps `keep` that load, if it has them.

        Raises:
            ConfigError: `keep` is below 1.
            StorageError: the disk refused to delete.
        """
        if keep < 1:
            raise ConfigError(f"Cannot keep {keep} checkpoints.", remedy="Keep at least 1.")
        steps = self.steps()
        sound: list[int] = []
        for step in reversed(steps):
            if len(sound) < keep and self.is_sound(step):
                sound.append(step)
        if len(sound) < keep:
            return []
        doomed = [step for step in steps if step < sound[-1] and step not in pinned]
        with storage_errors(f"delete old checkpoints in {self.folder}"):
            for step in doomed:
                for path in self._places_of(step):
                    self._discard(path)
        return doomed

    def sweep(self) -> list[str]:
        """Clear what a crash left behind, and return the names; for the writer, before it starts."""
        swept: list[str] = []
        with storage_errors(f"clear leftovers in {self.folder}"):
            for step, path in list(self._candidates()):
                if _OLD.fullmatch(path.name) and path.exists():
                    swept.append(path.name)
                    self._settle(step, path)
            for path in _entries(self.folder):
                if path.name.startswith((".tmp-", ".trash-")):
                    swept.append(path.name)
                    _delete(path)
        return swept

    def _seal(self, folder: Path, step: int, metadata: Mapping[str, Any]) -> None:
        """Flush every file and write the manifest that says what they are, last."""
        files = {}
        for path in _files_in(folder):
            flush_file(path)
            name = path.relative_to(folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        content = {"schema": SCHEMA_VERSION, "step": step, "metadata": dict(metadata), "files": files}
        write_durably(folder / MANIFEST, seal(content))
        for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
            flush_directory(path)

    def _put_in_place(self, temporary: Path, step: int) -> None:
        """Rename to `step-N` and read back; whatever fails, the step's predecessor is back in its place."""
        target, old = self.path_of(step), self.folder / f".old-{step}-{uuid.uuid4().hex}"
        if target.exists():
            target.rename(old)
        try:
            temporary.rename(target)
            flush_directory(self.folder)
            problems = verify_folder(target, step)
            if problems:
                raise storage_error(f"read back checkpoint {target}", "; ".join(problems))
            self._read_back[step] = _signature(target)
        except BaseException:
            self._read_back.pop(step, None)
            with contextlib.suppress(OSError):  # the first error is the one to tell, and readers look in `.old-` too
                if not temporary.exists():
                    target.rename(temporary)
                if old.exists():
                    old.rename(target)
            raise
        if old.exists():
            self._discard(old)

    def _settle(self, step: int, old: Path) -> None:
        """Finish or undo a second save of `step` that a crash cut short."""
        target = self.path_of(step)
        if verify_folder(target, step) and not verify_folder(old, step):
            if target.exists():
                self._discard(target)
            old.rename(target)
            flush_directory(self.folder)
        else:
            self._discard(old)

    def _discard(self, path: Path) -> None:
        """Delete a folder so that no half of it is ever taken for a checkpoint."""
        trash = self.folder / f".trash-{uuid.uuid4().hex}"
        path.rename(trash)
        _delete(trash)

    def _candidates(self) -> Iterator[tuple[int, Path]]:
        """Steps and where they may be read from, newest first; a predecessor set aside comes after its successor."""
        found = []
        for path in _entries(self.folder):
            match = _STEP.fullmatch(path.name) or _OLD.fullmatch(path.name)
            if match and path.is_dir():
                found.append((int(match.group(1)), path.name.startswith("step-"), path.name))
        for step, _, name in sorted(found, reverse=True):
            yield step, self.folder / name

    def _places_of(self, step: int) -> list[Path]:
        return [path for candidate, path in self._candidates() if candidate == step]

    def is_sound(self, step: int) -> bool:
        """Whether `step` verifies; not read again where this object has read it and no file has changed since."""
        known = self._read_back.get(step)
        if known is not None and self.path_of(step).is_dir() and known == _signature(self.path_of(step)):
            return True
        return not self.verify(step)

    def _metadata(self, path: Path) -> Mapping[str, Any]:
        metadata = read_sealed(path / MANIFEST, reads=SCHEMA_VERSION, what="checkpoint manifest").get("metadata", {})
        assert isinstance(metadata, dict)
        return metadata


def verify_folder(folder: Path, step: int) -> list[str]:
    """Compare a checkpoint's files with its manifest: schema, step, presence, size, SHA-256. Returns the problems."""
    try:
        content = read_sealed(folder / MANIFEST, reads=SCHEMA_VERSION, what="checkpoint manifest")
    except GroundzeroError as error:
        return [error.message]
    files = content.get("files")
    if not isinstance(files, dict):
        return ["its manifest lists no files"]
    problems = []
    if content.get("step") != step:
        problems.append(f"its manifest is that of step {content.get('step')}")
    for name, expected in files.items():
        problem = _problem_with(folder, name, expected)
        if problem:
            problems.append(f"{name} {problem}")
    extra = {path.relative_to(folder).as_posix() for path in _files_in(folder)} - set(files) - {MANIFEST}
    problems.extend(f"{name} is not in the manifest" for name in sorted(extra))
    return problems


def _problem_with(folder: Path, name: str, expected: Mapping[str, Any]) -> str:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "is outside the checkpoint"
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"has {size} bytes, not {expected['bytes']}"
        return "" if sha256_of(path) == expected["sha256"] else "was altered (its SHA-256 differs)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _signature(folder: Path) -> Signature:
    return tuple(
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in _files_in(folder)
    )


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
