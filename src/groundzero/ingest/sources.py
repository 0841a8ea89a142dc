"""Where documents come from: text and wikitext files, folders, .jsonl files, dumps; pages of the network are `web`."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol

from groundzero.data.readers import detect_encoding, open_text
from groundzero.errors import InputError
from groundzero.ingest.documents import Document, digest_of
from groundzero.ingest.dump import DumpReport, dump_pages, is_dump
from groundzero.ingest.html import html_document
from groundzero.ingest.wikitext import clean_title, read_wikitext, redirect
from groundzero.ingest.words import words

MAX_FILE = 64 * 2**20
"""Bytes of one text file, unpacked."""
_TEXT = (".txt", ".md", ".rst", ".text", "")
_WIKI = (".wiki", ".wikitext", ".mediawiki", ".mw")
_HTML = (".html", ".htm", ".xhtml")
_JSONL = (".jsonl", ".ndjson")
_LOOKS_WIKI = re.compile(r"\[\[[^\[\]\n]{1,200}\]\]|^\{\{|'''", re.MULTILINE)
_MAX_REDIRECTS = 1_000_000


class Source(Protocol):
    """Something with documents in it."""

    name: str
    repeatable: bool
    """Whether it can be read twice."""
    done: float
    total: float
    redirects: dict[str, str]
    """Titles that stand for other titles, as far as read."""

    resumable: bool
    """Whether its position may be trusted next time: what is behind it does not change."""

    @property
    def skipped(self) -> list[str]:
        """What was passed over, and why."""
        ...

    @property
    def key(self) -> str:
        """What its position is remembered by."""
        ...

    position: int
    """Documents behind it."""

    def documents(self, start: int = 0) -> Iterator[Document]:
        """Its documents from number `start`."""
        ...


class FileSource:
    """One file: text, wikitext, HTML, or .jsonl with a document a line (`title` and `text`, perhaps `id`)."""

    repeatable, resumable = True, False

    def __init__(self, path: Path, key: str = "") -> None:
        self.path, self.name = path, path.name
        self._key = key or path.resolve().as_posix()
        self.skipped: list[str] = []
        self.redirects: dict[str, str] = {}
        self.done, self.total = 0.0, 1.0
        self.position = 0

    @property
    def key(self) -> str:
        """The path, from the root, so that it means the same wherever one stands."""
        return self._key

    def documents(self, start: int = 0) -> Iterator[Document]:
        """The file's documents. Raises InputError where it cannot be read."""
        kind = _kind(self.path)
        if kind in _JSONL:
            yield from self._lines(start)
        elif start == 0:
            yield from _one(read_text(self.path), self._key, self.path, kind, self.redirects)
        self.done, self.position = self.total, max(self.position, 1)

    def _lines(self, start: int) -> Iterator[Document]:
        self.total = float(max(self.path.stat().st_size, 1))
        with open_text(self.path) as file:
            stored = getattr(file, "fileobj", None) or file  # the packed file below a .gz
            for number, line in enumerate(_json_lines(file, self.path)):
                if number < start:
                    continue
                self.position, self.done = number + 1, float(stored.tell())
                document = _from_json(line, f"{self._key}#{number + 1}", self._key)
                if isinstance(document, str):
                    self.skipped.append(document)
                else:
                    yield document


class FolderSource:
    """Every readable file below a folder, by name; hidden ones and links are passed over."""

    repeatable, resumable = True, False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name or str(path)
        self.skipped: list[str] = []
        self.redirects: dict[str, str] = {}
        self.done, self.total = 0.0, 0.0
        self.position = 0

    @property
    def key(self) -> str:
        """The path."""
        return self.path.as_posix()

    def documents(self, start: int = 0) -> Iterator[Document]:
        """Files that cannot be read are named in `skipped`. The folder may have changed, so `start` is not used."""
        files = list(walk(self.path))
        self.total, self.skipped = float(len(files)), []
        for number, path in enumerate(files):
            source: Source = DumpSource(path) if is_dump(path) else FileSource(path)
            try:
                yield from source.documents()
            except InputError as error:
                self.skipped.append(str(error))
            self.skipped += source.skipped
            self.redirects |= source.redirects
            self.done = self.position = number + 1


