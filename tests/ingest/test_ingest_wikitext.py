"""Wikitext: text, links and infobox fields, each at its place in the source, whatever the source."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.ingest.documents import Document
from groundzero.ingest.lead import read_lead
from groundzero.ingest.sources import FileSource
from groundzero.ingest.wikitext import clean_title, read_wikitext, redirect

ARTICLE = """{{Use dmy dates}}
{{Infobox person
| name        = Ada Lovelace
| birth_date  = {{birth date|1815|12|10|df=y}}
| birth_place = [[London]], [[England]]
| occupation  = {{hlist|[[Mathematician]]|[[Poet]]}}
| known_for   = [[Analytical Engine]]<br>first [[Computer programming|program]]
| image       = Ada.jpg
}}
'''Augusta Ada King, Countess of Lovelace''' (10 December 1815 – 27 November 1852) was an English
[[mathematician]] and [[writer]].<ref>{{cite book|title=Ada}}</ref> She wrote about [[Charles Babbage|Babbage]]'s
engine.<!-- not this --> [[File:Ada.jpg|thumb|A portrait]]

== Life ==
She was born in [[London]].

== References ==
Nothing of this is read.
"""


def _read(text: str) -> Document:
    return read_wikitext(text, key="k", title="Ada Lovelace")


def test_text_is_what_a_reader_sees() -> None:
    text = _read(ARTICLE).text
    assert "was an English\nmathematician and writer. She wrote about Babbage's" in text
    for absent in ("cite", "not this", "portrait", "Infobox", "Nothing of this", "[[", "''"):
        assert absent not in text


def test_links_and_fields_stand_where_they_say() -> None:
    document = _read(ARTICLE)
    assert {document.text[each.start : each.end]: each.target for each in document.links} == {
        "mathematician": "Mathematician", "writer": "Writer", "Babbage": "Charles Babbage", "London": "London",
    }  # fmt: skip
    for link in document.links:
        start, end = document.places.of(link.start, link.end)
        assert ARTICLE[start:end] == document.text[link.start : link.end]
    fields = {each.name: each.values for each in document.fields}
    assert [(each.text, each.target) for each in fields["occupation"]] == [
        ("Mathematician", "Mathematician"),
        ("Poet", "Poet"),
    ]
    assert [(each.text, each.target) for each in fields["birth place"]] == [("London", "London")]
    assert fields["birth date"][0].text == "1815-12-10"
    for values in fields.values():
        for value in values:
            if not value.text[0].isdigit():
                assert ARTICLE[value.start : value.end] == value.text
    assert document.box == "person"
    assert document.aliases[0] == "Augusta Ada King, Countess of Lovelace"


def test_the_first_sentence() -> None:
    lead = read_lead(_read(ARTICLE))
    assert [each.target for each in lead.kinds] == ["Mathematician", "Writer"]
    assert [(each.date.value, each.born) for each in lead.dates] == [("1815-12-10", True), ("1852-11-27", False)]


@pytest.mark.parametrize(
    ("sentence", "kinds"),
    [
        (
            "X (born 3 May 1950) is an American singer, songwriter and record producer.",
            ["singer", "songwriter", "record producer"],
        ),
        ("X was a record label owned by Y.", ["record label"]),
        ("X is a combat sport involving grappling.", ["combat sport"]),
        ("X is a film and television actor known for Y.", ["television actor"]),
        ("X, officially the Republic of X, is a landlocked country in Y.", ["landlocked country"]),
        ("X is one of the two main branches of Islam.", []),
        ("X is a small, nocturnal mammal of Y.", ["nocturnal mammal"]),
        ("X may refer to Y.", []),
        ("Y is a town.", []),
    ],
)
def test_kinds(sentence: str, kinds: list[str]) -> None:
    assert [each.text for each in read_lead(Document("k", "X", sentence, "")).kinds] == kinds


@given(st.text(alphabet=st.sampled_from("Xx ,.()and or is was a the film ed ing–-1 50\n"), max_size=120))
def test_no_sentence_is_too_odd(text: str) -> None:
    for kind in read_lead(Document("k", "X", f"X is a {text}", "")).kinds:
        assert 7 <= kind.start < kind.end <= len(text) + 7
        assert "(" in text or " ".join(text[kind.start - 7 : kind.end - 7].split()) == kind.text


@pytest.mark.parametrize(
    ("wikitext", "target"),
    [("#REDIRECT [[Computer accessibility]]", "Computer accessibility"), ("#redirect: [[a_b#c]]", "A b"), ("text", "")],
)
def test_redirects(wikitext: str, target: str) -> None:
    assert redirect(wikitext) == target


def test_titles() -> None:
    assert clean_title("the_matrix#Cast") == "The matrix"
    assert clean_title("Elizabeth&nbsp;II") == "Elizabeth II"


def test_a_file_is_about_what_its_page_writes_in_bold(tmp_path: Path) -> None:
    path = tmp_path / "United-Kingdom.txt"
    path.write_text(
        "{{Infobox country|capital=[[London]]}}The '" + "''United Kingdom'" + "'' is a [[country]]. [[A]] [[B]]",
        encoding="utf-8",
    )
    assert [each.title for each in FileSource(path).documents()] == ["United Kingdom"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("[]{}|='<>ref/ \nabInfobox*:#!-&;"), max_size=200))
def test_no_wikitext_is_too_broken(wikitext: str) -> None:
    document = read_wikitext(wikitext, key="k", title="T")
    for link in document.links:
        assert 0 <= link.start < link.end <= len(document.text)
    for field in document.fields:
        for value in field.values:
            assert 0 <= value.start <= value.end <= len(wikitext) + 1
    assert list(document.places.text_starts) == sorted(document.places.text_starts)
    start, end = document.places.of(0, len(document.text))
    assert 0 <= start <= end


@pytest.mark.parametrize(
    "hostile", ["{{" * 3000, "[[" * 3000, "<div>" * 2000, "{|" * 2000, "'" * 5000, "{{a|" * 500 + "}}" * 500]
)
def test_deep_nesting_ends(hostile: str) -> None:
    assert _read(hostile).key == "k"


def test_real_articles(data_dir: Path) -> None:
    fields = 0
    with tarfile.open(data_dir / "formats-mediawiki" / "wtf_wikipedia-cache.tar.gz") as archive:
        for member in archive.getmembers()[::6]:
            file = archive.extractfile(member)
            assert file is not None
            source = file.read().decode()
            document = read_wikitext(source, key=member.name, title=Path(member.name).stem.replace("-", " "))
            fields += len(document.fields)
            read_lead(document)
            for link in document.links:
                start, end = document.places.of(link.start, link.end)
                assert 0 <= start < end <= len(source)
    assert fields > 50


def test_without_the_extra_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    with pytest.raises(InputError, match=r"groundzero\[wiki\]"):
        _read("text")
