"""`manifest.json` of a prepared dataset: what the shards hold, where it came from, and a SHA-256 of every file.

Schema version 1. The manifest hashes itself too (over its canonical JSON without the `sha256` key), so that a flipped
byte anywhere in the folder is found. It holds no clock time: the same text, tokenizer and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from groundzero.errors import ConfigError, FormatError, InputError
from groundzero.settings import Settings

SCHEMA_VERSION = 1
FORMAT = "groundzero.tokens"
MANIFEST = "manifest.json"

_REMEDY = "Prepare the dataset again with `gz data prepare`."


class FileRecord(Settings):
    """One file of the dataset."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """File name inside the dataset folder; never a path."""
    bytes: int = Field(ge=0)
    """Size."""
    sha256: str
    """Of the whole file."""


class ShardRecord(FileRecord):
    """A .npy file of token ids."""

    tokens: int = Field(gt=0)
    """How many ids it holds."""


class SplitRecord(Settings):
    """One side of the split."""

    documents: int = Field(ge=0)
    """Documents, or parts of documents where the split is by tail."""
    tokens: int = Field(ge=0)
    """Stored ids, the framing <BOS> and <EOS> included."""
    text_tokens: int = Field(ge=0)
    """Ids that stand for text."""
    unknown_tokens: int = Field(0, ge=0)
    """Ids that are <UNK>."""
    characters: int = Field(ge=0)
    """Unicode characters of text."""
    bytes: int = Field(ge=0)
    """UTF-8 bytes of text; the denominator of bits per byte."""
    shards: tuple[ShardRecord, ...]
    """In the order of the text."""
    starts: FileRecord
    """A .npy file with the index of each document's first token, int64, ascending from 0."""


class SourceRecord(Settings):
    """One file that the text came from."""

    name: str
    """Path relative to the folder given, or the file's name, or - for standard input."""
    bytes: int = Field(ge=0)
    """Size as it lies on disk."""
    documents: int = Field(ge=0)
    """How many documents it gave."""


class TokenizerRecord(Settings):
    """The tokenizer that made the ids."""

    kind: str
    """bpe or char."""
    vocab_size: int = Field(gt=0)
    """Ids it can produce."""
    fingerprint: str
    """SHA-256 of its canonical JSON."""


class Manifest(Settings):
    """The whole of `manifest.json`."""

    format: Literal["groundzero.tokens"] = "groundzero.tokens"
    """Says what this file is."""
    schema_version: int = SCHEMA_VERSION
    """Of this file and of the folder's layout."""
    tokenizer: TokenizerRecord
    """Who made the ids."""
    dtype: Literal["uint16", "uint32"]
    """Of the shards; little-endian."""
    framing: Literal["document", "stream"]
    """document: <BOS> text <EOS> around each; stream: plain text, with one <BOS> where a document starts."""
    splits: dict[Literal["train", "validation"], SplitRecord]
    """Both sides."""
    files: tuple[FileRecord, ...] = ()
    """tokenizer.json, and token_bytes.npy with the length in bytes of every id."""
    sources: tuple[SourceRecord, ...] = ()
    """Where the text came from; the first 1000 files."""
    skipped: tuple[str, ...] = ()
    """What was left out and why; the first 1000 lines."""
    counts: dict[str, int] = Field(default_factory=dict)
    """sources, skipped and empty_documents, in full."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The data settings that shaped the content."""
    sha256: str = ""
    """Of the canonical JSON of everything else here."""

    def sealed(self) -> Self:
        """A copy that carries its own hash."""
        return self.replace(sha256=_digest(self.model_dump(mode="json")))

    def all_files(self) -> list[FileRecord]:
        """Every file of the folder but the manifest."""
        split_files = [record for split in self.splits.values() for record in (*split.shards, split.starts)]
        return [*split_files, *self.files]

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`; the caller syncs it."""
        text = json.dumps(self.sealed().model_dump(mode="json"), ensure_ascii=False, indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared dataset.

    Raises:
        InputError: there is no dataset at `folder`.
        FormatError: the manifest is damaged, or of a version this release does not read.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"No prepared dataset at {folder}: it has no {MANIFEST}.", remedy=_REMEDY) from None
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.", remedy="Give a readable folder.") from None
    except ValueError:
        raise FormatError(f"{path} is damaged: it is not JSON.", remedy=_REMEDY) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FormatError(f"{path} is not the manifest of a token dataset.", remedy=_REMEDY)
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise FormatError(
            f"{path} has schema version {version}; this release reads version {SCHEMA_VERSION}.",
            remedy=f"{_REMEDY} Or use the release that wrote it.",
        )
    if values.get("sha256") != _digest(values):
        raise FormatError(f"{path} is damaged: its hash does not match.", remedy=_REMEDY)
    try:
        return Manifest.parse(values)
    except ConfigError as error:
        raise FormatError(f"{path} is damaged: {error.message}", remedy=_REMEDY) from None


def file_record(path: Path) -> FileRecord:
    """Name, size and hash of a file."""
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_digest(values: Any) -> str:
    """Hex SHA-256 of plain data as canonical JSON."""
    text = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _digest(values: dict[str, Any]) -> str:
    return canonical_digest({key: value for key, value in values.items() if key != "sha256"})
