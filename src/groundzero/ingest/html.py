"""A web page's title and text, by the standard library's parser: what browsers show, without menus and scripts."""

from __future__ import annotations

from html.parser import HTMLParser

from groundzero.ingest.documents import Document, Link, digest_of

_SILENT = {"script", "style", "noscript", "template", "nav", "footer", "header", "aside", "form", "svg", "select",
           "button", "iframe", "sup", "table", "figure"}  # fmt: skip
_BLOCKS = {"p", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "br", "dd", "dt",
           "blockquote", "pre", "main"}  # fmt: skip
_VOID = {"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "source", "track", "wbr"}
MAX_DEPTH = 200


class _Reader(HTMLParser):
    """Collects text; depth is bounded because only a count is kept."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.length = 0
        self.title = ""
        self.heading = ""
        self.links: list[tuple[int, int, str]] = []
        self.anchors: list[str] = []
        """Every address linked to, in order: where a crawl may go on."""
        self._silent = 0
        self._in: str = ""
        self._open: tuple[int, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in ("title", "h1"):
            self._in = tag
        if tag in _BLOCKS:
            self._put("\n")
        if tag == "a":
            target = dict(attrs).get("href") or ""
            if target:
                self.anchors.append(target)
                self._open = (self.length, target)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == self._in:
            self._in = ""
        if tag in _BLOCKS and tag not in _VOID:
            self._put("\n")
        if tag == "a" and self._open is not None:
            start, target = self._open
            if self.length > start:
                self.links.append((start, self.length, target))
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._in == "title":
            self.title += data
            return
        if self._in == "h1":
            self.heading += data
        if not self._silent:
            self._put(data if "\n" in data and not data.strip() else " ".join(data.split(" ")))

    def _put(self, text: str) -> None:
        if text and not (text == "\n" and self.parts and self.parts[-1] == "\n"):
            self.parts.append(text)
            self.length += len(text)


def html_document(html: str, key: str, *, revision: str = "") -> Document:
    """A page as a document about its main heading; spans are of the text, not of the page's source."""
    document, _ = read_html(html, key, revision=revision)
    return document


def read_html(html: str, key: str, *, revision: str = "") -> tuple[Document, list[str]]:
    """The document, and the addresses it links to."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = "".join(reader.parts)
    title = " ".join((reader.heading or reader.title.partition(" - ")[0].partition(" | ")[0]).split())[:200]
    links = tuple(Link(start, end, _target_title(target)) for start, end, target in reader.links)
    kept = tuple(link for link in links if link.target)
    return Document(key, title, text, digest_of(html), links=kept, revision=revision), reader.anchors


def _target_title(address: str) -> str:
    """The title of a wiki page's address; empty for any other."""
    from urllib.parse import unquote  # noqa: PLC0415 - only here

    marker = "/wiki/"
    if marker not in address:
        return ""
    title = unquote(address.split(marker, 1)[1]).partition("#")[0].partition("?")[0].replace("_", " ")
    return "" if ":" in title else title[:1].upper() + title[1:]
