"""Documents that say the facts: portraits, comparisons, lists, questions, talks, riddles and small stories.

Every fact is told at least once, in the portrait of its subject; further documents tell it again in other words. The
order and every choice follow from the seed, so the same seed gives the same bytes on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache

from groundzero.data.embedded import sentences as say
from groundzero.data.embedded.phrases import fill, sentence, words
from groundzero.data.embedded.tables import entities, relations

# Portraits are cut after this many sentences, so that a text ends well within a small model's context.
LONGEST_PORTRAIT = 7

# How many documents of each kind; together with the portraits about 1.6 MB.
N_DOCUMENTS = {
    "portrait": 800,
    "comparison": 900,
    "members": 800,
    "questions": 1200,
    "talk": 1300,
    "riddle": 600,
    "story": 800,
}


def documents(seed: int = 0) -> Iterator[str]:
    """Every fact in varied prose and short dialogues, 1-3 MB in all, portraits and the rest mixed."""
    rng = random.Random(seed)
    texts = [text for subject in _subjects() for text in _portraits(rng, subject)]
    for kind, count in N_DOCUMENTS.items():
        texts += [_WRITERS[kind](rng) for _ in range(count)]
    texts = list(dict.fromkeys(texts))
    rng.shuffle(texts)
    yield from texts


@cache
def _subjects() -> tuple[str, ...]:
    """Entities with a portrait of their own: those that are the subject of a fact."""
    return tuple(say.objects_of())


@cache
def _subjects_by_type() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for subject in _subjects():
        table.setdefault(entities()[subject].type, []).append(subject)
    return table


def _portraits(rng: random.Random, subject: str) -> list[str]:
    """All facts about the subject, in as many portraits as they need."""
    told = [
        (relation, part)
        for relation, objects in say.objects_of()[subject].items()
        for part in say.shorten(rng, objects)
    ]
    told = told[:1] + rng.sample(told[1:], len(told) - 1)
    n_parts = -(-len(told) // (LONGEST_PORTRAIT - 1))
    return [_portrait(rng, subject, told[part::n_parts]) for part in range(n_parts)]


def _portrait(rng: random.Random, subject: str, told: list[tuple[str, list[str]]]) -> str:
    """A lead sentence, the facts by name or pronoun, and what the other side says of the subject."""
    lead = rng.choice(say.frames()["types"][entities()[subject].type]["lead"])
    lines = [fill(lead, {"s": [words(subject)]})]
    for relation, objects in told:
        pronoun = rng.random() < 0.7
        line = say.tell(rng, subject, relation, objects, pronoun=pronoun)
        if pronoun and rng.random() < 0.15:
            line = rng.choice(say.frames()["connectives"]) + line
        lines.append(line)
    for relation, subjects in say.subjects_of().get(subject, {}).items():
        # A literal may read like the subject's key: "C" is a language, and the symbol of carbon.
        tellable = "inverse" in say.templates()[relation] and not relations()[relation].literal
        if tellable and len(lines) <= LONGEST_PORTRAIT:
            lines.append(say.tell_inverse(rng, relation, subjects[: say.LONGEST_LIST], subject))
    return _prose(lines)


def _random_portrait(rng: random.Random) -> str:
    subject = rng.choice(_subjects())
    return rng.choice(_portraits(rng, subject))


def _comparison(rng: random.Random) -> str:
    """Two entities of one type, side by side in the relations they share."""
    one, other, shared = _pair(rng)
    frames = say.frames()
    lines = [fill(rng.choice(frames["compare_intro"]), {"a": words(one).phrase, "b": words(other).phrase})]
    for relation in rng.sample(shared, min(len(shared), rng.randint(2, 4))):
        left, right = (say.objects_of()[key][relation][:3] for key in (one, other))
        first = say.tell(rng, one, relation, left).removesuffix(".")
        second = say.tell(rng, other, relation, right)
        lines.append(first + rng.choice(frames["contrasts"] if left != right else [", and "]) + second)
        if left == right and rng.random() < 0.5:
            lines.append(rng.choice(frames["same"]))
    return _prose(lines)


def _pair(rng: random.Random) -> tuple[str, str, list[str]]:
    """Two entities of one type that share at least two relations."""
    while True:
        one = rng.choice(_subjects())
        other = rng.choice(_subjects_by_type()[entities()[one].type])
        table = say.objects_of()
        shared = [relation for relation in table[one] if relation in table[other]]
        if one != other and len(shared) >= 2:
            return one, other, shared


def _members(rng: random.Random) -> str:
    """Which entities share something: one list, sometimes two."""
    frames = say.frames()
    relation, groups = rng.choice(_groups())
    chosen = rng.sample(groups, min(len(groups), rng.randint(1, 3)))
    topic = say.topic_of(chosen[0][1][0])
    lines = [fill(rng.choice(frames["list_intro"]), {"topic": topic})]
    for object_, subjects in chosen:
        some = rng.sample(subjects, min(len(subjects), rng.randint(2, 4)))
        lines.append(say.tell_members(rng, relation, some, object_))
    if rng.random() < 0.6:
        lines.append(fill(rng.choice(frames["list_end"]), {"topic": topic}))
    return _prose(lines)


@cache
def _groups() -> tuple[tuple[str, list[tuple[str, list[str]]]], ...]:
    """(relation, [(object, subjects of one type that share it)]) for relations that can be told so."""
    table: dict[tuple[str, str], list[tuple[str, list[str]]]] = {}
    for object_, table_of in say.subjects_of().items():
        for relation, subjects in table_of.items():
            if "members" not in say.templates()[relation]:
                continue
            kinds: dict[str, list[str]] = {}
            for subject in subjects:
                kinds.setdefault(entities()[subject].type, []).append(subject)
            for kind, alike in kinds.items():
                if len(alike) >= 2:
                    table.setdefault((relation, kind), []).append((object_, alike))
    return tuple((relation, groups) for (relation, _), groups in table.items())


def _questions(rng: random.Random) -> str:
    """Two to four questions with their answers, about one subject or several."""
    n_questions = rng.randint(2, 4)
    if rng.random() < 0.5:
        asked = _interview(rng, rng.choice(_subjects()), n_questions)
    else:
        asked = [pair for _ in range(n_questions) for pair in _interview(rng, rng.choice(_subjects()), 1)]
    return "\n".join(f"Question: {sentence(question)}\nAnswer: {sentence(answer)}" for question, answer in asked)


def _talk(rng: random.Random) -> str:
    """A short talk between a user and an assistant about one subject."""
    subject = rng.choice(_subjects())
    frames, topic = say.frames(), say.topic_of(subject)
    turns = []
    if rng.random() < 0.5:
        turns.append(rng.choice(frames["greetings"]))
    for question, answer in _interview(rng, subject, rng.randint(1, 3)):
        turns.append({"user": question, "assistant": answer})
    if rng.random() < 0.5:
        turns.append(rng.choice(frames["farewells"]))
    return "\n".join(
        f"User: {_said(turn['user'], topic)}\nAssistant: {_said(turn['assistant'], topic)}" for turn in turns
    )


def _said(text: str, topic: str) -> str:
    return sentence(text.replace("{topic}", topic))


def _interview(rng: random.Random, subject: str, most: int) -> list[tuple[str, str]]:
    """At most so many questions about the subject, each about another relation, with their answers."""
    relations = list(say.objects_of()[subject])
    return [_question(rng, subject, relation) for relation in rng.sample(relations, min(most, len(relations)))]


def _question(rng: random.Random, subject: str, relation: str) -> tuple[str, str]:
    """A question about the subject, from its own side or from the object's, and the answer."""
    objects = say.objects_of()[subject][relation]
    if "ask_inverse" in say.templates()[relation] and rng.random() < 0.4:
        object_ = rng.choice(objects)
        subjects = say.subjects_of()[object_][relation][: say.LONGEST_LIST]
        return say.ask_inverse(rng, relation, object_), say.tell_inverse(rng, relation, subjects, object_)
    part = say.shorten(rng, objects)[0]
    return say.ask(rng, subject, relation), say.tell(rng, subject, relation, part)


