"""What a graph is made of: entities, relations, statements, and the sources that statements come from.

Nothing here changes once made. A statement is believed from the transaction that added it until the one that retired
it; an edit retires one and adds another, so what was once cited can always be looked up. Names are versioned alike.
Ids are small whole numbers, given by the store and never given twice; `key` is the name by which the outside world
knows an entity or relation (`Q42`, an IRI, or its label where it has nothing better).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf

EntityId = int
RelationId = int
StatementId = int
SourceId = int
Transaction = int
"""Transactions are numbered from 1 in the order they were committed; 0 is before the first."""

NameKind = OneOf["label", "alias", "description", "type", "inverse", "template", "question"]
"""What a name is for. Entities have label, alias, description and type; relations have label, alias, inverse (what the
way back is called), template (a sentence with {subject} and {object}) and question (a question with {subject})."""

Status = OneOf["accepted", "quarantined"]
"""Quarantined statements are kept with their source and never used for answers."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is no entity: a number, a date, a piece of text."""

    value: str
    """As written in the source."""
    datatype: str = "string"
    """string, integer, decimal, boolean, date, year, or the IRI of another datatype."""
    language: str = ""
    """BCP 47 tag of a text; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Name:
    """Something an entity or relation is called, and since when."""

    text: str
    kind: NameKind
    language: str
    added: Transaction
    retired: Transaction | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing that statements are about, with the names it had at the transaction it was read at."""

    id: EntityId
    key: str
    label: str
    """The key where nobody named it."""
    aliases: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """What a statement says of its subject and object."""

    id: RelationId
    key: str
    label: str
    aliases: tuple[str, ...] = ()
    inverse: str = ""
    """What the way back is called; empty where nobody named it."""
    templates: tuple[str, ...] = ()
    """Sentences with {subject} and {object}."""
    questions: tuple[str, ...] = ()
    """Questions with {subject} whose answer is the object."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where statements come from: a file, a page, a named graph, a person."""

    id: SourceId
    key: str
    """Unique: a path, a URL, an IRI."""
    title: str = ""
    revision: str = ""
    licence: str = ""
    digest: str = ""
    """SHA-256 of the text, so that reading it twice adds nothing."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Subject, relation, and either an entity or a literal; exactly one of `object` and `literal` is set."""

    id: StatementId
    subject: EntityId
    relation: RelationId
    object: EntityId | None
    literal: Literal | None
    source: SourceId | None
    start: int | None
    """First character of the passage in the source that says so; None where no passage is known."""
    end: int | None
    confidence: float
    """Probability that the statement is true, as its source gives it; 1 where it gives none."""
    valid_from: str
    """ISO 8601 date from which it holds in the world; empty where unknown. Not the transaction."""
    valid_to: str
    status: Status
    added: Transaction
    retired: Transaction | None
