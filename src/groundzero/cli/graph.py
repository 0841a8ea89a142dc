"""`gz graph`: facts in and out of a graph, what it holds, how it changed, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.graph_check import app as check_app
from groundzero.cli.graph_edit import app as edit_app
from groundzero.cli.graph_embed import app as embed_app
from groundzero.cli.graph_files import app as files_app
from groundzero.cli.graph_forget import app as forget_app
from groundzero.cli.graph_learn import app as learn_app
from groundzero.cli.graph_options import At, GraphOption, Json, Limit, checked_at, opened, statement_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundzero.graph.nouns import Entity, EntityId, RelationId, Statement
    from groundzero.graph.paths import Path as GraphPath
    from groundzero.graph.store import Reader, Store

app = typer.Typer(help="Keep, ask and examine a graph of facts.", no_args_is_help=True, add_completion=False)
NOT_FOUND = 4
ANY = "?"


@app.command()
def stats(
    graph: GraphOption,
    at: At = None,
    relations: Annotated[bool, typer.Option("--relations", help="Also count the statements of each relation.")] = False,
    as_json: Json = False,
) -> None:
    """Count what a graph holds.

    Example: gz graph stats --graph facts.db --relations
    """
    from dataclasses import asdict  # noqa: PLC0415

    from groundzero.cli.output import console, emit, table  # noqa: PLC0415

    with opened(graph) as store:
        at = checked_at(store, at)
        counts = store.counts(at=at)
        payload: dict[str, Any] = asdict(counts) | {
            "transaction": store.transaction() if at is None else at,
            "graph": store.location,
        }
        if relations:
            payload["by_relation"] = _by_relation(store, at)

    def tell() -> None:
        rows = [(name, f"{payload[name]:,}") for name in ("triples", "entities", "relations", "sources")]
        rows += [(name, f"{payload[name]:,}") for name in ("quarantined", "retired") if payload[name]]
        console().print(table(("", "count"), [*rows, ("transaction", payload["transaction"])], numbers="count"))
        if relations:
            found = [(row["label"], row["key"], f"{row['statements']:,}") for row in payload["by_relation"]]
            console().print(table(("relation", "key", "statements"), found, numbers="statements"))

    emit(payload, as_json, tell)


@app.command()
def query(
    graph: GraphOption,
    subject: Annotated[str, typer.Argument(help="A label, alias or key, or ? for any.")] = ANY,
    relation: Annotated[str, typer.Argument(help="A label, alias or key, or ? for any.")] = ANY,
    object_: Annotated[str, typer.Argument(metavar="[OBJECT]", help="As subject, or the text of a literal.")] = ANY,
    at: At = None,
    limit: Limit = 20,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Show quarantined statements instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the statements of a pattern.

    Examples:

    gz graph query --graph facts.db Peru capital

    gz graph query --graph facts.db ? capital Lima --at 3
    """
    from itertools import islice  # noqa: PLC0415

    from groundzero.cli.output import console, emit, note, table  # noqa: PLC0415

    with opened(graph) as store:
        at = checked_at(store, at)
        found = _matching(store, subject, relation, object_, at, quarantined)
        statements = list(islice(found, limit + 1 if limit else None))
        cut = bool(limit) and len(statements) > limit
        rows = [statement_facts(store, statement, at) for statement in (statements[:limit] if limit else statements)]
        payload = {
            "statements": rows,
            "more": cut,
            "transaction": store.transaction() if at is None else at,
            "graph": store.location,
        }

    def tell() -> None:
        if not rows:
            note("Nothing matches.")
            return
        columns = ("id", "subject", "relation", "object", "source")
        console().print(table(columns, [tuple(_cell(row, name) for name in columns) for row in rows], numbers="id"))
        if cut:
            note(f"There are more; --limit 0 shows all, --limit {limit * 5} some.")

    emit(payload, as_json, tell)


@app.command()
def path(
    start: Annotated[str, typer.Argument(metavar="A", help="A label, alias or key.")],
    end: Annotated[str, typer.Argument(metavar="B", help="A label, alias or key.")],
    graph: GraphOption,
    max_hops: Annotated[int, typer.Option("--max-hops", help="Give up beyond so many statements.", min=1, max=8)] = 4,
    limit: Annotated[int, typer.Option("--limit", help="Print at most so many paths.", min=1)] = 5,
    as_json: Json = False,
) -> int:
    """Find the shortest ways from one entity to another.

    Exit code 4 where there is none.

    Example: gz graph path Lima "South America" --graph facts.db
    """
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.graph import Graph  # noqa: PLC0415
    from groundzero.graph.paths import shortest_paths  # noqa: PLC0415

    with opened(graph) as store:
        known = Graph(store)
        a, b = _best_known(store, start), _best_known(store, end)
        paths = shortest_paths(known.adjacency, a, b, max_hops=max_hops, limit=limit)
        ends = (store.entity(a), store.entity(b))
        payload = {
            "from": ends[0].label,
            "to": ends[1].label,
            "paths": [_path_facts(store, each) for each in paths],
            "transaction": store.transaction(),
            "graph": store.location,
        }
        lines = [_path_line(store, ends[0], each) for each in paths]

    def tell() -> None:
        if not paths:
            note(f"No path of {max_hops} hops or fewer from {ends[0].label} to {ends[1].label}.")
        for line in lines:
            print(line)

    emit(payload, as_json, tell)
    return 0 if paths else NOT_FOUND


