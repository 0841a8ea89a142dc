"""Batches of lessons: the face of `data.BatchLoader`, so that the one trainer takes them.

Lessons are drawn when their step comes, by number: the batch of a step is a pure function of graph, settings and step.
Each lesson goes with some of the three channels open and the others shut, so that each is taught, and useful alone.
Several lessons lie in a row, each blind to the others and to their facts.

Shapes: R rows, T time, A alternatives, N facts of the fullest row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch

from groundzero.data import Batch
from groundzero.data.prefetch import Prefetch
from groundzero.errors import InputError, UsageError
from groundzero.finetune.packing import lay_out
from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.ground.config import ChannelSettings
from groundzero.ground.lessons import Lesson
from groundzero.ground.prompt import Exercise, Vectors, exercise
from groundzero.ground.teacher import Teacher
from groundzero.model import facts as network
from groundzero.model.islands import island_positions
from groundzero.tokenizer import Tokenizer

_COPIED_ALONE = frozenset(("one", "two", "three"))
"""Kinds that can be answered from what is to be copied, without reading how many facts there are and what they say."""
_NAMELESS = frozenset(("unknown", "silent", "talk"))
"""Kinds whose answers name nothing."""
_SHORTEST = 128
"""Rows are as long as the longest lesson, and at least this: attention among strangers costs time and is masked."""
_ROUND = 32
"""Rows end at a multiple of this many tokens, so that batches have few different shapes."""


class LessonLoader:
    """Training batches by step, and a pass over held-out lessons.

    Args:
        teacher: draws the lessons of the training split.
        examiner: draws those that are validated with.
        batch_size: lessons in a batch.
        vectors: of facts, d_vector x 3 numbers each.
        isolate_facts: facts in a prompt do not see each other.

    Raises:
        InputError: the graph gives no lesson that fits the context.
        UsageError: batch_size is below 1.
    """

    def __init__(
        self,
        teacher: Teacher,
        examiner: Teacher,
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        context: int,
        channels: ChannelSettings | None = None,
        vectors: Vectors | None = None,
        d_vector: int = 0,
        isolate_facts: bool = False,
        validation_lessons: int = 256,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size} must be at least 1.", remedy="Raise it.")
        self.batch_size, self.context = batch_size, context
        self._teacher, self._examiner, self._tokenizer = teacher, examiner, tokenizer
        self._channels = channels or ChannelSettings.parse({})
        self._vectors, self._d_vector, self._isolate = vectors, d_vector, isolate_facts
        self._validation = [
            each for n in range(validation_lessons) if (each := self._exercise(examiner, n)) is not None
        ]
        fits = any(self._exercise(teacher, number) is not None for number in range(64))
        if not teacher.n_askable or not self._validation or not fits:
            raise InputError(
                f"The graph gives no lesson that fits a context of {context} tokens.",
                remedy="Give a graph with more statements, or a model with a larger context.",
            )
        sizes = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
        learnt = (zip(each.ids, each.learnt, strict=True) for each in self._validation)
        self._validation_bytes = sum(sizes[token] for pairs in learnt for token, counts in pairs if counts)

    def steps_for(self, epochs: float) -> int:
        """Steps in which as many lessons are given as the graph has statements to ask about, times `epochs`."""
        return max(1, round(epochs * self._teacher.n_askable / self.batch_size))

    def epoch_at(self, step: int) -> float:
        """Lessons given before `step`, per statement."""
        return step * self.batch_size / max(1, self._teacher.n_askable)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        first = step * self.batch_size
        drawn = [self._exercise(self._teacher, number) for number in range(first, first + self.batch_size)]
        return self._batch([each for each in drawn if each is not None] or [self._chat()])

    def prefetch(
        self, start_step: int, stop_step: int | None = None, *, depth: int = 4, pin: bool = False
    ) -> AbstractContextManager[Iterator[tuple[int, Batch]]]:
        """As `BatchLoader.prefetch`."""
        make = (lambda step: self.batch(step).pin_memory()) if pin else self.batch
        return Prefetch(make, start_step, stop_step, depth)

    def validation_batches(self, *, max_tokens: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """The held-out lessons in order; the last batch may have fewer.

        Args:
            max_tokens: only the first lessons, until they hold so many tokens.
            batch_size: lessons in a batch.
        """
        count, total = 0, 0
        while count < len(self._validation) and (max_tokens is None or total < max_tokens or not count):
            total += len(self._validation[count].ids)
            count += 1
        size = batch_size or self.batch_size
        for first in range(0, count, size):
            yield self._batch(self._validation[first : min(first + size, count)])

    def validation_bytes(self, *, max_tokens: int | None = None) -> int | None:
        """UTF-8 bytes of what is to be learnt in `validation_batches`; None when only a part is asked."""
        return self._validation_bytes if max_tokens is None else None

    # ------------------------------------------------------------------ lessons

    def _exercise(self, teacher: Teacher, number: int) -> Exercise | None:
        """Lesson `number` through the channels drawn for it; without its prompt where that does not fit the context."""
        lesson = teacher.lesson(number)
        if lesson is None:
            return None
        rng = random.Random(f"{teacher.settings.seed}:{teacher.split}:channels:{number}")
        channels = open_channels(lesson, self._channels, rng)
        without: frozenset[Channel] = frozenset({"attention", *(each for each in channels if each != "prompt")})
        for tried in (channels, without):
            made = exercise(lesson, self._tokenizer, tried, self._vectors, isolate_facts=self._isolate)
            if len(made.ids) <= self.context + 1:
                return made
        return None

    def _chat(self) -> Exercise:
        return exercise(Lesson("talk", "Hello!", (), ("Hello!",)), self._tokenizer)

    def _batch(self, exercises: Sequence[Exercise]) -> Batch:
        sizes = [len(each.ids) - 1 for each in exercises]
        rows = lay_out(sizes, min(self.context, max(*sizes, _SHORTEST)))
        longest = max(sum(len(exercises[index].ids) - 1 for index in row) for row in rows)
        width = min(self.context, -(-longest // _ROUND) * _ROUND)
        shape = (len(rows), width)
        tokens_RT, targets_RT = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
        documents_RT, positions_RT = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        islands_RT = np.zeros(shape, np.int64)
        most = max(len(slots) for each in exercises for slots in each.starts)
        starts_RTA = np.full((*shape, max(1, most)), -1, np.int64)
        facts: list[list[network.Fact]] = []
        for row, members in enumerate(rows):
            facts.append([])
            start = 0
            for document, index in enumerate(members):
                each = exercises[index]
                stop = start + len(each.ids) - 1
                tokens_RT[row, start:stop] = each.ids[:-1]
                targets_RT[row, start:stop] = np.where(each.learnt[1:], each.ids[1:], -1)
                documents_RT[row, start:stop] = document
                positions_RT[row, start:stop] = np.arange(stop - start)
                if each.islands is not None:
                    islands_RT[row, start:stop] = each.islands[:-1]
                    positions_RT[row, start:stop] = island_positions(each.islands[:-1])
                for place, slots in enumerate(each.starts[1:], start):
                    shift = 2 * len(facts[-1])
                    starts_RTA[row, place, : len(slots)] = [slot + shift if slot >= 0 else slot for slot in slots]
                facts[-1] += [replace(fact, document=document) for fact in each.facts]
                start = stop
            documents_RT[row, start:] = len(members)  # padding is a document of its own
            positions_RT[row, start:] = np.arange(width - start)
        return Batch(
            torch.from_numpy(tokens_RT),
            torch.from_numpy(targets_RT),
            torch.from_numpy(documents_RT),
            torch.from_numpy(positions_RT),
            has_borders=True,
            extras={
                "facts": self._facts(facts),
                "starts_BTA": torch.from_numpy(starts_RTA),
                **({"islands_BS": torch.from_numpy(islands_RT)} if self._isolate else {}),
            },
        )

    def _facts(self, rows: list[list[network.Fact]]) -> network.Facts:
        """As `make_facts`; where no lesson has any, one that nobody sees, so that every weight has a gradient."""
        nothing = not any(rows)
        made = network.make_facts(
            [[network.Fact((), (), ())] for _ in rows] if nothing else rows, self._d_vector, isolate_documents=True
        )
        return made._replace(visible_BN=torch.zeros_like(made.visible_BN)) if nothing else made


def open_channels(lesson: Lesson, settings: ChannelSettings, rng: random.Random) -> frozenset[Channel]:
    """Which channels a lesson goes through: as often as is set, and so that it can be answered.

    Only prompt and attention tell what there is (that nothing is said, that two facts differ, how many there are), and
    only prompt and copying tell how a name is spelt: without either, it could only be learnt by heart.
    """
    if not lesson.facts:
        return CHANNELS
    open_: set[Channel] = set()
    shares: tuple[tuple[Channel, float], ...] = (
        ("prompt", settings.prompt_share),
        ("attention", settings.attention_share),
        ("copy", settings.copy_share),
    )
    for channel, share in shares:
        if rng.random() < share:
            open_.add(channel)
    if not open_ & {"prompt", "attention"} and lesson.kind not in _COPIED_ALONE:
        open_.add("prompt" if rng.random() < 0.5 else "attention")
    if not open_ & {"prompt", "copy"} and lesson.kind not in _NAMELESS:
        open_.add("prompt")
    return frozenset(open_)
