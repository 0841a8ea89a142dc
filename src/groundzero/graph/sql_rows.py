"""Rows of the SQL stores: their columns, in one order everywhere, and the nouns they become.

`statement.object` is an entity's id where it is positive; where it is negative it is the hash of the literal whose
text is in `value`. One index over it serves entities and literals alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from groundzero.graph.nouns import Entity, Literal, Name, NameKind, Relation, Source, Statement, Status, Transaction

KINDS: tuple[NameKind, ...] = ("label", "alias", "description", "type", "inverse", "template", "question")
"""A name's kind is stored as its place here; label and alias come first because only they are searched."""
SEARCHED = 2
STATUSES: tuple[Status, ...] = ("accepted", "quarantined")

STATEMENT = (
    "id, subject, relation, object, value, datatype, language, source, span_start, span_end, confidence,"
    " valid_from, valid_to, status, added, retired"
)
SOURCE = "id, key, title, revision, licence, digest"
NAME = "owner, text, kind, language, added, retired"


def literal_code(literal: Literal) -> int:
    """A negative 64-bit number for the `object` column; the same for the same literal, whatever the store."""
    text = "\0".join((literal.value, literal.datatype, literal.language))
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return -(int.from_bytes(digest, "big") >> 1) - 1


def to_statement(row: Sequence[Any]) -> Statement:
    """A row of `STATEMENT` columns."""
    (id_, subject, relation, object_, value, datatype, language, source, start, end, confidence, *rest) = row
    valid_from, valid_to, status, added, retired = rest
    is_entity = object_ > 0
    if status < 0:
        raise ValueError(f"status {status} of statement {id_}")
    return Statement(
        id_, subject, relation,
        object_ if is_entity else None,
        None if is_entity else Literal(value, datatype, language),
        source, start, end, confidence, valid_from, valid_to, STATUSES[status], added, retired,
    )  # fmt: skip


def to_name(row: Sequence[Any]) -> Name:
    """A row of `NAME` columns."""
    _, text, kind, language, added, retired = row
    if kind < 0:
        raise ValueError(f"a name of kind {kind}")
    return Name(text, KINDS[kind], language, added, retired)


def to_source(row: Sequence[Any]) -> Source:
    """A row of `SOURCE` columns."""
    return Source(*row)


def to_entity(entity: int, key: str, names: Sequence[Name]) -> Entity:
    """An entity with its living names, given in the order they were added."""
    label = _label(names, key)
    descriptions = [name.text for name in names if name.kind == "description"]
    return Entity(
        entity,
        key,
        label,
        aliases=_others(names, label),
        types=tuple(dict.fromkeys(name.text for name in names if name.kind == "type")),
        description=descriptions[0] if descriptions else "",
    )


def to_relation(relation: int, key: str, names: Sequence[Name]) -> Relation:
    """A relation with its living names, given in the order they were added."""
    label = _label(names, key)
    inverses = [name.text for name in names if name.kind == "inverse"]
    return Relation(
        relation,
        key,
        label,
        aliases=_others(names, label),
        inverse=inverses[0] if inverses else "",
        templates=tuple(dict.fromkeys(name.text for name in names if name.kind == "template")),
        questions=tuple(dict.fromkeys(name.text for name in names if name.kind == "question")),
    )


def alive(at: Transaction | None, table: str = "") -> tuple[str, tuple[int, ...]]:
    """The condition that a row was there at a transaction, and its parameters."""
    if at is None:
        return f"{table}retired IS NULL", ()
    at = min(at, 2**63 - 1)
    return f"{table}added <= ? AND ({table}retired IS NULL OR {table}retired > ?)", (at, at)


def _label(names: Sequence[Name], key: str) -> str:
    """The oldest label, those without a language before English before the rest."""
    labels = [name for name in names if name.kind == "label"]
    if not labels:
        return key
    return min(labels, key=lambda name: ({"": 0, "en": 1}.get(name.language, 2), name.added)).text


def _others(names: Sequence[Name], label: str) -> tuple[str, ...]:
    """Aliases, and labels that are not the label."""
    texts = (name.text for name in names if name.kind in ("label", "alias"))
    return tuple(dict.fromkeys(text for text in texts if text != label))
