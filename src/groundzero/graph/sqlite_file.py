"""A graph's SQLite file: its schema, how it is opened with distrust, and what its errors mean to a user.

A file may come from anyone. Nothing in it is run: no triggers, views or generated columns are accepted, since the
schema must be, table by table, the one written here. Readers open it read-only: they can neither write nor checkpoint.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from groundzero.errors import FormatError, GroundzeroError, InputError, StorageError

APPLICATION_ID = 0x475A4B47
"""GZKG, in the file's header."""
VERSION = 1
"""Of the schema, in the file's `user_version`."""
PAGE_SIZE = 4096
OLDEST_ENGINE = (3, 37, 0)
"""SQLite that has STRICT tables. (Before 3.53.2 its FTS5 has a flaw that a hostile file can use; 3.51.3 mends a race of
checkpoints, which the lease keeps us out of.)"""

_NAME_COLUMNS = """
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    text TEXT NOT NULL,
    language TEXT NOT NULL,
    added INTEGER NOT NULL,
    retired INTEGER
) STRICT"""
_STATEMENT_INDEXES = (
    "CREATE INDEX statement_subject ON statement (subject, relation, object)",
    "CREATE INDEX statement_object ON statement (object, relation) WHERE object > 0",
    "CREATE INDEX statement_source ON statement (source) WHERE source IS NOT NULL",
    "CREATE INDEX statement_retired ON statement (retired) WHERE retired IS NOT NULL",
)
BULK_INDEXES = dict(
    zip(("statement_subject", "statement_object", "statement_source"), _STATEMENT_INDEXES, strict=False)
)
"""Indexes that a large import drops and builds again, sorted, in the same transaction."""
SCHEMA = (
    "CREATE TABLE transaction_log (id INTEGER PRIMARY KEY, committed TEXT NOT NULL,"
    " first_statement INTEGER NOT NULL, first_name INTEGER NOT NULL, first_entity INTEGER NOT NULL) STRICT",
    "CREATE TABLE entity (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, added INTEGER NOT NULL) STRICT",
    "CREATE TABLE relation (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, added INTEGER NOT NULL) STRICT",
    "CREATE TABLE source (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, title TEXT NOT NULL,"
    " revision TEXT NOT NULL, licence TEXT NOT NULL, digest TEXT NOT NULL, added INTEGER NOT NULL) STRICT",
    f"CREATE TABLE entity_name ({_NAME_COLUMNS}",
    f"CREATE TABLE relation_name ({_NAME_COLUMNS}",
    """CREATE TABLE statement (
    id INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    relation INTEGER NOT NULL,
    object INTEGER NOT NULL,
    value TEXT,
    datatype TEXT,
    language TEXT,
    source INTEGER,
    span_start INTEGER,
    span_end INTEGER,
    confidence REAL NOT NULL,
    valid_from TEXT NOT NULL,
    valid_to TEXT NOT NULL,
    status INTEGER NOT NULL,
    added INTEGER NOT NULL,
    retired INTEGER
) STRICT""",
    *_STATEMENT_INDEXES,
    "CREATE INDEX entity_name_owner ON entity_name (owner)",
    "CREATE INDEX entity_name_text ON entity_name (text) WHERE kind < 2",
    "CREATE INDEX entity_name_retired ON entity_name (retired) WHERE retired IS NOT NULL",
    "CREATE INDEX relation_name_owner ON relation_name (owner)",
    # Only the index of words: the names themselves are in entity_name, under the same id. Tokens come from
    # `folding`, which leaves white space between them and none of the characters that FTS5 gives a meaning.
    "CREATE VIRTUAL TABLE name_words USING fts5(words, content='', tokenize=\"ascii tokenchars '+#$%&@*<=>|~'\")",
)
_SHADOWS = {"name_words_data", "name_words_idx", "name_words_docsize", "name_words_config"}

# By number, because Python 3.11 does not know the names.
_NO_CHECKPOINT_ON_CLOSE = 1006
_CONFIG = {1002: False, 1010: True, 1015: False}
"""SQLITE_DBCONFIG_ENABLE_TRIGGER, DEFENSIVE, ENABLE_VIEW."""

