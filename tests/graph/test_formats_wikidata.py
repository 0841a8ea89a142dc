"""Wikidata's JSON in all its shapes, with claims as they come."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from groundzero.errors import InputError
from groundzero.graph.formats.literals import UNIT, WKT, XSD
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import EntityName, Fact, RelationName, Row, Triple
from groundzero.graph.formats.wikidata import read_wikidata
from groundzero.graph.importing import import_file
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store


def text(value: str, language: str = "en") -> dict[str, str]:
    return {"value": value, "language": language}


def claim(relation: str, kind: str, value: Any, **more: Any) -> dict[str, Any]:
    snak = {"snaktype": "value", "property": relation, "datavalue": {"type": kind, "value": value}}
    return {"mainsnak": snak, "rank": "normal", **more}


def item(key: str, *claims: dict[str, Any], **more: Any) -> dict[str, Any]:
    groups: dict[str, list[Any]] = {}
    for each in claims:
        groups.setdefault(each["mainsnak"]["property"], []).append(each)
    return {"id": key, "type": "item" if key[0] == "Q" else "property", "claims": groups, **more}


def read(*documents: Any, **options: Any) -> tuple[list[Row], ReadReport]:
    report = ReadReport()
    return list(read_wikidata([json.dumps(each) for each in documents], report, **options)), report


def time(value: str, precision: int) -> dict[str, Any]:
    return {"time": value, "precision": precision}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("wikibase-entityid", {"entity-type": "item", "numeric-id": 5}, "Q5"),
        ("wikibase-entityid", {"entity-type": "item", "id": "Q5", "numeric-id": 5}, "Q5"),
        ("wikibase-entityid", {"entity-type": "lexeme", "id": "L5"}, "L5"),
        ("string", "x", Literal("x")),
        ("monolingualtext", {"text": "Perú", "language": "es"}, Literal("Perú", "string", "es")),
        ("time", time("+1952-03-11T00:00:00Z", 11), Literal("1952-03-11", "date")),
        ("time", time("-0044-03-15T00:00:00Z", 11), Literal("-0044-03-15", "date")),
        ("time", time("+1952-03-00T00:00:00Z", 10), Literal("1952-03", XSD + "gYearMonth")),
        ("time", time("+1952-00-00T00:00:00Z", 9), Literal("1952", "year")),
        ("time", time("+1952-00-00T00:00:00Z", 8), Literal("1950s")),
        ("time", time("+1952-00-00T00:00:00Z", 7), Literal("century 20")),
        ("quantity", {"amount": "+42", "unit": "1"}, Literal("42", "integer")),
        ("quantity", {"amount": "-4.5", "unit": "1"}, Literal("-4.5", "decimal")),
        ("quantity", {"amount": "+9", "unit": UNIT + "Q11573"}, Literal("9", UNIT + "Q11573")),
        ("globecoordinate", {"latitude": -12.05, "longitude": -77.04}, Literal("Point(-77.04 -12.05)", WKT)),
    ],
)
def test_values(kind: str, value: Any, expected: Any) -> None:
    found, report = read(item("Q1", claim("P1", kind, value)))
    assert found[1:] == [Triple("Q1", "P1", expected) if isinstance(expected, str) else Fact("Q1", "P1", expected)]
    assert not report.skipped


def test_ranks_missing_values_and_strange_ones_are_reported() -> None:
    deprecated = claim("P1", "string", "x", rank="deprecated")
    unknown = claim("P1", "string", "x")
    unknown["mainsnak"]["snaktype"] = "somevalue"
    broken = claim("P1", "time", {"time": "soon"})
    odd = claim("P1", "wikibase-thing", {})
    found, report = read(item("Q1", deprecated, unknown, broken, odd, claim("P1", "string", "y", rank="preferred")))
    assert found[1:] == [Fact("Q1", "P1", Literal("y"))]
    assert sum(report.skipped.values()) == 4
    assert {"deprecated rank", "somevalue: no value to state", "a value of type wikibase-thing"} <= set(report.skipped)


def test_start_and_end_are_validity_and_other_qualifiers_are_noted() -> None:
    dated = claim("P1", "string", "x", references=[{}])
    qualifiers = {"P580": "+1990-00-00T00:00:00Z", "P582": "+1995-00-00T00:00:00Z", "P9": "+1999-00-00T00:00:00Z"}
    dated["qualifiers"] = {
        relation: [claim(relation, "time", time(value, 9))["mainsnak"]] for relation, value in qualifiers.items()
    }
    found, report = read(item("Q1", dated))
    assert found[1:] == [Fact("Q1", "P1", Literal("x"), valid_from="1990", valid_to="1995")]
    assert report.notes == {"qualifiers left out": 1, "references left out": 1}


NAMES = {
    "labels": {"en": text("Peru"), "es": text("Perú", "es")},
    "aliases": {"en": [text("RP")], "es": [text("PE", "es")]},
    "descriptions": {"en": text("state"), "es": text("estado", "es")},
}


def test_names_in_the_languages_wanted() -> None:
    english, _ = read(item("Q1", **NAMES))
    assert [row[1:3] for row in english] == [
        ("", "label"),
        ("Peru", "label"),
        ("RP", "alias"),
        ("state", "description"),
    ]
    both, _ = read(item("Q1", **NAMES), languages=("es", "en"))
    assert [row[1:3] for row in both][1:3] == [("Perú", "label"), ("Peru", "alias")]
    everything, _ = read(item("Q1", **NAMES), all_languages=True)
    assert {row[1] for row in everything} == {"", "Peru", "Perú", "RP", "PE", "state", "estado"}
    other, _ = read(item("Q1", labels={"de": text("Weltall", "de")}))
    assert other[1] == EntityName("Q1", "Weltall", "label", "de")  # better than none


def test_properties_are_relations() -> None:
    found, _ = read(item("P36", claim("P7087", "monolingualtext", {"text": "capital of", "language": "en"}), **NAMES))
    assert found[:3] == [
        RelationName("P36", ""),
        RelationName("P36", "Peru", "label", "en"),
        RelationName("P36", "RP", "alias", "en"),
    ]
    assert RelationName("P36", "capital of", "inverse", "en") in found


@pytest.mark.parametrize("shape", ["array", "lines", "one line", "pretty", "answer", "pretty array"])
def test_shapes(shape: str) -> None:
    documents = [item("Q1", claim("P1", "string", "x")), item("Q2", claim("P1", "string", "y"))]
    lines = [json.dumps(each) for each in documents]
    shapes = {
        "array": ["[", lines[0] + ",", lines[1], "]"],
        "lines": lines,
        "one line": [json.dumps(documents)],
        "pretty": json.dumps({"entities": {each["id"]: each for each in documents}}, indent=2).split("\n"),
        "answer": [json.dumps({"entities": {each["id"]: each for each in documents}})],
        "pretty array": json.dumps(documents, indent=1).split("\n"),
    }
    report = ReadReport()
    found = list(read_wikidata(shapes[shape], report))
    assert [row for row in found if isinstance(row, Fact)] == [
        Fact("Q1", "P1", Literal("x")),
        Fact("Q2", "P1", Literal("y")),
    ]
    assert not report.skipped


def test_a_bad_line_of_a_dump_costs_itself() -> None:
    report = ReadReport()
    lines = [
        "[",
        json.dumps(item("Q1")) + ",",
        '{"id": "Q2", "claims"',
        json.dumps({"no": "id"}),
        json.dumps(item("Q3", claims=[])),
        "7",
        "]",
    ]
    assert list(read_wikidata(lines, report)) == [EntityName("Q1", ""), EntityName("Q3", "")]
    assert sum(report.skipped.values()) == 3


def test_real_files_import(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "formats-wikidata"
    with tarfile.open(folder / "wikidata-toolkit-resources.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    dumps = [*folder.glob("wd_*.json.gz"), *tmp_path.rglob("mock-dump*.json"), *tmp_path.rglob("sample-dump*.json.gz")]
    dumps += tmp_path.rglob("JsonDeserializer/*.json")
    assert len(dumps) == 10
    for number, path in enumerate(sorted(dumps)):
        store = open_store(tmp_path / f"{number}.db", create=True)
        report = import_file(store, path)
        assert report.format == "wikidata", path
        assert store.counts().entities + store.counts().relations, path
        assert set(report.read.skipped) <= {"deprecated rank", "novalue: no value to state"}, path
        if path.name.startswith("wd_Q42"):
            douglas = store.entity(store.find_entity("Q42") or 0)
            assert (douglas.label, douglas.description) == ("Douglas Adams", "author and humorist")
            assert "Douglas Noel Adams" in douglas.aliases
            assert store.counts().triples == 137
        store.close()


def test_an_answer_without_entities_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"entities": {"Q1": {"id": "Q1", "missing": ""}}}', encoding="utf-8")
    store = open_store(tmp_path / "g.db", create=True)
    with pytest.raises(InputError, match="no Wikidata entity"):
        import_file(store, path)
    store.close()
