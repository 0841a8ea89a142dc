"""Evidence into an Answer, worded by rule."""

from __future__ import annotations

import time
from dataclasses import replace

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Statement, Transaction
from groundzero.ground.answer import Answer, Candidate, Citation, Evidence, GraphState, Seconds
from groundzero.ground.facts import Facts, LiveFacts
from groundzero.ground.query import cited, label_of
from groundzero.ground.wording import described, path_in_words, sentence, text_of

CITED = 200
"""Statements cited at most."""
CANDIDATES = 50
"""Candidates listed at most."""


def respond(evidence: Evidence, graph: Graph, seconds: Seconds | None = None) -> Answer:
    """The answer that evidence gives, in words."""
    started = time.perf_counter()
    transaction = graph.transaction
    at = transaction if graph.store.capabilities.as_of else None
    answer = _refused(evidence, graph, at) if evidence.reason else _asserted(evidence, graph, at)
    spent = seconds or Seconds()
    return replace(answer, seconds=replace(spent, generate=time.perf_counter() - started))


def as_asked(answer: Answer, question: str) -> Answer:
    """An answer to a reading, as one to the question that was asked."""
    return replace(answer, question=question, meant="" if answer.question == question else answer.question)


def citation_of(statement: Statement, reader: Facts, at: Transaction | None = None) -> Citation:
    """A statement as an answer cites it."""
    end = statement.literal if statement.object is None else statement.object
    assert end is not None
    return Citation(
        statement.id,
        label_of(statement.subject, reader, at),
        reader.relation(statement.relation, at=at).label,
        label_of(end, reader, at),
        None if statement.source is None else reader.source(statement.source).key,
        statement.start,
        statement.end,
    )


def _asserted(evidence: Evidence, graph: Graph, at: Transaction | None) -> Answer:
    query, result, reader = evidence.query, evidence.result, LiveFacts(graph)
    assert query is not None
    assert result is not None
    statements = list(cited(result))
    labels = [label_of(node, reader, at) for node in list(result.answers)[:CANDIDATES]]
    aggregate = query.aggregate
    if aggregate is not None and aggregate.kind == "count":
        labels = [str(result.number)]
    elif aggregate is not None and aggregate.kind == "exists":
        labels = ["yes" if result.holds else "no"]
    own = [Candidate(label, evidence.probability) for label in labels]
    return Answer(
        question=evidence.question,
        text=text_of(query, result, reader, at),
        status="asserted",
        reason="",
        probability=evidence.probability,
        citations=tuple(citation_of(statement, reader, at) for statement in statements[:CITED]),
        path=path_in_words(result, query, reader, at),
        query=query,
        candidates=(*own, *(each for each in evidence.others if each.entity not in labels)),
        graph=GraphState(graph.location, graph.transaction),
        facts_retrieved=len(statements),
    )


def _refused(evidence: Evidence, graph: Graph, at: Transaction | None) -> Answer:
    return Answer(
        question=evidence.question,
        text=_excuse(evidence, LiveFacts(graph), at),
        status="unknown",
        reason=evidence.reason,
        probability=0.0,
        citations=(),
        path=(),
        query=None,
        candidates=evidence.others,
        graph=GraphState(graph.location, graph.transaction),
        missing=evidence.missing,
    )


def _excuse(evidence: Evidence, reader: Facts, at: Transaction | None) -> str:
    if evidence.reason == "no_entity":
        return "I do not know: the graph has nothing by a name in this question."
    if evidence.reason == "no_relation":
        return f"I do not know: the graph has no relation that answers this about {evidence.topic}."
    if evidence.reason == "no_fact":
        what = f"the {evidence.asked} of {evidence.topic}" if evidence.asked else f"this about {evidence.topic}"
        return f"I do not know: the graph does not say {what}."
    if evidence.reason == "ambiguous":
        return f"I do not know which is meant: {' or '.join(described(each, reader, at) for each in evidence.meant)}."
    assert evidence.result is not None
    claims = [f"{sentence(each, reader, at)} [S{each.id}]" for each in cited(evidence.result)]
    return f"I do not know: the graph contradicts itself: {'; '.join(claims)}."
