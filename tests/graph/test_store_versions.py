"""Files of every past schema open; bringing one up to date happens whole or not at all, and keeps a copy."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from groundzero.errors import FormatError, StorageError
from groundzero.graph import sqlite_care, sqlite_file
from groundzero.graph.nouns import Literal, Statement
from groundzero.graph.sqlite import SQLiteStore

FIXTURES = Path(__file__).parents[1] / "fixtures"
STEPS = (
    "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",
    "INSERT INTO note (text) SELECT 'entity ' || key FROM entity",
    "CREATE INDEX note_text ON note (text)",
)
"""A version 2 that never was: a table, its content, an index."""


def _write_example(path: Path) -> None:
    """What `graph-v1.db` holds: made once, by the release that wrote version 1."""
    store = SQLiteStore(path, create=True)
    with store.writer() as writer:
        peru, lima = (
            writer.add_entity("Q419", label="Peru", types=["country"]),
            writer.add_entity("Q2868", label="Lima"),
        )
        capital = writer.add_relation("P36", label="capital")
        writer.name_relation(capital, "{subject}'s capital is {object}.", "template")
        atlas = writer.add_source("atlas", title="An atlas", revision="2", licence="CC0-1.0", digest="ab" * 32)
        writer.add_statement(peru, capital, lima, source=atlas, start=3, end=9, confidence=0.75, valid_from="1821")
        writer.add_statement(lima, writer.add_relation("P1082"), Literal("10092000", "integer"))
        writer.name_entity(lima, "Ciudad de los Reyes", language="es")
    with store.writer() as writer:
        cusco = writer.add_entity("Q5582862", label="Cusco")
        writer.retire(1)
        writer.add_statement(peru, capital, cusco, status="quarantined")
        writer.retire_entity_name(lima, "Ciudad de los Reyes", "alias")
    store.close()


def _assert_example(store: SQLiteStore) -> None:
    store.check()
    assert store.transaction() == 2
    first = Statement(1, 1, 1, 2, None, 1, 3, 9, 0.75, "1821", "", "accepted", 1, 2)
    assert store.statement(1) == first
    assert store.outgoing(1) == []
    assert store.outgoing(1, at=1) == [first]
    assert [each.literal for each in store.outgoing(2)] == [Literal("10092000", "integer")]
    assert [each.object for each in store.statements(status="quarantined")] == [3]
    assert store.entity(2, at=1).aliases == ("Ciudad de los Reyes",)
    assert store.entity(2).aliases == ()
    assert store.entity(1).types == ("country",)
    assert store.relation(1).templates == ("{subject}'s capital is {object}.",)
    assert store.source(1).licence == "CC0-1.0"
    assert [entity for entity, _ in store.search("reyes", at=1)] == [2]
    assert store.search("reyes") == []


@pytest.mark.parametrize("version", [1])
def test_a_file_of_each_past_version_is_read_and_written(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIXTURES / f"graph-v{version}.db", path)
    store = SQLiteStore(path)
    _assert_example(store)
    with store.writer() as writer:
        assert writer.add_statement(1, 1, 2) == 4
    assert [each.id for each in store.outgoing(1)] == [4]
    store.close()


def test_the_example_is_what_this_release_writes(tmp_path: Path) -> None:
    _write_example(tmp_path / "new.db")
    store = SQLiteStore(tmp_path / "new.db")
    _assert_example(store)
    store.close()


@pytest.fixture
def version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose schema is one further."""
    monkeypatch.setattr(sqlite_file, "VERSION", 2)
    monkeypatch.setattr(sqlite_file, "SCHEMA", (*sqlite_file.SCHEMA, STEPS[0], STEPS[2]))
    monkeypatch.setitem(sqlite_care.MIGRATIONS, 1, STEPS)


def _notes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM note").fetchone()[0])


