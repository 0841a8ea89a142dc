"""Killed in the middle: everything acknowledged is there, and the next run ends where an undisturbed one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from groundzero.graph.graph import Graph
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.learn import learn
from groundzero.ingest.sources import open_source
from groundzero.ingest.state import LearnState

from .conftest import statements

VICTIM = Path(__file__).with_name("learn_victim.py")
PAGES = 60


def _dump(path: Path) -> Path:
    pages = "".join(
        f"<page><title>Town {i}</title><ns>0</ns><revision><text>{{{{Infobox settlement|country=[[Land {i % 7}]]"
        f"|twin=[[Town {(i * 3 + 1) % PAGES}]]}}}}'''Town {i}''' is a [[town]].</text></revision></page>"
        for i in range(PAGES)
    )
    path.write_text(f"<mediawiki>{pages}</mediawiki>", encoding="utf-8")
    return path


def test_killed_runs_lose_nothing_acknowledged(tmp_path: Path) -> None:
    dump = _dump(tmp_path / "d.xml")
    with Graph.open(tmp_path / "whole.db", create=True) as graph:
        learn(graph, [open_source(str(dump))], IngestConfig(), LearnState(None))
        expected = statements(graph)
    path, state = tmp_path / "killed.db", tmp_path / "state"
    acknowledged = 0
    for after in (1, 4):  # batches that each run may finish
        words = [sys.executable, str(VICTIM), str(path), str(dump), str(state)]
        done = 0
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(after):
                done = int(process.stdout.readline() or done)
            process.kill()
        acknowledged += done
        with Graph.open(path) as graph:
            assert graph.store.counts().sources >= acknowledged
            acknowledged = graph.store.counts().sources  # a batch may have been recorded and not yet told
    assert 0 < acknowledged < PAGES
    with Graph.open(path) as graph:
        report = learn(graph, [open_source(str(dump))], IngestConfig(), LearnState(state))
        assert report.counts.documents == PAGES - acknowledged
        assert statements(graph) == expected
        assert graph.store.counts().sources == PAGES
        assert graph.store.counts().triples == len(expected)
