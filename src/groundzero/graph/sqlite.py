"""The default store: one SQLite file in WAL mode with FTS5.

Readers never block the writer nor it them. A committed transaction is on disk (`synchronous=FULL`). Only the holder
of the lease writes and checkpoints. Connections do not outlive a fork: a child opens its own.
"""

# ruff: noqa: S608 - names of tables and conditions are ours; every value is bound
from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import FormatError, StorageError
from groundzero.graph import sql_rows as rows
from groundzero.graph import sqlite_care
from groundzero.graph import sqlite_file as file
from groundzero.graph.folding import index_terms
from groundzero.graph.lease import Lease
from groundzero.graph.nouns import EntityId, SourceId, Transaction
from groundzero.graph.sql_reader import SQLReader
from groundzero.graph.sql_writer import SQLWriter
from groundzero.graph.store import Capabilities, Reader, Writer

CHECKPOINT_BYTES = 4 * 2**20
"""Size of the log at which a commit moves it into the file, as far as readers let it."""
WAL_CAP_BYTES = 64 * 2**20
"""Size of the log at which the writer waits for readers to finish, so that it can start the log anew."""
WAIT_FOR_READERS_MS = 500
COMMON = 20_000
"""Names that a search ranks at most."""
IDLE = 4
"""Connections kept for the next snapshots: opening one takes a millisecond."""
_log = logging.getLogger(__name__)


class SQLiteReader(SQLReader):
    """Reads over one connection, shared by threads one query at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return str(self._path)

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(sql, parameters).fetchall()
        except file.ERRORS as error:
            raise file.explain(error, self._path) from error

    def _search(self, words: list[str], limit: int, at: Transaction | None) -> list[tuple[EntityId, float]]:
        rare, is_ranked = self._rarest(words)
        condition, parameters = rows.alive(at, "entity_name.")
        score, order = ("-rank", "rank") if is_ranked else ("0.0", "name_words.rowid")
        sql = (
            f"SELECT owner, {score} FROM name_words JOIN entity_name ON entity_name.id = name_words.rowid"
            f" WHERE name_words MATCH ? AND {condition} ORDER BY {order} LIMIT ?"
        )
        match = " OR ".join(f'"{word}"' for word in rare)  # quoted, and tokens hold no quotes: all is literal
        return self._all(sql, (match, *parameters, limit))

    def _rarest(self, words: list[str]) -> tuple[list[str], bool]:
        """The words worth looking for, and whether their names can be ranked in milliseconds.

        Ranking takes a microsecond for each name that shares a word. A word of very many names says next to nothing
        beside a rarer one; where there is none, its names are given in the order they were added.
        """
        self._all("CREATE VIRTUAL TABLE IF NOT EXISTS temp.name_terms USING fts5vocab('main', 'name_words', 'row')")
        frequency = {}
        for word in words:
            found = self._all("SELECT doc FROM temp.name_terms WHERE term = ?", (word,))
            frequency[word] = found[0][0] if found else 0
        chosen: list[str] = []
        total = 0
        for word in sorted(words, key=frequency.__getitem__):
            total += frequency[word]
            if total > COMMON and total > frequency[word]:  # and a rarer one was found
                break
            chosen.append(word)
        return chosen, frequency[chosen[-1]] <= COMMON


class SQLiteWriter(SQLWriter):
    """Writes over the one writing connection, inside its transaction."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        super().__init__(str(path))

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except file.ERRORS as error:
            raise file.explain(error, self._path) from error

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(sql, parameters).rowcount
        except file.ERRORS as error:
            raise file.explain(error, self._path) from error

    def _insert(self, table: str, columns: str, values: Iterable[Sequence[Any]]) -> None:
        marks = ", ".join("?" * (columns.count(",") + 1))
        try:
            self._connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
        except file.ERRORS as error:
            raise file.explain(error, self._path) from error

    def _insert_names(self, names: Sequence[tuple[int, int, str, int, str]]) -> None:
        columns = "id, owner, text, kind, language, added"
        self._insert("entity_name", columns, [(*name, self._transaction) for name in names])
        searched = ((id_, " ".join(index_terms(text))) for id_, _, text, kind, _ in names if kind < rows.SEARCHED)
        self._insert("name_words", "rowid, words", searched)

    def _bulk_rows(self, start: int, ends_N3: NDArray[np.int64], source: SourceId | None) -> None:
        rebuild = len(ends_N3) > start  # more than there are: sorting them anew is quicker than placing each
        for index in file.BULK_INDEXES if rebuild else ():
            self._run(f"DROP INDEX {index}")
        sql = (
            "INSERT INTO statement (id, subject, relation, object, source, confidence, valid_from, valid_to, status,"
            " added) VALUES (?, ?, ?, ?, "
            f"{'NULL' if source is None else int(source)}, 1.0, '', '', 0, {self._transaction})"
        )
        ids = range(start, start + len(ends_N3))
        try:
            self._connection.executemany(sql, zip(ids, *ends_N3.T.tolist(), strict=True))
        except file.ERRORS as error:
            raise file.explain(error, self._path) from error
        for create_index in file.BULK_INDEXES.values() if rebuild else ():
            self._run(create_index)

    def _living_among(self, ends_N3: NDArray[np.int64], source: SourceId | None) -> NDArray[np.bool_]:
        if self._last["statement"] == 0:
            return np.zeros(len(ends_N3), dtype=np.bool_)
        self._run("CREATE TABLE IF NOT EXISTS temp.asked (n INTEGER PRIMARY KEY, s INTEGER, r INTEGER, o INTEGER)")
        self._run("DELETE FROM asked")
        self._insert("asked", "n, s, r, o", zip(range(len(ends_N3)), *ends_N3.T.tolist(), strict=True))
        sql = (
            "SELECT n FROM asked JOIN statement ON subject = s AND relation = r AND object = o"
            " WHERE source IS ? AND span_start IS NULL AND retired IS NULL"
        )
        there = np.zeros(len(ends_N3), dtype=np.bool_)
        there[[row[0] for row in self._all(sql, (source,))]] = True
        return there


