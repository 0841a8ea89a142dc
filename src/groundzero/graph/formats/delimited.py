"""Cells of CSV (RFC 4180): of any size, over several lines, and with stray quotes that cost no more than their line.

The standard library's reader has a limit on cells that only a global setting lifts, and a quote that is never closed
makes it swallow the rest of a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from groundzero.graph.formats.report import ReadReport

_MAX_RECORD_LINES = 1000  # in one quoted cell; beyond, its first quote is taken for a stray


def quoted_records(lines: Iterable[str], report: ReadReport, delimiter: str) -> Iterator[list[str]]:
    """Records, each a list of cells; a quote counts as one only at the start of a cell."""
    numbered = _Pushback(lines, report)
    for number, line in numbered:
        cells = split_record(line, delimiter)
        if cells is not None:
            yield cells
            continue
        held = [(number, line)]
        for continued in numbered:
            held.append(continued)
            cells = split_record("\n".join(text for _, text in held), delimiter) if '"' in continued[1] else None
            if cells is not None or len(held) > _MAX_RECORD_LINES:
                break
        if cells is not None:
            yield cells
        else:
            report.skip("a quote that is never closed", line, line=number)
            numbered.push(held[1:])


def split_record(text: str, delimiter: str) -> list[str] | None:
    """The cells of one record; None where its last cell opens a quote and does not close it."""
    if '"' not in text:
        return text.split(delimiter)
    cells: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            end = _closing_quote(text, at + 1)
            if end < 0:
                return None
            cell = text[at + 1 : end].replace('""', '"')
            after = text.find(delimiter, end + 1)
            cell += text[end + 1 : after if after >= 0 else len(text)].rstrip()
        else:
            after = text.find(delimiter, at)
            cell = text[at : after if after >= 0 else len(text)]
        cells.append(cell)
        if after < 0:
            return cells
        at = after + len(delimiter)


def join_record(cells: Iterable[str], delimiter: str) -> str:
    """The line that `split_record` gives `cells` for."""
    return delimiter.join(
        '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in (delimiter, '"', "\n", "\r")) else cell
        for cell in cells
    )


def _closing_quote(text: str, at: int) -> int:
    while (at := text.find('"', at)) >= 0:
        if not text.startswith('""', at):
            return at
        at += 2
    return -1


class _Pushback:
    """Numbered lines, some of which may be handed back to be read again."""

    def __init__(self, lines: Iterable[str], report: ReadReport) -> None:
        self._lines = iter(lines)
        self._report = report
        self._returned: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self

    def __next__(self) -> tuple[int, str]:
        if self._returned:
            return self._returned.popleft()
        line = next(self._lines)
        return self._report.line, line

    def push(self, lines: Iterable[tuple[int, str]]) -> None:
        """Give these before any other."""
        self._returned.extendleft(reversed(list(lines)))
