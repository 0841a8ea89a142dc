"""What a question asks of the graph, as symbols: hops from an entity, constraints, an aggregate. No model runs it.

A query says everything that is needed to find the answer again: `run` follows it against any store at any transaction,
and gives the answers with the statements each rests on. `verify` replays the query that an answer carries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from typing import Literal as OneOf

from groundzero.errors import FormatError
from groundzero.graph.nouns import EntityId, Literal, Statement, Transaction
from groundzero.ground.facts import Facts
from groundzero.ground.values import compare

Node = EntityId | Literal
"""What a hop leads to."""
MAX_NODES = 100_000
"""Entities that one step of a query may lead to."""


class Step(NamedTuple):
    """One hop of a query, by the keys that the outside world knows."""

    relation: str
    inverse: bool = False
    only: tuple[str, str] | None = None
    """(relation, lower-case label of its object) that whatever this hop leads to must have: ("gender", "female") for
    "mother"; no relation for the entity's own types: ("", "city")."""


class Branch(NamedTuple):
    """Hops from an entity."""

    start: str
    """Key of the entity."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is made of the things that the hops lead to."""

    kind: OneOf["count", "max", "min", "exists"]
    relation: str = ""
    """Of max and min: key of the relation whose literals are compared."""
    object: str = ""
    """Of exists: key of the entity, or text of the literal, that is asked for."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question in symbols."""

    branch: Branch
    constraints: tuple[Branch, ...] = ()
    """Answers must also be reached by each of these."""
    aggregate: Aggregate | None = None

    def as_json(self) -> dict[str, Any]:
        """`{hops, constraints, aggregate}`; the first hop of each branch says `from` where."""
        aggregate: dict[str, str] | None = None
        if self.aggregate is not None:
            aggregate = {"kind": str(self.aggregate.kind)}
            aggregate |= {"relation": self.aggregate.relation} if self.aggregate.relation else {}
            aggregate |= {"object": self.aggregate.object} if self.aggregate.kind == "exists" else {}
        return {
            "hops": _hops(self.branch),
            "constraints": [{"hops": _hops(branch)} for branch in self.constraints],
            "aggregate": aggregate,
        }

    @classmethod
    def from_json(cls, raw: object) -> Query:
        """The query of an answer. Raises FormatError where it is none."""
        try:
            assert isinstance(raw, dict)
            aggregate = raw["aggregate"]
            return cls(
                _branch(raw["hops"]),
                tuple(_branch(each["hops"]) for each in raw["constraints"]),
                None if aggregate is None else _aggregate(aggregate),
            )
        except (AssertionError, KeyError, TypeError, IndexError) as error:
            raise FormatError(
                "The answer's query is not one: it needs hops, constraints and aggregate.",
                remedy="Give an answer as `gz ask --json` prints it.",
            ) from error


@dataclass(slots=True)
class Support:
    """The way to one answer: its statements in order, and the nodes they lead to, the first of them the start."""

    statements: tuple[Statement, ...] = ()
    nodes: tuple[Node, ...] = ()


@dataclass(slots=True)
class Result:
    """What a query leads to."""

    answers: dict[Node, list[Support]] = field(default_factory=dict)
    """Each answer with its way by each branch, in the order in which the statements were added."""
    number: int | None = None
    """Of count."""
    holds: bool | None = None
    """Of exists."""
    compared: dict[Node, Statement] = field(default_factory=dict)
    """Of max and min: the statement with the literal of every node that has one."""
    missing: int = 0
    """Of max and min: nodes without such a literal."""
    truncated: bool = False
    """More than MAX_NODES were reached."""


def run(query: Query, reader: Facts, at: Transaction | None = None) -> Result:
    """Follow a query. An unknown entity or relation leads nowhere."""
    result = Result()
    ways = _follow(query.branch, reader, at, result)
    answers = {node: [way] for node, way in ways.items()}
    for branch in query.constraints:
        others = _follow(branch, reader, at, result)
        answers = {node: [*kept, others[node]] for node, kept in answers.items() if node in others}
    result.answers = answers
    if query.aggregate is not None:
        apply(query.aggregate, result, reader, at)
    return result


def _follow(branch: Branch, reader: Facts, at: Transaction | None, result: Result) -> dict[Node, Support]:
    start = reader.find_entity(branch.start)
    if start is None:
        return {}
    ways: dict[Node, Support] = {start: Support((), (start,))}
    for step in branch.steps:
        relation = reader.find_relation(step.relation)
        ahead: dict[Node, Support] = {}
        for node, way in ways.items():
            if relation is None or isinstance(node, Literal):
                continue
            said = reader.incoming(node, relation, at=at) if step.inverse else reader.outgoing(node, relation, at=at)
            for statement in said:
                end = statement.subject if step.inverse else _end(statement)
                if end not in ahead:
                    ahead[end] = Support((*way.statements, statement), (*way.nodes, end))
            if len(ahead) > MAX_NODES:
                result.truncated = True
                break
        ways = _filtered(step, ahead, reader, at)
    if len(ways) > 1:
        ways.pop(start, None)  # "the children of E's mother" means the others
    return ways


