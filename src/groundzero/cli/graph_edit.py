"""`gz graph edit` and `names`: change what a graph says and what it calls things. Nothing is ever erased."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.graph_options import At, GraphOption, Json, checked_at, opened, statement_facts, statement_line
from groundzero.errors import InputError, UsageError

if TYPE_CHECKING:
    from groundzero.graph.nouns import EntityId, Literal, Statement, Transaction
    from groundzero.graph.store import Reader, Store, Writer

app = typer.Typer()
PERSON = "gz graph edit"
"""The source of statements that somebody typed."""


@app.command()
def edit(
    subject: Annotated[str, typer.Argument(help="A label, alias or key.")],
    relation: Annotated[str, typer.Argument(help="A label, alias or key.")],
    object_: Annotated[str, typer.Argument(metavar="OBJECT", help="A label, alias, key, number or date.")],
    graph: GraphOption,
    add: Annotated[bool, typer.Option("--add", help="Keep what the graph says already.")] = False,
    retire: Annotated[bool, typer.Option("--retire", help="Retire this statement, and add none.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Make entities and relations that the graph lacks.")] = False,
    replace: Annotated[
        str, typer.Option("--replace", help="Retire the statement with this object.", metavar="OLD")
    ] = "",
    literal: Annotated[
        str, typer.Option("--literal", help="The object is a value: string, integer, date...", metavar="TYPE")
    ] = "",
    source: Annotated[str, typer.Option("--source", help="Who or what says so.")] = PERSON,
    confidence: Annotated[float, typer.Option("--confidence", min=0, max=1, help="Probability that it is true.")] = 1.0,
    valid_from: Annotated[str, typer.Option("--valid-from", help="ISO date since when it holds.")] = "",
    valid_to: Annotated[str, typer.Option("--valid-to", help="ISO date until when it holds.")] = "",
    at: Annotated[
        int | None,
        typer.Option("--at", help="Refuse if this part of the graph changed after this transaction.", metavar="N"),
    ] = None,
    diff: Annotated[
        Path | None, typer.Option("--diff", help="List the answers that this run gave and that now are others.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a fact.

    What the graph says of subject and relation is retired, and the new added. Both keep their ids, and --at shows the
    graph as it was. `gz graph forget` retires all that a source says.

    Examples:

    gz graph edit Peru capital Cusco --graph facts.db

    gz graph edit Peru "shares border with" Ecuador --graph facts.db --add --new
    """
    from groundzero.cli.ask import visible  # noqa: PLC0415
    from groundzero.cli.output import emit, note  # noqa: PLC0415

    if sum((add, retire, bool(replace))) > 1:
        raise UsageError("--add, --retire and --replace exclude each other.", remedy="Give one of them, or none.")
    with opened(graph, read_only=False) as store:
        checked_at(store, at)
        wanted = Edit(store, subject, relation, object_, literal, make=new)
        old = wanted.to_retire(replace, add=add, retire=retire)
        if at is not None:
            _unchanged(store, wanted, at)
        payload = wanted.carry_out(old, retire, source, confidence, valid_from, valid_to)
    if diff is not None:
        payload["answers"] = _changed_answers(diff, graph)

    def tell() -> None:
        for line in lines_of(payload):
            print(line)
        for row in payload.get("answers", ()):
            for mark, key in (("?", "question"), ("  -", "before"), ("  +", "after")):
                print(visible(f"{mark} {row[key]}"))
        note(f"Transaction {payload['transaction']}. Earlier ones still show what they showed: --at.")

    emit(payload, as_json, tell)


def lines_of(payload: dict[str, Any]) -> list[str]:
    """What an edit did, a statement a line."""
    marked = [("-", row) for row in payload["retired"]] + [("+", row) for row in payload["added"]]
    return [f"{mark} [{row['id']}] {statement_line(row)}" for mark, row in marked]


def _changed_answers(run: Path, graph: str) -> list[dict[str, str]]:
    """The answers kept in a run that the graph, as it is now, gives otherwise."""
    from dataclasses import asdict  # noqa: PLC0415

    from groundzero.graph.graph import Graph  # noqa: PLC0415 - brings in SciPy
    from groundzero.ground.kept import changed_answers, kept_answers  # noqa: PLC0415
    from groundzero.ground.reason import Reasoner  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415

    answers = kept_answers(RunDirectory.open(run))
    with Graph.open(graph, read_only=True) as opened_graph:
        return [asdict(change) for change in changed_answers(answers, Reasoner(opened_graph))]


