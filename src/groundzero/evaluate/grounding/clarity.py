"""Whether a question has one meaning in a graph: no two things by its name, no two relations by its words.

"Where is the University of Bologna located?" asks for `location`, and as well for `located in the administrative
territorial entity`, which leads elsewhere; neither answer is wrong, so the question is not asked. Relations that lead
to the same answers, or to none here, leave a question clear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from groundzero.evaluate.grounding.replies import Hop, ends
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, Relation
from groundzero.graph.phrasing import phrase, sayings
from groundzero.ground.lessons import noun_of
from groundzero.ground.query import Node


def filled(template: str, subject: str) -> str:
    """A question about a subject, as lessons write it."""
    text = template.replace("{subject}", subject).replace("{object}", subject)
    return text[:1].upper() + text[1:]


def is_only_one(graph: Graph, entity: EntityId) -> bool:
    """Whether nothing else has this entity's label for its own."""
    label = graph.label(entity)
    return all(graph.label(each) != label for each in graph.store.named(label) if each != entity)


def has_one_meaning(graph: Graph, text: str, start: EntityId, way: Sequence[Hop]) -> bool:
    """Whether the words of a question lead nowhere but where its gold path leads."""
    nodes: set[Node] = {start}
    for place, (relation, inverse) in enumerate(way):
        last = place == len(way) - 1
        here = [node for node in nodes if isinstance(node, int)]
        own = _reached(graph, here, (relation, inverse))
        alike = _asked_alike(text, graph.relation(relation), inverse) if last else _said_alike(graph.relation(relation))
        for other in _hops(graph, here):
            if other != (relation, inverse) and alike(graph.relation(other[0]), other[1]):
                found = _reached(graph, here, other)
                if found and not found <= own:
                    return False
        nodes = own
    return True


def says(graph: Graph, text: str, start: EntityId, claimed: str) -> bool:
    """Whether a statement about `start` is what `text` claims, by whichever relation is said in these words."""
    label, asked = graph.label(start), text.lower()
    for each in graph.store.outgoing(start):
        names = (each.literal.value,) if each.literal is not None else _names(graph, each.object)
        if claimed in names:
            for template in sayings(graph.relation(each.relation)):
                said = (
                    template.rstrip(". ").replace("{subject}", "\0").replace("{object}", claimed).replace("\0", label)
                )
                if said.lower() in asked:
                    return True
    return False


def _names(graph: Graph, entity: EntityId | None) -> tuple[str, ...]:
    if entity is None:
        return ()
    found = graph.entity(entity)
    return (found.label, *found.aliases)


def _reached(graph: Graph, entities: Sequence[EntityId], hop: Hop) -> set[Node]:
    return {node for entity in entities for node in ends(graph.store, entity, (hop,))}


def _hops(graph: Graph, entities: Sequence[EntityId]) -> Iterator[Hop]:
    """Every hop that leads anywhere from these."""
    found: set[Hop] = set()
    for entity in entities:
        found |= {(each.relation, False) for each in graph.store.outgoing(entity)}
        found |= {(each.relation, True) for each in graph.store.incoming(entity, limit=_LOOKED_AT)}
    return iter(sorted(found))


_LOOKED_AT = 2000
"""Statements about an entity that are looked at from the other end."""


def _asked_alike(text: str, relation: Relation, inverse: bool) -> Callable[[Relation, bool], bool]:
    """Whether another hop is asked for by the very template that `text` was made from."""
    used = frozenset(each for each in _questions(relation, inverse) if _fits(each, text))
    return lambda other, back: bool(used & _questions(other, back))


@cache
def _questions(relation: Relation, inverse: bool) -> frozenset[str]:
    """Questions for what a hop leads to, with `{}` for what it leads from."""
    ways = phrase(relation).inverse if inverse else phrase(relation).questions
    return frozenset(each.replace("{subject}", "{}").replace("{object}", "{}") for each in ways)


def _fits(template: str, text: str) -> bool:
    before, _, after = template.partition("{}")
    pattern = f"{re.escape(before)}.+{re.escape(after)}"
    return re.search(f"{pattern}$", text, re.IGNORECASE) is not None


def _said_alike(relation: Relation) -> Callable[[Relation, bool], bool]:
    """Whether another relation is said in the same words, as a sentence or as a noun."""
    own, noun = frozenset(sayings(relation)), noun_of(relation)
    return lambda other, back: not back and (noun == noun_of(other) or bool(own & frozenset(sayings(other))))
