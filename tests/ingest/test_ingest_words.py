"""Words and sentences have places in the text, and every word is in one sentence."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.graph.nouns import Entity
from groundzero.ingest.dates import read_date, read_number
from groundzero.ingest.gazetteer import Gazetteer
from groundzero.ingest.words import demonyms, fold, plural, sentences


@given(st.text(max_size=300))
def test_words_are_where_they_say(text: str) -> None:
    last = 0
    for sentence in sentences(text):
        assert last <= sentence.start < sentence.end <= len(text)
        last = sentence.end
        for word, start, end in zip(sentence.words, sentence.starts, sentence.ends, strict=True):
            assert sentence.start <= start < end <= sentence.end
            assert fold(text[start:end]) == word


@given(st.text(alphabet="ab.A \n(),!?", max_size=200))
def test_no_word_is_lost(text: str) -> None:
    found = [text[s:e] for each in sentences(text) for s, e in zip(each.starts, each.ends, strict=True)]
    assert "".join(found) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It rained. Then it stopped.", 2),
        ("He met J. S. Bach in Leipzig. They sang.", 2),
        ("He worked on graph theory.Euler was Swiss.", 2),
        ("She lived at St. Albans for 3.5 years.", 1),
        ("One\n\nTwo", 2),
        ("", 0),
    ],
)
def test_sentences_end_where_they_do(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_a_table_without_a_stop_is_cut() -> None:
    assert max(each.end - each.start for each in sentences("word " * 5000)) <= 2000


def _gazetteer(*labels: str) -> Gazetteer:
    return Gazetteer([Entity(i + 1, str(i), label) for i, label in enumerate(labels)])


def _found(gazetteer: Gazetteer, text: str) -> list[tuple[str, set[tuple[int, str]]]]:
    (sentence,) = sentences(text)
    return [(" ".join(sentence.words[m.start : m.end]), set(m.meanings)) for m in gazetteer.find(sentence)]


def test_the_longest_name_wins() -> None:
    (city, town) = _found(_gazetteer("New York", "York", "New York City"), "He left New York City for York.")
    assert city == ("new york city", {(3, "name")})
    assert town == ("york", {(2, "name"), (1, "part"), (3, "word")})


def test_forms_of_a_name_say_what_they_are() -> None:
    gazetteer = _gazetteer("France", "film actor", "country", "piano", "actor")
    found = dict(_found(gazetteer, "French countries have actresses, a pianist."))
    assert found["french"] == {(1, "demonym")}
    assert found["countries"] == {(3, "inflected")}
    assert (4, "stem") in found["pianist"]
    assert (5, "inflected") in found["actresses"]


def test_a_proper_name_needs_its_capital() -> None:
    gazetteer = _gazetteer("Epic", "singer")
    assert _found(gazetteer, "An epic tale of a Singer.") == [("singer", {(2, "name")})]
    assert _found(gazetteer, "Signed by Epic.") == [("epic", {(1, "name")})]


def test_every_demonym_is_folded() -> None:
    table = demonyms()
    assert table["france"][0] == "french"
    assert all(form == fold(form) for forms in table.values() for form in forms)
    assert plural("country") == "countries"


@pytest.mark.parametrize(
    ("text", "value"),
    [("15 April 1707", "1707-04-15"), ("April 15, 1707 in Basel", "1707-04-15"), ("1707-04-15", "1707-04-15"),
     ("31 April 99999", None), ("in 1707", None), ("2016", None)],
)  # fmt: skip
def test_dates(text: str, value: str | None) -> None:
    found = read_date(text)
    assert (found.value if found else None) == value


@pytest.mark.parametrize(
    ("text", "value", "datatype"),
    [("1,234,567", "1234567", "integer"), ("0.532", "0.532", "decimal"), ("1865", "1865", "year"),
     ("−12", "-12", "integer"),
     ("12 (estimate)", "12", "integer"), ("8 days, 3 hours", None, ""), ("51258 lb", None, ""), ("9%", None, "")],
)  # fmt: skip
def test_numbers_without_units_only(text: str, value: str | None, datatype: str) -> None:
    found = read_number(text)
    assert (found.value, found.datatype) == (value, datatype) if found else value is None
