"""What commands print: results on stdout, everything else on stderr, and ANSI only on a terminal.

emit({"steps": 10}, as_json, lambda: print("10 steps"))     # the result: one JSON object, or prose
note("Reading book.txt")                                    # a remark, on stderr
with progress("Training", total=10, unit="steps") as bar:   # a bar with an ETA; plain lines when piped
    bar.advance(1, note="loss 2.31")
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 120  # columns of a table that goes to a file or pipe, where no terminal tells a width
LINE_INTERVAL_S = 5.0  # at most one progress line in this many seconds when stderr is not a terminal


def emit(payload: Mapping[str, Any], as_json: bool, human: Callable[[], object]) -> None:
    """Print a command's result: `payload` as one JSON object on stdout, or whatever `human` prints."""
    if as_json:
        print_json(payload)
    else:
        human()


def print_json(payload: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout. NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_plain(payload), ensure_ascii=False, allow_nan=False))


def note(message: str) -> None:
    """A remark for the person at the terminal, on stderr."""
    print(message, file=sys.stderr)


def console(*, to_stderr: bool = False) -> Console:
    """A Rich console on stdout or stderr: no styles under NO_COLOR or off a terminal, no markup in strings."""
    from rich.console import Console  # noqa: PLC0415 - 45 ms that `--json` need not pay

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", PIPE_WIDTH))
    plain = bool(os.environ.get("NO_COLOR")) or not stream.isatty()
    return Console(
        file=stream, width=width, color_system=None if plain else "auto", markup=False, highlight=False, emoji=False
    )


def table(columns: Iterable[str], rows: Iterable[Sequence[object]], *, title: str = "", numbers: str = "") -> Table:
    """A plain table; the columns named in `numbers` (comma-separated) are aligned right. Cells fold, never truncate.

    A cell is any object, printed with `str`, or a Rich renderable.
    """
    from rich import box  # noqa: PLC0415 - as in `console`
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    right = {name.strip() for name in numbers.split(",") if name.strip()}
    names = list(columns)
    headed = any(name.strip() for name in names)
    result = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=headed)
    for name in names:
        result.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(cell if hasattr(cell, "__rich_console__") else Text(str(cell)) for cell in row))
    return result


def human_bytes(count: float) -> str:
    """`1536` as `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """`4000` as `1 h 06 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


class Bar(Protocol):
    """What `progress` gives: counts up, with a note (the latest loss, say) beside the bar."""

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Count on."""

    def update(self, completed: float, *, note: str = "") -> None:
        """Set the count."""


@contextmanager
def progress(label: str, *, total: float | None, unit: str = "") -> Iterator[Bar]:
    """A progress bar on stderr with an ETA; where stderr is no terminal, a plain line every few seconds."""
    if not sys.stderr.isatty():
        lines = _Lines(label, total, unit, sys.stderr)
        yield lines
        lines.close()
        return
    from rich import progress as bars  # noqa: PLC0415 - as in `console`

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.completed:.0f}" + ("/{task.total:.0f}" if total is not None else "") + f" {unit}"),
        bars.TextColumn("{task.fields[note]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console(to_stderr=True), transient=True) as display:
        yield _RichBar(display, display.add_task(label, total=total, note=""))


class _RichBar:
    def __init__(self, display: Any, task: Any) -> None:
        self._display, self._task = display, task

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self._display.update(self._task, advance=amount, **({"note": note} if note else {}))

    def update(self, completed: float, *, note: str = "") -> None:
        self._display.update(self._task, completed=completed, **({"note": note} if note else {}))


class _Lines:
    """Progress as plain lines, rate-limited, for logs."""

    def __init__(self, label: str, total: float | None, unit: str, stream: IO[str]) -> None:
        self._label, self._total, self._unit, self._stream = label, total, unit, stream
        self._completed = 0.0
        self._note = ""
        self._start = self._printed = time.monotonic()

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.update(self._completed + amount, note=note)

    def update(self, completed: float, *, note: str = "") -> None:
        self._completed, self._note = completed, note or self._note
        if time.monotonic() - self._printed >= LINE_INTERVAL_S:
            self._print()

    def close(self) -> None:
        self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self._printed, elapsed = now, now - self._start
        of_total = f"/{self._total:.0f}" if self._total is not None else ""
        parts = [f"{self._label}: {self._completed:.0f}{of_total} {self._unit}".rstrip()]
        if self._note:
            parts.append(self._note)
        if self._total and 0 < self._completed < self._total:
            parts.append(f"{human_seconds(elapsed / self._completed * (self._total - self._completed))} left")
        else:
            parts.append(human_seconds(elapsed))
        print(", ".join(parts), file=self._stream, flush=True)


def _plain(value: Any) -> Any:
    """`value` with only what JSON knows: non-finite floats as None, paths and the like as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy or PyTorch scalar
        return _plain(value.item())
    return str(value)
