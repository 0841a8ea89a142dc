"""Lint finds what is wrong and nothing else, and quarantine loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from groundzero.errors import ConfigError
from groundzero.graph.lint import CHECKS, Finding, LintReport, LintSettings, lint, quarantine
from groundzero.graph.lint_tables import wilson
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store
from groundzero.graph.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """200 people, each born in one of 40 cities and in one year, with friends, and with parts of a hierarchy."""
    opened = open_store(tmp_path / "graph.db", create=True)
    with opened.writer() as writer:
        register = writer.add_source("register")
        born, year, friend, part, size = (
            writer.add_relation(key) for key in ("born", "year", "friend", "part of", "size")
        )
        cities = [writer.add_entity(f"city {i}", label=f"City {i}", types=["city"]) for i in range(40)]
        people = [writer.add_entity(f"p{i}", label=f"Person {i}", types=["human"]) for i in range(200)]
        for i, person in enumerate(people):
            writer.add_statement(person, born, cities[i % 40], source=register, start=i, end=i + 5, confidence=0.9)
            writer.add_statement(person, year, Literal(str(1900 + i % 90), "year"), source=register)
            writer.add_triples([(person, friend, people[(i + step) % 200]) for step in (1, 2, 3)], source=register)
            if i:
                writer.add_triples([(person, part, people[(i - 1) // 2])], source=register)
            writer.add_statement(person, size, Literal("5", "integer"), source=register)
    yield opened
    opened.close()


def add(
    store: Store, subject: str, relation: str, object_: str | Literal, source: str = "rumour", **details: object
) -> int:
    with store.writer() as writer:
        value = object_ if isinstance(object_, Literal) else writer.add_entity(object_)
        ends = (writer.add_entity(subject), writer.add_relation(relation))
        return writer.add_statement(*ends, value, source=writer.add_source(source), **details)  # type: ignore[arg-type]


def found(store: Store, check: str) -> list[Finding]:
    report = lint(store)
    return [finding for finding in report.findings if finding.check == check]


def test_a_clean_graph_has_nothing_wrong(store: Store) -> None:
    report = lint(store)
    assert report.counts == dict.fromkeys(CHECKS, 0)
    assert {store.relation(relation).key for relation in report.functional} == {"born", "year", "part of", "size"}
    assert not quarantine(store, report)


def test_two_objects_of_a_functional_relation_contradict(store: Store) -> None:
    old = store.outgoing(store.find_entity("p7") or 0, store.find_relation("born"))[0].id
    new = add(store, "p7", "born", "city 1")
    (finding,) = found(store, "contradiction")
    assert set(finding.statements) == {old, new}
    assert finding.quarantine == tuple(sorted((old, new)))  # neither has more sources; 0.9 is not much less than 1
    assert "Person 7 (p7) has 2 objects of born" in finding.message


def test_relations_with_many_objects_do_not_contradict(store: Store) -> None:
    add(store, "p7", "friend", "p90")
    assert not found(store, "contradiction")


def test_the_better_supported_stays(store: Store) -> None:
    bad = add(store, "p7", "born", "city 1", confidence=0.3)
    assert [finding.quarantine for finding in found(store, "contradiction")] == [(bad,)]
    good = add(store, "p8", "born", "city 1", "one")
    assert add(store, "p8", "born", "city 1", "two") != good
    old = store.outgoing(store.find_entity("p8") or 0, store.find_relation("born"))[0].id
    assert (old,) in [finding.quarantine for finding in found(store, "contradiction")]


@pytest.mark.parametrize(
    ("relation", "value", "conflict"),
    [
        ("year", Literal("1907-05-01", "date"), False),
        ("year", Literal("1908", "year"), True),
        ("size", Literal("5.0", "decimal"), False),
        ("size", Literal("6", "integer"), True),
        ("size", Literal("cinq", "string", "fr"), False),
    ],
)
def test_values_that_say_the_same_less_precisely_do_not_contradict(
    store: Store, relation: str, value: Literal, conflict: bool
) -> None:
    add(store, "p7", relation, value)
    assert bool(found(store, "contradiction")) == conflict


def test_what_held_at_different_times_does_not_contradict(store: Store) -> None:
    add(store, "p500", "born", "city 1", valid_to="1990")
    add(store, "p500", "born", "city 2", valid_from="1990")
    assert not found(store, "contradiction")
    add(store, "p500", "born", "city 3", valid_from="1980", valid_to="1985")
    (finding,) = found(store, "contradiction")
    assert len(finding.statements) == 2  # city 2 came later than both


def test_quarantine_keeps_the_facts_with_all_that_is_known_of_them(store: Store) -> None:
    old = store.outgoing(store.find_entity("p7") or 0, store.find_relation("born"))[0]
    add(store, "p7", "born", "city 1")
    triples = store.counts().triples
    moved = quarantine(store, lint(store))
    assert len(moved) == 2
    assert (store.counts().triples, store.counts().quarantined) == (triples - 2, 2)
    kept = store.statement(dict(moved)[old.id])
    assert kept is not None
    assert (kept.subject, kept.object, kept.source, kept.start, kept.end, kept.confidence, kept.status) == (
        old.subject, old.object, old.source, old.start, old.end, old.confidence, "quarantined",
    )  # fmt: skip
    assert not found(store, "contradiction")
    assert len(store.outgoing(old.subject, old.relation, at=store.transaction() - 1)) == 2


def test_a_report_that_time_has_passed_by_does_no_harm(store: Store) -> None:
    new = add(store, "p7", "born", "city 1")
    report = lint(store)
    with store.writer() as writer:
        writer.retire(new)
    assert len(quarantine(store, report)) == 1


def test_repeated_facts_and_repeated_names(store: Store) -> None:
    first = add(store, "p7", "friend", "p60", "book", start=1, end=5)
    second = add(store, "p7", "friend", "p60", "book", start=9, end=14)
    add(store, "p7", "friend", "p60", "paper")
    assert [finding.statements for finding in found(store, "duplicate")] == [(first, second)]
    with store.writer() as writer:
        twin = writer.add_entity("p7b", label="person  7", types=["human"])
        writer.add_entity("film", label="Person 7", types=["film"])
        writer.add_triples([(twin, 3, 1), (store.find_entity("film") or twin + 1, 3, 1)], source=None)
    (finding,) = found(store, "name")
    assert store.find_entity("p7") in finding.entities
    assert twin in finding.entities


def test_odd_types_counts_circles_and_loose_ends(store: Store) -> None:
    person = store.find_entity("p7")
    odd = add(store, "p300", "born", "p7")
    (finding,) = found(store, "type")
    assert (finding.statements, finding.entities) == ((odd,), (person,))
    assert "usual is city" in finding.message
    for i in range(60):
        add(store, "p9", "friend", f"p{i + 20}")
    assert [finding.entities for finding in found(store, "cardinality")] == [(store.find_entity("p9"),)]
    add(store, "p0", "part of", "p1")
    add(store, "p5", "part of", "p5")
    messages = [finding.message for finding in found(store, "cycle")]
    assert messages == [
        "About itself: Person 5 (p5) part of Person 5 (p5)",
        "A circle of 2 in part of: Person 0 (p0) -> Person 1 (p1)",
    ]
    add(store, "p9", "friend", "Q12345")
    with store.writer() as writer:
        writer.add_entity("lonely", label="Lonely")
        writer.add_relation("unused")
    assert {finding.message for finding in found(store, "dangling")} == {
        "Nothing is known of Q12345, not even a name",
        "No statement mentions Lonely (lonely)",
        "No statement uses the relation unused",
    }


def test_circles_that_are_what_a_relation_is_about_are_no_finding(store: Store) -> None:
    for i in range(0, 100, 2):
        add(store, f"p{i}", "spouse", f"p{i + 1}")
        add(store, f"p{i + 1}", "spouse", f"p{i}")
    assert not found(store, "cycle")


def test_only_so_many_examples_are_kept_but_all_are_counted(store: Store) -> None:
    for i in range(0, 20, 2):
        add(store, f"p{i}", "friend", f"p{i}")
    report = lint(store, checks=["cycle"], settings=LintSettings(examples=3))
    assert report.counts["cycle"] == 10
    assert len(report.findings) == 3
    with pytest.raises(ConfigError, match="functional"):
        LintSettings.parse({"functional": 2})


def test_an_empty_graph(tmp_path: Path) -> None:
    empty = open_store(tmp_path / "empty.db", create=True)
    report = lint(empty)
    assert isinstance(report, LintReport)
    assert not report.findings
    empty.close()


def test_wilson_is_below_the_share_and_nears_it() -> None:
    assert wilson(0, 0) == 0
    assert wilson(10, 10) < wilson(100, 100) < wilson(10_000, 10_000) < 1
    assert wilson(95, 100) == pytest.approx(
        0.8882, abs=1e-4
    )  # statsmodels.proportion_confint(95, 100, method="wilson")
