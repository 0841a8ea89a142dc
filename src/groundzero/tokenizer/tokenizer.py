"""The tokenizer as the rest of the house knows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from groundzero.errors import InputError
from groundzero.reference.tokenizer import CONTROL_TOKENS, N_CONTROL
from groundzero.tokenizer import file
from groundzero.tokenizer.bpe import BytePairEngine
from groundzero.tokenizer.characters import CharacterEngine
from groundzero.tokenizer.merges import MergeTable
from groundzero.tokenizer.patterns import SplitPattern
from groundzero.tokenizer.stream import StreamDecoder

Ids = Iterable[int] | npt.NDArray[np.integer]


class Tokenizer:
    """Text to ids and back. Immutable.

    Ids 0-63 are control tokens (`controls` names them); then come 256 bytes and merges (`bpe`), or the characters of
    the training text (`char`). Every method raises `InputError` for an id outside `0 .. vocab_size - 1` and for text
    with a lone surrogate, which no UTF-8 can hold, or with hundreds of thousands of blanks in a row.
    """

    pad_id, unk_id, bos_id, eos_id, sep_id, mask_id, know_id = range(7)

    def __init__(
        self,
        kind: Literal["bpe", "char"],
        tokens: Sequence[bytes],
        pattern: SplitPattern | None = None,
        controls: Sequence[str] = CONTROL_TOKENS,
    ) -> None:
        assert len(controls) == N_CONTROL
        assert (kind == "bpe") == (pattern is not None)
        self.kind = kind
        self.pattern = pattern
        """Where words are cut; None for characters."""
        self.controls = tuple(controls)
        """Names of the ids 0-63."""
        self._tokens = tuple(tokens)
        self._engine: BytePairEngine | CharacterEngine
        if pattern is not None:
            self._engine = BytePairEngine(self._tokens, pattern, self.controls)
        else:
            self._engine = CharacterEngine([token.decode() for token in self._tokens], self.controls)

    @property
    def vocab_size(self) -> int:
        """Ids in all, the 64 control tokens included."""
        return N_CONTROL + len(self._tokens)

    @cached_property
    def merges(self) -> list[tuple[int, int]]:
        """bpe: the pair of ids behind each id from 320 on; empty for characters."""
        if self.kind == "char":
            return []
        return [(N_CONTROL + left, N_CONTROL + right) for left, right in MergeTable(self._tokens).all()]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's canonical JSON: equal for tokenizers that do the same, in hexadecimal."""
        return file.fingerprint_of(file.to_document(self))

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """Ids of `text`. With `control`, names of control tokens in it (`<EOS>`) become their ids."""
        check_text(text)
        return self._engine.encode(text, control=control)

    def encode_batch(self, texts: Sequence[str], *, control: bool = False) -> list[npt.NDArray[np.uint32]]:
        """Ids of each text as uint32, from all cores; the fast way for a whole data set."""
        for text in texts:
            check_text(text)
        return self._engine.encode_batch(texts, control=control)

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of arbitrary bytes: UTF-8 in it as text, every other byte as itself. bpe only.

        Raises:
            InputError: a character tokenizer cannot write bytes that are not text.
        """
        text = data.decode("utf-8", errors="surrogateescape")
        ids: list[int] = []
        start = 0
        for i, character in enumerate(text):
            if "\udc80" <= character <= "\udcff":
                if self.kind == "char":
                    raise InputError("These bytes are not UTF-8 text.", remedy="Use a bpe tokenizer for binary data.")
                ids += self.encode(text[start:i]) if i > start else []
                ids.append(N_CONTROL + ord(character) - 0xDC00)
                start = i + 1
        return ids + self.encode(text[start:])

    def decode(self, ids: Ids, *, keep_control: bool = False) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD. Control tokens are dropped unless kept by name."""
        return self._bytes_of(ids, keep_control=keep_control).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Ids) -> bytes:
        """The exact bytes of `ids`; control tokens leave none."""
        return self._bytes_of(ids)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one id; none for a control token."""
        return self._bytes_of([token])

    def id_of(self, name: str) -> int:
        """Id of a control token by name.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.controls:
            raise InputError(f"No control token {name!r}.", remedy=f"Known: {' '.join(self.controls[:11])} ...")
        return self.controls.index(name)

    def stream_decoder(self, *, keep_control: bool = False) -> StreamDecoder:
        """A decoder for ids that arrive a few at a time."""
        return StreamDecoder(lambda ids: self._bytes_of(ids, keep_control=keep_control))

    def save(self, path: Path | str) -> None:
        """Write one JSON file, which Hugging Face `tokenizers` reads too; whole or not at all.

        Raises:
            StorageError: the disk refuses.
        """
        file.write(Path(path), file.to_document(self))

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, or it cannot be read.
            FormatError: it is not a tokenizer of ours, of another schema version, truncated, or damaged.
        """
        content = file.read(Path(path))
        return cls(content.kind, content.tokens, content.pattern, content.controls)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        cut = f", pattern={self.pattern.name!r}" if self.pattern else ""
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size}{cut})"

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.kind, self._tokens, self.pattern, self.controls

    @cached_property
    def _silent(self) -> tuple[bytes, ...]:
        return (b"",) * N_CONTROL + self._tokens

    @cached_property
    def _spoken(self) -> tuple[bytes, ...]:
        return tuple(name.encode() for name in self.controls) + self._tokens

    def _bytes_of(self, ids: Ids, *, keep_control: bool = False) -> bytes:
        numbers = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        if numbers and not (min(numbers) >= 0 and max(numbers) < self.vocab_size):
            wrong = next(token for token in numbers if not 0 <= token < self.vocab_size)
            raise InputError(
                f"Id {wrong} is not in this tokenizer, whose ids are 0 to {self.vocab_size - 1}.",
                remedy="Decode with the tokenizer that encoded.",
            )
        table = self._spoken if keep_control else self._silent
        return b"".join(map(table.__getitem__, numbers))


def check_text(text: str) -> bytes:
    """The UTF-8 bytes of `text`.

    Raises:
        InputError: it holds half of a surrogate pair, which is no character, or an absurd run of white space.
    """
    for at in range(0, len(text), LONGEST_BLANK):  # a run twice as long covers one of these places
        blank = _BLANK.match(text, at)
        if blank and blank.end() - at >= LONGEST_BLANK:
            raise InputError(
                f"The text holds more than {LONGEST_BLANK:,} white-space characters in a row, from character {at}.",
                remedy="Take them out; no tokenizer's split pattern gets through.",
            )
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text holds a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}.",
            remedy="Decode its source as UTF-8 with errors='replace', or pass bytes to encode_bytes.",
        ) from None


LONGEST_BLANK = 250_000
"""Rust's split engine gives up on a run of about a million white-space characters; rustbpe would panic."""
_BLANK = re.compile(r"\s*")
