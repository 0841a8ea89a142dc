"""Reads a dump into a graph until it is killed or the disk is full; says on stdout how many documents are safe.

`python learn_victim.py GRAPH DUMP STATE [FAULT]`: the fault "deaf" takes a refused batch for recorded, which the tests
must notice.
"""

from __future__ import annotations

import sys
from pathlib import Path

from groundzero.errors import StorageError
from groundzero.graph.graph import Graph
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.learn import learn
from groundzero.ingest.recording import Recorder
from groundzero.ingest.sources import open_source
from groundzero.ingest.state import LearnState


def main(graph: str, dump: str, state: str, fault: str = "") -> None:
    """Learn with small batches."""
    record = Recorder.record

    def told(self: Recorder, readings: list[object]) -> None:
        try:
            record(self, readings)  # type: ignore[arg-type]
        except StorageError:
            if fault != "deaf":
                raise
            self.counts.documents += len(readings)
        print(self.counts.documents, flush=True)

    Recorder.record = told  # type: ignore[method-assign, assignment]
    with Graph.open(graph, create=True) as opened:
        learn(opened, [open_source(dump)], IngestConfig(batch=3), LearnState(Path(state)))


if __name__ == "__main__":
    main(*sys.argv[1:])
