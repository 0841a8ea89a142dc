"""Reading an answer back: which statements its sentences claim. No model does this, and none is believed.

Copied names are known exactly (`speech.Span`); what stands between them must be a way to say one relation
(`graph.phrasing`), or the answer is not understood. Each pair of names that a sentence brings together must then be one
of the facts that were given, so that a claim is always a statement:

    |Lima| is the capital of |Peru|. |Peru| shares border with |Chile| and |Bolivia|.        three claims
    Yes: ...    No: ...    3: A, B and C.    A with 5; B has 3.                              with what is said first
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from groundzero.graph.nouns import EntityId, Literal, RelationId, StatementId
from groundzero.graph.phrasing import for_many
from groundzero.ground.lessons import REFUSAL, Fact
from groundzero.ground.query import Node, Query, Result, cited
from groundzero.ground.speech import Said, Span

_FIRST = 0xE000
"""Private-use characters stand for spans; a text that holds some of its own is not understood."""
_SPAN = "[\ue000-\uf8ff]"
_LIST = f"{_SPAN}(?:(?:, {_SPAN})* and {_SPAN})?"
_LEAD = re.compile(r"(Yes|No|\d+): ")
_COMPARED = re.compile(f"({_SPAN}) with ({_SPAN}); ({_SPAN}) has ({_SPAN})")
Sayings = Callable[[RelationId], Sequence[str]]
"""All sentences that say a relation (`graph.phrasing.sayings`)."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer comes to."""

    lead: str
    """Yes, No or a number, where it begins with one."""
    claims: tuple[Fact, ...]
    """The facts it states, in order, each once."""
    listed: tuple[Span, ...] = ()
    """Names behind a number that stand for the facts they were copied from, without a sentence."""


def read_claims(said: Said, facts: Sequence[Fact], sayings: Sayings) -> Told | None:
    """What an answer claims; None where it is not understood, or claims what no fact says.

    Args:
        facts: what the answer was given to speak from.
    """
    if not said.ended or not said.spans or re.search(_SPAN, said.text):
        return None
    text, at = "", 0
    for place, span in enumerate(said.spans):
        if span.start < at or said.text[span.start : span.end] != span.text or _FIRST + place > 0xF8FF:
            return None
        text += said.text[at : span.start] + chr(_FIRST + place)
        at = span.end
    text += said.text[at:]
    lead = _LEAD.match(text)
    claims: dict[Fact, None] = {}
    listed: list[Span] = []
    for sentence in re.split(r"(?<=\.) ", text[lead.end() if lead else 0 :]):
        whole = sentence.removesuffix(".")
        names = _listed(whole, said.spans) if lead and lead.group(1).isdigit() else []
        found = [each.fact for each in names] or _claims_of(whole, said.spans, facts, sayings)
        if found is None:
            return None
        listed += names
        claims |= dict.fromkeys(found)
    return Told(lead.group(1) if lead else "", tuple(claims), tuple(listed))


def is_refusal(said: Said) -> bool:
    """Whether the model says that it does not know."""
    return said.text.startswith(REFUSAL)


def entails(query: Query, result: Result, told: Told) -> bool:
    """Whether what is told is what a query led to: all of it, and nothing else."""
    claimed = {fact.statement for fact in told.claims}
    kind = None if query.aggregate is None else query.aggregate.kind
    expected = {"count": str(result.number), "exists": "Yes" if result.holds else "No"}.get(kind or "", "")
    if kind in ("max", "min") or told.lead != expected or result.truncated:
        return False
    if told.listed and {_node(span) for span in told.listed} != {_plain(node) for node in result.answers}:
        return False  # "1: Holt" of the country of Holt: the right fact, and its wrong end
    needed: set[StatementId] = {each.id for each in cited(result)}
    return bool(needed) and claimed == needed


def _node(span: Span) -> EntityId | str:
    """What a copied name stands for: an entity, or the text of a value."""
    subject, _, object_ = span.fact.ends
    return subject if span.is_subject else span.text if object_ is None else object_


def _plain(node: Node) -> EntityId | str:
    return node.value if isinstance(node, Literal) else node


