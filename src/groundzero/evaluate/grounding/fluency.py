"""How answers read: how surprising the model finds good ones, in how many ways it says things, and samples to judge by.

held-out loss   nats a token of the answers of lessons about held-out entities, facts shown: what is not copied,
                with every channel open; and all of it, with copying closed
phrasings       the model's own words with names taken out; those that differ are counted, over all, and for each
                    relation that an answer comes to in the end
sentences       a capital or a name first, a full stop last, words between the names, nothing said twice in a row
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from groundzero.evaluate.grounding.amounts import Amounts
from groundzero.evaluate.grounding.measures import Measure, Section, share
from groundzero.evaluate.grounding.replies import reply, worded
from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.ground.classes import LessonLoader
from groundzero.ground.config import ChannelSettings
from groundzero.ground.lessons import Kind, Lesson
from groundzero.ground.names import made_up
from groundzero.ground.speech import Said
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.train.evaluate import evaluate

_KINDS: tuple[Kind, ...] = ("one", "two", "inverse", "list", "three", "yes", "no", "count", "compare")
_BATCH = 16
"""Lessons in one forward pass, about."""
_NAME = "…"
"""Stands for a name."""
_INVENTED = 7
"""Of so many samples one is about nothing that there is."""
_SHOWN = 10
"""Most frequent phrasings that are kept."""
_REPEATED = re.compile(r"\b(\w+(?: \w+){1,6})[ ,.;]+\1\b", re.IGNORECASE)


def work(settings: ExamSettings) -> int:
    """Answers."""
    return settings.amounts.phrasings


def examine_fluency(exam: Exam, amounts: Amounts) -> Section:
    """Loss, phrasings, sentences and samples."""
    started = time.perf_counter()
    asked = [reply(exam.model, each.question) for each in _lessons(exam, amounts.phrasings, _KINDS)]
    wordings = [each.wording for each in worded(exam, exam.model, asked) if each.wording is not None]
    said = [each.said for each in wordings]
    ways: dict[str, int] = {}
    relations: dict[int, set[str]] = {}
    for wording in wordings:
        way = skeleton(wording.said)
        ways[way] = ways.get(way, 0) + 1
        last = max(wording.facts, key=lambda fact: fact.step)
        relations.setdefault(last.ends[1], set()).add(way)
    per_relation = [len(found) for found in relations.values()]
    n = len(relations)
    measures = (
        *_losses(exam, amounts.held_out),
        Measure("distinct phrasings", float(len(ways)), len(said), "phrasings"),
        Measure("distinct phrasings of a relation, mean", sum(per_relation) / max(1, n), n, "phrasings"),
        share("answers that read as full sentences", sum(map(is_sentences, said)), len(said)),
    )
    often = sorted(ways.items(), key=lambda pair: -pair[1])[:_SHOWN]
    details: dict[str, Any] = {"most_frequent": dict(often), "samples": samples(exam, amounts.samples)}
    return Section("fluency", "Fluency", measures, time.perf_counter() - started, details)


def skeleton(said: Said) -> str:
    """What was said without its names and numbers."""
    text, at = "", 0
    for span in said.spans:
        text += said.text[at : span.start] + _NAME
        at = max(at, span.end)
    text += said.text[at:]
    return re.sub(rf"{_NAME}(?:, {_NAME})*(?: and {_NAME})", _NAME, re.sub(r"\d+", "0", text)).strip()


def is_sentences(said: Said) -> bool:
    """Whether an answer reads as sentences from beginning to end."""
    text = said.text.strip()
    way = skeleton(said)
    if not said.ended or not text or text[-1] not in ".!?" or _REPEATED.search(way):
        return False
    begins = way[0].isupper() or way[0] in (_NAME, "0")
    return begins and all(_is_sentence(part) for part in re.split(r"(?<=[.!?]) ", way))


def _is_sentence(part: str) -> bool:
    """A stretch up to a full stop: a word beside the names, and no name right behind another."""
    bare = part.replace(_NAME, " ")
    return bool(re.search(r"[^\W\d_]{2,}", bare)) and not re.search(rf"{_NAME}\s*{_NAME}", part)


def samples(exam: Exam, count: int) -> list[dict[str, str]]:
    """Questions of every kind with answers as they are given, and whether they were refused."""
    found: list[dict[str, str]] = []
    rng = exam.rng("samples")
    for number, lesson in enumerate(_lessons(exam, count, _KINDS)):
        subject = lesson.facts[0].subject
        question = lesson.question.replace(subject, made_up(rng)) if number % _INVENTED == 0 else lesson.question
        answer = exam.model.ask(question)
        found.append({
            "question": question, "answer": answer.text, "status": answer.status,
            "worded_by": "model" if answer.tokens_generated else "rule",
        })  # fmt: skip
    return found


def _losses(exam: Exam, count: int) -> list[Measure]:
    """Of held-out lessons of every kind, facts shown in the prompt and to the knowledge layers."""
    return [
        _loss(exam, count, "held-out loss of answers, copied names left out", copying=1.0),
        _loss(exam, count, "held-out loss of answers, names spelt by the network", copying=0.0),
    ]


def _loss(exam: Exam, count: int, name: str, *, copying: float) -> Measure:
    model = exam.engine.model
    assert isinstance(model, KnowledgeGPT)
    knowledge = model.knowledge_config
    loader = LessonLoader(
        exam.teacher,
        exam.teacher,
        exam.engine.tokenizer,
        batch_size=_BATCH,
        context=exam.engine.context,
        channels=ChannelSettings.parse({"prompt_share": 1.0, "attention_share": 1.0, "copy_share": copying}),
        vectors=exam.speaker.vectors,
        d_vector=knowledge.d_vector,
        isolate_facts=knowledge.isolate_facts,
        validation_lessons=count,
    )
    found = evaluate(model, loader, isolate_documents=True)
    return Measure(name, found.loss, found.tokens, "nats a token")


def _lessons(exam: Exam, count: int, kinds: Sequence[Kind]) -> Iterator[Lesson]:
    """Questions of all kinds in turns."""
    drawn = [exam.lessons(-(-count // len(kinds)), kind) for kind in kinds]
    turns = itertools.zip_longest(*drawn)
    return itertools.islice((lesson for turn in turns for lesson in turn if lesson is not None), count)
