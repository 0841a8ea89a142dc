# ruff: noqa: S608 - names of tables and conditions are ours; every value is bound
"""A graph in PostgreSQL, shared by many machines: `postgresql://user@host/database?graph=name`.

Every graph has a schema of its own, `groundzero` where the address names none. The writer's lease is an advisory lock:
the server gives it back when the holder's connection ends. Reads and writes are those of every SQL store.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import FormatError, InputError, StorageError, UsageError
from groundzero.graph import sql_rows as rows
from groundzero.graph.folding import index_terms
from groundzero.graph.nouns import EntityId, SourceId, Transaction
from groundzero.graph.postgres_schema import SCHEMA, VERSION
from groundzero.graph.sql_reader import SQLReader
from groundzero.graph.sql_writer import SQLWriter
from groundzero.graph.store import Capabilities, Reader, Writer

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ImportError:
    raise UsageError(
        "A graph in PostgreSQL needs the package psycopg.", remedy="Install it with pip install groundzero[postgres]."
    ) from None

_POLL = 0.02
_IDLE = 4


class PostgresReader(SQLReader):
    """Reads over one connection; psycopg lets threads take turns."""

    def __init__(self, address: _Address, connection: psycopg.Connection) -> None:
        self._address = address
        self._connection = connection

    @property
    def location(self) -> str:
        return self._address.shown

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(_query(sql), parameters).fetchall()
        except psycopg.Error as error:
            raise _explain(error, self._address) from error

    def _search(self, words: list[str], limit: int, at: Transaction | None) -> list[tuple[EntityId, float]]:
        """Scored by the share of the name's words that are asked for, times how many."""
        condition, parameters = rows.alive(at)
        matched = "cardinality(ARRAY(SELECT unnest(words) INTERSECT SELECT unnest(?::text[])))"
        sql = (
            f"SELECT owner, {matched}::float8 * {matched} / cardinality(words) AS score FROM entity_name"
            f" WHERE words && ?::text[] AND {condition} ORDER BY score DESC, id LIMIT ?"
        )
        return self._all(sql, (words, words, words, *parameters, limit))


class PostgresWriter(SQLWriter):
    """Writes over the one writing connection, inside its transaction."""

    def __init__(self, address: _Address, connection: psycopg.Connection) -> None:
        self._address = address
        self._connection = connection
        super().__init__(address.shown)

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(_query(sql), parameters).fetchall()
        except psycopg.Error as error:
            raise _explain(error, self._address) from error

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(_query(sql), parameters).rowcount
        except psycopg.Error as error:
            raise _explain(error, self._address) from error

    def _insert(self, table: str, columns: str, values: Iterable[Sequence[Any]]) -> None:
        try:
            with (
                self._connection.cursor() as cursor,
                cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy,
            ):
                for value in values:
                    copy.write_row(value)
        except psycopg.Error as error:
            raise _explain(error, self._address) from error

    def _insert_names(self, names: Sequence[tuple[int, int, str, int, str]]) -> None:
        values = [
            (*name, self._transaction, index_terms(name[2]) if name[3] < rows.SEARCHED else None) for name in names
        ]
        columns = "id, owner, text, kind, language, added, words"
        if len(values) > 1:
            self._insert("entity_name", columns, values)
        for value in values if len(values) == 1 else ():  # COPY takes two round trips more
            self._run(f"INSERT INTO entity_name ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", value)

    def _bulk_rows(self, start: int, ends_N3: NDArray[np.int64], source: SourceId | None) -> None:
        fixed = (source, 1.0, "", "", 0, self._transaction)
        columns = "id, subject, relation, object, source, confidence, valid_from, valid_to, status, added"
        numbered = zip(range(start, start + len(ends_N3)), *ends_N3.T.tolist(), strict=True)
        self._insert("statement", columns, ((*row, *fixed) for row in numbered))

    def _living_among(self, ends_N3: NDArray[np.int64], source: SourceId | None) -> NDArray[np.bool_]:
        there = np.zeros(len(ends_N3), dtype=np.bool_)
        if self._last["statement"] == 0 or not len(ends_N3):
            return there
        self._run(
            "CREATE TEMPORARY TABLE IF NOT EXISTS asked"
            " (n integer, subject bigint, relation bigint, object bigint) ON COMMIT DELETE ROWS"
        )
        self._run("DELETE FROM asked")
        self._insert(
            "asked", "n, subject, relation, object", zip(range(len(ends_N3)), *ends_N3.T.tolist(), strict=True)
        )
        sql = (
            "SELECT n FROM asked JOIN statement USING (subject, relation, object)"
            " WHERE source IS NOT DISTINCT FROM ?::bigint AND span_start IS NULL AND retired IS NULL"
        )
        there[[row[0] for row in self._all(sql, (source,))]] = True
        return there


