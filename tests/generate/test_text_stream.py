"""Streamed text equals whole text, at whatever borders the pieces come."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.generate.text import StopScanner, TextStream

ABC = st.text(alphabet="ab", max_size=24)
STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=4)


def cut_at_first_stop(text: str, stops: Sequence[str]) -> str:
    """The definition: read one character at a time; the first stop to complete ends it, the longest of equals."""
    for end in range(1, len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            return text[: end - max(map(len, done))]
    return text


def split_at(text: str, cuts: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(borders)]


class ByteDecoder:
    """Ids are bytes; text appears when a character is complete."""

    def __init__(self) -> None:
        import codecs

        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Sequence[int]) -> str:
        return self._decoder.decode(bytes(ids))

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


@settings(max_examples=500)
@given(text=ABC, stops=STOPS, cuts=st.lists(st.integers(0, 30), max_size=10))
def test_any_cutting_gives_the_text_before_the_first_stop(text, stops, cuts):
    scanner = StopScanner(stops)
    pieces = [scanner.push(piece) for piece in split_at(text, cuts)]
    assert "".join(pieces) + scanner.flush() == cut_at_first_stop(text, stops)


@settings(max_examples=300)
@given(text=ABC, stops=STOPS)
def test_what_was_passed_on_is_never_taken_back(text, stops):
    scanner = StopScanner(stops)
    passed = ""
    for end, char in enumerate(text, start=1):
        passed += scanner.push(char)
        assert cut_at_first_stop(text, stops).startswith(passed)
        if scanner.found is None:
            held = len(text[:end]) - len(passed)
            assert held < max(map(len, stops), default=1), "nothing is held longer than a stop string can need"


@settings(max_examples=200)
@given(text=st.text(max_size=12), cuts=st.lists(st.integers(0, 60), max_size=8), stop=st.text(min_size=1, max_size=3))
def test_no_piece_splits_a_character(text, cuts, stop):
    raw = text.encode("utf-8", "replace").decode("utf-8").encode()
    stream = TextStream(ByteDecoder(), [stop])
    borders = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    pieces = [stream.push(list(raw[a:b])) for a, b in itertools.pairwise(borders)]
    pieces.append(stream.flush())
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in raw.decode()
    assert "".join(pieces) == stream.text == cut_at_first_stop(raw.decode(), [stop])


def test_a_stop_that_completes_only_in_the_flush_is_found():
    stream = TextStream(ByteDecoder(), ["\ufffd"])
    assert stream.push([*b"ab", 0xC3]) == "ab"
    assert stream.flush() == ""
    assert stream.stopped
    assert stream.text == "ab"


def test_after_a_stop_nothing_more_comes():
    scanner = StopScanner(["END"])
    assert scanner.push("one EN") == "one "
    assert scanner.push("D two") == ""
    assert scanner.push(" three") == ""
    assert scanner.flush() == ""
    assert scanner.found == "END"
