"""From a question to an answer: which entity and which path it means, what the graph says, or why it does not know.

Every mention with every entity it may mean gives readings of the question (`hypotheses`). The best one is turned into
a symbolic query and run in full. It is refused where the question says more than the path explains, where relations
that the graph has elsewhere would explain it clearly better, where two entities of one name fit alike, and where the
graph disagrees with itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, Literal, Relation, Transaction
from groundzero.ground.answer import Answer, Candidate, Evidence, Missing, Reason, Seconds
from groundzero.ground.examples import Example, Teacher
from groundzero.ground.facts import LiveFacts
from groundzero.ground.follow_up import readings
from groundzero.ground.hops import HopTable
from groundzero.ground.hypotheses import Asked, Hypothesis, hypotheses
from groundzero.ground.learning import LearningConfig, fit
from groundzero.ground.link import Link, Linker
from groundzero.ground.missing import absent_hops, what_is_missing
from groundzero.ground.query import Query, Result
from groundzero.ground.refusal import why_not
from groundzero.ground.respond import as_asked, respond
from groundzero.ground.retrieve import Retrieved, Retriever
from groundzero.ground.scorer import Learned, PathScorer
from groundzero.ground.search import PathSearch
from groundzero.ground.shape import read_shape
from groundzero.ground.symbols import to_query
from groundzero.ground.verdicts import SINGLE
from groundzero.ground.weights import carried_over
from groundzero.ground.wording import step_words
from groundzero.ground.words import Word, read_question
from groundzero.settings import Settings

AMBIGUOUS = 0.35
"""Two entities of one name whose readings score within this are both possible."""
CERTAIN = 0.98
"""The same, from which two objects contradict each other."""
DOUBT = 0.2
"""What is left of a probability once the answer is refused."""
RETRIED = 6
"""Readings looked at for one whose things a superlative can compare."""
COMPARED = 12
"""Readings whose answers are compared."""
TEMPERATURE = 1.5
"""Scores of readings are divided by this before they are made probabilities."""


class ReasonConfig(Settings):
    """How far reasoning looks."""

    max_hops: int = Field(default=3, ge=1, le=3)
    """Longest path."""
    beam: int = Field(default=24, ge=1)
    """Paths kept at each hop."""
    mentions: int = Field(default=6, ge=1)
    """Mentions of a question that are read."""
    entities: int = Field(default=6, ge=1)
    """Entities considered for each mention."""
    alternatives: int = Field(default=5, ge=0)
    """Answers of other readings that are reported."""


class Reasoner:
    """Answers questions over one graph, with no language model.

    Args:
        learned: weights from question-answer pairs (`learning.fit`); None for what the graph and the lexicon say.
    """

    def __init__(self, graph: Graph, *, learned: Learned | None = None, config: ReasonConfig | None = None) -> None:
        self.graph = graph
        self.config = config or ReasonConfig()
        self.linker = Linker(graph)
        self.learned = learned
        self._relations: tuple[Relation, ...] | None = None
        self._at: Transaction | None = None
        self._literals = False
        self.refresh()

    def refresh(self) -> Transaction:
        """Take in what was committed to the graph since; the transaction that is answered from."""
        at = self.graph.refresh()
        if at == self._at:
            return at
        relations = tuple(self.graph.relations.values())
        if relations != self._relations:
            table = HopTable(relations, self.graph.adjacency.rows())
            if self.learned is not None and self._relations is not None:
                self.learned = carried_over(self.learned, self.table, table)
            self.table: HopTable = table
            self.scorer = PathScorer(self.table, self.learned)
            self._relations = relations
        self._literals = self._literals or self._has_literals()
        self.search = PathSearch(self.graph, self.table, literals=self._literals)
        self._at = at
        return at

    def _has_literals(self) -> bool:
        """Whether the graph has literals: counted once, and then followed, since counting 10^6 statements after every
        edit took 600 ms. One that has lost its last literal is still searched for some, which is only slower."""
        if self._at is None:
            return self.graph.store.counts().triples > self.graph.adjacency.size
        return any(each.literal is not None for each in self.graph.store.changes(self._at))

    def learn(self, examples: Iterable[Example], config: LearningConfig | None = None) -> int:
        """Learn from question-answer pairs; returns how many of them the graph could answer."""
        self.refresh()
        config = config or LearningConfig(max_hops=self.config.max_hops)
        pairs = Teacher(self.graph, self.linker, self.search, max_hops=config.max_hops).pairs(examples)
        self.use(fit(PathScorer(self.table), self.search, pairs, config) if pairs else None)
        return len(pairs)

    def use(self, learned: Learned | None) -> None:
        """Score with these weights from now on."""
        self.learned = learned
        self.scorer = PathScorer(self.table, learned)

    def retrieve(self, question: str, *, limit: int = 50) -> list[Retrieved]:
        """The statements that bear most on a question, most relevant first."""
        self.refresh()
        words = read_question(question)
        links = self.linker.link(question, words)[: self.config.mentions]
        return Retriever(self.graph, self.scorer).retrieve(words, links, limit=limit)

    def evidence(self, question: str, history: Sequence[str] = ()) -> tuple[Evidence, Seconds]:
        """What the graph says to the first reading of a question that it says anything to, and where the time went.

        Args:
            history: questions and answers before this one, oldest first (`follow_up`).
        """
        self.refresh()
        first, *others = readings(question, history, self.linker)
        found = self._evidence(first)
        for meant in others if found[0].reason else ():
            other = self._evidence(meant)
            if not other[0].reason:
                return other
        return found

    def _evidence(self, question: str) -> tuple[Evidence, Seconds]:
        started = time.perf_counter()
        at = self.refresh()
        words = read_question(question)
        links = self.linker.link(question, words)[: self.config.mentions]
        linked = time.perf_counter()
        found = self._conclude(question, words, links, at)
        return found, Seconds(link=linked - started, retrieve=time.perf_counter() - linked)

    def ask(self, question: str, history: Sequence[str] = ()) -> Answer:
        """The answer, worded by rule, with what it rests on."""
        found, seconds = self.evidence(question, history)
        return as_asked(respond(found, self.graph, seconds), question)

    def _conclude(self, question: str, words: Sequence[Word], links: Sequence[Link], at: Transaction) -> Evidence:
        if not links:
            return Evidence(question, "no_entity")
        config = self.config
        named = frozenset(place for link in links if link.exact and link.last - link.first > 1 for place in link.words)
        shape = read_shape(words, self.table, named)
        way = Asked(words, shape, links, self.scorer, self.search, config.max_hops, config.beam, config.entities)
        readings = hypotheses(way)
        if not readings:
            entity = links[0].candidates[0].entity
            return Evidence(question, "no_fact", topic=self.graph.label(entity), missing=Missing((entity,)))
        asked = " of ".join(self._hop_words(code) for code in reversed(absent_hops(way, readings[0])))
        reason = why_not(question, way, readings[0])
        if reason:
            return self._silent(question, way, reason, readings, asked)
        found = self._resolved(question, way, readings, at)
        if found is None:
            return self._silent(question, way, "no_relation", readings)
        best, query, result = found
        readings = [best, *(each for each in readings if each is not best)]
        if not self._says(query, result, best):
            return self._silent(question, way, "no_fact", readings, asked)
        probability, others = self._weigh(readings)
        topic = self.graph.label(best.starts[0])
        evidence = Evidence(question, "", probability, query, result, topic=topic, linked=best.starts, others=others)
        rivals = self._same_name(readings)
        if rivals:
            return replace(evidence, reason="ambiguous", meant=rivals)
        if self._disagrees(query, result, best):
            return replace(evidence, reason="contradiction")
        return evidence

    def _resolved(
        self, question: str, way: Asked, readings: Sequence[Hypothesis], at: Transaction
    ) -> tuple[Hypothesis, Query, Result] | None:
        """The best reading that makes a query, run: not the first where a superlative has nothing to compare."""
        for rank, reading in enumerate(readings[:RETRIED]):
            if rank and why_not(question, way, reading):
                continue
            found = to_query(LiveFacts(self.graph), self.table, way.words, way.shape, reading, self._as_of(at))
            if found is not None:
                return reading, *found
        return None

    def _silent(
        self, question: str, way: Asked, reason: Reason, readings: Sequence[Hypothesis], asked: str = ""
    ) -> Evidence:
        """A refusal, with what the readings would lead to for whoever wants to look."""
        topic = self.graph.label(readings[0].starts[0])
        if reason == "no_entity":
            return Evidence(question, reason, topic=topic, linked=readings[0].starts)
        probability, others = self._weigh(readings)
        near = [self.graph.label(entity) for entity in self._ends(readings[0])[:1].tolist()]
        nearest = tuple(Candidate(label, probability * DOUBT) for label in near if readings[0].target is None)
        rest = tuple(Candidate(each.entity, each.score * DOUBT) for each in others)
        return Evidence(
            question, reason, topic=topic, linked=readings[0].starts, asked=asked, others=(*nearest, *rest),
            missing=what_is_missing(question, self.graph, way, readings, reason),
        )  # fmt: skip

    def _says(self, query: Query, result: Result, best: Hypothesis) -> bool:
        """Whether the graph answers: a "no" only where it says what is true instead."""
        if query.aggregate is not None and query.aggregate.kind == "exists" and not result.holds:
            return (
                bool(result.answers)
                and float(np.prod([self.table.single_C[code] for code in best.branches[0]])) >= SINGLE
            )
        return bool(result.answers)

    def _same_name(self, readings: Sequence[Hypothesis]) -> tuple[EntityId, ...]:
        """Entities of one name that the question may mean as well as the best reading's."""
        best = readings[0]
        if best.worded and best.target is not None:  # whichever is meant, the claim stands alike (`verdicts`)
            return ()
        alike = [
            each.starts
            for each in readings
            if each.links == best.links and each.branches == best.branches and best.score - each.score < AMBIGUOUS
        ]
        starts = list(dict.fromkeys(alike))
        if len(starts) < 2:
            return ()
        place = next(number for number, pair in enumerate(zip(*starts, strict=True)) if len(set(pair)) > 1)
        return tuple(dict.fromkeys(each[place] for each in starts))

    def _disagrees(self, query: Query, result: Result, best: Hypothesis) -> bool:
        """Whether a relation that has one object for nearly everyone has several here that do not agree."""
        code = best.branches[0][-1]
        if (
            query.aggregate is not None
            or query.constraints
            or len(best.branches[0]) > 1
            or self.table.hops[code].inverse
        ):
            return False
        if len(result.answers) < 2:
            return False
        if all(isinstance(node, Literal) for node in result.answers):
            return self.table.is_dated(code)
        entities = [node for node in result.answers if not isinstance(node, Literal)]
        if self.table.single_C[code] < CERTAIN:
            return False
        near = [set(self.graph.neighbours(node).entity_N.tolist()) for node in entities]
        return not any(other in near[place] for place, _ in enumerate(entities) for other in entities)

    def _weigh(self, readings: Sequence[Hypothesis]) -> tuple[float, tuple[Candidate, ...]]:
        """Probability of the best reading, and the first answers of others; readings that lead to the same are one."""
        score = np.array([reading.score for reading in readings]) / TEMPERATURE
        share = np.exp(score - score.max())
        share /= share.sum()
        best, others = 0.0, dict[str, float]()
        own = self._ends(readings[0])
        for number, reading in enumerate(readings):
            if number > COMPARED or share[number] < 0.001:
                break
            ends = self._ends(reading)
            if np.array_equal(ends, own):
                best += float(share[number])
            elif len(ends) and reading.target is None:
                label = self.graph.label(int(ends[0]))
                others[label] = others.get(label, 0.0) + float(share[number])
        ordered = sorted(others.items(), key=lambda pair: -pair[1])[: self.config.alternatives]
        return min(best, 1.0), tuple(Candidate(label, share) for label, share in ordered)

    def _ends(self, reading: Hypothesis) -> NDArray[np.int64]:
        ends = self.search.ends(reading.starts[0], reading.branches[0])
        for start, codes in list(zip(reading.starts, reading.branches, strict=True))[1:]:
            ends = np.intersect1d(ends, self.search.ends(start, codes))
        return ends

    def _hop_words(self, code: int) -> str:
        return step_words(self.table.relation(code), self.table.hops[code].inverse)

    def _as_of(self, at: Transaction) -> Transaction | None:
        return at if self.graph.store.capabilities.as_of else None
