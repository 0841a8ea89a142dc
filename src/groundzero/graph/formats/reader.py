"""One door to all formats: what a file is, and its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from groundzero.errors import InputError
from groundzero.graph.formats.jsonl import read_jsonl
from groundzero.graph.formats.options import RDF, Format, ImportOptions
from groundzero.graph.formats.rdf import read_rdf
from groundzero.graph.formats.reading import Input, read_lines, utf8_stream
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import Row
from groundzero.graph.formats.tabular import read_table
from groundzero.graph.formats.wikidata import read_wikidata

_SUFFIXES: dict[str, Format] = {
    ".tsv": "tsv", ".tab": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".nt": "ntriples",
    ".ntriples": "ntriples", ".nq": "nquads", ".nquads": "nquads", ".ttl": "turtle", ".turtle": "turtle",
    ".trig": "trig", ".rdf": "rdfxml", ".owl": "rdfxml", ".xml": "rdfxml",
}  # fmt: skip
_PACKED = (".gz", ".bz2", ".xz")
_NTRIPLES = re.compile(
    r"\s*(<[^<>\s]*>|_:\S+)\s*<[^<>\s]*>\s*(<[^<>\s]*>|_:\S+|\".*\"\S*)\s*(<[^<>\s]*>|_:\S+)?\s*\.\s*(#|$)"
)
_DELIMITERS = ("\t", "|", ";", ",")


def read_rows(
    source: Input, report: ReadReport, options: ImportOptions, *, format: Format, scope: str
) -> Iterator[Row]:
    """Rows of an open file of a known format.

    Args:
        scope: sets blank nodes of this document apart from those of others.
    """
    if format in RDF:
        stream = utf8_stream(source, report, encoding=options.encoding)
        yield from read_rdf(stream, report, syntax=format, scope=scope, base=options.base)
        return
    lines = read_lines(source, report, encoding=options.encoding)
    if format == "wikidata":
        yield from read_wikidata(lines, report, languages=options.languages, all_languages=options.all_languages)
    elif format == "jsonl":
        yield from read_jsonl(lines, report)
    else:
        delimiter = options.delimiter or _delimiter(source, format)
        yield from read_table(
            lines,
            report,
            delimiter=delimiter,
            quoted=format == "csv",
            columns=options.columns,
            literals=options.literals,
        )


def detect(source: Input, wanted: Format = "auto") -> Format:
    """The format of an open file, from its name and its first 64 KiB.

    Raises:
        InputError: it is empty, or none of the formats.
    """
    if wanted != "auto":
        return wanted
    name = _bare(source.path)
    by_name = _SUFFIXES.get(name.suffix.lower())
    head = _head(source)
    if not head.strip():
        raise InputError(f"{source.path} is empty.", remedy="Give a file of facts.")
    looks = _from_text(head)
    if by_name == "jsonl" and looks == "wikidata":
        return "wikidata"
    if by_name is not None:
        return by_name
    if looks is None:
        raise InputError(
            f"Cannot tell what {source.path} holds.",
            remedy="Say so with --format: tsv, csv, jsonl, ntriples, nquads, turtle, trig, rdfxml or wikidata.",
        )
    return looks


def _from_text(head: str) -> Format | None:
    start = head.lstrip("\ufeff \t\r\n")
    if start[:1] in "[{":
        return _json_kind(start)
    if start.startswith(("<?xml", "<rdf:RDF")):
        return "rdfxml"
    lines = [line for line in head.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines and (match := _NTRIPLES.match(lines[0])):
        return "nquads" if match.group(3) else "ntriples"
    if any(re.match(r"\s*(@prefix|@base|prefix\s|base\s+<)", line, re.IGNORECASE) for line in lines[:50]):
        return "turtle"
    if not lines:
        return None
    for delimiter in _DELIMITERS:
        if lines[0].count(delimiter) >= 2:
            return "tsv" if delimiter in "\t|" else "csv"
    return None


def _json_kind(start: str) -> Format:
    """Wikidata where the first object has what only Wikidata's have; else lines of JSON."""
    first = start.lstrip("[ \t\r\n").partition("\n")[0].rstrip().rstrip(",")
    try:
        record = json.loads(first)
    except ValueError:
        many_lines = not re.search(r'"kind"\s*:', start)
        return "wikidata" if many_lines and re.search(r'"(claims|entities|statements|labels)"\s*:', start) else "jsonl"
    is_wikidata = isinstance(record, dict) and bool({"claims", "entities", "datatype", "lemmas"} & set(record))
    return "wikidata" if is_wikidata and "kind" not in record and "subject" not in record else "jsonl"


def _delimiter(source: Input, format: Format) -> str:
    """The one that the first lines have most of; a comma or tab where they have none."""
    lines = [line for line in _head(source).splitlines()[:20] if line.strip()]
    usual = "," if format == "csv" else "\t"
    if not lines or any(usual in line for line in lines):
        return usual
    counts = {delimiter: min(line.count(delimiter) for line in lines) for delimiter in _DELIMITERS}
    best = max(counts, key=lambda delimiter: counts[delimiter])
    return best if counts[best] >= 2 else usual


def _head(source: Input) -> str:
    head = source.peek()
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return head.decode(encoding, errors="replace").removeprefix("\ufeff")


def _bare(path: Path) -> Path:
    """The path without the endings of compression."""
    while path.suffix.lower() in _PACKED:
        path = path.with_suffix("")
    return path
