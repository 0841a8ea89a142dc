"""Lessons and live questions as token ids: what the network reads, what it is to say, and where it is to copy.

    <|user|> <KNOW> [1] Lima | capital of | Peru        the facts, where the prompt channel is open: those that
             <KNOW> [2] ...                             reasoning marked, and the others
    <SEP> What is the capital of Peru? <|end|>
    <|assistant|> The capital of |Peru| is |Lima| . <|end|>

Where a model reads facts apart (`KnowledgeConfig.isolate_facts`), each fact is an island (`model.islands`). There is no
"before" then that could tell marked facts from others: each of the others has a <KNOW> of its own in front.

Every piece is encoded by itself, so that a copied span has exactly the ids of one of its fact's surfaces
(`generate.evidence.surface_forms`), with the space in front of it inside. Texts of facts and of users are data:
names of control tokens in them stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.ground.lessons import Copied, Fact, Lesson
from groundzero.ground.marks import marks_of
from groundzero.model import facts as network
from groundzero.model.copying import OBJECT, SUBJECT, UNTAUGHT, slot_of
from groundzero.model.islands import MAINLAND
from groundzero.tokenizer import Tokenizer
from groundzero.tokenizer.chat import template

FORM = "chat"
"""How turns are framed."""
Vectors = Callable[[Fact], "npt.NDArray[np.float32] | None"]
"""The graph's embeddings of a fact's subject, relation and object, one after the other; None where it has none."""


@dataclass(frozen=True, eq=False)
class Exercise:
    """A lesson as the network takes it. The lists are aligned: one entry for each token."""

    ids: list[int]
    learnt: list[bool]
    """Whether the next-token loss counts it."""
    starts: list[tuple[int, ...]]
    """The slots (`slot_of`) that are right where a copied span begins with this token; (UNTAUGHT,) where the gate is
    not to learn; else empty."""
    facts: tuple[network.Fact, ...]
    islands: list[int] | None = None
    """Of each token, where facts are read apart."""


class Prompt(NamedTuple):
    """What an answer is asked for with."""

    ids: list[int]
    islands: list[int] | None
    """Of each token, where facts are read apart."""


def question_ids(tokenizer: Tokenizer, question: str, shown: Sequence[Fact]) -> list[int]:
    """A user's turn and what opens the answer; `shown` facts stand in it, numbered from 1, marked ones in front."""
    return question_prompt(tokenizer, question, shown).ids


def question_prompt(
    tokenizer: Tokenizer, question: str, shown: Sequence[Fact], *, isolate_facts: bool = False
) -> Prompt:
    """As `question_ids`, with the island of each token where facts are to be read apart."""
    form = template(FORM)
    ids = tokenizer.encode(form.before["user"], control=True)
    islands = [MAINLAND] * len(ids)
    if shown:
        ids.append(tokenizer.know_id)
        islands.append(MAINLAND)
        marked = next((place for place, fact in enumerate(shown) if not fact.step), len(shown))
        for number, fact in enumerate(shown, 1):
            if number == marked + 1 or (number > marked and isolate_facts):
                ids.append(tokenizer.know_id)
            ids += _fact_ids(tokenizer, number, fact)
            islands += [number] * (len(ids) - len(islands))
        ids.append(tokenizer.sep_id)
    ids += tokenizer.encode(question)
    ids += tokenizer.encode(form.after["user"] + form.before["assistant"], control=True)
    islands += [MAINLAND] * (len(ids) - len(islands))
    return Prompt(ids, islands if isolate_facts else None)


