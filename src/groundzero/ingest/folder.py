"""Where what belongs to learning is kept: a folder beside the graph, with logs that grow by lines."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from groundzero.graph.graph import Graph


def state_folder(graph: Graph) -> Path:
    """`facts.db.learn` beside `facts.db`; for a graph on a server a folder of its name in the working directory."""
    location = graph.location
    if "://" not in location:
        path = Path(location)
        return path.with_name(path.name + ".learn")
    return Path(f"graph-{hashlib.sha256(location.encode()).hexdigest()[:12]}.learn")


def append(path: Path, lines: bytes) -> int:
    """Add lines to a log in one write, so that processes may share it; returns its size. Not waited for on disk: a
    crash costs the last of them, and may leave half a line, which readers pass over.

    Raises:
        OSError: the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