@pytest.mark.usefixtures("version_2")
def test_an_old_file_is_brought_up_to_date_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIXTURES / "graph-v1.db", path)
    with pytest.raises(FormatError, match="older schema version 1"):
        SQLiteStore(path, read_only=True)
    store = SQLiteStore(path)
    _assert_example(store)
    store.close()
    assert "old.db.version-1" in caplog.text
    assert _notes(path) == 3
    with closing(sqlite3.connect(tmp_path / "old.db.version-1")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.usefixtures("version_2")
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_step_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIXTURES / "graph-v1.db", path)
    broken = (*STEPS[:step], "INSERT INTO nowhere VALUES (1)", *STEPS[step:])
    with monkeypatch.context() as patch:
        patch.setitem(sqlite_care.MIGRATIONS, 1, broken)
        with pytest.raises(FormatError):
            SQLiteStore(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'note'").fetchone() == (0,)
    SQLiteStore(path).close()  # and with steps that work it goes on from there
    assert _notes(path) == 3


@pytest.mark.usefixtures("version_2")
def test_a_file_that_is_not_what_its_version_says_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIXTURES / "graph-v1.db", path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON statement BEGIN DELETE FROM statement; END")
        connection.commit()
    with pytest.raises(FormatError, match="trigger"):
        SQLiteStore(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def _in_bits(path: Path, version: int) -> Path:
    """Broken on purpose: `migrate` whose statements are committed one by one."""
    copy = path.with_name(f"{path.name}.version-{version}")
    if not copy.exists():
        sqlite_care.backup(path, copy)
    with closing(sqlite_file.connect(path, "rw")) as connection:
        for statement in sqlite_care.MIGRATIONS[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
    return copy


def _opened_until_killed(path: Path, at: int) -> bool:
    """Open a graph in a process that is killed before the `at`-th statement or rename; False where there are fewer."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    done, connect, rename = itertools.count(1), sqlite_file.connect, Path.replace

    def dying(*_: object) -> None:
        if next(done) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(place: Path, mode: str) -> sqlite3.Connection:
        connection = connect(place, mode)
        connection.set_trace_callback(dying)
        return connection

    def renamed(self: Path, target: Path) -> Path:
        dying()
        return rename(self, target)

    try:
        sqlite_file.connect, Path.replace = traced, renamed  # type: ignore[method-assign]
        SQLiteStore(path)
    finally:
        os._exit(0)


def _state_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        made = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'note%'")]
        notes = connection.execute("SELECT count(*) FROM note").fetchone()[0] if "note" in made else 0
    whole = {(1, 0, 0): "old", (2, 2, 3): "new"}
    return whole.get((version, len(made), notes), "mixed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("version_2")
@pytest.mark.parametrize("broken", [False, True])
def test_killed_at_any_statement_it_is_old_or_new_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """And the test notices a migration that is not one transaction."""
    if broken:
        monkeypatch.setattr(sqlite_care, "migrate", _in_bits)
    states: list[str] = []
    killed = True
    while killed:
        path = tmp_path / f"{len(states)}.db"
        shutil.copy(FIXTURES / "graph-v1.db", path)
        killed = _opened_until_killed(path, len(states) + 1)
        states.append(_state_of(path))
        if not broken:
            store = SQLiteStore(path)  # whoever comes next brings it to its end
            _assert_example(store)
            store.close()
            assert _state_of(path) == "new"
            kept = path.with_name(f"{path.name}.version-1")
            assert kept.read_bytes()[:16] == b"SQLite format 3\0"
            assert _state_of(kept) == "old"
    assert states[0] == "old"
    assert states[-1] == "new"
    assert len(states) > 12
    assert ("mixed" in states) == broken


def test_a_backup_taken_during_writes_is_a_whole_past_state(tmp_path: Path) -> None:
    """Backups are taken between the writes of a transaction that is still open, and between transactions."""
    store, other = SQLiteStore(tmp_path / "facts.db", create=True), SQLiteStore(tmp_path / "facts.db")
    with store.writer() as writer:
        entity, relation = writer.add_entity("Q1"), writer.add_relation("is")
    for number in range(1, 6):
        with store.writer() as writer:
            for part in range(5):
                writer.add_statement(entity, relation, Literal(f"{number} {part}"))
                if part == 2:
                    assert other.backup(tmp_path / f"copy-{number}.db") == number
    for number in range(1, 6):
        copy = SQLiteStore(tmp_path / f"copy-{number}.db")
        copy.check()
        shown = [each.literal.value for each in copy.outgoing(1) if each.literal]
        assert shown == [f"{each} {part}" for each in range(1, number) for part in range(5)]
        with copy.writer() as writer:  # a restored backup is a graph like any other
            writer.add_statement(entity, relation, Literal("more"))
        assert len(copy.outgoing(1)) == len(shown) + 1
        copy.close()
    with pytest.raises(StorageError, match="exists"):
        store.backup(tmp_path / "copy-1.db")
    with pytest.raises(StorageError):
        store.backup(tmp_path / "no folder" / "copy.db")
    assert not list(tmp_path.glob("*.part"))
    store.close()
    other.close()


def test_a_copy_of_the_file_alone_would_not_do(tmp_path: Path) -> None:
    """That the test above has something to notice: the log beside the file holds what a bare copy lacks."""
    store = SQLiteStore(tmp_path / "facts.db", create=True)
    with store.writer() as writer:
        writer.add_entity("Q1")
    shutil.copy(tmp_path / "facts.db", tmp_path / "copy.db")
    copy = SQLiteStore(tmp_path / "copy.db")
    assert copy.counts().entities < store.counts().entities
    copy.close()
    store.close()
