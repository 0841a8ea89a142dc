"""Token ids to text as it grows: never half a character, and never a piece of a stop string that may yet complete.

Text is scanned as if it came one character at a time: the stop that completes first ends it, and of those that
complete at the same character the longest. So the outcome does not depend on where the borders of tokens fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Decoder(Protocol):
    """What turns ids into text without splitting a character (`Tokenizer.stream_decoder()`)."""

    def push(self, ids: Sequence[int]) -> str:
        """The text that these ids complete."""
        ...

    def flush(self) -> str:
        """What is left at the end, with a replacement for an unfinished character."""
        ...


class StopScanner:
    """Passes text on, holds back what may be the beginning of a stop string, and ends before the first stop found."""

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops), "an empty stop string would match everywhere"
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The text that is now certain not to belong to a stop string; nothing once one was found."""
        if self.found is not None:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        # `_held` alone holds no whole stop, so every match ends in the new piece.
        matches = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if matches:
            _, start, self.found = min(matches)
            self._held = ""
            return text[:start]
        keep = self._possible_beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when the text ends without a stop."""
        held, self._held = self._held, ""
        return held

    def _possible_beginning(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(len(stop) for stop in self._stops) - 1)
        return next((n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)


class TextStream:
    """One answer's text: ids in, certain text out."""

    def __init__(self, decoder: Decoder, stops: Sequence[str] = ()) -> None:
        self._decoder = decoder
        self._scanner = StopScanner(stops)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """Everything passed on so far."""
        return "".join(self._pieces)

    @property
    def stopped(self) -> bool:
        """A stop string was found; nothing more will come."""
        return self._scanner.found is not None

    def push(self, ids: Sequence[int]) -> str:
        """The text that became certain with these ids."""
        return self._keep(self._scanner.push(self._decoder.push(ids)))

    def flush(self) -> str:
        """The rest, at the end of the generation; a stop may still complete in it."""
        if self.stopped:
            return ""
        rest = self._scanner.push(self._decoder.flush())
        return self._keep(rest + self._scanner.flush())

    def _keep(self, piece: str) -> str:
        if piece:
            self._pieces.append(piece)
        return piece
