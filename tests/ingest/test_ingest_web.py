"""The network: public addresses only, whatever is tried; bounded, polite, and a crawl that goes on where it was."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import FormatError, GroundzeroError, InputError, UsageError
from groundzero.graph.graph import Graph
from groundzero.ingest import guard
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.crawl import CrawlConfig, crawl, thinnest
from groundzero.ingest.fetch import Fetcher
from groundzero.ingest.gaps import GapLog
from groundzero.ingest.guard import check_url, is_public
from groundzero.ingest.html import read_html
from groundzero.ingest.learn import learn
from groundzero.ingest.sources import FileSource
from groundzero.ingest.state import LearnState
from groundzero.ingest.web import UrlSource, Visitor

from .conftest import Site, statements

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "192.88.99.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001::1", "2001:db8::1",
    "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "100::1", "3fff::1", "5f00::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "151.101.1.69", "2606:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8"]
NO_ADDRESS = [
    "", "http://", "https://", "ftp://example.org/", "file:///etc/passwd", "gopher://a/", "javascript:alert(1)",
    "data:text/html,x", "//example.org/", "/etc/passwd", "http:///x", "http://user@example.org/", "http://u:p@example.org/",
    "http://example.org@127.0.0.1/", "http://exa mple.org/", "http://example.org/\r\nHost: x", "http://example.org\\@127.0.0.1/",
    "http://example.org:22/", "http://example.org:8080/", "http://example.org:99999/", "http://example.org:x/", "http://[::1",
    "http://" + "a" * 3000 + "/", "jar:http://example.org/!/", "HTTP//example.org", "http://\u0000/",
]  # fmt: skip
NUMBERS = [
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0/",
    "http://127.0.0.1./", "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://[::1]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127%2e0%2e0%2e1/",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_private_connection(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that a socket is opened to, whatever the guard thought."""
    reached: list[str] = []
    original = socket.create_connection

    def recorded(address: tuple[str, int], *rest: object, **named: object) -> socket.socket:
        reached.append(f"{address[0]}:{address[1]}")
        return original(address, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", recorded)
    return reached


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_private(address: str, no_private_connection: list[str]) -> None:
    assert not is_public(address)
    with pytest.raises(InputError, match="not a public address"):
        Fetcher(resolve=lambda host, port: [address]).get("http://innocent.example/")
    with pytest.raises(InputError, match="not a public address"):
        Fetcher(resolve=lambda host, port: ["8.8.8.8", address]).get("http://innocent.example/")
    assert no_private_connection == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", NO_ADDRESS)
def test_what_is_no_address_is_refused_before_anything_is_resolved(url: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError(f"resolved {host}")

    with pytest.raises(UsageError):
        check_url(url, resolve=never)


@pytest.mark.parametrize("url", NUMBERS)
def test_spellings_of_this_machine(url: str, no_private_connection: list[str]) -> None:
    with pytest.raises((InputError, UsageError)):
        Fetcher(seconds=2).get(url)
    assert no_private_connection == []


@given(st.text(max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}/"):
        try:
            target = check_url(url, resolve=lambda host, port: ["127.0.0.1"])
        except GroundzeroError:
            continue
        raise AssertionError(f"{url!r} was let through to {target}")


def test_a_name_that_changes_its_mind_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, no_private_connection: list[str]
) -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]])
    with pytest.raises(InputError, match="Cannot fetch"):
        monkeypatch.setattr(
            socket, "create_connection", lambda address, timeout=None: _refuse(no_private_connection, address)
        )
        Fetcher(resolve=lambda host, port: next(answers)).get("http://rebinding.example/")
    assert no_private_connection == ["93.184.215.14:80"]


def _refuse(reached: list[str], address: tuple[str, int]) -> socket.socket:
    reached.append(f"{address[0]}:{address[1]}")
    raise ConnectionRefusedError("nobody there")


