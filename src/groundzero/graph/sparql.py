"""A graph behind a SPARQL endpoint: as large as the endpoint is, read-only, and without history.

An endpoint knows no numbers, so ids are hashes of IRIs: the same in every session, but only those that were seen in
this one can be turned back. Labels are `rdfs:label`, aliases `skos:altLabel`; a statement is a triple whose ends are
IRIs, or an IRI and a literal (blank nodes have no name that lasts, and are left out).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from groundzero.errors import InputError, StorageError
from groundzero.graph.folding import is_storable
from groundzero.graph.nouns import (
    Entity,
    EntityId,
    Literal,
    Name,
    NameKind,
    Relation,
    RelationId,
    Source,
    SourceId,
    Statement,
    StatementId,
    Status,
    Transaction,
)
from groundzero.graph.sparql_client import Binding, SPARQLClient, iri, is_iri, literal, value
from groundzero.graph.sql_rows import to_entity, to_relation
from groundzero.graph.store import Capabilities, Counts, Reader, Writer

PAGE = 10_000
"""Rows asked for at a time, and the most statements given about one entity."""
LANGUAGES = ("", "en")
"""Labels are looked for as plain text and in English."""
_XSD = "http://www.w3.org/2001/XMLSchema#"
_DATATYPES = {f"{_XSD}{name}": name for name in ("string", "integer", "decimal", "boolean", "date")}
_DATATYPES |= {f"{_XSD}gYear": "year"}
_PREFIXES = (
    "PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#> PREFIX skos: <http://www.w3.org/2004/02/skos/core#> "
    "PREFIX schema: <http://schema.org/> PREFIX wikibase: <http://wikiba.se/ontology#> "
    "PREFIX rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> "
)
_NAMES: dict[str, NameKind] = {
    "rdfs:label": "label",
    "skos:prefLabel": "label",
    "skos:altLabel": "alias",
    "rdfs:comment": "description",
    "schema:description": "description",
}
_NAMING = ", ".join(_NAMES)


class SPARQLStore:
    """A store over an endpoint. Raises InputError for an address that is none; asks nothing until something is read."""

    def __init__(self, address: str, *, timeout: float = 10.0) -> None:
        self._client = SPARQLClient(address, timeout=timeout)
        self._iri_of: dict[int, str] = {}
        self._statement_of: dict[StatementId, Statement] = {}

    @property
    def location(self) -> str:
        return self._client.location

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            writable=False, as_of=False, full_text=False, sources=False, many_hosts=True, readable_whole=False
        )

    def transaction(self) -> Transaction:
        return 0

    def counts(self, *, at: Transaction | None = None) -> Counts:
        self._only_now(at)
        parts = "(COUNT(*) AS ?triples) (COUNT(DISTINCT ?s) AS ?entities) (COUNT(DISTINCT ?p) AS ?relations)"
        found = self._select(f"SELECT {parts} WHERE {{ {_PLAIN} }}")[0]
        triples, entities, relations = (int(value(found, name)) for name in ("triples", "entities", "relations"))
        return Counts(triples, entities, relations, sources=0, quarantined=0, retired=0)

    def entity(self, entity: EntityId, *, at: Transaction | None = None) -> Entity:
        return to_entity(entity, self._iri(entity), self.entity_names(entity, at=at))

    def find_entity(self, key: str) -> EntityId | None:
        if not is_iri(key) or not self._select(
            f"SELECT ?p WHERE {{ {{ {iri(key)} ?p ?o }} UNION {{ ?s ?p {iri(key)} }} }} LIMIT 1"
        ):
            return None
        return self._id(key)

    def entities(self, *, at: Transaction | None = None) -> Iterator[Entity]:
        self._only_now(at)
        for row in self._pages(f"SELECT DISTINCT ?s WHERE {{ {_PLAIN} }} ORDER BY ?s"):
            yield self.entity(self._id(value(row, "s")))

    def entity_names(self, entity: EntityId, *, at: Transaction | None = None) -> list[Name]:
        self._only_now(at)
        subject = iri(self._iri(entity))
        rows = self._select(
            f"SELECT ?p ?o WHERE {{ {subject} ?p ?o . FILTER(?p IN ({_NAMING}, rdf:type)) }} LIMIT {PAGE}"
        )
        return _names(rows)

    def named(self, text: str, *, at: Transaction | None = None) -> list[EntityId]:
        self._only_now(at)
        return self.named_among([text]).get(text, [])

    def named_among(self, texts: Iterable[str]) -> dict[str, list[EntityId]]:
        """`named` for many texts in one question."""
        terms = [literal(text, language) for text in texts if is_storable(text) for language in LANGUAGES]
        if not terms:
            return {}
        kinds = "rdfs:label|skos:prefLabel|skos:altLabel"
        rows = self._select(
            f"SELECT DISTINCT ?s ?o WHERE {{ VALUES ?o {{ {' '.join(terms)} }} ?s {kinds} ?o }} LIMIT {PAGE}"
        )
        found: dict[str, set[EntityId]] = {}
        for row in rows:
            if row["s"]["type"] == "uri":
                found.setdefault(value(row, "o"), set()).add(self._id(value(row, "s")))
        return {text: sorted(entities) for text, entities in found.items()}

    def surfaces(self, *, at: Transaction | None = None) -> Iterator[tuple[EntityId, str]]:
        for entity in self.entities(at=at):
            yield from ((entity.id, text) for text in (entity.label, *entity.aliases))

    def surfaces_of(self, entity: EntityId, *, at: Transaction | None = None) -> list[str]:
        found = self.entity(entity, at=at)
        return [found.label, *found.aliases]

    def search(self, text: str, *, limit: int = 20, at: Transaction | None = None) -> list[tuple[EntityId, float]]:
        """SPARQL has no full text: exactly this name, as `capabilities` say."""
        return [(entity, 1.0) for entity in self.named(text, at=at)[: max(limit, 0)]]

    def relation(self, relation: RelationId, *, at: Transaction | None = None) -> Relation:
        return to_relation(relation, self._iri(relation), self.relation_names(relation, at=at))

    def find_relation(self, key: str) -> RelationId | None:
        if not is_iri(key) or not self._select(f"SELECT ?s WHERE {{ ?s {iri(key)} ?o }} LIMIT 1"):
            return None
        return self._id(key)

    def relation_names(self, relation: RelationId, *, at: Transaction | None = None) -> list[Name]:
        self._only_now(at)
        key = iri(self._iri(relation))
        # Wikidata names the property, not the predicate that stands for it in plain statements.
        own = f"{{ {key} ?p ?o }} UNION {{ ?property wikibase:directClaim {key} ; ?p ?o }}"
        return _names(self._select(f"SELECT ?p ?o WHERE {{ {own} FILTER(?p IN ({_NAMING})) }} LIMIT {PAGE}"))

    def relations(self, *, at: Transaction | None = None) -> Iterator[Relation]:
        self._only_now(at)
        for row in self._pages(f"SELECT DISTINCT ?p WHERE {{ {_PLAIN} }} ORDER BY ?p"):
            yield self.relation(self._id(value(row, "p")))

    def statement(self, statement: StatementId) -> Statement | None:
        """One that was read in this session."""
        return self._statement_of.get(statement)

    def outgoing(
        self, subject: EntityId, relation: RelationId | None = None, *, at: Transaction | None = None
    ) -> list[Statement]:
        self._only_now(at)
        return self._around(f"BIND({iri(self._iri(subject))} AS ?s)", relation, PAGE)

    def incoming(
        self,
        object: EntityId,
        relation: RelationId | None = None,
        *,
        limit: int | None = None,
        at: Transaction | None = None,
    ) -> list[Statement]:
        self._only_now(at)
        return self._around(f"BIND({iri(self._iri(object))} AS ?o)", relation, PAGE if limit is None else max(limit, 0))

    def statements(
        self, *, status: Status | None = "accepted", source: SourceId | None = None, at: Transaction | None = None
    ) -> Iterator[Statement]:
        self._only_now(at)
        if status != "quarantined" and source is None:
            for row in self._pages(f"SELECT ?s ?p ?o WHERE {{ {_PLAIN} }} ORDER BY ?s ?p ?o"):
                yield self._statement(row)

    def changes(self, since: Transaction) -> Iterator[Statement]:
        """None that anybody could tell."""
        return iter(())

    def renamed(self, since: Transaction) -> Iterator[tuple[EntityId, Name]]:
        return iter(())

    def newcomers(self, since: Transaction) -> Iterator[EntityId]:
        return iter(())

    def triples(self, *, at: Transaction | None = None) -> NDArray[np.int64]:
        rows = [(each.subject, each.relation, each.object, each.id) for each in self.statements(at=at) if each.object]
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    def source(self, source: SourceId) -> Source:
        raise InputError(f"{self.location} tells no sources.", remedy="Cite the statement itself.")

    def find_source(self, key: str) -> SourceId | None:
        return None

    def sources(self) -> Iterator[Source]:
        return iter(())

    def is_retired(self, source: SourceId) -> bool:
        return False

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """The endpoint as it is: it cannot promise more."""
        yield self

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        self._refuse_to_write()
        yield  # type: ignore[unreachable]

    def close(self) -> None:
        """Nothing is held open."""

    def _refuse_to_write(self) -> NoReturn:
        raise StorageError(
            f"{self.location} can only be read.", remedy="Import what you need into a graph of your own."
        )

    def _only_now(self, at: Transaction | None) -> None:
        if at:
            raise StorageError(f"{self.location} keeps no history.", remedy="Ask it as it is now.")

    def _around(self, end: str, relation: RelationId | None, limit: int) -> list[Statement]:
        bound = "" if relation is None else f"BIND({iri(self._iri(relation))} AS ?p)"
        rows = self._select(f"SELECT ?s ?p ?o WHERE {{ {end} {bound} {_PLAIN} }} LIMIT {limit}")
        return [self._statement(row) for row in rows]

    def _statement(self, row: Binding) -> Statement:
        subject, relation = self._id(value(row, "s")), self._id(value(row, "p"))
        term = row["o"]
        object_, text = (self._id(term["value"]), None) if term["type"] == "uri" else (None, _literal(term))
        id_ = _hash(f"{value(row, 's')} {value(row, 'p')} {sorted(term.items())}")
        made = Statement(id_, subject, relation, object_, text, None, None, None, 1.0, "", "", "accepted", 0, None)
        self._statement_of[id_] = made
        return made

    def _id(self, text: str) -> int:
        id_ = _hash(text)
        self._iri_of[id_] = text
        return id_

    def _iri(self, id_: int) -> str:
        if id_ not in self._iri_of:
            raise InputError(
                f"{id_} was not met at {self.location} yet.", remedy="Look it up by its IRI or name first."
            )
        return self._iri_of[id_]

    def _select(self, query: str) -> list[Binding]:
        return self._client.select(_PREFIXES + query)

    def _pages(self, query: str) -> Iterator[Binding]:
        start = 0
        while rows := self._select(f"{query} LIMIT {PAGE} OFFSET {start}"):
            yield from rows
            start += PAGE


_PLAIN = f"?s ?p ?o . FILTER(isIRI(?s) && !isBlank(?o) && ?p NOT IN ({_NAMING}))"


def _names(rows: Iterable[Binding]) -> list[Name]:
    """Names of one thing, labels of the languages looked for first."""
    full = {
        "rdfs:": "http://www.w3.org/2000/01/rdf-schema#",
        "skos:": "http://www.w3.org/2004/02/skos/core#",
        "schema:": "http://schema.org/",
    }
    kinds: dict[str, NameKind] = {}
    for short, kind in _NAMES.items():
        prefix, _, name = short.partition(":")
        kinds[full[f"{prefix}:"] + name] = kind
    found = []
    for row in rows:
        term, kind_of = row["o"], kinds.get(value(row, "p"), "type")
        language = term.get("xml:lang", "")
        if kind_of == "type" or language in LANGUAGES:
            found.append(Name(term["value"], kind_of, language, 0))
    return sorted(found, key=lambda each: (each.kind, LANGUAGES.index(each.language), each.text))


def _literal(term: dict[str, str]) -> Literal:
    language = term.get("xml:lang", "")
    datatype = term.get("datatype", f"{_XSD}string")
    return Literal(term["value"], "string" if language else _DATATYPES.get(datatype, datatype), language)


def _hash(text: str) -> int:
    """A positive number of 62 bits: in 10^8 names two share one with a probability of 0.1 %."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 2) | 1
