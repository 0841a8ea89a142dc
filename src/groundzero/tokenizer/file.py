"""tokenizer.json: the layout of Hugging Face `tokenizers`, with what we need besides inside `model.groundzero`.

`tokenizers` refuses keys it does not know at the top level and ignores them inside `model`, so that is where the
schema version and the checksum live. The checksum is the SHA-256 of the canonical JSON of everything else, and is the
tokenizer's fingerprint as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from groundzero.errors import FormatError, InputError, StorageError
from groundzero.reference.tokenizer import N_CONTROL
from groundzero.tokenizer.patterns import PATTERNS, SplitPattern

if TYPE_CHECKING:
    from groundzero.tokenizer.tokenizer import Tokenizer

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Content:
    """What a tokenizer file holds."""

    kind: Literal["bpe", "char"]
    tokens: list[bytes]
    pattern: SplitPattern | None
    controls: list[str]


def to_document(tokenizer: Tokenizer) -> dict[str, Any]:
    """The JSON object of a tokenizer, checksum included."""
    spell = _as_byte_letters if tokenizer.kind == "bpe" else bytes.decode
    words = [spell(tokenizer.token_bytes(i)) for i in range(N_CONTROL, tokenizer.vocab_size)]
    names = [*tokenizer.controls, *words]
    pattern = tokenizer.pattern
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(i, name) for i, name in enumerate(tokenizer.controls)],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(pattern) if pattern else None,
        "post_processor": None,
        "decoder": _BYTE_LEVEL if pattern else {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if pattern else tokenizer.controls[tokenizer.unk_id],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "groundzero": {
                "schema_version": SCHEMA_VERSION,
                "kind": tokenizer.kind,
                "pattern": pattern.name if pattern else None,
                "llama_cpp_pre": pattern.llama_cpp if pattern else None,
                "n_control": N_CONTROL,
            },
            "vocab": {name: i for i, name in enumerate(names)},
            "merges": [[names[left], names[right]] for left, right in tokenizer.merges],
        },
    }
    document["model"]["groundzero"]["checksum"] = fingerprint_of(document)
    return document


def fingerprint_of(document: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal, the checksum left out."""
    model = document["model"]
    ours = {key: value for key, value in model["groundzero"].items() if key != "checksum"}
    bare = {**document, "model": {**model, "groundzero": ours}}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, document: dict[str, Any]) -> None:
    """Write under a temporary name, then rename: a reader sees the old file or the new one."""
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # temporary files are private; a tokenizer is not
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror or error}.", remedy="Free space, or choose a writable place."
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def read(path: Path) -> Content:
    """Read and verify a file.

    Raises:
        InputError: there is none, or it cannot be read.
        FormatError: it is not ours, of another version, truncated, or damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"No tokenizer at {path}.", remedy="Train one with `gz tokenizer train`.") from None
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror or error}.", remedy="Check the path and its permissions."
        ) from None
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise FormatError(f"{path} is truncated or damaged: it is not JSON.", remedy=_AGAIN) from None
    ours = _section(_section(document, "model"), "groundzero")
    if not ours:
        raise FormatError(f"{path} is not a groundzero tokenizer.", remedy="Train one with `gz tokenizer train`.")
    if ours.get("schema_version") != SCHEMA_VERSION:
        raise FormatError(
            f"{path} has tokenizer schema version {ours.get('schema_version')!r}; this release reads {SCHEMA_VERSION}.",
            remedy="Use the release that wrote it, or train the tokenizer again.",
        )
    if ours.get("checksum") != fingerprint_of(document):
        raise FormatError(f"{path} is damaged: its checksum does not match.", remedy=_AGAIN)
    return _content(document)


_AGAIN = "Restore it from a copy, or train the tokenizer again."
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _section(value: Any, key: str) -> dict[str, Any]:
    section = value.get(key) if isinstance(value, dict) else None
    return section if isinstance(section, dict) else {}


def _content(document: dict[str, Any]) -> Content:
    """The parts of a document whose checksum holds, so that its form is known."""
    ours = document["model"]["groundzero"]
    names = list(document["model"]["vocab"])
    controls, words = names[:N_CONTROL], names[N_CONTROL:]
    if ours["kind"] == "char":
        return Content("char", [word.encode() for word in words], None, controls)
    byte_of = {letter: value for value, letter in enumerate(byte_letters())}
    tokens = [bytes(byte_of[letter] for letter in word) for word in words]
    return Content("bpe", tokens, PATTERNS[ours["pattern"]], controls)


def _added_token(i: int, name: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": i, "content": name, **flags}


def _pre_tokenizer(pattern: SplitPattern) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": pattern.regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [cut, _BYTE_LEVEL]}


@lru_cache(maxsize=1)
def byte_letters() -> tuple[str, ...]:
    """A printable letter for each byte, as in GPT-2's vocabulary files: itself where printable, else U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters, beyond = [], 256
    for value in range(256):
        if value in printable:
            letters.append(chr(value))
        else:
            letters.append(chr(beyond))
            beyond += 1
    return tuple(letters)


def _as_byte_letters(data: bytes) -> str:
    letters = byte_letters()
    return "".join(letters[value] for value in data)
