"""Taking back a source: everything that it alone says is retired, at once, and what it alone spoke of is found no more.

Entities and relations are left with nothing where no other statement speaks of them, accepted or in quarantine; then
their names are retired too, so that no question is about them. As everywhere, nothing is erased: earlier transactions
show what they showed, and old citations resolve. What lies beside the graph and quotes the source is erased, because
that has no history. Vectors are brought up to date by `graph.embed.updating`.

What stays: names that it gave to things which others speak of as well, since names have no source; and the model of how
prose says things, which knows no facts.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from groundzero.errors import InputError
from groundzero.graph.naming import TYPE_RELATIONS, follow_type
from groundzero.graph.nouns import EntityId, RelationId, Source, Statement, StatementId, Transaction
from groundzero.graph.store import Store, Writer
from groundzero.ingest.passages import PassageLog

_PART = re.compile(r"(#.*|@[0-9a-f]{12}(-\d+)?)?", re.DOTALL)
"""What follows a source's key in the keys of its pages, rows and later versions."""
_SUGGESTED_FROM = 10_000


@dataclass
class Forgotten:
    """What was taken back."""

    sources: list[str] = field(default_factory=list)
    """Keys of the source and of its parts."""
    statements: int = 0
    quarantined: int = 0
    entities: list[str] = field(default_factory=list)
    """Keys of what is left with nothing."""
    relations: list[str] = field(default_factory=list)
    passages: int = 0
    """Sentences of it that were kept for people to judge by."""
    transaction: Transaction = 0

    def as_json(self) -> dict[str, Any]:
        """One plain object."""
        return asdict(self)


def forget_source(store: Store, key: str, folder: Path | None = None) -> Forgotten:
    """Take back what a source says, in one transaction. Doing so again changes nothing.

    Args:
        key: of the source, or a file's path; the pages of a dump and the later versions of a file go with it.
        folder: where learning keeps its passages (`ingest.folder`); None where there are none.

    Raises:
        InputError: the graph has no such source.
        StorageError: the store cannot be written; then nothing has changed.
    """
    sources = _parts(store, key)
    found = Forgotten([each.key for each in sources])
    with store.writer() as writer:
        retired = [statement for each in sources for statement in store.statements(status=None, source=each.id)]
        for each in sources:
            writer.retire_source(each.id)
        found.quarantined = sum(statement.status == "quarantined" for statement in retired)
        found.statements = len(retired) - found.quarantined
        _withdraw(store, writer, retired, found)
    found.transaction = store.transaction()
    found.passages = PassageLog(folder).forget({each.partition("#version=")[0] for each in found.sources})
    return found


def _parts(store: Store, key: str) -> list[Source]:
    """The source with this key, or of this file, with everything that is a part or a version of it."""
    sources = list(store.sources())
    for wanted in dict.fromkeys((key, Path(key).resolve().as_posix())):
        parts = [each for each in sources if each.key.startswith(wanted) and _PART.fullmatch(each.key[len(wanted) :])]
        if parts:
            return parts
    near = difflib.get_close_matches(key, [each.key for each in sources[:_SUGGESTED_FROM]], n=3, cutoff=0.5)
    near += [each.key for each in sources[:_SUGGESTED_FROM] if key and key in each.key and each.key not in near][:3]
    raise InputError(
        f"No source of {store.location} is called {key!r}.",
        remedy=f"Did you mean {' or '.join(map(repr, near[:3]))}?" if near else "`gz graph query` shows sources.",
    )


def _withdraw(store: Store, writer: Writer, retired: list[Statement], found: Forgotten) -> None:
    """Types that only retired statements said, and the names of what no other statement speaks of, are retired."""
    gone = {statement.id for statement in retired}
    waiting = [each for each in store.statements(status="quarantined") if each.id not in gone]
    held = {end for each in waiting for end in (each.subject, each.object)}
    uses = Counter(end for each in retired for end in {each.subject, each.object} if end is not None)
    types = {each.id for each in store.relations() if each.key in TYPE_RELATIONS}
    for statement in retired:
        if statement.relation in types and not _said_elsewhere(store, statement, gone):
            follow_type(store, writer, statement, retired=True)
    for entity, count in sorted(uses.items()):
        if entity not in held and not _is_spoken_of(store, entity, count, gone):
            for name in store.entity_names(entity):
                writer.retire_entity_name(entity, name.text, name.kind)
            found.entities.append(store.entity(entity).key)
    for relation in sorted(_unused(store, {each.relation for each in retired}, waiting, gone)):
        for name in store.relation_names(relation):
            writer.retire_relation_name(relation, name.text, name.kind)
        found.relations.append(store.relation(relation).key)


def _said_elsewhere(store: Store, statement: Statement, gone: set[StatementId]) -> bool:
    same = store.outgoing(statement.subject, statement.relation)
    return any(each.object == statement.object and each.id not in gone for each in same)


def _is_spoken_of(store: Store, entity: EntityId, count: int, gone: set[StatementId]) -> bool:
    """Whether any accepted statement is left; of a hub only as many are looked at as `count` retired ones need."""
    incoming = store.incoming(entity, limit=count + 1)
    return any(each.id not in gone for each in (*incoming, *store.outgoing(entity)))


def _unused(
    store: Store, relations: set[RelationId], waiting: list[Statement], gone: set[StatementId]
) -> set[RelationId]:
    """Those of these relations that no statement uses any more."""
    unused = relations - {each.relation for each in waiting}
    rows_E4 = store.triples()
    unused -= set(np.unique(rows_E4[~np.isin(rows_E4[:, 3], list(gone)), 1]).tolist())
    for each in store.statements() if unused else ():  # those with literals
        if each.id not in gone:
            unused.discard(each.relation)
    return unused
