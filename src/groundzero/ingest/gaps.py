"""What the graph was asked and could not say, what it holds in quarantine, and the two brought together.

Questions are remembered in a file beside the graph, a line each; candidates are the quarantined statements, shown with
the sentence that says them where that is kept. Accepting one retires it and adds it again as accepted, with
the same source and span, so that the history shows who was doubted and when.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from groundzero.errors import InputError
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId, Statement, StatementId
from groundzero.ingest.folder import append
from groundzero.ingest.passages import PassageLog

_LONGEST_QUESTION = 2000
_MAX_QUESTIONS = 100_000
"""Read at most, the latest."""
_MAX_BYTES = 32 * 2**20
"""Size at which the file is put aside for a new one: whoever is asked nonsense all day must not fill the disk."""
_CANDIDATES = 5
ANY_RELATION = 0
_MAX_QUARANTINED = 200_000


class Pair(NamedTuple):
    """One end of statements that are missing, and their relation."""

    entity: EntityId
    relation: RelationId
    """`ANY_RELATION` where it is not known which."""
    inverse: bool = False
    """The entity is their object."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question that was not answered."""

    text: str
    reason: str
    """no_entity, no_relation, no_fact, ambiguous, contradiction, ..."""
    entities: tuple[EntityId, ...] = ()
    relations: tuple[RelationId, ...] = ()
    inverse: bool = False
    """The entities are asked for as objects of the relations: "who was born in Lima"."""
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
    """Something that should be known of a subject, or of an object where `inverse`."""

    subject: str
    relation: str
    """Empty where it is not known which."""
    asked: int
    score: float
    subject_id: EntityId | None = None
    questions: list[str] = field(default_factory=list)
    candidates: list[GapCandidate] = field(default_factory=list)
    inverse: bool = False

    def as_json(self) -> dict[str, Any]:
        """One plain object."""
        return asdict(self)


class GapLog:
    """Questions remembered in `questions.jsonl` of a folder, one appended line each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "questions.jsonl"
        self.earlier = folder / "questions.earlier.jsonl"

    def remember(
        self,
        question: str,
        reason: str,
        *,
        entities: tuple[EntityId, ...] = (),
        relations: tuple[RelationId, ...] = (),
        inverse: bool = False,
    ) -> None:
        """Add a question that was not answered, with what was understood of it.

        Raises:
            OSError: the folder cannot be written.
        """
        row = {
            "question": question[:_LONGEST_QUESTION],
            "reason": reason[:100],
            "entities": list(entities)[:20],
            "relations": list(relations)[:20],
            "inverse": inverse,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        size = append(self.path, (json.dumps(row, ensure_ascii=True) + "\n").encode())
        if size > _MAX_BYTES:
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                self.path.replace(self.earlier)

    def questions(self) -> list[Question]:
        """The latest that were remembered, oldest first; lines that a crash left incomplete are passed over."""
        found: deque[Question] = deque(maxlen=_MAX_QUESTIONS)
        for path in (self.earlier, self.path):
            if path.is_file():
                with path.open(encoding="utf-8", errors="replace") as file:
                    for line in file:
                        with contextlib.suppress(ValueError, KeyError, TypeError):
                            found.append(_question(json.loads(line)))
        return list(found)


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
        waiting[Pair(statement.subject, statement.relation)].append(statement)
        others = [Pair(statement.subject, ANY_RELATION)]
        if statement.object is not None:
            others.append(Pair(statement.object, statement.relation, inverse=True))
        for pair in others:
            if pair in asked:
                waiting[pair].append(statement)
    held = {pair: sorted(waiting[pair], key=lambda each: -each.confidence) for pair in {*asked, *waiting}}
    score = {pair: asked[pair] + (found[0].confidence if found else 0.0) for pair, found in held.items()}
    passages = PassageLog(folder)
    return [
        Gap(
            graph.label(pair.entity),
            graph.store.relation(pair.relation).label if pair.relation else "",
            asked[pair],
            score[pair],
            pair.entity,
            texts[pair],
            [_candidate(graph, each, passages, pair.inverse) for each in held[pair][:_CANDIDATES]],
            pair.inverse,
        )
        for pair in sorted(held, key=lambda pair: (-score[pair], pair))[:limit]
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


def _question(row: Any) -> Question:
    return Question(
        str(row["question"]),
        str(row["reason"]),
        tuple(int(each) for each in row.get("entities", ())),
        tuple(int(each) for each in row.get("relations", ())),
        bool(row.get("inverse", False)),
        str(row.get("when", "")),
    )


def _asked(graph: Graph, log: GapLog) -> tuple[Counter[Pair], dict[Pair, list[str]]]:
    """How often each subject and relation was asked for, and still is not known."""
    asked: Counter[Pair] = Counter()
    texts: dict[Pair, list[str]] = defaultdict(list)
    for question in log.questions():
        for entity in question.entities:
            for relation in question.relations or (ANY_RELATION,):
                pair = Pair(entity, relation, question.inverse and bool(relation))
                asked[pair] += 1
                if question.text not in texts[pair] and len(texts[pair]) < 3:
                    texts[pair].append(question.text)
    for pair in [pair for pair in asked if not _is_open(graph, pair)]:
        del asked[pair]
    return asked, texts


def _is_open(graph: Graph, pair: Pair) -> bool:
    """Whether the graph knows what a question is about, and nothing has been learnt since that answers it."""
    try:
        if not graph.store.surfaces_of(pair.entity):
            return False  # its source has been taken back
    except InputError:  # the file is of another graph
        return False
    if not pair.relation:
        return True
    if pair.relation not in graph.relations:
        return False
    if pair.inverse:
        return not graph.store.incoming(pair.entity, pair.relation, limit=1)
    return not graph.store.outgoing(pair.entity, pair.relation)


def _candidate(graph: Graph, statement: Statement, passages: PassageLog, inverse: bool = False) -> GapCandidate:
    if inverse:
        target = graph.label(statement.subject)
    elif statement.literal is not None:
        target = statement.literal.value
    else:
        assert statement.object is not None
        target = graph.label(statement.object)
    sentence = ""
    if statement.source is not None and statement.start is not None and statement.end is not None:
        sentence = passages.find(graph.store.source(statement.source), statement.start, statement.end)
    label = graph.store.relation(statement.relation).label
    return GapCandidate(statement.id, label, target, statement.confidence, sentence)
