"""Tables, JSON lines, and the bytes below them: what is read, what is skipped and why, and that no more is lost."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import ConfigError, FormatError, InputError
from groundzero.graph.formats import reading
from groundzero.graph.formats.delimited import join_record, split_record
from groundzero.graph.formats.jsonl import read_jsonl, statement_record
from groundzero.graph.formats.literals import from_cell, number
from groundzero.graph.formats.names import read_names, tidy_template
from groundzero.graph.formats.options import ImportOptions
from groundzero.graph.formats.reader import detect, read_rows
from groundzero.graph.formats.reading import open_input, read_lines
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import EntityName, Fact, RelationName, Row, Triple
from groundzero.graph.formats.tabular import read_table, write_table
from groundzero.graph.nouns import Literal

PERU = Triple("Peru", "capital", "Lima")
CHILE = Triple("Chile", "capital", "Santiago")


def read(path: Path, **options: Any) -> tuple[list[Row], ReadReport]:
    report = ReadReport()
    chosen = ImportOptions.parse(options)
    with open_input(path) as source:
        return list(read_rows(source, report, chosen, format=detect(source, chosen.format), scope="s")), report


def written(tmp_path: Path, data: bytes | str, name: str = "facts.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_packed_files_are_told_by_their_first_bytes(pack: Any, tmp_path: Path) -> None:
    assert read(written(tmp_path, pack(b"Peru\tcapital\tLima\n")))[0] == [PERU]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfPeru\tcapital\tLima\r\nChile\tcapital\tSantiago",
        b"Peru\tcapital\tLima\rChile\tcapital\tSantiago\r",
        "\ufeffPeru\tcapital\tLima\nChile\tcapital\tSantiago\n".encode("utf-16-le"),
        "\ufeffPeru\tcapital\tLima\r\nChile\tcapital\tSantiago\n".encode("utf-16-be"),
        b"\n\nPeru\tcapital\tLima\n   \nChile\tcapital\tSantiago\n\n",
        b" Peru \tcapital\t Lima\nChile\tcapital\tSantiago\t\t\n",
    ],
)
def test_marks_line_ends_and_blanks_change_nothing(data: bytes, tmp_path: Path) -> None:
    assert read(written(tmp_path, data)) == ([PERU, CHILE], pytest.approx(read(written(tmp_path, data))[1]))


def test_a_line_of_another_encoding_is_read_and_noted(tmp_path: Path) -> None:
    found, report = read(written(tmp_path, "Perú\tcapital\tLima\n".encode("cp1252") + "Perú\tis\tö\n".encode()))
    assert found == [Triple("Perú", "capital", "Lima"), Triple("Perú", "is", "ö")]
    assert report.notes == {"lines that are not UTF-8, read as Windows-1252": 1}


def test_bad_rows_cost_themselves_and_say_where(tmp_path: Path) -> None:
    found, report = read(
        written(tmp_path, "Peru\tcapital\tLima\nonly two\tcells\na\t\tc\na\0b\tr\tc\nChile\tcapital\tSantiago\n")
    )
    assert found == [PERU, CHILE]
    assert report.skipped == {
        "fewer than 3 columns": 1,
        "an empty subject, relation or object": 1,
        "a NUL character": 1,
    }
    assert [example.line for example in report.examples] == [2, 3, 4]


def test_a_line_without_end_is_passed_over_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 2**20)
    monkeypatch.setattr(reading, "_CHUNK", 2**16)
    data = b"Peru\tcapital\tLima\n" + b"x" * 2**22 + b"\nChile\tcapital\tSantiago\n"
    found, report = read(written(tmp_path, data))
    assert found == [PERU, CHILE]
    assert [(example.line, example.reason) for example in report.examples] == [(2, "line longer than 1 MiB")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_torn_file_gives_what_it_has_and_then_says_so(pack: Any, tmp_path: Path) -> None:
    whole = pack("".join(f"a{i}\tr\tb{i * 7919 % 1000}\n" for i in range(60_000)).encode())
    path = written(tmp_path, whole[: len(whole) * 2 // 3])
    with open_input(path) as source, pytest.raises(InputError, match="is damaged"):
        for _ in read_lines(source, ReadReport()):
            pass


def test_headers_are_found_whatever_their_words_and_order(tmp_path: Path) -> None:
    for text in (
        "head\trelation\ttail\nPeru\tcapital\tLima\n",
        "Object,SUBJECT,predicate\nLima,Peru,capital\n",
        "source;rel;target\nPeru;capital;Lima\n",
    ):
        name = "f.tsv" if "\t" in text else "f.csv"
        found, _ = read(written(tmp_path, text, name))
        assert found == [Fact("Peru", "capital", "Lima")]


def test_columns_beside_the_triple_are_read(tmp_path: Path) -> None:
    text = "subject,relation,object,confidence,valid_from,start,end\na,r,b,0.5,2001,3,9\na,r,c,2,,,\na,r,d,,,x,\n"
    found, report = read(written(tmp_path, text, "f.csv"))
    assert found == [Fact("a", "r", "b", confidence=0.5, valid_from="2001", start=3, end=9)]
    assert report.skipped == {"confidence outside 0 to 1": 1, "start or end that is no whole number": 1}


def test_results_of_sparql_are_tables(tmp_path: Path) -> None:
    rows = '<http://a/s>\t<http://a/p>\t<http://a/o>\n<http://a/s>\t<http://a/q>\t"Perú"@es\n'
    for head in ("", "?subject\t?predicate\t?object\n"):
        found, _ = read(written(tmp_path, head + rows))
        assert [row[:3] for row in found] == [
            ("http://a/s", "http://a/p", "http://a/o"), ("http://a/s", "http://a/q", Literal("Perú", "string", "es")),
        ]  # fmt: skip


def test_columns_may_be_named_and_left_out(tmp_path: Path) -> None:
    found, _ = read(
        written(tmp_path, "1 Lima Peru capital".replace(" ", "\t")), columns=("-", "object", "subject", "relation")
    )
    assert found == [Fact("Peru", "capital", "Lima")]
    with pytest.raises(ConfigError, match="no column is called 'subjekt'"):
        ImportOptions.parse({"columns": ("subjekt",)})
    with pytest.raises(InputError, match="lack object"):
        read(written(tmp_path, "a\tb\n"), columns=("subject", "relation"))


def test_other_separators_are_told_from_the_lines(tmp_path: Path) -> None:
    assert read(written(tmp_path, "Peru|capital|Lima\nChile|capital|Santiago\n", "kb.txt"))[0] == [PERU, CHILE]
    assert read(written(tmp_path, "Peru;capital;Lima\n", "kb.csv"))[0] == [PERU]


@pytest.mark.parametrize(
    ("cell", "literal"),
    [
        ("42", Literal("42", "integer")),
        ("-3.5", Literal("-3.5", "decimal")),
        ("1,285,216", Literal("1285216", "integer")),
        ("1952-03-11", Literal("1952-03-11", "date")),
        ('"Hola"@es', Literal("Hola", "string", "es")),
        ('"a \\"b\\" \\u00e9"', Literal('a "b" é')),
        ('"5"^^<http://www.w3.org/2001/XMLSchema#integer>', Literal("5", "integer")),
        ("Lima", None), ("2nd Street", None), ("", None), ("+", None), ("1984 (novel)", None), ('"open', None),
    ],
)  # fmt: skip
def test_cells_that_are_plainly_values(cell: str, literal: Literal | None) -> None:
    assert from_cell(cell, "Peru") == literal


def test_numbers_between_numbers_are_ids(tmp_path: Path) -> None:
    assert read(written(tmp_path, "17\t3\t42\n"))[0] == [Triple("17", "3", "42")]
    assert read(written(tmp_path, "Peru\tage\t42\n"), literals=False)[0] == [Triple("Peru", "age", "42")]


def test_literals_as_numbers_order_as_they_should() -> None:
    dates = [Literal(text, "date") for text in ("-0044-03-15", "1951-12-31", "1952-01-01", "1952-03-11")]
    values = [number(literal) for literal in dates]
    assert values == sorted(value for value in values if value is not None)
    assert number(Literal("1.5e3", "http://www.w3.org/2001/XMLSchema#double")) == 1500
    assert number(Literal("much")) is None
    assert number(Literal("inf", "decimal")) is None


@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
        min_size=2,
        max_size=5,
    )
)
def test_cells_of_csv_come_back(cells: list[str]) -> None:
    assert split_record(join_record(cells, ","), ",") == cells


def test_a_cell_may_hold_lines_and_a_stray_quote_costs_one_row(tmp_path: Path) -> None:
    text = 'subject,relation,object\na,says,"one\ntwo"\nb,says,"never closed\nc,says,d\n' + "e,says,f\n" * 3
    found, report = read(written(tmp_path, text, "f.csv"))
    assert found == [Fact("a", "says", "one\ntwo"), Fact("c", "says", "d"), *[Fact("e", "says", "f")] * 3]
    assert [(one.line, one.reason) for one in report.examples] == [(4, "a quote that is never closed")]


def test_huge_cells_are_cells(tmp_path: Path) -> None:
    text = "x" * 3_000_000
    found, report = read(written(tmp_path, f'a,r,"{text}, and more"\nb,r,c\n', "f.csv"))
    assert [len(row.object) for row in found if isinstance(row, Triple)] == [3_000_010, 1]
    assert not report.skipped


text_ = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
keys = text_.filter(str.strip)
literals = st.builds(Literal, text_, st.sampled_from(["string", "integer", "http://a/b"]), st.sampled_from(["", "en"]))
facts = st.builds(
    Fact, keys, keys, keys | literals, st.none() | keys, st.none() | st.integers(0, 9), st.none() | st.integers(9, 99),
    st.floats(0, 1), st.sampled_from(["", "2001"]), st.just(""), st.sampled_from(["accepted", "quarantined"]),
)  # fmt: skip


@given(st.lists(facts, max_size=5), st.sampled_from(["\t", ","]))
def test_statements_come_back_from_tables(rows: list[Fact], delimiter: str) -> None:
    stream = io.StringIO()
    write_table(rows, stream, delimiter=delimiter, report=ReadReport())
    report = ReadReport()
    lines = stream.getvalue().split("\n")
    found = list(read_table(lines, report, delimiter=delimiter, quoted=delimiter == ","))
    assert not report.skipped
    assert found == rows


@given(st.lists(facts, max_size=5))
def test_statements_come_back_from_json_lines(rows: list[Fact]) -> None:
    lines = [json.dumps(statement_record(row)) for row in rows]
    assert list(read_jsonl(lines, ReadReport())) == rows


def test_json_lines_of_others() -> None:
    lines = [
        '{"head": "Peru", "relation": "capital", "tail": "Lima"}',
        '{"s": "Peru", "p": "population", "o": 33000000, "confidence": 0.9}',
        '{"id": "Q419", "label": "Peru", "aliases": ["Perú"], "type": "state", "description": "in South America"}',
        "[1, 2]", "{nonsense", '{"a": 1}', '{"subject": "x", "relation": "r", "object": {"value": null}}',
        '{"subject": "x", "relation": "r", "object": "y", "confidence": 7}',
        '{"kind": "entity", "key": "x", "names": [{"text": "X", "kind": "nickname"}]}',
        '{"subject": "\\ud800", "relation": "r", "object": "y"}',
    ]  # fmt: skip
    report = ReadReport()
    found = list(read_jsonl(lines, report))
    assert found[0] == Fact("Peru", "capital", "Lima")
    assert found[1] == Fact("Peru", "population", Literal("33000000", "integer"), confidence=0.9)
    names = [row for row in found if isinstance(row, EntityName) and row.text]
    assert [(row.text, row.kind) for row in names] == [
        ("Peru", "label"), ("Perú", "alias"), ("in South America", "description"), ("state", "type"),
    ]  # fmt: skip
    assert sum(report.skipped.values()) == 7


def test_a_newer_export_is_refused() -> None:
    with pytest.raises(FormatError, match="schema 99"):
        list(read_jsonl(['{"kind": "graph", "schema": 99}'], ReadReport()))


@pytest.mark.parametrize(
    ("name", "text", "format_"),
    [
        ("f", "Peru\tcapital\tLima\n", "tsv"),
        ("f.txt", "Peru,capital,Lima\n", "csv"),
        ("f.txt.gz", "# remark\n<urn:s> <urn:p> <urn:o> .\n", "ntriples"),
        ("f", '<urn:s> <urn:p> "x"@en <urn:g> .\n', "nquads"),
        ("f", "@prefix a: <urn:a> .\na:s a:p a:o .\n", "turtle"),
        ("f", "PREFIX a: <urn:a>\na:s a:p a:o .\n", "turtle"),
        ("f.json", '[\n{"type":"item","id":"Q1","labels":{},"claims":{}},\n]\n', "wikidata"),
        ("f.json", '{\n  "entities": {\n', "wikidata"),
        ("f.jsonl", '{"type":"item","id":"Q1","labels":{},"claims":{}}\n', "wikidata"),
        ("f", '{"subject": "a", "relation": "b", "object": "c"}\n', "jsonl"),
        ("f.ttl", "anything", "turtle"),
        ("f", '<?xml version="1.0"?><rdf:RDF>', "rdfxml"),
    ],
)
def test_formats_are_told_apart(name: str, text: str, format_: str, tmp_path: Path) -> None:
    with open_input(written(tmp_path, text, name)) as source:
        assert detect(source) == format_


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("just some words\n", "Cannot tell")])
def test_what_is_no_graph_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with open_input(written(tmp_path, text, "f")) as source, pytest.raises(InputError, match=message):
        detect(source)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "gone.tsv", "No file at"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=message), open_input(path):
            pass


@pytest.mark.parametrize(
    ("text", "kind", "owner", "expected"),
    [
        ("Q1\tPeru\n", "label", "entity", [EntityName("Q1", "Peru")]),
        ("Q1\tPerú\tRP\n", "alias", "entity", [EntityName("Q1", "Perú", "alias"), EntityName("Q1", "RP", "alias")]),
        ("Q1\ta, b\tc\n", "description", "entity", [EntityName("Q1", "a, b\tc", "description")]),
        ('<http://a/s>\t"Perú"@es\n', "label", "entity", [EntityName("http://a/s", "Perú")]),
        ("Q1\tConcepci\\u00F3n \\uD83C\\uDDF5\n", "label", "entity", [EntityName("Q1", "Concepción 🇵")]),
        ('{"P1": "capital"}', "label", "relation", [RelationName("P1", "capital")]),
        ('{"P1": {"label": "capital", "description": "seat"}}', "label", "relation", [RelationName("P1", "capital")]),
        ('{"Q1": ["human", "king"]}', "type", "entity", [EntityName("Q1", each, "type") for each in ("human", "king")]),
        ('{"P1": "[X] in [Y] ."}', "template", "relation", [RelationName("P1", "{subject} in {object}.", "template")]),
        ("P1\tWhere is {s} ?\n", "template", "relation", [RelationName("P1", "Where is {subject}?", "question")]),
    ],
)  # fmt: skip
def test_files_of_names(text: str, kind: Any, owner: Any, expected: list[Row], tmp_path: Path) -> None:
    report = ReadReport()
    with open_input(written(tmp_path, text, "names")) as source:
        assert list(read_names(source, report, kind, owner=owner)) == expected
    assert not report.skipped


def test_bad_names_are_skipped_with_a_reason(tmp_path: Path) -> None:
    report = ReadReport()
    with open_input(written(tmp_path, "no tab\nP1\t\nP1\tno slots\nP2\t[X] of [Y]\n")) as source:
        assert len(list(read_names(source, report, "template", owner="relation"))) == 1
    assert sum(report.skipped.values()) == 3
    assert tidy_template("[Y] is {head} 's capital , too .") == "{object} is {subject} 's capital, too."
    with open_input(written(tmp_path, "{broken")) as source, pytest.raises(InputError, match="does not parse"):
        list(read_names(source, report, "label", owner="entity"))
