"""Question-answer pairs as people write them, made ready to learn from: what each question was found to mean.

A pair names no path. Its question is linked, and every path from what it mentions that leads to the given answers (or
nearly: an answer list is seldom complete) is taken to be what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import InputError
from groundzero.graph.folding import form
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId
from groundzero.ground.conjunction import Mentioned
from groundzero.ground.learning import Branches, Pair
from groundzero.ground.link import Link, Linker
from groundzero.ground.search import PathSearch
from groundzero.ground.words import Word, read_question

FRONTIERS = 2000
"""Paths followed at each hop while looking for those that lead to the answers."""
AGREE = 0.5
"""Share that answers given and answers found must have in common (Jaccard)."""

Reached = frozenset[int | str]
"""What a path leads to: entities, and the texts of literals."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question and its answers, by key, label or the text of a literal."""

    question: str
    answers: tuple[str, ...]


def read_examples(path: Path) -> list[Example]:
    """Lines of a question, a tab, and the answers with tabs or `|` between them; empty lines and `#` lines are skipped.

    Raises:
        InputError: a line has no answer; the message names it.
    """
    examples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        question, _, rest = line.partition("\t")
        answers = tuple(each.strip() for each in rest.replace("\t", "|").split("|") if each.strip())
        if not answers or not question.strip():
            raise InputError(
                f"{path}, line {number}: no answer.", remedy="Write a question, a tab, and answers with | between them."
            )
        examples.append(Example(question.strip(), answers))
    return examples


class Teacher:
    """Finds what examples mean in one graph."""

    def __init__(self, graph: Graph, linker: Linker, search: PathSearch, *, max_hops: int = 3) -> None:
        self._graph, self._linker, self._search, self._max_hops = graph, linker, search, max_hops
        self._reached: dict[EntityId, list[tuple[tuple[int, ...], Reached]]] = {}

    def pairs(self, examples: Iterable[Example]) -> list[Pair]:
        """Those of the examples that the graph can answer."""
        found = (self._pair(example) for example in examples)
        return [pair for pair in found if pair is not None]

    def _pair(self, example: Example) -> Pair | None:
        words = tuple(read_question(example.question))
        links = [link for link in self._linker.link(example.question, words) if link.exact][:4]
        wanted = self._wanted(example.answers)
        best: tuple[float, Pair] | None = None
        for one, other in combinations(links, 2):  # two mentions explain more than one: tried first
            left, right = (one, other) if one.first < other.first else (other, one)
            if left.last <= right.first:
                best = _better(best, self._conjunction(words, left, right, wanted))
        for link in links if best is None or best[0] < 1.0 else ():
            best = _better(best, self._chain(words, link, wanted))
        return None if best is None else best[1]

    def _wanted(self, answers: Sequence[str]) -> Reached:
        wanted: set[int | str] = set()
        for answer in answers:
            entity = self._graph.store.find_entity(answer)
            named = [entity] if entity is not None else self._graph.store.named(answer)
            wanted.update(named or ())
            wanted.add(form(answer))
        return frozenset(wanted)

    def _chain(self, words: tuple[Word, ...], link: Link, wanted: Reached) -> tuple[float, Pair] | None:
        best = AGREE
        right: set[Branches] = set()
        chosen: EntityId | None = None
        for candidate in link.candidates[:3]:
            for codes, reached in self._around(candidate.entity):
                agreement = _agreement(reached, wanted)
                if agreement > best or (agreement == best and chosen == candidate.entity):
                    right = right if agreement == best else set()
                    best, chosen = agreement, candidate.entity
                    right.add((codes,))
        if chosen is None:
            return None
        return best, Pair(words, (Mentioned(link.first, link.last, chosen),), frozenset(right))

    def _conjunction(
        self, words: tuple[Word, ...], left: Link, right: Link, wanted: Reached
    ) -> tuple[float, Pair] | None:
        best, branches = AGREE, set[Branches]()
        a, b = left.candidates[0].entity, right.candidates[0].entity
        one_hop = [[(codes, reached) for codes, reached in self._around(end) if len(codes) == 1] for end in (a, b)]
        for codes_a, reached_a in one_hop[0]:
            for codes_b, reached_b in one_hop[1]:
                common = (reached_a & reached_b) - {a, b}
                if not common or common in (reached_a, reached_b):  # the second mention must matter
                    continue
                agreement = _agreement(common, wanted)
                if agreement >= best:
                    branches = branches if agreement == best else set()
                    best = agreement
                    branches.add((codes_a, codes_b))
        if not branches:
            return None
        mentions = (Mentioned(left.first, left.last, a), Mentioned(right.first, right.last, b))
        return best, Pair(words, mentions, frozenset(branches))

    def _around(self, entity: EntityId) -> list[tuple[tuple[int, ...], Reached]]:
        """Every path from an entity with what it leads to."""
        known = self._reached.get(entity)
        if known is None:
            known = self._reached[entity] = list(self._explore(entity))
        return known

    def _explore(self, entity: EntityId) -> Iterable[tuple[tuple[int, ...], Reached]]:
        frontier: list[tuple[tuple[int, ...], NDArray[np.int64]]] = [((), np.array([entity]))]
        for _ in range(self._max_hops):
            grown = []
            for codes, entities in frontier:
                for code, ends, literals in self._search.reached(entities):
                    path = (*codes, code)
                    if len(ends):
                        grown.append((path, ends))
                    if len(ends) or literals:
                        yield path, frozenset(ends.tolist()) | frozenset(form(text) for text in literals)
            frontier = grown[:FRONTIERS]


def _better(best: tuple[float, Pair] | None, other: tuple[float, Pair] | None) -> tuple[float, Pair] | None:
    return other if best is None or (other is not None and other[0] > best[0]) else best


def _agreement(reached: Reached, wanted: Reached) -> float:
    """Jaccard similarity; an answer counts once, though it may be wanted as entity and as text."""
    common = len(reached & wanted)
    if not common:
        return 0.0
    asked = sum(isinstance(each, str) for each in wanted)
    return common / (len(reached) + max(asked - common, 0))
