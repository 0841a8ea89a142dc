"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundzero.errors import StorageError


@contextmanager
def published(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `folder`, that takes its name when the block ends without an exception.

    Files are synced before the rename, so that after a crash the name leads to a complete folder or to what was there
    before. Otherwise, Ctrl-C included, the temporary folder is removed.

    Raises:
        StorageError: something is at `folder` and `overwrite` is false, or the disk refuses (full, read-only, no
            permission).
    """
    if folder.exists() and not overwrite:
        raise StorageError(f"{folder} already exists.", remedy="Choose another folder, or replace it with --overwrite.")
    temporary = folder.parent / f".{folder.name}.tmp-{uuid.uuid4().hex[:12]}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _sync(temporary)
        _rename_over(temporary, folder)
    except OSError as error:
        raise StorageError(
            f"Cannot write {folder}: {error.strerror or error}.",
            remedy="Free some space, or choose a folder that you may write to.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_over(temporary: Path, folder: Path) -> None:
    old = folder.parent / f".{folder.name}.old-{uuid.uuid4().hex[:12]}"
    if folder.exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Make names durable; only POSIX can, and need."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
