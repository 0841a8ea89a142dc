"""Dumps: every page, in bounded memory, from any page on; hostile and damaged pages cost themselves only."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.ingest import dump
from groundzero.ingest.dump import DumpReport, dump_pages, is_dump
from groundzero.ingest.sources import DumpSource


def _page(title: str, text: str, namespace: str = "0") -> str:
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>1</id>"
        f"<revision><id>77</id><contributor><id>5</id></contributor><text>{text}</text></revision></page>\n"
    )


def _dump(path: Path, pages: list[str], head: str = "") -> Path:
    data = f'{head}<mediawiki xml:lang="en"><siteinfo/>{"".join(pages)}</mediawiki>'.encode()
    opener = {".bz2": bz2.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(opener(data))
    return path


@pytest.mark.parametrize("name", ["a.xml", "a.xml.gz", "a.xml.bz2"])
def test_every_page_comes_in_order(tmp_path: Path, name: str) -> None:
    path = _dump(tmp_path / name, [_page(f"T{i}", f"a &lt;b&gt; &amp; {i}") for i in range(50)])
    assert is_dump(path)
    pages = list(dump_pages(path))
    assert [page.title for page in pages] == [f"T{i}" for i in range(50)]
    assert pages[7].text == "a <b> & 7"
    assert pages[7].revision == "77"
    assert [page.number for page in dump_pages(path, skip=30)] == list(range(30, 50))


def test_blocks_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _dump(tmp_path / "a.xml", [_page(f"T{i}", "x" * i) for i in range(30)])
    whole = list(dump_pages(path))
    for size in (1, 2, 5, 7, 64):
        monkeypatch.setattr(dump, "_BLOCK", size)
        assert list(dump_pages(path)) == whole


@pytest.mark.parametrize(
    "hostile",
    [
        '<page><!DOCTYPE x [<!ENTITY a "b">]><title>&a;</title></page>',
        '<page><title>a</title><!ENTITY b SYSTEM "file:///etc/passwd"></page>',
        "<page><title>&undefined;</title></page>",
        "<page><title>a</page>",
        "<page><page><title>a</title></page>",
        "<page>\x00</page>",
    ],
)
def test_a_bad_page_costs_only_itself(tmp_path: Path, hostile: str) -> None:
    path = _dump(tmp_path / "a.xml", [_page("before", "x"), hostile, _page("after", "y")])
    report = DumpReport()
    assert [page.title for page in dump_pages(path, report=report)] == ["before", "after"]
    assert report.hostile + report.damaged == 1


def test_entities_declared_outside_any_page_mean_nothing(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE z [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    path = _dump(tmp_path / "a.xml", [_page("bomb", "&b;"), _page("fine", "x")], bomb)
    report = DumpReport()
    assert [page.title for page in dump_pages(path, report=report)] == ["fine"]
    assert report.damaged == 1


def test_a_page_too_long_is_passed_over_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "MAX_PAGE_BYTES", 2000)
    monkeypatch.setattr(dump, "_BLOCK", 500)
    path = _dump(tmp_path / "a.xml", [_page("small", "x"), _page("large", "y" * 50_000), _page("after", "z")])
    report = DumpReport()
    assert [page.title for page in dump_pages(path, report=report)] == ["small", "after"]
    assert report.too_long == 1


@pytest.mark.parametrize("name", ["a.xml.gz", "a.xml.bz2"])
def test_a_truncated_dump_gives_what_it_has_and_says_so(tmp_path: Path, name: str) -> None:
    path = _dump(tmp_path / name, [_page(f"T{i}", str(i) * 5000) for i in range(200)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    seen = []
    with pytest.raises(InputError, match="cannot be read to its end"):
        for page in dump_pages(path):
            seen.append(page.title)
    assert seen == [f"T{i}" for i in range(len(seen))]


@given(st.binary(max_size=300))
def test_no_bytes_are_too_broken(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("d") / "a.xml"
    path.write_bytes(b"<mediawiki>" + data + b"<page>" + data + b"</page>")
    list(dump_pages(path))


def test_redirects_and_other_namespaces_are_no_documents(tmp_path: Path) -> None:
    pages = [
        _page("Old name", "#REDIRECT [[New name]]"),
        _page("Talk:New name", "chat", "1"),
        _page("New name", "A '''new name'''."),
    ]
    source = DumpSource(_dump(tmp_path / "a.xml", pages))
    assert [each.title for each in source.documents()] == ["New name"]
    assert source.redirects == {"Old name": "New name"}
    assert source.position == 3
