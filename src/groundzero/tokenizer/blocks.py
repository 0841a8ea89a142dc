"""Cutting long texts into blocks that encode apart as they would together, so that two cores can share one document.

Every split pattern here is memoryless: what follows a cut never depends on what came before it. A block may therefore
end wherever *every* pattern must cut. Two such places are common: between an ASCII letter and a space (a run of
letters never takes in white space), and after a line feed before something that is not white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SAFE_CUT = re.compile(r"(?<=[A-Za-z])(?= )|(?<=\n)(?=[^\s\x1c-\x1f])")


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
