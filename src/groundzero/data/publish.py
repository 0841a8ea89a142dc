"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundzero.errors import StorageError
from groundzero.run.files import flush_directory, flush_file

_ABANDONED_S = 24 * 3600.0


@contextmanager
def published(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `folder`, that takes its name when the block ends without an exception.

    Files are synced before the rename, so that after a crash the name leads to a complete folder or to what was there
    before. Otherwise, Ctrl-C included, the temporary folder is removed.

    What a killed process left beside `folder` is tidied up: an older folder that was just being replaced gets its name
    back, and temporary folders that nothing was added to for a day are removed.

    Raises:
        StorageError: something is at `folder` and `overwrite` is false, or the disk refuses (full, read-only, no
            permission).
    """
    temporary = folder.parent / f".{folder.name}.tmp-{uuid.uuid4().hex[:12]}"
    try:
        _tidy(folder)
        if folder.exists() and not overwrite:
            raise StorageError(
                f"{folder} already exists.", remedy="Choose another folder, or replace it with --overwrite."
            )
        temporary.mkdir(parents=True)
        yield temporary
        for path in sorted(temporary.iterdir()):
            flush_file(path)
        flush_directory(temporary)
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
    try:
        flush_directory(folder.parent)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _tidy(folder: Path) -> None:
    if not folder.parent.is_dir():
        return
    for left in sorted(folder.parent.iterdir()):  # not glob: the name may hold what it reads as a pattern
        with contextlib.suppress(FileNotFoundError):  # another process may be tidying too
            if left.name.startswith(f".{folder.name}.old-"):
                shutil.rmtree(left) if folder.exists() else left.rename(folder)
            elif left.name.startswith(f".{folder.name}.tmp-") and time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left)