@app.command()
def names(
    entity: Annotated[str, typer.Argument(help="A label, alias or key; part of one lists what is near.")],
    graph: GraphOption,
    add: Annotated[str, typer.Option("--add", help="Give this name.", metavar="TEXT")] = "",
    retire: Annotated[str, typer.Option("--retire", help="Retire this name.", metavar="TEXT")] = "",
    kind: Annotated[
        str, typer.Option("--kind", help="label, alias, description or type; of a relation also inverse, template.")
    ] = "alias",
    of_relation: Annotated[bool, typer.Option("--relation", help="The names of a relation.")] = False,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Show, give or retire the names of an entity or a relation.

    Example: gz graph names Peru --add "Republic of Peru" --graph facts.db
    """
    from groundzero.cli.output import console, emit, note, table  # noqa: PLC0415
    from groundzero.graph.lookup import find_entities, resolve_entity, resolve_relation  # noqa: PLC0415

    if at is not None and (add or retire):
        raise UsageError("--at shows the past, which cannot be changed.", remedy="Leave out --at.")
    with opened(graph, read_only=not (add or retire)) as store:
        at = checked_at(store, at)
        if not of_relation and not add and not retire and not find_entities(store, entity, at=at):
            _list_near(store, entity, at, as_json)
            return
        found = (resolve_relation if of_relation else resolve_entity)(store, entity, at=at)
        if add or retire:
            _rename(store, found, add, retire, kind, of_relation)
        get = store.relation_names if of_relation else store.entity_names
        living = get(found, at=at)
        key = (store.relation(found, at=at) if of_relation else store.entity(found, at=at)).key
        transaction = store.transaction() if at is None else at
    payload = {
        "key": key,
        "names": [
            {"text": name.text, "kind": name.kind, "language": name.language, "added": name.added} for name in living
        ],
        "transaction": transaction,
    }

    def tell() -> None:
        print(f"{key}:")
        rows = [(name.kind, name.text, name.language, str(name.added)) for name in living]
        console().print(table(("kind", "name", "language", "added in"), rows, numbers="added in"))
        if add or retire:
            note(f"Transaction {transaction}.")

    emit(payload, as_json, tell)


class Edit:
    """An edit whose words have been looked up."""

    def __init__(self, store: Store, subject: str, relation: str, object_: str, literal: str, *, make: bool) -> None:
        from groundzero.graph.lookup import find_entities, find_relations  # noqa: PLC0415

        self._store = store
        # Without --new a slip of the pen must not make things.
        self._subject_key = subject if make and not find_entities(store, subject) else ""
        self._relation_key = relation if make and not find_relations(store, relation) else ""
        self.subject = None if self._subject_key else self._entity(subject)
        self.relation = None if self._relation_key else self._known_relation(relation)
        self.object, self._object_key = self._find_object(object_, literal, make)

    def to_retire(self, replace: str, *, add: bool, retire: bool) -> list[Statement]:
        """The statements that this edit retires."""
        if add or self.subject is None or self.relation is None:
            return []
        living = self._store.outgoing(self.subject, self.relation)
        shown = f"{self._store.entity(self.subject).label} {self._store.relation(self.relation).label}"
        if replace or retire:
            unwanted = self._find_object(replace, "", False)[0] if replace else self.object
            found = [one for one in living if unwanted in (one.object, one.literal)]
            if not found:
                raise InputError(f"The graph does not say {shown} {replace or 'that'}.", remedy="See `gz graph query`.")
            return found
        objects = {(one.object, one.literal) for one in living}
        if len(objects) > 1:
            raise InputError(
                f"{shown} has {len(objects)} answers.",
                remedy="Say --add to add one more, or --replace OLD to say which one this replaces.",
            )
        return living

    def carry_out(
        self,
        old: list[Statement],
        retire: bool = False,
        source: str = PERSON,
        confidence: float = 1.0,
        valid_from: str = "",
        valid_to: str = "",
    ) -> dict[str, Any]:
        """Retire the old, add the new; `{graph, transaction, retired, added}`."""
        store, added = self._store, None
        with store.writer() as writer:
            if not retire:
                added = self._write(writer, source, confidence, valid_from, valid_to)
            old = [statement for statement in old if statement.id != added]
            for statement in old:
                writer.retire(statement.id)
        _follow_types(store, old, added)
        return {
            "graph": store.location,
            "transaction": store.transaction(),
            "retired": [_facts(store, statement.id) for statement in old],
            "added": [] if added is None else [_facts(store, added)],
        }

    def _write(self, writer: Writer, source: str, confidence: float, valid_from: str, valid_to: str) -> int:
        """Add the statement; returns its id."""
        from groundzero.graph.derived import entity_label, relation_label  # noqa: PLC0415

        def entity(known: EntityId | None, key: str) -> EntityId:
            return known if known is not None else writer.add_entity(key, label=entity_label(key))

        relation = self.relation
        if relation is None:
            relation = writer.add_relation(self._relation_key, label=relation_label(self._relation_key))
        value: Any = self.object if self.object is not None else entity(None, self._object_key)
        return writer.add_statement(
            entity(self.subject, self._subject_key),
            relation,
            value,
            source=writer.add_source(source) if source else None,
            confidence=confidence,
            valid_from=valid_from,
            valid_to=valid_to,
        )

    def _find_object(self, text: str, literal: str, make: bool) -> tuple[EntityId | Literal | None, str]:
        from groundzero.graph.formats.literals import from_cell  # noqa: PLC0415
        from groundzero.graph.lookup import find_entities  # noqa: PLC0415
        from groundzero.graph.nouns import Literal  # noqa: PLC0415

        if literal:
            return Literal(text, literal), ""
        if find_entities(self._store, text):
            return self._entity(text), ""
        value = from_cell(text) or self._literal_here(text)
        if value is not None:
            return value, ""
        return (None, text) if make else (self._entity(text), "")

    def _literal_here(self, text: str) -> Literal | None:
        """A literal that the graph already has at this place, whatever its datatype."""
        if self.subject is None or self.relation is None:
            return None
        for statement in self._store.outgoing(self.subject, self.relation):
            if statement.literal is not None and statement.literal.value == text:
                return statement.literal
        return None

    def _entity(self, text: str) -> EntityId:
        from groundzero.graph.lookup import resolve_entity  # noqa: PLC0415

        try:
            return resolve_entity(self._store, text)
        except InputError as error:
            if error.message.startswith("No entity"):
                raise InputError(error.message, remedy=f"{error.remedy} --new makes one.") from None
            raise

    def _known_relation(self, text: str) -> int:
        from groundzero.graph.lookup import resolve_relation  # noqa: PLC0415

        try:
            return resolve_relation(self._store, text)
        except InputError as error:
            if error.message.startswith("No relation"):
                raise InputError(error.message, remedy=f"{error.remedy} --new makes one.") from None
            raise


def _follow_types(store: Store, retired: list[Statement], new: int | None) -> None:
    """What an entity is an instance of is also its type."""
    from groundzero.graph.naming import follow_type  # noqa: PLC0415

    added = None if new is None else store.statement(new)
    with store.writer() as writer:
        for statement in retired:
            follow_type(store, writer, statement, retired=True)
        if added is not None:
            follow_type(store, writer, added, retired=False)


def _unchanged(store: Store, wanted: Edit, at: Transaction) -> None:
    if wanted.subject is None:
        return
    now = {statement.id for statement in store.outgoing(wanted.subject, wanted.relation)}
    then = {statement.id for statement in store.outgoing(wanted.subject, wanted.relation, at=at)}
    if now != then:
        raise InputError(
            f"The graph has changed here since transaction {at}.", remedy="Look again with `gz graph query`, then edit."
        )


def _facts(reader: Reader, statement: int) -> dict[str, Any]:
    found = reader.statement(statement)
    assert found is not None
    return statement_facts(reader, found)


def _rename(store: Store, found: int, add: str, retire: str, kind: str, of_relation: bool) -> None:
    from groundzero.graph.naming import set_label  # noqa: PLC0415

    kinds = ("label", "alias", "inverse", "template", "question") if of_relation else (
        "label", "alias", "description", "type"
    )  # fmt: skip
    if kind not in kinds:
        raise UsageError(f"No kind of name is {kind!r} here.", remedy=f"Give one of {', '.join(kinds)}.")
    chosen: Any = kind
    with store.writer() as writer:
        if retire:
            drop = writer.retire_relation_name if of_relation else writer.retire_entity_name
            if not drop(found, retire, chosen):
                raise InputError(f"It has no {kind} {retire!r}.", remedy="See its names with `gz graph names`.")
        if add and kind == "label":
            set_label(store, writer, "relation" if of_relation else "entity", found, add)
        elif add:
            (writer.name_relation if of_relation else writer.name_entity)(found, add, chosen)


def _list_near(store: Store, text: str, at: Transaction | None, as_json: bool) -> None:
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.lookup import describe, near_entities  # noqa: PLC0415

    near = [store.entity(id_, at=at) for id_ in near_entities(store, text, limit=20, at=at)]

    def tell() -> None:
        note(f"Nothing is called {text!r}." + (" Near it:" if near else ""))
        for entity in near:
            print(describe(entity))

    emit(
        {"near": [{"key": each.key, "label": each.label, "description": each.description} for each in near]},
        as_json,
        tell,
    )
