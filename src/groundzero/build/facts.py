"""The user's facts into the run, and how many entities are held out of them for the exam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundzero.build.embedded import add_embedded_facts
from groundzero.build.job import Job
from groundzero.build.order import EMBEDDED
from groundzero.build.survey import is_graph
from groundzero.errors import InputError
from groundzero.graph.copying import copy_graph
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.graph.opening import open_store
from groundzero.ground.lessons import LessonSettings
from groundzero.ground.teacher import Teacher

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of entities that are held out, the first of these that leaves something to ask: a graph of five countries has none
among its tenth."""
_TRIED = 64
"""Lessons, of which one must be drawn on each side."""


def take_graph(job: Job) -> dict[str, Any]:
    """Copy or import the facts, and settle who is examined.

    Raises:
        InputError: nothing can be read, or there is too little to learn from and be examined on.
        FormatError, StorageError: see the rooms that raise them.
    """
    location, target = job.order.graph, job.graph_path
    if location != EMBEDDED and is_graph(location):
        _copy(location, target)
    else:
        _import(job, location, target)
    with job.graph() as graph:
        counts = graph.store.counts()
        if not counts.triples:
            raise InputError(f"{location} holds no statements.", remedy="Import some: `gz graph import FILE`.")
        share = held_out_share(graph, job.config.ground.lessons)
    return {
        "triples": counts.triples,
        "entities": counts.entities,
        "relations": counts.relations,
        "test_share": share,
    }


def held_out_share(graph: Graph, lessons: LessonSettings) -> float:
    """The share of entities that are examined and not taught: as set where it was set, else as large as need be.

    Raises:
        InputError: no share leaves lessons on both sides.
    """
    shares = (lessons.test_share,) if "test_share" in lessons.model_fields_set else SHARES
    for share in shares:
        settings = lessons.replace(test_share=share)
        train, test = Teacher(graph, settings, split="train"), Teacher(graph, settings, split="test")
        if all(teacher.n_askable and any(teacher.lessons(_TRIED)) for teacher in (train, test)):
            return share
    raise InputError(
        f"The graph has {graph.store.counts().triples:,} statements, which is too little to teach some and ask others.",
        remedy="Give more facts, with names that can be read; --text alone makes a model without facts.",
    )


def _copy(location: str, target: Path) -> None:
    if target.exists():  # it appears whole or not at all, so a build that was killed after it has it
        return
    store = open_store(location, read_only=True)
    try:
        copy_graph(store, target)
    finally:
        store.close()


def _import(job: Job, location: str, target: Path) -> None:
    """Into the graph of the run; an import that was killed is completed."""
    store = open_store(target, create=True)
    try:
        if location == EMBEDDED:
            add_embedded_facts(store)
            return
        name = f"importing {Path(location).name}"
        import_file(store, Path(location), progress=lambda done, size, _: job.observer.preparing(name, done, size))
    finally:
        store.close()
