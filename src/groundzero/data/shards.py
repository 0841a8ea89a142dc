"""Writing one split: .npy files of bounded size, and the index of document starts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groundzero.data.manifest import ShardRecord, SplitRecord, file_record


class SplitWriter:
    """Collects ids and writes a shard whenever `shard_tokens` are there; holds one shard in memory.

    Raises:
        OSError: the disk refuses.
    """

    def __init__(self, folder: Path, name: str, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self._folder = folder
        self._name = name
        self._dtype = dtype
        self._shard_tokens = shard_tokens
        self._waiting: list[npt.NDArray[Any]] = []
        self._waiting_tokens = 0
        self._shards: list[ShardRecord] = []
        self._starts = array("q")
        self._tokens = self._text_tokens = self._unknown = self._characters = self._bytes = 0

    def add(
        self,
        ids: npt.NDArray[Any],
        text: str,
        *,
        starts: bool,
        before: Sequence[int],
        after: Sequence[int],
        unknown: int,
    ) -> None:
        """Append the ids of `text`, with control ids before and after; `starts` says that a document begins here."""
        if starts:
            self._starts.append(self._tokens)
        framed = np.concatenate([before, ids, after]) if before or after else ids
        self._append(framed.astype(self._dtype))
        self._tokens += len(framed)
        self._text_tokens += len(ids)
        self._unknown += int(np.count_nonzero(ids == unknown))
        self._characters += len(text)
        self._bytes += len(text.encode("utf-8"))

    def close(self) -> None:
        """Write what is left."""
        while self._waiting_tokens:
            self._write_shard()
        np.save(self._starts_path, np.frombuffer(self._starts, dtype=np.int64).astype("<i8"))

    def record(self) -> SplitRecord:
        """What was written, after `close`."""
        return SplitRecord(
            documents=len(self._starts),
            tokens=self._tokens,
            text_tokens=self._text_tokens,
            unknown_tokens=self._unknown,
            characters=self._characters,
            bytes=self._bytes,
            shards=tuple(self._shards),
            starts=file_record(self._starts_path),
        )

    @property
    def _starts_path(self) -> Path:
        return self._folder / f"{self._name}-starts.npy"

    def _append(self, ids: npt.NDArray[Any]) -> None:
        self._waiting.append(ids)
        self._waiting_tokens += len(ids)
        while self._waiting_tokens >= self._shard_tokens:
            self._write_shard()

    def _write_shard(self) -> None:
        waiting = np.concatenate(self._waiting)
        shard, rest = waiting[: self._shard_tokens], waiting[self._shard_tokens :]
        path = self._folder / f"{self._name}-{len(self._shards):05}.npy"
        np.save(path, shard)
        self._shards.append(ShardRecord(**file_record(path).model_dump(), tokens=len(shard)))
        self._waiting, self._waiting_tokens = [rest], len(rest)
