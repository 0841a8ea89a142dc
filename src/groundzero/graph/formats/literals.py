"""Values that are no entities: from RDF datatypes, from Wikidata's values, from the look of a cell; and as numbers."""

from __future__ import annotations

import re
from typing import Any

from groundzero.graph.nouns import Literal

XSD = "http://www.w3.org/2001/XMLSchema#"
LANG_STRING = "http://www.w3.org/1999/02/22-rdf-syntax-ns#langString"
WKT = "http://www.opengis.net/ont/geosparql#wktLiteral"
UNIT = "http://www.wikidata.org/entity/"
"""The datatype of a quantity with a unit is the IRI of the unit."""

# Ours -> RDF. Other datatypes keep their IRI, so that nothing is lost on the way through.
_DATATYPES = {
    "string": XSD + "string",
    "integer": XSD + "integer",
    "decimal": XSD + "decimal",
    "boolean": XSD + "boolean",
    "date": XSD + "date",
    "year": XSD + "gYear",
}
_FROM_RDF = {iri: name for name, iri in _DATATYPES.items()}

_INTEGER = re.compile(r"[+-]?\d{1,18}\Z")
_DECIMAL = re.compile(r"[+-]?(\d{1,30}\.\d+|\d{1,3}(,\d{3})+(\.\d+)?)\Z")
_DATE = re.compile(r"-?\d{4,6}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?\Z")
_QUOTED = re.compile(r'"(.*)"(?:@([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)|\^\^<?([^<>"{}|^`\\\s]+)>?)?\Z', re.DOTALL)
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\", "b": "\b", "f": "\f", "'": "'"}
_ESCAPED = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
# Precisions of Wikidata's times, https://www.mediawiki.org/wiki/Wikibase/DataModel/JSON#time
_DAY, _MONTH, _YEAR, _DECADE, _CENTURY, _MILLENNIUM = 11, 10, 9, 8, 7, 6


def from_rdf(value: str, datatype: str, language: str = "") -> Literal:
    """A literal with the RDF datatype `datatype` (an IRI)."""
    if language:
        return Literal(value, "string", language)
    return Literal(value, _FROM_RDF.get(datatype, datatype))


def rdf_datatype(literal: Literal) -> str:
    """The IRI of the datatype of a literal without language."""
    return _DATATYPES.get(literal.datatype, literal.datatype)


def from_cell(text: str, subject: str = "") -> Literal | None:
    """What a table's cell means where it plainly is no entity: a number, a date, a quoted text; else None.

    A number whose subject is a number too is taken for an id: such tables name everything by numbers.
    """
    first = text[:1]
    if first == '"' and len(text) > 1:
        return _quoted(text)
    if not (first.isdigit() or first in "+-"):
        return None
    if subject[:1].isdigit() and subject.isdigit():
        return None
    if _INTEGER.match(text):
        return Literal(text.removeprefix("+"), "integer")
    if _DECIMAL.match(text):
        return Literal(text.replace(",", ""), "decimal" if "." in text else "integer")
    if _DATE.match(text):
        return Literal(text, XSD + "dateTime") if "T" in text else Literal(text, "date")
    return None


def number(literal: Literal) -> float | None:
    """The literal as a number, whatever its datatype; dates as years with fractions, so that they order."""
    text = literal.value.strip()
    if literal.datatype in ("date", "year") or literal.datatype.startswith(XSD + "date"):
        return _years(text)
    if literal.datatype == "boolean" or literal.language:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) != float("inf") and value == value else None  # noqa: PLR0124 - NaN is not itself


def from_wikidata(datatype: str, value: Any) -> Literal | None:
    """A value of a Wikidata snak that is no entity; None where it is of a kind unknown here.

    Args:
        datatype: the `type` of its `datavalue`: string, monolingualtext, time, quantity or globecoordinate.

    Raises:
        KeyError, TypeError, ValueError: the value is not what its type promises.
    """
    if datatype == "string":
        return Literal(_text(value))
    if datatype == "monolingualtext":
        return Literal(_text(value["text"]), "string", _text(value["language"]))
    if datatype == "time":
        return _time(_text(value["time"]), int(value.get("precision", _DAY)))
    if datatype == "quantity":
        return _quantity(_text(value["amount"]), str(value.get("unit", "1")))
    if datatype == "globecoordinate":
        return Literal(f"Point({float(value['longitude'])!r} {float(value['latitude'])!r})", WKT)
    return None


def unescape(text: str) -> str:
    """Backslash escapes of N-Triples undone."""
    return _ESCAPED.sub(_unescaped, text) if "\\" in text else text


def _unescaped(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] in "uU" and len(code) > 1:
        point = int(code[1:], 16)
        return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"
    return _ESCAPES.get(code, match.group(0))


def _quoted(text: str) -> Literal | None:
    match = _QUOTED.match(text)
    if match is None:
        return None
    value, language, datatype = match.groups()
    return from_rdf(unescape(value), (datatype or XSD + "string").replace("xsd:", XSD), language or "")


def _time(time: str, precision: int) -> Literal:
    """`+1952-03-11T00:00:00Z` as precisely as it is known, and not more."""
    match = re.match(r"([+-]?)(\d+)-(\d\d)-(\d\d)", time)
    if match is None:
        raise ValueError(time)
    sign, digits, month, day = match.groups()
    minus = "-" if sign == "-" else ""
    year = int(digits)
    if precision >= _DAY and month != "00" and day != "00":
        return Literal(f"{minus}{year:04}-{month}-{day}", "date")
    if precision >= _MONTH and month != "00":
        return Literal(f"{minus}{year:04}-{month}", XSD + "gYearMonth")
    if precision >= _YEAR:
        return Literal(f"{minus}{year:04}", "year")
    era = " BCE" if minus else ""
    if precision == _DECADE:
        return Literal(f"{year // 10 * 10}s{era}")
    if precision == _CENTURY:
        return Literal(f"century {-(-year // 100)}{era}")
    if precision == _MILLENNIUM:
        return Literal(f"millennium {-(-year // 1000)}{era}")
    return Literal(f"about {year:,} years{era}" if era else f"about the year {year:,}")


def _quantity(amount: str, unit: str) -> Literal:
    text = amount.removeprefix("+")
    float(text)  # raises where it is no number
    if unit != "1" and unit:
        return Literal(text, unit.replace("https://", "http://", 1))
    return Literal(text, "integer" if _INTEGER.match(text) else "decimal")


def _years(text: str) -> float | None:
    match = re.match(r"([+-]?)(\d+)(?:-(\d\d))?(?:-(\d\d))?", text)
    if match is None:
        return None
    sign, year, month, day = match.groups()
    fraction = (int(month or 1) - 1) / 12 + (int(day or 1) - 1) / 372
    return (-int(year) if sign == "-" else int(year)) + fraction


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
