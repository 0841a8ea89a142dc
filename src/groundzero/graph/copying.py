"""A graph into a new file, as it is now or as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

from groundzero.errors import InputError
from groundzero.graph.exporting import export_file
from groundzero.graph.importing import import_file
from groundzero.graph.nouns import Transaction
from groundzero.graph.sqlite import SQLiteStore
from groundzero.graph.store import Store


def copy_graph(store: Store, target: Path, *, at: Transaction | None = None) -> None:
    """Write the graph to a new SQLite file: with its history where it is copied as it is now, else without.

    Raises:
        InputError: there is a file at `target`, or no such transaction.
        StorageError: the file cannot be written.
    """
    if target.exists():
        raise InputError(f"There is a file at {target}.", remedy="Name a new one.")
    if at in (None, store.transaction()) and isinstance(store, SQLiteStore):
        store.backup(target)
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        rows, copy = Path(folder) / "rows.jsonl", Path(folder) / "copy.db"
        export_file(store, rows, at=at)
        made = SQLiteStore(copy, create=True)
        try:
            if store.counts(at=at).entities:
                import_file(made, rows)
        finally:
            made.close()
        copy.rename(target)
