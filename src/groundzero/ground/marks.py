"""What reasoning knows of the facts it hands on, as numbers that the network learns to read.

    step of the way to the answer (1, 2, 3)      which sentence a fact belongs to
    how many of its step come after it (0 .. 3)  what stands behind its name in a list: nothing more, "and", a comma
    the question names its subject, its object   where the question starts from

Without them a network has to find all this itself, and with a few million weights it does so less often.
"""

from __future__ import annotations

from collections.abc import Sequence

from groundzero.ground.lessons import Fact

MAX_STEP = 3
"""Steps that marks tell apart."""
MAX_REST = 3
"""Facts still to come, told apart up to this many."""
_REST = MAX_STEP
_SUBJECT_NAMED = _REST + MAX_REST + 1
_OBJECT_NAMED = _SUBJECT_NAMED + 1
N_MARK = _OBJECT_NAMED + 1


def marks_of(facts: Sequence[Fact]) -> list[tuple[int, ...]]:
    """The marks of each fact, in the order in which they are shown."""
    found: list[tuple[int, ...]] = []
    for place, fact in enumerate(facts):
        marks = []
        if fact.step:
            rest = sum(other.step == fact.step for other in facts[place + 1 :])
            marks += [min(fact.step, MAX_STEP) - 1, _REST + min(rest, MAX_REST)]
        marks += [_SUBJECT_NAMED] * fact.named[0] + [_OBJECT_NAMED] * fact.named[1]
        found.append(tuple(marks))
    return found