class PostgresStore(PostgresReader):
    """A graph on a server.

    Args:
        create: make the schema where there is none.
        read_only: refuse to write.
        timeout: seconds to wait for the server, and for another writer.

    Raises:
        InputError: there is no such graph. FormatError: it is newer or not whole. StorageError: no such server.
    """

    def __init__(self, address: str, *, create: bool = False, read_only: bool = False, timeout: float = 10.0) -> None:
        self._read_only = read_only
        self._timeout = timeout
        self._process = os.getpid()
        self._turn = threading.Lock()
        self._thread: int | None = None
        self._writing: psycopg.Connection | None = None
        self._idle: list[psycopg.Connection] = []  # those that snapshots are done with: connecting takes 10 ms
        self._abandoned: list[psycopg.Connection | None] = []  # of a parent process, which goes on using them
        parsed = _Address(address)
        super().__init__(parsed, self._connect(parsed))
        try:
            if create and not read_only:
                self._create()
            self._check_version()
        except BaseException:
            self.close()
            raise

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(writable=not self._read_only, as_of=True, full_text=True, sources=True, many_hosts=True)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        process = os.getpid()
        connection = self._idle.pop() if self._idle and self._process == process else self._connect(self._address)
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            reader = PostgresReader(self._address, connection)
            reader.transaction()  # the first read fixes what is seen
            yield reader
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < _IDLE and self._process == process:
            self._idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        if self._read_only:
            raise StorageError(f"{self.location} was opened for reading only.", remedy="Open it without read_only.")
        with self._lease() as connection:
            try:
                connection.execute("BEGIN")
                writer = PostgresWriter(self._address, connection)
                yield writer
                connection.execute("COMMIT" if writer.finish() else "ROLLBACK")
            except BaseException as error:
                connection.close()  # undoes, and gives the lease back
                if isinstance(error, psycopg.Error):
                    raise _explain(error, self._address) from error
                raise

    def close(self) -> None:
        if self._process == os.getpid():
            for connection in (self._connection, self._writing, *self._idle):
                if connection is not None:
                    connection.close()

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        if self._process != os.getpid():
            self._abandoned += [self._connection, self._writing, *self._idle]
            self._process, self._turn, self._thread, self._writing = os.getpid(), threading.Lock(), None, None
            self._idle = []
            self._connection = self._connect(self._address)
        try:
            return super()._all(sql, parameters)
        except StorageError:
            if not self._connection.closed:
                raise
        self._connection.close()
        self._connection = self._connect(self._address)  # the server ended it, or was restarted
        return super()._all(sql, parameters)

    @contextmanager
    def _lease(self) -> Iterator[psycopg.Connection]:
        """The writing connection, with the right to write."""
        if self._thread == threading.get_ident():
            raise StorageError(f"{self.location} is being written to by this very thread.", remedy="Finish that first.")
        self.transaction()  # after a fork this makes connections anew
        deadline = time.monotonic() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise self._is_held("another thread of this process")
        try:
            self._thread = threading.get_ident()
            self._connect_to_write()
            assert self._writing is not None
            while not self._ask("SELECT pg_try_advisory_lock(?)", (self._address.lock,)):
                if time.monotonic() > deadline:
                    raise self._is_held(self._holder())
                time.sleep(_POLL)
            try:
                yield self._writing
            finally:
                if not self._writing.closed:
                    self._ask("SELECT pg_advisory_unlock(?)", (self._address.lock,))
        finally:
            self._thread = None
            self._turn.release()

    def _connect_to_write(self) -> None:
        if self._writing is not None and not self._writing.closed:
            try:
                self._writing.execute("SET synchronous_commit = on")
                return
            except psycopg.Error:  # the server ended it, or was restarted; nothing was asked of it yet
                self._writing.close()
        self._writing = self._connect(self._address)
        self._writing.execute("SET synchronous_commit = on")

    def _ask(self, sql: str, parameters: Sequence[Any]) -> Any:
        assert self._writing is not None
        try:
            found = self._writing.execute(_query(sql), parameters).fetchone()
        except psycopg.Error as error:
            raise _explain(error, self._address) from error
        return found[0] if found else None

    def _holder(self) -> str:
        sql = (
            "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
            " AND granted AND (classid::bigint << 32) + objid::bigint = ?"
        )
        return self._ask(sql, (self._address.lock,)) or "another process"

    def _is_held(self, holder: str) -> StorageError:
        return StorageError(
            f"{self.location} is being written to by {holder}; waited {self._timeout:g} s.",
            remedy="Wait until it has finished, or stop it: its unfinished transaction is undone.",
        )

    def _create(self) -> None:
        with closing(self._connect(self._address)) as connection:
            try:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._address.lock,))
                    if connection.execute("SELECT to_regclass('version')").fetchone() == (None,):
                        for statement in (f"CREATE SCHEMA IF NOT EXISTS {self._address.graph}", *SCHEMA):
                            connection.execute(statement.encode())
            except psycopg.Error as error:
                raise _explain(error, self._address) from error

    def _check_version(self) -> None:
        if self._all("SELECT to_regclass('version')::text") == [(None,)]:
            raise InputError(f"No graph at {self.location}.", remedy="Make one with `gz graph import FILE --graph DB`.")
        found = self._all("SELECT version FROM version")
        if len(found) != 1 or found[0][0] > VERSION:
            raise FormatError(
                f"{self.location} has schema version {found[0][0] if found else 'none'}; this release reads {VERSION}.",
                remedy="Update groundzero.",
            )
        if self._all("SHOW server_encoding") != [("UTF8",)]:
            raise FormatError(f"The database of {self.location} is not in UTF-8.", remedy="Create it with UTF8.")

    def _connect(self, address: _Address) -> psycopg.Connection:
        who = f"process {os.getpid()} on {socket.gethostname()}"
        search_path = f"{address.options} -c search_path={address.graph},pg_catalog -c tcp_keepalives_idle=30"
        try:
            return psycopg.connect(
                address.plain,
                autocommit=True,
                connect_timeout=max(2, round(self._timeout)),
                application_name=who[:63],
                client_encoding="UTF8",
                options=search_path.strip(),
            )
        except psycopg.Error as error:
            raise _explain(error, address) from error


