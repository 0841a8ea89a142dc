"""New and changed files, by looking again and again: works on every platform and network drive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from groundzero.errors import InputError
from groundzero.ingest.sources import walk


def changes(
    paths: Sequence[Path],
    every: float,
    *,
    looks: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[Path]]:
    """Files that are new or have changed since the last look; at the first look, all.

    A file is given only once its size and time stay the same from one look to the next, so that one still being
    written is left alone (at the first look, what is there is taken to be whole).

    Args:
        looks: end after so many; None goes on.

    Raises:
        InputError: a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {path}.", remedy="Check the path.")
    given: dict[Path, tuple[int, int]] = {}
    before: dict[Path, tuple[int, int]] | None = None
    done = 0
    while looks is None or done < looks:
        now = _stamps(paths)
        steady = [path for path, stamp in now.items() if before is None or before.get(path) == stamp]
        fresh = [path for path in steady if given.get(path) != now[path]]
        given |= {path: now[path] for path in fresh}
        before = now
        if fresh:
            yield fresh
        done += 1
        if looks is None or done < looks:
            sleep(every)


def _stamps(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    stamps = {}
    for path in paths:
        for file in walk(path) if path.is_dir() else [path]:
            try:
                stat = file.stat()
            except OSError:  # gone since it was listed
                continue
            stamps[file] = (stat.st_size, stat.st_mtime_ns)
    return stamps
