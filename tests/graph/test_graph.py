"""The indexes of a graph: neighbours, mentions and labels follow every edit, from this process or another."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.graph import graph as graph_module
from groundzero.graph.adjacency import Adjacency
from groundzero.graph.folding import placed_tokens, tokens
from groundzero.graph.graph import Graph
from groundzero.graph.mentions import MentionIndex
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store


@pytest.fixture
def where(new_location: Callable[[], str]) -> str:
    """Of the graph below."""
    return new_location()


@pytest.fixture
def graph(where: str) -> Iterator[Graph]:
    """Peru, Lima and Cusco; Lima is the capital."""
    with Graph.open(where, create=True) as graph:
        with graph.store.writer() as writer:
            for key, label in (("Q419", "Peru"), ("Q2868", "Lima"), ("Q5582862", "Cusco")):
                writer.add_entity(key, label=label)
            writer.add_relation("P36", label="capital")
            writer.add_statement(1, 1, 2)
        graph.refresh()
        yield graph


def test_an_edit_shows_at_once_and_the_old_statement_stays(graph: Graph) -> None:
    assert graph.neighbours(1).entity_N.tolist() == [2]
    assert graph.edit(1, 1, 3) == 2
    assert graph.neighbours(1).entity_N.tolist() == [3]
    assert graph.neighbours(1, 1).statement_N.tolist() == [2]
    assert graph.neighbours(2, inverse=True).entity_N.tolist() == []
    assert graph.neighbours(3, inverse=True).entity_N.tolist() == [1]
    old = graph.statement(1)
    assert old is not None
    assert (old.object, old.retired) == (2, graph.transaction)
    assert graph.edit(1, 1, 3) == 2, "what is so already stays"
    assert graph.transaction == 2


def test_an_edit_replaces_what_it_is_told_to(graph: Graph) -> None:
    with graph.store.writer() as writer:
        writer.add_statement(1, 1, Literal("12", "integer"))
    graph.edit(1, 1, Literal("13", "integer"), replacing=Literal("12", "integer"))
    assert [each.literal or each.object for each in graph.store.outgoing(1)] == [2, Literal("13", "integer")]
    with pytest.raises(InputError, match="no such statement"):
        graph.edit(1, 1, 3, replacing=Literal("99"))
    assert len(graph.store.outgoing(1)) == 2


def test_names_and_labels_follow_the_store(graph: Graph) -> None:
    assert [each.entities for each in graph.mentions("from LIMA to cusco")] == [(2,), (3,)]
    assert graph.label(2) == "Lima"
    with graph.store.writer() as writer:
        writer.name_entity(2, "City of Kings")
        writer.retire_entity_name(3, "Cusco", "label")
        writer.name_entity(3, "Qusqu", "label")
        writer.name_relation(1, "capital of", "inverse")
        writer.add_entity("Arequipa")
    assert graph.relation(1).inverse == ""
    graph.refresh()
    found = graph.mentions("the city of kings, Cusco, qusqu and arequipa")
    assert [(each.surface, each.entities) for each in found] == [
        ("city of kings", (2,)),
        ("qusqu", (3,)),
        ("arequipa", (4,)),
    ]
    assert graph.label(3) == "Qusqu"
    assert graph.relation(1).inverse == "capital of"
    assert [each.key for each in graph.relations.values()] == ["P36"]
    with pytest.raises(InputError):
        graph.label(99)
    with pytest.raises(InputError):
        graph.relation(99)


EDIT = """
import sys
from groundzero.graph.graph import Graph
with Graph.open(sys.argv[1]) as graph:
    graph.edit(1, 1, 3)
    with graph.store.writer() as writer:
        writer.name_entity(3, "Navel of the World")
