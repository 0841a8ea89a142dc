"""RDF: the W3C's suites, recovery after bad statements, and names that stand in vocabularies."""

from __future__ import annotations

import builtins
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyoxigraph as ox
import pytest

from groundzero.errors import InputError
from groundzero.graph.formats.rdf import iri_of, key_of, read_rdf, write_rdf
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import EntityName, Fact, RelationName, Row, Triple
from groundzero.graph.nouns import Literal

MF = "http://www.w3.org/2001/sw/DataAccess/tests/test-manifest#"
TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
SUITES = {"n-triples": ("ntriples", 70), "n-quads": ("nquads", 87), "turtle": ("turtle", 290)}


def rows(text: str | bytes, syntax: str = "turtle", **options: Any) -> tuple[list[Row], ReadReport]:
    report = ReadReport()
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_rdf(io.BytesIO(data), report, syntax=syntax, scope="test", **options)), report


def manifest(folder: Path) -> Iterator[tuple[str, str, Path, Path | None]]:
    """(type of test, base, input, expected) of every entry."""
    found: dict[str, dict[str, Any]] = {}
    quads = list(ox.parse(path=str(folder / "manifest.ttl"), base_iri=folder.as_uri() + "/"))
    bases = (quad.object.value for quad in quads if quad.predicate.value == MF + "assumedTestBase")
    base = next(bases, "http://example.org/")
    for quad in quads:
        found.setdefault(quad.subject.value, {}).setdefault(quad.predicate.value, quad.object)
    for entry in found.values():
        kind = entry[TYPE].value if TYPE in entry else ""
        if MF + "action" in entry:
            paths = [entry.get(MF + name) for name in ("action", "result")]
            action, result = (None if p is None else Path(unquote(p.value.removeprefix("file://"))) for p in paths)
            assert action is not None
            yield kind.partition("#Test")[2], base, action, result


@pytest.mark.parametrize("suite", SUITES)
def test_w3c_suite(suite: str, data_dir: Path, tmp_path: Path) -> None:
    syntax, at_least = SUITES[suite]
    with tarfile.open(data_dir / "formats-rdf" / f"w3c-rdf11-rdf-{suite}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    failed, count = [], 0
    for kind, base, action, result in manifest(tmp_path / f"rdf/rdf11/rdf-{suite}"):
        count += 1
        found, report = rows(action.read_bytes(), syntax, base=base + action.name, names=False)
        if bool(report.skipped) != ("Negative" in kind):
            failed.append((kind, action.name, dict(report.skipped)))
        if result is not None and not same_graph(found, result):
            failed.append((kind, action.name, "another graph"))
    assert not failed
    assert count >= at_least


def same_graph(found: list[Row], expected: Path) -> bool:
    written = io.BytesIO()
    write_rdf(found, written, syntax="ntriples", report=ReadReport())
    ours, theirs = (
        ox.Dataset(ox.parse(input=data, format=ox.RdfFormat.N_TRIPLES))
        for data in (written.getvalue(), expected.read_bytes())
    )
    for graph in (ours, theirs):
        graph.canonicalize(ox.CanonicalizationAlgorithm.UNSTABLE)
    return bool(ours == theirs)


@pytest.mark.parametrize("syntax", ["ntriples", "nquads", "turtle"])
def test_a_bad_statement_costs_itself(syntax: str) -> None:
    found, report = rows(
        '<http://a/s> <http://a/p> <http://a/ o> .\n<http://a/s> <http://a/p> "\\q" .\n'
        '<http://a/s> <http://a/p> "x"@en .\n',
        syntax,
    )
    assert found == [Fact("http://a/s", "http://a/p", Literal("x", "string", "en"))]
    assert sum(report.skipped.values()) == 2
    assert {example.line for example in report.examples} == {1, 2}


def test_named_graphs_are_sources_and_the_default_graph_is_the_file() -> None:
    found, _ = rows("<urn:s> <urn:p> <urn:o> <urn:g> .\n<urn:s> <urn:p> <urn:o> .\n", "nquads")
    assert found == [Fact("urn:s", "urn:p", "urn:o", "urn:g"), Triple("urn:s", "urn:p", "urn:o")]


def test_vocabularies_of_names_are_names() -> None:
    found, _ = rows(
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        "@prefix skos: <http://www.w3.org/2004/02/skos/core#> .\n"
        '<urn:p> a <http://www.w3.org/2002/07/owl#ObjectProperty> ; rdfs:label "capital"@en .\n'
        '<urn:s> rdfs:label "Peru"@en ; skos:altLabel "Perú"@es ; rdfs:comment "a state" ; <urn:p> 5 .\n'
    )
    assert found == [
        RelationName("urn:p", ""),
        RelationName("urn:p", "capital", "label", "en"),
        EntityName("urn:s", "Peru", "label", "en"),
        EntityName("urn:s", "Perú", "alias", "es"),
        EntityName("urn:s", "a state", "description", ""),
        Fact("urn:s", "urn:p", Literal("5", "integer")),
    ]


def test_blank_nodes_keep_their_names_from_one_reading_to_the_next_and_apart_from_other_files() -> None:
    text = "[] <urn:p> [ <urn:q> _:x ] . _:x <urn:p> <urn:o> ."
    once, _ = rows(text)
    again, _ = rows(text)
    other = list(read_rdf(io.BytesIO(text.encode()), ReadReport(), syntax="turtle", scope="other"))
    assert once == again
    keys = {part for row in once for part in row[:3] if str(part).startswith("_:")}
    assert keys.isdisjoint({part for row in other for part in row[:3]})


def test_statements_about_statements_are_skipped_with_a_reason() -> None:
    found, report = rows("<urn:s> <urn:p> <<( <urn:a> <urn:b> <urn:c> )>> , <urn:o> .")
    assert found == [Triple("urn:s", "urn:p", "urn:o")]
    assert list(report.skipped) == ["a statement about a statement (RDF 1.2 triple term)"]


@pytest.mark.parametrize("key", ["Peru", "São Tomé", "a b/c:d", "", "urn:groundzero:entity:x", "100%", "http://a/ b"])
def test_a_key_that_is_no_iri_comes_back_from_its_iri(key: str) -> None:
    iri = iri_of(key, "entity")
    assert key_of(iri) == key
    ox.NamedNode(iri)  # raises where it is none


def test_without_pyoxigraph_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pyoxigraph":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"groundzero\[rdf\]"):
        rows("<urn:s> <urn:p> <urn:o> .")


def test_a_file_of_something_else_is_refused_before_its_end() -> None:
    with pytest.raises(InputError, match="no ntriples"):
        rows("Peru\tcapital\tLima\n" * 10_001, "ntriples")
