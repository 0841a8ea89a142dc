"""A tokenizer of one id per byte: enough to follow every byte of text through the room."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


class ByteTokenizer:
    """Ids 64 to 319 are bytes; 0 to 63 are control ids."""

    kind = "byte"
    vocab_size = 64 + 256
    fingerprint = hashlib.sha256(b"byte").hexdigest()
    unk_id, bos_id, eos_id = 1, 2, 3

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.uint32) + 64 for text in texts]

    def decode(self, ids: np.ndarray) -> str:
        return bytes(int(i) - 64 for i in ids if i >= 64).decode("utf-8")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token - 64]) if token >= 64 else b""

    def save(self, path: Path) -> None:
        path.write_text('{"kind": "byte"}', encoding="utf-8")


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()
