"""A SPARQL endpoint as a store, asked over HTTP: pyoxigraph behind a small server, and servers that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import FormatError, InputError, StorageError
from groundzero.graph import sparql_client
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store
from groundzero.graph.sparql_client import SPARQLClient, is_iri, literal

pyoxigraph = pytest.importorskip("pyoxigraph", reason="needs the extra rdf")

FACTS = """
@prefix : <http://example.org/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix wikibase: <http://wikiba.se/ontology#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
:peru rdfs:label "Peru"@en, "Pérou"@fr ; skos:altLabel "Republic of Peru" ; a :Country ;
  rdfs:comment "a country in South America" ; :capital :lima ; :population 34000000 ; :motto "Firme y feliz"@es .
:lima rdfs:label "Lima" ; :near [ rdfs:label "nowhere" ] ; :founded "1535"^^xsd:gYear .
:cusco rdfs:label "Cusco" ; :in :peru .
:P36 rdfs:label "capital of it" ; wikibase:directClaim :capital .
:quoted rdfs:label 'a "b" \\\\ \\n c' .
"""
Answer = Callable[[BaseHTTPRequestHandler, str], None]


@contextmanager
def _serving(answer: Answer) -> Iterator[str]:
    """The address of an endpoint that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8")
            with suppress(OSError):  # those whom we hang up on
                answer(self, parse_qs(body)["query"][0])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/sparql"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """FACTS behind an address."""
    facts = pyoxigraph.Store()
    facts.load(FACTS.encode("utf-8"), format=pyoxigraph.RdfFormat.TURTLE)

    def answer(handler: BaseHTTPRequestHandler, query: str) -> None:
        _send(handler, facts.query(query).serialize(format=pyoxigraph.QueryResultsFormat.JSON))

    with _serving(answer) as address:
        yield address


def test_an_endpoint_answers_as_a_store_does(endpoint: str) -> None:
    store = open_store(endpoint)
    assert store.location == f"sparql+{endpoint}"
    peru = store.find_entity("http://example.org/peru")
    assert peru is not None
    shown = store.entity(peru)
    assert (shown.label, shown.aliases, shown.description) == (
        "Peru",
        ("Republic of Peru",),
        "a country in South America",
    )
    assert shown.types == ("http://example.org/Country",)
    objects = {store.relation(each.relation).key.rpartition("/")[2]: each for each in store.outgoing(peru)}
    assert store.entity(objects["capital"].object or 0).label == "Lima"
    assert objects["population"].literal == Literal("34000000", "integer")
    assert objects["motto"].literal == Literal("Firme y feliz", "string", "es")
    assert store.statement(objects["capital"].id) == objects["capital"]
    capital = store.find_relation("http://example.org/capital")
    assert capital is not None
    assert store.relation(capital).label == "capital of it"
    assert [each.relation for each in store.outgoing(peru, capital)] == [capital]
    assert [store.entity(each.subject).label for each in store.incoming(peru)] == ["Cusco"]
    assert store.named("Lima") == [objects["capital"].object]
    assert store.search("Lima") == [(objects["capital"].object, 1.0)]
    assert store.named('a "b" \\ \n c') == [store.find_entity("http://example.org/quoted")]
    assert {each.label for each in store.entities()} >= {"Peru", "Lima", "Cusco"}
    assert len({each.id for each in store.statements()}) == store.counts().triples == 7
    assert len(store.triples()) == 4
    assert len(list(store.relations())) == store.counts().relations
    assert not any(each.literal and each.literal.value == "nowhere" for each in store.statements())


def test_a_graph_over_an_endpoint_asks_rather_than_indexes(endpoint: str) -> None:
    with Graph.open(endpoint) as graph:
        mentions = graph.mentions("Is the capital of peru near Cusco?")
        assert [each.surface for each in mentions] == ["peru", "Cusco"]
        (peru,) = mentions[0].entities
        found = graph.neighbours(peru)
        assert sorted(graph.label(int(each)) for each in found.entity_N) == ["Lima", "http://example.org/Country"]
        assert [graph.label(int(each)) for each in graph.neighbours(peru, inverse=True).entity_N] == ["Cusco"]
        assert graph.refresh() == 0
        assert graph.label(peru) == "Peru"


def test_ids_are_the_same_in_every_session(endpoint: str) -> None:
    first, second = open_store(endpoint), open_store(endpoint)
    assert first.named("Lima") == second.named("Lima")
    with pytest.raises(InputError, match="not met"):
        open_store(endpoint).entity(first.named("Lima")[0])


def test_what_an_endpoint_cannot_do_is_said(endpoint: str) -> None:
    store = open_store(endpoint)
    able = store.capabilities
    assert (able.writable, able.as_of, able.full_text, able.sources, able.readable_whole) == (False,) * 5
    with pytest.raises(StorageError, match="only be read"), store.writer():
        pass
    with pytest.raises(StorageError, match="no history"):
        store.counts(at=3)
    with pytest.raises(InputError):
        store.source(1)
    assert store.find_source("x") is None
    assert list(store.sources()) == list(store.changes(0)) == list(store.renamed(0)) == list(store.newcomers(0)) == []
    assert store.find_entity("http://example.org/nobody") is None
    assert store.find_relation("not an iri") is None
    with store.snapshot() as now:
        assert now.transaction() == 0


@given(st.text(st.characters(), max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_out_of_a_query(endpoint: str, text: str) -> None:
    store = open_store(endpoint)
    assert store.named(text) == []
    assert store.find_entity(text) is None
    if not any("\ud800" <= char <= "\udfff" for char in text):
        client = SPARQLClient(endpoint, timeout=10)
        assert client.select(f"SELECT ?x WHERE {{ VALUES ?x {{ {literal(text)} }} }}")[0]["x"]["value"] == text


@pytest.mark.parametrize(
    "text", ["http://a/> . ?s ?p ?o", "http://a b", "javascript", 'http://a"', "http://a/{}", "x:\n"]
)
def test_what_is_no_iri_is_not_sent(text: str) -> None:
    assert not is_iri(text)


def _slow(handler: BaseHTTPRequestHandler, query: str) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def _endless(handler: BaseHTTPRequestHandler, query: str) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" " * 65536)


MISBEHAVING: dict[str, tuple[Answer, type[Exception], str]] = {
    "redirect": (lambda handler, query: _send(handler, b"", 302, Location="http://x.y/"), StorageError, "redirect"),
    "error": (lambda handler, query: _send(handler, b"", 500), StorageError, "500"),
    "busy": (lambda handler, query: _send(handler, b"", 429, Retry_After="9"), StorageError, "429"),
    "gzip": (lambda handler, query: _send(handler, b"\x1f\x8b", Content_Encoding="gzip"), StorageError, "compressed"),
    "html": (lambda handler, query: _send(handler, b"<html>"), FormatError, "no SPARQL result"),
    "another object": (lambda handler, query: _send(handler, b'{"boolean": true}'), FormatError, "no SPARQL result"),
    "numbers": (
        lambda handler, query: _send(handler, b'{"results": {"bindings": [{"s": {"type": 1, "value": 2}}]}}'),
        FormatError, "no SPARQL result",
    ),
    "deep": (lambda handler, query: _send(handler, b"[" * 200_000), FormatError, "no SPARQL result"),
    "slow": (_slow, StorageError, "took over|timed out"),
    "endless": (_endless, StorageError, "more than 1 MB"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "kind", "message"), MISBEHAVING.values(), ids=MISBEHAVING.keys())
def test_servers_that_misbehave_cost_one_line(
    answer: Answer, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparql_client, "MAX_BYTES", 2**20)
    with _serving(answer) as address:
        store = open_store(address.replace("http://", "sparql+http://user:secret@"), timeout=1)
        with pytest.raises(kind, match=message) as raised:
            store.find_entity("http://example.org/peru")
    assert "secret" not in str(raised.value) + store.location
    assert "\n" not in str(raised.value)


def test_no_server_and_no_address_cost_one_line() -> None:
    with pytest.raises(StorageError, match="No answer"):
        open_store("http://127.0.0.1:1/sparql", timeout=1).counts()
    for address in ("http:///sparql", "sparql+http://host:port/x"):
        with pytest.raises(InputError):
            open_store(address)
