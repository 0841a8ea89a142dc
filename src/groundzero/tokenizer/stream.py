"""Text out of ids as they come, a whole character at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable


class StreamDecoder:
    """Decodes ids piece by piece: what it has returned so far never changes and never ends inside a character.

    The concatenation of every `push` and the final `flush` equals `decode` of all the ids at once.
    """

    def __init__(self, token_bytes: Callable[[Iterable[int]], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, ids: Iterable[int] | int) -> str:
        """The text that these ids complete; empty while a character is still in pieces."""
        return self._decoder.decode(self._token_bytes([ids] if isinstance(ids, int) else ids))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole. The decoder starts afresh."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
