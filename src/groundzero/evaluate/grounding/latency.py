"""How long a question, a search and an edit take in graphs of different sizes, made up for the purpose.

Each graph has a fifth as many entities as statements, some of them met far more often than others, and names of which
no two are alike. A question of one hop or two is linked, its path is searched, and the query run; a search collects the
fifty statements nearest to a question; an edit is timed from the call until the question about it has the new answer.
No model words anything here: what that takes does not depend on the graph.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.measures import Measure, Section, median
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId, Statement
from groundzero.graph.phrasing import phrase
from groundzero.ground.names import made_up
from groundzero.ground.reason import Reasoner

_RELATIONS = (
    "capital", "country", "continent", "currency", "head of state", "official language", "place of birth", "employer",
    "educated at", "occupation", "spouse", "father", "member of", "award received", "composer", "director", "author",
    "publisher", "headquarters location", "located in", "shares border with", "genre", "instrument", "religion",
)  # fmt: skip
_PER_ENTITY = 5
"""Statements for each entity."""
_TRIPLES_AT_ONCE = 100_000
_EDIT_MS = 100.0


def work(settings: ExamSettings) -> int:
    """Questions."""
    return len(settings.amounts.sizes) * settings.amounts.timed


def examine_latency(exam: Exam, amounts: Amounts) -> Section:
    """Make a graph of each size in a temporary folder, and ask and edit it."""
    started = time.perf_counter()
    measures: list[Measure] = []
    opened: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="groundzero-exam-") as folder:
        for size in amounts.sizes:
            rng = exam.rng(f"latency:{size}")
            path = Path(folder) / f"{size}.db"
            make(path, size, rng)
            with Graph.open(path) as graph:
                begun = time.perf_counter()
                reasoner = Reasoner(graph)
                reasoner.evidence("What is nothing?")
                opened[str(size)] = time.perf_counter() - begun
                measures += _timed(reasoner, size, amounts.timed, rng)
            path.unlink()
            exam.advance(amounts.timed)
    return Section("latency", "Latency", tuple(measures), time.perf_counter() - started, {"seconds_to_open": opened})


def make(path: Path, size: int, rng: random.Random) -> None:
    """A graph of so many statements."""
    entities = max(size // _PER_ENTITY, 10)
    with Graph.open(path, create=True) as graph, graph.store.writer() as writer:
        keys = [f"E{number}" for number in range(entities)]
        ids = writer.add_entities(keys, labels=_names(entities, rng))
        relations = [writer.add_relation(f"R{number}", label=label) for number, label in enumerate(_RELATIONS)]
        source, made = writer.add_source("made up"), 0
        while made < size:
            rows = _triples(ids, relations, min(size - made, _TRIPLES_AT_ONCE), rng)
            made += writer.add_triples(rows, source=source)


def _names(count_: int, rng: random.Random) -> list[str]:
    """Names that differ, as real ones do: most words belong to several."""
    found: dict[str, None] = {}
    for number in count():
        if len(found) == count_:
            return list(found)
        name = made_up(rng)
        found[name if name not in found else f"{name} {number}"] = None
    raise AssertionError("unreachable")


def _triples(
    ids: list[EntityId], relations: list[RelationId], wanted: int, rng: random.Random
) -> Iterator[tuple[EntityId, RelationId, EntityId]]:
    for _ in range(wanted):
        yield rng.choice(ids), rng.choice(relations), ids[int(len(ids) * rng.random() ** 3)]


def _timed(reasoner: Reasoner, size: int, times: int, rng: random.Random) -> list[Measure]:
    graph = reasoner.graph
    chosen = [_drawn(graph, size, rng) for _ in range(times)]
    one = [_milliseconds(reasoner, _question(graph, each)) for each in chosen]
    two = [_milliseconds(reasoner, _question(graph, each, further=True)) for each in chosen]
    found = [_searched(reasoner, _question(graph, each)) for each in chosen]
    edits = [_edited(reasoner, each, _other(graph, each, size, rng)) for each in chosen]
    where = f"{size:,} statements"
    return [
        median(f"{where} · one hop", one, "ms"),
        median(f"{where} · two hops", two, "ms"),
        median(f"{where} · search", found, "ms"),
        median(f"{where} · edit to answer", [each for each in edits if each is not None], "ms", aim=_EDIT_MS),
    ]


def _drawn(graph: Graph, size: int, rng: random.Random) -> Statement:
    """A statement, by chance: ids of a graph that was just made have no gaps."""
    while True:
        found = graph.statement(rng.randint(1, size))
        if found is not None and found.retired is None:
            return found


def _other(graph: Graph, statement: Statement, size: int, rng: random.Random) -> EntityId:
    """An object that the statement's subject and relation do not have yet."""
    taken = {each.object for each in graph.store.outgoing(statement.subject, statement.relation)}
    while True:
        found = _drawn(graph, size, rng).object
        if found is not None and found not in taken:
            return found


def _question(graph: Graph, statement: Statement, *, further: bool = False) -> str:
    """For the object; with `further`, for whatever the object has by its first relation."""
    label, relation = graph.label(statement.subject), graph.relation(statement.relation)
    onward = graph.store.outgoing(statement.object)[:1] if further and statement.object is not None else []
    template = phrase(graph.relation(onward[0].relation) if onward else relation).questions[0]
    return template.replace("{subject}", f"the {relation.label} of {label}" if onward else label)


def _milliseconds(reasoner: Reasoner, question: str) -> float:
    started = time.perf_counter()
    reasoner.evidence(question)
    return 1e3 * (time.perf_counter() - started)


def _searched(reasoner: Reasoner, question: str) -> float:
    started = time.perf_counter()
    reasoner.retrieve(question)
    return 1e3 * (time.perf_counter() - started)


def _edited(reasoner: Reasoner, statement: Statement, new: EntityId) -> float | None:
    """From an edit to the answer; None where the question is not answered with what was put in."""
    graph, question = reasoner.graph, _question(reasoner.graph, statement)
    started = time.perf_counter()
    graph.edit(statement.subject, statement.relation, new)
    evidence, _ = reasoner.evidence(question)
    spent = 1e3 * (time.perf_counter() - started)
    is_right = evidence.result is not None and new in evidence.result.answers
    return spent if is_right else None
