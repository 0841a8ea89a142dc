"""What a person writes, a label, an alias or a key, to the one thing it means; or an error that says what it may be."""

from __future__ import annotations

import difflib

from rapidfuzz import fuzz, process

from groundzero.errors import InputError
from groundzero.graph.folding import fold, form
from groundzero.graph.nouns import Entity, EntityId, Literal, RelationId, Transaction
from groundzero.graph.store import Reader

_SHOWN = 5
_CLOSE = 75  # of 100; two letters in eight may differ


def find_entities(reader: Reader, text: str, *, at: Transaction | None = None) -> list[EntityId]:
    """Entities with this key; else with exactly this name; else with this name but for case and accents."""
    by_key = reader.find_entity(text)
    if by_key is not None:
        return [by_key]
    named = reader.named(text, at=at)
    if named:
        return named
    wanted = form(text)
    found = [id_ for id_, _ in reader.search(text, limit=50, at=at)] if wanted else []
    return [id_ for id_ in found if wanted in map(form, _called(reader.entity(id_, at=at)))]


def resolve_entity(reader: Reader, text: str, *, at: Transaction | None = None) -> EntityId:
    """The one entity that `text` means.

    Raises:
        InputError: no entity is called so, or several are; the message names them.
    """
    found = find_entities(reader, text, at=at)
    labelled = [id_ for id_ in found if reader.entity(id_, at=at).label == text]
    if len(found) == 1 or len(labelled) == 1:
        return found[0] if len(found) == 1 else labelled[0]
    if found:
        raise InputError(
            f"{len(found)} entities are called {text!r}.", remedy=f"Give a key: {_choices(reader, found, at)}."
        )
    near = near_entities(reader, text, at=at)
    remedy = f"Did you mean {_choices(reader, near, at)}?" if near else "See what there is with `gz graph names TEXT`."
    raise InputError(f"No entity is called {text!r}.", remedy=remedy)


def near_entities(reader: Reader, text: str, *, limit: int = _SHOWN, at: Transaction | None = None) -> list[EntityId]:
    """Entities whose names share words with `text`; where none does, those spelt most like it.

    The latter looks at every label: it is for telling people what they may have meant.
    """
    found = [id_ for id_, _ in reader.search(text, limit=limit, at=at)]
    if found:
        return found
    wanted = fold(text)
    labels = {entity.id: fold(entity.label) for entity in reader.entities(at=at)}
    close = process.extract(wanted, labels, scorer=fuzz.ratio, limit=limit, score_cutoff=_CLOSE)
    return [id_ for _, _, id_ in close]


def find_relations(reader: Reader, text: str, *, at: Transaction | None = None) -> list[RelationId]:
    """Relations with this key; else with this label; else with this alias or the same words."""
    by_key = reader.find_relation(text)
    if by_key is not None:
        return [by_key]
    relations = list(reader.relations(at=at))
    named = [relation.id for relation in relations if relation.label == text]
    wanted = form(text)
    return named or [each.id for each in relations if wanted and wanted in map(form, (each.label, *each.aliases))]


def resolve_relation(reader: Reader, text: str, *, at: Transaction | None = None) -> RelationId:
    """The one relation that `text` means.

    Raises:
        InputError: no relation is called so, or several are.
    """
    found = find_relations(reader, text, at=at)
    if len(found) == 1:
        return found[0]
    relations = {relation.id: relation for relation in reader.relations(at=at)}
    if found:
        keys = ", ".join(relations[id_].key for id_ in found[:_SHOWN])
        raise InputError(f"{len(found)} relations are called {text!r}.", remedy=f"Give a key: {keys}.")
    labels = [relation.label for relation in relations.values()]
    near = difflib.get_close_matches(text, labels, n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(map(repr, near))}?" if near else "List them with `gz graph stats --relations`."
    raise InputError(f"No relation is called {text!r}.", remedy=remedy)


def describe(entity: Entity) -> str:
    """An entity in a line: `Peru (Q419): sovereign state in South America`."""
    key = f" ({entity.key})" if entity.key != entity.label else ""
    return f"{entity.label}{key}" + (f": {entity.description}" if entity.description else "")


def show_literal(literal: Literal) -> str:
    """A literal as a person reads it."""
    return f"{literal.value} ({literal.language})" if literal.language else literal.value


def _called(entity: Entity) -> tuple[str, ...]:
    return (entity.label, *entity.aliases)


def _choices(reader: Reader, found: list[EntityId], at: Transaction | None) -> str:
    shown = "; ".join(describe(reader.entity(id_, at=at)) for id_ in found[:_SHOWN])
    return shown + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
