"""Shortest paths, against a search that is too simple to be wrong; and what people's words mean."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.graph.adjacency import Adjacency
from groundzero.graph.lookup import describe, find_entities, near_entities, resolve_entity, resolve_relation
from groundzero.graph.opening import open_store
from groundzero.graph.paths import shortest_paths
from groundzero.graph.store import Store

edges = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 2), st.integers(1, 8)), min_size=1, max_size=14)


def all_shortest(rows: list[tuple[int, int, int]], start: int, end: int, max_hops: int) -> set[tuple[int, ...]]:
    """Every shortest path as the ids of its statements, by trying all."""
    walks: list[tuple[int, tuple[int, ...]]] = [(start, ())]
    for _ in range(max_hops):
        longer = []
        for at, ids in walks:
            for index, (subject, _, object_) in enumerate(rows, start=1):
                longer += [(object_, (*ids, index))] if subject == at else []
                longer += [(subject, (*ids, index))] if object_ == at and subject != object_ else []
        found = {ids for at, ids in longer if at == end}
        if found:
            return found
        walks = longer
    return set()


@given(edges, st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_all_shortest_paths_and_no_others(rows: list[tuple[int, int, int]], start: int, end: int, hops: int) -> None:
    adjacency = Adjacency(np.array([(*row, index) for index, row in enumerate(rows, start=1)], dtype=np.int64))
    found = shortest_paths(adjacency, start, end, max_hops=hops, limit=10**6)
    if start == end:
        assert found == [()]
        return
    assert {tuple(step.statement for step in path) for path in found} == all_shortest(rows, start, end, hops)
    for path in found:
        assert (path[0].start, path[-1].end) == (start, end)
        for step, following in pairwise(path):
            assert step.end == following.start
        for step in path:
            subject, relation, object_ = rows[step.statement - 1]
            assert step.relation == relation
            assert (step.start, step.end) == ((object_, subject) if step.inverse else (subject, object_))
    assert len(shortest_paths(adjacency, start, end, max_hops=hops, limit=1)) == min(1, len(found))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "graph.db", create=True)
    with opened.writer() as writer:
        for key, label in (("Q419", "Peru"), ("Q2868", "Lima"), ("Q983974", "Lima"), ("Q1", "São Tomé")):
            writer.add_entity(key, label=label, description=f"of {key}")
        writer.name_entity(1, "Republic of Peru")
        writer.name_relation(writer.add_relation("P36", label="capital"), "capital city", "alias")
        writer.add_relation("P1376", label="capital of")
        writer.add_relation("P1377", label="capital of")
    yield opened
    opened.close()


@pytest.mark.parametrize("text", ["Q419", "Peru", "Republic of Peru", "PERU", "republic of peru"])
def test_an_entity_is_found_by_key_name_and_nearly_name(store: Store, text: str) -> None:
    assert resolve_entity(store, text) == 1


def test_accents_do_not_matter(store: Store) -> None:
    assert describe(store.entity(resolve_entity(store, "sao tome"))) == "São Tomé (Q1): of Q1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Lima", r"2 entities are called 'Lima'\. Give a key: Lima \(Q2868\): of Q2868; Lima \(Q983974\)"),
        ("Perru", r"No entity is called 'Perru'\. Did you mean Peru \(Q419\)"),
        ("zzz", r"No entity is called 'zzz'\. See what there is"),
        ("", "No entity is called ''"),
    ],
)
def test_what_is_no_one_thing_is_an_error_that_helps(store: Store, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_entity(store, text)
    assert len(find_entities(store, text)) == (2 if text == "Lima" else 0)
    assert len(near_entities(store, text)) <= 5


def test_relations_are_found_alike(store: Store) -> None:
    for text in ("P36", "capital", "Capital City"):
        assert resolve_relation(store, text) == store.find_relation("P36")
    with pytest.raises(InputError, match=r"2 relations are called 'capital of'\. Give a key: P1376, P1377"):
        resolve_relation(store, "capital of")
    with pytest.raises(InputError, match="Did you mean 'capital'"):
        resolve_relation(store, "capitol")
    with pytest.raises(InputError, match="No relation is called 'zzz'"):
        resolve_relation(store, "zzz")
