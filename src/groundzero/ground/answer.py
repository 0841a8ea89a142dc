"""Answers and what they rest on. The names are those of `gz ask --json`, and are kept.

An Evidence is what reasoning hands on: the query, its result and the statements found; whoever words the answer, a
template here or a language model later, does not change what it rests on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any
from typing import Literal as OneOf

from groundzero.graph.nouns import EntityId, RelationId, StatementId, Transaction
from groundzero.ground.query import Query, Result

AnswerStatus = OneOf["asserted", "predicted", "unknown"]
"""The graph says so; an embedding says so; neither does."""
Reason = OneOf["", "no_entity", "no_relation", "no_fact", "ambiguous", "contradiction", "talk", "no_graph"]
"""Why an answer is unknown: nothing of the graph is mentioned; nothing in the graph is asked for; the graph is silent;
several readings fit alike; its statements disagree; nothing was asked of a graph; there is none to ask."""
UNASKED: frozenset[Reason] = frozenset({"talk", "no_graph"})
"""Reasons that say nothing of the graph, whatever it holds."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A statement that the answer rests on, as people read it."""

    id: StatementId
    subject: str
    relation: str
    object: str
    source: str | None
    """Key of the source."""
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class PathStep:
    """A step of the way to the answer, in words; JSON calls `origin` `from`."""

    origin: str
    relation: str
    to: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible answer."""

    entity: str
    """Its label, or the text of a literal."""
    score: float
    """Probability that it is what was asked for; all answers of the chosen reading share the reading's."""


@dataclass(frozen=True, slots=True)
class GraphState:
    """Which graph was asked, and when."""

    id: str
    """Its location, without credentials."""
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time went."""

    link: float = 0.0
    retrieve: float = 0.0
    """Searching paths and collecting statements."""
    generate: float = 0.0
    """Wording the answer."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What the graph would have to say so that a question could be answered."""

    entities: tuple[EntityId, ...]
    """Where the way ends for want of a statement: what the question starts from, or what its first hops lead to."""
    relation: RelationId | None = None
    """None where the graph has none that the question asks for."""
    inverse: bool = False
    """The entities are to be objects of the missing statements."""
    whole: bool = False
    """The question asks for this hop, from one entity, and for nothing else: whoever fills it in has answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that can be checked without whoever gave it (`verify`)."""

    question: str
    text: str
    status: AnswerStatus
    reason: Reason
    probability: float
    citations: tuple[Citation, ...]
    path: tuple[PathStep, ...]
    query: Query | None
    candidates: tuple[Candidate, ...]
    graph: GraphState
    facts_retrieved: int = 0
    channels: dict[str, float] = field(default_factory=dict)
    """How much each way of bringing facts to a language model moved the text; empty where none was used."""
    tokens_generated: int = 0
    seconds: Seconds = Seconds()
    missing: Missing | None = None
    """Of a refusal; for whoever fills gaps, and no part of what is printed."""
    meant: str = ""
    """The question with what it left out filled in (`follow_up`), where it left something out; not printed either."""

    def as_json(self) -> dict[str, Any]:
        """The object that `gz ask --json` prints."""
        return {
            "question": self.question,
            "text": self.text,
            "status": self.status,
            "reason": self.reason,
            "probability": self.probability,
            "citations": [asdict(citation) for citation in self.citations],
            "path": [{"from": step.origin, "relation": step.relation, "to": step.to} for step in self.path],
            "query": None if self.query is None else self.query.as_json(),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "graph": asdict(self.graph),
            "facts_retrieved": self.facts_retrieved,
            "channels": dict(self.channels),
            "tokens_generated": self.tokens_generated,
            "seconds": asdict(self.seconds),
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """What reasoning found: what a language model is given to word, and what `verify` finds again."""

    question: str
    reason: Reason
    """Empty where there is an answer."""
    probability: float = 0.0
    """That the question was read rightly."""
    query: Query | None = None
    result: Result | None = None
    topic: str = ""
    """Label of the entity that the question starts from."""
    linked: tuple[EntityId, ...] = ()
    """That entity; of a conjunction both."""
    asked: str = ""
    """What the question seems to ask for, in words; for refusals."""
    others: tuple[Candidate, ...] = ()
    """Answers of other readings."""
    meant: tuple[EntityId, ...] = ()
    """Of ambiguous: the entities of one name."""
    missing: Missing | None = None
    """Of a refusal for want of a relation or a fact."""
