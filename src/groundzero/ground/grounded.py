"""A model and a graph together: the graph decides what is true, the model how to say it.

    question -> link, search (`reason`) -> evidence: what the answer rests on among other statements, shuffled
             -> the model writes, copying names from the evidence (`speech`)
             -> what it wrote is read back (`claims`), and must be exactly what the graph says

What is not is withheld; the model says it anew, some times, and if it never says what the graph says, the sentence made
by rule stands in its place. So an answer is true to the graph whatever the model does, and the model's part is how it
reads.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pydantic import Field

from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import RelationId, Statement, StatementId
from groundzero.graph.phrasing import sayings
from groundzero.ground.answer import Answer, Evidence, Seconds
from groundzero.ground.claims import Told, entails, is_refusal, marked, read_claims
from groundzero.ground.lessons import Fact, named_in, noun_of
from groundzero.ground.query import Result, cited
from groundzero.ground.reason import Reasoner
from groundzero.ground.respond import as_asked, respond
from groundzero.ground.speech import Said, Speaker
from groundzero.ground.talk import is_talk, talk
from groundzero.settings import Settings


class GroundedSettings(Settings):
    """How evidence is shown, and what happens to answers that it does not bear out."""

    most_facts: int = Field(default=8, ge=1)
    """Statements shown to the model at once. An answer that rests on more is worded by rule."""
    fallback: bool = True
    """Withhold what the evidence does not entail and answer by rule instead; off is for examining the model."""
    attempts: int = Field(default=6, ge=1)
    """How often the model may say an answer until the evidence entails it. First the likeliest words count; then those
    that name nothing but what the answer rests on, the likeliest, then drawn ones. 1 where there is no fallback."""
    marks: bool = True
    """Tell the model which statements the answer rests on, and show those first; off, it has to find them."""
    meters: bool = True
    """Measure how much each channel moved the answer: two more passes of the model."""
    seed: int = 1337
    """Of the order in which evidence is shown."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What the model made of evidence."""

    said: Said
    facts: tuple[Fact, ...]
    told: Told | None
    """None where it was not understood."""
    entailed: bool
    """It says what the graph says: all of it, and nothing else."""
    first: Wording | None = None
    """The likeliest words, where they were not entailed and these are."""

    @property
    def alone(self) -> Wording:
        """What the model says with nothing withheld: the likeliest words."""
        return self.first or self

    @property
    def text(self) -> str:
        """As it was said, with citations where it was understood."""
        return self.said.text if self.told is None else marked(self.said, self.told)