def network_facts(
    tokenizer: Tokenizer,
    facts: Sequence[Fact],
    channels: Collection[Channel] = CHANNELS,
    vectors: Vectors | None = None,
) -> tuple[network.Fact, ...]:
    """Facts for the knowledge layers: texts as they stand behind a space, their numbers, and what is known of them.

    Behind them stands one that says nothing: attention over facts must go somewhere, and what goes there tells the
    network that no fact fits.
    """

    def ids(text: str) -> list[int]:
        return tokenizer.encode(f" {text}")

    def vector(fact: Fact) -> Tensor | None:
        found = None if vectors is None else vectors(fact)
        return None if found is None else torch.from_numpy(found)

    known = tuple(
        network.Fact(
            ids(fact.subject),
            ids(fact.relation),
            ids(fact.object),
            number=number,
            vectors=vector(fact),
            marks=marks,
            readable="attention" in channels,
        )
        for number, (fact, marks) in enumerate(zip(facts, marks_of(facts), strict=True), 1)
    )
    return (*known, network.Fact((), (), (), readable="attention" in channels)) if known else ()


def exercise(
    lesson: Lesson,
    tokenizer: Tokenizer,
    channels: Collection[Channel] = CHANNELS,
    vectors: Vectors | None = None,
    *,
    isolate_facts: bool = False,
) -> Exercise:
    """A lesson with some of the channels open.

    Where copying is open, copied spans are the copy head's to learn, and the network need not spell them; where it is
    closed, it does.
    """
    copying = "copy" in channels
    shown = lesson.facts if "prompt" in channels else ()
    ids, islands = question_prompt(tokenizer, lesson.question, shown, isolate_facts=isolate_facts)
    learnt = [False] * len(ids)
    starts: list[tuple[int, ...]] = [()] * len(ids)
    used: set[int] = set()
    untaught: tuple[int, ...] = () if copying else (UNTAUGHT,)
    for piece_ids, copied in answer_ids(lesson, tokenizer):
        slots = _slots(lesson, copied, used) if copied is not None and copying and piece_ids else ()
        span = bool(slots)
        ids += piece_ids
        learnt += [not span] * len(piece_ids)
        starts += [untaught] * len(piece_ids)
        if span:
            starts[len(ids) - len(piece_ids)] = slots
            used.add(slots[0])
    end = tokenizer.encode(template(FORM).after["assistant"], control=True)
    # Vectors are of things that exist; lessons without them teach to do without, as with a fact added since.
    vectors = None if lesson.made_up else vectors
    facts = network_facts(tokenizer, lesson.facts, channels, vectors) if set(channels) & {"attention", "copy"} else ()
    ids += end
    if islands is not None:
        islands += [MAINLAND] * (len(ids) - len(islands))
    return Exercise(ids, learnt + [True] * len(end), starts + [untaught] * len(end), facts, islands)


def answer_ids(lesson: Lesson, tokenizer: Tokenizer) -> list[tuple[list[int], Copied | None]]:
    """The pieces of an answer as ids; a space before a copied piece is the first character of the piece."""
    pieces: list[tuple[str, Copied | None]] = []
    for piece in lesson.answer:
        if isinstance(piece, str):
            pieces.append((piece, None))
            continue
        before = pieces[-1][0] if pieces and pieces[-1][1] is None else ""
        if before.endswith(" "):
            pieces[-1] = (before[:-1], None)
            pieces.append((f" {piece.text}", piece))
        else:
            pieces.append((piece.text, piece))
    return [(tokenizer.encode(text), copied) for text, copied in pieces if text]


def _fact_ids(tokenizer: Tokenizer, number: int, fact: Fact) -> list[int]:
    parts = (f"[{number}]", f" {fact.subject}", " |", f" {fact.relation}", " |", f" {fact.object}", "\n")
    return [token for part in parts for token in tokenizer.encode(part)]


def _slots(lesson: Lesson, copied: Copied, used: Collection[int]) -> tuple[int, ...]:
    """The slot that a span was taken from, and equal ones of other facts that the answer cites; none used before."""
    cited = {piece.fact for piece in lesson.answer if isinstance(piece, Copied)}
    own = slot_of(copied.fact, SUBJECT if copied.role == "subject" else OBJECT)
    equal = [
        slot_of(place, role)
        for place in sorted(cited)
        for role, text in ((SUBJECT, lesson.facts[place].subject), (OBJECT, lesson.facts[place].object))
        if text == copied.text
    ]
    return tuple(slot for slot in dict.fromkeys((own, *equal)) if slot not in used)
