"""One writer at a time, any number of readers, each seeing whole transactions only: threads, processes and forks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from groundzero.errors import InputError, StorageError
from groundzero.graph import sqlite
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store
from groundzero.graph.sqlite import SQLiteStore
from groundzero.graph.store import Reader, Store

ACCOUNTS = 6
TOTAL = 600

READER = """
import sys, time
from groundzero.graph.opening import open_store
store = open_store(sys.argv[1], read_only=True)
looks, last = 0, 0
print("ready", flush=True)
stop = time.monotonic() + float(sys.argv[2])
while time.monotonic() < stop:
    with store.snapshot() as now:
        held = [int(each.literal.value) for entity in range(1, 7) for each in now.outgoing(entity)]
        assert len(held) == 6 and sum(held) == 600, held
        assert now.counts().triples == 6
        assert now.transaction() >= last
        last = now.transaction()
    assert sum(int(each.literal.value) for each in store.statements(at=last)) == 600
    looks += 1
print(looks, last, flush=True)
"""


def _open_accounts(location: str) -> Store:
    store = open_store(location, create=True)
    with store.writer() as writer:
        holds = writer.add_relation("holds")
        for number in range(ACCOUNTS):
            writer.add_statement(writer.add_entity(f"account {number}"), holds, Literal(str(TOTAL // ACCOUNTS)))
    return store


def _move(store: Store, source: int, target: int, amount: int) -> None:
    """From one account to another: what they hold together never changes."""
    with store.writer() as writer:
        for account, change in ((source, -amount), (target, amount)):
            (held,) = store.outgoing(account)
            assert held.literal is not None
            writer.retire(held.id)
            writer.add_statement(account, 1, Literal(str(int(held.literal.value) + change)))


def _total(reader: Reader, accounts: range) -> int:
    return sum(int(each.literal.value) for one in accounts for each in reader.outgoing(one) if each.literal)


@pytest.mark.parametrize("seconds", [1.5, pytest.param(60, marks=pytest.mark.slow)])
def test_readers_in_other_processes_see_whole_transactions(new_location: Callable[[], str], seconds: float) -> None:
    location = new_location()
    store = _open_accounts(location)
    command = [sys.executable, "-c", READER, location, str(seconds)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8 if seconds > 2 else 3)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    moves = 0
    while any(reader.poll() is None for reader in readers):
        _move(store, moves % ACCOUNTS + 1, (moves * 5 + 1) % ACCOUNTS + 1, moves % 7) if moves % 6 != 0 else None
        moves += 1
    for reader in readers:
        looks, last = reader.communicate()[0].split()
        assert reader.returncode == 0
        assert int(looks) > 0
        assert int(last) > 1
    assert _total(store, range(1, ACCOUNTS + 1)) == TOTAL
    store.close()


def test_reads_without_a_snapshot_would_not_add_up(new_location: Callable[[], str]) -> None:
    """Half of the accounts, then a move between the halves, then the rest: only a snapshot still adds up."""
    store = _open_accounts(new_location())
    with store.snapshot() as now:
        half, at = _total(now, range(1, 4)), now.transaction()
        loose_half = _total(store, range(1, 4))
        _move(store, 1, 6, 50)
        assert half + _total(now, range(4, 7)) == TOTAL
        assert now.transaction() == at
    assert loose_half + _total(store, range(4, 7)) == TOTAL + 50
    store.close()


def test_a_transaction_is_seen_when_its_block_ends_and_not_before(new_location: Callable[[], str]) -> None:
    store = open_store(new_location(), create=True)
    other = open_store(store.location) if isinstance(store, SQLiteStore) else store
    with store.writer() as writer:
        writer.add_entity("Q1", label="one")
        assert writer.transaction == 1
        assert other.transaction() == 0
        assert other.find_entity("Q1") is None
        assert other.search("one") == []
    assert other.transaction() == 1
    assert other.find_entity("Q1") == 1
    with store.writer() as writer:
        writer.add_entity("Q1", label="one")
    assert other.transaction() == 1, "nothing was written, so there was no transaction"
    with pytest.raises(ZeroDivisionError), store.writer() as writer:
        writer.add_entity("Q2")
        raise ZeroDivisionError
    assert store.find_entity("Q2") is None
    with store.writer() as writer:
        writer.add_entity("Q3")
    assert store.transaction() == 2
    store.close()
    other.close()


def test_a_second_writer_waits_its_turn_and_is_told_whose_it_is(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "facts.db", create=True)
    other = SQLiteStore(tmp_path / "facts.db", timeout=0.05)
    with store.writer() as writer:
        writer.add_entity("Q1")
        with pytest.raises(StorageError, match=f"process {os.getpid()} on .*; waited 0.05 s"), other.writer():
            pass
        with pytest.raises(StorageError, match="this very thread"), store.writer():
            pass
    with other.writer() as writer:
        writer.add_entity("Q2")
    assert store.counts().entities == 2
    store.close()
    other.close()


def test_a_damaged_lease_says_what_to_do(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "facts.db", create=True)
    (tmp_path / "facts.db-lease").write_bytes(
        b"not a database, but as long as the header of one has to be: 100 bytes" * 3
    )
    with pytest.raises(StorageError, match="delete this file"), store.writer():
        pass
    (tmp_path / "facts.db-lease").unlink()
    store.close()
    store = SQLiteStore(tmp_path / "facts.db")
    with store.writer() as writer:
        writer.add_entity("Q1")
    store.close()


def test_an_engine_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(StorageError, match=r"3\.37"):
        SQLiteStore(tmp_path / "facts.db", create=True)


def test_threads_that_share_a_store_write_in_turns(new_location: Callable[[], str]) -> None:
    store = open_store(new_location(), create=True)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for each in range(10):
                with store.writer() as writer:
                    relation = writer.add_relation("is")
                    writer.add_statement(writer.add_entity(f"Q{number}"), relation, Literal(str(each)))
                assert len(store.outgoing(store.find_entity(f"Q{number}") or 0)) == each + 1
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert (store.counts().triples, store.transaction()) == (40, 40)
    store.close()


HOLDER = """
import sys, time
from groundzero.graph.opening import open_store
store = open_store(sys.argv[1])
with store.writer() as writer:
    writer.add_entity("unfinished")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_dead_writer_does_not_block(new_location: Callable[[], str]) -> None:
    location = new_location()
    store = open_store(location, create=True, timeout=0.2)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, location], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "writing\n"
        with pytest.raises(StorageError, match=f"process {holder.pid} on "), store.writer():
            pass
        holder.kill()
    store.close()
    store = open_store(location, timeout=10)
    with store.writer() as writer:
        writer.add_entity("Q1")
    assert store.find_entity("unfinished") is None
    assert store.find_entity("Q1") == 1
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(new_location: Callable[[], str]) -> None:
    store = _open_accounts(new_location())
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            assert _total(store, range(1, 7)) == TOTAL
            _move(store, 1, 2, 10)
            code = 0
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert _total(store, range(1, 7)) == TOTAL
    assert store.transaction() == 2
    _move(store, 2, 1, 10)
    assert store.transaction() == 3
    store.close()