def _riddle(rng: random.Random) -> str:
    """Clues in the first person, and who speaks."""
    frames = say.frames()
    while True:
        subject = rng.choice(_subjects())
        clues = [item for item in say.objects_of()[subject].items() if "clue" in say.templates()[item[0]]]
        if len(clues) >= 2:
            break
    lines = [rng.choice(frames["riddle_intro"])]
    for relation, objects in rng.sample(clues, min(len(clues), rng.randint(2, 4))):
        lines.append(say.clue(rng, subject, relation, objects[:3]))
    kind = entities()[subject].type
    lines.append(rng.choice(frames["riddle_end"]))
    slot = "{s.a}" if kind in ("animal", "instrument", "shape", "solid") else "{s}"
    lines.append(fill(f"I am {slot}.", {"s": [words(subject)]}))
    return _prose(lines)


def _story(rng: random.Random) -> str:
    """Someone reads, writes, asks or plays, and meets two or three facts on the way."""
    frames = say.frames()
    subject = rng.choice([subject for subject in _subjects() if len(say.objects_of()[subject]) >= 2])
    name, she = rng.choice(frames["names"])
    story = rng.choice(frames["stories"])
    slots = {"name": name, "she": she, "topic": say.topic_of(subject), "s": [words(subject)]}
    lines = [fill(line, slots) for line in story["open"]]
    for line, (question, answer) in zip(story["tell"], _interview(rng, subject, rng.randint(2, 3)), strict=False):
        told = {"fact": sentence(answer), "question": sentence(question), "answer": sentence(answer)}
        lines.append(fill(line, {**slots, **told}))
    lines += [fill(line, slots) for line in story["close"]]
    return _prose(lines)


def _prose(lines: list[str]) -> str:
    return " ".join(sentence(line) for line in lines)


_WRITERS: dict[str, Callable[[random.Random], str]] = {
    "portrait": _random_portrait,
    "comparison": _comparison,
    "members": _members,
    "questions": _questions,
    "talk": _talk,
    "riddle": _riddle,
    "story": _story,
}
