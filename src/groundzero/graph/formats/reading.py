"""Bytes of any file to clean text: gz, bz2 and xz are unpacked, byte-order marks removed, odd encodings survived.

Compression is told by the first bytes, not by the name. Text is UTF-8 unless a byte-order mark says UTF-16; a line
that is not UTF-8 is read as Windows-1252, which is what such lines nearly always are, and noted in the report.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from groundzero.errors import InputError, StorageError
from groundzero.graph.formats.report import ReadReport

MAX_LINE = 2**26  # bytes; a longer line is no fact, and is passed over without being held in memory
_CHUNK = 2**20
_DIGEST_PIECE = 2**26
_UTF16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Input:
    """An open file: its unpacked bytes, and how far along the packed ones the reader is.

    Raises:
        InputError: a compressed file is damaged or ends too early; everything before that place was given.
    """

    def __init__(self, path: Path, raw: IO[bytes]) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._raw = raw
        self._stream = cast(io.BufferedReader, _unpacked(raw))
        self._rest = b""
        self._failure: InputError | None = None

    def position(self) -> int:
        """Bytes of the file as it lies on disk, read so far; `size` at the end."""
        return self._raw.tell()

    def read(self, count: int) -> bytes:
        """Up to `count` unpacked bytes; none at the end."""
        if self._failure is not None:
            raise self._failure
        parts: list[bytes] = []
        try:
            while count > 0 and (piece := self._stream.read1(count)):
                parts.append(piece)
                count -= len(piece)
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk, not the bytes
                raise
            self._failure = self._damaged(error)
            if not parts:
                raise self._failure from None
        return b"".join(parts)

    def read_lines(self) -> bytes:
        """About a mebibyte of whole lines, nothing at the end; or the first `MAX_LINE` bytes of a line that is longer.

        Of a damaged file, the line in which it breaks off is not given.
        """
        while chunk := self.read(_CHUNK):
            cut = chunk.rfind(b"\n") + 1
            if cut:
                lines, self._rest = self._rest + chunk[:cut], chunk[cut:]
                return lines
            self._rest += chunk
            if len(self._rest) >= MAX_LINE:
                break
        lines, self._rest = self._rest, b""
        return lines

    def finish_line(self) -> None:
        """Read on to the next end of a line, holding none of it."""
        while chunk := self.read(_CHUNK):
            cut = chunk.find(b"\n") + 1
            if cut:
                self._rest = chunk[cut:]
                return

    def peek(self, count: int = 65536) -> bytes:
        """The first bytes, without moving on. To be called before anything is read."""
        head = self.read(count)
        self._stream.seek(0)
        self._failure = None
        return head

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.path} is damaged: {str(error) or type(error).__name__}.",
            remedy="Get the file again and repeat the import; what is here already will not be added twice.",
        )


@contextmanager
def open_input(path: Path) -> Iterator[Input]:
    """Open `path` for reading.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"No file at {path}.", remedy="Check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder.", remedy="Name the files in it.") from None
    except PermissionError:
        raise InputError(f"May not read {path}.", remedy="Change its permissions.") from None
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error}.", remedy="Check the disk.") from None
    with raw:
        yield Input(path, raw)


def file_digest(path: Path, *, progress: Callable[[int, int, str], None] | None = None) -> str:
    """SHA-256 of the file as it lies on disk, hexadecimal. Of a large file `progress` hears how far it is."""
    digest = hashlib.sha256()
    with open_input(path) as source, path.open("rb") as stream:
        while piece := stream.read(_DIGEST_PIECE):
            digest.update(piece)
            if progress is not None and source.size > _DIGEST_PIECE:
                progress(0, source.size, f"looking whether it is known, {100 * stream.tell() // source.size} %")
    return digest.hexdigest()


def read_lines(source: Input, report: ReadReport, *, encoding: str = "auto") -> Iterator[str]:
    """Lines without their ends; `report.line` is the number of the latest.

    Args:
        encoding: auto (see above), or the name of a codec, whose undecodable bytes become U+FFFD and are noted.
    """
    decode = None if encoding == "auto" else codecs.lookup(encoding).name
    head = source.peek(4)
    if decode is None:
        decode = next((name for mark, name in _UTF16 if head.startswith(mark)), None)
    if decode is not None and decode != "utf-8":
        yield from _foreign_lines(source, report, decode)
        return
    first = True
    while chunk := source.read_lines():
        if first:
            first = False
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
            if b"\r" in chunk and b"\n" not in chunk:  # ends of old Macs
                yield from _old_mac_lines(source, report, chunk)
                return
        if len(chunk) >= MAX_LINE and b"\n" not in chunk:
            report.line += 1
            report.skip(f"line longer than {MAX_LINE // 2**20} MiB", chunk[:200].decode("utf-8", errors="replace"))
            source.finish_line()
        else:
            yield from _numbered(chunk, report)


def utf8_stream(source: Input, report: ReadReport, *, encoding: str = "auto") -> IO[bytes]:
    """The same clean lines as a stream of UTF-8 bytes, for parsers of others."""
    return cast(IO[bytes], io.BufferedReader(_LineStream(read_lines(source, report, encoding=encoding)), _CHUNK))


def _unpacked(raw: IO[bytes]) -> object:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    return raw


def _numbered(chunk: bytes, report: ReadReport) -> Iterator[str]:
    """Lines of a piece of a file that ends where a line does."""
    try:
        lines = chunk.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        lines = [_decoded(line, report) for line in chunk.split(b"\n")]
    if not lines[-1]:
        lines.pop()
    has_returns = b"\r" in chunk
    for number, line in enumerate(lines, start=report.line + 1):
        report.line = number
        yield line.rstrip("\r") if has_returns else line


def _decoded(line: bytes, report: ReadReport) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        report.note("lines that are not UTF-8, read as Windows-1252")
        return line.decode("cp1252", errors="replace")


def _old_mac_lines(source: Input, report: ReadReport, begun: bytes) -> Iterator[str]:
    rest = b""
    chunk = begun
    while chunk:
        *whole, rest = (rest + chunk).split(b"\r")
        for line in whole:
            report.line += 1
            yield _decoded(line.strip(b"\n"), report)
        chunk = source.read(_CHUNK)
    if rest.strip():
        report.line += 1
        yield _decoded(rest.strip(b"\n"), report)


def _foreign_lines(source: Input, report: ReadReport, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    rest = ""
    while True:
        chunk = source.read(_CHUNK)
        rest += decoder.decode(chunk, final=not chunk)
        *whole, rest = rest.split("\n")
        for text in whole if chunk else [*whole, rest]:
            report.line += 1
            if "\ufffd" in text:
                report.note(f"lines with bytes that are not {encoding}")
            yield text.removeprefix("\ufeff").rstrip("\r")
        if not chunk:
            return


class _LineStream(io.RawIOBase):
    """Lines of text as a raw stream of bytes."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._buffer = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: object) -> int:
        view = memoryview(cast(bytearray, into))
        while not self._buffer:
            line = next(self._lines, None)
            if line is None:
                return 0
            self._buffer = line.encode("utf-8", errors="replace") + b"\n"
        count = min(len(view), len(self._buffer))
        view[:count] = self._buffer[:count]
        self._buffer = self._buffer[count:]
        return count
