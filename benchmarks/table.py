"""Rows of a benchmark, the machine they were measured on, and the table or JSON they print as."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ABSENT = "peer absent"


@dataclass(frozen=True)
class Row:
    """One comparison. `ratio` above 1 always means that ours is better."""

    work: str
    unit: str
    ours: float | None
    peer: float | None
    peer_name: str
    ratio: float | None
    note: str = ""


def row(
    work: str,
    unit: str,
    ours: float | None,
    peer: float | None,
    peer_name: str,
    *,
    lower_is_better: bool = False,
    note: str = "",
) -> Row:
    """A row with its ratio the right way up. `peer` None means that the peer is absent here."""
    if ours is None or peer is None:
        return Row(work, unit, ours, peer, peer_name, None, note or (ABSENT if peer is None else ""))
    return Row(work, unit, ours, peer, peer_name, peer / ours if lower_is_better else ours / peer, note)


def turn_about(contestants: Mapping[str, Callable[[], Any]], repeats: int = 5, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each contestant, run in turns. Results are dropped outside the clock."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warm_up + repeats):
        for name, contestant in contestants.items():
            gc.collect()
            start = time.perf_counter()
            result = contestant()
            took = time.perf_counter() - start
            del result
            if turn >= warm_up:
                seconds[name].append(took)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peer_folder(name: str) -> Path | None:
    """The checkout `name` under `GROUNDZERO_PEERS`, or None where it is absent."""
    folder = Path(os.environ.get("GROUNDZERO_PEERS", "")) / name
    return folder if os.environ.get("GROUNDZERO_PEERS") and folder.is_dir() else None


def machine() -> dict[str, Any]:
    """What a reader needs to place the figures."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def print_rows(name: str, rows: Sequence[Row], *, as_json: bool) -> None:
    """The table, or the JSON object of DESIGN.md section 11."""
    if as_json:
        print(json.dumps({"name": name, "rows": [asdict(each) for each in rows], "machine": machine()}))
        return
    cells = [("work", "unit", "ours", "peer", "peer name", "ratio", "")]
    cells += [(r.work, r.unit, _number(r.ours), _number(r.peer), r.peer_name, _ratio(r.ratio), r.note) for r in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    cells.insert(1, tuple("-" * width for width in widths))
    for line in cells:
        aligned = (
            cell.rjust(width) if i in (2, 3, 5) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(aligned).rstrip())
    print(f"\n{name} on " + ", ".join(f"{key} {value}" for key, value in machine().items()))
    print("A ratio above 1 means that ours is better.", file=sys.stderr)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
