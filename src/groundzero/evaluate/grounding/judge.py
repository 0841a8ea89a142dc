"""Whether an answer is right: decided by its words and the graph, never by what the model or the system thinks of it.

Right is an answer that

    is no refusal,
    begins with the verdict or number that is right, where the question asks for one, and else with none,
    names every right answer (gold, from the graph), by a label or alias of it, as whole words,
    states nothing that is not so,
    and comes to the right answers only: whatever ends a chain of its claims, and is not named in the question, is one.

What it states is read back, sentence by sentence: as `ground.claims` reads it, else by the ways to say each relation in
question. Every claim is then looked up in the graph by the names in it:

    supported       the graph says it, whether or not the evidence did
    contradicted    the graph gives this subject other objects only, by a relation of which nearly all have one
    unverifiable    neither; so is whatever cannot be read as claims at all

One claim that is not supported makes an answer wrong, however many names it gets right. Where the model was shown no
facts (closed book) there is nothing to read its words by, and the judge is milder, in favour of the model without a
graph: it is right unless it names another thing that the relation leads to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from groundzero.evaluate.grounding.questions import Question, whole
from groundzero.evaluate.grounding.reading import Reader, Triple
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, Literal, RelationId
from groundzero.ground.answer import Evidence
from groundzero.ground.claims import is_refusal
from groundzero.ground.lessons import Fact
from groundzero.ground.speech import Said

Standing = OneOf["supported", "contradicted", "unverifiable"]
FUNCTIONAL = 0.05
"""A relation of which at most this share of subjects has a second object: another object then contradicts."""
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MARK = re.compile(r"\s*\[S\d+\]")


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that an answer states, and what the graph says to it."""

    text: str
    triple: Triple | None
    """None where it could not be read."""
    standing: Standing


@dataclass(frozen=True, slots=True)
class Mark:
    """What an answer is worth."""

    refused: bool
    named: bool
    """Every right answer is named."""
    led: bool
    """It begins as it must."""
    claims: tuple[Claim, ...]
    right: bool


