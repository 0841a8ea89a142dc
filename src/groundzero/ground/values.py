"""Literals as values that can be compared: numbers, with units left aside, and dates as far as they are given."""

from __future__ import annotations

import math
import re

from groundzero.graph.nouns import Literal

_NUMBER = re.compile(r"^\s*[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?![\w-])")
_DATE = re.compile(r"^\s*([-+]?\d{1,6})(?:-(\d{1,2}))?(?:-(\d{1,2}))?(?:T[\d:.Z+-]*)?\s*$")


def compare(literal: Literal) -> tuple[int, float] | None:
    """What to compare a literal by, or None for text; dates and numbers are never mixed (the first part differs)."""
    kind = literal.datatype.rsplit("#", 1)[-1].lower()
    date = _DATE.match(literal.value)
    if date and ("date" in kind or "year" in kind or date[2]):
        year, month, day = (int(part or 0) for part in date.groups())
        return 1, year * 10_000.0 + month * 100 + day
    number = _NUMBER.match(literal.value)
    if number is None:
        return None
    value = float(number[0].replace(",", ""))
    return (0, value) if math.isfinite(value) else None


def is_number(literal: Literal) -> bool:
    """Whether it counts or measures something."""
    value = compare(literal)
    return value is not None and value[0] == 0
