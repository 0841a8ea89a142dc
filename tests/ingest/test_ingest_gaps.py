"""Gaps: questions remembered, ranked with what waits in quarantine, accepted and rejected by one key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.graph.graph import Graph
from groundzero.ingest.gaps import GapLog, accept_statement, rank_gaps, reject_statement

from .conftest import statements


def _quarantine(graph: Graph, subject: str, relation: str, target: str, confidence: float) -> int:
    store = graph.store
    ids = [store.find_entity(subject), store.find_relation(relation), store.find_entity(target)]
    assert None not in ids
    with store.writer() as writer:
        source = writer.add_source("page", digest="d")
        made = writer.add_statement(*ids, source=source, start=3, end=9, confidence=confidence, status="quarantined")  # type: ignore[arg-type]
    graph.refresh()
    return made


def _remember(graph: Graph, folder: Path) -> None:
    """That Jana Tamas's place of birth was asked for."""
    entity, relation = graph.store.find_entity("Jana Tamas"), graph.store.find_relation("born")
    assert entity is not None
    assert relation is not None
    question = "What is the place of birth of Jana Tamas?"
    GapLog(folder).remember(question, "no_fact", entities=(entity,), relations=(relation,))


def test_questions_about_what_the_graph_does_not_have_are_passed_over(world: Graph, tmp_path: Path) -> None:
    """The file may be of another graph."""
    log = GapLog(tmp_path)
    log.remember("Who?", "no_fact", entities=(10**9,))
    log.remember("What?", "no_fact", entities=(1,), relations=(10**9,))
    assert rank_gaps(world, tmp_path) == []


def test_what_was_asked_comes_first_with_its_candidates(world: Graph, tmp_path: Path) -> None:
    made = _quarantine(world, "Jana Tamas", "born", "Arvelia", 0.5)
    _quarantine(world, "Jana Stern", "born", "Elvaston", 0.9)
    for _ in range(3):
        _remember(world, tmp_path)
    first, second = rank_gaps(world, tmp_path, limit=2)
    assert (first.subject, first.relation, first.asked) == ("Jana Tamas", "place of birth", 3)
    assert [(each.id, each.object) for each in first.candidates] == [(made, "Arvelia")]
    assert first.questions == ["What is the place of birth of Jana Tamas?"]
    assert (second.subject, second.asked) == ("Jana Stern", 0)


def test_an_accepted_candidate_answers_and_closes_the_gap(world: Graph, tmp_path: Path) -> None:
    made = _quarantine(world, "Jana Tamas", "born", "Arvelia", 0.5)
    _remember(world, tmp_path)
    before = world.store.transaction()
    added = accept_statement(world, made)
    statement = world.store.statement(added)
    assert statement is not None
    assert (statement.status, statement.start, statement.end, statement.confidence) == ("accepted", 3, 9, 0.5)
    assert ("Jana Tamas", "place of birth", "Arvelia") in statements(world)
    assert rank_gaps(world, tmp_path) == []
    old = world.store.statement(made)
    assert old is not None
    assert old.retired == before + 1


def test_a_rejected_candidate_is_retired(world: Graph, tmp_path: Path) -> None:
    made = _quarantine(world, "Jana Tamas", "born", "Arvelia", 0.5)
    reject_statement(world, made)
    assert rank_gaps(world, tmp_path) == []
    for again in (accept_statement, reject_statement):
        with pytest.raises(InputError, match=f"no statement {made} in quarantine"):
            again(world, made)


def test_an_accepted_statement_cannot_be_accepted(world: Graph) -> None:
    first = next(iter(world.store.statements()))
    with pytest.raises(InputError, match="in quarantine"):
        accept_statement(world, first.id)
    with pytest.raises(InputError, match="in quarantine"):
        accept_statement(world, 10**9)


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=10)), max_size=5), st.binary(max_size=20))
def test_questions_come_back_whatever_they_say(
    tmp_path_factory: pytest.TempPathFactory, questions: list[tuple[str, str]], junk: bytes
) -> None:
    log = GapLog(tmp_path_factory.mktemp("g"))
    for text, reason in questions:
        log.remember(text, reason, entities=(1,))
    assert [(each.text, each.reason) for each in log.questions()] == questions
    with log.path.open("ab") if log.path.is_file() else log.path.open("wb") as file:
        file.write(b"{" + junk.replace(b"\n", b""))  # a crash in the middle of a line
    assert [(each.text, each.reason) for each in log.questions()] == questions
