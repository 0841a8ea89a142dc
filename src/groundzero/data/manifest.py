"""`manifest.json` of a prepared dataset: what the shards hold, where it came from, and a SHA-256 of every file.

Schema 1. The manifest is sealed with its own hash, so a flipped byte anywhere in the folder is found. It holds no clock
time: the same text, tokenizer and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from groundzero.errors import ConfigError, FormatError, InputError
from groundzero.run import read_sealed, sha256_of, write_sealed
from groundzero.settings import Settings

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

_FORMAT = "groundzero.tokens"
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

    def all_files(self) -> list[FileRecord]:
        """Every file of the folder but the manifest."""
        split_files = [record for split in self.splits.values() for record in (*split.shards, split.starts)]
        return [*split_files, *self.files]

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        content = self.model_dump(mode="json")
        write_sealed(folder / MANIFEST, {"format": _FORMAT, "schema": SCHEMA_VERSION, **content})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared dataset.

    Raises:
        InputError: there is no dataset at `folder`.
        FormatError: the manifest is damaged, or of a version this release does not read.
    """
    path = folder / MANIFEST
    if folder.is_dir() and not path.exists():
        raise InputError(f"No prepared dataset at {folder}: it has no {MANIFEST}.", remedy=_REMEDY)
    content = read_sealed(path, reads=SCHEMA_VERSION, what="dataset manifest")
    if content.pop("format", None) != _FORMAT:
        raise FormatError(f"{path} is not the manifest of a token dataset.", remedy=_REMEDY)
    del content["schema"]
    try:
        return Manifest.parse(content)
    except ConfigError as error:
        raise FormatError(f"{path} is damaged: {error.message}", remedy=_REMEDY) from None


def file_record(path: Path) -> FileRecord:
    """Name, size and hash of a file."""
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


def canonical_digest(values: Any) -> str:
    """Hex SHA-256 of plain data as canonical JSON."""
    text = json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
