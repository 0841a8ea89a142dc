"""From a tuned run to a model that answers from a graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundzero.errors import InputError
from groundzero.generate import Engine, load_engine
from groundzero.generate.chat import form_of
from groundzero.graph.graph import Graph
from groundzero.graph.milestones import beside
from groundzero.ground.conversation import Conversation
from groundzero.ground.grounded import GroundedModel, GroundedSettings
from groundzero.ground.reason import Reasoner
from groundzero.ground.speech import Speaker
from groundzero.ground.tuning import KIND
from groundzero.ground.vectors import vectors_if_any, vectors_of
from groundzero.run import RunDirectory


def graph_of(run: RunDirectory) -> str:
    """Where a run's graph is: its own, `graph.db`, or the one that it was tuned on.

    Raises:
        InputError: it has neither.
    """
    location = _location(run)
    if not location:
        raise InputError(f"{run.path} knows no graph.", remedy="Add --graph DB.")
    return location


def knows_graph(run: RunDirectory) -> bool:
    """Whether a run has a graph of its own, or was tuned on one, wherever that is now."""
    return bool(_location(run))


def open_conversation(run: RunDirectory, engine: Engine, graph: Graph | None = None) -> Conversation:
    """A conversation with a run, over a graph where one is given, which stays the caller's to close.

    A run that was not tuned on facts leaves questions to the reasoner, which words answers by rule.

    Raises:
        FormatError: the vectors that the run was tuned with are damaged.
    """
    source: GroundedModel | Reasoner | None = None
    if graph is not None:
        tuned = _tuning(run).get("kind") == KIND
        source = open_grounded(run, graph, engine=engine) if tuned else Reasoner(graph)
    return Conversation(engine, form_of(run.manifest()), source)


def open_grounded(
    run: RunDirectory,
    graph: Graph,
    *,
    settings: GroundedSettings | None = None,
    reasoner: Reasoner | None = None,
    embedding: Path | None = None,
    engine: Engine | None = None,
    device: str = "auto",
) -> GroundedModel:
    """The model of a run over a graph, which stays the caller's to close.

    Args:
        engine: on the run's model, where one is loaded already.
        embedding: vectors of the graph, where the model was tuned with some. When None, those it was tuned with, if
            they are of this graph: with another one, or where they are gone, the texts of facts speak alone.

    Raises:
        InputError: the run was not tuned on a graph, or `embedding` is not this graph's.
        FormatError: a file is damaged.
    """
    tuning = _tuning(run)
    if tuning.get("kind") != KIND:
        raise InputError(
            f"{run.path} was not tuned to answer from facts.",
            remedy="Tune it with `gz finetune ground`, or ask the graph alone with --no-model.",
        )
    vectors = vectors_of(embedding, graph)[0] if embedding else vectors_if_any(_embedding(run, tuning), graph)
    speaker = Speaker(engine or load_engine(run, device=device), vectors=vectors)
    most = tuning.get("settings", {}).get("lessons", {}).get("most_facts")
    settings = settings or GroundedSettings.parse({} if most is None else {"most_facts": most})
    return GroundedModel(speaker, graph, settings=settings, reasoner=reasoner)


def _embedding(run: RunDirectory, tuning: Mapping[str, Any]) -> Path | None:
    """Where the vectors are that a run was tuned with: beside its own graph, wherever the run is now, or where they
    were."""
    stored = tuning.get("embedding")
    if not isinstance(stored, str):
        return None
    own = beside(str(run.path / "graph.db"), "embedding")
    return own if own.exists() else Path(stored)


def _location(run: RunDirectory) -> str:
    own = run.path / "graph.db"
    if own.exists():
        return str(own)
    location = _tuning(run).get("graph")
    return location if isinstance(location, str) else ""


def _tuning(run: RunDirectory) -> Mapping[str, Any]:
    tuning = run.manifest().get("tuning", {})
    return tuning if isinstance(tuning, Mapping) else {}
