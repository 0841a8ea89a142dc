"""Files of names beside a graph: labels, aliases, descriptions, types, templates; each a table or a JSON object.

A table has the key first and the name after it; further cells are further names, but for labels and descriptions,
which are one text. JSON is `{key: name}`, `{key: [names]}`, or `{key: {"label": ..., "description": ...}}`.
Templates say `{subject}` and `{object}`; `[X]` and `[Y]`, as in published templates, are understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from typing import Literal as OneOf

from groundzero.errors import InputError
from groundzero.graph.formats.literals import from_cell
from groundzero.graph.formats.reading import Input, read_lines
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import EntityName, RelationName
from groundzero.graph.formats.tabular import bare_iri
from groundzero.graph.nouns import NameKind

Owner = OneOf["entity", "relation"]
_MAX_JSON = 2**29
_ONE_TEXT = ("label", "description")
_SLOTS = (
    (re.compile(r"\[X\]|\{(?:head|subj|s|h|x)\}|\[(?:subject|head)\]", re.IGNORECASE), "{subject}"),
    (re.compile(r"\[Y\]|\{(?:tail|obj|o|t|y)\}|\[(?:object|tail)\]", re.IGNORECASE), "{object}"),
)
_ESCAPED = re.compile(r"(?:\\u[0-9A-Fa-f]{4})+")
_SPACE_BEFORE_MARK = re.compile(r"\s+(?=[.,;:?!](\s|$))")


def read_names(
    source: Input, report: ReadReport, kind: NameKind, *, owner: Owner
) -> Iterator[EntityName | RelationName]:
    """Names of one kind, for entities or relations.

    Raises:
        InputError: JSON that does not parse or is no object.
    """
    if source.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        pairs = _json_pairs(source, report, kind)
    else:
        pairs = _table_pairs(source, report, kind)
    row = EntityName if owner == "entity" else RelationName
    for key, text in pairs:
        if kind != "template":
            yield row(key, text, kind)
            continue
        template = tidy_template(text)
        slots = ("{subject}" in template, "{object}" in template)
        if template.endswith("?") and slots == (True, False):
            yield row(key, template, "question")
        elif slots == (True, True):
            yield row(key, template, "template")
        else:
            report.skip("a template without {subject} and {object}", text)


def tidy_template(text: str) -> str:
    """A template with our slots, and no space before its full stop."""
    for pattern, slot in _SLOTS:
        text = pattern.sub(slot, text)
    return _SPACE_BEFORE_MARK.sub("", " ".join(text.split()))


def _table_pairs(source: Input, report: ReadReport, kind: NameKind) -> Iterator[tuple[str, str]]:
    for line in read_lines(source, report):
        if not line.strip():
            continue
        key, tab, rest = line.partition("\t")
        if not tab:
            report.skip("no tab between key and name", line)
            continue
        key = bare_iri(key.strip())
        if "\\u" in rest:
            report.note("names with \\u escapes, decoded")
            rest = _ESCAPED.sub(_character, rest)
        texts = [rest] if kind in _ONE_TEXT else rest.split("\t")
        texts = [_unquoted(text.strip()) for text in texts if text.strip()]
        if not key or not texts:
            report.skip("an empty key or name", line)
            continue
        for text in texts:
            yield key, text


def _unquoted(text: str) -> str:
    """`"Perú"@es`, as SPARQL's results have it, without its quotes."""
    literal = from_cell(text) if text.startswith('"') else None
    return literal.value if literal is not None and literal.value.strip() else text


def _character(match: re.Match[str]) -> str:
    """The character of an escape; an emoji may take two."""
    codes = b"".join(int(code, 16).to_bytes(2, "big") for code in match.group().split("\\u")[1:])
    return codes.decode("utf-16-be", errors="replace")


def _json_pairs(source: Input, report: ReadReport, kind: NameKind) -> Iterator[tuple[str, str]]:
    text = source.read(_MAX_JSON).decode("utf-8-sig", errors="replace")
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source.path} does not parse: {error}.", remedy="Give one JSON object.") from None
    for key, value in table.items():
        for name in _texts(value, kind):
            if isinstance(name, str) and name.strip():
                yield key, name.strip()
            else:
                report.skip("a name that is no text", f"{key}: {json.dumps(name)}")


def _texts(value: Any, kind: NameKind) -> list[Any]:
    if isinstance(value, dict):
        found = value.get(kind, value.get(kind + "s", []))
        return found if isinstance(found, list) else [found]
    return value if isinstance(value, list) else [value]
