"""Triples to learn from and to be judged by, as arrays of ids, and an index of everything known.

Rows are (subject, relation, object) with ids 0..n-1. Filtering uses what is known in *all* splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import InputError

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """A graph cut into triples to learn from, to choose settings by, and to report on."""

    n_entities: int
    n_relations: int
    train: Ids
    """(N, 3)"""
    valid: Ids
    test: Ids

    @classmethod
    def make(
        cls, n_entities: int, n_relations: int, train: Ids, valid: Ids | None = None, test: Ids | None = None
    ) -> Splits:
        """Check shapes and ranges.

        Raises:
            InputError: there is nothing to train on, or a triple names an id that does not exist.
        """
        empty = np.empty((0, 3), np.int64)
        parts = {"train": train, "valid": empty if valid is None else valid, "test": empty if test is None else test}
        checked = {}
        for name, triples in parts.items():
            array = np.ascontiguousarray(triples, np.int64)
            if array.ndim != 2 or array.shape[1] != 3:
                raise InputError(f"{name} has shape {array.shape}.", remedy="Give rows of subject, relation, object.")
            highest = array.max(0, initial=-1)
            if array.min(initial=0) < 0 or highest[1] >= n_relations or max(highest[0], highest[2]) >= n_entities:
                raise InputError(
                    f"{name} names ids outside of {n_entities} entities and {n_relations} relations.",
                    remedy="Number both from 0 without gaps.",
                )
            checked[name] = array
        if not len(checked["train"]):
            raise InputError("There are no triples to learn from.", remedy="Import statements between entities first.")
        return cls(n_entities, n_relations, checked["train"], checked["valid"], checked["test"])

    @cached_property
    def known(self) -> Known:
        """Index over all splits."""
        return Known(np.concatenate([self.train, self.valid, self.test]), self.n_entities, self.n_relations)


class Known:
    """Which objects a (subject, relation) has, and which subjects a (relation, object) has.

    A question is an anchor and a relation; `backward` asks for subjects. Memory: 4 numbers per triple.
    """

    def __init__(self, triples: Ids, n_entities: int, n_relations: int) -> None:
        self.n_entities, self.n_relations = n_entities, n_relations
        self._forward = self._index(triples[:, 0], triples[:, 1], triples[:, 2])
        self._backward = self._index(triples[:, 2], triples[:, 1], triples[:, 0])

    def answers(self, anchor: int, relation: int, *, backward: bool) -> Ids:
        """Sorted distinct ids of known answers."""
        keys, answers = self._backward if backward else self._forward
        key = anchor * self.n_relations + relation
        return answers[np.searchsorted(keys, key) : np.searchsorted(keys, key, side="right")]

    def pairs(self, anchors: Ids, relations: Ids, *, backward: bool) -> tuple[Ids, Ids]:
        """(position in the batch, answer) of every known answer to every question."""
        keys, answers = self._backward if backward else self._forward
        wanted = anchors * self.n_relations + relations
        first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
        counts = last - first
        positions = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions, answers[np.repeat(first, counts) + within]

    def contains(self, triples: Ids) -> NDArray[np.bool_]:
        """Which triples are known."""
        keys, _ = self._forward
        combined = self._combined
        wanted = (triples[:, 0] * self.n_relations + triples[:, 1]) * self.n_entities + triples[:, 2]
        if not len(keys):
            return np.zeros(len(triples), bool)
        place = np.minimum(np.searchsorted(combined, wanted), len(combined) - 1)
        return np.asarray(combined[place] == wanted)

    @cached_property
    def _combined(self) -> Ids:
        keys, answers = self._forward
        return keys * self.n_entities + answers

    def _index(self, anchors: Ids, relations: Ids, answers: Ids) -> tuple[Ids, Ids]:
        combined = np.unique((anchors * self.n_relations + relations) * self.n_entities + answers)
        return combined // self.n_entities, combined % self.n_entities


def split_triples(triples: Ids, n_entities: int, n_relations: int, *, held_out: float, seed: int) -> Splits:
    """Hold out a share of distinct triples for validation and as many for test, drawn at random.

    A triple is held out only if its subject, object and relation all occur in what stays, so that each has a vector.
    """
    unique = np.unique(triples[:, :3], axis=0)
    wanted = int(len(unique) * held_out)
    order = np.random.default_rng(seed).permutation(len(unique))
    entity_uses = np.bincount(unique[:, [0, 2]].reshape(-1), minlength=n_entities)
    relation_uses = np.bincount(unique[:, 1], minlength=n_relations)
    chosen: list[int] = []
    for row in order:
        if len(chosen) == 2 * wanted:
            break
        subject, relation, object_ = unique[row]
        needed = 2 if subject != object_ else 3
        if min(entity_uses[subject], entity_uses[object_]) < needed or relation_uses[relation] < 2:
            continue
        entity_uses[subject] -= 1
        entity_uses[object_] -= 1
        relation_uses[relation] -= 1
        chosen.append(int(row))
    stays = np.ones(len(unique), bool)
    stays[chosen] = False
    half = len(chosen) // 2
    return Splits.make(n_entities, n_relations, unique[stays], unique[chosen[:half]], unique[chosen[half:]])
