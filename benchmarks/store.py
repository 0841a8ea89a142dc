"""The graph's store at 10^6 triples: import, reads and edits beside plain sqlite3, then readers and a writer at once.

The peer is the least that could hold triples: one table keyed by (subject, relation, object) and one index by object,
no history, no names, no checks, filled and read by the same Python, in WAL mode with the same `synchronous=FULL`. Both
get the same rows from memory. Ours also keeps who said so, when it was added and retired, and answers as of any past.

The last part is no comparison: reader processes look at snapshots, in each of which a hundred balances must have the
same sum, while one writer moves amounts between them.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import Row, row

RELATIONS = 50
ACCOUNTS, TOTAL = 100, 10_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes; the defaults are those of the published table."""
    parser.add_argument("--triples", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of readers and writer at once")
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="where the files are made; a temporary folder otherwise")
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> list[Row]:
    """Import, read, edit, share."""
    if options.look:
        _look(options.look, options.seconds)
        raise SystemExit(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        triples = _triples(options.triples)
        rows = _import(folder, triples)
        rows.append(_import_file(folder, triples))
        rows += _reads(folder, triples)
        rows += _edits(folder, triples)
        rows.append(_share(folder, options))
        return rows


def _triples(count: int) -> list[tuple[int, int, int]]:
    """Distinct triples; a fifth as many entities, some of them met far more often than others."""
    chance, entities = random.Random(0), max(count // 5, 10)
    found: dict[tuple[int, int, int], None] = {}
    while len(found) < count:
        object_ = int(entities * chance.random() ** 3) + 1
        found[chance.randint(1, entities), chance.randint(1, RELATIONS), object_] = None
    return list(found)


def _import(folder: Path, triples: list[tuple[int, int, int]]) -> list[Row]:
    from groundzero.graph.sqlite import SQLiteStore

    entities = max(max(s, o) for s, _, o in triples)
    keys, labels = [f"Q{each}" for each in range(entities)], [f"thing number {each}" for each in range(entities)]
    store = SQLiteStore(folder / "ours.db", create=True)

    def add_entities() -> None:
        with store.writer() as writer:
            writer.add_entities(keys, labels=labels)
            for each in range(RELATIONS):
                writer.add_relation(f"P{each}")

    def add_triples() -> None:
        with store.writer() as writer:
            assert writer.add_triples(triples, source=writer.add_source("benchmark")) == len(triples)

    peer = _plain(folder)

    def plain_entities() -> None:
        with peer:
            peer.execute("CREATE TABLE entity (id INTEGER PRIMARY KEY, key TEXT UNIQUE, label TEXT)")
            peer.executemany("INSERT INTO entity (key, label) VALUES (?, ?)", zip(keys, labels, strict=True))

    def plain_triples() -> None:
        with peer:
            peer.execute("CREATE TABLE triple (s INT, r INT, o INT, PRIMARY KEY (s, r, o)) WITHOUT ROWID")
            peer.executemany("INSERT OR IGNORE INTO triple VALUES (?, ?, ?)", triples)
            peer.execute("CREATE INDEX triple_object ON triple (o, r)")

    ours = [_seconds(add_entities), _seconds(add_triples)]
    plain = [_seconds(plain_entities), _seconds(plain_triples)]
    store.close()
    peer.close()
    work = f"import {len(triples):,} triples"
    size = (folder / "ours.db").stat().st_size / 1e6, (folder / "plain.db").stat().st_size / 1e6
    return [
        row(work, "s", ours[1], plain[1], "plain sqlite3", lower_is_better=True),
        row(f"the same with {entities:,} entities", "s", sum(ours), sum(plain), "plain sqlite3", lower_is_better=True),
        row("size of the file", "MB", *size, "plain sqlite3", lower_is_better=True),
    ]


def _import_file(folder: Path, triples: list[tuple[int, int, int]]) -> Row:
    """As `gz graph import` does it: from lines of labels to a store that is closed."""
    from groundzero.graph.importing import import_file
    from groundzero.graph.opening import open_store

    path = folder / "triples.tsv"
    path.write_text("".join(f"thing {s}\trelation {r}\tthing {o}\n" for s, r, o in triples), encoding="utf-8")

    def ours() -> None:
        store = open_store(folder / "imported.db", create=True)
        import_file(store, path)
        assert store.counts().triples == len(triples)
        store.close()

    def plain() -> None:
        peer, ids = sqlite3.connect(folder / "plain-imported.db"), ({}, {})
        with peer, path.open(encoding="utf-8") as lines:
            peer.execute("CREATE TABLE entity (id INTEGER PRIMARY KEY, label TEXT UNIQUE)")
            peer.execute("CREATE TABLE relation (id INTEGER PRIMARY KEY, label TEXT UNIQUE)")
            peer.execute("CREATE TABLE triple (s INT, r INT, o INT, PRIMARY KEY (s, r, o)) WITHOUT ROWID")
            peer.executemany(
                "INSERT OR IGNORE INTO triple VALUES (?, ?, ?)",
                (
                    tuple(
                        ids[column == 1].setdefault(text, len(ids[column == 1]) + 1) for column, text in enumerate(each)
                    )
                    for each in (line.rstrip("\n").split("\t") for line in lines)
                ),
            )
            for table, known in zip(("entity", "relation"), ids, strict=True):
                peer.executemany(f"INSERT INTO {table} (label, id) VALUES (?, ?)", known.items())
            peer.execute("CREATE INDEX triple_object ON triple (o, r)")
        peer.close()

    work = f"import a file of {len(triples):,} lines"
    return row(work, "s", _seconds(ours), _seconds(plain), "plain sqlite3", lower_is_better=True)


def _reads(folder: Path, triples: list[tuple[int, int, int]]) -> list[Row]:
    from groundzero.graph.graph import Graph

    chance, rows = random.Random(1), []
    subjects, objects = (
        [each[0] for each in chance.choices(triples, k=5000)],
        [each[2] for each in chance.choices(triples, k=5000)],
    )
    peer = _plain(folder)
    with Graph.open(folder / "ours.db", read_only=True) as graph:
        store = graph.store

        def plain_out(entity: int) -> Any:
            return peer.execute("SELECT r, o FROM triple WHERE s = ?", (entity,)).fetchall()

        def plain_in(entity: int) -> Any:
            return peer.execute("SELECT s, r FROM triple WHERE o = ? LIMIT 200", (entity,)).fetchall()

        for work, ours, plain, entities in (
            ("1 hop out, from the file", store.outgoing, plain_out, subjects),
            ("1 hop in, at most 200, from the file", lambda each: store.incoming(each, limit=200), plain_in, objects),
        ):
            times = _each(ours, entities), _each(plain, entities)
            rows.append(row(work, "us", *times, "plain sqlite3", lower_is_better=True))
        took = _seconds(lambda: graph.adjacency), _seconds(lambda: graph.mention_index)
        near = _each(graph.neighbours, subjects)
        note = f"after {took[0]:.1f} s of building"
        rows.append(
            row("1 hop out, from memory", "us", near, times[1], "plain sqlite3", lower_is_better=True, note=note)
        )
        text = "What is thing number 17 to Thing Number 123, and which things are near thing number 4242?"
        found = _each(graph.mentions, [text] * 500)
        rows.append(row("mentions in a question", "us", found, None, "-", note=f"after {took[1]:.1f} s of building"))
    peer.close()
    return rows


def _edits(folder: Path, triples: list[tuple[int, int, int]]) -> list[Row]:
    """From the call that edits to the first question that sees it."""
    from groundzero.graph.graph import Graph

    peer, chance = _plain(folder), random.Random(2)
    edits = [(s, r, chance.choice(triples)[2]) for s, r, _ in chance.choices(triples, k=200)]
    with Graph.open(folder / "ours.db") as graph, Graph.open(folder / "ours.db") as other:
        for each in (graph, other):
            assert each.neighbours(1) is not None
            assert each.mentions("nothing") == []

        def edit(triple: tuple[int, int, int]) -> None:
            added = graph.edit(*triple)
            other.refresh()  # as another process would see it
            assert added in graph.neighbours(triple[0], triple[1]).statement_N
            assert added in other.neighbours(triple[0], triple[1]).statement_N

        def rename(number: int) -> None:
            with graph.store.writer() as writer:
                writer.name_entity(number + 1, f"nickname {number}x")
            for each in (graph, other):
                each.refresh()
                assert each.mentions(f"who is nickname {number}x")[0].entities == (number + 1,)

        def plain_edit(triple: tuple[int, int, int]) -> None:
            with peer:
                peer.execute("DELETE FROM triple WHERE s = ? AND r = ?", triple[:2])
                peer.execute("INSERT OR IGNORE INTO triple VALUES (?, ?, ?)", triple)
            assert peer.execute("SELECT 1 FROM triple WHERE s = ? AND r = ? AND o = ?", triple).fetchone()

        ours, plain = _times(edit, edits), _times(plain_edit, edits)
        renamed = _times(rename, range(200))
    peer.close()
    medians = statistics.median(ours) * 1e3, statistics.median(plain) * 1e3
    worst = f"at worst {max(ours) * 1e3:.1f} ms"
    renames = statistics.median(renamed) * 1e3
    return [
        row("an edit until two graphs show it", "ms", *medians, "plain sqlite3", lower_is_better=True, note=worst),
        row("a new name until two find it", "ms", renames, None, "-", note=f"at worst {max(renamed) * 1e3:.1f} ms"),
    ]


def _share(folder: Path, options: argparse.Namespace) -> Row:
    from groundzero.graph.nouns import Literal
    from groundzero.graph.sqlite import SQLiteStore

    path, chance = folder / "ours.db", random.Random(3)
    store, log = SQLiteStore(path), path.with_name("ours.db-wal")
    with store.writer() as writer:
        holds = writer.add_relation("holds")
        accounts = writer.add_entities([f"account {each}" for each in range(ACCOUNTS)])
        for account in accounts:
            writer.add_statement(account, holds, Literal(str(TOTAL // ACCOUNTS), "integer"))
    command = [sys.executable, "-m", "benchmarks", "store", "--look", str(path), "--seconds", str(options.seconds)]
    readers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        for _ in range(options.readers)
    ]
    for reader in readers:
        assert reader.stdout is not None
        reader.stdout.readline()
    writes, largest, waits = 0, 0, []
    stop = time.monotonic() + options.seconds
    while time.monotonic() < stop:
        start = time.perf_counter()
        one, two, amount = chance.choice(accounts), chance.choice(accounts), chance.randint(0, 9)
        with store.writer() as writer:
            for account, change in ((one, -amount), (two, amount)) if one != two else ():
                (held,) = store.outgoing(account, holds)
                assert held.literal is not None
                writer.retire(held.id)
                writer.add_statement(account, holds, Literal(str(int(held.literal.value) + change), "integer"))
        waits.append(time.perf_counter() - start)
        writes += 1
        largest = max(largest, log.stat().st_size)
    looks = [json.loads(reader.communicate()[0]) for reader in readers]
    assert all(reader.returncode == 0 for reader in readers), "a reader failed"
    store.check()
    store.close()
    snapshots = sum(each["looks"] for each in looks)
    slow = sorted(waits)[int(len(waits) * 0.99)] * 1e3
    note = (
        f"{options.seconds:g} s, 0 errors, {writes} commits (99 % within {slow:.0f} ms), "
        f"every sum right, log at most {largest / 1e6:.0f} MB"
    )
    return row(f"{options.readers} readers beside a writer", "snapshots", float(snapshots), None, "-", note=note)


def _look(path: Path, seconds: float) -> None:
    """A reader process."""
    from groundzero.graph.sqlite import SQLiteStore

    store = SQLiteStore(path, read_only=True)
    holds = store.find_relation("holds")
    first = store.find_entity("account 0")
    assert first is not None
    print("ready", flush=True)
    looks, stop = 0, time.monotonic() + seconds
    while time.monotonic() < stop:
        with store.snapshot() as now:
            held = [each for account in range(first, first + ACCOUNTS) for each in now.outgoing(account, holds)]
            assert len(held) == ACCOUNTS
            assert sum(int(each.literal.value) for each in held if each.literal) == TOTAL
        looks += 1
    store.close()
    print(json.dumps({"looks": looks}), flush=True)


def _plain(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "plain.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -131072")
    return connection


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _times(work: Callable[[Any], Any], things: Any) -> list[float]:
    return [_seconds(lambda each=each: work(each)) for each in things]  # type: ignore[misc]


def _each(work: Callable[[Any], Any], things: Any) -> float:
    """Median microseconds, after a warm-up."""
    _times(work, things[:100])
    return statistics.median(_times(work, things)) * 1e6