@pytest.mark.parametrize(
    "to", ["http://10.0.0.1/", "http://localhost:1/", "file:///etc/passwd", "//169.254.169.254/latest", "gopher://x/"]
)
def test_redirections_are_judged_again(site: Site, no_private_connection: list[str], to: str) -> None:
    site.add("/", "", 302, Location=to)
    with pytest.raises((InputError, UsageError)):
        Fetcher(allow_hosts=[site.host]).get(f"{site.url}/")
    assert set(no_private_connection) == {site.host}


def test_a_circle_of_redirections_ends(site: Site) -> None:
    site.add("/a", "", 301, Location="/b")
    site.add("/b", "", 301, Location="/a")
    with pytest.raises(InputError, match="on and on"):
        Fetcher(allow_hosts=[site.host]).get(f"{site.url}/a")
    assert len(site.asked) == 6


def test_an_allowed_host_is_reached_and_no_other_port_of_it(site: Site) -> None:
    site.add("/page", "<p>Grüße</p>", ETag='"v1"')
    answer = Fetcher(allow_hosts=[site.host]).get(f"{site.url}/page#part")
    assert (answer.status, answer.text, answer.revision) == (200, "<p>Grüße</p>", '"v1"')
    with pytest.raises((InputError, UsageError)):
        Fetcher(allow_hosts=["127.0.0.1:1"]).get(f"{site.url}/page")


def test_packed_pages_are_unpacked_and_bombs_are_not(site: Site, packed: Callable[[bytes], bytes]) -> None:
    site.add("/fine", packed(b"<p>hello</p>"), Content_Encoding="gzip")
    site.add("/bomb", packed(b"\0" * 50_000_000), Content_Encoding="gzip")
    site.add("/nested", packed(packed(b"x" * 100)), Content_Encoding="gzip, gzip")
    site.add("/broken", b"\x1f\x8b\x08 nonsense", Content_Encoding="gzip")
    fetcher = Fetcher(allow_hosts=[site.host], max_bytes=1_000_000)
    assert fetcher.get(f"{site.url}/fine").text == "<p>hello</p>"
    with pytest.raises(InputError, match="larger than 1,000,000"):
        fetcher.get(f"{site.url}/bomb")
    for path in ("/nested", "/broken"):
        with pytest.raises(InputError):
            fetcher.get(f"{site.url}{path}")
    assert zlib.MAX_WBITS == 15


def test_large_slow_and_strange_pages_are_refused(site: Site) -> None:
    site.add("/large", b"x" * 200_000)
    site.add("/image", b"x", Content_Type="image/png")
    site.add("/drip", b"x" * 1000)
    site.slow["/drip"] = 0.05
    fetcher = Fetcher(allow_hosts=[site.host], max_bytes=100_000, seconds=0.6)
    with pytest.raises(InputError, match="larger than"):
        fetcher.get(f"{site.url}/large")
    with pytest.raises(InputError, match="image/png"):
        fetcher.get(f"{site.url}/image")
    with pytest.raises(InputError, match=r"0\.6 s"):
        fetcher.get(f"{site.url}/drip")


def test_robots_are_heeded(site: Site) -> None:
    site.add("/robots.txt", "User-agent: *\nDisallow: /private/\nCrawl-delay: 7\n", Content_Type="text/plain")
    site.add("/open", "<h1>Open</h1><p>Open is open.</p>")
    slept: list[float] = []
    visitor = Visitor(delay=2, allow_hosts=[site.host], sleep=slept.append, clock=lambda: 0.0)
    assert visitor.document(f"{site.url}/open")[0].title == "Open"
    with pytest.raises(InputError, match=r"robots\.txt"):
        visitor.get(f"{site.url}/private/page")
    visitor.get(f"{site.url}/open")
    assert slept[0] == 2  # before the rules are known
    assert set(slept[1:]) == {7}
    assert "/private/page" not in site.asked


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, False), (500, False), (503, False)])
def test_a_host_whose_rules_cannot_be_read(site: Site, status: int, allowed: bool) -> None:
    site.add("/robots.txt", "", status)
    site.add("/page", "<p>x</p>")
    visitor = Visitor(delay=0, allow_hosts=[site.host])
    if allowed:
        assert visitor.get(f"{site.url}/page").status == 200
    else:
        with pytest.raises(InputError, match=r"robots\.txt"):
            visitor.get(f"{site.url}/page")


