"""Generation without text: a model that continues ids needs no tokenizer."""

from __future__ import annotations

from groundzero.errors import InputError
from groundzero.tokenizer import Tokenizer
from groundzero.tokenizer.stream import StreamDecoder


class IdsOnly(Tokenizer):
    """Stands where a tokenizer would, for prompts that are ids; every id decodes to nothing."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size

    @property
    def vocab_size(self) -> int:
        """Ids in all."""
        return self._vocab_size

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """Refused.

        Raises:
            InputError: always; there is no tokenizer.
        """
        raise InputError("This model has no tokenizer, so it takes ids, not text.", remedy="Load it from a run.")

    def stream_decoder(self, *, keep_control: bool = False) -> StreamDecoder:
        """A decoder to no text."""
        return StreamDecoder(lambda ids: b"")
