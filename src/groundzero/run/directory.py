"""A run: a directory with everything needed to use or repeat a training.

    manifest.json           versions, resolved config, seeds, hashes, hardware, git state; sealed
    tokenizer.json          text <-> ids
    metrics.jsonl           one record a line
    checkpoints/step-N/     weights and training state, with a SHA-256 manifest
    best                    which step is the best; sealed
    samples/, loss.png ...  whatever else the trainer leaves beside them

Files only: this module never imports PyTorch, so that `gz runs` and `gz info` answer at once.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import groundzero
from groundzero.errors import FormatError, GroundzeroError, InputError, UsageError
from groundzero.metrics import MetricLog
from groundzero.run.checkpoints import Checkpoints, Search
from groundzero.run.files import read_sealed, sha256_of, storage_errors, write_sealed

SCHEMA_VERSION = 1
_OURS = ("manifest.json", "tokenizer.json", "metrics.jsonl", "best", "loss.png", "report.html")


class RunDirectory:
    """The files of one run. `open` for an existing run, `create` for a new one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")

    @classmethod
    def create(cls, path: Path | str, *, overwrite: bool = False) -> RunDirectory:
        """A directory for a new run; it becomes a run with `write_manifest`.

        Raises:
            UsageError: a run is there already, and `overwrite` is false.
            InputError: something that is no directory is there.
            StorageError: the disk refused.
        """
        run = cls(Path(path))
        if run.path.exists() and not run.path.is_dir():
            raise InputError(f"{path} is a file, not a directory.", remedy="Give --out another path.")
        if run.manifest_path.exists() and not overwrite:
            raise UsageError(
                f"There is a run at {path} already.", remedy="Add --resume to go on with it, or give another --out."
            )
        with storage_errors(f"create the run {path}"):
            if overwrite:
                for name in _OURS:
                    (run.path / name).unlink(missing_ok=True)
                if run.checkpoints.folder.exists():
                    shutil.rmtree(run.checkpoints.folder)
            run.checkpoints.folder.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """An existing run, its manifest read and checked.

        Raises:
            InputError: nothing there, or no run.
            FormatError: the manifest is damaged or of another schema version.
        """
        run = cls(Path(path))
        if not run.path.exists():
            raise InputError(f"No run at {path}.", remedy="`gz runs list DIR` shows the runs in a folder.")
        if not run.manifest_path.exists():
            raise InputError(
                f"{path} is not a run: it has no manifest.json.",
                remedy="Give the folder that --out of `gz train` named.",
            )
        run.manifest()
        return run

    @property
    def manifest_path(self) -> Path:
        """`manifest.json`."""
        return self.path / "manifest.json"

    @property
    def tokenizer_path(self) -> Path:
        """`tokenizer.json`."""
        return self.path / "tokenizer.json"

    @property
    def metrics_path(self) -> Path:
        """`metrics.jsonl`."""
        return self.path / "metrics.jsonl"

    @property
    def metrics(self) -> MetricLog:
        """The metric records."""
        return MetricLog(self.metrics_path)

    def manifest(self) -> dict[str, Any]:
        """The content of `manifest.json`.

        Raises:
            InputError: missing or unreadable.
            FormatError: damaged or of another schema version.
        """
        return read_sealed(self.manifest_path, reads=SCHEMA_VERSION, what="run manifest")

    def write_manifest(self, **fields: Any) -> None:
        """Write `manifest.json`: `fields` (config, seeds, data, tokenizer, hardware, command, ...) over those already
        there, with the versions and git state of now and the time of creation.

        Raises:
            StorageError: the disk refused.
        """
        before = self.manifest() if self.manifest_path.exists() else {}
        content = {
            "schema": SCHEMA_VERSION,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **before,
            "versions": versions(),
            "git": git_state(Path.cwd()),
            **fields,
        }
        with storage_errors(f"write {self.manifest_path}"):
            write_sealed(self.manifest_path, content)

    def publish_checkpoint(
        self, step: int, write: Callable[[Path], None], metadata: Mapping[str, Any] | None = None
    ) -> Path:
        """Save a checkpoint atomically; `write(folder)` writes its files. See `Checkpoints.publish`."""
        return self.checkpoints.publish(step, write, metadata).path

    def latest_verified(self) -> Search:
        """The newest checkpoint whose every byte is as written, and what was passed over, with reasons."""
        return self.checkpoints.latest()

    def checkpoint(self, which: Literal["best", "latest"] | int = "best") -> Search:
        """A verified checkpoint to load: the best (the newest where no best is marked or it is damaged), the newest, or
        a given step.

        Raises:
            InputError: there is no checkpoint, or not that one.
            FormatError: none is intact.
        """
        if isinstance(which, int):
            found = self.checkpoints.find(which)
            if found.checkpoint is None and which not in self.checkpoints.steps():
                steps = ", ".join(str(step) for step in self.checkpoints.steps()) or "none"
                raise InputError(f"{self.path} has no checkpoint of step {which}.", remedy=f"It has: {steps}.")
        else:
            found = self._best_or_latest(which)
        if found.checkpoint is None:
            if not found.skipped:
                raise InputError(f"{self.path} has no checkpoint yet.", remedy="Train it further with --resume.")
            raise FormatError(
                f"No intact checkpoint in {self.path}: {found.skipped[0]}.",
                remedy="Restore it from a copy, or give another step.",
            )
        return found

    def _best_or_latest(self, which: Literal["best", "latest"]) -> Search:
        skipped: tuple[str, ...] = ()
        if which == "best":
            try:
                best = self.best()
            except FormatError as error:
                best, skipped = None, (error.message,)
            if best is not None:
                found = self.checkpoints.find(best)
                if found.checkpoint is not None:
                    return found
                skipped = tuple(f"best, step-{best}: {problem}" for problem in found.skipped)
        latest = self.checkpoints.latest()
        return Search(latest.checkpoint, skipped + latest.skipped)

    def best(self) -> int | None:
        """The step marked best, if any.

        Raises:
            FormatError: the file `best` is damaged.
        """
        path = self.path / "best"
        if not path.exists():
            return None
        step = read_sealed(path, reads=SCHEMA_VERSION, what="note of the best step")["step"]
        assert isinstance(step, int)
        return step

    def mark_best(self, step: int, **metrics: float) -> None:
        """Name `step` the best, atomically, with the figures that made it so. It must be published and sound.

        Raises:
            FormatError: it is not.
            StorageError: the disk refused; the former best stays.
        """
        problems = [] if self.checkpoints.is_sound(step) else self.checkpoints.verify(step)
        if problems:
            raise FormatError(f"Step {step} cannot be the best: {problems[0]}.", remedy="Save it again.")
        with storage_errors(f"mark step {step} as the best of {self.path}"):
            write_sealed(self.path / "best", {"schema": SCHEMA_VERSION, "step": step, **metrics})

    def prune(self, keep: int) -> list[int]:
        """Delete all but the newest `keep` sound checkpoints and the best. See `Checkpoints.prune`."""
        best = self.best()
        return self.checkpoints.prune(keep, pinned=() if best is None else (best,))

    def sweep(self) -> list[str]:
        """Clear what a crash left behind; for the trainer, before it writes. Returns the names."""
        swept = []
        with storage_errors(f"clear leftovers in {self.path}"):
            for path in sorted(self.path.glob(".tmp-*")):
                swept.append(path.name)
                path.unlink()
        return swept + self.checkpoints.sweep()

    def verify(self, step: int | None = None) -> list[str]:
        """What is wrong with checkpoint `step`, or with the whole run: manifest, tokenizer, every checkpoint, best."""
        if step is not None:
            return self.checkpoints.verify(step)
        try:
            manifest = self.manifest()
        except GroundzeroError as error:
            return [error.message]
        problems = self._verify_recorded(manifest, "tokenizer", self.tokenizer_path)
        problems += self._verify_recorded(manifest, "data", self.path / "data" / "manifest.json")
        problems += self._verify_recorded(manifest, "conversations", self.path / "data" / "conversations.jsonl")
        for published in self.checkpoints.steps():
            problems.extend(f"step-{published}: {problem}" for problem in self.checkpoints.verify(published))
        try:
            best = self.best()
        except GroundzeroError as error:
            return [*problems, error.message]
        if best is not None and best not in self.checkpoints.steps():
            problems.append(f"the best step, {best}, has no checkpoint")
        return problems

    def _verify_recorded(self, manifest: Mapping[str, Any], key: str, path: Path) -> list[str]:
        """Compare a file with the hash that the manifest holds; nothing to say where it holds none, or where what it
        speaks of lies elsewhere (`path` in the entry)."""
        recorded = manifest.get(key)
        if not isinstance(recorded, Mapping) or not recorded.get("sha256") or recorded.get("path"):
            return []
        name = path.relative_to(self.path).as_posix()
        if not path.exists():
            return [f"{name} is missing"]
        return [] if sha256_of(path) == recorded["sha256"] else [f"{name} was altered (its SHA-256 differs)"]


def fresh_run_path(folder: Path = Path("runs"), name: str = "") -> Path:
    """A run directory that does not exist yet: `runs/<name>`, or by date; numbered when taken."""
    stem = name or datetime.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M")
    path, number = folder / stem, 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}"
    return path


def versions() -> dict[str, str]:
    """What made this run: our version, Python's, PyTorch's, NumPy's, and the platform."""
    found = {"groundzero": groundzero.__version__, "python": platform.python_version()}
    for name in ("torch", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return {**found, "platform": platform.platform()}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout around `folder`; None outside one, without git, or when it is slow."""
    git = shutil.which("git")
    if git is None:
        return None
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    answers = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                [git, "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=5,
                env=environment,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode != 0:
            return None
        answers.append(done.stdout.strip())
    return {"commit": answers[0], "dirty": bool(answers[1])}
