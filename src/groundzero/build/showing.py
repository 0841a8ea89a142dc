"""What a finished model writes and answers, for its report: samples, questions it can be asked, and answers to some."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.generate import Request, SamplingConfig
from groundzero.generate.load import load_engine
from groundzero.graph.graph import Graph
from groundzero.graph.phrasing import phrase
from groundzero.ground.answer import Answer
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.lessons import Kind, LessonSettings
from groundzero.ground.opening import open_grounded
from groundzero.ground.teacher import Teacher
from groundzero.ground.verify import verify
from groundzero.run import RunDirectory

SAMPLES = 20
"""Texts written."""
SAMPLE_TOKENS = 120
TEMPERATURE = 0.7
SUBJECTS_TRIED = 200
"""Of a relation, from which an example with a readable name is taken."""
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Askable:
    """A relation, and a question about it that the graph answers."""

    relation: str
    question: str
    statements: int


def write_samples(run: Path, seed: int, *, count: int = SAMPLES, tokens: int = SAMPLE_TOKENS) -> list[dict[str, Any]]:
    """Texts that a model writes from nothing: `{text, finished}`, whether it came to its own end."""
    engine = load_engine(run)
    sampling = SamplingConfig(max_tokens=tokens, temperature=TEMPERATURE)
    requests = [Request("", sampling.replace(seed=seed + index)) for index in range(count)]
    return [
        {"text": done.text.strip(), "finished": done.finish_reason in ("eos", "stop")} for done in engine.run(requests)
    ]


def askable(graph: Graph, *, limit: int = 12) -> list[Askable]:
    """The relations that the graph says most of, each with a question about something in it."""
    counted: Counter[int] = Counter()
    examples: dict[int, list[int]] = {}
    for statement in graph.store.statements():
        counted[statement.relation] += 1
        if len(examples.setdefault(statement.relation, [])) < SUBJECTS_TRIED:
            examples[statement.relation].append(statement.subject)
    found: list[Askable] = []
    for relation, statements in counted.most_common():
        label = _readable(graph, examples[relation])
        if label and len(found) < limit:
            named = graph.relation(relation)
            question = phrase(named).questions[0].replace("{subject}", label)
            found.append(Askable(named.label.replace("_", " "), question[:1].upper() + question[1:], statements))
    return found


def asked_about_the_unseen(graph: Graph, lessons: LessonSettings, seed: int) -> list[str]:
    """Questions about entities that were never taught: of one hop, of two, and a list, as far as the graph has them."""
    teacher = Teacher(graph, lessons.replace(made_up_share=0.0), split="test")
    kinds: tuple[Kind, ...] = ("one", "two", "list", "one")
    found: dict[str, None] = {}
    for place, kind in enumerate(kinds):
        for number in range(20):
            lesson = teacher.lesson(1000 * (seed + place) + number, kind)
            if lesson is not None and lesson.question not in found:
                found[lesson.question] = None
                break
    return list(found)


def answer_all(run: Path, graph: Graph, questions: list[str]) -> list[dict[str, Any]]:
    """Ask a tuned run; each answer as `gz ask --json` prints it, with `verified`: what the graph says of it, no model
    asked."""
    model = open_grounded(RunDirectory.open(run), graph)
    return [shown(model, question) for question in questions]


def shown(model: GroundedModel, question: str) -> dict[str, Any]:
    """One answer, verified."""
    answer: Answer = model.ask(question)
    return {**answer.as_json(), "verified": bool(verify(answer, model.graph.store))}


def _readable(graph: Graph, subjects: list[int]) -> str:
    """A name to ask about: the one that most statements speak of, of those that are short and begin with a letter."""
    rng = random.Random(len(subjects))
    names = [graph.label(each) for each in rng.sample(subjects, len(subjects))]
    fit = [name for name in names if name[:1].isalpha() and len(name) <= _LONGEST_NAME]
    return Counter(fit).most_common(1)[0][0] if fit else ""
