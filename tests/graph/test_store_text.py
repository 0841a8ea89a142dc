"""Any text may be a name or a question: nothing in it is an operator, in any store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.graph import sqlite, sqlite_file
from groundzero.graph.folding import fold, form, is_storable, placed_tokens, tokens
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store

ANY = st.text(st.characters(), max_size=40)  # surrogates and NUL included
OPERATORS = [
    'a"b', "b:secret", "a AND b", "NOT", "NEAR(a b)", "a*", "^a", "(", ")", "{a b}:c", "-a", "a + b", "'", "\\", "%",
    "_", "a OR 1=1", "words:a", "\ud800", "\0", "a\0b", "𝔘nicode", "İstanbul", "ſ", "½",
    "㈱", "\u200d", "e\u0301", "C++", "#",
]  # fmt: skip
TEXT = st.one_of(
    ANY, st.sampled_from(OPERATORS), st.lists(st.sampled_from(["ab", "Ab", "c", *OPERATORS])).map(" ".join)
)


@pytest.mark.parametrize("examples", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_search_finds_what_shares_a_word_and_nothing_else(new_location: Callable[[], str], examples: int) -> None:
    """Against an oracle: the entities that have a token of the question in a name."""
    store = open_store(new_location(), create=True)
    called: dict[int, list[str]] = {}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(name=TEXT, questions=st.lists(TEXT, min_size=1, max_size=4))
    def run(name: str, questions: list[str]) -> None:
        with store.writer() as writer:
            entity = writer.add_entity(f"Q{len(called) % 50}")
            if is_storable(name) and name.strip():
                writer.name_entity(entity, name)
                called.setdefault(entity, []).append(name)
        for question in [name, *questions]:
            asked = set(list(dict.fromkeys(tokens(question)))[:64])
            expected = {entity for entity, names in called.items() for each in names if asked & set(tokens(each))}
            assert {found for found, _ in store.search(question, limit=1000)} == expected
            same = {entity for entity, names in called.items() if question in names}
            assert set(store.named(question)) == same
            assert store.find_entity(question) is None or question.startswith("Q")

    run()
    store.close()


def test_words_of_very_many_names_do_not_slow_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rarer word decides; without one the names come unranked."""
    monkeypatch.setattr(sqlite, "COMMON", 10)
    store = open_store(tmp_path / "facts.db", create=True)
    with store.writer() as writer:
        writer.add_entities([f"Q{each}" for each in range(40)], labels=[f"city of thing {each}" for each in range(40)])
        writer.add_entity("Q99", label="a thing apart")
    assert [entity for entity, _ in store.search("the thing 7")] == [8]
    assert [entity for entity, _ in store.search("apart thing")] == [41]
    assert store.search("city thing", limit=3) == [(1, 0.0), (2, 0.0), (3, 0.0)]
    assert store.search("nowhere") == []
    store.close()


def test_unquoted_text_would_be_read_as_operators() -> None:
    """That the test above has something to notice: FTS5 given the texts as they are."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(sqlite_file.SCHEMA[-1])
        failures = 0
        for text in OPERATORS:
            try:
                connection.execute("SELECT * FROM name_words WHERE name_words MATCH ?", (text,)).fetchall()
            except (sqlite3.OperationalError, UnicodeEncodeError):
                failures += 1
    assert failures > 10


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * (16 * 2**20 + 1)])
def test_texts_that_no_store_can_keep_are_refused_and_cost_nothing(new_location: Callable[[], str], text: str) -> None:
    store = open_store(new_location(), create=True)
    with store.writer() as writer:
        entity = writer.add_entity("Q1")
        relation = writer.add_relation("is")
        for refused in (
            lambda: writer.add_entity(text),
            lambda: writer.name_entity(entity, text),
            lambda: writer.add_statement(entity, relation, Literal(text)),
            lambda: writer.add_source("s", title=text),
        ):
            with pytest.raises(InputError):
                refused()
    assert store.counts().entities == 1
    assert store.find_entity(text) is None
    store.close()


def test_names_and_keys_may_be_long_and_odd(new_location: Callable[[], str]) -> None:
    store = open_store(new_location(), create=True)
    long = "supercalifragilistic" * 5000
    names = [long, "a " * 5000, "'; DROP TABLE entity; --", "%s %(x)s {0}", "tab\tnew\nline", "🜁" * 300, long[:-1]]
    with store.writer() as writer:
        ids = [writer.add_entity(name, label=name) for name in names]
        relation = writer.add_relation("is")
        for id_, name in zip(ids, names, strict=True):
            writer.add_statement(id_, relation, Literal(name))
    for id_, name in zip(ids, names, strict=True):
        assert store.entity(id_).label == name
        assert store.find_entity(name) == id_
        assert store.named(name) == [id_]
        assert store.outgoing(id_)[0].literal == Literal(name)
    assert [entity for entity, _ in store.search(long)] == [ids[0]]
    store.close()


@given(ANY)
@settings(max_examples=300)
def test_folding_is_settled_and_tokens_keep_their_places(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert [token for token, _, _ in placed_tokens(text)] == tokens(text)
    for token, start, end in placed_tokens(text):
        assert tokens(text[start:end]) == [token]
    assert not any(char in "\"'() \0\t\n:*^" and char != "*" for token in tokens(text) for char in token)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Crème Brûlée", "creme brulee"),
        ("STRASSE straße", "strasse strasse"),
        ("Jean-Paul O'Neill", "jean paul o neill"),
        ("Łódź, Øresund", "lodz oresund"),
        ("Ｔｏｋｙｏ 東京", "tokyo 東 京"),
        ("C++ & C#", "c + + & c #"),
        ("हिन्दी", "हिन्दी"),
        ("", ""),
        ("!?…", ""),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert form(text) == expected
