"""One file to the pieces of its documents, in bounded memory, and every way in which a file can be bad.

A long document comes in pieces of about 256 thousand characters, so that a file of any size can be encoded in parallel.
Pieces are cut where every split pattern of our tokenizers cuts too, so that the ids are those of the whole text.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from groundzero.data.config import DataConfig
from groundzero.errors import InputError

PIECE_CHARACTERS = 2**18
_BLOCK_BYTES = 2**20
_LONGEST_LINE = 2**26  # a line of .jsonl, in bytes
_LONGEST_DOCUMENT = 2**28  # between two separators, in characters

# A single line break between non-blanks is a cut in every pattern; failing that (one endless line), before a space.
_AFTER_LINE = re.compile(r"\S\n(?=\S)")
_BEFORE_WORD = re.compile(r"[A-Za-z](?= [A-Za-z])")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Piece:
    """Consecutive text of one document; `last` closes the document. Pieces may be empty."""

    text: str
    last: bool


def is_jsonl(name: str) -> bool:
    """True for names like a.jsonl and a.jsonl.gz."""
    return name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def read_pieces(path: Path, name: str, config: DataConfig, report: Report) -> Iterator[Piece]:
    """The documents of one file.

    Args:
        name: what to call the file in messages.
        report: told of each .jsonl line that is left out, when `config.skip_bad`.

    Raises:
        InputError: missing, unreadable, corrupt .gz, binary, wrong encoding, broken .jsonl.
    """
    try:
        if config.encoding == "auto":
            config = config.replace(encoding=detect_encoding(path))
        with open_text(path) as file:
            if config.format == "jsonl" or (config.format == "auto" and is_jsonl(path.name)):
                pieces = _jsonl(file, name, config, report)
            elif config.document_separator:
                pieces = _separated(_characters(file, name, config.encoding), name, config.document_separator)
            else:
                pieces = _whole(_characters(file, name, config.encoding))
            yield from _without_blank_documents(pieces)
    except FileNotFoundError:
        raise InputError(f"No file at {name}.", remedy="Check the path.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{name} is a damaged .gz file: {error}.", remedy="Fetch or compress it again; test it with `gzip -t`."
        ) from None
    except OSError as error:
        raise InputError(
            f"Cannot read {name}: {error.strerror or error}.", remedy="Check its permissions, and that it is a file."
        ) from None


def _without_blank_documents(pieces: Iterator[Piece]) -> Iterator[Piece]:
    begins = True
    for piece in pieces:
        if not (begins and piece.last and not piece.text.strip()):
            yield piece
        begins = piece.last


def open_text(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked when its name ends in .gz."""
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def detect_encoding(path: Path) -> str:
    """UTF-8 if the whole file is, UTF-16 if it is marked as that, or else cp1252."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_text(path) as file:
        block = file.read(_BLOCK_BYTES)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        try:
            while block:
                decoder.decode(block)
                block = file.read(_BLOCK_BYTES)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _characters(file: IO[bytes], name: str, encoding: str) -> Iterator[str]:
    """Text in blocks, without a byte-order mark; line ends are left as they are."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    while True:
        block = file.read(_BLOCK_BYTES)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_text(name, encoding, offset - pending + error.start, error) from None
        if "\0" in text:
            raise InputError(
                f"{name} looks binary: it has a NUL near byte {offset + max(block.find(0), 0)}.",
                remedy="Give plain text; extract it from documents and archives first.",
            )
        yield text.removeprefix("\ufeff") if offset == 0 else text
        offset += len(block)
        if not block:
            return


def _not_text(name: str, encoding: str, offset: int, error: UnicodeDecodeError) -> InputError:
    bad = error.object[error.start : error.start + 1].hex()
    return InputError(
        f"{name} is not {encoding} text: byte 0x{bad} at offset {offset}.",
        remedy="Convert it to UTF-8, name its encoding (--encoding cp1252), or try --encoding auto.",
    )


def _whole(blocks: Iterator[str]) -> Iterator[Piece]:
    """All blocks as one document."""
    buffer = ""
    for block in blocks:
        buffer += block
        while len(buffer) > 2 * PIECE_CHARACTERS:
            cut = _safe_cut(buffer)
            yield Piece(buffer[:cut], last=False)
            buffer = buffer[cut:]
    yield from split_long(buffer)


def split_long(text: str) -> Iterator[Piece]:
    """A document that is in memory, in pieces."""
    start = 0
    while len(text) - start > 2 * PIECE_CHARACTERS:
        cut = _safe_cut(text, start)
        yield Piece(text[start:cut], last=False)
        start = cut
    yield Piece(text[start:], last=True)


def _safe_cut(text: str, start: int = 0) -> int:
    """Where to end a piece: the first safe place at or after PIECE_CHARACTERS, or there if none follows soon."""
    nominal = start + PIECE_CHARACTERS
    for pattern in (_AFTER_LINE, _BEFORE_WORD):
        if match := pattern.search(text, nominal, nominal + PIECE_CHARACTERS // 2):
            return match.end()
    return nominal


def _separated(blocks: Iterator[str], name: str, separator: str) -> Iterator[Piece]:
    """Documents between separators; line breaks around the separators belong to neither side."""
    pattern = separator_pattern(separator)
    buffer = ""
    for block in blocks:
        *documents, buffer = pattern.split(buffer + block)
        for document in documents:
            yield from split_long(document.strip("\r\n"))
        if len(buffer) > _LONGEST_DOCUMENT:
            raise InputError(
                f"{name} has {len(buffer)} characters without the separator {separator!r}.",
                remedy="Check --document-separator, or leave it out to make each file one document.",
            )
    yield from split_long(buffer.strip("\r\n"))


def separator_pattern(separator: str) -> re.Pattern[str]:
    """`blank-line`, `line`, or literal text in which \\n and \\t are understood."""
    if separator == "blank-line":
        return re.compile(r"\n(?:[ \t\r]*\n)+")
    if separator == "line":
        return re.compile(r"\n")
    return re.compile(re.escape(separator.replace("\\n", "\n").replace("\\t", "\t")))


def _jsonl(file: IO[bytes], name: str, config: DataConfig, report: Report) -> Iterator[Piece]:
    """One document a line. A line that is no object with a text is an error, or reported when `skip_bad`."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise InputError(f"{name} line {number} is longer than 64 MiB.", remedy="Put one document on each line.")
        if not line.strip():
            continue
        try:
            text = _text_of(line, f"{name} line {number}", config)
        except InputError as error:
            if not config.skip_bad:
                raise
            report(error.message)
            continue
        yield from split_long(text)


def _text_of(line: bytes, where: str, config: DataConfig) -> str:
    mend = "Mend the line, or leave bad lines out with --skip-bad."
    try:
        values = json.loads(line.decode(config.encoding).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not {config.encoding} text: {error.reason}.", remedy=mend) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}.", remedy=mend) from None
    if not isinstance(values, dict):
        raise InputError(f"{where} is {type(values).__name__}, not an object.", remedy=mend)
    text = values.get(config.text_field)
    if not isinstance(text, str):
        raise InputError(
            f"{where} has no text in {config.text_field!r}; its keys are {', '.join(map(str, values)) or 'none'}.",
            remedy="Name the key that holds the text with --text-field, or leave such lines out with --skip-bad.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where} holds half of a surrogate pair at character {error.start}.", remedy=mend) from None
    return text
