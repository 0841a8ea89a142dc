"""Wikidata's JSON: whole dumps (one array, one entity a line), line-delimited, or one entity or API answer in a file.

https://www.mediawiki.org/wiki/Wikibase/DataModel/JSON. Items become entities and properties relations. Deprecated
claims and those without a value are skipped and reported; start and end times (P580, P582) become validity; other
qualifiers and references are left out, and noted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from groundzero.graph.formats.literals import from_wikidata
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import EntityName, Fact, RelationName, Row, Triple
from groundzero.graph.nouns import Literal, NameKind

INSTANCE_OF = "P31"
_START, _END = "P580", "P582"
_INVERSE_LABEL = "P7087"  # what the way back is called
_MAX_DOCUMENT = 2**29  # characters of a file that is one JSON document over many lines
_PREFIX = {"item": "Q", "property": "P"}


def read_wikidata(
    lines: Iterable[str], report: ReadReport, *, languages: Sequence[str] = ("en",), all_languages: bool = False
) -> Iterator[Row]:
    """Rows of a dump.

    Args:
        languages: whose labels, aliases and descriptions are kept; the label is in the first that there is.
            An entity that has none of them is called what it is called in `mul`, or in any other language.
        all_languages: keep names in every language.
    """
    for record in _records(lines, report):
        if "entities" in record and "claims" not in record:  # an answer of the API
            found = record["entities"]
            documents = list(found.values()) if isinstance(found, Mapping) else found
        else:
            documents = [record]
        for document in documents:
            if not isinstance(document, dict) or not isinstance(document.get("id"), str) or "missing" in document:
                report.skip("no Wikidata entity", _excerpt(document))
                continue
            yield from _entity(document, report, languages, all_languages)


def _entity(document: dict[str, Any], report: ReadReport, languages: Sequence[str], everything: bool) -> Iterator[Row]:
    key = document["id"]
    if document.get("type") == "property" or key[:1] == "P":
        yield RelationName(key, "")
        yield from _names(key, document, RelationName, languages, everything, report)
        for claim in _claims(document, _INVERSE_LABEL):
            inverse = _guarded(partial(_main_value, claim), report, claim)
            if isinstance(inverse, Literal) and (everything or inverse.language in languages):
                yield RelationName(key, inverse.value, "inverse", inverse.language)
    else:
        yield EntityName(key, "")
        yield from _names(key, document, EntityName, languages, everything, report)
    groups = document.get("claims") or document.get("statements") or {}
    if not isinstance(groups, Mapping):
        report.skip("claims that are no object", _excerpt(groups))
        return
    for claims in groups.values():
        if not isinstance(claims, list):
            report.skip("claims that are no list", _excerpt(claims))
            continue
        for claim in claims:
            row = _guarded(partial(_statement, key, claim, report), report, claim)
            if row is not None:
                yield row


def _statement(key: str, claim: dict[str, Any], report: ReadReport) -> Row | None:
    snak = claim["mainsnak"]
    if claim.get("rank") == "deprecated":
        report.skip("deprecated rank", f"{key} {snak['property']}")
        return None
    if snak["snaktype"] != "value":
        report.skip(f"{snak['snaktype']}: no value to state", f"{key} {snak['property']}")
        return None
    value = _value(snak)
    if value is None:
        report.skip(f"a value of type {snak['datavalue'].get('type')}", f"{key} {snak['property']}")
        return None
    qualifiers = claim.get("qualifiers") or {}
    valid_from, valid_to = _date(qualifiers, _START), _date(qualifiers, _END)
    others = len(set(qualifiers) - {_START, _END})
    if others:
        report.note("qualifiers left out", others)
    if claim.get("references"):
        report.note("references left out", len(claim["references"]))
    if isinstance(value, str) and not valid_from and not valid_to:
        return Triple(key, snak["property"], value)
    return Fact(key, snak["property"], value, valid_from=valid_from, valid_to=valid_to)


def _value(snak: dict[str, Any]) -> str | Literal | None:
    datavalue = snak["datavalue"]
    if datavalue["type"] != "wikibase-entityid":
        return from_wikidata(datavalue["type"], datavalue["value"])
    value = datavalue["value"]
    if "id" in value:
        return str(value["id"])
    return _PREFIX[value["entity-type"]] + str(int(value["numeric-id"]))  # dumps before 2017 have only the number


def _main_value(claim: dict[str, Any]) -> str | Literal | None:
    return _value(claim["mainsnak"])


def _names(
    key: str,
    document: dict[str, Any],
    row: type[EntityName] | type[RelationName],
    languages: Sequence[str],
    everything: bool,
    report: ReadReport,
) -> Iterator[Row]:
    labels = _table(document, "labels") or _table(document, "lemmas")
    order = [language for language in (*languages, "mul") if language in labels] or sorted(labels)[:1]
    for language in [*order, *(sorted(set(labels) - set(order)) if everything else ())]:
        kind: NameKind = "label" if everything or language == order[0] else "alias"
        yield from _named(row, key, labels[language], kind, report)
    kept = order if not everything else None
    for language, aliases in _table(document, "aliases").items():
        if kept is None or language in kept:
            for alias in aliases if isinstance(aliases, list) else [aliases]:
                yield from _named(row, key, alias, "alias", report)
    if row is RelationName:
        return  # relations have no description
    descriptions = _table(document, "descriptions")
    wanted = descriptions if everything else [language for language in order if language in descriptions][:1]
    for language in wanted:
        yield from _named(row, key, descriptions[language], "description", report)


def _named(
    row: type[EntityName] | type[RelationName], key: str, name: Any, kind: NameKind, report: ReadReport
) -> Iterator[Row]:
    made = _guarded(lambda: row(key, _text(name["value"]), kind, _text(name["language"])), report, name)
    if made is not None and made.text.strip():
        yield made


def _table(document: dict[str, Any], field: str) -> dict[str, Any]:
    """A field that is an object; old dumps write an empty one as an empty list."""
    value = document.get(field)
    return value if isinstance(value, dict) else {}


def _claims(document: dict[str, Any], relation: str) -> list[Any]:
    found = _table(document, "claims").get(relation)
    return found if isinstance(found, list) else []


def _date(qualifiers: Any, relation: str) -> str:
    """The date in the first qualifier of this kind; empty where there is none."""
    for snak in qualifiers.get(relation, ()):
        if snak.get("snaktype") == "value":
            value = _value(snak)
            if isinstance(value, Literal) and value.datatype != "string":
                return value.value
    return ""


Made = TypeVar("Made")


def _guarded(make: Callable[[], Made], report: ReadReport, about: Any) -> Made | None:
    """`make()`, or None and a skipped row where the JSON is not of the shape it should have."""
    try:
        return make()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        report.skip(f"not of Wikidata's shape: {type(error).__name__} {error}"[:80], _excerpt(about))
        return None


def _records(lines: Iterable[str], report: ReadReport) -> Iterator[dict[str, Any]]:
    """Objects of an array with one a line, of plain lines, or of one document over many lines."""
    numbered = iter(lines)
    begun, opening = False, ""
    for line in numbered:
        text = line.strip()
        if not text or text in ("[", "]", ","):
            opening = text if text == "[" and not begun else opening
            continue
        text = text.rstrip(",")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            if not begun and not text.endswith(("}", "]")):
                yield from _document(opening + line, numbered, report)
                return
            if text.startswith("[{"):  # an array that begins on the line of its first entity
                record = _or_none(text.removeprefix("["))
            elif text.endswith("}]"):
                record = _or_none(text.removesuffix("]"))
            else:
                record = None
            if record is None:
                report.skip("not JSON", text)
                continue
        begun = True
        for one in record if isinstance(record, list) else [record]:
            if isinstance(one, dict):
                yield one
            else:
                report.skip("not a JSON object", _excerpt(one))


def _document(first: str, rest: Iterator[str], report: ReadReport) -> Iterator[dict[str, Any]]:
    """The one document that the whole file is."""
    parts, size = [first], len(first)
    for line in rest:
        parts.append(line)
        size += len(line)
        if size > _MAX_DOCUMENT:
            report.skip(f"a document over many lines with more than {_MAX_DOCUMENT // 2**20} MiB", first)
            return
    text = "\n".join(parts)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        report.skip(f"not JSON: {error}", text)
        return
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, dict):
            yield one


def _or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    value.encode()  # raises for half a surrogate pair
    return value


def _excerpt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]