class DumpSource:
    """A MediaWiki XML dump. Redirects and pages outside the main namespace are no documents."""

    repeatable, resumable = True, True

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.report = DumpReport()
        self.redirects: dict[str, str] = {}
        self.done, self.total = 0.0, float(max(path.stat().st_size, 1))
        self.position = 0

    @property
    def key(self) -> str:
        """The path, and what tells that the file is the same one."""
        stat = self.path.stat()
        return f"{self.path.resolve().as_posix()}#{stat.st_size}#{stat.st_mtime_ns}"

    @property
    def skipped(self) -> list[str]:
        """Pages passed over for a fault."""
        faults = (
            (self.report.too_long, "too long"),
            (self.report.damaged, "not well-formed"),
            (self.report.hostile, "with a document type or entity declaration"),
        )
        return [f"{self.path}: {count} pages {fault}" for count, fault in faults if count]

    def documents(self, start: int = 0) -> Iterator[Document]:
        """Articles from page number `start` of the dump."""

        def progress(done: int) -> None:
            self.done = float(done)

        self.report = DumpReport()
        for page in dump_pages(self.path, skip=start, report=self.report, progress=progress):
            target = redirect(page.text)
            if target:
                if len(self.redirects) < _MAX_REDIRECTS:
                    self.redirects[page.title] = target
            elif page.namespace == "0" and page.text.strip():
                key = f"{self.path.name}#{page.title}"
                yield read_wikitext(page.text, key=key, title=page.title, revision=page.revision)
            self.position = page.number + 1


def open_source(text: str) -> Source:
    """A path as a source.

    Raises:
        InputError: there is nothing there.
    """
    path = Path(text)
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise InputError(f"There is no file or folder {path}.", remedy="Check the path.")
    return DumpSource(path) if is_dump(path) else FileSource(path)


def walk(folder: Path) -> Iterator[Path]:
    """Files below a folder that this module reads, by name; hidden ones, links and unknown kinds left out."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            yield from walk(path)
        elif path.is_file() and (_kind(path) in (*_TEXT, *_WIKI, *_HTML, *_JSONL) or is_dump(path)):
            yield path


def read_text(path: Path) -> str:
    """A file's text, whatever its encoding and compression.

    Raises:
        InputError: missing, larger than `MAX_FILE`, binary, or damaged.
    """
    try:
        with open_text(path) as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"Cannot read {path}: {error}.", remedy="Check the file.") from None
    if len(data) > MAX_FILE:
        raise InputError(f"{path} holds more than {MAX_FILE:,} bytes of text.", remedy="Cut it into smaller files.")
    if b"\0" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is not text.", remedy="Give text, wikitext, HTML, .jsonl or a dump.")
    try:
        return data.decode(detect_encoding(path)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def document_of(text: str, key: str, *, title: str = "", licence: str = "", revision: str = "") -> Document:
    """Plain text as a document; its title is dropped where the text does not begin with it."""
    head = set(words(text[:600]))
    named = [word for word in words(title.partition(" (")[0]) if len(word) > 1]
    about = title if named and all(word in head for word in named) else ""
    return Document(key, about, text, digest_of(text), licence=licence, revision=revision)


def _one(text: str, key: str, path: Path, kind: str, redirects: dict[str, str]) -> Iterator[Document]:
    if not text.strip():
        return
    title = _title_of(path)
    if kind in _HTML:
        yield html_document(text, key)
    elif kind in _WIKI or len(_LOOKS_WIKI.findall(text[:20_000])) >= 3:
        if target := redirect(text):
            redirects[clean_title(title)] = target
        else:
            document = read_wikitext(text, key=key, title=title)
            yield replace(document, title=_written(title, document.aliases))
    else:
        yield document_of(text, key, title=title)


def _kind(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _title_of(path: Path) -> str:
    """`Leonhard_Euler.txt` is about Leonhard Euler."""
    name = Path(path.name.removesuffix(".gz"))
    stem = name.stem if name.suffix.lower() in (*_TEXT, *_WIKI, *_HTML) else name.name
    return " ".join(re.sub(r"[_]+", " ", stem).split())


def _written(title: str, aliases: Sequence[str]) -> str:
    """The title as the page writes it: `United Kingdom` for a file called `United-Kingdom`."""
    letters = re.sub(r"[\W_]+", "", title).lower()
    return next((alias for alias in aliases if re.sub(r"[\W_]+", "", alias).lower() == letters), title)


def _json_lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        while line := file.readline(MAX_FILE):
            if line.strip():
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read to its end: {error}.", remedy="Fetch the file again.") from None


def _from_json(line: bytes, key: str, name: str) -> Document | str:
    """A line as a document, or what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"{key}: not JSON ({str(error)[:80]})"
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return f"{key}: no text"
    title = row.get("title")
    own = row.get("id")
    document_key = f"{name}#{own}" if isinstance(own, str | int) else key
    return document_of(row["text"], document_key, title=title if isinstance(title, str) else "")
