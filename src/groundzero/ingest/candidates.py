"""What extraction hands to the graph: statements to be, with their evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf

from groundzero.graph.nouns import EntityId, Literal, RelationId, Status

How = OneOf["infobox", "first sentence", "prose", "pattern", "suggested"]
"""How a candidate was read. `pattern`: by the words between two names, whatever the page is about. `suggested`: no
sentence names the object, the page only reads as if."""


@dataclass(frozen=True, slots=True)
class Title:
    """Something known by the title of its page; the graph may have it under that name or not at all."""

    text: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement to be. Ends are ids, or titles that are linked when it is written; a relation may be a label."""

    subject: EntityId | Title
    relation: RelationId | str
    object: EntityId | Title | Literal
    start: int
    """Characters of the source."""
    end: int
    confidence: float
    status: Status
    how: How
