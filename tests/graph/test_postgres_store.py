"""What is PostgreSQL's own: addresses, versions, a server that goes away. The rest is in the tests of every store."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from groundzero.errors import FormatError, InputError, StorageError
from groundzero.graph.opening import open_store


def _execute(address: str, statement: str) -> None:
    with psycopg.connect(address.partition("&graph=")[0], autocommit=True) as connection:
        connection.execute(statement.encode())


def _graph_of(address: str) -> str:
    return address.partition("&graph=")[2]


def test_graphs_of_one_database_do_not_meet(new_postgres: Callable[[], str]) -> None:
    first, second = open_store(new_postgres(), create=True), open_store(new_postgres(), create=True)
    with first.writer() as writer, second.writer() as other:  # and each has a lease of its own
        writer.add_entity("Q1")
        other.add_entity("Q2")
    assert first.find_entity("Q2") is None
    assert second.find_entity("Q2") == 1
    assert first.capabilities.many_hosts
    first.close()
    second.close()


def test_the_location_shows_no_credentials(new_postgres: Callable[[], str]) -> None:
    address = new_postgres().replace("tester@", "tester:secret@")
    store = open_store(address, create=True)
    assert "secret" not in store.location
    assert "tester" not in store.location
    assert _graph_of(address) in store.location
    store.close()
    with pytest.raises(StorageError) as raised:
        open_store("postgresql://somebody:secret@127.0.0.1:1/nowhere", timeout=1)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "A", "a-b", "pg_x", "1a", "x;drop", "x" * 64])
def test_names_that_no_schema_can_have_are_refused(postgres_server: str, name: str) -> None:
    with pytest.raises(InputError, match="cannot be called"):
        open_store(f"{postgres_server}&graph={name}")


def test_addresses_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(InputError, match="Cannot read the address"):
        open_store("postgresql://host/db?nonsense=1")


def test_a_graph_that_is_missing_newer_or_not_whole_is_refused(new_postgres: Callable[[], str]) -> None:
    address = new_postgres()
    with pytest.raises(InputError, match="No graph"):
        open_store(address)
    open_store(address, create=True).close()
    open_store(address, create=True).close()
    _execute(address, f"UPDATE {_graph_of(address)}.version SET version = 99")
    with pytest.raises(FormatError, match="99"):
        open_store(address)
    _execute(address, f"UPDATE {_graph_of(address)}.version SET version = 1")
    _execute(address, f"DROP TABLE {_graph_of(address)}.statement")
    store = open_store(address)
    with pytest.raises(FormatError, match="not whole"):
        store.outgoing(1)
    store.close()


def test_a_connection_that_the_server_ended_is_made_anew(new_postgres: Callable[[], str]) -> None:
    """A transaction that it interrupts is undone and says so; what had not begun goes on with a new connection."""
    address = new_postgres()
    store = open_store(address, create=True)
    with store.writer() as writer:
        writer.add_entity("Q1")
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'process %'"
    _execute(address, end_all)
    assert store.transaction() == 1
    with store.writer() as writer:
        writer.add_entity("Q2")
    with pytest.raises(StorageError), store.writer() as writer:
        writer.add_entity("Q3")
        _execute(address, end_all)
        writer.add_entity("Q4")
    assert [each.key for each in store.entities()] == ["Q1", "Q2"]
    with store.writer() as writer:
        assert writer.add_entity("Q5") == 3
    store.close()


def test_two_stores_make_the_same_graph_once(new_postgres: Callable[[], str]) -> None:
    address = new_postgres()
    stores = [open_store(address, create=True) for _ in range(3)]
    with stores[0].writer() as writer:
        writer.add_entity("Q1")
    assert [store.find_entity("Q1") for store in stores] == [1, 1, 1]
    for store in stores:
        store.close()
