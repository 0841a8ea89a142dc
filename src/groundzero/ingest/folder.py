"""Where what belongs to learning is kept: a folder beside the graph."""

from __future__ import annotations

import hashlib
from pathlib import Path

from groundzero.graph.graph import Graph


def state_folder(graph: Graph) -> Path:
    """`facts.db.learn` beside `facts.db`; for a graph on a server a folder of its name in the working directory."""
    location = graph.location
    if "://" not in location:
        path = Path(location)
        return path.with_name(path.name + ".learn")
    return Path(f"graph-{hashlib.sha256(location.encode()).hexdigest()[:12]}.learn")
