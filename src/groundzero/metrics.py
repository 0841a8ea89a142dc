"""Metric records: one JSON object a line, appended and flushed, so that a crash loses at most the line in flight."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


class MetricLog:
    """An append-only `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, **record: Any) -> None:
        """Write one record. Keys are metric names, values JSON scalars (strings for samples)."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def truncate_after(self, step: int) -> None:
        """Drop records of later steps, so that a resumed run does not log a step twice."""
        self.retain(lambda record: record.get("step", 0) <= step)

    def retain(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the records for which `keep` is false."""
        if not self.path.exists():
            return
        kept = [record for record in self if keep(record)]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept), encoding="utf-8")
        temporary.replace(self.path)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The records so far; a torn last line is left out."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:  # a crash may cut a character in two
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
