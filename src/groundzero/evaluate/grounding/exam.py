"""The exam: section after section, and what it comes to, as JSON and as a report card.

    exam = open_exam(RunDirectory.open("runs/grounded"), graph, ExamSettings(questions=200))
    result = hold(exam, chosen(["answers", "refusal"]))
    write_result(result, Path("runs/grounded/exam"))

The same run, graph and seed give the same questions. An interrupted exam keeps the sections that were finished; one
that cannot be held with this run or graph says why, and the others go on.
"""

from __future__ import annotations

import datetime
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import groundzero
from groundzero.errors import GroundzeroError, UsageError
from groundzero.evaluate.grounding.card import card
from groundzero.evaluate.grounding.measures import Measure, Section
from groundzero.evaluate.grounding.sections import PARTS, Part
from groundzero.evaluate.grounding.setting import Exam
from groundzero.run import write_atomic
from groundzero.run.files import storage_errors

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExamResult:
    """What was found."""

    run: str
    graph: str
    transaction: int
    seed: int
    questions: int
    """Of each row."""
    parameters: int
    """Of the network."""
    sections: tuple[Section, ...]
    seconds: float
    interrupted: bool = False
    """Sections are missing."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Every figure."""
        return tuple(measure for section in self.sections for measure in section.measures)

    @property
    def reached(self) -> tuple[int, int]:
        """How many aims were reached, and how many there were."""
        verdicts = [each.reached for each in self.measures if each.reached is not None]
        return sum(verdicts), len(verdicts)

    def as_json(self) -> dict[str, Any]:
        """`{run, graph, transaction, seed, questions, parameters, seconds, interrupted, aims, sections}`."""
        reached, n_aim = self.reached
        return {
            "schema_version": SCHEMA_VERSION,
            "version": groundzero.__version__,
            "run": self.run,
            "graph": self.graph,
            "transaction": self.transaction,
            "seed": self.seed,
            "questions": self.questions,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "aims": {"reached": reached, "of": n_aim},
            "sections": {each.key: each.as_json() for each in self.sections},
        }


def chosen(names: Sequence[str]) -> tuple[Part, ...]:
    """The sections of these names, in their order on the card; all of them where none is named.

    Raises:
        UsageError: there is no such section.
    """
    known = {each.key: each for each in PARTS}
    for name in names:
        if name not in known:
            raise UsageError(f"There is no section {name!r}.", remedy=f"Give some of {', '.join(known)}.")
    return tuple(each for each in PARTS if not names or each.key in names)


def hold(exam: Exam, parts: Sequence[Part] = PARTS, *, begins: Callable[[Part], None] | None = None) -> ExamResult:
    """Hold an exam. Ctrl-C ends it, with what was finished until then; what goes wrong later than in the first section
    takes no other's place.

    Args:
        begins: told before each section.

    Raises:
        InputError: the graph has nothing to ask about.
    """
    started = time.perf_counter()
    done: list[Section] = []
    interrupted = False
    for part in parts:
        if begins is not None:
            begins(part)
        try:
            done.append(part.examine(exam))
        except KeyboardInterrupt:
            interrupted = True
            break
        except GroundzeroError as error:
            if not done:
                raise
            done.append(Section(part.key, part.key.capitalize(), (), details={"error": str(error)}))
    settings, model = exam.settings, exam.engine.model
    return ExamResult(
        run="" if exam.run is None else str(exam.run.path),
        graph=exam.graph.location,
        transaction=exam.graph.transaction,
        seed=settings.seed,
        questions=settings.questions,
        parameters=sum(each.numel() for each in model.parameters()),
        sections=tuple(done),
        seconds=time.perf_counter() - started,
        interrupted=interrupted,
    )


def write_result(result: ExamResult, folder: Path) -> tuple[Path, Path]:
    """Write `exam.json` and `report.html` into a folder, which is made if need be.

    Raises:
        StorageError: the disk refused.
    """
    found = result.as_json()
    facts, page = folder / "exam.json", folder / "report.html"
    with storage_errors(f"write the exam into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_finite(found), ensure_ascii=False, indent=1, allow_nan=False)
        write_atomic(facts, (text + "\n").encode())
        write_atomic(page, card(found, made=datetime.date.today().isoformat()).encode())
    return facts, page


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinities: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
