"""The shortest ways from one entity to another, along statements in either direction.

Breadth first from both ends, a whole frontier at a time; the two meet in the middle, so that hubs are expanded once
and not once for every way that leads to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from groundzero.graph.adjacency import Adjacency
from groundzero.graph.nouns import EntityId, RelationId, StatementId

MAX_VISITED = 2_000_000
"""Entities looked at before a search gives up."""


class Step(NamedTuple):
    """One statement on a path, walked from its subject to its object or, `inverse`, the other way."""

    start: EntityId
    relation: RelationId
    end: EntityId
    statement: StatementId
    inverse: bool


Path = tuple[Step, ...]
_Layers = list[dict[EntityId, list[Step]]]
"""By distance: the entities first met there, and the steps that lead to each from the layer before."""


def shortest_paths(
    adjacency: Adjacency, start: EntityId, end: EntityId, *, max_hops: int = 4, limit: int = 5
) -> list[Path]:
    """Up to `limit` of the shortest paths, fewest hops first; empty where there is none of `max_hops` or fewer."""
    if start == end:
        return [()]
    forward: _Layers = [{start: []}]
    backward: _Layers = [{end: []}]
    from_start, from_end = {start}, {end}
    while len(forward) + len(backward) - 2 < max_hops and forward[-1] and backward[-1]:
        if len(forward[-1]) <= len(backward[-1]):
            layers, mine, other = forward, from_start, from_end
        else:
            layers, mine, other = backward, from_end, from_start
        layers.append(_next_layer(adjacency, layers[-1], mine))
        mine.update(layers[-1])
        meeting = sorted(set(layers[-1]) & other)
        if meeting:
            return list(islice(_joined(forward, backward, meeting), limit))
        if len(mine) > MAX_VISITED:
            return []
    return []


def _next_layer(
    adjacency: Adjacency, layer: dict[EntityId, list[Step]], seen: set[EntityId]
) -> dict[EntityId, list[Step]]:
    found: dict[EntityId, list[Step]] = {}
    frontier_V = np.fromiter(layer, dtype=np.int64, count=len(layer))
    for inverse in (False, True):
        place_N, neighbours = adjacency.around(frontier_V, inverse=inverse)
        columns = (frontier_V[place_N], *neighbours)
        for owner, relation, entity, statement in zip(*(column.tolist() for column in columns), strict=True):
            if entity not in seen:
                found.setdefault(entity, []).append(Step(owner, relation, entity, statement, inverse))
    return found


def _joined(forward: _Layers, backward: _Layers, meeting: list[EntityId]) -> Iterator[Path]:
    for middle in meeting:
        for head in _walks(forward, middle):
            for tail in _walks(backward, middle):
                yield head + tuple(_turned(step) for step in reversed(tail))


def _walks(layers: _Layers, to: EntityId) -> Iterator[Path]:
    """The walks from the first layer to an entity, each from its start to its end."""
    depth = next(depth for depth, layer in enumerate(layers) if to in layer)
    if depth == 0:
        yield ()
        return
    for step in layers[depth][to]:
        for head in _walks(layers[:depth], step.start):
            yield (*head, step)


def _turned(step: Step) -> Step:
    return Step(step.end, step.relation, step.start, step.statement, not step.inverse)
