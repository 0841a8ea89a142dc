"""What graph and model reply to questions, many at once, and what the graph says without either of them.

A section compares two things that share no code: what the whole way from question to answer comes to, and what the
store says when statements are followed one by one (`ends`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from groundzero.errors import InputError
from groundzero.evaluate.grounding.setting import Exam
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId, Statement
from groundzero.graph.sqlite import SQLiteStore
from groundzero.graph.store import Reader
from groundzero.ground.answer import Evidence
from groundzero.ground.facts import LiveFacts
from groundzero.ground.grounded import GroundedModel, Wording
from groundzero.ground.lessons import Fact, noun_of
from groundzero.ground.query import Node, cited, label_of
from groundzero.ground.respond import respond

_Item = TypeVar("_Item")
Hop = tuple[RelationId, bool]
"""A relation, and whether it is gone from object to subject."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for a question."""

    evidence: Evidence
    by_rule: str
    """The answer, or the refusal, worded without the model."""
    wording: Wording | None = None
    """What the model made of it, where it was asked."""

    @property
    def text(self) -> str:
        """As whoever asks gets it: the model's words where they say what the graph says."""
        return self.wording.text if self.wording is not None and self.wording.entailed else self.by_rule

    @property
    def answers(self) -> frozenset[Node]:
        """What was answered; nothing where it was refused."""
        if self.evidence.reason or self.evidence.result is None:
            return frozenset()
        return frozenset(self.evidence.result.answers)

    @property
    def statements(self) -> tuple[Statement, ...]:
        """What the answer rests on."""
        if self.evidence.reason or self.evidence.result is None:
            return ()
        return tuple(cited(self.evidence.result))


@contextmanager
def copied(exam: Exam) -> Iterator[Graph]:
    """A copy of the graph in which every entity and statement has the number that it has there.

    Raises:
        InputError: the graph is not in a file of its own, so that it cannot be copied as it is.
        StorageError: there is no room for it.
    """
    if not isinstance(exam.graph.store, SQLiteStore):
        raise InputError(
            f"{exam.graph.location} cannot be copied as it is, and this section changes a copy.",
            remedy="Examine what `gz graph snapshot --out FILE.db` writes, or leave this section out with --only.",
        )
    with exam.copy() as graph:
        yield graph


def reply(model: GroundedModel, question: str) -> Reply:
    """What the graph says to a question, without the model."""
    evidence, seconds = model.evidence(question)
    return Reply(evidence, respond(evidence, model.graph, seconds).text)


def worded(exam: Exam, model: GroundedModel, replies: Sequence[Reply]) -> list[Reply]:
    """The same, worded by the model."""
    done: list[Reply] = []
    for batch in batches(replies, exam.settings.batch):
        wordings = model.word_all([each.evidence for each in batch])
        done += [Reply(each.evidence, each.by_rule, wording) for each, wording in zip(batch, wordings, strict=True)]
        exam.advance(len(batch))
    return done


def ends(store: Reader, start: EntityId, way: Sequence[Hop]) -> frozenset[Node]:
    """What statements lead to, followed one by one; not back to where they started, unless nowhere else."""
    nodes: set[Node] = {start}
    for relation, inverse in way:
        entities = [node for node in nodes if isinstance(node, int)]
        if inverse:
            nodes = {each.subject for node in entities for each in store.incoming(node, relation)}
        else:
            nodes = {object_of(each) for node in entities for each in store.outgoing(node, relation)}
    return frozenset(nodes - {start} or nodes)


def object_of(statement: Statement) -> Node:
    """The entity or the literal."""
    if statement.object is not None:
        return statement.object
    assert statement.literal is not None
    return statement.literal


def name_of(graph: Graph, node: Node) -> str:
    """What an answer calls it."""
    return label_of(node, LiveFacts(graph))


def fact_of(graph: Graph, statement: Statement) -> Fact:
    """A statement as the model is shown it."""
    return Fact(
        graph.label(statement.subject),
        noun_of(graph.relation(statement.relation)),
        name_of(graph, object_of(statement)),
        statement.id,
        (statement.subject, statement.relation, statement.object),
    )


def batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """`items`, so many at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