class _Address:
    """What the user wrote, taken apart."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.graph = query.pop("graph", "groundzero")
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self.graph) or self.graph.startswith("pg_"):
            raise InputError(f"A graph cannot be called {self.graph!r}.", remedy="Use a-z, 0-9 and _.")
        self.plain = urlunsplit(parts._replace(query=urlencode(query)))
        try:
            known = conninfo_to_dict(self.plain)
        except psycopg.Error as error:
            raise InputError(
                f"Cannot read the address: {_line(error)}.", remedy="postgresql://user@host/database"
            ) from None
        self.options = str(known.get("options") or "")
        where = f"{known.get('host') or 'localhost'}:{known.get('port') or 5432}"
        self.shown = f"postgresql://{where}/{known.get('dbname') or ''}?graph={self.graph}"
        digest = hashlib.blake2b(self.graph.encode(), digest_size=8).digest()
        self.lock = int.from_bytes(digest, "big") >> 1


@lru_cache(maxsize=256)
def _query(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _explain(error: psycopg.Error, address: _Address) -> Exception:
    """What an error of PostgreSQL's means for the user; a mistake in our own SQL stays what it is."""
    if isinstance(error, psycopg.errors.SyntaxError):
        return error
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return FormatError(f"{address.shown} is not whole: {_line(error)}.", remedy="Restore it from a backup.")
    return StorageError(
        f"Cannot use {address.shown}: {_line(error)}.", remedy="Check the server, the database and your rights."
    )
