"""An unattended crawl: to pages about what was asked for in vain, then about what the graph knows least of.

The way there is planned from the graph, a few pages at a time, so that what was learnt changes where it goes. What was
visited is remembered only once it is recorded; an interruption costs the pages since, which are fetched again. A small
page beside the graph shows the state.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import Field

from groundzero.errors import FormatError, InputError, UsageError
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.documents import Document
from groundzero.ingest.gaps import rank_gaps
from groundzero.ingest.learn import LearnReport, learn
from groundzero.ingest.state import LearnState
from groundzero.ingest.web import PageError, Visitor
from groundzero.run.files import write_atomic
from groundzero.settings import Settings

SCHEMA = 1
_MAX_THIN = 100_000
_SHOWN = 50


class CrawlConfig(Settings):
    """Where a crawl goes and how fast."""

    site: str = "https://en.wikipedia.org/wiki/{title}"
    """The address of a title's page."""
    max_pages: int = Field(default=100, ge=1)
    """Pages fetched by one crawl."""
    delay: float = Field(default=1.0, ge=0)
    """Least seconds between two requests to one host."""
    allow_hosts: list[str] = Field(default_factory=list)
    """Hosts that may be reached though their address is not public."""
    stride: int = Field(default=20, ge=1)
    """Pages between two looks at the graph for where to go next."""
    errors: int = Field(default=20, ge=1)
    """Hosts not reached in a row after which the crawl ends: the network is gone."""


@dataclass
class CrawlReport:
    """What a crawl did."""

    learnt: LearnReport = field(default_factory=LearnReport)
    fetched: int = 0
    failed: list[str] = field(default_factory=list)
    status_page: str = ""

    def as_json(self) -> dict[str, Any]:
        """One plain object: that of learning, and the crawl's own."""
        return {
            **self.learnt.as_json(),
            "fetched": self.fetched,
            "failed": self.failed,
            "status_page": self.status_page,
        }


