"""Reads a dump into a graph until it is killed; says on stdout when a batch is safe."""

from __future__ import annotations

import sys
from pathlib import Path

from groundzero.graph.graph import Graph
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.learn import learn
from groundzero.ingest.recording import Recorder
from groundzero.ingest.sources import open_source
from groundzero.ingest.state import LearnState


def main(graph: str, dump: str, state: str) -> None:
    """Learn with small batches."""
    record = Recorder.record

    def told(self: Recorder, readings: list[object]) -> None:
        record(self, readings)  # type: ignore[arg-type]
        print(self.counts.documents, flush=True)

    Recorder.record = told  # type: ignore[method-assign, assignment]
    with Graph.open(graph, create=True) as opened:
        learn(opened, [open_source(dump)], IngestConfig(batch=3), LearnState(Path(state)))


if __name__ == "__main__":
    main(*sys.argv[1:])
