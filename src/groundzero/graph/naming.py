"""Names that follow from other things: labels read off keys, types from statements of type, labels of relations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal as OneOf

from groundzero.graph.derived import entity_label, relation_label
from groundzero.graph.nouns import EntityId, Name, Relation, RelationId, Statement
from groundzero.graph.store import Reader, Store, Writer

TYPE_RELATIONS = (
    "P31",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#type",
    "http://www.wikidata.org/prop/direct/P31",
    "instance of",
    "instance_of",
)
"""Keys of relations whose object is a type of the subject."""

_BATCH = 20_000


def finish_names(store: Store, *, derive: bool) -> None:
    """Give names that could not be given while statements streamed by; what has one already is left alone.

    Relations take the names of an entity with the same key (RDF describes relations as things), then entities their
    types; with `derive`, what has no label takes it from its key.
    """
    _name_relations(store, list(store.relations()), derive)
    if derive:
        unnamed = ((entity.id, entity_label(entity.key)) for entity in store.entities() if entity.label == entity.key)
        _in_batches(store, ((id_, label) for id_, label in unnamed if label), "label")
    name_types(store)


def name_types(store: Store) -> None:
    """Give entities the labels of what they are an instance of as types, where those have labels."""
    for key in TYPE_RELATIONS:
        relation = store.find_relation(key)
        if relation is not None:
            _in_batches(store, _types(store, relation), "type")


def follow_type(store: Reader, writer: Writer, statement: Statement, *, retired: bool) -> None:
    """Keep the types of an entity in step with an edit of what it is an instance of."""
    if statement.object is None or store.relation(statement.relation).key not in TYPE_RELATIONS:
        return
    named = store.entity(statement.object)
    label = named.label if named.label != named.key else entity_label(named.key)
    if label and retired:
        writer.retire_entity_name(statement.subject, label, "type")
    elif label:
        writer.name_entity(statement.subject, label, "type")


def set_label(
    store: Reader, writer: Writer, owner: OneOf["entity", "relation"], id_: int, text: str, *, language: str = ""
) -> int:
    """Give a label, in place of one that was only read off the key; returns how many names were new.

    A label that somebody gave stays: then the new one is one more.
    """
    names, key = _living(store, owner, id_)
    if any(name.kind == "label" and name.text == text and name.language == language for name in names):
        return 0
    guess = entity_label(key) if owner == "entity" else relation_label(key)
    is_guessed = guess != text and any(name.kind == "label" and name.text == guess for name in names)
    if owner == "entity":
        if is_guessed:
            writer.retire_entity_name(id_, guess, "label")
        writer.name_entity(id_, text, "label", language=language)
    else:
        if is_guessed:
            writer.retire_relation_name(id_, guess, "label")
        writer.name_relation(id_, text, "label", language=language)
    return 1


def _name_relations(store: Store, relations: list[Relation], derive: bool) -> None:
    wanted: list[tuple[RelationId, str, bool]] = []
    for relation in relations:
        if relation.label != relation.key:
            continue
        twin = store.find_entity(relation.key)
        if twin is not None:
            entity = store.entity(twin)
            names = [entity.label, *entity.aliases] if entity.label != entity.key else []
            wanted += [(relation.id, text, index == 0) for index, text in enumerate(names)]
            if names:
                continue
        label = relation_label(relation.key) if derive else ""
        if label:
            wanted.append((relation.id, label, True))
    if wanted:
        with store.writer() as writer:
            for id_, text, is_label in wanted:
                writer.name_relation(id_, text, "label" if is_label else "alias")


def _types(store: Store, relation: RelationId) -> Iterator[tuple[EntityId, str]]:
    """(subject, label of its type) of every statement of type."""
    triples_N4 = store.triples()
    labels: dict[int, str] = {}
    for subject, _, object_, _ in triples_N4[triples_N4[:, 1] == relation].tolist():
        if object_ not in labels:
            entity = store.entity(object_)
            labels[object_] = entity.label if entity.label != entity.key else entity_label(entity.key)
        if labels[object_]:
            yield subject, labels[object_]


def _in_batches(store: Store, names: Iterable[tuple[EntityId, str]], kind: OneOf["label", "type"]) -> None:
    stream = iter(names)
    while batch := list(islice(stream, _BATCH)):
        with store.writer() as writer:
            for entity, text in batch:
                writer.name_entity(entity, text, kind)


def _living(store: Reader, owner: str, id_: int) -> tuple[list[Name], str]:
    if owner == "entity":
        return store.entity_names(id_), store.entity(id_).key
    relation = store.relation(id_)
    texts = [] if relation.label == relation.key else [relation.label]
    return [Name(text, "label", "", 0) for text in texts], relation.key
