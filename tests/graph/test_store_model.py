"""Every writable store against a model made of dicts: whatever is done, in any order, it shows what the model shows.

The same for the indexes of a `Graph` that has been open all along, and for one just opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from groundzero.graph.folding import form, tokens
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Literal

NAMES = [
    "Lima", "lima", "Líma city", "the city", "New York", "new-york", "York", "C++", "東京", "東", "AND",
    '"x" OR *', "ß", "SS",
]  # fmt: skip
VALUES = [Literal("1", "integer"), Literal("1"), Literal("eins", language="de"), Literal(""), Literal('"; DROP')]
ENTITY, RELATION, SOURCE = st.integers(0, 5), st.integers(0, 2), st.none() | st.integers(0, 1)
KINDS = ["label", "alias", "type", "description"]
SPAN = st.none() | st.tuples(st.integers(0, 3), st.integers(3, 6))
OPERATION = st.one_of(
    st.tuples(st.just("entity"), ENTITY, st.sampled_from(["", *NAMES])),
    st.tuples(st.just("name"), ENTITY, st.sampled_from(NAMES), st.sampled_from(KINDS)),
    st.tuples(st.just("unname"), ENTITY, st.sampled_from(NAMES), st.sampled_from(["label", "alias"])),
    st.tuples(
        st.just("state"), ENTITY, RELATION, ENTITY | st.sampled_from(VALUES), SOURCE, SPAN,
        st.sampled_from(["accepted", "quarantined"]),
    ),
    st.tuples(st.just("triples"), st.lists(st.tuples(ENTITY, RELATION, ENTITY), max_size=8), SOURCE),
    st.tuples(st.just("retire"), st.integers(0, 40)),
    st.tuples(st.just("retire_source"), st.integers(0, 1)),
)  # fmt: skip


@dataclass
class Fact:
    """A row of the model, of a name or of a statement."""

    value: tuple[Any, ...]
    added: int
    retired: int | None = None

    def lives(self, at: int) -> bool:
        return self.added <= at and (self.retired is None or self.retired > at)


@dataclass
class Model:
    """What the store should hold. Ids are places in these lists, from 1."""

    entities: list[tuple[str, int]] = field(default_factory=list)
    names: list[Fact] = field(default_factory=list)
    statements: list[Fact] = field(default_factory=list)
    transaction: int = 0

    def copy(self) -> Model:
        names, statements = [replace(each) for each in self.names], [replace(each) for each in self.statements]
        return Model(list(self.entities), names, statements, self.transaction)

    def entity(self, number: int) -> int:
        key = f"Q{number}"
        for place, (known, _) in enumerate(self.entities):
            if known == key:
                return place + 1
        self.entities.append((key, self.transaction))
        return len(self.entities)

    def name(self, owner: int, kind: str, text: str) -> None:
        if not any(each.value == (owner, kind, text) and each.retired is None for each in self.names):
            self.names.append(Fact((owner, kind, text), self.transaction))

    def state(self, value: tuple[Any, ...]) -> int:
        for place, each in enumerate(self.statements):
            if each.value[:5] == value[:5] and each.retired is None:
                return place + 1
        self.statements.append(Fact(value, self.transaction))
        return len(self.statements)

    def triples(self, at: int) -> set[tuple[int, int, int, int]]:
        return {
            (*each.value[:3], place + 1)
            for place, each in enumerate(self.statements)
            if each.lives(at) and each.value[5] == "accepted" and isinstance(each.value[2], int)
        }

    def called(self, at: int, *, found_by: bool = False) -> dict[int, set[str]]:
        """Labels and aliases; the key of what has no label, but not `found_by` it where all said of it is retired."""
        found: dict[int, set[str]] = {}
        said = [each for each in self.statements if each.added <= at]
        ever, still = (
            {end for each in some for end in (each.value[0], each.value[2])}
            for some in (said, [each for each in said if each.lives(at)])
        )
        for place, (key, added) in enumerate(self.entities):
            if added <= at:
                mine = [each for each in self.names if each.lives(at) and each.value[0] == place + 1]
                labels = {each.value[2] for each in mine if each.value[1] == "label"}
                keys = set() if found_by and place + 1 in ever - still else {key}
                found[place + 1] = (labels or keys) | {each.value[2] for each in mine if each.value[1] == "alias"}
        return found


class StoreMachine(RuleBasedStateMachine):
    """Blocks of writes, kept or undone; after each, everything is compared at the latest and at a past transaction."""

    new_location: Callable[[], str]

    @initialize()
    def start(self) -> None:
        self.where = type(self).new_location()
        self.graph = Graph.open(self.where, create=True)
        self.model = Model()
        self.changed = False
        with self.graph.store.writer() as writer:
            for number in range(3):
                writer.add_relation(f"P{number}")
            for number in range(2):
                writer.add_source(f"book {number}")
        self.model.transaction = 1

    @rule(operations=st.lists(OPERATION, min_size=1, max_size=6), keep=st.integers(0, 4))
    def write(self, operations: list[tuple[Any, ...]], keep: int) -> None:
        model = self.model.copy()
        model.transaction += 1
        try:
            with self.graph.store.writer() as writer:
                for operation in operations:
                    _apply(operation, writer, model)
                if keep == 0:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            return
        if _facts(model) == _facts(self.model):
            model.transaction -= 1  # nothing was written, so there was no transaction
        self.model, self.changed = model, True

    @rule()
    def reopen(self) -> None:
        self.graph.close()
        self.graph = Graph.open(self.where)
        self.changed = True

    @precondition(lambda self: self.changed)
    @rule(back=st.integers(0, 6))
    def look_back(self, back: int) -> None:
        at = max(self.model.transaction - back, 0)
        _compare(self.graph.store, self.model, at, at=at)
        with self.graph.store.snapshot() as now:
            _compare(now, self.model, self.model.transaction, at=None)
        self.changed = False

    @invariant()
    def indexes_have_caught_up(self) -> None:
        if hasattr(self, "model"):
            assert self.graph.refresh() == self.model.transaction
            _compare_indexes(self.graph, self.model)

    def teardown(self) -> None:
        if hasattr(self, "graph"):
            self.graph.close()


def _apply(operation: tuple[Any, ...], writer: Any, model: Model) -> None:
    """One operation, on both."""
    kind, *rest = operation
    if kind == "entity":
        number, label = rest
        assert writer.add_entity(f"Q{number}", label=label) == model.entity(number)
        if label:
            model.name(model.entity(number), "label", label)
    elif kind == "name":
        entity = _entity(rest[0], writer, model)
        writer.name_entity(entity, rest[1], rest[2])
        model.name(entity, rest[2], rest[1])
    elif kind == "unname":
        entity = _entity(rest[0], writer, model)
        living = [each for each in model.names if each.value == (entity, rest[2], rest[1]) and each.retired is None]
        assert writer.retire_entity_name(entity, rest[1], rest[2]) == bool(living)
        for each in living:
            each.retired = model.transaction
    elif kind == "state":
        _state(rest, writer, model)
    elif kind == "triples":
        source = None if rest[1] is None else rest[1] + 1
        ends = [(_entity(s, writer, model), r + 1, _entity(o, writer, model)) for s, r, o in rest[0]]
        before = len(model.statements)
        for each in ends:
            model.state((*each, source, None, "accepted"))
        assert writer.add_triples(ends, source=source) == len(model.statements) - before
    elif kind == "retire" and model.statements:
        place = rest[0] % len(model.statements)
        lives = model.statements[place].retired is None
        assert writer.retire(place + 1) == lives
        if lives:
            model.statements[place].retired = model.transaction
    elif kind == "retire_source":
        living = [each for each in model.statements if each.value[3] == rest[0] + 1 and each.retired is None]
        assert writer.retire_source(rest[0] + 1) == len(living)
        for each in living:
            each.retired = model.transaction


def _state(rest: list[Any], writer: Any, model: Model) -> None:
    subject, relation, object_, source, span, status = rest
    subject = _entity(subject, writer, model)
    object_ = object_ if isinstance(object_, Literal) else _entity(object_, writer, model)
    source = None if source is None else source + 1
    start, end = span or (None, None)
    added = writer.add_statement(subject, relation + 1, object_, source=source, start=start, end=end, status=status)
    assert added == model.state((subject, relation + 1, object_, source, span, status))


def _entity(number: int, writer: Any, model: Model) -> int:
    entity = model.entity(number)
    assert writer.add_entity(f"Q{number}") == entity
    return entity


def _facts(model: Model) -> tuple[Any, ...]:
    return model.entities, model.names, model.statements


def _compare(reader: Any, model: Model, seen: int, *, at: int | None) -> None:
    """Everything a reader says, at transaction `seen`, asked for as `at`."""
    called = model.called(seen)
    assert {each.id: {each.label, *each.aliases} for each in reader.entities(at=at)} == called
    surfaces = model.called(seen, found_by=True)
    assert set(reader.surfaces(at=at)) == {(entity, name) for entity, names in surfaces.items() for name in names}
    assert {entity: set(reader.surfaces_of(entity, at=at)) for entity in surfaces} == surfaces
    living = {place + 1: each for place, each in enumerate(model.statements) if each.lives(seen)}
    accepted = {id_ for id_, each in living.items() if each.value[5] == "accepted"}
    shown = {each.id: each for each in reader.statements(status=None, at=at)}
    assert set(shown) == set(living)
    for id_, each in shown.items():
        span = None if each.start is None else (each.start, each.end)
        object_ = each.literal if each.object is None else each.object
        assert (each.subject, each.relation, object_, each.source, span, each.status) == living[id_].value
        assert (each.added, each.retired) == (living[id_].added, living[id_].retired)
    for source in (1, 2):
        of_source = {id_ for id_ in accepted if living[id_].value[3] == source}
        assert {each.id for each in reader.statements(source=source, at=at)} == of_source
    for entity in called:
        for relation in (None, 1, 2, 3):
            mine = [id_ for id_ in sorted(accepted) if relation in (None, living[id_].value[1])]
            out = [id_ for id_ in mine if living[id_].value[0] == entity]
            assert [each.id for each in reader.outgoing(entity, relation, at=at)] == out
            into = [id_ for id_ in mine if living[id_].value[2] == entity and isinstance(living[id_].value[2], int)]
            assert [each.id for each in reader.incoming(entity, relation, at=at)] == into
            into.sort(key=lambda id_: (living[id_].value[1], id_))
            assert [each.id for each in reader.incoming(entity, relation, limit=2, at=at)] == into[:2]
    assert {tuple(row) for row in reader.triples(at=at).tolist()} == model.triples(seen)
    counts = reader.counts(at=at)
    retired = sum(each.retired is not None and each.retired <= seen for each in model.statements)
    assert (counts.triples, counts.quarantined) == (len(accepted), len(living) - len(accepted))
    assert (counts.entities, counts.retired) == (len(called), retired)
    _compare_names(reader, model, seen, at=at)


def _compare_names(reader: Any, model: Model, seen: int, *, at: int | None) -> None:
    living = [each for each in model.names if each.lives(seen) and each.value[1] in ("label", "alias")]
    for text in NAMES:
        assert reader.named(text, at=at) == sorted({each.value[0] for each in living if each.value[2] == text})
        sharing = {each.value[0] for each in living if set(tokens(each.value[2])) & set(tokens(text))}
        assert {entity for entity, _ in reader.search(text, limit=100, at=at)} == sharing


def _compare_indexes(graph: Graph, model: Model) -> None:
    triples = model.triples(model.transaction)
    assert {tuple(row) for row in graph.adjacency.rows().tolist()} == triples
    assert graph.adjacency.size == len(triples)
    called = model.called(model.transaction)
    for entity in called:
        for inverse, here, there in ((False, 0, 2), (True, 2, 0)):
            expected = sorted((row[1], row[3], row[there]) for row in triples if row[here] == entity)
            found = graph.neighbours(entity, inverse=inverse)
            assert list(zip(found.relation_N, found.statement_N, found.entity_N, strict=True)) == expected
            one = graph.neighbours(entity, 2, inverse=inverse)
            assert list(one.statement_N) == [statement for relation, statement, _ in expected if relation == 2]
        assert graph.label(entity) in called[entity]
    called = model.called(model.transaction, found_by=True)
    for text in (*NAMES, "Q0", "in Q1 and new york"):
        expected = {}
        for entity, names in called.items():
            for name in names:
                if form(name) and f" {form(name)} " in f" {form(text)} ":
                    expected.setdefault(form(name), set()).add(entity)
        found = {form(each.surface): set(each.entities) for each in graph.mentions(text, overlapping=True)}
        assert found == expected


@pytest.mark.parametrize("examples", [15, pytest.param(250, marks=pytest.mark.slow)])
def test_a_store_and_its_indexes_show_what_the_model_shows(new_location: Callable[[], str], examples: int) -> None:
    machine = type("Machine", (StoreMachine,), {"new_location": staticmethod(new_location)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=chosen)