class GroundedModel:
    """Asks a graph and lets a model word the answers.

    >>> with Graph.open("facts.db") as graph:
    ...     GroundedModel(Speaker(load_engine("runs/grounded")), graph).ask("What is the capital of Peru?").text

    Args:
        reasoner: over `graph`; a fresh one when None.
    """

    def __init__(
        self,
        speaker: Speaker,
        graph: Graph,
        *,
        settings: GroundedSettings | None = None,
        reasoner: Reasoner | None = None,
    ) -> None:
        self.speaker, self.graph = speaker, graph
        self.settings = settings or GroundedSettings.parse({})
        self.reasoner = reasoner or Reasoner(graph)

    def ask(self, question: str, *, history: Sequence[str] = (), channels: Collection[Channel] = CHANNELS) -> Answer:
        """An answer with citations, or a refusal with its reason; small talk is answered as such (`talk`).

        Args:
            history: questions and answers before this one, oldest first; "its" and the like may mean what they named.
            channels: ways in which the model gets facts.
        """
        if is_talk(question, self.reasoner):
            return talk(question, self.speaker, self.graph, self.reasoner)
        evidence, seconds = self.evidence(question, history)
        answer = as_asked(respond(evidence, self.graph, seconds), question)
        started = time.perf_counter()
        wording = self.word(evidence, channels)
        if wording is None:
            return answer
        spent = time.perf_counter() - started + answer.seconds.generate
        meters = (
            self.speaker.measure(evidence.question, wording.facts, wording.said, channels)
            if self.settings.meters
            else {}
        )
        answer = replace(
            answer,
            facts_retrieved=max(answer.facts_retrieved, len(wording.facts)),
            channels=meters,
            seconds=replace(answer.seconds, generate=spent),
        )
        if wording.entailed or not self.settings.fallback:
            return replace(answer, text=wording.text, tokens_generated=wording.said.tokens)
        return answer

    def word(self, evidence: Evidence, channels: Collection[Channel] = CHANNELS) -> Wording | None:
        """What the model makes of evidence; None where there is nothing to say, or more than it is shown at once."""
        return self.word_all([evidence], channels)[0]

    def word_all(self, found: Sequence[Evidence], channels: Collection[Channel] = CHANNELS) -> list[Wording | None]:
        """As `word`, for many at once: the engine answers them in one batch, and says anew what was not entailed."""
        facts = [self.facts_for(each) for each in found]
        worded: list[Wording | None] = [None] * len(found)
        for attempt in range(self.settings.attempts if self.settings.fallback else 1):
            open_ = [
                place for place, shown in enumerate(facts) if shown and not ((now := worded[place]) and now.entailed)
            ]
            if not open_:
                break
            asked = [(found[place].question, facts[place]) for place in open_]
            seed = self.settings.seed + attempt if attempt > 1 else None
            answers = self.speaker.say_all(asked, channels, seed=seed, from_marked=attempt > 0)
            for place, said in zip(open_, answers, strict=True):
                new, before = self._judged(found[place], facts[place], said), worded[place]
                worded[place] = new if before is None else replace(new, first=before) if new.entailed else before
        return worded

    def _judged(self, evidence: Evidence, facts: tuple[Fact, ...], said: Said) -> Wording:
        assert evidence.query is not None
        assert evidence.result is not None
        told = None if is_refusal(said) else read_claims(said, facts, self._sayings)
        entailed = told is not None and entails(evidence.query, evidence.result, told)
        return Wording(said, facts, told, entailed)

    def evidence(self, question: str, history: Sequence[str] = ()) -> tuple[Evidence, Seconds]:
        """What the graph says to a question, and where the time went; see `Reasoner.evidence`."""
        return self.reasoner.evidence(question, history)

    def facts_for(self, evidence: Evidence) -> tuple[Fact, ...]:
        """What the answer rests on, by its steps, and then statements that do not answer; in an order that says nothing
        where marks are off.

        None at all where there is no answer, or it rests on more than are shown at once.
        """
        if evidence.reason or evidence.query is None or evidence.result is None:
            return ()
        needed = list(cited(evidence.result))
        if not needed or len(needed) > self.settings.most_facts:
            return ()
        rng = random.Random(f"{self.settings.seed}:{evidence.question}")
        room = rng.randint(0, self.settings.most_facts - len(needed))
        steps = steps_of(evidence.result) if self.settings.marks else {}
        needed.sort(key=lambda statement: steps.get(statement.id, 0))
        chosen = [*needed, *self._others(needed, room, rng)]
        if not self.settings.marks:
            rng.shuffle(chosen)
        facts = [self._fact(each, steps.get(each.id, 0)) for each in chosen]
        return tuple(self._named(evidence, each) for each in facts)

    def _named(self, evidence: Evidence, fact: Fact) -> Fact:
        """The fact, knowing which of its ends the question means, by whatever name."""
        fact = named_in(evidence.question, fact)
        subject, _, object_ = fact.ends
        named = (fact.named[0] or subject in evidence.linked, fact.named[1] or object_ in evidence.linked)
        return replace(fact, named=named)

    def _others(self, needed: Sequence[Statement], room: int, rng: random.Random) -> list[Statement]:
        """Statements about the same things by other relations."""
        asked = {(each.subject, each.relation) for each in needed}
        ends = {each.subject for each in needed} | {each.object for each in needed if each.object is not None}
        pool = {
            statement.id: statement
            for entity in sorted(ends)
            for statement in self.graph.store.outgoing(entity)[:_PER_ENTITY]
            if (statement.subject, statement.relation) not in asked
        }
        taken = {each.id for each in needed}
        free = [statement for number, statement in sorted(pool.items()) if number not in taken]
        return rng.sample(free, k=min(room, len(free)))

    def _fact(self, statement: Statement, step: int) -> Fact:
        value = statement.literal.value if statement.literal is not None else ""
        return Fact(
            self.graph.label(statement.subject),
            noun_of(self.graph.relation(statement.relation)),
            value if statement.object is None else self.graph.label(statement.object),
            statement.id,
            (statement.subject, statement.relation, statement.object),
            step,
        )

    def _sayings(self, relation: RelationId) -> tuple[str, ...]:
        return _sayings(self.graph.relation(relation))


_PER_ENTITY = 50
"""Statements of one entity that distractors are drawn from."""
_sayings = lru_cache(maxsize=4096)(sayings)


def steps_of(result: Result) -> dict[StatementId, int]:
    """Which step each statement takes on the way to an answer, from 1; what is compared comes last."""
    steps: dict[StatementId, int] = {}
    for node, ways in result.answers.items():
        for way in ways:
            for step, statement in enumerate(way.statements, 1):
                steps.setdefault(statement.id, step)
        if node in result.compared:
            steps.setdefault(result.compared[node].id, max((len(way.statements) for way in ways), default=0) + 1)
    return steps
