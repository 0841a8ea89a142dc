"""What a tokenizer is to be, before it has seen any text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from groundzero.errors import ConfigError
from groundzero.settings import Settings
from groundzero.tokenizer.patterns import DEFAULT_PATTERN, find_pattern

SMALLEST_BPE = 64 + 256
"""Control tokens and the byte alphabet, without a single merge."""


class TokenizerConfig(Settings):
    """How to train a tokenizer. Sizes are in ids."""

    kind: Literal["bpe", "char"] = "bpe"
    """bpe: byte-level byte-pair encoding; char: one id per character of the training text."""
    vocab_size: int = Field(8192, ge=SMALLEST_BPE, le=1 << 24)
    """bpe: most ids in all, the 64 control tokens and 256 bytes included; char takes what the text has."""
    pattern: str = DEFAULT_PATTERN
    """bpe: where text is cut into words before merging: gpt2, llama3 or qwen2."""
    min_frequency: int = Field(2, ge=1)
    """bpe: how often a merge must be made in the training text to be kept."""
    max_bytes: int = Field(1 << 30, ge=1, le=(1 << 31) - 1)
    """Read at most this much training text, in bytes; the trainer counts pairs in 32 bits."""

    @field_validator("pattern")
    @classmethod
    def _known_pattern(cls, name: str) -> str:
        try:
            return find_pattern(name).name
        except ConfigError as error:
            raise ValueError(str(error)) from None
