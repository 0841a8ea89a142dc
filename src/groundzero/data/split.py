"""Which text is held back for validation, decided so that it can be repeated and does not drift.

By document: a keyed hash of the document's text against a threshold. Where a document goes depends on nothing but its
text and the seed, so adding documents moves none of the old ones, and exact duplicates never straddle the split.
By tail: the end of each document's characters; for a single document with a tenth, this is nanoGPT's split.

A folder of one book and a read-me is two documents, and splitting those by document would train on the read-me. So
`auto` splits by document only where validation then gets between half and twice its share of the text; failing that,
with the threshold moved to where it does (this one may move again when documents are added); failing that, by tail.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from groundzero.data.config import DataConfig
from groundzero.errors import InputError


class DocumentHash:
    """A 64-bit hash of a document's text, fed piece by piece."""

    def __init__(self, seed: int) -> None:
        self._state = hashlib.blake2b(digest_size=8, key=str(seed).encode())

    def update(self, encoded: bytes) -> None:
        """More UTF-8 text."""
        self._state.update(encoded)

    def value(self) -> int:
        """In [0, 2^64)."""
        return int.from_bytes(self._state.digest(), "big")


@dataclass
class Documents:
    """What the first reading learns of each document that is not empty, 16 bytes apiece."""

    hashes: array[int] = field(default_factory=lambda: array("Q"))
    characters: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self.hashes)

    def extend(self, other: Documents) -> None:
        """Append those of another file."""
        self.hashes.extend(other.hashes)
        self.characters.extend(other.characters)


@dataclass(frozen=True)
class SplitPlan:
    """How many characters of each document, from its start, are for training; the rest is validation."""

    kind: Literal["document", "tail"]
    train_characters: Sequence[int]


def plan_split(documents: Documents, config: DataConfig) -> SplitPlan:
    """Decide for every document.

    Raises:
        InputError: there is too little to have something on both sides.
    """
    assert len(documents) > 0
    distinct = min(documents.hashes) != max(documents.hashes)
    if config.split == "document" and not distinct:
        raise InputError(
            "Splitting by document needs two different documents, and there is one.",
            remedy="Use --split tail, or say what separates documents with --document-separator.",
        )
    fraction = config.validation_fraction
    if config.split == "tail" or not distinct:
        return _by_tail(documents, fraction)
    threshold = int(fraction * 2**64)
    if config.split == "document" or _is_fair(documents, threshold, fraction):
        return _by_document(documents, threshold)
    fitted = _fitted_threshold(documents, fraction)
    if _is_fair(documents, fitted, fraction):
        return _by_document(documents, fitted)
    return _by_tail(documents, fraction)


def _by_document(documents: Documents, threshold: int) -> SplitPlan:
    # Clamped so that the lowest hash is below it and the highest is not: both sides get at least one document.
    threshold = min(max(threshold, min(documents.hashes) + 1), max(documents.hashes))
    pairs = zip(documents.hashes, documents.characters, strict=True)
    return SplitPlan("document", array("Q", (0 if hash_ < threshold else size for hash_, size in pairs)))


def _is_fair(documents: Documents, threshold: int, fraction: float) -> bool:
    pairs = zip(documents.hashes, documents.characters, strict=True)
    share = sum(size for hash_, size in pairs if hash_ < threshold) / sum(documents.characters)
    return fraction / 2 <= share <= min(2 * fraction, (1 + fraction) / 2)


def _fitted_threshold(documents: Documents, fraction: float) -> int:
    """Just above the hash at which documents in the order of their hashes make up the share of the text."""
    wanted = fraction * sum(documents.characters)
    total = 0
    for hash_, size in sorted(zip(documents.hashes, documents.characters, strict=True)):
        if total and total + size / 2 > wanted:
            return hash_
        total += size
    return max(documents.hashes)


def _by_tail(documents: Documents, fraction: float) -> SplitPlan:
    if max(documents.characters) < 2:
        raise InputError("The text has 1 character, too few to hold any back.", remedy="Give more text.")
    # int(n * (1 - fraction)) is nanoGPT's expression, so its 1,003,854 / 111,540 of tiny-shakespeare comes out.
    kept = (max(1, min(int(size * (1 - fraction)), size - 1)) if size > 1 else 1 for size in documents.characters)
    return SplitPlan("tail", array("Q", kept))
