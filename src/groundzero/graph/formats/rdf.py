"""RDF: N-Triples, N-Quads, Turtle, TriG and RDF/XML, in and out, with named graphs as sources.

The parser is pyoxigraph's (the extra `rdf`), which goes on after an error: a bad statement costs itself. What RDF says
through well-known vocabularies becomes names here: rdfs:label and the like a label, skos:altLabel an alias,
rdfs:comment a description. Keys are IRIs; what is none gets one of ours, which reads back as what it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any
from urllib.parse import quote, unquote

from groundzero.errors import InputError
from groundzero.graph.formats.literals import from_rdf, rdf_datatype
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import THIS_FILE, EntityName, Fact, RelationName, Row, SourceRow, Triple
from groundzero.graph.nouns import Literal, NameKind

OURS = "urn:groundzero:"
"""Prefix of IRIs for keys that are no IRIs: urn:groundzero:entity:Douglas%20Adams."""

RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_SKOS = "http://www.w3.org/2004/02/skos/core#"
_RDFS = "http://www.w3.org/2000/01/rdf-schema#"
_SCHEMA = ("http://schema.org/", "https://schema.org/")
_WRITTEN: dict[NameKind, str] = {
    "label": _RDFS + "label",
    "alias": _SKOS + "altLabel",
    "description": _RDFS + "comment",
    "type": OURS + "name:type",
    "inverse": OURS + "name:inverse",
    "template": OURS + "name:template",
    "question": OURS + "name:question",
}
_NAMES: dict[str, NameKind] = {
    **{iri: kind for kind, iri in _WRITTEN.items()},
    _SKOS + "prefLabel": "label",
    _SKOS + "definition": "description",
    "http://purl.org/dc/terms/title": "label",
    "http://purl.org/dc/terms/description": "description",
    "http://purl.org/dc/elements/1.1/title": "label",
    "http://xmlns.com/foaf/0.1/name": "label",
    **{base + "name": "label" for base in _SCHEMA},
    **{base + "alternateName": "alias" for base in _SCHEMA},
    **{base + "description": "description" for base in _SCHEMA},
}
_RELATION_ONLY = ("inverse", "template", "question")
_PROPERTY = "http://www.w3.org/1999/02/22-rdf-syntax-ns#Property"
_PROPERTIES = {_PROPERTY, *(f"http://www.w3.org/2002/07/owl#{kind}Property" for kind in ("Object", "Datatype"))}
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|\\^`]*\Z")
_LINE_AND_COLUMN = re.compile(r"Parser error at .*?: ")
_MAX_ERRORS_IN_A_ROW = 10_000  # a file of another format would otherwise be chewed through to its end


def read_rdf(
    stream: IO[bytes], report: ReadReport, *, syntax: str, scope: str, base: str = "file:///", names: bool = True
) -> Iterator[Row]:
    """Rows of an RDF document.

    Args:
        syntax: ntriples, nquads, turtle, trig or rdfxml.
        scope: sets blank nodes of this document apart from those of others; the same for the same document.
        base: what relative IRIs are relative to.
        names: turn labels and the like into names; False keeps them as statements.

    Raises:
        InputError: pyoxigraph is not installed, or the document is of another syntax.
    """
    blanks: dict[str, str] = {}
    relations: set[str] = set()

    def node(term: Any) -> str:
        if type(term).__name__ == "BlankNode":
            return blanks.setdefault(term.value, f"_:{scope}-{len(blanks)}")
        return key_of(term.value)

    for quad in _quads(stream, report, syntax, base):
        subject, predicate, object_ = quad.subject, quad.predicate, quad.object
        if type(subject).__name__ == "Triple" or type(object_).__name__ == "Triple":
            report.skip("a statement about a statement (RDF 1.2 triple term)", str(quad))
            continue
        relation = key_of(predicate.value)
        graph = THIS_FILE if type(quad.graph_name).__name__ == "DefaultGraph" else node(quad.graph_name)
        if hasattr(object_, "datatype"):
            literal = from_rdf(object_.value, object_.datatype.value, object_.language or "")
            kind = _NAMES.get(predicate.value) if names else None
            if kind is not None and literal.datatype == "string" and literal.value:
                is_relation = kind in _RELATION_ONLY or subject.value in relations
                row = RelationName if is_relation else EntityName
                yield row(node(subject), literal.value, kind, literal.language)
            else:
                yield Fact(node(subject), relation, literal, source=graph)
        elif names and relation == RDF_TYPE and object_.value in _PROPERTIES:
            relations.add(subject.value)
            yield RelationName(node(subject), "")
        elif graph == THIS_FILE:
            yield Triple(node(subject), relation, node(object_))
        else:
            yield Fact(node(subject), relation, node(object_), source=graph)


def write_rdf(rows: Iterable[Row], stream: IO[bytes], *, syntax: str, report: ReadReport) -> int:
    """Write rows as ntriples, nquads or turtle and return how many were statements.

    What RDF has no place for (spans, confidence, validity, titles of sources) is noted in the report, and quarantined
    statements are left out: RDF would state them as facts.
    """
    ox = _pyoxigraph()
    statements = 0

    def quads() -> Iterator[Any]:
        nonlocal statements
        for row in rows:
            quad = _quad(ox, row, report, syntax == "nquads")
            if quad is not None:
                statements += isinstance(row, Fact)
                yield quad

    prefixes = {"rdfs": _RDFS, "skos": _SKOS, "xsd": "http://www.w3.org/2001/XMLSchema#"} if syntax == "turtle" else {}
    ox.serialize(quads(), output=stream, format=_format(ox, syntax), prefixes=prefixes)
    return statements


def key_of(iri: str) -> str:
    """The key for an IRI: the IRI, or what `iri_of` made it from."""
    if not iri.startswith(OURS):
        return iri
    kind, colon, rest = iri.removeprefix(OURS).partition(":")
    return unquote(rest) if colon and kind in ("entity", "relation", "source") else iri


def iri_of(key: str, kind: str) -> str:
    """An IRI for the key of an entity, relation or source."""
    if _IRI.match(key) and not key.startswith((OURS, "_:")):
        return key
    return f"{OURS}{kind}:{quote(key, safe='')}"


def _quads(stream: IO[bytes], report: ReadReport, syntax: str, base: str) -> Iterator[Any]:
    ox = _pyoxigraph()
    parser = ox.parse(input=stream, format=_format(ox, syntax), base_iri=base)
    good, errors = 0, 0
    while True:
        try:
            quad = next(parser)
        except StopIteration:
            return
        except SyntaxError as error:
            report.skip(_LINE_AND_COLUMN.sub("", str(error.msg)), line=error.lineno or report.line)
            errors += 1
            if errors >= _MAX_ERRORS_IN_A_ROW and not good:
                raise InputError(
                    f"This is no {syntax}: the first {errors:,} statements do not parse.",
                    remedy="Say what it is with --format.",
                ) from None
            if syntax == "rdfxml":  # its parser cannot find the next statement, and would fail for ever
                return
            continue
        good += 1
        yield quad


def _quad(ox: Any, row: Row, report: ReadReport, named_graphs: bool) -> Any:
    if isinstance(row, SourceRow):
        if row.title or row.revision or row.licence:
            report.note("titles, revisions and licences of sources, for which RDF has no place")
        return None
    if isinstance(row, EntityName | RelationName):
        node = _node(ox, row.key, "entity" if isinstance(row, EntityName) else "relation")
        if not row.text:  # that an entity exists is nothing that RDF would say
            is_relation = isinstance(row, RelationName)
            return ox.Quad(node, ox.NamedNode(RDF_TYPE), ox.NamedNode(_PROPERTY)) if is_relation else None
        return ox.Quad(node, ox.NamedNode(_WRITTEN[row.kind]), _literal(ox, Literal(row.text, "string", row.language)))
    fact = Fact(*row) if isinstance(row, Triple) else row
    if fact.status == "quarantined":
        report.skip("quarantined, which RDF cannot say")
        return None
    if fact.start is not None or fact.confidence != 1.0 or fact.valid_from or fact.valid_to:
        report.note("spans, confidences and validities, for which RDF has no place")
    object_ = _literal(ox, fact.object) if isinstance(fact.object, Literal) else _node(ox, fact.object, "entity")
    parts = (_node(ox, fact.subject, "entity"), ox.NamedNode(iri_of(fact.relation, "relation")), object_)
    if not named_graphs:
        return ox.Quad(*parts)
    return ox.Quad(*parts, _node(ox, fact.source, "source")) if fact.source else ox.Quad(*parts)


def _node(ox: Any, key: str, kind: str) -> Any:
    if key.startswith("_:"):
        return ox.BlankNode(key[2:])
    return ox.NamedNode(iri_of(key, kind))


def _literal(ox: Any, literal: Literal) -> Any:
    if literal.language:
        try:
            return ox.Literal(literal.value, language=literal.language)
        except ValueError:  # a language tag that RDF does not allow
            return ox.Literal(literal.value)
    datatype = rdf_datatype(literal)
    return ox.Literal(
        literal.value, datatype=ox.NamedNode(datatype if _IRI.match(datatype) else iri_of(datatype, "type"))
    )


def _format(ox: Any, syntax: str) -> Any:
    return {
        "ntriples": ox.RdfFormat.N_TRIPLES,
        "nquads": ox.RdfFormat.N_QUADS,
        "turtle": ox.RdfFormat.TURTLE,
        "trig": ox.RdfFormat.TRIG,
        "rdfxml": ox.RdfFormat.RDF_XML,
    }[syntax]


def _pyoxigraph() -> Any:
    try:
        import pyoxigraph  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "RDF files need pyoxigraph, which is not installed.", remedy="Run: pip install 'groundzero[rdf]'."
        ) from None
    return pyoxigraph