"""


def test_an_edit_of_another_process_shows_after_a_refresh(graph: Graph, where: str) -> None:
    assert graph.neighbours(1).entity_N.tolist() == [2]
    assert graph.mentions("navel of the world") == []
    subprocess.run([sys.executable, "-c", EDIT, where], check=True)
    assert graph.neighbours(1).entity_N.tolist() == [2], "until it is refreshed, a question sees one state"
    assert graph.refresh() == 3
    assert graph.neighbours(1).entity_N.tolist() == [3]
    assert graph.mentions("navel of the world")[0].entities == (3,)


def test_many_changes_rebuild_the_indexes(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "REBUILD", 5)
    base, names = graph.adjacency, graph.mention_index
    graph.edit(1, 1, 3)
    assert graph.adjacency is base
    with graph.store.writer() as writer:
        ids = writer.add_entities([f"town {number}" for number in range(20)])
        writer.add_triples([(1, 1, each) for each in ids], source=None)
    graph.refresh()
    assert graph.adjacency is not base
    assert graph.mention_index is not names
    assert len(graph.neighbours(1).entity_N) == graph.adjacency.degree(1) == 21
    assert graph.mentions("town 7")[0].entities == (ids[7],)


def test_a_delta_that_has_grown_is_made_a_new_base_meanwhile(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    base, names = graph.adjacency, graph.mention_index
    monkeypatch.setattr(graph_module, "REBUILD", 5)
    for number in range(12):
        with graph.store.writer() as writer:
            writer.add_statement(writer.add_entity(f"town {number}"), 1, 1)
        graph.refresh()
        found = graph.neighbours(1, inverse=True)
        assert len(found.entity_N) == number + 1
        assert graph.mentions(f"town {number}")[0].entities == (number + 4,)
    assert graph._renewing is not None
    graph._renewing.join()
    assert graph.adjacency is not base
    assert graph.mention_index is not names
    assert graph.adjacency.delta < 12
    assert len(graph.neighbours(1, inverse=True).entity_N) == 12
    assert [each.entities for each in graph.mentions("town 0, town 11")] == [(4,), (15,)]
    assert graph.transaction == graph.store.transaction()


def test_threads_may_ask_while_another_edits(graph: Graph) -> None:
    """Every look sees the old capital or the new one, never both or neither."""
    stop, problems = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            found = graph.neighbours(1, 1).entity_N.tolist()
            if len(found) != 1:
                problems.append(found)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(20):
        graph.edit(1, 1, 2 + number % 2)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 6)), max_size=30), st.data())
@settings(max_examples=80, deadline=None)
def test_the_statements_around_many_are_those_around_each(
    rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    rows_E4 = np.array([(*row, number + 1) for number, row in enumerate(rows)], dtype=np.int64).reshape(-1, 4)
    adjacency = Adjacency(rows_E4)
    asked = data.draw(st.lists(st.integers(-1, 9), max_size=6))
    for inverse in (False, True):
        place_N, found = adjacency.around(np.array(asked, dtype=np.int64), inverse=inverse)
        for place, entity in enumerate(asked):
            mine = adjacency.neighbours(entity, inverse=inverse)
            assert sorted(found.statement_N[place_N == place].tolist()) == sorted(mine.statement_N.tolist())


WORDS = st.sampled_from(["a", "B", "c", "new", "York", "yorker", "+", "東", "京", "-", "'s", "."])
TEXT = st.lists(WORDS, max_size=8).map(" ".join) | st.lists(WORDS, max_size=8).map("".join)


@given(
    st.lists(st.tuples(st.integers(1, 4), TEXT), max_size=12),
    st.lists(st.tuples(st.integers(1, 4), st.lists(TEXT))),
    TEXT,
)
@settings(max_examples=300, deadline=None)
def test_mentions_are_the_names_found_word_by_word(
    names: list[tuple[int, str]], renamed: list[tuple[int, list[str]]], text: str
) -> None:
    """Base and delta against an oracle that tries every stretch of words."""
    index, living = MentionIndex(names), {entity: [text for one, text in names if one == entity] for entity, _ in names}
    for entity, now in renamed:
        index.rename(entity, now)
        living[entity] = now
    placed, expected = placed_tokens(text), {}
    for first in range(len(placed)):
        for last in range(first + 1, len(placed) + 1):
            words = [token for token, _, _ in placed[first:last]]
            if entities := {one for one, called in living.items() for each in called if tokens(each) == words}:
                expected[placed[first][1], placed[last - 1][2]] = tuple(sorted(entities))
    every = {(each.start, each.end): each.entities for each in index.find(text, overlapping=True)}
    assert every == expected
    taken = 0
    for each in index.find(text):
        assert each.surface == text[each.start : each.end]
        assert each.start >= taken
        taken = each.end
        assert not any(start == each.start and end > each.end for start, end in expected)
    assert (taken == 0) == (not expected)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("New York", "I love new-york!", True),
        ("New York", "New Yorkers", False),
        ("art", "artful", False),
        ("Café", "the CAFE is", True),
        ("C++", "is C++ fast", True),
        ("C", "is C++ fast", True),
        ("東京", "東京都は", True),
        ("İzmir", "izmir", True),
        ("O'Neill", "O\u2019Neill's", True),
        ("...", "what ... is", False),
    ],
)
def test_names_are_found_whole(name: str, text: str, found: bool) -> None:
    assert bool(MentionIndex([(1, name)]).find(text)) == found


def test_the_longest_name_wins_where_names_overlap() -> None:
    index = MentionIndex([(1, "C"), (2, "C++"), (3, "New York"), (4, "New York City"), (5, "City Hall")])
    assert [each.entities for each in index.find("C++ in New York City Hall")] == [(2,), (4,)]
    assert len(index.find("C++ in New York City Hall", overlapping=True)) == 5


def test_locations_of_no_kind_known_are_refused_without_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="No kind of graph") as raised:
        open_store("mysql://user:secret@host/db")
    assert "secret" not in str(raised.value)
    monkeypatch.chdir(tmp_path)
    open_store("facts.db", create=True).close()
    store = open_store(Path("facts.db"))
    assert Path(store.location).name == "facts.db"
    store.close()


def test_a_graph_on_a_read_only_disk_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files beside it cannot be made. (Root may write anywhere, so the answer of the system is replaced.)"""
    open_store(tmp_path / "facts.db", create=True).close()
    for beside in tmp_path.glob("facts.db-*"):
        beside.unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    store = open_store(tmp_path / "facts.db", read_only=True)
    assert store.counts().triples == 0
    store.close()
    assert [each.name for each in tmp_path.iterdir()] == ["facts.db"]
