"""Files from strangers and failing disks: refused in one line, or read; never a crash, and nothing of theirs is run."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from groundzero.errors import FormatError, GroundzeroError, InputError, StorageError
from groundzero.graph import sqlite_file
from groundzero.graph.nouns import Literal
from groundzero.graph.sqlite import SQLiteStore

READ_ALL = """
import sys
from pathlib import Path
from groundzero.errors import GroundzeroError
from groundzero.graph.graph import Graph
from groundzero.graph.sqlite import SQLiteStore

def read_all(path):
    store = SQLiteStore(path)
    try:
        graph = Graph(store)
        for entity in list(store.entities()):
            store.entity_names(entity.id), store.outgoing(entity.id), store.incoming(entity.id)
        list(store.relations()), list(store.sources()), list(store.statements(status=None)), store.counts(at=1)
        list(store.changes(0)), list(store.renamed(0)), store.search("city of thing 3"), store.named("thing 3")
        graph.adjacency, graph.mentions("thing 3 and the city")
    finally:
        store.close()

for line in sys.stdin:
    try:
        read_all(Path(line.rstrip("\\n")))
        print("read", flush=True)
    except GroundzeroError as error:
        assert "\\n" not in str(error), error
        print("refused", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small graph in one file."""
    path = tmp_path / "facts.db"
    store = SQLiteStore(path, create=True)
    with store.writer() as writer:
        relation, source = writer.add_relation("near"), writer.add_source("atlas")
        for number in range(120):
            entity = writer.add_entity(f"Q{number}", label=f"thing {number}", description="a city")
            writer.add_statement(entity, relation, max(1, entity - 1), source=source, start=1, end=2)
            writer.add_statement(entity, relation, Literal("long " * number))
    store.close()
    return path


def test_the_graph_is_in_one_file_when_closed(path: Path) -> None:
    assert not path.with_name(path.name + "-wal").exists()


@pytest.mark.parametrize("files", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_flipped_bits_are_refused_or_read(path: Path, tmp_path: Path, files: int) -> None:
    """In another process, so that a crash of SQLite's would show."""
    chance, whole = random.Random(files), path.read_bytes()
    reader = subprocess.Popen(
        [sys.executable, "-c", READ_ALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    said = {"read": 0, "refused": 0}
    with reader:
        for number in range(files):
            damaged = bytearray(whole)
            for _ in range(chance.choice((1, 8, 64))):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            if number % 10 == 0:
                del damaged[chance.randrange(len(damaged)) :]
            target = tmp_path / f"damaged-{number}.db"
            target.write_bytes(damaged)
            reader.stdin.write(f"{target}\n")
            reader.stdin.flush()
            said[reader.stdout.readline().strip()] += 1
            target.unlink()
        reader.stdin.close()
        assert reader.wait() == 0
    assert said["refused"] > files / 10
    assert sum(said.values()) == files


HOSTILE = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON statement BEGIN DELETE FROM statement; END",
    "view": "CREATE VIEW facts AS SELECT * FROM statement",
    "table": "CREATE TABLE more (x)",
    "virtual table": "CREATE VIRTUAL TABLE more USING fts5(x, content=statement)",
    "index": "CREATE INDEX more ON entity (abs(id))",
    "missing": "DROP INDEX entity_name_text",
    "another table under a name of ours": "ALTER TABLE source ADD COLUMN more TEXT",
}


@pytest.mark.parametrize("statement", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_schema_that_is_not_ours_is_refused(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(FormatError):
        SQLiteStore(path)


def test_without_the_schema_check_a_trigger_would_be_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the test above notices a store that does not look."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(HOSTILE["trigger"])
        connection.commit()
    monkeypatch.setattr(sqlite_file, "_compare_schema", lambda found, path: None)
    SQLiteStore(path).close()


def test_a_type_that_does_not_belong_is_refused(path: Path) -> None:
    """A statement whose status is beyond those there are, and a name of no kind."""
    for change in ("UPDATE statement SET status = 7", "UPDATE entity_name SET kind = -3"):
        other = path.with_name("other.db")
        shutil.copy(path, other)
        with closing(sqlite3.connect(other)) as connection:
            connection.execute(change)
            connection.commit()
        store = SQLiteStore(other)
        with pytest.raises(FormatError, match="damaged"):
            list(store.statements(status=None))
            list(store.renamed(0))
        store.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    with pytest.raises(FormatError, match="999"):
        SQLiteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"SQLite format 3\0" + b"\0" * 84, b"a,b,c\n" * 2000])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.db"
    path.write_bytes(content)
    with pytest.raises((InputError, FormatError), match=r"odd\.db"):
        SQLiteStore(path)
    if content:
        with pytest.raises(GroundzeroError, match=r"odd\.db"):
            SQLiteStore(path, create=True)
        assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
        connection.commit()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(FormatError, match="no graph"):
            SQLiteStore(path, create=create)
    assert path.read_bytes() == before


def test_missing_folders_and_places_that_cannot_be_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No graph"):
        SQLiteStore(tmp_path / "none.db")
    with pytest.raises(InputError, match="folder"):
        SQLiteStore(tmp_path)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StorageError):
        SQLiteStore(tmp_path / "file" / "facts.db", create=True)


def test_a_file_name_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%41 d&mode=rw.db"
    SQLiteStore(path, create=True).close()
    assert path.exists()


def test_damage_that_no_read_meets_is_found_by_the_check(path: Path) -> None:
    store = SQLiteStore(path)
    store.check()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM name_words_docsize WHERE id = 5")
        connection.commit()
    store = SQLiteStore(path)
    with pytest.raises(FormatError, match="indexed"):
        store.check()
    store.close()
