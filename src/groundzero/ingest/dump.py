"""Pages of a MediaWiki XML dump (plain, gzip or bzip2): streamed in bounded memory, and hardened.

A dump is cut at `<page>` and `</page>`, which cannot stand inside a page's text (XML escapes them), and each page is
parsed alone: memory is one page, a damaged page costs itself only, and reading can go on from any page. Declarations of
entities or document types, the ways to make XML explode, are refused wherever they stand.
"""

from __future__ import annotations

import bz2
import gzip
import xml.parsers.expat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from groundzero.errors import InputError

MAX_PAGE_BYTES = 16 * 2**20
"""Bytes of one page's XML; larger ones are passed over. The largest article has 2 MiB."""
_BLOCK = 2**18
_OPEN, _CLOSE = b"<page>", b"</page>"


@dataclass(frozen=True, slots=True)
class DumpPage:
    """One page as it is stored. `number` counts pages from 0, whatever became of them."""

    number: int
    title: str
    namespace: str
    revision: str
    text: str


@dataclass
class DumpReport:
    """What was passed over."""

    too_long: int = 0
    damaged: int = 0
    hostile: int = 0


def dump_pages(
    path: Path, *, skip: int = 0, report: DumpReport | None = None, progress: Callable[[int], None] = lambda done: None
) -> Iterator[DumpPage]:
    """The pages of a dump in order.

    Args:
        skip: pages to pass over unparsed: how many an earlier reading had finished with.
        report: is told what was passed over for a fault.
        progress: told the bytes of the file read so far.

    Raises:
        InputError: no such file, or its compression is damaged; pages before the damage were given.
    """
    report = report if report is not None else DumpReport()
    for number, piece in enumerate(_pieces(path, report, progress)):
        if number < skip or piece is None:
            continue
        try:
            page = _parse(piece, number)
        except _HostileError:
            report.hostile += 1
        except xml.parsers.expat.ExpatError:
            report.damaged += 1
        else:
            yield page


def is_dump(path: Path) -> bool:
    """Whether the name or the first bytes are those of a MediaWiki dump."""
    if ".xml" not in path.suffixes:
        return False
    try:
        with path.open("rb") as raw, _open(raw, path) as file:
            return b"<mediawiki" in file.read(4096)
    except (OSError, EOFError):
        return False


def _open(raw: IO[bytes], path: Path) -> IO[bytes]:
    magic = raw.read(3)
    raw.seek(0)
    if magic == b"BZh":
        return bz2.open(raw, "rb")
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(raw, "rb")  # type: ignore[return-value]
    return raw


def _pieces(path: Path, report: DumpReport, progress: Callable[[int], None]) -> Iterator[bytes | None]:
    """`<page>...</page>` one after the other; None in place of one that is too long."""
    buffer, inside, dropped = b"", False, False
    try:
        with path.open("rb") as raw, _open(raw, path) as file:
            while block := file.read(_BLOCK):
                progress(raw.tell())
                buffer += block
                while True:
                    if not inside:
                        start = buffer.find(_OPEN)
                        if start < 0:
                            buffer = buffer[-len(_OPEN) :]
                            break
                        buffer, inside, dropped = buffer[start:], True, False
                    end = buffer.find(_CLOSE)
                    if end < 0:
                        if len(buffer) > MAX_PAGE_BYTES:
                            buffer, dropped = buffer[-len(_CLOSE) :], True
                        break
                    end += len(_CLOSE)
                    report.too_long += dropped
                    yield None if dropped else buffer[:end]
                    buffer, inside = buffer[end:], False
    except (OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"There is no file {path}.", remedy="Check the path.") from None
        raise InputError(
            f"{path} cannot be read to its end: {error}.",
            remedy="What was read before is kept; fetch the file again and run the same command.",
        ) from None


class _HostileError(Exception):
    pass


def _parse(xml_bytes: bytes, number: int) -> DumpPage:
    """One page's XML. The texts wanted are those at known depths; of several revisions the last counts."""
    texts: dict[tuple[str, ...], list[str]] = {}
    stack: list[str] = []
    parser = xml.parsers.expat.ParserCreate("utf-8")

    def refuse(*_: Any) -> Any:
        raise _HostileError

    def start(name: str, _: dict[str, str]) -> None:
        stack.append(name)
        if tuple(stack) in _WANTED:
            texts[tuple(stack)] = []

    def data(text: str) -> None:
        if (wanted := texts.get(tuple(stack))) is not None:
            wanted.append(text)

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = data
    parser.buffer_text = True
    parser.Parse(xml_bytes, True)
    found = {path[-1]: "".join(texts.get(path, [])) for path in _WANTED}
    return DumpPage(number, found["title"], found["ns"] or "0", found["id"], found["text"])


_WANTED = (("page", "title"), ("page", "ns"), ("page", "revision", "id"), ("page", "revision", "text"))
