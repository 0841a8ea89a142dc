"""A disk that fails or loses power at the N-th call, for tests of what survives.

`FaultyDisk` counts the calls that change a disk. At call `at` it either refuses (`OSError`, once or from then on) or
loses power: nothing works from then on, and files that were never flushed come back empty.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest

CALLS = ("write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
Mode = Literal["refuse once", "refuse from then on", "lose power"]


class PowerLoss(BaseException):
    """The process is gone; no `except Exception` sees it."""


class FaultyDisk:
    """Fails at call number `at`, counted from 1."""

    def __init__(self, at: int, mode: Mode, code: int = errno.ENOSPC) -> None:
        self.at, self.mode, self.code = at, mode, code
        self.calls = 0
        self._flushed: set[int] = set()

    @property
    def struck(self) -> bool:
        """Whether the fault has happened."""
        return self.calls >= self.at

    @contextmanager
    def installed(self, folder: Path) -> Iterator[None]:
        """Replace the calls of `os` while the block runs; what is in `folder` already counts as flushed."""
        self._flushed = {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
        real = {name: getattr(os, name) for name in CALLS}
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._wrap(name, real[name]))
            with suppress(PowerLoss):
                yield
        if self.mode == "lose power" and self.struck:
            for path in folder.rglob("*"):
                if path.is_file() and path.stat().st_ino not in self._flushed:
                    path.write_bytes(b"")

    def _wrap(self, name: str, call: Any) -> Any:
        def faulty(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at or (self.calls > self.at and self.mode != "refuse once"):
                if self.mode == "lose power":
                    raise PowerLoss
                raise OSError(self.code, os.strerror(self.code))
            if name == "write":
                self._flushed.discard(os.fstat(arguments[0]).st_ino)
            result = call(*arguments, **options)
            if name == "fsync":
                self._flushed.add(os.fstat(arguments[0]).st_ino)
            return result

        return faulty


def write_unflushed(path: Path, content: bytes) -> None:
    """Write a file in two calls and leave flushing to others, as a library that saves weights does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0))
    try:
        half = len(content) // 2
        os.write(descriptor, content[:half])
        os.write(descriptor, content[half:])
    finally:
        os.close(descriptor)
