"""A disk that is full while a graph learns: said, nothing acknowledged is lost, and with room again the next run ends
where an undisturbed one does.

The graph's file is stopped by a limit on the size of files, in a process of its own; the files beside it by calls that
refuse one after the other.
"""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from groundzero.errors import StorageError
from groundzero.graph.graph import Graph
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.learn import learn
from groundzero.ingest.sources import open_source
from groundzero.ingest.state import LearnState
from tests.run.faulty_disk import FaultyDisk, Mode

VICTIM = Path(__file__).with_name("learn_victim.py")
PAGES = 90
CONFIG = IngestConfig(batch=7)


def _dump(path: Path, pages: int = PAGES) -> Path:
    """Towns with a neighbour, a country that is no link (so it waits in quarantine), and a long number."""
    text = "".join(
        f"<page><title>Town {i}</title><ns>0</ns><revision><text>{{{{Infobox settlement"
        f"|twin=[[Town {(i * 3 + 1) % pages}]]|country=the land of {i % 7}|population={i}00"
        f"|elevation={i * 7}{'0' * 300}}}}}'''Town {i}''' is a [[town]].</text></revision></page>"
        for i in range(pages)
    )
    path.write_text(f"<mediawiki>{text}</mediawiki>", encoding="utf-8")
    return path


def _by_source(graph: Graph) -> dict[str, set[tuple[Any, ...]]]:
    """What each document said."""
    found: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for each in graph.store.statements(status=None):
        assert each.source is not None
        end = each.literal if each.object is None else graph.label(each.object)
        key = graph.store.source(each.source).key
        found[key].add((graph.label(each.subject), graph.relation(each.relation).label, end, each.start, each.end))
    return found


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return _dump(tmp_path / "d.xml")


def _undisturbed(dump: Path, place: Path) -> dict[str, set[tuple[Any, ...]]]:
    with Graph.open(place, create=True) as graph:
        learn(graph, [open_source(str(dump))], CONFIG, LearnState(None))
        return _by_source(graph)


def _learn_under_limit(path: Path, dump: Path, state: Path, limit: int, fault: str = "") -> tuple[int, str]:
    """Documents that were acknowledged before the disk was full, and the complaint."""
    resource = pytest.importorskip("resource", reason="no limits on the size of files on this system")

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    words = [sys.executable, str(VICTIM), str(path), str(dump), str(state), fault]
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=limit_files)
    lines = done.stdout.split()
    return int(lines[-1]) if lines else 0, done.stderr


def _check(path: Path, acknowledged: int, expected: dict[str, set[tuple[Any, ...]]]) -> int:
    """Every acknowledged document is whole and none is half there; returns how many there are."""
    with Graph.open(path) as graph:
        graph.store.check()  # type: ignore[attr-defined]
        found = _by_source(graph)
        for key, said in found.items():
            assert said == expected[key], f"{key} is half there"
        assert graph.store.counts().sources == len(found)
    assert len(found) >= acknowledged, f"{acknowledged} documents were acknowledged, {len(found)} are there"
    return len(found)


@pytest.mark.parametrize("limit", [180_000, 260_000, pytest.param(420_000, marks=pytest.mark.slow)])
def test_a_full_disk_costs_nothing_acknowledged(tmp_path: Path, dump: Path, limit: int) -> None:
    expected = _undisturbed(dump, tmp_path / "whole.db")
    path, state = tmp_path / "full.db", tmp_path / "state"
    acknowledged, complaint = _learn_under_limit(path, dump, state, limit)
    assert "StorageError" in complaint
    assert 0 < acknowledged < PAGES
    there = _check(path, acknowledged, expected)
    with Graph.open(path) as graph:
        report = learn(graph, [open_source(str(dump))], CONFIG, LearnState(state))
        assert report.counts.documents == PAGES - there
        assert _by_source(graph) == expected


def test_the_test_notices_who_takes_a_refused_batch_for_recorded(tmp_path: Path, dump: Path) -> None:
    expected = _undisturbed(dump, tmp_path / "whole.db")
    acknowledged, complaint = _learn_under_limit(tmp_path / "full.db", dump, tmp_path / "state", 180_000, "deaf")
    assert acknowledged == PAGES
    assert complaint == ""
    with pytest.raises(AssertionError, match="were acknowledged"):
        _check(tmp_path / "full.db", acknowledged, expected)


@pytest.mark.parametrize("mode", ["refuse once", "refuse from then on", "lose power"])
def test_the_files_beside_the_graph_may_fail_at_any_call(tmp_path: Path, mode: Mode) -> None:
    """Passages, positions: the graph is right without them, and says so by itself."""
    dump = _dump(tmp_path / "d.xml", 30)
    expected = _undisturbed(dump, tmp_path / "whole.db")
    at, refusals, struck = 0, 0, True
    while struck:
        at += 1
        folder = tmp_path / f"{mode}-{at}"
        path, disk, refused = folder / "facts.db", FaultyDisk(at, mode, errno.ENOSPC), False
        with Graph.open(path, create=True) as graph:
            with disk.installed(folder):
                try:
                    learn(graph, [open_source(str(dump))], CONFIG, LearnState(folder / "state"))
                except StorageError as error:
                    refused = True
                    assert "No space left" in error.message
            struck = disk.struck
            # Making a folder that is there already may be refused without harm; then all was learnt.
            assert refused or mode == "lose power" or _by_source(graph) == expected
            refusals += refused
        _check(path, 0, expected)
        with Graph.open(path) as graph:
            learn(graph, [open_source(str(dump))], CONFIG, LearnState(folder / "state"))
            assert _by_source(graph) == expected
    assert at > 20
    assert refusals > 10 or mode == "lose power"
