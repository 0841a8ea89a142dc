"""Conversations to rows of one length: several short ones side by side, each blind to the others.

A row is a window of the model's context. Padding every conversation to it would waste most of the work on short ones,
so rows are filled: longest conversations first, each into the fullest row that still has room. Attention stays within a
conversation and positions start anew in each, so what else is in a row changes nothing but speed.

Every conversation has something to learn, so every row has: no batch is empty, and no loss is a mean over nothing.

Shapes: R rows, T context.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundzero.data import Windows
from groundzero.finetune.conversations import Conversation, Reading
from groundzero.tokenizer import Tokenizer
from groundzero.tokenizer.chat import ChatTemplate


@dataclass(frozen=True)
class Lesson:
    """A conversation as ids, and which of them are to be learnt."""

    ids: npt.NDArray[np.int64]
    learnt: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Packed conversations; the fields mean what those of `Windows` do."""

    tokens_RT: npt.NDArray[np.int64]
    targets_RT: npt.NDArray[np.int64]
    documents_RT: npt.NDArray[np.int32]
    positions_RT: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.tokens_RT)

    def windows(self, rows: npt.NDArray[np.int64]) -> Windows:
        """Some of the rows as a batch; attention is to stay within documents."""
        return Windows(
            tokens_BT=self.tokens_RT[rows],
            targets_BT=self.targets_RT[rows],
            documents_BT=self.documents_RT[rows],
            positions_BT=self.positions_RT[rows],
            has_borders=True,
        )


def make_lessons(
    conversations: Iterable[Conversation],
    tokenizer: Tokenizer,
    template: ChatTemplate,
    context: int,
    reading: Reading | None = None,
) -> list[Lesson]:
    """Encode conversations. What does not fit the context loses its oldest turns; what then still does not is left out.

    Args:
        reading: counts what is left out.
    """
    reading = reading if reading is not None else Reading()
    lessons = []
    for number, conversation in enumerate(conversations, 1):
        lesson = _fitting(conversation, tokenizer, template, context)
        if lesson is None:
            reading.skip(f"longer than the context of {context} tokens", f"conversation {number}")
        else:
            lessons.append(lesson)
    return lessons


def _fitting(conversation: Conversation, tokenizer: Tokenizer, template: ChatTemplate, context: int) -> Lesson | None:
    has_system = conversation[0].role == "system"
    kept, turns = conversation[: int(has_system)], conversation[int(has_system) :]
    while any(turn.role == "assistant" for turn in turns):
        ids, learnt = template.lesson(tokenizer, kept + turns)
        if len(ids) <= context + 1:  # the last id is only a target
            return Lesson(np.array(ids, dtype=np.int64), np.array(learnt, dtype=np.bool_))
        turns = turns[1:]
        while turns and turns[0].role == "assistant":  # an answer without its question teaches nothing
            turns = turns[1:]
    return None


def lay_out(lengths: Sequence[int], room_of_a_row: int) -> list[list[int]]:
    """Which of the things with these lengths share a row: best fit, the longest first."""
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (places left, row), ascending
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect.bisect_left(room, (lengths[index], -1))
        if place == len(room):
            rows.append([])
            left, row = room_of_a_row, len(rows) - 1
        else:
            left, row = room.pop(place)
        rows[row].append(index)
        bisect.insort(room, (left - lengths[index], row))
    return rows


def pack(lessons: Sequence[Lesson], context: int) -> Rows:
    """Lay lessons into as few rows of `context` inputs as best-fit decreasing finds."""
    rows = lay_out([len(lesson.ids) - 1 for lesson in lessons], context)
    shape = (len(rows), context)
    tokens_RT, targets_RT = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    documents_RT, positions_RT = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for row, members in enumerate(rows):
        start = 0
        for document, index in enumerate(members):
            ids, learnt = lessons[index].ids, lessons[index].learnt
            stop = start + len(ids) - 1
            tokens_RT[row, start:stop] = ids[:-1]
            targets_RT[row, start:stop] = np.where(learnt[1:], ids[1:], -1)
            documents_RT[row, start:stop] = document
            positions_RT[row, start:stop] = np.arange(stop - start)
            start = stop
        documents_RT[row, start:] = len(members)  # padding is a document of its own
        positions_RT[row, start:] = np.arange(context - start)
    return Rows(tokens_RT, targets_RT, documents_RT, positions_RT)
