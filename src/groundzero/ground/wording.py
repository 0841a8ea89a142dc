"""Answers in sentences, made by rule from a query and its result: the same answer always reads the same.

What entities are called is data: it is put into sentences as it is and never read again as anything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from groundzero.graph.nouns import EntityId, Relation, Statement, Transaction
from groundzero.graph.phrasing import for_many, phrase
from groundzero.ground.answer import PathStep
from groundzero.ground.facts import Facts
from groundzero.ground.hops import plain_label
from groundzero.ground.query import Node, Query, Result, Support, label_of

LISTED = 10
"""Answers named in a text; all of them are cited."""
SUREST = 0.99
"""Predictions are never said to be surer than this."""
_MANY = "\0"  # no label holds it (`folding.is_storable`)
_ENDS = re.compile(r"\{subject\}|\{object\}")


def sentence(statement: Statement, reader: Facts, at: Transaction | None = None) -> str:
    """A statement as a sentence without its full stop: "Lima is the capital of Peru"."""
    relation = reader.relation(statement.relation, at=at)
    subject = label_of(statement.subject, reader, at)
    return said(relation, subject, label_of(_object(statement), reader, at))


def said(relation: Relation, subject: str, object_: str) -> str:
    """Subject, relation and object as a sentence without its full stop."""
    template = phrase(relation).sentences[0].strip().rstrip(". ")
    ends = {"{subject}": subject, "{object}": object_}
    return _ENDS.sub(lambda found: ends[found[0]], template)


def step_words(relation: Relation, inverse: bool) -> str:
    """A hop of a path in words: the relation's label, or what the way back is called."""
    label, turned = plain_label(relation)
    inverse ^= turned
    return (relation.inverse or f"inverse of {label}") if inverse else label


def path_in_words(result: Result, query: Query, reader: Facts, at: Transaction | None = None) -> tuple[PathStep, ...]:
    """The way to the first answer, by every branch."""
    node = next(iter(result.answers), None)
    if node is None:
        return ()
    steps: list[PathStep] = []
    for way, branch in zip(result.answers[node], (query.branch, *query.constraints), strict=True):
        for place, statement in enumerate(way.statements):
            relation = reader.relation(statement.relation, at=at)
            ends = (label_of(each, reader, at) for each in way.nodes[place : place + 2])
            steps.append(PathStep(next(ends), step_words(relation, branch.steps[place].inverse), next(ends)))
    return tuple(steps)


def text_of(query: Query, result: Result, reader: Facts, at: Transaction | None = None) -> str:
    """The answer in sentences with its citations. The result must hold answers, or a count or a verdict."""
    aggregate = query.aggregate
    if aggregate is not None and aggregate.kind == "count":
        return _counted(result, reader, at)
    if aggregate is not None and aggregate.kind == "exists":
        verdict = "Yes" if result.holds else "No"
        return f"{verdict}: {_reasons(_first_ways(result), reader, at)}" if result.answers else f"{verdict}."
    if aggregate is not None:
        return _extreme(query, result, reader, at)
    nodes = list(result.answers)
    one_hop = len(query.branch.steps) == 1 and not query.constraints
    if one_hop:
        return _one_hop(query, result, reader, at)
    if len(nodes) == 1:
        return f"{_name(nodes[0], reader, at)}: {_reasons(result.answers[nodes[0]], reader, at)}"
    return f"{_list(result, reader, at)}. For example, {_reasons(result.answers[nodes[0]], reader, at)}"


def predicted_text(
    query: Query, candidate: str, probability: float, reader: Facts, at: Transaction | None = None
) -> str:
    """What an embedding foretells of a query of one hop. No citation: the graph does not say it."""
    step = query.branch.steps[0]
    start, relation = reader.find_entity(query.branch.start), reader.find_relation(step.relation)
    if start is None or relation is None:
        return ""
    found, topic = reader.relation(relation, at=at), label_of(start, reader, at)
    label, turned = plain_label(found)
    way_back = step.inverse != turned
    what = (
        f"whose {label} is {topic}"
        if way_back and not found.inverse
        else f"the {step_words(found, step.inverse)} of {topic}"
    )
    likely = f"{min(probability, SUREST):.2f}"
    return f"The graph does not say {what}; it predicts {candidate} (probability {likely})."


def _one_hop(query: Query, result: Result, reader: Facts, at: Transaction | None) -> str:
    nodes = list(result.answers)
    statement = result.answers[nodes[0]][0].statements[0]
    relation = reader.relation(statement.relation, at=at)
    if len(nodes) == 1:
        return f"{_capital(sentence(statement, reader, at))} {_marks([statement])}."
    start = label_of(result.answers[nodes[0]][0].nodes[0], reader, at)
    listed = _list(result, reader, at)
    ends = (_MANY, start) if query.branch.steps[0].inverse else (start, _MANY)
    return f"{_capital(for_many(said(relation, *ends), _MANY)).replace(_MANY, listed)}."


def _counted(result: Result, reader: Facts, at: Transaction | None) -> str:
    if not result.answers:
        return "There are 0."
    return f"There {'is' if result.number == 1 else 'are'} {result.number}: {_list(result, reader, at)}."


def _extreme(query: Query, result: Result, reader: Facts, at: Transaction | None) -> str:
    assert query.aggregate is not None
    word = "highest" if query.aggregate.kind == "max" else "lowest"
    parts = []
    for node in result.answers:
        statement = result.compared[node]
        parts.append(f"{sentence(statement, reader, at)} {_marks([statement])}")
    ways = _first_ways(result)
    rest = f" {_capital(_reasons(ways, reader, at))}" if ways and ways[0].statements else ""
    names = _joined([_name(node, reader, at) for node in result.answers])
    unknown = f"; {result.missing} without one are left out" if result.missing else ""
    compared = f"the {word} of {len(result.compared)} compared{unknown}"
    return f"{names}: {'; '.join(parts)}, {compared}.{rest}"


def _first_ways(result: Result) -> list[Support]:
    return next(iter(result.answers.values()), [])


def _reasons(ways: Sequence[Support], reader: Facts, at: Transaction | None) -> str:
    """The statements of these ways as sentences with their citations."""
    statements = [statement for way in ways for statement in way.statements]
    distinct = list({statement.id: statement for statement in statements}.values())
    return "; ".join(f"{sentence(each, reader, at)} {_marks([each])}" for each in distinct) + "."


def _list(result: Result, reader: Facts, at: Transaction | None) -> str:
    """The answers with the statements each rests on, the first LISTED of them by name."""
    parts = []
    for node, ways in list(result.answers.items())[:LISTED]:
        marks = _marks([statement for way in ways for statement in way.statements])
        parts.append(f"{_name(node, reader, at)} {marks}")
    more = len(result.answers) - len(parts)
    return _joined([*parts, f"{more} more"] if more else parts)


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _marks(statements: Sequence[Statement]) -> str:
    return "".join(f"[S{number}]" for number in dict.fromkeys(statement.id for statement in statements))


def _name(node: Node, reader: Facts, at: Transaction | None) -> str:
    return label_of(node, reader, at)


def _object(statement: Statement) -> Node:
    if statement.object is not None:
        return statement.object
    assert statement.literal is not None
    return statement.literal


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text


def described(entity: EntityId, reader: Facts, at: Transaction | None = None) -> str:
    """An entity so that it can be told from others of its name: label and description, or a type, or its key."""
    found = reader.entity(entity, at=at)
    more = found.description or ", ".join(found.types[:2]) or found.key
    return f"{found.label} ({more})" if more != found.label else found.label
