"""What the commands of `gz graph` share: their options, opening a graph, and statements as rows and objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.errors import InputError

if TYPE_CHECKING:
    from groundzero.graph.nouns import Statement
    from groundzero.graph.store import Reader, Store

GraphOption = Annotated[
    str, typer.Option("--graph", help="The graph: a file, postgresql://... or a SPARQL endpoint.", metavar="DB")
]
At = Annotated[
    int | None, typer.Option("--at", help="Show the graph as it was after this transaction.", min=0, metavar="N")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Limit = Annotated[int, typer.Option("--limit", help="Print at most so many; 0 for all.", min=0)]


@contextmanager
def opened(graph: str, *, create: bool = False, read_only: bool = True) -> Iterator[Store]:
    """The store at `--graph`, closed when the block ends."""
    from groundzero.graph.opening import open_store  # noqa: PLC0415 - brings in NumPy, which `gz graph --help` need not

    store = open_store(graph, create=create, read_only=read_only)
    try:
        yield store
    finally:
        store.close()


def checked_at(store: Store, at: int | None) -> int | None:
    """`--at`, which must be a transaction that there was."""
    if at is None:
        return None
    latest = store.transaction()
    if at > latest:
        raise InputError(f"There is no transaction {at}; the latest is {latest}.", remedy="Give an earlier one.")
    if not store.capabilities.as_of:
        raise InputError(f"{store.location} does not keep its past.", remedy="Leave out --at.")
    return at


def statement_facts(reader: Reader, statement: Statement, at: int | None = None) -> dict[str, Any]:
    """A statement as the JSON object that every command prints: labels for people, keys and ids for programs."""
    subject = reader.entity(statement.subject, at=at)
    relation = reader.relation(statement.relation, at=at)
    facts: dict[str, Any] = {
        "id": statement.id,
        "subject": subject.label,
        "relation": relation.label,
        "object": statement.literal.value if statement.literal else None,
        "subject_key": subject.key,
        "relation_key": relation.key,
        "object_key": None,
        "datatype": statement.literal.datatype if statement.literal else None,
        "language": statement.literal.language if statement.literal else None,
        "source": None if statement.source is None else reader.source(statement.source).key,
        "start": statement.start,
        "end": statement.end,
        "confidence": statement.confidence,
        "valid_from": statement.valid_from,
        "valid_to": statement.valid_to,
        "status": statement.status,
        "added": statement.added,
        "retired": statement.retired,
    }
    if statement.object is not None:
        object_ = reader.entity(statement.object, at=at)
        facts |= {"object": object_.label, "object_key": object_.key}
    return facts


def statement_line(facts: dict[str, Any]) -> str:
    """A statement in words: `Peru  capital  Lima`."""
    text = f"{facts['subject']}  {facts['relation']}  {facts['object']}"
    return text + (f" ({facts['language']})" if facts["language"] else "")
