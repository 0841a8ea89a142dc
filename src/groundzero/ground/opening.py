"""From a tuned run to a model that answers from a graph, and the record of what it answered."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundzero.errors import InputError
from groundzero.generate import Engine, load_engine
from groundzero.graph.graph import Graph
from groundzero.ground.answer import Answer
from groundzero.ground.grounded import GroundedModel, GroundedSettings
from groundzero.ground.reason import Reasoner
from groundzero.ground.speech import Speaker
from groundzero.ground.tuning import KIND, vectors_of
from groundzero.metrics import MetricLog
from groundzero.run import RunDirectory
from groundzero.run.files import storage_errors

ANSWERS = "answers.jsonl"
"""Living part of a run: one answer a line, oldest first."""
SCHEMA_VERSION = 1


def graph_of(run: RunDirectory) -> str:
    """Where a run's graph is: its own, `graph.db`, or the one that it was tuned on.

    Raises:
        InputError: it has neither.
    """
    own = run.path / "graph.db"
    if own.exists():
        return str(own)
    location = _tuning(run).get("graph")
    if not isinstance(location, str) or not location:
        raise InputError(f"{run.path} knows no graph.", remedy="Add --graph DB.")
    return location


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
        embedding: vectors of the graph, where the model was tuned with some; those it was tuned with when None.

    Raises:
        InputError: the run was not tuned on a graph, or its vectors are gone.
        FormatError: a file is damaged.
    """
    tuning = _tuning(run)
    if tuning.get("kind") != KIND:
        raise InputError(
            f"{run.path} was not tuned to answer from facts.",
            remedy="Tune it with `gz finetune ground`, or ask the graph alone with --no-model.",
        )
    folder = embedding or (Path(tuning["embedding"]) if tuning.get("embedding") else None)
    speaker = Speaker(engine or load_engine(run, device=device), vectors=vectors_of(folder)[0])
    most = tuning.get("settings", {}).get("lessons", {}).get("most_facts")
    settings = settings or GroundedSettings.parse({} if most is None else {"most_facts": most})
    return GroundedModel(speaker, graph, settings=settings, reasoner=reasoner)


def keep_answer(run: RunDirectory, answer: Answer) -> None:
    """Add an answer to those of the run, so that an edit can say which of them it changes.

    Raises:
        StorageError: the disk refuses.
    """
    path = run.path / ANSWERS
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with storage_errors(f"write {path}"):
        MetricLog(path).append(schema=SCHEMA_VERSION, at=now, answer=answer.as_json())


def kept_answers(run: RunDirectory) -> list[dict[str, Any]]:
    """The answers of a run, oldest first, as `gz ask --json` printed them."""
    return [record["answer"] for record in MetricLog(run.path / ANSWERS) if isinstance(record.get("answer"), dict)]


def _tuning(run: RunDirectory) -> Mapping[str, Any]:
    tuning = run.manifest().get("tuning", {})
    return tuning if isinstance(tuning, Mapping) else {}
