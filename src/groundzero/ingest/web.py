"""Pages of the network as documents: politely (robots.txt, one request to a host at a time, pauses) and guarded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.robotparser import RobotFileParser

from groundzero.errors import InputError
from groundzero.ingest.documents import Document
from groundzero.ingest.fetch import USER_AGENT, Answer, Fetcher
from groundzero.ingest.html import read_html
from groundzero.ingest.sources import document_of
from groundzero.ingest.wikitext import read_wikitext

_LONGEST_PAUSE = 60.0
_BUSY = (429, 503)
_TRIES = 3


class PageError(InputError):
    """This page cannot be had, which says nothing of the others."""


class Visitor:
    """Fetches as a guest should. One for a whole run, since it remembers when it was where.

    Args:
        delay: least seconds between two requests to one host; robots.txt may ask for more.
        allow_hosts: see `Fetcher`.
    """

    def __init__(
        self,
        *,
        delay: float = 1.0,
        allow_hosts: Sequence[str] = (),
        fetcher: Fetcher | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._delay, self._sleep, self._clock = delay, sleep, clock
        self._fetcher = fetcher or Fetcher(allow_hosts=allow_hosts)
        self._robots: dict[str, RobotFileParser] = {}
        self._next: dict[str, float] = {}

    def get(self, url: str) -> Answer:
        """A page that may be fetched and was found.

        Raises:
            UsageError: no address that may be fetched.
            PageError: robots.txt forbids it, or the answer is no page.
            InputError: it cannot be reached.
        """
        host = _host(url)
        if not self._rules(url, host).can_fetch(USER_AGENT, url):
            raise PageError(f"{url} may not be read by programs, says its robots.txt.", remedy="Choose other pages.")
        for _ in range(_TRIES):
            answer = self._paced(url, host)
            if answer.status not in _BUSY:
                break
            self._sleep(min(answer.retry_after or self._delay * 4, _LONGEST_PAUSE))
        if answer.status != 200:
            raise PageError(f"{url} answers {answer.status}.", remedy="Check the address.")
        return answer

    def document(self, url: str, *, title: str = "") -> tuple[Document, list[str]]:
        """A page as a document, and the addresses it links to. Raises as `get`."""
        answer = self.get(url)
        if answer.kind in ("text/x-wiki", "application/x-wiki"):
            name = title or _title_in(answer.url)
            document = read_wikitext(answer.text, key=answer.url, title=name, revision=answer.revision, licence="")
            return document, []
        if answer.kind == "text/plain":
            return document_of(answer.text, answer.url, title=title, revision=answer.revision), []
        return read_html(answer.text, answer.url, revision=answer.revision)

    def _paced(self, url: str, host: str) -> Answer:
        pause = self._next.get(host, 0.0) - self._clock()
        if pause > 0:
            self._sleep(pause)
        try:
            return self._fetcher.get(url)
        finally:
            asked = self._robots[host].crawl_delay(USER_AGENT) if host in self._robots else None
            delay = max(self._delay, min(float(asked or 0), _LONGEST_PAUSE))
            self._next[host] = self._clock() + delay

    def _rules(self, url: str, host: str) -> RobotFileParser:
        """The host's robots.txt: none means all is allowed; one that cannot be read, that nothing is."""
        if host not in self._robots:
            rules = RobotFileParser()
            try:
                answer = self._paced(f"{urlsplit(url).scheme}://{host}/robots.txt", host)
                if answer.status == 200:
                    rules.parse(answer.text.splitlines())
                else:
                    rules.parse([] if 400 <= answer.status < 500 and answer.status not in (401, 403, 429) else _CLOSED)
            except InputError as error:
                if "no whole answer" in str(error) or "Cannot" in str(error) or "public" in str(error):
                    raise
                rules.parse(_CLOSED)
            self._robots[host] = rules
        return self._robots[host]


class UrlSource:
    """One address. Fetched once, whatever it is asked for."""

    repeatable, resumable = True, False

    def __init__(self, url: str, visitor: Visitor) -> None:
        self.url, self.name, self.key = url, url, url
        self._visitor = visitor
        self._document: Document | None = None
        self.skipped: list[str] = []
        self.redirects: dict[str, str] = {}
        self.done, self.total = 0.0, 1.0
        self.position = 0

    def documents(self, start: int = 0) -> Iterator[Document]:
        """The page. Raises InputError where it cannot be had."""
        if self._document is None:
            self._document, _ = self._visitor.document(self.url)
        if start == 0:
            yield self._document
        self.done, self.position = 1.0, 1


_CLOSED = ["User-agent: *", "Disallow: /"]


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _title_in(url: str) -> str:
    parts = urlsplit(url)
    named = parse_qs(parts.query).get("title")
    return unquote(named[0] if named else parts.path.rsplit("/", 1)[-1]).replace("_", " ")