def test_a_busy_host_is_given_time(site: Site) -> None:
    site.add("/page", "", 503, Retry_After="9")
    slept: list[float] = []
    with pytest.raises(InputError, match="answers 503"):
        Visitor(delay=0, allow_hosts=[site.host], sleep=slept.append).get(f"{site.url}/page")
    assert slept.count(9.0) == 3


def test_a_page_is_text_without_its_menus() -> None:
    document, anchors = read_html(
        "<html><title>T - Site</title><script>alert(1)</script><nav>Menu</nav><h1>The Thing</h1>"
        '<p>The Thing is a <a href="/wiki/Big_stone">stone</a>.</p><style>p{}</style><p>Old &amp; grey.<br>Dry</p>',
        "k",
    )
    assert document.title == "The Thing"
    assert [line for line in document.text.split("\n") if line.strip()] == [
        "The Thing",
        "The Thing is a stone.",
        "Old & grey.",
        "Dry",
    ]
    (link,) = document.links
    assert document.text[link.start : link.end] == "stone"
    assert link.target == "Big stone"
    assert anchors == ["/wiki/Big_stone"]


INFOBOX = """<html><h1>Ada Lovelace</h1><table class="infobox vcard"><tr><th colspan="2">Ada Lovelace</th></tr>
<tr><th>Born</th><td>Augusta Byron<br><span>(<span class="bday">1815-12-10</span>)</span> 10 December 1815<br>
<a href="/wiki/London">London</a>, <a href="/wiki/England">England</a></td></tr>
<tr><th>Occupation</th><td>
<ul><li><a href="/wiki/Mathematician">Mathematician</a></li>
<li><a href="/wiki/Poet">Poet</a><sup>[1]</sup></li></ul></td></tr><tr><td>no head</td></tr></table>
<p>Ada Lovelace was a writer.</p></html>"""


def test_an_infobox_is_read_from_a_page(tmp_path: Path) -> None:
    document, _ = read_html(INFOBOX, "k")
    for each in document.fields:
        for value in each.values:
            assert document.text[value.start : value.end] == value.text
    assert [each.name for each in document.fields] == ["born", "occupation"]
    assert document.text.index("Ada Lovelace was a writer.") < document.text.index("born:")
    page = tmp_path / "ada.html"
    page.write_text(INFOBOX, encoding="utf-8")
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        learn(graph, [FileSource(page)], IngestConfig(), LearnState(None))
        assert statements(graph) >= {
            ("Ada Lovelace", "date of birth", "1815-12-10"),
            ("Ada Lovelace", "place of birth", "London"),
            ("Ada Lovelace", "occupation", "Mathematician"),
            ("Ada Lovelace", "occupation", "Poet"),
        }


