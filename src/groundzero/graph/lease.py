"""The right to write to a file, held by one writer at a time across processes, and given back by the system if it dies.

SQLite's own lock covers a transaction; the lease covers the transaction and the checkpoint after it, so that no other
process ever writes while one checkpoints (the WAL-reset corruption of SQLite before 3.51.3 needs that). The lease is a
lock on a small database of its own beside the store, because SQLite has already solved file locks on every platform,
between threads as between processes. It says who holds it.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundzero.errors import StorageError

_POLL = 0.005
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Lease:
    """One per store object. Entering waits for its turn; the same thread entering twice is refused at once."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        self.path = path.with_name(path.name + "-lease")
        self.timeout = timeout
        self._store = path
        self._thread: int | None = None
        self._idle: list[sqlite3.Connection] = []  # one for each thread that ever waited at the same time

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for the right to write, hold it, give it back.

        Raises:
            StorageError: somebody else holds it for longer than the timeout, or this thread already does.
        """
        if self._thread == threading.get_ident():
            raise StorageError(
                f"{self._store} is being written to by this very thread.", remedy="Finish that block first."
            )
        connection = self._idle.pop() if self._idle else self._open()
        try:
            self._wait(connection)
            self._thread = threading.get_ident()
            yield
        finally:
            self._thread = None if self._thread == threading.get_ident() else self._thread
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.append(connection)

    def close(self) -> None:
        """Let go of the file."""
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StorageError(f"Cannot make {self.path}: {error}.", remedy=_REMEDY) from None

    def _wait(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self._take(connection)
                return
            except sqlite3.DatabaseError as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if (error.sqlite_errorcode & 0xFF) not in _BUSY:
                    raise StorageError(f"Cannot use {self.path}: {error}.", remedy=_REMEDY) from None
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{self._store} is being written to by {self._holder(connection)}; waited {self.timeout:g} s.",
                    remedy="Wait until it has finished, or stop it: its unfinished transaction is undone.",
                )
            time.sleep(_POLL)

    def _take(self, connection: sqlite3.Connection) -> None:
        """Write down who we are, then keep the lock that lets others read it but not take it."""
        who = f"process {os.getpid()} on {socket.gethostname()}"
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS holder (who TEXT NOT NULL)")
        if connection.execute("SELECT who FROM holder").fetchall() == [(who,)]:
            return  # as after our own last write: nothing to write down, and no disk to wait for
        connection.execute("DELETE FROM holder")
        connection.execute("INSERT INTO holder VALUES (?)", (who,))
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")

    @staticmethod
    def _holder(connection: sqlite3.Connection) -> str:
        try:
            found = connection.execute("SELECT who FROM holder").fetchone()
        except sqlite3.OperationalError:  # it is being written at this moment
            found = None
        return found[0] if found else "another process"


_REMEDY = "Its folder must be writable and on a local disk; delete this file if it is damaged and nobody writes."
