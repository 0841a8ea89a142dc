"""Edits to examine with: which statement becomes what, and the questions whose answers that changes.

Each replaces a statement that is the one answer to a question about a held-out entity, by another object of the same
relation. The questions about it:

    asked       the question itself
    rephrased   other ways to ask it
    alias       about another name of the subject
    inverse     from the object: about the old one before, about the new one after
    further     one hop on from the object
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from groundzero.evaluate.grounding.clarity import has_one_meaning, is_only_one
from groundzero.evaluate.grounding.replies import Hop, ends, object_of
from groundzero.evaluate.grounding.setting import Exam
from groundzero.graph.graph import Graph
from groundzero.graph.naming import TYPE_RELATIONS, follow_type
from groundzero.graph.nouns import EntityId, RelationId, Statement, StatementId
from groundzero.graph.phrasing import Phrasing, phrase
from groundzero.ground.lessons import Lesson
from groundzero.ground.query import Node

Probe = OneOf["asked", "rephrased", "alias", "inverse", "further"]
PROBES: tuple[Probe, ...] = ("asked", "rephrased", "alias", "inverse", "further")
_POLITE = ("Please tell me: {}", "I would like to know: {}")
"""Around a question, so that there is another phrasing of each."""
_REPHRASED = 3
"""Other ways to ask, at most."""
_TRIES = 50
"""Other objects that are looked at."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask before and after an edit, and where its answer is found in a graph."""

    probe: Probe
    text: str
    start: EntityId
    way: tuple[Hop, ...]

    def right(self, graph: Graph) -> frozenset[Node]:
        """The answers, as the store has them now."""
        return ends(graph.store, self.start, self.way)

    def is_clear(self, graph: Graph) -> bool:
        """Whether it has one meaning in the graph as it is now."""
        return is_only_one(graph, self.start) and has_one_meaning(graph, self.text, self.start, self.way)


@dataclass(frozen=True, slots=True)
class Change:
    """One edit to be made."""

    old: Statement
    new: Node
    asked: Question
    others: tuple[tuple[Question, Question], ...]
    """Whose answers it changes, too, as they are asked before and after; from the other end, that is another object."""

    def apply(self, graph: Graph) -> StatementId:
        """Make the edit, as `gz graph edit` does: types follow what an entity is said to be."""
        added = graph.edit(self.old.subject, self.old.relation, self.new, replacing=object_of(self.old))
        if graph.relation(self.old.relation).key in TYPE_RELATIONS:
            found = graph.statement(added)
            assert found is not None
            with graph.store.writer() as writer:
                follow_type(graph.store, writer, self.old, retired=True)
                follow_type(graph.store, writer, found, retired=False)
            graph.refresh()
        return added


def planned(exam: Exam, count: int, rng: random.Random) -> list[Change]:
    """Up to `count` edits of different statements, a third of them with a question one hop further."""
    objects = _objects(exam.graph)
    found: dict[tuple[EntityId, RelationId], Change] = {}
    for lesson in _mixed(exam, 2 * count):
        change = _change(exam, lesson, objects, rng)
        if change is not None:
            found.setdefault((change.old.subject, change.old.relation), change)
        if len(found) == count:
            break
    return list(found.values())


def _mixed(exam: Exam, count: int) -> Iterator[Lesson]:
    """Questions of one hop and of two, two to one."""
    one, two = exam.lessons(count, "one"), exam.lessons(count, "two")
    while True:
        drawn = [lesson for lesson in (next(one, None), next(two, None), next(one, None)) if lesson is not None]
        if not drawn:
            return
        yield from drawn


def _objects(graph: Graph) -> dict[RelationId, list[Node]]:
    """Every object of every relation, once."""
    found: dict[RelationId, dict[Node, None]] = {}
    for statement in graph.store.statements():
        found.setdefault(statement.relation, {})[object_of(statement)] = None
    return {relation: list(nodes) for relation, nodes in found.items()}


def _change(
    exam: Exam, lesson: Lesson, objects: Mapping[RelationId, Sequence[Node]], rng: random.Random
) -> Change | None:
    graph = exam.graph
    steps = [found for number in lesson.cited if (found := graph.statement(number)) is not None]
    subjects = {each.subject for each in steps}
    first = [each for each in steps if lesson.kind == "one" or each.object in subjects]
    if len(first) != 1:
        return None
    old = first[0]
    further = next((each.relation for each in steps if each.subject == old.object), None)
    new = _other_object(graph, old, further, objects[old.relation], rng)
    if new is None:
        return None
    phrasing, label = phrase(graph.relation(old.relation)), graph.label(old.subject)
    ways = [_filled(each, label) for each in reversed(phrasing.questions)]
    text = lesson.question if lesson.kind == "one" else ways[0]
    asked = Question("asked", text, old.subject, ((old.relation, False),))
    ways += [polite.format(text) for polite in _POLITE]
    others = [replace(asked, probe="rephrased", text=each) for each in dict.fromkeys(ways) if each != text][:_REPHRASED]
    others += [
        replace(asked, probe="alias", text=text.replace(label, alias))
        for alias in graph.entity(old.subject).aliases[:1]
        if label in text
    ]
    if further is not None:
        others.append(Question("further", lesson.question, old.subject, ((old.relation, False), (further, False))))
    pairs = [(each, each) for each in others]
    if old.object is not None and isinstance(new, int) and not _is_said_otherwise(graph, old, new):
        pairs.append((_back(graph, phrasing, old, old.object), _back(graph, phrasing, old, new)))
    return Change(old, new, asked, tuple(pairs))


def _other_object(
    graph: Graph, old: Statement, further: RelationId | None, objects: Sequence[Node], rng: random.Random
) -> Node | None:
    """Another object of the relation, from which the question one hop further leads on where there is one.

    Of some drawn by chance the most like the old one: "which country" is not to be answered with a city.
    """
    taken, own = (object_of(old), old.subject), _relations(graph, old.object)
    best: tuple[float, Node] | None = None
    for node in rng.sample(list(objects), k=min(_TRIES, len(objects))):
        if node in taken or isinstance(node, int) != (old.object is not None):
            continue
        there = _relations(graph, node)
        likeness = len(own & there) / max(1, len(own | there))
        if (further is None or further in there) and (best is None or likeness > best[0]):
            best = likeness, node
    return None if best is None else best[1]


def _relations(graph: Graph, node: Node | None) -> set[RelationId]:
    """What is said of an entity."""
    return {each.relation for each in graph.store.outgoing(node)} if isinstance(node, int) else set()


def _is_said_otherwise(graph: Graph, old: Statement, new: EntityId) -> bool:
    """Whether another relation holds between the subject and either object: then the way back may mean that one."""
    ends = (old.object, new)
    there = any(each.object in ends and each.id != old.id for each in graph.store.outgoing(old.subject))
    return there or any(each.object == old.subject for end in ends if end for each in graph.store.outgoing(end))


def _back(graph: Graph, phrasing: Phrasing, old: Statement, object_: EntityId) -> Question:
    """Who has this object."""
    text = _filled(phrasing.inverse[0], graph.label(object_))
    return Question("inverse", text, object_, ((old.relation, True),))


def _filled(template: str, name: str) -> str:
    text = template.replace("{subject}", "\0").replace("{object}", "\0").replace("\0", name)
    return text[:1].upper() + text[1:]