def test_a_store_for_reading_does_not_write(new_location: Callable[[], str]) -> None:
    location = new_location()
    with pytest.raises(InputError, match="No graph at"):
        open_store(location, create=True, read_only=True)
    open_store(location, create=True).close()
    store = open_store(location, read_only=True)
    assert not store.capabilities.writable
    with pytest.raises(StorageError, match="reading only"), store.writer():
        pass
    store.close()


def test_the_log_is_moved_into_the_file_by_the_writer_and_kept_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that never ends keeps the log from starting anew; once it has ended, the next commit cuts it."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 10_000)
    monkeypatch.setattr(sqlite, "WAL_CAP_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "WAIT_FOR_READERS_MS", 1)
    path = tmp_path / "facts.db"
    store, log = SQLiteStore(path, create=True), tmp_path / "facts.db-wal"

    def write(count: int) -> None:
        for number in range(count):
            with store.writer() as writer:
                writer.add_entity(f"{time.monotonic_ns()} {number}", label="x" * 3000)

    reader = SQLiteStore(path)
    write(40)
    assert log.stat().st_size < 200_000
    assert path.stat().st_size > 100_000, "moved into the file as it went"
    with reader.snapshot() as now:
        write(40)
        assert now.counts().entities == 40
        assert log.stat().st_size > 200_000
    assert "a reader keeps the log" in caplog.text
    write(40)
    assert log.stat().st_size < 200_000
    assert reader.counts().entities == 120
    reader.close()
    store.close()
    assert not log.exists()


def test_ids_that_are_not_there_are_refused_by_name(new_location: Callable[[], str]) -> None:
    store = _open_accounts(new_location())
    with store.writer() as writer:
        for wrong in (
            lambda: writer.add_statement(99, 1, 1),
            lambda: writer.add_statement(1, 99, 1),
            lambda: writer.add_statement(1, 1, 99),
            lambda: writer.add_statement(1, 1, 1, source=99),
            lambda: writer.add_statement(1, 1, 1, confidence=1.5),
            lambda: writer.add_statement(1, 1, 1, start=5),
            lambda: writer.add_statement(1, 1, 1, start=5, end=3),
            lambda: writer.add_statement(1, 1, 1, status="maybe"),  # type: ignore[arg-type]
            lambda: writer.add_triples([(1, 1, 99)], source=None),
            lambda: writer.add_triples([(1, 99, 1)], source=None),
            lambda: writer.name_entity(99, "x"),
            lambda: writer.name_entity(1, " "),
            lambda: writer.name_entity(1, "x", "nickname"),  # type: ignore[arg-type]
            lambda: writer.name_relation(99, "x", "inverse"),
            lambda: writer.retire(99),
            lambda: writer.retire_source(99),
            lambda: writer.add_entity(""),
            lambda: writer.add_entities(["a"], labels=[]),
        ):
            with pytest.raises(InputError):
                wrong()
    assert store.transaction() == 1
    for wrong in (lambda: store.entity(99), lambda: store.relation(2**70), lambda: store.source(-1)):
        with pytest.raises(InputError):
            wrong()
    assert store.statement(99) is None
    assert store.statement(2**70) is None
    assert store.outgoing(99) == store.incoming(2**70) == []
    with pytest.raises(InputError, match="at transaction 0"):
        store.entity(1, at=0)
    assert list(store.entities(at=2**70))
    store.close()
