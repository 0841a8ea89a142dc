"""A web page's title, text and infobox, by the standard library's parser: what browsers show, without menus."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote

from groundzero.ingest.documents import Document, Field, Link, Value, digest_of, is_address

_SILENT = {"script", "style", "noscript", "template", "nav", "footer", "header", "aside", "form", "svg", "select",
           "button", "iframe", "sup", "table", "figure"}  # fmt: skip
_BLOCKS = {"p", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "br", "dd", "dt",
           "blockquote", "pre", "main"}  # fmt: skip
_BREAKS = {"br", "li", "p", "div"}
_MOST_ROWS = 500


@dataclass
class _Item:
    """One line of an infobox's cell."""

    text: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    """Text and target."""


@dataclass
class _Row:
    head: str = ""
    items: list[_Item] = field(default_factory=list)


class _Box:
    """The rows of a table of class `infobox`."""

    def __init__(self) -> None:
        self.depth = 1
        self.rows: list[_Row] = []
        self._cell = ""
        self._silent = 0
        self._target = ""

    def start(self, tag: str, attributes: dict[str, str | None]) -> None:
        """An element begins."""
        if tag == "table":
            self.depth += 1
        elif tag in _SILENT:
            self._silent += 1
        elif tag == "tr" and len(self.rows) < _MOST_ROWS:
            self.rows.append(_Row())
            self._cell = ""
        elif tag in ("th", "td"):
            self._cell = tag
            self._break()
        elif tag in _BREAKS:
            self._break()
        elif tag == "a":
            self._target = _target_title(attributes.get("href") or "")
            if self._target and self._cell == "td" and self.rows:
                self.rows[-1].items[-1].links.append(("", self._target))

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag == "table":
            self.depth -= 1
        elif tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in ("th", "td", "tr"):
            self._cell = ""
        elif tag in _BREAKS:
            self._break()
        elif tag == "a":
            self._target = ""

    def data(self, text: str) -> None:
        """Characters."""
        if self._silent or not self._cell or not self.rows:
            return
        row = self.rows[-1]
        if self._cell == "th":
            row.head += text
            return
        item = row.items[-1]
        item.text += text
        if self._target:
            before, target = item.links[-1]
            item.links[-1] = (before + text, target)

    def _break(self) -> None:
        self._target = ""
        if self._cell == "td" and self.rows:
            self.rows[-1].items.append(_Item())


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
        self.rows: list[_Row] = []
        self._box: _Box | None = None
        self._silent = 0
        self._in = ""
        self._open: tuple[int, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        target = attributes.get("href") or ""
        if tag == "a" and target:
            self.anchors.append(target)
        if self._box is not None:
            self._box.start(tag, attributes)
            return
        if tag == "table" and not self._silent and "infobox" in (attributes.get("class") or "").lower():
            self._box = _Box()
            return
        if tag in _SILENT:
            self._silent += 1
        elif tag in ("title", "h1"):
            self._in = tag
        if tag in _BLOCKS:
            self._put("\n")
        if tag == "a" and target:
            self._open = (self.length, target)

    def handle_endtag(self, tag: str) -> None:
        if self._box is not None:
            self._box.end(tag)
            if self._box.depth == 0:
                self.rows += self._box.rows
                self._box = None
            return
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == self._in:
            self._in = ""
        if tag in _BLOCKS and tag != "br":
            self._put("\n")
        if tag == "a" and self._open is not None:
            start, target = self._open
            if self.length > start:
                self.links.append((start, self.length, target))
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._box is not None:
            self._box.data(data)
            return
        if self._in == "title":
            self.title += data
            return
        if self._in == "h1":
            self.heading += data
        if not self._silent:
            self._put(data)

    def fields(self) -> list[Field]:
        """The infobox, written below the text so that its values have places in it."""
        found = []
        for row in self.rows:
            name = " ".join(row.head.split()).strip(" •:").lower()
            items = [item for item in row.items if item.text.strip(" ()\n\t\xa0")]
            if not name or not items or len(name) > 60:
                continue
            self._put(f"\n{name}: ")
            values = [value for item in items for value in self._values(item)]
            found.append(Field(name, tuple(values)))
        return found

    def _values(self, item: _Item) -> list[Value]:
        """An item's linked pages, the first where it is a place with its surroundings; its text where it has none."""
        links = [(" ".join(text.split()), target) for text, target in item.links if text.strip()]
        if links and is_address(item.text):
            links = links[:1]
        pieces = links or [(" ".join(item.text.split()).strip(" ()"), "")]
        values = []
        for text, target in pieces:
            values.append(Value(text, target, self.length, self.length + len(text)))
            self._put(f"{text}; ")
        return values

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
    title = " ".join((reader.heading or reader.title.partition(" - ")[0].partition(" | ")[0]).split())[:200]
    links = tuple(Link(start, end, _target_title(target)) for start, end, target in reader.links)
    fields = tuple(reader.fields())
    return (
        Document(
            key, title, "".join(reader.parts), digest_of(html), fields=fields,
            links=tuple(link for link in links if link.target), revision=revision,
        ),
        reader.anchors,
    )  # fmt: skip


def _target_title(address: str) -> str:
    """The title of a wiki page's address; empty for any other."""
    marker = "/wiki/"
    if marker not in address:
        return ""
    title = unquote(address.split(marker, 1)[1]).partition("#")[0].partition("?")[0].replace("_", " ").strip()
    return "" if ":" in title else title[:1].upper() + title[1:]