class SQLiteStore(SQLiteReader):
    """A graph in a file.

    Args:
        create: make the file where there is none.
        read_only: refuse to write, and never touch the file.
        timeout: seconds to wait for another writer.

    Raises:
        InputError: there is no such file. FormatError: it is damaged, hostile, or newer. StorageError: it cannot be
        opened.
    """

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False, timeout: float = 10.0) -> None:
        if create and not read_only and file.is_blank(path):
            file.create(path)
        file.require(path)
        self._path = path
        self._read_only = read_only
        self._process = os.getpid()
        self._lease = Lease(path, timeout=timeout)
        self._wal_cap = WAL_CAP_BYTES
        self._writing: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []  # those that snapshots are done with
        self._abandoned: list[Any] = []  # of a parent process: closing them here is not allowed
        try:
            super().__init__(path, self._open_and_migrate())
        except BaseException:
            self._lease.close()
            raise

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(writable=not self._read_only, as_of=True, full_text=True, sources=True, many_hosts=False)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        if self._process != os.getpid():
            self._after_fork()
        connection = self._idle.pop() if self._idle else _open_reading(self._path)
        try:
            reader = SQLiteReader(self._path, connection)
            connection.execute("BEGIN")
            reader.transaction()  # the first read fixes what is seen
            yield reader
        finally:
            connection.execute("ROLLBACK")
            if len(self._idle) < IDLE:
                self._idle.append(connection)
            else:
                connection.close()

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        if self._read_only:
            raise StorageError(f"{self._path} was opened for reading only.", remedy="Open it without read_only.")
        with self._lease.hold():
            connection = self._writing_connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
                writer = SQLiteWriter(self._path, connection)
                yield writer
                connection.execute("COMMIT" if writer.finish() else "ROLLBACK")
            except BaseException as error:
                self._drop_writing()  # also undoes; after a failed fsync nothing more is asked of the connection
                if isinstance(error, file.ERRORS):
                    raise file.explain(error, self._path) from error
                raise
            self._checkpoint(connection)

    def backup(self, target: Path) -> Transaction:
        """Copy the graph as it is now, while others read and write; the copy is a graph like any other.

        Raises:
            StorageError: there is something at `target`, or it cannot be written.
        """
        return sqlite_care.backup(self._path, target)

    def check(self) -> None:
        """Look at every page and every row. Raises FormatError where something is damaged."""
        with closing(_open_reading(self._path)) as connection:
            sqlite_care.check(connection, self._path)

    def close(self) -> None:
        if self._process == os.getpid():
            if self._writing is not None:
                with suppress(StorageError), self._lease.hold():
                    self._checkpoint(self._writing, closing=True)
            for connection in (self._connection, *self._idle):
                connection.close()
            self._lease.close()
            self._drop_writing()  # last, because it may remove the empty log

    def _open_and_migrate(self) -> sqlite3.Connection:
        connection = file.connect(self._path, "ro")
        try:
            version = file.check_schema(connection, self._path)
            if version == file.VERSION:
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        if self._read_only:
            raise FormatError(
                f"{self._path} has the older schema version {version}.", remedy="Open it once without read_only."
            )
        with self._lease.hold():
            kept = sqlite_care.migrate(self._path, version)
        _log.warning("%s was brought to schema version %d; as it was: %s", self._path, file.VERSION, kept)
        return _open_reading(self._path)

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        if self._process != os.getpid():
            self._after_fork()
        return super()._all(sql, parameters)

    def _after_fork(self) -> None:
        self._abandoned += [self._connection, self._writing, self._idle, self._lease]
        self._idle = []
        self._process, self._lock, self._writing = os.getpid(), threading.Lock(), None
        self._lease = Lease(self._path, timeout=self._lease.timeout)
        self._connection = _open_reading(self._path)

    def _writing_connection(self) -> sqlite3.Connection:
        if self._process != os.getpid():
            self._after_fork()
        if self._writing is None:
            self._writing = file.connect(self._path, "rw")
            file.check_schema(self._writing, self._path)
            self._writing.execute(f"PRAGMA journal_size_limit = {WAL_CAP_BYTES}")  # cut when it starts anew
            self._writing.execute("PRAGMA journal_mode = WAL")  # a backup is in one file until it is written to
        return self._writing

    def _drop_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _checkpoint(self, connection: sqlite3.Connection, *, closing: bool = False) -> None:
        """Move the log into the file once it is large. The facts are safe in the log, so a failure can wait."""
        log = self._path.with_name(self._path.name + "-wal")
        size = log.stat().st_size if log.exists() else 0
        if size <= (0 if closing else CHECKPOINT_BYTES):
            return
        try:
            if not closing and size < self._wal_cap:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                return
            connection.execute(f"PRAGMA busy_timeout = {WAIT_FOR_READERS_MS}")
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            connection.execute("PRAGMA busy_timeout = 10000")
            # Where a reader stays, wait again only when the log has doubled: not at every commit.
            self._wal_cap = 2 * size if is_busy else WAL_CAP_BYTES
            if is_busy and not closing:
                _log.warning("%s: a reader keeps the log of %d MB from starting anew", self._path, size >> 20)
        except sqlite3.OperationalError as error:
            _log.warning("%s: the log was not moved into the file: %s", self._path, error)


def _open_reading(path: Path) -> sqlite3.Connection:
    connection = file.connect(path, "ro")
    try:
        file.check_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
