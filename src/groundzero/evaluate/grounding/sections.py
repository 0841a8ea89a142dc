"""The sections of the exam, in the order of the report card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from groundzero.evaluate.grounding.measures import Section
from groundzero.evaluate.grounding.setting import Exam, ExamSettings


@dataclass(frozen=True, slots=True)
class Part:
    """A section before it is held."""

    key: str
    """What `--only` calls it."""
    examine: Callable[[Exam, ExamSettings], Section]
    work: Callable[[ExamSettings], int]
    """Questions it will deal with, about: what it tells `Exam.advance` should come to that."""


PARTS: tuple[Part, ...] = ()
"""All of them. A new section is a function in a file of its own and a line here."""
