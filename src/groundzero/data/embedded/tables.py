"""The embedded facts as they lie in the package: triples, the entities they join and the relations they use.

An entity's key is its label, with its type in brackets where two entities share a label ("Niger (river)"). A literal
object (a year, a number, a symbol) is written as it is and is no entity; the relation's range says which it is.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

LITERAL_TYPES = frozenset({"text", "number", "year"})


@dataclass(frozen=True, slots=True)
class Fact:
    """One true triple; `subject` and, unless the range is literal, `object` are entity keys."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing that facts are about."""

    key: str
    label: str
    type: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """What a relation means, in both directions, and which types it joins."""

    key: str
    label: str
    inverse: str
    domain: tuple[str, ...]
    range: tuple[str, ...]
    functional: bool = False
    symmetric: bool = False

    @property
    def literal(self) -> bool:
        """The object is a value rather than an entity."""
        return not LITERAL_TYPES.isdisjoint(self.range)


def folder() -> Traversable:
    """Where the tables lie, also when the package is zipped."""
    return resources.files(__package__ or __name__)


@cache
def facts() -> tuple[Fact, ...]:
    """Every fact, file by file in the order of their names, so that the order never depends on the machine."""
    found = []
    for file in sorted((folder() / "facts").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".tsv"):
            found += [Fact(*row) for row in read_table(file, ("subject", "relation", "object"))]
    return tuple(found)


@cache
def entities() -> dict[str, Entity]:
    """Entities by key."""
    rows = read_table(folder() / "entities.tsv", ("entity", "label", "type", "aliases"))
    return {
        key: Entity(key, label, kind, tuple(aliases.split("|")) if aliases else ())
        for key, label, kind, aliases in rows
    }


@cache
def relations() -> dict[str, Relation]:
    """Relations by key."""
    return {
        key: Relation(
            key=key,
            label=fields["label"],
            inverse=fields["inverse"],
            domain=tuple(fields["domain"]),
            range=tuple(fields["range"]),
            functional=fields.get("functional", False),
            symmetric=fields.get("symmetric", False),
        )
        for key, fields in tomllib.loads((folder() / "relations.toml").read_text(encoding="utf-8")).items()
    }


def read_table(file: Traversable, header: tuple[str, ...]) -> list[list[str]]:
    """Rows of a tab-separated file under the expected header."""
    lines = file.read_text(encoding="utf-8").splitlines()
    assert tuple(lines[0].split("\t")) == header, f"{file.name} has the columns {lines[0]!r}"
    rows = [line.split("\t") for line in lines[1:]]
    assert all(len(row) == len(header) for row in rows), f"{file.name} has a row of another width"
    return rows
