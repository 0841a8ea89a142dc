"""What an exam is held with: the model under examination, the graph that is right, and who draws the questions.

Everything that a section needs stands in `Exam`; what it may spend stands in `ExamSettings`. A section is a function of
both that returns a `Section`, and is entered in `sections.py`.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.generate import Engine
from groundzero.graph.copying import copy_graph
from groundzero.graph.graph import Graph
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.lessons import Kind, Lesson, LessonSettings
from groundzero.ground.opening import open_grounded
from groundzero.ground.reason import Reasoner
from groundzero.ground.speech import Speaker
from groundzero.ground.teacher import Teacher
from groundzero.run import RunDirectory
from groundzero.settings import Settings

_STRIDE = 1_000_003
"""Lessons between the first ones of two seeds."""
_PATIENCE = 300
"""Lessons in a row without a new question, after which a graph is taken to have no more of a kind."""


class ExamSettings(Settings):
    """How much is asked."""

    questions: int = Field(default=200, ge=1)
    """Questions of each row; 95 % intervals of a share are then at most 7 points to either side."""
    questions_per_ablation: int = Field(default=100, ge=1)
    """Questions of each of the sixteen cells of the table of channels; at most `questions`."""
    seed: int = 1337
    """Of which questions are asked. The split into taught and held-out entities is the run's own."""
    batch: int = Field(default=64, ge=1)
    """Questions that the engine answers at once."""
    amounts: Amounts = Field(default_factory=lambda: Amounts.parse({}))
    """How much the sections do that change graphs, attack them, or take long."""


def _no_progress(amount: int) -> None:
    """Nobody is watching."""


@dataclass(frozen=True)
class Exam:
    """What is examined, and with what."""

    model: GroundedModel
    """Over the graph; its settings are left as they are."""
    teacher: Teacher
    """Draws from held-out entities, with their real names."""
    settings: ExamSettings
    run: RunDirectory | None = None
    """Where the model is from; None where it is from nowhere, as in tests."""
    advance: Callable[[int], None] = _no_progress
    """Called with how many questions have been dealt with since the last call."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What one section has found out and another can use."""

    @property
    def graph(self) -> Graph:
        """What is right."""
        return self.model.graph

    @property
    def reasoner(self) -> Reasoner:
        """Over the graph."""
        return self.model.reasoner

    @property
    def speaker(self) -> Speaker:
        """The network, saying what facts say."""
        return self.model.speaker

    @property
    def engine(self) -> Engine:
        """The network, writing anything."""
        return self.model.speaker.engine

    def rng(self, section: str) -> random.Random:
        """Chance for one section, the same in every exam of this seed."""
        return random.Random(f"{self.settings.seed}:{section}")

    def lessons(self, count: int, kind: Kind, *, without: Collection[str] = ()) -> Iterator[Lesson]:
        """Up to `count` lessons about held-out entities, no question twice; fewer where the graph has no more.

        Args:
            without: questions not to ask.
        """
        seen, found, idle = set(without), 0, 0
        for number in itertools.count(self.settings.seed * _STRIDE):
            if found == count or idle == _PATIENCE:
                return
            lesson = self.teacher.lesson(number, kind)
            if lesson is None or lesson.question in seen:
                idle += 1
                continue
            seen.add(lesson.question)
            found, idle = found + 1, 0
            yield lesson

    def over(self, graph: Graph) -> GroundedModel:
        """The same model over another graph, which stays the caller's to close."""
        reasoner = Reasoner(graph, learned=self.reasoner.learned, config=self.reasoner.config)
        return GroundedModel(self.speaker, graph, settings=self.model.settings, reasoner=reasoner)

    @contextmanager
    def copy(self) -> Iterator[Graph]:
        """A copy of the graph to be written to, gone afterwards; with the same ids where the graph is a SQLite file.

        Raises:
            StorageError: there is no room for it.
        """
        with tempfile.TemporaryDirectory(prefix="groundzero-exam-") as folder:
            path = Path(folder) / "graph.db"
            copy_graph(self.graph.store, path)
            with Graph.open(path) as graph:
                yield graph


def open_exam(
    run: RunDirectory,
    graph: Graph,
    settings: ExamSettings,
    *,
    advance: Callable[[int], None] = _no_progress,
    device: str = "auto",
) -> Exam:
    """An exam of a tuned run over a graph, which stays the caller's to close.

    Raises:
        InputError: the run was not tuned on a graph.
        FormatError: a file is damaged.
    """
    model = open_grounded(run, graph, device=device)
    return Exam(model, Teacher(graph, lesson_settings(run), split="test"), settings, run, advance)


def lesson_settings(run: RunDirectory) -> LessonSettings:
    """The lessons that a run was taught, with nothing made up; the defaults where it does not say.

    A run that held nothing back is examined on entities that it was taught.
    """
    tuning = run.manifest().get("tuning", {})
    stored = tuning.get("settings", {}) if isinstance(tuning, Mapping) else {}
    found = LessonSettings.parse(stored.get("lessons", {}))
    return found.replace(made_up_share=0.0, **({} if found.test_share else {"test_share": 0.1}))
