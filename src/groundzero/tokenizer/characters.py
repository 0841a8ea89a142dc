"""The character engine: one id per character, by table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from groundzero.reference.tokenizer import N_CONTROL

N_CODE_POINTS = 0x110000


def train_characters(texts: Iterable[str]) -> list[str]:
    """The sorted characters of the texts."""
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    return sorted(characters)


class CharacterEngine:
    """Looks characters up; one that the training text did not have becomes `<UNK>`."""

    def __init__(self, characters: Sequence[str], controls: Sequence[str]) -> None:
        self._characters = characters
        self._controls = controls

    @cached_property
    def _table(self) -> npt.NDArray[np.uint32]:
        """Id of every code point: 4 MiB, and no branch."""
        table = np.full(N_CODE_POINTS, self._controls.index("<UNK>"), dtype=np.uint32)
        for i, character in enumerate(self._characters):
            table[ord(character)] = N_CONTROL + i
        return table

    @cached_property
    def _names(self) -> re.Pattern[str]:
        return re.compile("(" + "|".join(re.escape(name) for name in self._controls) + ")")

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """Ids of one text. `text` holds no lone surrogate (checked by the caller)."""
        ids: list[int] = self.encode_array(text, control=control).tolist()
        return ids

    def encode_batch(self, texts: Sequence[str], *, control: bool = False) -> list[npt.NDArray[np.uint32]]:
        """Ids of each text."""
        return [self.encode_array(text, control=control) for text in texts]

    def encode_array(self, text: str, *, control: bool) -> npt.NDArray[np.uint32]:
        if not control:
            return self._table[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)]
        parts = self._names.split(text)  # plain text at even places, names at odd ones
        return np.concatenate(
            [
                np.array([self._controls.index(part)], dtype=np.uint32)
                if i % 2
                else self.encode_array(part, control=False)
                for i, part in enumerate(parts)
            ]
        )
