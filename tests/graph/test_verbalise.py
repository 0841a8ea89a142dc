"""What a graph says in words: true, readable, the same each time, and every way tied to its statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.graph.nouns import Literal, Relation
from groundzero.graph.opening import open_store
from groundzero.graph.phrasing import phrase, phrase_label
from groundzero.graph.store import Store
from groundzero.graph.verbalise import KINDS, VerbaliseReport, VerbaliseSettings, verbalise


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "graph.db", create=True)
    with opened.writer() as writer:
        peru = writer.add_entity("Q419", label="Peru", description="country in South America")
        lima, chile, unnamed = (
            writer.add_entity("Lima"),
            writer.add_entity("Q298", label="Chile"),
            writer.add_entity("Q7"),
        )
        capital, borders = writer.add_relation("P36", label="capital"), writer.add_relation("shares border with")
        ate, size = writer.add_relation("national_dish"), writer.add_relation("population")
        writer.name_relation(borders, "{subject} touches {object}.", "template")
        writer.add_triples([(peru, capital, lima), (peru, borders, chile), (chile, borders, peru)], source=None)
        writer.add_triples([(peru, ate, unnamed)], source=None)
        writer.add_statement(peru, size, Literal("33000000", "integer"))
        for name in ("Bolivia", "Brazil"):
            writer.add_triples([(peru, borders, writer.add_entity(name))], source=None)
    yield opened
    opened.close()


def said(store: Store, **settings: object) -> set[str]:
    rows = verbalise(store, VerbaliseSettings.parse({"paraphrases": 9, **settings}))
    return {f"{row.text} {row.answer}".strip() for row in rows}


def test_sentences_questions_gaps_and_descriptions(store: Store) -> None:
    everything = said(store)
    assert {
        "The capital of Peru is Lima.", "Lima is the capital of Peru.", "Peru touches Chile.",
        "What is the capital of Peru? Lima", "Which city is the capital of Peru? Lima",
        "What is Lima the capital of? Peru", "Peru has a population of ____. 33000000",
        "What does Peru share a border with? Chile, Bolivia and Brazil",
        "What is the population of Peru? 33000000", "Peru has a population of 33000000.",
        "Peru is a country in South America.", "What is Peru? a country in South America",
    } <= everything  # fmt: skip
    assert not any("Q7" in text or "{" in text for text in everything)


def test_every_row_rests_on_what_it_says(store: Store) -> None:
    for row in verbalise(store, VerbaliseSettings(paraphrases=9)):
        statements = [store.statement(id_) for id_ in row.statements]
        ends = {
            store.entity(each.object).label if each.object else each.literal and each.literal.value
            for each in statements
            if each
        } | {store.entity(each.subject).label for each in statements if each}
        assert set(row.answers) <= ends or row.kind == "description"
        if row.kind in ("question", "inverse"):
            assert all(each and row.subject in (each.subject, each.object) for each in statements)


def test_the_same_graph_and_seed_say_the_same_and_another_seed_something_else(store: Store) -> None:
    once, again, *others = (
        list(verbalise(store, VerbaliseSettings(paraphrases=1, seed=seed))) for seed in (1, 1, 2, 3, 4)
    )
    assert once == again
    assert all([row.statements for row in once] == [row.statements for row in other] for other in others)
    assert any(once != other for other in others)


def test_kinds_and_limits(store: Store) -> None:
    for kind in KINDS:
        assert {row.kind for row in verbalise(store, VerbaliseSettings(kinds=(kind,)))} == {kind}
    assert not any(text.startswith("What does Peru share") for text in said(store, max_answers=2))
    assert len(list(islice(verbalise(store), 3))) == 3


def test_what_is_left_unsaid_is_counted(store: Store) -> None:
    with store.writer() as writer:
        writer.add_entity("Q998", label="Chile")
    report = VerbaliseReport()
    rows = list(verbalise(store, report=report))
    assert (report.entities, report.unnamed, report.ambiguous) == (7, 1, 2)
    assert not any(row.text.endswith("?") and "Chile" in row.text for row in rows)


def test_the_past_can_be_told(store: Store) -> None:
    then = store.transaction()
    with store.writer() as writer:
        writer.retire(1)
    assert "The capital of Peru is Lima." not in said(store)
    assert any(
        row.text == "The capital of Peru is Lima."
        for row in verbalise(store, VerbaliseSettings(paraphrases=9), at=then)
    )


@pytest.mark.parametrize(
    ("label", "sentence", "question", "inverse"),
    [
        (
            "place of birth",
            "{subject} was born in {object}.",
            "Where was {subject} born?",
            "Who was born in {object}?",
        ),
        (
            "head coach",
            "The head coach of {subject} is {object}.",
            "Who is the head coach of {subject}?",
            "What has {object} as its head coach?",
        ),
        (
            "discovered by",
            "{subject} was discovered by {object}.",
            "What was {subject} discovered by?",
            "What was discovered by {object}?",
        ),
        (
            "situated near to",
            "{subject} is situated near to {object}.",
            "What is {subject} situated near to?",
            "What is situated near to {object}?",
        ),
        (
            "affects",
            "{subject} affects {object}.",
            "What does {subject} affect?",
            "Who or what affects {object}?",
        ),
        (
            "carries_out",
            "{subject} carries out {object}.",
            "What does {subject} carry out?",
            "Who or what carries out {object}?",
        ),
        (
            "plays_in_club",
            "{subject} plays in club {object}.",
            "Which club does {subject} play in?",
            "Who or what plays in club {object}?",
        ),
        (
            "co-occurs with",
            "{subject} co-occurs with {object}.",
            "What does {subject} co-occur with?",
            "Who or what co-occurs with {object}?",
        ),
        (
            "wears_number",
            "{subject} wears number {object}.",
            "Which number does {subject} wear?",
            "Who or what wears number {object}?",
        ),
        (
            "is_in_country",
            "{subject} is in country {object}.",
            "In which country is {subject}?",
            "Who or what is in country {object}?",
        ),
        (
            "student of",
            "{subject} is a student of {object}.",
            "What is {subject} a student of?",
            "Who is a student of {object}?",
        ),
        (
            "plays_for_country_inverse",
            "{object} plays for country {subject}.",
            "Who or what plays for country {subject}?",
            "Which country does {object} play for?",
        ),
        (
            "children",
            "The children of {subject} are {object}.",
            "Who are the children of {subject}?",
            "What has {object} as its children?",
        ),
    ],
)
def test_labels_in_words(label: str, sentence: str, question: str, inverse: str) -> None:
    phrasing = phrase_label(label)
    assert (phrasing.sentences[0], phrasing.questions[0], phrasing.inverse[0]) == (sentence, question, inverse)


def test_the_graph_own_words_come_first() -> None:
    relation = Relation(
        1,
        "P9",
        "ruler",
        inverse="domain",
        templates=("{object} rules {subject}.",),
        questions=("Who rules {subject}?",),
    )
    phrasing = phrase(relation)
    assert phrasing.sentences == ("{object} rules {subject}.",)
    assert phrasing.questions[0] == "Who rules {subject}?"
    assert "What is the domain of {object}?" in phrasing.inverse


def test_nothing_is_said_twice_of_one_thing(store: Store) -> None:
    with store.writer() as writer:
        club, player = writer.add_entity("Watford"), writer.add_entity("Ann")
        writer.add_triples([(player, writer.add_relation("plays_in_club"), club)], source=None)
        writer.add_triples([(club, writer.add_relation("plays_in_club_inverse"), player)], source=None)
    for name in ("Watford", "Ann"):
        texts = [row.text for row in verbalise(store) if row.subject == store.find_entity(name)]
        assert len(texts) == len(set(texts))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_label_gives_all_ways_with_their_slots(label: str) -> None:
    phrasing = phrase_label(label)
    assert phrasing.turned().turned() == phrasing
    cleaned = label.replace("{subject}", "").replace("{object}", "")
    if cleaned != label:
        return
    for templates, slots in ((phrasing.sentences, 2), (phrasing.questions, 1), (phrasing.inverse, 1)):
        assert templates
        assert all(len(re.findall(r"\{(?:subject|object)\}", template)) == slots for template in templates)
