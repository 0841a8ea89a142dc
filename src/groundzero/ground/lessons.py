"""Lessons from a graph: questions with evidence, and answers that say which words were taken from which statement.

    one hop       What is the capital of Peru?                       from the object, or from the subject (inverse)
    list          What does Peru share a border with?                all answers, each cited
    two, three    Who is the mayor of the capital of Peru?           every hop is said, and cited
    count         How many things ...?
    yes or no     Is it true that Lima is the capital of Peru?
    compare       Which has the larger population, A or B?            over numbers
    conflict      the evidence disagrees: both sides are told, and cited
    unknown       the evidence is silent, though it speaks of like things: the answer says so
    silent        a question without any evidence: the answer says that, too
    talk          no facts at all

Each lesson's evidence lies among distractors that are alike: of the same subject, or of the same relation. Often what
answers stands first and is marked with the step it takes, as reasoning hands it on; else it is shuffled among the rest
and the network has to find it.

With some lessons every name is replaced by one that nobody has (`names.py`), so that nothing is there to be learnt by
heart.

Some entities and phrasings are never taught: those are examined (`Split`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal as OneOf

from pydantic import Field

from groundzero.graph.nouns import EntityId, Relation, RelationId, StatementId
from groundzero.settings import Settings

Kind = OneOf["one", "inverse", "list", "two", "three", "count", "yes", "no", "compare", "conflict", "unknown", "silent",
             "talk"]  # fmt: skip
Role = OneOf["subject", "object"]
Split = OneOf["train", "test"]

REFUSAL = "I do not know"
"""How every refusal begins."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement as the network sees it."""

    subject: str
    relation: str
    object: str
    statement: StatementId
    ends: tuple[EntityId, RelationId, EntityId | None]
    """Whose vectors stand for it; no object where it is a literal."""
    step: int = 0
    """Which step of the way to the answer it takes, from 1; 0 where it takes none, or nobody says."""
    named: tuple[bool, bool] = (False, False)
    """Whether the question names its subject, and its object."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Words of an answer that are a name or value of a fact, letter by letter."""

    text: str
    fact: int
    """Its place in the evidence, from 0."""
    role: Role


Piece = str | Copied


@dataclass(frozen=True, slots=True)
class Lesson:
    """A question, what is known, and the answer."""

    kind: Kind
    question: str
    facts: tuple[Fact, ...]
    answer: tuple[Piece, ...]
    made_up: bool = False
    """Nobody has these names."""
    mentioned: tuple[str, ...] = ()
    """Names in the question that no fact need hold."""

    @property
    def text(self) -> str:
        """The answer as it reads."""
        return "".join(piece if isinstance(piece, str) else piece.text for piece in self.answer)

    @property
    def cited(self) -> tuple[StatementId, ...]:
        """The statements that the answer takes words from."""
        used = {piece.fact for piece in self.answer if isinstance(piece, Copied)}
        return tuple(self.facts[place].statement for place in sorted(used))


class LessonSettings(Settings):
    """What is taught."""

    most_facts: int = Field(default=8, ge=1)
    """Evidence shown at once, distractors included."""
    most_answers: int = Field(default=4, ge=1)
    """Questions with more answers are not asked."""
    marked_share: float = Field(default=0.7, ge=0, le=1)
    """Lessons in which the statements that answer stand first, and say so."""
    worn_share: float = Field(default=0.4, ge=0, le=1)
    """Of those, lessons whose question has lost some of its words. Not in the test split."""
    made_up_share: float = Field(default=0.5, ge=0, le=1)
    """Lessons in which every name is made up."""
    test_share: float = Field(default=0.1, ge=0, lt=1)
    """Entities that are never taught, and examined."""
    seed: int = 1337
    """Of everything that is drawn."""


def named_in(question: str, fact: Fact) -> Fact:
    """The fact, knowing which of its ends the question names."""
    text = f" {question.casefold()} "

    def named(name: str) -> bool:
        name = name.casefold()
        at = text.find(name) if name else -1
        while at >= 0:  # as a whole word; a regular expression for each name would cost ten times as much
            if not (text[at - 1].isalnum() or text[at + len(name)].isalnum()):
                return True
            at = text.find(name, at + 1)
        return False

    return replace(fact, named=(named(fact.subject), named(fact.object)))


def noun_of(relation: Relation) -> str:
    """What a fact calls its relation."""
    return relation.label.replace("_", " ")
