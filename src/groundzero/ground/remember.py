"""Questions that a graph could not answer are remembered beside it, with what it would have had to say.

`gz graph gaps` ranks them into missing statements, and a crawl goes where they point. An answer never waits for this
nor fails by it: it is a line appended to a file, and where there is none to append to, nothing is remembered.
"""

from __future__ import annotations

import os
from pathlib import Path

from groundzero.graph.graph import Graph
from groundzero.ground.answer import UNASKED, Answer
from groundzero.ingest.folder import state_folder
from groundzero.ingest.gaps import GapLog


def remember_refusal(graph: Graph, answer: Answer, folder: Path | None = None) -> str:
    """Remember what the graph did not say, be it refused or predicted; what stood in the way, or an empty text.

    Args:
        folder: where; beside the graph where None. A graph on a server has no beside.
    """
    if answer.status == "asserted" or answer.reason in UNASKED:
        return ""
    if folder is None:
        obstacle = _obstacle(graph)
        if obstacle:
            return obstacle
        folder = state_folder(graph)
    missing = answer.missing
    try:
        GapLog(folder).remember(
            answer.meant or answer.question,
            answer.reason or "no_fact",
            entities=() if missing is None else missing.entities,
            relations=() if missing is None or missing.relation is None else (missing.relation,),
            inverse=missing is not None and missing.inverse,
        )
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"
    return ""


def _obstacle(graph: Graph) -> str:
    """Why nothing can be kept beside a graph."""
    if "://" in graph.location:
        return f"{graph.location} is not a file"
    path = Path(graph.location)
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return f"{path} is read-only"
    return ""
