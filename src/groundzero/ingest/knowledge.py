"""The graph as one run of learning sees it: its facts and names when the run began, and titles linked to them.

Everything is looked up as it was at the start, so that what is learnt does not depend on the order of the sources.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId
from groundzero.ingest.candidates import Title
from groundzero.ingest.facts import Facts
from groundzero.ingest.gazetteer import Gazetteer
from groundzero.ingest.words import words

_QUALIFIED = re.compile(r"^(.+?)\s*\(([^()]+)\)$")
_FUNCTIONAL_SUBJECTS = 20
_FUNCTIONAL_SHARE = 0.98


class Knowledge:
    """Facts, names and relations of a graph at one transaction."""

    def __init__(self, graph: Graph) -> None:
        self.store = graph.store
        self.transaction = graph.store.transaction()
        self._at = self.transaction if graph.store.capabilities.as_of else None
        self._linked: dict[str, EntityId | None] = {}

    @cached_property
    def facts(self) -> Facts:
        """What the graph knew."""
        return Facts.of(self.store)

    @cached_property
    def gazetteer(self) -> Gazetteer:
        """What everything was called."""
        return Gazetteer(self.store.entities(at=self._at))

    @cached_property
    def relations(self) -> dict[str, RelationId]:
        """Relations by their folded names and keys; of relations that share one, the first."""
        found: dict[str, RelationId] = {}
        for each in self.store.relations(at=self._at):
            for name in (each.label, each.key, *each.aliases):
                found.setdefault(" ".join(words(name)), each.id)
        return found

    @cached_property
    def functional(self) -> frozenset[RelationId]:
        """Relations that hardly any subject has twice."""
        objects = Counter((subject, relation) for subject, relation, _ in self.facts.triples)
        subjects = Counter(relation for _, relation in objects)
        single: Counter[RelationId] = Counter()
        for (_, relation), count in objects.items():
            single[relation] += count == 1
        return frozenset(
            relation
            for relation, count in subjects.items()
            if count >= _FUNCTIONAL_SUBJECTS and single[relation] >= _FUNCTIONAL_SHARE * count
        )

    def relation(self, *names: str) -> RelationId | str:
        """The first of these that the graph has; otherwise the first name."""
        return next((self.relations[name] for name in names if name in self.relations), names[0])

    def link(self, title: str) -> EntityId | None:
        """The entity that a title stands for, by key, by name, or by name and kind; None where none is certain."""
        if title not in self._linked:
            self._linked[title] = self._link(title)
        return self._linked[title]

    def lookup(self, name: str) -> EntityId | None:
        """The one entity with this name, if there is exactly one."""
        return self.link(name)

    def end(self, end: EntityId | Title) -> EntityId | Title:
        """A title that is known as its id; everything else as it is."""
        if isinstance(end, Title):
            known = self.link(end.text)
            return end if known is None else known
        return end

    def _link(self, title: str) -> EntityId | None:
        if not title.strip():
            return None
        found = self.store.find_entity(title)
        if found is not None and found in self._existing(title):
            return found
        named = self._existing(title)
        if len(named) == 1:
            return named[0]
        if named:
            return self._best_known(title, named)
        match = _QUALIFIED.match(title)
        if match is None:
            return None
        kinds = set(words(match[2]))
        fitting = [each for each in self._existing(match[1]) if kinds & set(words(self.facts.type(each)))]
        return fitting[0] if len(fitting) == 1 else None

    def _existing(self, name: str) -> list[EntityId]:
        small = name[:1].lower() + name[1:]  # a page about bakers is called Baker
        named = self.store.named(name, at=self._at) or self.store.named(small, at=self._at)
        if named:
            return named
        found = self.store.find_entity(name)
        if found is None or self._at is None:
            return [] if found is None else [found]
        return [found] if found <= self._last_entity else []

    @cached_property
    def _last_entity(self) -> EntityId:
        return max((each.id for each in self.store.entities(at=self._at)), default=0)

    def _best_known(self, title: str, named: list[EntityId]) -> EntityId | None:
        """Of several with this name, the only one whose label is exactly so; None where that does not decide."""
        exact = [each for each in named if self.store.entity(each, at=self._at).label == title]
        return exact[0] if len(exact) == 1 else None
