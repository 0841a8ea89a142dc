"""From a reading of a question to the symbolic query it means, run: keys for ids, and what words say beyond relations.

"Mother" is a parent who is female where the graph knows of gender; "which city" keeps cities where some of the answers
are cities and some are not; "the oldest" compares literals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from groundzero.graph.nouns import EntityId, Literal, RelationId, Transaction
from groundzero.ground.facts import Facts
from groundzero.ground.hops import HopTable
from groundzero.ground.hypotheses import Hypothesis
from groundzero.ground.lexicon import load_lexicon
from groundzero.ground.query import Aggregate, Branch, Query, Result, Step, apply, run
from groundzero.ground.shape import Shape
from groundzero.ground.values import is_number
from groundzero.ground.words import SILENT, Word, content, stem, stems

LOOKED_AT = 200
"""Answers whose types are read."""
_GENDERED = {
    "mother": "female", "father": "male", "daughter": "female", "son": "male", "sister": "female", "brother": "male",
    "wife": "female", "husband": "male", "aunt": "female", "uncle": "male", "niece": "female", "nephew": "male",
    "queen": "female", "actress": "female",
}  # fmt: skip
_GENDERS = frozenset(("gender", "sex", "sex or gender"))


def to_query(
    facts: Facts, table: HopTable, words: Sequence[Word], shape: Shape, hypothesis: Hypothesis, at: Transaction | None
) -> tuple[Query, Result] | None:
    """The query and its result; None where a superlative compares by nothing that the graph knows."""
    branches = [
        _branch(facts, table, words, *each)
        for each in zip(hypothesis.starts, hypothesis.branches, hypothesis.stretches, strict=True)
    ]
    query = Query(branches[0], tuple(branches[1:]))
    result = run(query, facts, at)
    if not result.answers and any(step.only for branch in branches for step in branch.steps):
        query = Query(_plain(branches[0]), tuple(_plain(branch) for branch in branches[1:]))
        result = run(query, facts, at)
    query, result = _of_type(facts, table, words, hypothesis, query, result, at)
    aggregate = _aggregate(facts, table, words, shape, hypothesis, result)
    if shape.kind == "extreme" and aggregate is None:
        return None
    if aggregate is not None:
        query = replace(query, aggregate=aggregate)
        apply(aggregate, result, facts, at)
    return query, result


def _branch(
    facts: Facts,
    table: HopTable,
    words: Sequence[Word],
    start: EntityId,
    codes: Sequence[int],
    stretches: Sequence[Sequence[int]],
) -> Branch:
    steps = []
    gender = next((each for each in table.relations if each.label.lower().replace("_", " ") in _GENDERS), None)
    for code, stretch in zip(codes, stretches, strict=True):
        relation = table.relation(code)
        only = None
        if gender is not None and gender.id != relation.id:
            own = set(stems(relation.label))  # a relation called mother needs no telling apart
            said = {_GENDERED[words[place].stem] for place in stretch if words[place].stem in _GENDERED}
            if len(said) == 1 and not own & _GENDERED.keys():
                only = (gender.key, said.pop())
        steps.append(Step(relation.key, table.hops[code].inverse, only))
    return Branch(facts.entity(start).key, tuple(steps))


def _plain(branch: Branch) -> Branch:
    return Branch(branch.start, tuple(step._replace(only=None) for step in branch.steps))


def _of_type(
    facts: Facts,
    table: HopTable,
    words: Sequence[Word],
    hypothesis: Hypothesis,
    query: Query,
    result: Result,
    at: Transaction | None,
) -> tuple[Query, Result]:
    """Keep the answers that are what the question calls them, where it tells some from others."""
    nodes = [node for node in result.answers if not isinstance(node, Literal)][:LOOKED_AT]
    last = query.branch.steps[-1]
    if len(nodes) < 2 or last.only is not None:
        return query, result
    linked = {place for link in hypothesis.links for place in link.words}
    own = set(stems(table.relation(hypothesis.branches[0][-1]).label))  # "which instrument" E plays: whatever it is
    wanted = {word.stem for place, word in enumerate(words) if place not in linked} - SILENT - own
    kind = next((each for each in table.relations if load_lexicon().rows_for(each.label)[:1] == _INSTANCE), None)
    for relation, types_of in ((None, _own_types), (kind, _said_types)):
        if relation is None and types_of is _said_types:
            continue
        types = {node: types_of(facts, node, None if relation is None else relation.id, at) for node in nodes}
        known = {each for found in types.values() for each in found if stem(each.split()[-1]) in wanted and each}
        for each in sorted(known):
            if 0 < sum(each in found for found in types.values()) < len(nodes):
                only = ("" if relation is None else relation.key, each)
                steps = (*query.branch.steps[:-1], last._replace(only=only))
                narrowed = replace(query, branch=Branch(query.branch.start, steps))
                return narrowed, run(narrowed, facts, at)
    return query, result


_INSTANCE = load_lexicon().rows_for("instance of")[:1]


def _own_types(reader: Facts, node: EntityId, relation: RelationId | None, at: Transaction | None) -> list[str]:
    return [each.lower() for each in reader.entity(node, at=at).types if each.strip()]


def _said_types(reader: Facts, node: EntityId, relation: RelationId | None, at: Transaction | None) -> list[str]:
    said = reader.outgoing(node, relation, at=at)
    labels = [reader.entity(each.object, at=at).label.lower() for each in said if each.object is not None]
    return [label for label in labels if label.strip()]


def _aggregate(
    facts: Facts, table: HopTable, words: Sequence[Word], shape: Shape, hypothesis: Hypothesis, result: Result
) -> Aggregate | None:
    if shape.kind == "exists":
        assert hypothesis.target is not None
        return Aggregate("exists", object=facts.entity(hypothesis.target).key)
    if shape.kind == "count":
        numbers = all(isinstance(node, Literal) and is_number(node) for node in result.answers)
        return None if numbers and result.answers else Aggregate("count")
    if shape.kind == "extreme":
        return _measure(facts, table, words, shape, result)
    return None


def _measure(facts: Facts, table: HopTable, words: Sequence[Word], shape: Shape, result: Result) -> Aggregate | None:
    """The relation whose literals a superlative compares: one that the question names, else what the word implies."""
    nodes = [node for node in result.answers if not isinstance(node, Literal)][:LOOKED_AT]
    literal: set[RelationId] = set()
    for node in nodes[:40]:
        literal |= {each.relation for each in facts.outgoing(node) if each.literal is not None}
    asked = {word.stem for word in words}
    for name, end in shape.measures:
        for relation in table.relations:
            if relation.id in literal and (
                _is_called(table, relation.id, name) if name else set(content(stems(relation.label))) <= asked
            ):
                return Aggregate("max" if end == "max" else "min", relation=relation.key)
    return None


def _is_called(table: HopTable, relation: RelationId, name: str) -> bool:
    found = next(each for each in table.relations if each.id == relation)
    lexicon = load_lexicon()
    wanted = frozenset(content(stems(name)))
    names: Iterable[str] = (found.label, *found.aliases)
    if any(frozenset(content(stems(each))) == wanted for each in names):
        return True
    rows = lexicon.rows_for(name)
    return bool(rows) and any(lexicon.rows_for(each)[:1] == rows[:1] for each in names)
