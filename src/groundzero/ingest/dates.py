"""Dates and numbers as people write them, as literals."""

from __future__ import annotations

import re

from groundzero.graph.nouns import Literal

_NAMES = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
_MONTHS = {name.lower(): i + 1 for i, name in enumerate(_NAMES)}
_MONTH = "|".join(_MONTHS)
DATE = rf"(?:\d{{1,2}}\s+(?:{_MONTH}),?\s+\d{{3,4}}|(?:{_MONTH})\s+\d{{1,2}},?\s+\d{{3,4}}|\d{{4}}-\d{{2}}-\d{{2}})"
_DAY_FIRST = re.compile(rf"(\d{{1,2}})\s+({_MONTH}),?\s+(\d{{3,4}})(?!\d)", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"({_MONTH})\s+(\d{{1,2}}),?\s+(\d{{3,4}})(?!\d)", re.IGNORECASE)
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_ISO_MONTH = re.compile(r"(\d{4})-(\d{2})")
_NUMBER = re.compile(r"[-−]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[-−]?\d+(?:\.\d+)?")
_YEAR = re.compile(r"1\d{3}|20\d{2}")


def read_date(text: str) -> Literal | None:
    """The date at the beginning of `text`, or None. A year alone is none: it may be a number."""
    start = text.strip()
    if match := _DAY_FIRST.match(start):
        return _date(match[3], _MONTHS[match[2].lower()], match[1])
    if match := _MONTH_FIRST.match(start):
        return _date(match[3], _MONTHS[match[1].lower()], match[2])
    if match := _ISO.match(start):
        return _date(match[1], int(match[2]), match[3])
    return None


def read_number(text: str) -> Literal | None:
    """A text that is a number and no more, but for a remark in brackets; a year where it looks like one.

    With a unit it is none: the unit would be lost.
    """
    match = _NUMBER.match(text)
    if match is None or not re.fullmatch(r"\s*(?:\([^()\d]*\)?)?", text[match.end() :]):
        return None
    value = match[0].replace(",", "").replace("−", "-")
    if value == text and _YEAR.fullmatch(value):
        return Literal(value, "year")
    return Literal(value, "decimal" if "." in value else "integer")


def _date(year: str, month: int, day: str) -> Literal | None:
    if not (1 <= month <= 12 and 1 <= int(day) <= 31):
        return None
    return Literal(f"{int(year):04}-{month:02}-{int(day):02}", "date")