PIECES = ["<table class=infobox>", "<table>", "</table>", "<tr>", "<th>", "<td>", "<li>", "<a href=/wiki/A>", "</a>",
          "</td>", "</th>", "<br>", "<sup>", "</sup>", "word", "1815", "<p>"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_no_infobox_is_too_broken(pieces: list[str]) -> None:
    document, _ = read_html("".join(pieces), "k")
    for each in document.fields:
        for value in each.values:
            assert document.text[value.start : value.end] == value.text


@given(st.text(alphabet=st.sampled_from("<>/=\"'abh1p &;!-[]"), max_size=200))
def test_no_html_is_too_broken(html: str) -> None:
    document, _ = read_html(html, "k")
    assert all(0 <= link.start < link.end <= len(document.text) for link in document.links)


def _page(name: str, text: str) -> str:
    return f"<html><h1>{name}</h1><p>{text}</p></html>"


def _crawl_config(site: Site, **rest: object) -> CrawlConfig:
    return CrawlConfig.parse({"site": f"{site.url}/wiki/{{title}}", "delay": 0.0, "allow_hosts": [site.host], **rest})


def test_a_crawl_goes_to_gaps_then_to_the_thinnest_and_never_twice(world: Graph, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    entity = world.store.find_entity("Jana Tamas")
    assert entity is not None
    GapLog(folder).remember("Where was Jana Tamas born?", "no_fact", entities=(entity,))
    site.add("/wiki/Jana_Tamas", _page("Jana Tamas", "Jana Tamas (born 3 May 1950) was a <i>baker</i>. &lt;script&gt;"))
    site.add("/wiki/Arvelia", _page("Arvelia", "Arvelia is a city."))
    report = crawl(world, ["Arvelia"], IngestConfig(), _crawl_config(site, max_pages=2, stride=2), folder)
    assert report.fetched == 2
    assert site.asked == ["/robots.txt", "/wiki/Arvelia", "/wiki/Jana_Tamas"]
    assert ("Jana Tamas", "date of birth", "1950-05-03") in statements(world)
    page = (folder / "crawl.html").read_text(encoding="utf-8")
    assert "2 of 2" in page
    assert "<script" not in page
    site.asked.clear()
    site.add("/wiki/Bostania", _page("Bostania", "Bostania is a city."))
    again = crawl(world, ["Arvelia", "Bostania"], IngestConfig(), _crawl_config(site, max_pages=1, stride=3), folder)
    assert again.fetched == 1
    assert site.asked == ["/robots.txt", "/wiki/Bostania"]


def test_a_crawl_without_a_network_ends_and_says_so(world: Graph, tmp_path: Path) -> None:
    config = CrawlConfig.parse({"site": "http://nowhere.invalid/{title}", "delay": 0.0, "errors": 2})
    with pytest.raises(InputError, match="Nothing could be fetched"):
        crawl(world, [], IngestConfig(), config, tmp_path / "state")


def test_a_crawl_that_fails_before_the_commit_visits_again(
    world: Graph, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("/wiki/Arvelia", _page("Arvelia", "Arvelia is a city."))
    folder = tmp_path / "state"
    config = _crawl_config(site, max_pages=1)
    from groundzero.ingest.recording import Recorder

    original = Recorder.record
    monkeypatch.setattr(Recorder, "record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        crawl(world, ["Arvelia"], IngestConfig(), config, folder)
    monkeypatch.setattr(Recorder, "record", original)
    assert crawl(world, ["Arvelia"], IngestConfig(), config, folder).fetched == 1
    assert site.asked.count("/wiki/Arvelia") == 2


def test_a_damaged_memory_of_a_crawl_is_named(world: Graph, site: Site, tmp_path: Path) -> None:
    (tmp_path / "crawl.json").write_text("{", encoding="utf-8")
    with pytest.raises(FormatError, match=r"crawl\.json"):
        crawl(world, ["Arvelia"], IngestConfig(), _crawl_config(site), tmp_path)


def test_the_thinnest_come_first(world: Graph) -> None:
    said = {each: len(world.store.outgoing(each)) for each in thinnest(world)}
    assert list(said.values()) == sorted(said.values())


def test_an_address_is_a_source(world: Graph, site: Site) -> None:
    site.add(
        "/w",
        "{{Infobox person|spouse=[[Ivo Stern]]}}'''Ana Karst''' was a [[baker]].",
        Content_Type="text/x-wiki; charset=utf-8",
    )
    source = UrlSource(f"{site.url}/w?title=Ana_Karst", Visitor(delay=0, allow_hosts=[site.host]))
    site.pages["/w?title=Ana_Karst"] = site.pages["/w"]
    (document,) = source.documents()
    assert document.title == "Ana Karst"
    assert document.fields[0].values[0].target == "Ivo Stern"
    assert json.dumps(site.asked) == json.dumps(["/robots.txt", "/w?title=Ana_Karst"])
    assert guard.is_public("8.8.8.8")
