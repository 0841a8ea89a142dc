"""A world with enough in it to be examined on, and speakers of known worth: one is always right, one lies, one refuses
everything."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pytest
import torch

from groundzero.evaluate.grounding.setting import Exam, ExamSettings
from groundzero.generate import Engine
from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Literal
from groundzero.graph.phrasing import for_many
from groundzero.ground.grounded import GroundedModel, GroundedSettings
from groundzero.ground.lessons import REFUSAL, Fact, LessonSettings
from groundzero.ground.names import made_up
from groundzero.ground.speech import Said, Span, Speaker
from groundzero.ground.teacher import Teacher
from groundzero.model import GPT, GPTConfig
from groundzero.model.knowledge import attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

COUNTRIES = 40
LESSONS = LessonSettings(test_share=0.4, made_up_share=0.0)


@pytest.fixture(scope="session")
def wide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Countries with capitals, their mayors and where those were born, neighbours, currencies and populations."""
    path = tmp_path_factory.mktemp("wide") / "wide.db"
    rng, names = random.Random(7), list[str]()
    while len(names) < 3 * COUNTRIES:
        name = made_up(rng)
        if name not in names and not any(char.isdigit() for char in name):
            names.append(name)
    with Graph.open(path, create=True) as graph, graph.store.writer() as writer:
        labels = ("capital", "shares border with", "population", "currency", "mayor", "place of birth")
        relations = {label: writer.add_relation(label, label=label) for label in labels}
        countries = [writer.add_entity(name, label=name) for name in names[:COUNTRIES]]
        for place, country in enumerate(countries):
            capital = writer.add_entity(names[COUNTRIES + place], label=names[COUNTRIES + place])
            mayor = writer.add_entity(names[2 * COUNTRIES + place], label=names[2 * COUNTRIES + place])
            coin = writer.add_entity(f"coin {place % 5}", label=f"{'ABCDE'[place % 5]}cu")
            writer.add_statement(country, relations["capital"], capital)
            writer.add_statement(capital, relations["mayor"], mayor)
            writer.add_statement(mayor, relations["place of birth"], countries[(place + 3) % COUNTRIES])
            writer.add_statement(country, relations["currency"], coin)
            writer.add_statement(country, relations["population"], Literal(str(1000 + 37 * place), "integer"))
            for step in (1, 2):
                writer.add_statement(country, relations["shares border with"], countries[(place + step) % COUNTRIES])
    return path


@pytest.fixture
def wide(wide_path: Path) -> Iterator[Graph]:
    with Graph.open(wide_path, read_only=True) as graph:
        yield graph


@pytest.fixture(scope="session")
def small_words() -> Tokenizer:
    text = "The capital of Peru is Lima. Where is Ana? I do not know: the facts do not say. [1] South America | 0123 "
    return train_tokenizer([text * 20], TokenizerConfig(kind="bpe", vocab_size=420))


@pytest.fixture
def knowing_engine(small_words: Tokenizer) -> Engine:
    """Untrained, with knowledge layers."""
    torch.manual_seed(0)
    config = GPTConfig.parse(
        {"n_layer": 2, "n_head": 2, "d_model": 32, "context": 512, "vocab_size": small_words.vocab_size}
    )
    return Engine(attach_knowledge(GPT(config), KnowledgeConfig.parse({"d_fact": 48})).eval(), small_words)


class Scripted(Speaker):
    """Says what `answer` makes of a question and its facts; nothing is generated."""

    def say_all(
        self,
        asked: Sequence[tuple[str, Sequence[Fact]]],
        channels: Collection[Channel] = CHANNELS,
        *,
        seed: int | None = None,
        from_marked: bool = False,
    ) -> list[Said]:
        return [self.answer(question, facts if channels else ()) for question, facts in asked]

    def answer(self, question: str, facts: Sequence[Fact]) -> Said:
        raise NotImplementedError


class Truthful(Scripted):
    """Says what the marked facts say, hop by hop, and what nobody tells it it does not know."""

    def answer(self, question: str, facts: Sequence[Fact]) -> Said:
        needed = [fact for fact in facts if fact.step]
        if not needed:
            return words(f"{REFUSAL}: the facts do not say.")
        inverse = len({fact.subject for fact in needed if fact.step == 1}) > 1
        text, spans = "", list[Span]()
        if question.startswith(("How many answers", "How many? ")):
            text = f"{len(needed)}: "
            text, spans = listed(text, spans, needed, False)
            return Said(f"{text}.", tuple(spans), (1, 2, 3), 2, True)
        if question.startswith("Is "):
            text = "Yes: " if needed[0].object in question else "No: "
        for _, hop in groupby(needed, key=lambda fact: fact.step):
            text, spans = self.sentence(
                f"{text} " if text and not text.endswith(": ") else text, spans, [*hop], inverse
            )
        return Said(text, tuple(spans), (1, 2, 3), 2, True)

    @staticmethod
    def sentence(text: str, spans: list[Span], facts: Sequence[Fact], inverse: bool) -> tuple[str, list[Span]]:
        template = TEMPLATES[facts[0].relation]
        template = for_many(template, "{subject}") if inverse and len(facts) > 1 else template
        before, after = template.split("{subject}")
        after, end = after.split("{object}")
        text += before
        text, spans = listed(text, spans, facts if inverse else facts[:1], True)
        text += after
        text, spans = listed(text, spans, facts[:1] if inverse else facts, False)
        return text + end, spans


TEMPLATES = {
    "capital": "The capital of {subject} is {object}.", "mayor": "The mayor of {subject} is {object}.",
    "currency": "The currency of {subject} is {object}.", "population": "The population of {subject} is {object}.",
    "place of birth": "{subject} was born in {object}.", "shares border with": "{subject} shares border with {object}.",
}  # fmt: skip


class Refusing(Scripted):
    """Knows nothing."""

    def answer(self, question: str, facts: Sequence[Fact]) -> Said:
        return words(f"{REFUSAL}: the facts do not say.")


class Lying(Scripted):
    """Takes the first fact's subject and relation, and another object, fluently."""

    def answer(self, question: str, facts: Sequence[Fact]) -> Said:
        needed = [fact for fact in facts if fact.step] or [Fact("Nobody", "capital", "", 0, (0, 0, 0))]
        before, after = TEMPLATES[needed[-1].relation].split("{subject}")
        text = f"{before}{needed[-1].subject}{after}".replace("{object}", "Utter Nonsense")
        return words(f"Yes: {text}" if question.startswith("Is ") else text)


def words(text: str) -> Said:
    """A text without copied names."""
    return Said(text, (), (1, 2, 3), 0, True)


def listed(text: str, spans: list[Span], facts: Sequence[Fact], subject: bool) -> tuple[str, list[Span]]:
    """Add the ends of facts, joined by commas and an `and`."""
    for place, fact in enumerate(facts):
        text += "" if not place else " and " if place == len(facts) - 1 else ", "
        name = fact.subject if subject else fact.object
        spans = [*spans, Span(len(text), len(text) + len(name), fact, subject)]
        text += name
    return text, spans


@pytest.fixture
def make_exam(wide: Graph, knowing_engine: Engine) -> Callable[..., Exam]:
    """An exam of a speaker over the wide world."""

    def make(speaker: type[Speaker], **settings: int) -> Exam:
        amounts = ExamSettings.parse({"questions": 12, "questions_per_ablation": 4, **settings})
        model = GroundedModel(speaker(knowing_engine), wide, settings=GroundedSettings.parse({}))
        return Exam(model, Teacher(wide, LESSONS, split="test"), amounts)

    return make
