"""The facts that come with the package as a graph: entities, aliases, types, relations with sentences and questions.

Each statement cites the table that it stands in. Sentences and questions are those of the embedded prose where they
read well with plain names; "a lion" and "lions" are forms that a graph does not have, so that what needs them has
wordings of its own (`prose/graph.toml`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache

from groundzero.data.embedded.phrases import words
from groundzero.data.embedded.sentences import templates
from groundzero.data.embedded.tables import Relation, entities, folder, read_table, relations
from groundzero.graph.nouns import EntityId, Literal, RelationId
from groundzero.graph.store import Store, Writer

SOURCE = "groundzero facts: {}"
"""What a statement cites, with the name of its table."""
_DATATYPES = {"number": "integer", "year": "year", "text": "string"}
_PLAIN = {"{s}": "{subject}", "{s.n}": "{subject}", "{o}": "{object}", "{o.n}": "{object}"}
_SLOT = re.compile(r"\{[^}]*\}")


def add_embedded_facts(store: Store) -> None:
    """Write the embedded facts, in one transaction; writing them again adds nothing.

    Raises:
        StorageError: the store cannot be written.
    """
    tables = [
        (file.name, read_table(file, ("subject", "relation", "object")))
        for file in sorted((folder() / "facts").iterdir(), key=lambda file: file.name)
        if file.name.endswith(".tsv")
    ]
    with store.writer() as writer:
        known = {key: _add_entity(writer, key) for key in entities()}
        added = {key: _add_relation(writer, relation) for key, relation in relations().items()}
        for name, table in tables:
            source = writer.add_source(SOURCE.format(name), title=f"Table {name} of the package")
            for subject, key, object_ in table:
                relation = relations()[key]
                value = Literal(object_, _datatype(relation)) if relation.literal else known[object_]
                writer.add_statement(known[subject], added[key], value, source=source)


def _add_entity(writer: Writer, key: str) -> EntityId:
    """An entity with its type, and every form of its name that a question may use."""
    entity, forms = entities()[key], words(key)
    added = writer.add_entity(key, label=entity.label, types=(entity.type,))
    also = (*entity.aliases, forms.phrase if forms.phrase.startswith("the ") else "", forms.plural)
    for text in dict.fromkeys(also):
        if text and text != entity.label:
            writer.name_entity(added, text)
    return added


def _add_relation(writer: Writer, relation: Relation) -> RelationId:
    added = writer.add_relation(relation.key, label=relation.label)
    writer.name_relation(added, relation.inverse, "inverse")
    sentences, questions = _wordings(relation.key)
    for text in sentences:
        writer.name_relation(added, text, "template")
    for text in questions:
        writer.name_relation(added, text, "question")
    return added


def _wordings(key: str) -> tuple[list[str], list[str]]:
    """Sentences and questions: those made for the graph, else what of the prose reads well with plain names."""
    own = _made_for_the_graph().get(key)
    if own is not None:
        return own["sentences"], own["questions"]
    said = templates()[key]
    sentences = map(_with_plain_slots, (*said.get("any", ()), *said.get("one", ())))
    questions = (_with_plain_slots(form) for form in said.get("ask", ()) if form.split()[0] not in ("can", "is"))
    return (
        [text for text in sentences if "{subject}" in text and "{object}" in text],
        [text for text in questions if "{subject}" in text],
    )


@cache
def _made_for_the_graph() -> Mapping[str, Mapping[str, list[str]]]:
    return tomllib.loads((folder() / "prose" / "graph.toml").read_text(encoding="utf-8"))


def _with_plain_slots(form: str) -> str:
    """A template of the prose as one of the graph, with a capital where it begins with a word; empty where it needs
    forms that a graph does not have."""
    slots = _SLOT.findall(form)
    if any(slot not in _PLAIN for slot in slots) or len(slots) != len(set(slots)):
        return ""
    text = _SLOT.sub(lambda match: _PLAIN[match.group()], form)
    return text if text.startswith("{") else text[0].upper() + text[1:]


def _datatype(relation: Relation) -> str:
    return next(_DATATYPES[kind] for kind in relation.range if kind in _DATATYPES)