def marked(said: Said, told: Told) -> str:
    """The text with the statement behind the last name of each claim, `Lima is the capital of Peru [S12].`; of names in
    a list, behind each: `Chile [S1] and Bolivia [S2] share a border with Peru.`"""
    subjects, objects = Counter(each.subject for each in told.claims), Counter(each.object for each in told.claims)
    marks: dict[int, list[int]] = {}
    for fact in told.claims:
        shared = {name for name, count in ((fact.subject, subjects), (fact.object, objects)) if count[name] > 1}
        spans = [span for span in said.spans if span.text in (fact.subject, fact.object)]
        own = [span for span in spans if span.text not in shared] or spans
        exact = [span for span in own if span.fact.statement == fact.statement] or own
        marks.setdefault(max(span.end for span in exact), []).append(fact.statement)
    text, at = "", 0
    for end, statements in sorted(marks.items()):
        text += said.text[at:end] + " " + "".join(f"[S{number}]" for number in statements)
        at = end
    return text + said.text[at:]


def _listed(sentence: str, spans: Sequence[Span]) -> list[Span]:
    """The names behind `3: `; none where the sentence is more than a list of names."""
    if not re.fullmatch(_LIST, sentence):
        return []
    return [spans[ord(character) - _FIRST] for character in re.findall(_SPAN, sentence)]


def _claims_of(sentence: str, spans: Sequence[Span], facts: Sequence[Fact], sayings: Sayings) -> list[Fact] | None:
    """The facts that one sentence states; None where there is no way to read it as facts that were given."""

    def span(character: str) -> Span:
        return spans[ord(character) - _FIRST]

    here = [span(character) for character in re.findall(_SPAN, sentence)]
    if not here:
        return None
    compared = _COMPARED.fullmatch(sentence)
    if compared:
        pairs = [(span(compared[1]).text, span(compared[2]).text), (span(compared[3]).text, span(compared[4]).text)]
        return _stated(pairs, here[0].fact.ends[1], facts)
    for relation in dict.fromkeys(each.fact.ends[1] for each in here):
        for template, many in _also_of_many(sayings(relation)):
            for subjects, objects in _readings(template, sentence):
                if many is not None and many != (len(subjects if template.startswith("{subject}") else objects) > 1):
                    continue  # "A are the capital of B": true, and not let through like this
                pairs = [(span(one).text, span(other).text) for one, other in product(subjects, objects)]
                found = _stated(pairs, relation, facts)
                if found is not None:
                    return found
    return None


def _also_of_many(templates: Sequence[str]) -> Iterator[tuple[str, bool | None]]:
    """Each sentence, and where its verb has another form when it begins with a list, that too.

    With each: whether it begins with several; None where that changes nothing.
    """
    for template in templates:
        plural = next((many for end in ("{subject}", "{object}") if (many := for_many(template, end)) != template), "")
        yield template, False if plural else None
        if plural:
            yield plural, True


def _readings(template: str, sentence: str) -> Iterator[tuple[list[str], list[str]]]:
    """Subjects and objects of a sentence by a template: one of either is alone. `A and B and C` has two readings."""
    for one, other in ((f"({_SPAN})", f"({_LIST})"), (f"({_LIST})", f"({_SPAN})")):
        pattern, order = "", []
        for part in re.split(r"(\{subject\}|\{object\})", template.rstrip(". ")):
            if part in ("{subject}", "{object}"):
                order.append(part)
                pattern += one if part == "{subject}" else other
            else:
                pattern += re.escape(part)
        if sorted(order) != ["{object}", "{subject}"]:
            return
        for case in (pattern, pattern[:1].upper() + pattern[1:]):
            match = re.fullmatch(case, sentence)
            if match:
                sides = dict(zip(order, (re.findall(_SPAN, part) for part in match.groups()), strict=True))
                yield sides["{subject}"], sides["{object}"]
                break


def _stated(pairs: Sequence[tuple[str, str]], relation: RelationId, facts: Sequence[Fact]) -> list[Fact] | None:
    """The given facts that say these pairs; None where one of them is not said."""
    known: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        if fact.ends[1] == relation:
            known.setdefault((fact.subject, fact.object), fact)
    found = [known.get(pair) for pair in pairs]
    return [fact for fact in found if fact is not None] if all(found) else None
