"""Looking after a graph's file: copies of it, a thorough check, and bringing older ones up to date."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from groundzero.errors import FormatError, StorageError
from groundzero.graph import sqlite_file as file
from groundzero.graph.nouns import Transaction

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""Statements that bring a file from the schema version that is the key to the next."""


def backup(path: Path, target: Path) -> Transaction:
    """Copy a graph as it is now, while others read and write it; returns the transaction that the copy shows.

    The copy appears under its name when it is whole and on disk, never before.

    Raises:
        StorageError: there is something at `target`, or it cannot be written.
    """
    if target.exists():
        raise StorageError(f"{target} exists.", remedy="Give a backup a name of its own.")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with closing(file.connect(path, "ro")) as source, closing(sqlite3.connect(part)) as copy:
            source.execute("BEGIN")
            found = source.execute("SELECT coalesce(max(id), 0) FROM transaction_log").fetchone()
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # all of it in this one file, whatever renames it
        part.replace(target)
        file.sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError(f"Cannot write {target}: {error.strerror}.", remedy="Give another place.") from error
        raise file.explain(error, target) from error
    return int(found[0])


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Look at every page, every row and the index of words. Seconds for a million statements.

    Raises:
        FormatError: something is damaged.
    """
    words = "SELECT (SELECT count(*) FROM name_words_docsize), (SELECT count(*) FROM entity_name WHERE kind < 2)"
    try:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        indexed, named = connection.execute(words).fetchone()
    except sqlite3.Error as error:
        raise file.explain(error, path) from error
    if found != "ok":
        raise FormatError(f"{path} is damaged: {' '.join(str(found).split())[:200]}.", remedy="Restore a backup.")
    if indexed != named:
        raise FormatError(f"{path} has {named} names, but {indexed} are indexed.", remedy="Restore a backup.")


def migrate(path: Path, version: int) -> Path:
    """Bring a file of an older version up to date, in one transaction, after copying it; returns the copy's path.

    The caller holds the lease.

    Raises:
        FormatError, StorageError: it cannot be done; the file is as it was.
    """
    copy = path.with_name(f"{path.name}.version-{version}")
    if not copy.exists():
        backup(path, copy)
    with closing(file.connect(path, "rw")) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            now = int(connection.execute("PRAGMA user_version").fetchone()[0])  # another process may have been first
            for each in range(now, file.VERSION):
                for statement in MIGRATIONS[each]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {file.VERSION}")
            file.check_schema(connection, path)  # closing without the commit below undoes all
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise file.explain(error, path) from error
    return copy
