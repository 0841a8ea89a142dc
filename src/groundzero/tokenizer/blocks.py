"""Cutting long texts into blocks that encode apart as they would together, so that two cores can share one document.

Every split pattern here looks ahead and never back: what follows a cut does not depend on what came before it. A
block may therefore end wherever *every* pattern must cut, provided that its last piece does not change when nothing
follows. Two such places are common: between an ASCII letter and a space (a run of letters never takes in white
space), and after a single line feed between two characters that are not white space. After *two* line feeds GPT-2's
`\\s+(?!\\S)` tells the end of a text from its middle, so that is not such a place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SAFE_CUT = re.compile(r"(?<=[A-Za-z])(?= )|(?<=\S\n)(?=\S)")


def blocks_of(text: str, size: int) -> list[str]:
    """`text` in blocks of about `size` characters (longer where no safe cut comes); joined they are `text`."""
    if len(text) <= size:
        return [text]
    blocks, start = [], 0
    while start < len(text):
        cut = _SAFE_CUT.search(text, start + size) if start + size < len(text) else None
        end = cut.start() if cut else len(text)
        blocks.append(text[start:end])
        start = end
    return blocks


def stream_blocks(texts: Iterable[str], size: int) -> Iterator[str]:
    """The blocks of one text after the other; empty texts yield none."""
    for text in texts:
        if text:
            yield from blocks_of(text, size)


def window_around(text: str, start: int, end: int, reach: int = 48) -> tuple[int, int] | None:
    """Borders of a part of `text` that holds `start:end` and encodes as it does in place; None if a cut is far."""
    low = max(start - reach, 0)
    before = [0] if low == 0 else []
    before += [cut.start() for cut in _SAFE_CUT.finditer(text, low, start + 1) if cut.start() <= start]
    after = _SAFE_CUT.search(text, end, end + reach)
    if not before or not (after or end + reach >= len(text)):
        return None
    return before[-1], after.start() if after else len(text)
