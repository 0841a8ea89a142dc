"""The BEAR probe (Wiland, Ploner and Akbik 2024): facts as the model has them by itself, and as the graph gives them.

    before   the plain model, no fact given: the answer whose sentence it finds likeliest, of the relation's answers
    after    the grounded system, asked in a question: the answer is named

Only facts that the graph holds are probed, by the keys of its entities and relations (Wikidata's). The files are the
user's: JSON lines with `sub_id, sub_label, obj_id, obj_label, relation`, and JSON with `templates` ([X], [Y]) and
`answer_space_labels` of each relation.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.errors import FormatError, InputError
from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.likelihood import likeliest
from groundzero.evaluate.grounding.measures import Section, share
from groundzero.evaluate.grounding.replies import batches, reply, worded
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.graph.graph import Graph
from groundzero.graph.phrasing import phrase

_KEPT = 20
_REMEDY = "Give the facts as JSON lines and the relations as JSON, as BEAR publishes them."


@dataclass(frozen=True, slots=True)
class Probe:
    """A fact to be filled in."""

    sentences: tuple[str, ...]
    """The template with each of the possible answers."""
    right: int
    """Place of the right one."""
    question: str
    answer: str
    """As the probe calls it."""
    names: tuple[str, ...]
    """As the graph calls it."""


def work(settings: ExamSettings) -> int:
    """Facts, twice."""
    return 2 * settings.amounts.probed if settings.amounts.bear is not None else 0


def examine_bear(exam: Exam, amounts: Amounts) -> Section:
    """Fill in sentences without the graph, and ask with it. Nothing is counted where no files are given.

    Raises:
        InputError: one of the files is missing, or only one was given.
        FormatError: a file is not what it should be.
    """
    started = time.perf_counter()
    probes: list[Probe] = []
    details: dict[str, Any] = {"facts": 0, "held_by_the_graph": 0}
    if amounts.bear is not None or amounts.bear_relations is not None:
        if amounts.bear is None or amounts.bear_relations is None:
            raise InputError("The BEAR probe needs both of its files.", remedy=_REMEDY)
        held, details["facts"] = read_probes(exam.graph, amounts.bear, amounts.bear_relations)
        details["held_by_the_graph"] = len(held)
        probes = _some(held, amounts.probed, exam.rng("bear"))
    before = _before(exam, probes)
    after, answers = _after(exam, probes)
    chance = sum(1 / len(each.sentences) for each in probes) / max(1, len(probes))
    note = "" if probes else "no files were given, or the graph holds none of the facts"
    measures = (
        share("before grounding: the likeliest of the possible answers is right", before, len(probes),
              note=note or f"chance is right in {100 * chance:.1f} %"),
        share("after grounding: the answer is named", after, len(probes), note=note),
    )  # fmt: skip
    details["failures"] = [
        {"question": each.question, "right": each.answer, "answer": answer}
        for each, answer in zip(probes, answers, strict=True)
        if not _is_named(each, answer)
    ][:_KEPT]
    return Section("bear", "BEAR probe", measures, time.perf_counter() - started, details)


def read_probes(graph: Graph, facts: Path, relations: Path) -> tuple[list[Probe], int]:
    """The facts of the probe that the graph holds, and how many there are in all."""
    lines, told = _bytes(facts).splitlines(), _bytes(relations)
    try:
        spaces, rows = json.loads(told), [json.loads(line) for line in lines if line.strip()]
        found = [probe for row in rows if (probe := _probe(graph, row, spaces)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{facts} or {relations} is no BEAR probe: {error}.", remedy=_REMEDY) from error
    return found, len(rows)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"There is no file {path}.", remedy=_REMEDY)
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"Cannot read {path}: {error}.", remedy=_REMEDY) from error


def _probe(graph: Graph, row: dict[str, Any], spaces: dict[str, Any]) -> Probe | None:
    """One fact; None where the graph does not hold it."""
    store, space = graph.store, spaces.get(row["relation"])
    subject, object_ = store.find_entity(row["sub_id"]), store.find_entity(row["obj_id"])
    relation = store.find_relation(row["relation"])
    if space is None or subject is None or object_ is None or relation is None:
        return None
    if not any(each.object == object_ for each in store.outgoing(subject, relation)):
        return None
    labels: list[str] = space["answer_space_labels"]
    template: str = space["templates"][0]
    sentences = tuple(template.replace("[X]", row["sub_label"]).replace("[Y]", label) for label in labels)
    asked = phrase(graph.relation(relation)).questions[0].replace("{subject}", row["sub_label"])
    entity = graph.entity(object_)
    names = (entity.label, *entity.aliases)
    return Probe(sentences, labels.index(row["obj_label"]), asked[:1].upper() + asked[1:], row["obj_label"], names)


def _some(probes: list[Probe], most: int, rng: random.Random) -> list[Probe]:
    return probes if len(probes) <= most else rng.sample(probes, k=most)


def _before(exam: Exam, probes: Sequence[Probe]) -> int:
    """How often the right sentence is the likeliest, as plain text."""
    tokenizer = exam.engine.tokenizer
    right = 0
    for batch in batches(probes, exam.settings.batch):
        choices = [[([tokenizer.bos_id], tokenizer.encode(text)) for text in each.sentences] for each in batch]
        chosen = likeliest(exam.engine, choices)
        right += sum(place == each.right for place, each in zip(chosen, batch, strict=True))
        exam.advance(len(batch))
    return right


def _after(exam: Exam, probes: Sequence[Probe]) -> tuple[int, list[str]]:
    """How often the grounded answer names the right one, and the answers."""
    replies = worded(exam, exam.model, [reply(exam.model, each.question) for each in probes])
    answers = [found.text for found in replies]
    return sum(_is_named(each, text) for each, text in zip(probes, answers, strict=True)), answers


def _is_named(probe: Probe, answer: str) -> bool:
    """Not where it is only repeated from the question."""
    return any(name in answer and name not in probe.question for name in (probe.answer, *probe.names))
