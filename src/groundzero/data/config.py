"""What `[data]` of a config file says: where the text is, what a document is, and what is held back for validation."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, field_validator

from groundzero.settings import Settings


class DataConfig(Settings):
    """How text becomes a token dataset."""

    text: str = ""
    """A file, a folder of .txt/.md/.jsonl/.gz, or - for standard input."""
    dataset: str = ""
    """A prepared dataset: a folder, or a name from `gz data list`; used instead of `text`."""
    format: Literal["auto", "text", "jsonl"] = "auto"
    """What the files hold; auto goes by their names."""
    document_separator: str = ""
    """Splits .txt and .md files into documents: literal text (\\n and \\t are understood), `blank-line` or `line`;
    empty makes each file one document."""
    text_field: str = Field("text", min_length=1)
    """The key of a .jsonl object that holds the text."""
    encoding: str = "utf-8"
    """Character encoding of the files; `auto` takes each as UTF-8, UTF-16 by its mark, or else cp1252."""
    skip_bad: bool = False
    """Leave out unreadable files and broken .jsonl lines and report them, instead of stopping at the first."""
    split: Literal["auto", "document", "tail"] = "auto"
    """document: whole documents are held back; tail: the end of each; auto: by document where near the share."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share held back for validation: of the documents, or of each document's characters for `tail`."""
    seed: int = 1337
    """Decides which documents are held back; the order of training batches has its own seed."""
    shard_tokens: int = Field(2**25, gt=0)
    """Most tokens in one shard file; also bounds the memory that preparation uses."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            return value if value == "auto" else codecs.lookup(value).name
        except LookupError:
            raise ValueError("no such character encoding") from None
