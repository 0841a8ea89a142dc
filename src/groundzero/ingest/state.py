"""What learning remembers beside the graph: how far each source was read, and the model of how prose says things.

A folder next to the graph's file. Nothing in it is needed for the graph to be right: without it sources are read again,
and found to be known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundzero.errors import FormatError
from groundzero.ingest.knowledge import Knowledge
from groundzero.ingest.model_file import read_model, write_model
from groundzero.ingest.pages import PageModel
from groundzero.ingest.patterns import Patterns
from groundzero.ingest.sources import Source
from groundzero.run.files import storage_errors, write_atomic

SCHEMA = 1


class LearnState:
    """The folder's files. `None` for the folder keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._positions: dict[str, int] = {}
        if folder is not None and (folder / "sources.json").is_file():
            self._positions = _read_positions(folder / "sources.json")

    def position(self, source: Source) -> int:
        """Documents of a source that were recorded before."""
        return abs(self._positions.get(source.key, 0)) if source.resumable else 0

    def is_finished(self, source: Source) -> bool:
        """Whether a source was read to its end, and cannot have changed since."""
        return source.resumable and self._positions.get(source.key, 0) < 0

    def reached(self, source: Source, *, finished: bool = False) -> None:
        """Remember that everything so far of this source is recorded. Folders and files are always read again."""
        if not source.resumable:
            return
        if not finished and source.position == self.position(source):
            return
        self._positions[source.key] = -source.position if finished else source.position
        if self.folder is not None:
            content = {"schema": SCHEMA, "positions": self._positions}
            with _made(self.folder):
                write_atomic(self.folder / "sources.json", json.dumps(content, indent=1).encode())

    def models(self, knowledge: Knowledge) -> tuple[PageModel | None, Patterns | None]:
        """What was learnt last of how prose says things, if anything was."""
        if self.folder is None:
            return None, None
        prose, patterns = self.folder / "prose.npz", self.folder / "patterns.json"
        return (
            read_model(prose, knowledge.facts, knowledge.gazetteer) if prose.is_file() else None,
            Patterns.load(patterns, knowledge.facts, knowledge.gazetteer) if patterns.is_file() else None,
        )

    def save_patterns(self, patterns: Patterns, knowledge: Knowledge) -> None:
        """Keep patterns, with what their relations are called."""
        if self.folder is not None:
            labels = {each.id: each.label for each in knowledge.store.relations()}
            with _made(self.folder):
                patterns.save(self.folder / "patterns.json", labels)

    def save_model(self, model: PageModel) -> None:
        """Keep a model for sources that teach nothing themselves."""
        if self.folder is not None:
            with _made(self.folder):
                write_model(self.folder / "prose.npz", model)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Write in a folder that may not be there yet. What the disk refuses is a StorageError; the facts are safe."""
    with storage_errors(f"write in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        yield


def _read_positions(path: Path) -> dict[str, int]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise FormatError(f"{path} is of version {content['schema']}.", remedy="Delete it; sources are read again.")
        return {str(key): int(value) for key, value in content["positions"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FormatError(f"{path} is damaged.", remedy="Delete it; sources are read again.") from None
