"""A tuned model saying what evidence says: questions with facts in, sentences out, with where every name came from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from groundzero.errors import InputError
from groundzero.generate import Engine, Request, SamplingConfig
from groundzero.generate.evidence import CHANNELS, Channel, Evidence, surfaces_of
from groundzero.generate.meter import measure_channels
from groundzero.generate.request import Completion, Processor
from groundzero.ground.finish import Finish, to_be_named
from groundzero.ground.lessons import Fact
from groundzero.ground.prompt import FORM, Prompt, Vectors, network_facts, question_ids, question_prompt
from groundzero.model.copying import SUBJECT
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.tokenizer.chat import template

MAX_TOKENS = 160
"""Of an answer. Copied names count by their tokens."""


@dataclass(frozen=True, slots=True)
class Span:
    """Words that were copied from a fact."""

    start: int
    """First character, in the text."""
    end: int
    fact: Fact
    is_subject: bool

    @property
    def text(self) -> str:
        """The name or value as the fact has it."""
        return self.fact.subject if self.is_subject else self.fact.object


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said."""

    text: str
    spans: tuple[Span, ...]
    ids: tuple[int, ...]
    """What was generated."""
    copied_tokens: int
    """How many of those were copied."""
    ended: bool
    """It came to its end by itself."""
    completion: Completion | None = field(default=None, compare=False, repr=False)
    """As the engine gave it."""

    @property
    def tokens(self) -> int:
        """How many were generated."""
        return len(self.ids)


class Speaker:
    """Words answers with a model that `gz finetune ground` tuned.

    Args:
        vectors: of facts, where the model was tuned with some and these are the graph's.
        max_tokens: longest answer.

    Raises:
        InputError: the model has no knowledge layers.
    """

    def __init__(self, engine: Engine, *, vectors: Vectors | None = None, max_tokens: int = MAX_TOKENS) -> None:
        if not isinstance(engine.model, KnowledgeGPT):
            raise InputError(
                "This run has no knowledge layers to read facts with.", remedy="Tune it with `gz finetune ground`."
            )
        self.engine, self.max_tokens = engine, max_tokens
        self.vectors = vectors if engine.model.knowledge_config.d_vector else None
        self._isolate = engine.model.knowledge_config.isolate_facts
        self._ends = template(FORM).stop_ids(engine.tokenizer)

    def say(
        self, question: str, facts: Sequence[Fact], channels: Collection[Channel] = CHANNELS, *, seed: int | None = None
    ) -> Said:
        """Answer one question; see `say_all`."""
        return self.say_all([(question, facts)], channels, seed=seed)[0]

    def say_all(
        self,
        asked: Sequence[tuple[str, Sequence[Fact]]],
        channels: Collection[Channel] = CHANNELS,
        *,
        seed: int | None = None,
        from_marked: bool = False,
    ) -> list[Said]:
        """Answer questions, each from its own facts; the likeliest words, or drawn ones where a seed is given.

        Facts that would not fit the context as a prompt are left to the other channels.

        Args:
            from_marked: copy from those facts only that take a step to the answer, and end where all of that is said
                (`finish`); where no fact takes a step, as without.
        """
        requests = [
            self._request(question, facts, frozenset(channels), seed, from_marked=from_marked)
            for question, facts in asked
        ]
        done = self.engine.run(requests)
        return [self._said(completion, facts) for completion, (_, facts) in zip(done, asked, strict=True)]

    def measure(
        self, question: str, facts: Sequence[Fact], said: Said, channels: Collection[Channel] = CHANNELS
    ) -> dict[str, float]:
        """How much each channel moved what was said, where it can be measured; see `generate.meter`."""
        if said.completion is None:
            return {}
        request = self._request(question, facts, frozenset(channels), None)
        plain = question_ids(self.engine.tokenizer, question, ())
        figures = measure_channels(self.engine, request, said.completion, plain_prompt=plain)
        return {name: round(figure, 4) for name, figure in figures.items()}

    def _request(
        self,
        question: str,
        facts: Sequence[Fact],
        channels: frozenset[Channel],
        seed: int | None,
        *,
        from_marked: bool = False,
    ) -> Request:
        tokenizer = self.engine.tokenizer
        ids, islands = self._prompt(question, facts if "prompt" in channels else ())
        if len(ids) + self.max_tokens > self.engine.context and channels & {"attention", "copy"}:
            channels -= {"prompt"}
            ids, islands = self._prompt(question, ())
        sampling = SamplingConfig(
            max_tokens=self.max_tokens,
            temperature=0.0 if seed is None else 0.7,
            seed=seed,
            stop_ids=self._ends,
            overflow="stop",
        )
        evidence, processors = None, tuple[Processor, ...]()
        from_marked = from_marked and any(fact.step for fact in facts)
        if from_marked:
            processors = (Finish(tokenizer, to_be_named(facts), self._ends, len(ids)),)
        if facts:
            given = network_facts(tokenizer, facts, channels, self.vectors)
            surfaces = surfaces_of(tokenizer, [(fact.subject, fact.object) for fact in facts])
            if from_marked:
                surfaces = tuple(each for each in surfaces if facts[each.fact].step)
            evidence = Evidence(given, surfaces, channels)
        return Request(ids, sampling, evidence=evidence, islands=islands, processors=processors)

    def _prompt(self, question: str, shown: Sequence[Fact]) -> Prompt:
        """As the model learnt to read it."""
        return question_prompt(self.engine.tokenizer, question, shown, isolate_facts=self._isolate)

    def _said(self, completion: Completion, facts: Sequence[Fact]) -> Said:
        tokenizer = self.engine.tokenizer
        spans = []
        for copied in completion.copied:
            if not copied.complete:
                continue
            fact = facts[copied.fact]
            name = fact.subject if copied.role == SUBJECT else fact.object
            end = len(tokenizer.decode(completion.ids[: copied.end]))
            spans.append(Span(end - len(name), end, fact, copied.role == SUBJECT))
        return Said(
            completion.text,
            tuple(spans),
            completion.ids,
            sum(copied.end - copied.start for copied in completion.copied),
            completion.finish_reason in ("stop", "eos"),
            completion,
        )
