"""What the graph was asked and could not say, what it holds in quarantine, and the two brought together.

Questions are remembered in a file beside the graph, a line each; candidates are the quarantined statements, shown with
the sentence that says them where that is kept. Accepting one retires it and adds it again as accepted, with
the same source and span, so that the history shows who was doubted and when.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from groundzero.errors import InputError
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId, Statement, StatementId
from groundzero.ingest.passages import PassageLog
from groundzero.ingest.words import words

_LONGEST_QUESTION = 2000
_MAX_QUESTIONS = 100_000
_CANDIDATES = 5
ANY_RELATION = 0
Pair = tuple[EntityId, RelationId]
"""A subject and a relation; `ANY_RELATION` where it is not known which."""
_MAX_QUARANTINED = 200_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question that was not answered."""

    text: str
    reason: str
    """no_entity, no_relation, no_fact, ambiguous, contradiction, ..."""
    entities: tuple[EntityId, ...] = ()
    relations: tuple[RelationId, ...] = ()
    when: str = ""


@dataclass(frozen=True, slots=True)
class GapCandidate:
    """A quarantined statement that would close a gap."""

    id: StatementId
    relation: str
    object: str
    confidence: float
    sentence: str


@dataclass
class Gap:
    """Something that should be known of a subject."""

    subject: str
    relation: str
    """Empty where it is not known which."""
    asked: int
    score: float
    subject_id: EntityId | None = None
    questions: list[str] = field(default_factory=list)
    candidates: list[GapCandidate] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """One plain object."""
        return asdict(self)


class GapLog:
    """Questions remembered in `questions.jsonl` of a folder, one appended line each; a crash costs at most one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "questions.jsonl"

    def remember(
        self,
        question: str,
        reason: str,
        *,
        entities: tuple[EntityId, ...] = (),
        relations: tuple[RelationId, ...] = (),
    ) -> None:
        """Add a question that was not answered, with what was understood of it."""
        row = {
            "question": question[:_LONGEST_QUESTION],
            "reason": reason[:100],
            "entities": list(entities)[:20],
            "relations": list(relations)[:20],
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row, ensure_ascii=True) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def questions(self) -> list[Question]:
        """All that were remembered; lines that a crash left incomplete are passed over."""
        if not self.path.is_file():
            return []
        found = []
        with self.path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file):
                if number >= _MAX_QUESTIONS:
                    break
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    row = json.loads(line)
                    found.append(
                        Question(
                            str(row["question"]),
                            str(row["reason"]),
                            tuple(int(each) for each in row.get("entities", ())),
                            tuple(int(each) for each in row.get("relations", ())),
                            str(row.get("when", "")),
                        )
                    )
        return found


def remember(graph: Graph, question: str, reason: str, folder: Path | None = None) -> None:
    """Remember a question that the graph could not answer, with the entities and relations that it names."""
    from groundzero.ingest.state import state_folder  # noqa: PLC0415 - state needs the prose model, this does not

    entities = tuple(dict.fromkeys(entity for mention in graph.mentions(question) for entity in mention.entities))[:5]
    asked = " ".join(words(question))
    relations = tuple(
        each.id
        for each in graph.relations.values()
        if any(f" {' '.join(words(name))} " in f" {asked} " for name in (each.label, *each.aliases) if words(name))
    )
    GapLog(folder or state_folder(graph)).remember(question, reason, entities=entities, relations=relations[:5])


def rank_gaps(graph: Graph, folder: Path, *, limit: int = 20) -> list[Gap]:
    """Missing facts, those asked for most and those with likely candidates first.

    A question about an entity and a relation that the graph still does not join is a gap; so is every subject and
    relation that statements in quarantine would join.

    Args:
        folder: where questions and passages are kept.
    """
    asked, texts = _asked(graph, GapLog(folder))
    waiting: dict[Pair, list[Statement]] = defaultdict(list)
    for statement in islice(graph.store.statements(status="quarantined"), _MAX_QUARANTINED):
        waiting[statement.subject, statement.relation].append(statement)
        if (statement.subject, ANY_RELATION) in asked:
            waiting[statement.subject, ANY_RELATION].append(statement)
    held = {pair: sorted(waiting[pair], key=lambda each: -each.confidence) for pair in {*asked, *waiting}}
    score = {pair: asked[pair] + (found[0].confidence if found else 0.0) for pair, found in held.items()}
    passages = PassageLog(folder)
    return [
        Gap(
            graph.label(subject),
            graph.store.relation(relation).label if relation else "",
            asked[subject, relation],
            score[subject, relation],
            subject,
            texts[subject, relation],
            [_candidate(graph, each, passages) for each in held[subject, relation][:_CANDIDATES]],
        )
        for subject, relation in sorted(held, key=lambda pair: (-score[pair], pair))[:limit]
    ]


def accept_statement(graph: Graph, statement: StatementId) -> StatementId:
    """Accept a quarantined statement: retire it, and add it again as accepted. Returns the new id.

    Raises:
        InputError: there is no such living, quarantined statement.
    """
    found = _quarantined(graph, statement)
    with graph.store.writer() as writer:
        writer.retire(statement)
        target = found.object if found.object is not None else found.literal
        assert target is not None
        added = writer.add_statement(
            found.subject, found.relation, target,
            source=found.source, start=found.start, end=found.end, confidence=found.confidence,
            valid_from=found.valid_from, valid_to=found.valid_to, status="accepted",
        )  # fmt: skip
    graph.refresh()
    return added


def reject_statement(graph: Graph, statement: StatementId) -> None:
    """Retire a quarantined statement. Raises InputError as `accept_statement`."""
    _quarantined(graph, statement)
    with graph.store.writer() as writer:
        writer.retire(statement)
    graph.refresh()


def _quarantined(graph: Graph, statement: StatementId) -> Statement:
    found = graph.statement(statement)
    if found is None or found.status != "quarantined" or found.retired is not None:
        raise InputError(
            f"There is no statement {statement} in quarantine.", remedy="See `gz graph gaps` for those that there are."
        )
    return found


def _asked(graph: Graph, log: GapLog) -> tuple[Counter[Pair], dict[Pair, list[str]]]:
    """How often each subject and relation was asked for, and still is not known."""
    asked: Counter[Pair] = Counter()
    texts: dict[Pair, list[str]] = defaultdict(list)
    for question in log.questions():
        for entity in question.entities:
            for relation in question.relations or (ANY_RELATION,):
                if relation and graph.store.outgoing(entity, relation):
                    continue  # learnt since
                asked[entity, relation] += 1
                if question.text not in texts[entity, relation] and len(texts[entity, relation]) < 3:
                    texts[entity, relation].append(question.text)
    return asked, texts


def _candidate(graph: Graph, statement: Statement, passages: PassageLog) -> GapCandidate:
    if statement.literal is not None:
        target = statement.literal.value
    else:
        assert statement.object is not None
        target = graph.label(statement.object)
    sentence = ""
    if statement.source is not None and statement.start is not None and statement.end is not None:
        sentence = passages.find(graph.store.source(statement.source), statement.start, statement.end)
    label = graph.store.relation(statement.relation).label
    return GapCandidate(statement.id, label, target, statement.confidence, sentence)
