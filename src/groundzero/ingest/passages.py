"""The sentence behind a candidate, for people to judge by: kept beside the graph, or cut from the file it came from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from groundzero.errors import InputError
from groundzero.graph.nouns import Source
from groundzero.ingest.documents import digest_of
from groundzero.ingest.folder import append
from groundzero.ingest.sources import read_text
from groundzero.run.files import storage_errors, write_atomic

_MAX_BYTES = 64 * 2**20
"""Size of the file after which no more is kept."""
_LONGEST = 300

Place = tuple[str, int, int]
"""A source's key and two characters of it."""


class PassageLog:
    """`passages.jsonl` of a folder: a line for each candidate that waits in quarantine."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "passages.jsonl"
        self._held: dict[Place, str] | None = None

    def keep(self, rows: Iterable[tuple[str, int, int, str]]) -> None:
        """Add passages; a file that has grown too large takes no more.

        Raises:
            StorageError: the disk refuses.
        """
        lines = [json.dumps([*place, " ".join(text.split())[:_LONGEST]]) + "\n" for *place, text in rows]
        if self.path is None or not lines or (self.path.is_file() and self.path.stat().st_size > _MAX_BYTES):
            return
        with storage_errors(f"write {self.path}"):
            append(self.path, "".join(lines).encode())

    def forget(self, keys: Collection[str]) -> int:
        """Erase the passages of these sources; returns how many. The file changes at once or not at all.

        Raises:
            StorageError: the disk refuses.
        """
        if self.path is None or not self.path.is_file():
            return 0
        with storage_errors(f"write {self.path}"):
            lines = self.path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _key_of(line) not in keys]
            if len(kept) < len(lines):
                write_atomic(self.path, b"".join(kept))
                self._held = None
        return len(lines) - len(kept)

    def find(self, source: Source, start: int, end: int) -> str:
        """The passage; empty where it is kept nowhere."""
        if self._held is None:
            self._held = self._read()
        return self._held.get((source.key.partition("#version=")[0], start, end)) or _from_file(source, start, end)

    def _read(self) -> dict[Place, str]:
        held: dict[Place, str] = {}
        if self.path is not None and self.path.is_file():
            with self.path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    with contextlib.suppress(ValueError, TypeError):
                        key, start, end, text = json.loads(line)
                        held[str(key), int(start), int(end)] = str(text)
        return held


def _key_of(line: bytes) -> str | None:
    """The source that a line is of; None where a crash left half a line."""
    with contextlib.suppress(ValueError, TypeError, IndexError):
        row = json.loads(line)
        return str(row[0])
    return None


def _from_file(source: Source, start: int, end: int) -> str:
    """Cut from the file, if it is there and is still what was read."""
    path = Path(source.key)
    if not path.is_file():
        return ""
    with contextlib.suppress(InputError, OSError):
        text = read_text(path)
        if digest_of(text) == source.digest:
            return " ".join(text[start:end].split())[:_LONGEST]
    return ""
