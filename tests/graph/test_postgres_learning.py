"""Learning into PostgreSQL, on a real server: the same facts as into a file, known when met again, whole if killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundzero.cli.app import main
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import Literal
from groundzero.ground.reason import Reasoner
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.folder import state_folder
from groundzero.ingest.forget import forget_source
from groundzero.ingest.gaps import accept_statement, rank_gaps
from groundzero.ingest.learn import LearnReport, learn
from groundzero.ingest.sources import FolderSource, open_source
from groundzero.ingest.state import LearnState

VICTIM = Path(__file__).parents[1] / "ingest" / "learn_victim.py"
TOWNS = 24
CONFIG = IngestConfig(batch=5)


def _page(number: int) -> str:
    return (
        f"{{{{Infobox settlement|country=[[Land {number % 3}]]|twin=[[Town {(number * 5 + 1) % TOWNS}]]"
        f"|mayor=Ana of {number}|population={number}00}}}}'''Town {number}''' is a [[town]]."
    )


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(TOWNS):
        (folder / f"Town {number}.wiki").write_text(_page(number), encoding="utf-8")
    return folder


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    articles = "".join(
        f"<page><title>Town {number}</title><ns>0</ns><revision><text>{_page(number)}</text></revision></page>"
        for number in range(TOWNS)
    )
    path = tmp_path / "d.xml"
    path.write_text(f"<mediawiki>{articles}</mediawiki>", encoding="utf-8")
    return path


def _learn(graph: Graph, folder: Path, state: Path | None = None) -> LearnReport:
    return learn(graph, [FolderSource(folder)], CONFIG, LearnState(state))


def _said(graph: Graph) -> set[tuple[Any, ...]]:
    """Everything that is believed or waits, with source, span and confidence."""
    found = set()
    for each in graph.store.statements(status=None):
        assert each.source is not None
        end = each.literal if each.object is None else graph.store.entity(each.object)
        assert end is not None
        name = end if isinstance(end, Literal) else (end.key, end.label)
        source = graph.store.source(each.source)
        place = (source.key, source.digest, each.start, each.end, round(each.confidence, 6), each.status)
        found.add((graph.store.entity(each.subject).label, graph.store.relation(each.relation).label, name, *place))
    return found


def test_it_says_what_a_file_says(new_postgres: Callable[[], str], pages: Path, tmp_path: Path) -> None:
    with Graph.open(new_postgres(), create=True) as shared, Graph.open(tmp_path / "g.db", create=True) as own:
        reports = [_learn(graph, pages) for graph in (shared, own)]
        assert reports[0].counts == reports[1].counts
        assert reports[0].counts.accepted > 3 * TOWNS
        assert reports[0].counts.quarantined > 0
        assert _said(shared) == _said(own)
        named = [
            {(e.key, e.label, e.aliases, e.types, e.description) for e in g.store.entities()} for g in (shared, own)
        ]
        assert named[0] == named[1]
        answer = Reasoner(shared).ask("In which country is Town 4?")
        assert answer.candidates[0].entity == "Land 1"
        assert answer.citations[0].source == (pages / "Town 4.wiki").resolve().as_posix()


def test_what_was_read_is_known_and_what_changed_replaces_what_it_said(
    new_location: Callable[[], str], pages: Path, tmp_path: Path
) -> None:
    """Also what can only be said once: the country of the earlier version does not stand against that of the next."""
    with Graph.open(new_location(), create=True) as graph:
        _learn(graph, pages, tmp_path / "state")
        before, transaction = _said(graph), graph.store.transaction()
        again = _learn(graph, pages, tmp_path / "state")
        assert (again.counts.unchanged, again.counts.accepted) == (TOWNS, 0)
        assert (_said(graph), graph.store.transaction()) == (before, transaction)
        (pages / "Town 4.wiki").write_text(_page(4).replace("Land 1", "Land 9"), encoding="utf-8")
        changed = _learn(graph, pages, tmp_path / "state")
        assert changed.counts.documents == 1
        assert changed.counts.retired > 0
        assert Reasoner(graph).ask("In which country is Town 4?").candidates[0].entity == "Land 9"
        town, country = graph.store.find_entity("Town 4"), graph.store.find_relation("country")
        assert town is not None
        earlier = [graph.label(each.object or 0) for each in graph.store.outgoing(town, country, at=transaction)]
        assert earlier == ["Land 1"]


def test_quarantine_is_judged_and_a_source_forgotten_there_too(
    new_postgres: Callable[[], str], pages: Path, tmp_path: Path
) -> None:
    with Graph.open(new_postgres(), create=True) as graph:
        _learn(graph, pages, tmp_path / "state")
        gap = next(each for each in rank_gaps(graph, tmp_path / "state", limit=100) if each.subject == "Town 4")
        accepted = accept_statement(graph, gap.candidates[0].id)
        statement = graph.store.statement(accepted)
        assert statement is not None
        assert statement.status == "accepted"
        found = forget_source(graph.store, str(pages / "Town 4.wiki"), tmp_path / "state")
        assert found.statements > 0
        graph.refresh()
        assert Reasoner(graph).ask("In which country is Town 4?").status == "unknown"


def test_killed_runs_lose_nothing_acknowledged(new_postgres: Callable[[], str], dump: Path, tmp_path: Path) -> None:
    with Graph.open(tmp_path / "whole.db", create=True) as whole:
        learn(whole, [open_source(str(dump))], CONFIG, LearnState(None))
        expected = _said(whole)
    place, state, acknowledged = new_postgres(), tmp_path / "state", 0
    for after in (1, 3):
        words, done = [sys.executable, str(VICTIM), place, str(dump), str(state)], 0
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(after):
                done = int(process.stdout.readline() or done)
            process.kill()
        acknowledged += done
        with Graph.open(place) as graph:
            there = graph.store.counts().sources
            assert there >= acknowledged
            assert {each[3] for each in _said(graph)} == {source.key for source in graph.store.sources()}
            assert _said(graph) <= expected  # none is half there: a document is one transaction
            acknowledged = there
    assert 0 < acknowledged < TOWNS
    with Graph.open(place) as graph:
        assert (
            learn(graph, [open_source(str(dump))], CONFIG, LearnState(state)).counts.documents == TOWNS - acknowledged
        )
        assert _said(graph) == expected


def test_the_command_line_learns_into_a_server(
    new_postgres: Callable[[], str],
    pages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # what learning remembers is kept in the working directory
    place = new_postgres()

    def run(*words: str) -> dict[str, Any]:
        assert main(["graph", *words, "--graph", place, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert run("learn", str(pages))["accepted"] > 0
    with Graph.open(place) as graph:
        assert state_folder(graph).is_dir()
    assert run("gaps")["gaps"]
    assert run("learn", str(pages))["unchanged"] == TOWNS
    assert main(["ask", "In which country is Town 4?", "--graph", place, "--no-model"]) == 0
    assert "Land 1" in capsys.readouterr().out
