"""What a file of facts holds, row by row, before anything has an id: keys are text, and nothing points anywhere."""

from __future__ import annotations

from typing import NamedTuple

from groundzero.graph.nouns import Literal, NameKind, Status

THIS_FILE = ""
"""As a row's source: the file that it stands in. None is no source at all."""


class Triple(NamedTuple):
    """A statement between two entities, found in this file; the fast lane."""

    subject: str
    relation: str
    object: str


class Fact(NamedTuple):
    """A statement with all that may be said of it."""

    subject: str
    relation: str
    object: str | Literal
    source: str | None = THIS_FILE
    """Key of the source."""
    start: int | None = None
    end: int | None = None
    confidence: float = 1.0
    valid_from: str = ""
    valid_to: str = ""
    status: Status = "accepted"


class EntityName(NamedTuple):
    """Something an entity is called; with no text, just that the entity exists."""

    key: str
    text: str
    kind: NameKind = "label"
    language: str = ""


class RelationName(NamedTuple):
    """Something a relation is called; with no text, just that the relation exists."""

    key: str
    text: str
    kind: NameKind = "label"
    language: str = ""


class SourceRow(NamedTuple):
    """A source that statements name."""

    key: str
    title: str = ""
    revision: str = ""
    licence: str = ""
    digest: str = ""


Row = Triple | Fact | EntityName | RelationName | SourceRow
