"""What the tests of this room share: a small world with facts, pages that state them, and a server of pages."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from groundzero.graph.graph import Graph

CITIES = [f"{name}{end}" for name in ("Arvel", "Bostan", "Celdor", "Dunmor", "Elvas") for end in ("ia", "ton", "burg")]
TRADES = ["baker", "glazier", "cooper", "weaver"]
FIRST = ["Ana", "Bela", "Cora", "Dina", "Edda", "Finn", "Gero", "Hanna", "Ivo", "Jana"]
LAST = ["Karst", "Lunde", "Morrow", "Nagel", "Ostrow", "Pavel", "Quill", "Rohde", "Stern", "Tamas"]


def people() -> list[tuple[str, str, str, str]]:
    """Name, place of birth, place of death and trade of a hundred people."""
    found = []
    for i, first in enumerate(FIRST):
        for j, last in enumerate(LAST):
            born, died = CITIES[(3 * i + j) % len(CITIES)], CITIES[(i + 7 * j + 1) % len(CITIES)]
            if born == died:
                died = CITIES[(CITIES.index(born) + 1) % len(CITIES)]
            found.append((f"{first} {last}", born, died, TRADES[(i * j + i) % len(TRADES)]))
    return found


def page_text(person: tuple[str, str, str, str], number: int) -> str:
    """A page that says all of it, in one of several ways, among names that mean nothing."""
    name, born, died, trade = person
    other = CITIES[(number * 5 + 2) % len(CITIES)]
    ways = (
        f"{name} was a {trade}. {name} was born in {born} and lived long. The road to {other} was bad. "
        f"{name} died in {died} one winter.",
        f"{name} was a noted {trade}. Born in {born}, the {trade} never saw {other}. {name} died in {died}.",
    )
    return ways[number % len(ways)]


@pytest.fixture
def world(tmp_path: Path) -> Graph:
    """A graph with the facts of the first eighty people; of the last twenty it knows names and types only."""
    graph = Graph.open(tmp_path / "world.db", create=True)
    with graph.store.writer() as writer:
        born, died = (
            writer.add_relation("born", label="place of birth"),
            writer.add_relation("died", label="place of death"),
        )
        trade = writer.add_relation("trade", label="occupation")
        ids = {city: writer.add_entity(city, label=city, types=["city"]) for city in CITIES}
        ids |= {each: writer.add_entity(each, label=each, types=["trade"]) for each in TRADES}
        for number, person in enumerate(people()):
            subject = writer.add_entity(person[0], label=person[0], types=["human"])
            if number < 80:
                writer.add_statement(subject, born, ids[person[1]])
                writer.add_statement(subject, died, ids[person[2]])
                writer.add_statement(subject, trade, ids[person[3]])
    graph.refresh()
    return graph


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with a page about each of the hundred."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for number, person in enumerate(people()):
        (folder / f"{person[0].replace(' ', '_')}.txt").write_text(page_text(person, number), encoding="utf-8")
    return folder


def statements(graph: Graph, status: str = "accepted") -> set[tuple[str, str, str]]:
    """Living statements by their labels."""
    store = graph.store
    found = set()
    for each in store.statements(status=status):  # type: ignore[arg-type]
        target = store.entity(each.object).label if each.object is not None else each.literal.value  # type: ignore[union-attr]
        found.add((store.entity(each.subject).label, store.relation(each.relation).label, target))
    return found


class Site:
    """A server on this machine. `pages` are path -> (status, headers, body); what was asked for is in `asked`."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.slow: dict[str, float] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                status, headers, body = site.pages.get(self.path, (404, {}, b"not here"))
                self.send_response(status)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                pause = site.slow.get(self.path, 0.0)
                try:
                    for i in range(0, len(body), 1 if pause else max(len(body), 1)):
                        self.wfile.write(body[i : i + (1 if pause else len(body))])
                        self.wfile.flush()
                        if pause:
                            time.sleep(pause)
                except (BrokenPipeError, ConnectionResetError):  # the guest has left
                    return

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def add(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        """A page; underscores in header names stand for hyphens."""
        data = body.encode() if isinstance(body, str) else body
        self.pages[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, data)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of pages on this machine."""
    running = Site()
    yield running
    running.close()


@pytest.fixture
def packed() -> Callable[[bytes], bytes]:
    """gzip."""
    return gzip.compress
