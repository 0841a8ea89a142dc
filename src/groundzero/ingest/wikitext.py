"""Wikitext into plain text, links and infobox fields, each with its place in the wikitext.

Needs mwparserfromhell (the extra `wiki`). Templates are not expanded: those that stand for text in many articles are
known by name, the rest are left out.
"""

from __future__ import annotations

import html
import re
from typing import Any

from groundzero.errors import InputError
from groundzero.ingest.documents import Document, Field, Link, Places, Value, digest_of, is_address

_SKIPPED_TAGS = {"ref", "gallery", "math", "table", "score", "timeline", "imagemap", "code", "syntaxhighlight", "style"}
_SKIPPED_SPACES = {"file", "image", "category", "media", "wikipedia", "template", "help", "portal", "special", "wikt",
                   "wiktionary", "s", "commons", "datei", "bild", "kategorie", "archivo", "fichier"}  # fmt: skip
_FIRST_ARGUMENT = {"nowrap", "small", "big", "nobold", "smaller", "sic", "em", "strong", "noitalic", "abbr", "circa"}
_LAST_ARGUMENT = {"lang", "transl", "transliteration", "flag", "flagcountry", "flagu", "flagicon text", "sort", "font"}
_LISTS = {
    "hlist",
    "plainlist",
    "unbulleted list",
    "ubl",
    "flatlist",
    "plain list",
    "bulleted list",
    "indented plainlist",
}
_DATES = {"birth date", "death date", "birth date and age", "death date and age", "bda", "dob", "dda", "start date",
          "end date", "film date", "birth-date", "death-date", "birth date and age2", "start date and age"}  # fmt: skip
_LAST_SECTIONS = {"references", "external links", "see also", "further reading", "notes", "bibliography", "sources",
                  "footnotes", "citations", "notes and references", "weblinks", "einzelnachweise"}  # fmt: skip
_BOXES = re.compile(r"^(?:infobox|taxobox|geobox|automatic taxobox)\b[ _]*(.*)$", re.IGNORECASE | re.DOTALL)
_REDIRECT = re.compile(r"^\s*#(?:REDIRECT|WEITERLEITUNG|REDIRECCIÓN|REDIRECTION)\s*:?\s*\[\[([^\]|#]+)", re.IGNORECASE)
_BREAK = re.compile(r"\s*(?:\n[*#:]*|·|•)\s*")
MAX_CHARACTERS = 4 * 2**20
"""Longer pages are cut: the longest article has less than half of this."""


def redirect(wikitext: str) -> str:
    """The title that a page sends its readers to; empty where it is no such page."""
    match = _REDIRECT.match(wikitext)
    return clean_title(match[1]) if match else ""


def clean_title(target: str) -> str:
    """A link's target as a title: no underscores, no section, a capital first letter."""
    title = " ".join(html.unescape(target).partition("#")[0].replace("_", " ").split()).lstrip(":")
    return title[:1].upper() + title[1:]


def read_wikitext(wikitext: str, *, key: str, title: str, revision: str = "", licence: str = "CC BY-SA") -> Document:
    """An article as a document.

    Raises:
        InputError: mwparserfromhell is not installed.
    """
    parser = _parser()
    source = wikitext[:MAX_CHARACTERS]
    reader = _Reader()
    reader.walk(parser.parse(source), 0)
    text, pieces = reader.finish()
    return Document(
        key=key,
        title=_bare(title),
        text=text,
        digest=digest_of(wikitext),
        links=tuple(reader.links),
        box=reader.box,
        fields=tuple(reader.fields),
        aliases=tuple(reader.aliases),
        places=pieces,
        revision=revision,
        licence=licence,
        source_text=source,
    )


def _parser() -> Any:
    try:
        import mwparserfromhell  # noqa: PLC0415 - the extra `wiki`
    except ImportError:
        raise InputError(
            "Reading wikitext needs mwparserfromhell, which is not installed.",
            remedy="Install it with `pip install 'groundzero[wiki]'`.",
        ) from None
    return mwparserfromhell


def _bare(title: str) -> str:
    return " ".join(title.replace("_", " ").split())


