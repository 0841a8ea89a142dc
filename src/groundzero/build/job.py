"""A build at work: where everything lies, what was ordered, and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from groundzero.build.budget import Budget
from groundzero.build.config import BuildConfig
from groundzero.build.observer import BuildObserver
from groundzero.build.order import Order
from groundzero.build.state import State
from groundzero.graph.graph import Graph
from groundzero.ground.lessons import LessonSettings


class StoppedError(Exception):
    """A signal asked a training to stop. It has saved, and the same build goes on."""


@dataclass(frozen=True)
class Job:
    """What a stage is given. Everything is inside `out`, which is the finished run:

    graph.db                the run's own graph
    graph.db.embedding/     its vectors
    stages/base/            the run of pretraining; `out` itself where there is no graph
    stages/*.jsonl          what was read besides the user's text
    """

    out: Path
    state: State
    budget: Budget
    observer: BuildObserver

    @property
    def order(self) -> Order:
        """What is wanted."""
        return self.state.order

    @property
    def config(self) -> BuildConfig:
        """How."""
        return self.state.config

    @property
    def stages(self) -> Path:
        """What is of use while building."""
        return self.out / "stages"

    @property
    def base(self) -> Path:
        """The run that is pretrained on text."""
        return self.stages / "base" if self.order.graph else self.out

    @property
    def data(self) -> Path:
        """The text as tokens: inside the run that learns from it, which then needs nothing else."""
        return self.base / "data"

    @property
    def graph_path(self) -> Path:
        """The run's own graph."""
        return self.out / "graph.db"

    @property
    def lessons(self) -> LessonSettings:
        """How lessons are drawn: as set, with as many entities held out as the graph needs."""
        found = self.config.ground.lessons
        share = self.state.figures("graph").get("test_share")
        return found if share is None else found.replace(test_share=share)

    @contextmanager
    def graph(self) -> Iterator[Graph]:
        """The run's graph, to be read."""
        with Graph.open(self.graph_path, read_only=True) as graph:
            yield graph
