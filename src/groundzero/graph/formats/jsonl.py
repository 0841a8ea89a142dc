"""JSON lines: the format that loses nothing. One object a line; `kind` says what it is.

    {"kind": "graph", "schema": 1, "transaction": 7}
    {"kind": "source", "key": "peru.txt", "title": "", "revision": "", "licence": "", "digest": "..."}
    {"kind": "relation", "key": "P36", "names": [{"text": "capital", "kind": "label", "language": "en"}]}
    {"kind": "entity", "key": "Q419", "names": [{"text": "Peru", "kind": "label", "language": "en"}]}
    {"kind": "statement", "subject": "Q419", "relation": "P36", "object": "Q2868", "source": "peru.txt", "start": 0,
     "end": 23, "confidence": 1.0, "valid_from": "", "valid_to": "", "status": "accepted"}

A literal object is `{"value": "32000000", "datatype": "integer", "language": ""}`. Lines of others work too: objects
with subject/relation/object (or head, predicate, tail ...) are statements, and objects with id or key beside label,
aliases, description or type are entities.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, get_args

from groundzero.errors import FormatError
from groundzero.graph.formats.literals import from_cell
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import THIS_FILE, EntityName, Fact, RelationName, Row, SourceRow
from groundzero.graph.nouns import Literal, NameKind

SCHEMA = 1
_SUBJECT = ("subject", "head", "s", "h")
_RELATION = ("relation", "predicate", "property", "r", "p")
_OBJECT = ("object", "tail", "o", "t", "value")
_KEY = ("key", "id", "qid", "mid", "iri", "uri", "entity")
_KINDS: tuple[str, ...] = get_args(NameKind)
_SIMPLE_NAMES = (
    ("label", "label"), ("name", "label"), ("aliases", "alias"), ("alias", "alias"), ("description", "description"),
    ("type", "type"), ("types", "type"), ("inverse", "inverse"), ("templates", "template"), ("questions", "question"),
)  # fmt: skip


def read_jsonl(lines: Iterable[str], report: ReadReport) -> Iterator[Row]:
    """Rows of a file of JSON lines.

    Raises:
        FormatError: the file was written by a newer release.
    """
    for line in lines:
        if not line or line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            report.skip("not JSON", line)
            continue
        if not isinstance(record, dict):
            report.skip("not a JSON object", line)
            continue
        try:
            yield from _rows(record, report)
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            report.skip(f"{type(error).__name__.removesuffix('Error').lower()} not as expected: {error}", line)


def write_jsonl(rows: Iterable[Mapping[str, Any]], stream: IO[str]) -> int:
    """Write records, one a line, and return how many were statements."""
    statements = 0
    for row in rows:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        statements += row["kind"] == "statement"
    return statements


def statement_record(fact: Fact) -> dict[str, Any]:
    """A statement as its line."""
    literal = fact.object if isinstance(fact.object, Literal) else None
    return {
        "kind": "statement",
        "subject": fact.subject,
        "relation": fact.relation,
        "object": {"value": literal.value, "datatype": literal.datatype, "language": literal.language}
        if literal
        else fact.object,
        "source": fact.source,
        "start": fact.start,
        "end": fact.end,
        "confidence": fact.confidence,
        "valid_from": fact.valid_from,
        "valid_to": fact.valid_to,
        "status": fact.status,
    }


def _rows(record: dict[str, Any], report: ReadReport) -> Iterator[Row]:
    kind = record.get("kind")
    if kind == "graph":
        if int(record.get("schema", 0)) > SCHEMA:
            raise FormatError(
                f"This file has schema {record['schema']}; this release reads up to {SCHEMA}.",
                remedy="Update groundzero, or export again as nquads.",
            )
        report.all_names_given = True
    elif kind == "source":
        yield SourceRow(
            _key(record["key"]), *(str(record.get(name, "")) for name in ("title", "revision", "licence", "digest"))
        )
    elif kind == "relation":
        yield from _names(record, RelationName)
    elif kind == "entity":
        yield from _names(record, EntityName)
    elif kind == "statement" or _first(record, _SUBJECT) is not None:
        yield _statement(record)
    elif _first(record, _KEY) is not None:
        yield from _names(record, EntityName)
    else:
        report.skip("neither a statement nor an entity", json.dumps(record, ensure_ascii=False))


def _names(record: dict[str, Any], row: type[EntityName] | type[RelationName]) -> Iterator[Row]:
    key = _key(_first(record, _KEY))
    yield row(key, "")
    for name in record.get("names", ()):
        if name["kind"] not in _KINDS:
            raise ValueError(f"kind of name {name['kind']!r}")
        yield row(key, _key(name["text"]), name["kind"], str(name.get("language", "")))
    if "names" in record:
        return
    for field, kind in _SIMPLE_NAMES:
        value = record.get(field) or ()
        for text in (value,) if isinstance(value, str) else value:
            yield row(key, _key(text), kind)  # type: ignore[arg-type]


def _statement(record: dict[str, Any]) -> Fact:
    subject = _key(_first(record, _SUBJECT))
    status = record.get("status", "accepted")
    if status not in ("accepted", "quarantined"):
        raise ValueError(f"status {status!r}")
    confidence = float(record.get("confidence", 1.0))
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence {confidence}")
    source = record.get("source", THIS_FILE)
    return Fact(
        subject,
        _key(_first(record, _RELATION)),
        _object(_first(record, _OBJECT), subject, ours=record.get("kind") == "statement"),
        source=source if source is None or source == THIS_FILE else _key(source),
        start=_whole(record.get("start")),
        end=_whole(record.get("end")),
        confidence=confidence,
        valid_from=str(record.get("valid_from") or ""),
        valid_to=str(record.get("valid_to") or ""),
        status=status,
    )


def _object(value: Any, subject: str, *, ours: bool) -> str | Literal:
    if isinstance(value, dict):
        if not isinstance(value["value"], str):
            return _plain(value["value"])
        return Literal(value["value"], str(value.get("datatype") or "string"), str(value.get("language") or ""))
    if isinstance(value, bool | int | float):
        return _plain(value)
    return _key(value) if ours else from_cell(_key(value), subject) or value


def _plain(value: Any) -> Literal:
    if isinstance(value, bool):
        return Literal(str(value).lower(), "boolean")
    if isinstance(value, int):
        return Literal(str(value), "integer")
    if isinstance(value, float) and value - value == 0:  # finite
        return Literal(repr(value), "decimal")
    raise ValueError(f"literal {value!r}")


def _first(record: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _key(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"text instead of {value!r}")
    value.encode()  # raises UnicodeEncodeError, a ValueError, for half a surrogate pair
    return value


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"span {value!r}")
    return value