def _filtered(step: Step, ways: dict[Node, Support], reader: Facts, at: Transaction | None) -> dict[Node, Support]:
    if step.only is None:
        return ways
    relation, wanted = reader.find_relation(step.only[0]) if step.only[0] else None, step.only[1]
    kept: dict[Node, Support] = {}
    for node, way in ways.items():
        if isinstance(node, Literal):
            continue
        if relation is not None:
            found = [label_of(_end(each), reader, at) for each in reader.outgoing(node, relation, at=at)]
        else:
            found = [] if step.only[0] else list(reader.entity(node, at=at).types)
        if wanted in (each.lower() for each in found):
            kept[node] = way
    return kept


def apply(aggregate: Aggregate, result: Result, reader: Facts, at: Transaction | None) -> None:
    """Make of a result what the aggregate says, in place."""
    if aggregate.kind == "count":
        result.number = len(result.answers)
    elif aggregate.kind == "exists":
        entity = reader.find_entity(aggregate.object)
        found = [
            node
            for node in result.answers
            if (node.value == aggregate.object if isinstance(node, Literal) else node == entity)
        ]
        result.holds = bool(found)
        if found:
            result.answers = {node: result.answers[node] for node in found}
    else:
        _keep_extreme(aggregate, result, reader, at)


def _keep_extreme(aggregate: Aggregate, result: Result, reader: Facts, at: Transaction | None) -> None:
    relation = reader.find_relation(aggregate.relation)
    for node in result.answers:
        if relation is None or isinstance(node, Literal):
            continue
        said = [each for each in reader.outgoing(node, relation, at=at) if each.literal is not None]
        values = [(compare(each.literal), each) for each in said if each.literal is not None]
        known = [(value, each) for value, each in values if value is not None]
        if known:
            pick = (
                max(known, key=lambda pair: pair[0])
                if aggregate.kind == "max"
                else min(known, key=lambda pair: pair[0])
            )
            result.compared[node] = pick[1]
    result.missing = len(result.answers) - len(result.compared)
    if not result.compared:
        result.answers = {}
        return
    reached = {node: compare(each.literal) for node, each in result.compared.items() if each.literal is not None}
    best = (max if aggregate.kind == "max" else min)(value for value in reached.values() if value is not None)
    result.answers = {node: ways for node, ways in result.answers.items() if reached.get(node) == best}


def label_of(node: Node, reader: Facts, at: Transaction | None = None) -> str:
    """What a node is called: the label of an entity, the text of a literal."""
    return node.value if isinstance(node, Literal) else reader.entity(node, at=at).label


def cited(result: Result) -> Iterable[Statement]:
    """Every statement that the answers rest on, once."""
    seen: set[int] = set()
    for node, ways in result.answers.items():
        extra = [result.compared[node]] if node in result.compared else []
        for statement in (*(each for way in ways for each in way.statements), *extra):
            if statement.id not in seen:
                seen.add(statement.id)
                yield statement


def _end(statement: Statement) -> Node:
    if statement.object is not None:
        return statement.object
    assert statement.literal is not None
    return statement.literal


def _hops(branch: Branch) -> list[dict[str, Any]]:
    hops: list[dict[str, Any]] = []
    for place, step in enumerate(branch.steps):
        hop: dict[str, Any] = {"from": branch.start} if place == 0 else {}
        hop |= {"relation": step.relation, "inverse": step.inverse}
        hop |= {"only": {"relation": step.only[0], "object": step.only[1]}} if step.only else {}
        hops.append(hop)
    return hops


def _branch(hops: Any) -> Branch:
    steps = []
    for hop in hops:
        only = hop.get("only")
        assert isinstance(hop["relation"], str)
        assert isinstance(hop["inverse"], bool)
        steps.append(
            Step(hop["relation"], hop["inverse"], None if only is None else (only["relation"], only["object"]))
        )
    assert isinstance(hops[0]["from"], str)
    return Branch(hops[0]["from"], tuple(steps))


def _aggregate(raw: Any) -> Aggregate:
    assert raw["kind"] in ("count", "max", "min", "exists")
    return Aggregate(raw["kind"], str(raw.get("relation", "")), str(raw.get("object", "")))
