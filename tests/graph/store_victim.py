"""A process that writes to a graph until it is stopped, and says on stdout which transactions were acknowledged.

Run by the fault tests: `python store_victim.py FILE TRANSACTIONS [--fault NAME]`. Transaction i adds the entity `t{i}`,
named "victim {i}", with FACTS statements, and ends in one line `ack i`.
`--fault` makes it wrong in a way that the tests must notice.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from groundzero.errors import StorageError
from groundzero.graph.nouns import Literal
from groundzero.graph.sqlite import SQLiteStore
from groundzero.graph.store import Store, Writer

FACTS = 12
"""Statements of one transaction: two links, a literal, and the rest in bulk."""


def write(writer: Writer, number: int) -> None:
    """The statements of transaction `number`. A second time they are there already."""
    entity = writer.add_entity(f"t{number}", label=f"victim {number}")
    follows, says, part = (writer.add_relation(key) for key in ("follows", "says", "part"))
    source = writer.add_source(f"article {number}", digest=f"{number:064x}")
    before = writer.add_entity(f"t{number - 1}")
    writer.add_statement(entity, follows, before, source=source, start=0, end=4)
    writer.add_statement(before, says, Literal(f"{number} " * 400), source=source)
    writer.add_triples([(entity, part, writer.add_entity(f"part {each}")) for each in range(FACTS - 2)], source=source)


def verify(store: Store, acknowledged: int) -> int:
    """Raise AssertionError unless every acknowledged transaction is whole and none half there; returns the last."""
    store.check()  # type: ignore[attr-defined]
    written = {entity.key: entity for entity in store.entities()}
    last = 0
    while (entity := written.get(f"t{last + 1}")) is not None and entity.label != entity.key:
        last += 1
        source = store.find_source(f"article {last}")
        facts = list(store.statements(source=source))
        assert len(facts) == FACTS, f"transaction {last} has {len(facts)} of {FACTS} facts"
        assert len({(each.subject, each.relation, each.object, each.literal) for each in facts}) == FACTS
        assert entity.id in [found for found, _ in store.search(f"victim {last}", limit=1000)]
        assert store.named(f"victim {last}") == [entity.id]
    assert last >= acknowledged, f"transaction {acknowledged} was acknowledged, {last} is the last one there"
    assert store.transaction() == last, f"transaction {last} is half there: the log ends at {store.transaction()}"
    assert store.counts().triples == last * FACTS
    return last


def main() -> None:
    path, transactions = Path(sys.argv[1]), int(sys.argv[2])
    fault = sys.argv[4] if len(sys.argv) > 4 else ""
    store = SQLiteStore(path, create=True)
    if fault == "no sync":
        store._writing_connection().execute("PRAGMA synchronous = OFF")
    for number in range(store.transaction() + 1, transactions + 1):
        try:
            if fault == "halves" and number > 3:
                with store.writer() as writer:
                    writer.add_entity(f"t{number}", label=f"victim {number}")
                    writer.add_source(f"article {number}", digest=f"{number:064x}")
                print("half", flush=True)
                time.sleep(60)
            with store.writer() as writer:
                write(writer, number)
                if fault == "early":
                    _acknowledge(number)
                    time.sleep(60 * (number > 3))
        except StorageError as error:
            print(f"failed {error}", flush=True)
            if fault != "deaf":
                return
        if fault != "early":
            _acknowledge(number)


def _acknowledge(number: int) -> None:
    sys.stdout.write(f"ack {number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
