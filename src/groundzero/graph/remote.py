"""What a `Graph` does where the store is too large or too far away to be indexed here: it asks."""

from __future__ import annotations

import numpy as np

from groundzero.graph.adjacency import Neighbours
from groundzero.graph.folding import placed_tokens
from groundzero.graph.mentions import Mention, chosen
from groundzero.graph.nouns import EntityId, RelationId
from groundzero.graph.sparql import SPARQLStore
from groundzero.graph.store import Store

MAX_WORDS = 6
"""Of a name that is looked for."""
MAX_NAMES = 2000
"""Stretches of a text that are looked up."""


def remote_neighbours(store: Store, entity: EntityId, relation: RelationId | None, *, inverse: bool) -> Neighbours:
    """The same arrays as an `Adjacency` gives."""
    found = store.incoming(entity, relation) if inverse else store.outgoing(entity, relation)
    ends = [(each.relation, each.subject if inverse else each.object, each.id) for each in found if each.object]
    rows_N3 = np.array(sorted(ends), dtype=np.int64).reshape(-1, 3)
    return Neighbours(rows_N3[:, 0], rows_N3[:, 1], rows_N3[:, 2])


def remote_mentions(store: Store, text: str, *, overlapping: bool) -> list[Mention]:
    """Stretches of `text` that are a name as written, or with a capital first letter."""
    placed = placed_tokens(text)
    stretches: dict[str, list[tuple[int, int]]] = {}
    for first in range(len(placed)):
        for last in range(first + 1, min(first + MAX_WORDS, len(placed)) + 1):
            surface = text[placed[first][1] : placed[last - 1][2]]
            for form in dict.fromkeys((surface, surface[:1].upper() + surface[1:])):
                stretches.setdefault(form, []).append((placed[first][1], placed[last - 1][2]))
    names = list(stretches)[:MAX_NAMES]
    if isinstance(store, SPARQLStore):
        named = store.named_among(names)
    else:
        named = {name: entities for name in names if (entities := store.named(name))}
    found: dict[tuple[int, int], set[EntityId]] = {}
    for name, entities in named.items():
        for place in stretches.get(name, ()):
            found.setdefault(place, set()).update(entities)
    return chosen(text, found, overlapping=overlapping)