class _Reader:
    """Walks a page's nodes, keeping count of the characters behind it; nodes do not know their places."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.text_starts: list[int] = []
        self.source_starts: list[int] = []
        self.links: list[Link] = []
        self.fields: list[Field] = []
        self.aliases: list[str] = []
        self.box = ""
        self.ended = False

    def finish(self) -> tuple[str, Places]:
        """The text and its places."""
        return "".join(self.parts), Places(tuple(self.text_starts), tuple(self.source_starts))

    def walk(self, code: Any, at: int) -> None:
        """Every node of `code`, which begins at character `at` of the source."""
        for node in code.nodes:
            size = len(str(node))
            if not self.ended:
                self._node(node, at)
            at += size

    def _node(self, node: Any, at: int) -> None:
        kind = type(node).__name__
        if kind == "Text":
            self._put(str(node), at)
        elif kind == "Wikilink":
            self._link(node, at)
        elif kind == "Tag":
            self._tag(node, at)
        elif kind == "Template":
            self._template(node, at)
        elif kind == "Heading":
            name = node.title.strip_code().strip()
            self.ended = name.lower() in _LAST_SECTIONS
            if not self.ended:
                self._put(f"\n\n{name}\n\n", at)
        elif kind == "ExternalLink" and node.title is not None:
            self.walk(node.title, at + str(node).find(str(node.title)))
        elif kind == "HTMLEntity":
            self._put(node.normalize() or "", at)

    def _put(self, text: str, at: int) -> None:
        if text:
            self.text_starts.append(self.length)
            self.source_starts.append(at)
            self.parts.append(text)
            self.length += len(text)

    def _link(self, node: Any, at: int) -> None:
        target = str(node.title).strip()
        space = target.lstrip(":").partition(":")
        if space[1] and space[0].strip().lower() in _SKIPPED_SPACES:
            return
        start = self.length
        if node.text is None:
            self._put(target.partition("#")[0].lstrip(":"), at + 2)
        else:
            self.walk(node.text, at + 2 + len(str(node.title)) + 1)
        if self.length > start and clean_title(target):
            self.links.append(Link(start, self.length, clean_title(target)))

    def _tag(self, node: Any, at: int) -> None:
        name = str(node.tag).strip().lower()
        if name in _SKIPPED_TAGS or node.contents is None:
            return
        if name in ("br", "hr", "li", "dd", "dt"):
            self._put("\n", at)
            return
        start = self.length
        self.walk(node.contents, at + max(str(node).find(str(node.contents)), 0))
        if name == "b" and start < 300 and not self.fields_open():
            alias = "".join(self.parts)[start : self.length].strip(" '\"“”")
            if 1 < len(alias) < 80 and alias not in self.aliases:
                self.aliases.append(alias)

    def fields_open(self) -> bool:
        """Bold words far into an article are no names of its subject."""
        return len(self.aliases) >= 4

    def _template(self, node: Any, at: int) -> None:
        name = " ".join(str(node.name).replace("_", " ").split()).lower()
        box = _BOXES.match(name)
        if box:
            if not self.box:
                self.box = " ".join(box[1].split()) or name.split()[0]
                self.fields = read_fields(node, at)
            return
        given = [parameter for parameter in node.params if not parameter.showkey]
        if name in _FIRST_ARGUMENT and given:
            self.walk(given[0].value, at + max(str(node).find(str(given[0].value)), 0))
        elif (name in _LAST_ARGUMENT or name.startswith("lang-")) and given:
            self.walk(given[-1].value, at + max(str(node).rfind(str(given[-1].value)), 0))
        elif name in ("convert", "cvt") and len(given) >= 2:
            self._put(f"{given[0].value} {given[1].value}", at)
        elif name in _DATES:
            self._put(template_date(node), at)


def read_fields(node: Any, at: int) -> list[Field]:
    """The fields of an infobox that begins at character `at`."""
    fields = []
    at += 2 + len(str(node.name))
    for parameter in node.params:
        source = str(parameter)
        at += 1  # the bar
        if parameter.showkey:
            name = " ".join(str(parameter.name).replace("_", " ").split()).lower()
            begin = at + len(str(parameter.name)) + 1
            values = _values(parameter.value, begin)
            if name and values:
                fields.append(Field(name, tuple(values)))
        at += len(source)
    return fields


def _values(code: Any, at: int) -> list[Value]:
    """Values of a field: the items of its list, or the one it has."""
    for node in code.filter_templates(recursive=False):
        name = " ".join(str(node.name).replace("_", " ").split()).lower()
        if name in _LISTS and node.params:
            begin = at + max(str(code).find(str(node)), 0)
            inner = []
            for parameter in node.params:
                if not parameter.showkey:
                    place = begin + max(str(node).find(str(parameter.value)), 0)
                    inner += _values(parameter.value, place)
            return inner
    reader = _Reader()
    reader.walk(code, at)
    text, places = reader.finish()
    values, start = [], 0
    for match in [*_BREAK.finditer(text), None]:
        end = match.start() if match else len(text)
        values += _item(text, start, end, reader.links, places)
        start = match.end() if match else end
    return values


def _item(text: str, start: int, end: int, links: list[Link], places: Places) -> list[Value]:
    """One line of a field: each linked page of it, or its text."""
    inside = [link for link in links if start <= link.start and link.end <= end]
    piece = text[start:end].strip(" \t\n,;()")
    if not piece:
        return []
    if inside:
        # "[[Hodgenville]], [[Kentucky]]" is one place said with its surroundings: the first link is the value
        chosen = inside[:1] if is_address(text[start:end]) else inside
        return [Value(text[link.start : link.end], link.target, *places.of(link.start, link.end)) for link in chosen]
    begin = start + text[start:end].find(piece)
    return [Value(piece, "", *places.of(begin, begin + len(piece)))]


def template_date(node: Any) -> str:
    """`{{birth date|1809|2|12}}` as `1809-02-12`; what is missing at the end is left out."""
    numbers = [str(each.value).strip() for each in node.params if not each.showkey]
    numbers = [each for each in numbers if each.isdigit()][:3]
    if not numbers or len(numbers[0]) > 4:
        return ""
    year, *rest = numbers
    if any(len(each) > 2 for each in rest):
        rest = []
    return "-".join([year.zfill(4), *(each.zfill(2) for each in rest)])