@dataclass
class _Memory:
    """`crawl.json`: what was visited, and what came of it."""

    path: Path
    visited: dict[str, str] = field(default_factory=dict)
    unreached: set[str] = field(default_factory=set)
    """In this run; the next one tries them again."""

    @classmethod
    def load(cls, path: Path) -> _Memory:
        if not path.is_file():
            return cls(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise ValueError(f"version {content['schema']}")
            return cls(path, {str(key): str(value) for key, value in content["visited"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                f"{path} cannot be read: {error}.", remedy="Delete it; pages are fetched again."
            ) from None

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, json.dumps({"schema": SCHEMA, "visited": self.visited}, indent=1).encode())


class _Stride:
    """The next few pages as a source of learning."""

    repeatable, resumable = False, False

    def __init__(self, addresses: Sequence[tuple[str, str]], visitor: Visitor, limit: int) -> None:
        self._addresses, self._visitor, self._limit = addresses, visitor, limit
        self.name = self.key = "crawling"
        self.skipped: list[str] = []
        self.redirects: dict[str, str] = {}
        self.done, self.total, self.position = 0.0, float(len(addresses)), 0
        self.outcomes: dict[str, str] = {}
        self.unreached: list[str] = []
        self.in_a_row = 0

    def documents(self, start: int = 0) -> Iterator[Document]:
        """Each page that can be had; what cannot is noted."""
        for address, title in self._addresses[start:]:
            try:
                document, _ = self._visitor.document(address, title=title)
            except (PageError, UsageError) as error:
                self.outcomes[address] = f"failed: {error.message}"
                self.skipped.append(error.message)
            except InputError as error:  # the network, which may be better next time
                self.unreached.append(address)
                self.skipped.append(error.message)
                self.in_a_row += 1
            else:
                self.outcomes[address] = "read"
                self.in_a_row = 0
                yield document
            self.done = self.position = self.position + 1
            if self.in_a_row >= self._limit:
                return


def crawl(
    graph: Graph,
    seeds: Sequence[str],
    config: IngestConfig,
    crawl_config: CrawlConfig,
    folder: Path,
    *,
    visitor: Visitor | None = None,
    progress: Callable[[str, float, float, str], None] = lambda stage, done, total, note: None,
) -> CrawlReport:
    """Visit pages until `max_pages` were, or nothing is left to visit.

    Args:
        seeds: addresses, or titles, to visit first.
        folder: where the crawl's memory and its status page are.

    Raises:
        InputError: nothing at all could be fetched.
        StorageError: the graph cannot be written.
    """
    visitor = visitor or Visitor(delay=crawl_config.delay, allow_hosts=crawl_config.allow_hosts)
    memory = _Memory.load(folder / "crawl.json")
    report = CrawlReport(status_page=str(folder / "crawl.html"))
    started, in_a_row = time.time(), 0
    while report.fetched < crawl_config.max_pages and in_a_row < crawl_config.errors:
        room = min(crawl_config.stride, crawl_config.max_pages - report.fetched)
        ahead = list(islice(_frontier(graph, seeds, crawl_config.site, folder, memory), room))
        if not ahead:
            break
        stride = _Stride(ahead, visitor, crawl_config.errors - in_a_row)
        learnt = learn(graph, [stride], config, LearnState(folder))
        report.learnt = report.learnt.plus(learnt)
        report.fetched += sum(outcome == "read" for outcome in stride.outcomes.values())
        report.failed += stride.skipped
        in_a_row = stride.in_a_row + (0 if stride.outcomes else in_a_row)
        memory.visited |= stride.outcomes
        memory.unreached.update(stride.unreached)
        memory.save()
        _write_status(folder, report, memory, crawl_config, started)
        progress("crawling", report.fetched, crawl_config.max_pages, f"{report.learnt.counts.accepted:,} facts")
    if not report.fetched and memory.unreached and report.failed:
        raise InputError(f"Nothing could be fetched: {report.failed[-1]}", remedy="Check the connection and --site.")
    return report


def _frontier(
    graph: Graph, seeds: Sequence[str], site: str, folder: Path, memory: _Memory
) -> Iterator[tuple[str, str]]:
    """Addresses not yet visited, with titles: seeds, gaps that were asked for, then the thinnest entities."""
    given: set[str] = set()

    def fresh(title: str) -> Iterator[tuple[str, str]]:
        if title.lower().startswith(("http://", "https://")):
            address, title = title, ""
        else:
            address = site.replace("{title}", quote(title.replace(" ", "_"), safe="(),'"))
        if address not in memory.visited and address not in memory.unreached and address not in given:
            given.add(address)
            yield address, title

    for seed in seeds:
        yield from fresh(seed)
    for gap in rank_gaps(graph, folder, limit=1000):
        if gap.asked:
            yield from fresh(gap.subject)
    for entity in thinnest(graph):
        yield from fresh(graph.label(entity))


def thinnest(graph: Graph) -> list[EntityId]:
    """Entities that others speak of most and that say least themselves, first."""
    triples = graph.store.triples()
    if not len(triples):
        return [entity.id for entity in islice(graph.store.entities(), _MAX_THIN)]
    size = int(triples[:, [0, 2]].max()) + 1
    said = np.bincount(triples[:, 0], minlength=size)
    spoken_of = np.bincount(triples[:, 2], minlength=size)
    there = np.flatnonzero(said + spoken_of)
    order = np.lexsort((there, -spoken_of[there], said[there]))
    return [int(each) for each in there[order][:_MAX_THIN]]


def _write_status(folder: Path, report: CrawlReport, memory: _Memory, config: CrawlConfig, started: float) -> None:
    """`crawl.html`: one file, no script, nothing from elsewhere; every word of a page is escaped."""
    seconds = time.time() - started
    rate = report.fetched / seconds if seconds else 0.0
    left = (config.max_pages - report.fetched) / rate if rate else 0.0
    counts = report.learnt.counts
    facts = (
        ("pages fetched", f"{report.fetched:,} of {config.max_pages:,}"),
        ("facts accepted", f"{counts.accepted:,}"),
        ("facts quarantined", f"{counts.quarantined:,}"),
        ("new entities", f"{counts.entities:,}"),
        ("failures", f"{len(report.failed):,}"),
        ("pages a minute", f"{rate * 60:.1f}"),
        ("minutes left", f"{left / 60:.1f}"),
        ("as of", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())),
    )
    rows = "".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in facts)
    latest = list(memory.visited.items())[-_SHOWN:][::-1]
    pages = "".join(f"<tr><td>{html.escape(url)}</td><td>{html.escape(what)}</td></tr>" for url, what in latest)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="10">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<title>Crawl</title><style>body{font:16px system-ui;margin:2em}th{text-align:left;padding-right:2em}"
        f"td{{padding-right:2em}}</style><h1>Crawl</h1><table>{rows}</table>"
        f"<h2>Latest pages</h2><table>{pages}</table></html>"
    )
    write_atomic(folder / "crawl.html", page.encode("utf-8"))