_REFUSED = {
    sqlite3.SQLITE_FULL: "Free some disk space and try again.",
    sqlite3.SQLITE_IOERR: "Check the disk; what was committed before is untouched.",
    sqlite3.SQLITE_READONLY: "Make the file and its folder writable.",
    sqlite3.SQLITE_CANTOPEN: "Check that the file and its folder can be read and written.",
    sqlite3.SQLITE_PERM: "Check the permissions.",
    sqlite3.SQLITE_BUSY: "Another program holds the file; try again when it has finished.",
    sqlite3.SQLITE_LOCKED: "Another program holds the file; try again when it has finished.",
    sqlite3.SQLITE_NOMEM: "Free some memory and try again.",
}


ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What a query raises over a file that is damaged, on a disk that is full, and so on."""


def explain(error: Exception, path: Path) -> Exception:
    """What an error of SQLite's means for the user; a mistake in how we call it stays what it is."""
    if isinstance(error, sqlite3.ProgrammingError) or not isinstance(error, ERRORS):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in _REFUSED:
        return StorageError(f"Cannot use {path}: {error}.", remedy=_REFUSED[code])
    line = " ".join(str(error).split())[:200]  # a hostile file may put anything into an error
    return FormatError(
        f"{path} is damaged or no graph: {line}.", remedy="Restore it from a backup, or import it again."
    )


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection with every defence on. `mode` is ro, rw or rwc.

    Raises:
        StorageError, FormatError: the file cannot be opened, or is no database.
    """
    if sqlite3.sqlite_version_info < OLDEST_ENGINE:
        raise StorageError(f"This Python has SQLite {sqlite3.sqlite_version}.", remedy="Use one with 3.37 or later.")
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    log = path.with_name(path.name + "-wal")
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
        uri += "&immutable=1"  # on a read-only disk nobody can be writing, and the shared memory cannot be made
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise explain(error, path) from None
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 0)
        if hasattr(connection, "setconfig"):  # Python 3.12
            for option, value in _CONFIG.items():
                connection.setconfig(option, value)
            connection.setconfig(_NO_CHECKPOINT_ON_CLOSE, mode == "ro")
        if mode != "ro":
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -131072")  # KiB, taken only as needed: imports fill it
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path) from None
    return connection


def create(path: Path) -> None:
    """An empty graph in a file that is missing or empty. Another process may be doing the same: one of them does.

    Raises:
        StorageError: the place cannot be written to.
        FormatError: there is something else in the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot make {path.parent}: {error.strerror}.", remedy="Give another place.") from None
    with closing(connect(path, "rwc")) as connection:
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if "no such module" in str(error):
                raise StorageError("This Python's SQLite has no FTS5.", remedy="Use a Python that has.") from None
            raise explain(error, path) from None
    sync_folder(path.parent)


def is_empty(path: Path) -> bool:
    """Whether there is nothing at `path` that a graph could be lost from."""
    wal = path.with_name(path.name + "-wal")
    return (not path.exists() or path.stat().st_size == 0) and (not wal.exists() or wal.stat().st_size == 0)


def is_blank(path: Path) -> bool:
    """Whether a graph can be made at `path`: nothing is there, or a database in which nothing was ever made.

    The latter is what a creation leaves that was killed, or found the disk full.
    """
    if is_empty(path):
        return True
    try:
        with closing(connect(path, "ro")) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            return bool(application == 0 and not connection.execute("SELECT 1 FROM sqlite_schema").fetchall())
    except (*ERRORS, GroundzeroError):
        return False  # opening it will say what is wrong


def check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of an open file.

    Raises:
        FormatError: it is no graph, newer than this release, or holds anything that a graph does not.
    """
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        found = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
    except ERRORS as error:
        raise explain(error, path) from None
    if application != APPLICATION_ID:
        raise FormatError(
            f"{path} is no graph of groundzero.", remedy="Make one with `gz graph import FILE --graph DB`."
        )
    if version > VERSION:
        raise FormatError(
            f"{path} has schema version {version}; this release reads up to {VERSION}.", remedy="Update groundzero."
        )
    if version == VERSION:
        _compare_schema(found, path)
    if journal not in ("wal", "off", "delete") or version < 1:
        raise FormatError(f"{path} is damaged: journal {journal}, version {version}.", remedy="Restore a backup.")
    return version


def _compare_schema(found: list[tuple[str, str, str | None]], path: Path) -> None:
    """Every object of the file is one of ours, word for word, and none is missing."""
    expected = {_plain(statement) for statement in SCHEMA}
    for kind, name, sql in found:
        if sql is None and kind == "index" and str(name).startswith("sqlite_autoindex_"):
            continue
        if kind == "table" and name in _SHADOWS and str(sql).startswith("CREATE TABLE"):
            continue
        if _plain(str(sql)) not in expected:
            raise FormatError(
                f"{path} holds the {kind} {str(name)[:60]!r}, which is not part of a graph.",
                remedy="Do not use a file from a stranger; import its data instead.",
            )
        expected.discard(_plain(str(sql)))
    if expected:
        missing = min(expected).split("(")[0].strip()
        raise FormatError(f"{path} is damaged: {missing} is missing.", remedy="Restore it from a backup.")


def _plain(sql: str) -> str:
    return re.sub(r"\s+", " ", sql).strip()


def require(path: Path) -> None:
    """Raises:
    InputError: there is no such file, or it is empty.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a graph.", remedy="Give the graph's file, such as facts.db.")
    if not path.exists() or is_empty(path):
        raise InputError(f"No graph at {path}.", remedy="Make one with `gz graph import FILE --graph DB`.")


def sync_folder(folder: Path) -> None:
    """Wait for the disk, so that a new file's name survives a power loss. Windows has no such call, and needs none."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