app.add_typer(files_app)
app.add_typer(edit_app)
app.add_typer(forget_app)
app.add_typer(check_app)
app.add_typer(embed_app)
app.add_typer(learn_app)


def _matching(
    store: Store, subject: str, relation: str, object_: str, at: int | None, quarantined: bool
) -> Iterator[Statement]:
    """Statements of a pattern, by the index of whichever end is given. Where a name is that of several, all are
    meant: the statements tell which."""
    from groundzero.graph.lookup import resolve_relation  # noqa: PLC0415

    subjects = None if subject == ANY else _entities(store, subject, at)
    of_relation = None if relation == ANY else resolve_relation(store, relation, at=at)
    objects = None if object_ == ANY else _entities(store, object_, at, or_literal=True)
    for statement in _candidates(store, subjects, of_relation, objects, at, quarantined):
        if (
            (subjects is None or statement.subject in subjects)
            and of_relation in (None, statement.relation)
            and (objects is None or _is_object(statement, objects, object_))
        ):
            yield statement


def _candidates(
    store: Store,
    subjects: list[EntityId] | None,
    relation: RelationId | None,
    objects: list[EntityId] | None,
    at: int | None,
    quarantined: bool,
) -> Iterator[Statement]:
    if quarantined:
        yield from store.statements(status="quarantined", at=at)
    elif subjects is not None:
        for subject in subjects:
            yield from store.outgoing(subject, relation, at=at)
    elif objects:
        for object_ in objects:
            yield from store.incoming(object_, relation, at=at)
    else:
        yield from store.statements(at=at)


def _entities(store: Store, text: str, at: int | None, *, or_literal: bool = False) -> list[EntityId]:
    """All entities that a text may mean; none where it may be the text of a literal, which nobody keeps a list of."""
    from groundzero.graph.lookup import find_entities, resolve_entity  # noqa: PLC0415

    found = find_entities(store, text, at=at)
    return found if found or or_literal else [resolve_entity(store, text, at=at)]  # which raises, with suggestions


def _best_known(store: Store, text: str) -> EntityId:
    """Of the entities with this name the one that most statements mention, with a remark where there are others."""
    from groundzero.cli.output import note  # noqa: PLC0415
    from groundzero.graph.lookup import describe, find_entities, resolve_entity  # noqa: PLC0415

    found = find_entities(store, text)
    if len(found) < 2:
        return resolve_entity(store, text)
    sizes = {id_: len(store.outgoing(id_)) + len(store.incoming(id_, limit=1000)) for id_ in found}
    best = max(found, key=lambda id_: sizes[id_])
    others = ", ".join(store.entity(id_).key for id_ in found if id_ != best)
    note(f"Taking {describe(store.entity(best))}. Also called so: {others}.")
    return best


def _is_object(statement: Statement, objects: list[EntityId], text: str) -> bool:
    if statement.literal is not None:
        return statement.literal.value == text
    return statement.object in objects


def _cell(row: dict[str, Any], name: str) -> str:
    if name == "object" and row["language"]:
        return f"{row['object']} ({row['language']})"
    if name == "source" and row["start"] is not None:
        return f"{row['source']}:{row['start']}-{row['end']}"
    return "" if row[name] is None else str(row[name])


def _path_facts(reader: Reader, steps: GraphPath) -> list[dict[str, Any]]:
    return [
        {
            "from": reader.entity(step.start).label,
            "relation": reader.relation(step.relation).label,
            "to": reader.entity(step.end).label,
            "inverse": step.inverse,
            "statement": step.statement,
        }
        for step in steps
    ]


def _path_line(reader: Reader, start: Entity, steps: GraphPath) -> str:
    """`Lima <-capital- Peru -continent-> South America`, with the ids of the statements."""
    parts = [start.label]
    for step in steps:
        label = reader.relation(step.relation).label
        arrow = f"<-{label}-" if step.inverse else f"-{label}->"
        parts += [arrow, reader.entity(step.end).label]
    ids = ", ".join(str(step.statement) for step in steps)
    return " ".join(parts) + (f"   [{ids}]" if ids else "")


def _by_relation(store: Store, at: int | None) -> list[dict[str, Any]]:
    from collections import Counter  # noqa: PLC0415

    counts: Counter[RelationId] = Counter(statement.relation for statement in store.statements(at=at))
    known = {relation.id: relation for relation in store.relations(at=at)}
    return [
        {"key": known[id_].key, "label": known[id_].label, "statements": counts.get(id_, 0)}
        for id_ in sorted(known, key=lambda id_: (-counts.get(id_, 0), id_))
    ]
