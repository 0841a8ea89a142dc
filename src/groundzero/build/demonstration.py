"""What a grounded model is for, shown on the facts that come with the package: it cites, refuses, and follows an edit.

The edit is made in a copy of the run's graph. The run's own stays as it was taught, and the copy is left to be asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.build.showing import shown
from groundzero.generate import load_engine
from groundzero.graph.copying import copy_graph
from groundzero.graph.graph import Graph
from groundzero.graph.lookup import resolve_entity, resolve_relation
from groundzero.ground.opening import open_grounded
from groundzero.run import RunDirectory

QUESTIONS = (
    "What is the capital of Peru?",
    "Which countries does the Nile flow through?",
    "What is the currency of the country of Machu Picchu?",
)
REFUSED = "Who is the president of Peru?"
EDITED = QUESTIONS[0]
SUBJECT, RELATION, NEW = "Peru", "capital", "Cusco"
COPY = "edited.db"


@dataclass(frozen=True)
class Demonstration:
    """Answers as `gz ask --json` prints them, each with `verified`."""

    cited: list[dict[str, Any]]
    refused: dict[str, Any]
    edited: dict[str, Any]
    """The first question again, after the edit."""
    edit: dict[str, Any]
    """`{subject, relation, before, after, graph, milliseconds}`: from the edit to the new answer's facts, without the
    model's wording."""

    @property
    def answers(self) -> list[dict[str, Any]]:
        """All of them, each with its `shows`: citations, refusal or edit."""
        return [
            *({**each, "shows": "citations"} for each in self.cited),
            {**self.refused, "shows": "refusal"},
            {**self.edited, "shows": "edit"},
        ]


def demonstrate(run: Path) -> Demonstration:
    """Ask a run that was built on the embedded facts.

    Raises:
        StorageError: there is no room for a copy of its graph.
    """
    directory = RunDirectory.open(run)
    engine = load_engine(directory)
    with Graph.open(run / "graph.db", read_only=True) as graph:
        model = open_grounded(directory, graph, engine=engine)
        cited = [shown(model, question) for question in QUESTIONS]
        refused = shown(model, REFUSED)
        copy = _copied(graph, run / "stages" / COPY)
    with Graph.open(copy) as graph:
        model = open_grounded(directory, graph, engine=engine)
        model.evidence(EDITED)  # so that what is timed is the edit, not the opening of a graph
        subject, relation = resolve_entity(graph.store, SUBJECT), resolve_relation(graph.store, RELATION)
        before = [
            graph.label(each.object) for each in graph.store.outgoing(subject, relation) if each.object is not None
        ]
        started = time.perf_counter()
        graph.edit(subject, relation, resolve_entity(graph.store, NEW))
        model.evidence(EDITED)
        milliseconds = 1e3 * (time.perf_counter() - started)
        edited = shown(model, EDITED)
    edit = {"subject": SUBJECT, "relation": RELATION, "before": ", ".join(before), "after": NEW, "graph": str(copy)}
    return Demonstration(cited, refused, edited, {**edit, "milliseconds": milliseconds})


def _copied(graph: Graph, target: Path) -> Path:
    """A fresh copy; one of an earlier demonstration is replaced."""
    for each in target.parent.glob(f"{target.name}*"):
        each.unlink()
    copy_graph(graph.store, target)
    return target