class Judge:
    """Marks answers against one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._second: dict[RelationId, float] | None = None

    def mark(self, question: Question, said: Said, facts: Sequence[Fact]) -> Mark:
        """What a model's own words are worth.

        Args:
            facts: what it was shown; none in a closed book.
        """
        text = _MARK.sub("", said.text)
        refused = is_refusal(said)
        named = all(any(whole(name).search(text) for name in names) for names in question.names)
        led = self._is_led(question, text)
        claims = () if refused or not said.ended else self.claims(question, replace(said, text=text), facts)
        if facts:
            bare = question.row == "verdict" and re.fullmatch(r"(yes|no)\W*", text.strip(), re.IGNORECASE) is not None
            supported = all(each.standing == "supported" for each in claims)
            true = supported and (bool(claims) or bare) and _comes_to(question, claims)
        else:
            true = not any(each.standing == "contradicted" for each in claims) and not self._names_another(
                question, text
            )
        return Mark(refused, named, led, claims, said.ended and not refused and named and led and true)

    def by_rule(self, question: Question, evidence: Evidence) -> bool:
        """Whether what reasoning found is right: exactly the right answers, none missing and none besides."""
        result = evidence.result
        if evidence.reason or result is None:
            return False
        if question.row == "verdict":
            return result.holds is not None and result.holds == (question.lead == "Yes")
        if question.row == "count" and str(result.number) != question.lead:
            return False
        return result.holds is None and set(result.answers) == set(question.answers)

    def claims(self, question: Question, said: Said, facts: Sequence[Fact]) -> tuple[Claim, ...]:
        """Everything that an answer states; a sentence that cannot be read is one claim."""
        relations = [fact.ends[1] for fact in facts]
        relations += [found for step in question.query.branch.steps
                      if (found := self._graph.store.find_relation(step.relation)) is not None]  # fmt: skip
        reader = Reader(self._graph, dict.fromkeys(relations))
        best: tuple[Claim, ...] = ()
        for reading in reader.readings(said, facts, [name for names in question.names for name in names]):
            weighed = [self._weighed(text, triples) for text, triples in reading]
            flat = tuple(claim for claims in weighed for claim in claims)
            if flat and all(claim.standing == "supported" for claim in flat):
                return flat
            if not best or _doubts(flat) < _doubts(best):
                best = flat
        return best

    def _weighed(self, text: str, triples: Sequence[Triple]) -> list[Claim]:
        if not triples:
            return [Claim(text, None, "unverifiable")]
        return [Claim(text, triple, self.standing(triple)) for triple in triples]

    def standing(self, triple: Triple) -> Standing:
        """What the graph says to a claim, by the names in it."""
        subjects = self._graph.store.named(triple.subject)
        said = [each for subject in subjects for each in self._graph.store.outgoing(subject, triple.relation)]
        objects: set[EntityId] = set(self._graph.store.named(triple.object)) if said else set()
        for each in said:
            if each.object in objects or (each.literal is not None and each.literal.value == triple.object):
                return "supported"
        if said and self.has_one_object(triple.relation):
            return "contradicted"
        return "unverifiable"

    def has_one_object(self, relation: RelationId) -> bool:
        """Whether nearly every subject of a relation has one object by it."""
        if self._second is None:
            objects: dict[RelationId, dict[EntityId, set[object]]] = {}
            for each in self._graph.store.statements():
                ends = objects.setdefault(each.relation, {}).setdefault(each.subject, set())
                ends.add(each.object if each.literal is None else each.literal.value)
            self._second = {
                key: sum(len(ends) > 1 for ends in found.values()) / len(found) for key, found in objects.items()
            }
        return self._second.get(relation, 1.0) <= FUNCTIONAL

    @staticmethod
    def _is_led(question: Question, text: str) -> bool:
        if not question.lead:
            lead = re.match(r"(?:Yes|No|\d+):", text)
            return lead is None or any(name.startswith(lead.group()) for name in question.path)
        if question.row == "verdict":
            first = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
            return first is not None and first[1].capitalize() == question.lead
        for name in sorted((name for names in question.names for name in names), key=len, reverse=True):
            text = whole(name).sub("", text)
        words = (word for word in re.findall(r"\w+", text.lower()) if word.isdigit() or word in _NUMBERS)
        number = next(words, "")
        return (str(_NUMBERS.index(number)) if number in _NUMBERS else number) == question.lead

    def _names_another(self, question: Question, text: str) -> bool:
        """Whether something else is named that the last hop leads to, and that question and gold path do not name."""
        store, step = self._graph.store, question.step
        relation = store.find_relation(step.relation)
        allowed = {name for names in question.names for name in names} | question.path
        rest = text
        for name in sorted(allowed, key=len, reverse=True):
            rest = whole(name).sub("", rest)
        if any(isinstance(node, Literal) for node in question.answers):
            return any(word not in question.text for word in re.findall(r"\w*\d\w*", rest))
        for mention in self._graph.mentions(rest, overlapping=True):
            if whole(mention.surface).search(question.text):
                continue
            for entity in mention.entities:
                found = self._graph.entity(entity)
                others = store.outgoing(entity, relation) if step.inverse else store.incoming(entity, relation, limit=1)
                if others and mention.surface in (found.label, *found.aliases):
                    return True
        return False


def _comes_to(question: Question, claims: Sequence[Claim]) -> bool:
    """Whether claims lead to right answers and nowhere else: a true answer to another question is none.

    A verdict may have whatever reasons there are, but they must be about what was asked about.
    """
    right = {name for names in question.names for name in names}
    named = Counter(end for claim in claims if claim.triple for end in (claim.triple.subject, claim.triple.object))
    ends = (name for name, count in named.items() if count == 1 and not whole(name).search(question.text))
    if question.row == "verdict":
        return not claims or question.about in named
    return all(name in right for name in ends)


def _doubts(claims: Sequence[Claim]) -> tuple[int, int]:
    """How much of a reading the graph does not say: the kindest reading is what was meant."""
    wrong = sum(each.standing == "contradicted" for each in claims)
    return sum(each.standing != "supported" for each in claims), wrong
