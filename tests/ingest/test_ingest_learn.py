"""Learning: what is read becomes statements with source and span; twice, reordered and interrupted come to the same."""

from __future__ import annotations

import bz2
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from groundzero.errors import FormatError, InputError
from groundzero.graph.graph import Graph
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.documents import Document
from groundzero.ingest.facts import Facts
from groundzero.ingest.knowledge import Knowledge
from groundzero.ingest.learn import LearnReport, learn
from groundzero.ingest.recording import Recorder
from groundzero.ingest.sources import FileSource, FolderSource, Source, open_source
from groundzero.ingest.state import LearnState
from groundzero.ingest.watch import changes

from .conftest import page_text, people, statements

CONFIG = IngestConfig(batch=7, least_pages=30)


def _learn(graph: Graph, *sources: Source, state: Path | None = None, config: IngestConfig = CONFIG) -> LearnReport:
    return learn(graph, sources, config, LearnState(state))


def test_prose_about_unknown_people_is_read_from_what_known_people_taught(world: Graph, pages: Path) -> None:
    report = _learn(world, FolderSource(pages))
    labels = ("place of birth", "place of death", "occupation")
    truth = {(person[0], label, value) for person in people() for label, value in zip(labels, person[1:], strict=True)}
    new = {each for each in statements(world) if each[0] in {person[0] for person in people()[80:]}}
    new = {each for each in new if each[1] != "instance of"}
    assert report.trained_on == 80
    assert len(new & truth) >= 0.85 * len(new)
    assert len(new & truth) >= 40  # of the 60 that the last twenty pages state
    assert {row["relation"] for row in report.relations} >= {"place of birth", "place of death", "occupation"}


def test_every_statement_has_its_source_and_the_sentence_that_says_it(world: Graph, pages: Path) -> None:
    _learn(world, FolderSource(pages))
    seen = 0
    for each in world.store.statements():
        if each.source is None:
            continue
        source = world.store.source(each.source)
        text = Path(source.key).read_text(encoding="utf-8")
        assert each.start is not None
        assert each.end is not None
        assert each.object is not None
        assert world.store.entity(each.object).label.lower() in text[each.start : each.end].lower()
        assert 0.3 <= each.confidence <= 1.0
        seen += 1
    assert seen > 200


def test_reading_twice_adds_nothing(world: Graph, pages: Path, tmp_path: Path) -> None:
    first = _learn(world, FolderSource(pages), state=tmp_path / "state")
    before, transaction = statements(world), world.store.transaction()
    again = _learn(world, FolderSource(pages), state=tmp_path / "state")
    assert first.counts.documents == 100
    assert (again.counts.documents, again.counts.unchanged, again.counts.accepted) == (0, 100, 0)
    assert statements(world) == before
    assert world.store.transaction() == transaction


class _Listed:
    """Documents in an order of the test's own."""

    repeatable, resumable = True, False

    def __init__(self, documents: list[Document], fail_at: int | None = None) -> None:
        self._documents, self._fail_at = documents, fail_at
        self.name = self.key = "listed"
        self.skipped: list[str] = []
        self.redirects: dict[str, str] = {}
        self.done, self.total, self.position = 0.0, 1.0, 0

    def documents(self, start: int = 0) -> Iterator[Document]:
        for number, document in enumerate(self._documents[start:]):
            if number == self._fail_at and self.position:
                raise KeyboardInterrupt
            yield document
        self.position += 1


def _wiki(title: str, body: str) -> Document:
    from groundzero.ingest.wikitext import read_wikitext

    return read_wikitext(body, key=f"w#{title}", title=title)


WIKI = [
    _wiki(
        "Arvelia",
        "{{Infobox settlement|country=[[Freedonia]]|leader_title=Mayor|leader_name=[[Ana Karst]]}}"
        "'''Arvelia''' is a [[city]].",
    ),
    _wiki(
        "Freedonia",
        "{{Infobox country|capital=[[Arvelia]]|population=1,200|currency=[[Freedonian crown|crown]]}}"
        "'''Freedonia''' is a [[country]].",
    ),
    _wiki(
        "Ana Karst",
        "{{Infobox person|birth_place=[[Arvelia]]|spouse=[[Ivo Stern]]|influenced=[[Cora Nagel]]}}"
        "'''Ana Karst''' (born 3 May 1950) is a [[baker]].",
    ),
    _wiki("Freedonian crown", "The '''Freedonian crown''' is the [[currency]] of Freedonia."),
]


def test_an_empty_graph_learns_infoboxes_and_first_sentences(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        _learn(graph, _Listed(WIKI))
        assert statements(graph) >= {
            ("Arvelia", "country", "Freedonia"),
            ("Arvelia", "mayor", "Ana Karst"),
            ("Arvelia", "instance of", "City"),
            ("Freedonia", "capital", "Arvelia"),
            ("Freedonia", "population", "1200"),
            ("Ana Karst", "spouse", "Ivo Stern"),
            ("Ana Karst", "date of birth", "1950-05-03"),
            ("Ana Karst", "occupation", "Baker"),
            ("Cora Nagel", "influenced by", "Ana Karst"),
        }


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_documents_changes_nothing(tmp_path: Path, seed: int) -> None:
    found = []
    for number in range(2):
        documents = list(WIKI)
        if number:
            random.Random(seed).shuffle(documents)
        with Graph.open(tmp_path / f"g{number}.db", create=True) as graph:
            _learn(graph, _Listed(documents), config=IngestConfig(batch=1 + number * 2))
            names = {(each.key, each.label, each.types, each.aliases) for each in graph.store.entities()}
            found.append((statements(graph), statements(graph, "quarantined"), names))
    assert found[0] == found[1]


@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_an_interrupted_run_then_a_whole_one_equal_a_whole_one(tmp_path: Path, fail_at: int) -> None:
    with Graph.open(tmp_path / "whole.db", create=True) as graph:
        _learn(graph, _Listed(WIKI))
        expected = statements(graph)
    with Graph.open(tmp_path / "broken.db", create=True) as graph:
        source = _Listed(WIKI, fail_at)
        source.position = 1  # an empty graph reads each source once only
        with pytest.raises(KeyboardInterrupt):
            _learn(graph, source, config=IngestConfig(batch=1))
        kept = statements(graph)
        assert kept < expected
        report = _learn(graph, _Listed(WIKI))
        assert report.counts.unchanged == fail_at
        assert statements(graph) == expected


def test_a_crash_before_the_commit_leaves_nothing_of_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        original = Recorder._write

        def crash(self: Recorder, *rest: object) -> None:
            original(self, *rest)  # type: ignore[arg-type]
            if rest[1].subject and "Freedonia" in str(rest[1]):  # type: ignore[attr-defined]
                raise RuntimeError("the machine went away")

        monkeypatch.setattr(Recorder, "_write", crash)
        with pytest.raises(RuntimeError, match="went away"):
            _learn(graph, _Listed(WIKI))
        assert statements(graph) == set()
        assert graph.store.counts().sources == 0
        monkeypatch.setattr(Recorder, "_write", original)
        assert _learn(graph, _Listed(WIKI)).counts.documents == len(WIKI)


def test_a_changed_document_replaces_what_it_said(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        _learn(graph, _Listed(WIKI[:1]))
        then = graph.store.transaction()
        changed = _wiki("Arvelia", "{{Infobox settlement|country=[[Sylvania]]}}'''Arvelia''' is a [[city]].")
        report = _learn(graph, _Listed([changed]))
        assert ("Arvelia", "country", "Sylvania") in statements(graph)
        assert ("Arvelia", "country", "Freedonia") not in statements(graph)
        assert report.counts.retired >= 2
        old = {graph.label(each.object) for each in graph.store.statements(at=then) if each.object is not None}
        assert "Freedonia" in old  # what was cited can still be looked up
        assert _learn(graph, _Listed([changed])).counts.unchanged == 1


def test_ends_are_linked_before_new_ones_are_made(world: Graph) -> None:
    before = world.store.counts().entities
    _learn(
        world,
        _Listed([_wiki("Ana Karst", "{{Infobox person|birth_place=[[Arvelia]]}}'''Ana Karst''' was a [[baker]].")]),
    )
    assert world.store.counts().entities == before
    assert ("Ana Karst", "place of birth", "Arvelia") in statements(world)


def test_what_contradicts_a_functional_relation_is_quarantined(world: Graph) -> None:
    name, born, *_ = people()[0]
    other = next(person[1] for person in people() if person[1] != born)
    _learn(
        world, _Listed([_wiki(name, f"{{{{Infobox person|birth_place=[[{other}]]}}}}'''{name}''' was a [[baker]].")])
    )
    assert (name, "place of birth", other) in statements(world, "quarantined")
    assert (name, "place of birth", other) not in statements(world)


def test_guesses_are_no_examples_to_learn_from(world: Graph) -> None:
    store = world.store
    before = Facts.of(store).triples
    ids = [store.find_entity("Jana Tamas"), store.find_relation("born"), store.find_entity("Arvelia")]
    assert None not in ids
    other = store.find_entity("Bostania")
    with store.writer() as writer:
        read, told = writer.add_source("page"), writer.add_source("list")
        writer.add_statement(*ids, source=read, start=0, end=5, confidence=0.7)  # type: ignore[arg-type]
        writer.add_statement(ids[0], ids[1], other, source=told, confidence=0.7)  # type: ignore[arg-type]
    assert Facts.of(store).triples - before == {(ids[0], ids[1], other)}  # what a person says is no guess of ours


def test_names_that_two_things_bear_are_not_linked_blindly(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        with graph.store.writer() as writer:
            state = writer.add_entity("Q1", label="Georgia", types=["state"])
            country = writer.add_entity("Q2", label="Georgia", types=["country"])
        graph.refresh()
        knowledge = Knowledge(graph)
        assert knowledge.link("Georgia") is None
        assert knowledge.link("Georgia (country)") == country
        assert knowledge.link("Georgia (state)") == state
        assert knowledge.link("Georgia (band)") is None
        assert knowledge.link("Q1") == state


def test_the_model_is_kept_for_pages_that_come_alone(world: Graph, pages: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    last = people()[-1]
    alone = pages / f"{last[0].replace(' ', '_')}.txt"
    moved = tmp_path / alone.name
    alone.rename(moved)
    _learn(world, FolderSource(pages), state=state)
    report = _learn(world, FileSource(moved), state=state)
    assert report.trained_on == 0
    assert (last[0], "place of birth", last[1]) in statements(world)
    assert (state / "patterns.json").is_file()


def test_a_page_about_someone_unknown_is_read_too(world: Graph, pages: Path, tmp_path: Path) -> None:
    (pages / "Xaver Neu.txt").write_text(
        "Xaver Neu was a weaver. Xaver Neu was born in Dunmoria and lived long. Xaver Neu died in Elvaston one winter.",
        encoding="utf-8",
    )
    _learn(world, FolderSource(pages))
    assert {each for each in statements(world) if each[0] == "Xaver Neu"} >= {
        ("Xaver Neu", "place of birth", "Dunmoria"),
        ("Xaver Neu", "place of death", "Elvaston"),
        ("Xaver Neu", "occupation", "weaver"),
    }


def test_prose_about_nothing_in_particular_is_read_by_patterns(world: Graph, pages: Path) -> None:
    (pages / "chronicle.txt").write_text("In that year Jana Tamas was born in Arvelia, they say.", encoding="utf-8")
    (pages / "letters.txt").write_text("It rained. Jana Stern died in Bostanton one winter.", encoding="utf-8")
    _learn(world, FolderSource(pages))
    assert ("Jana Tamas", "place of birth", "Arvelia") in statements(world)
    assert ("Jana Stern", "place of death", "Bostanton") in statements(world)


@pytest.mark.parametrize("damage", [b"", b"not a file of arrays", b"PK\x03\x04 broken"])
def test_a_damaged_model_is_named(world: Graph, pages: Path, tmp_path: Path, damage: bytes) -> None:
    state = tmp_path / "state"
    _learn(world, FolderSource(pages), state=state)
    (state / "prose.npz").write_bytes(damage)
    with pytest.raises(FormatError, match=r"prose\.npz"):
        _learn(world, FileSource(next(pages.iterdir())), state=state)


def test_a_dump_goes_on_where_it_was(tmp_path: Path) -> None:
    pages = "".join(
        f"<page><title>T{i}</title><ns>0</ns><revision><text>'''T{i}''' is a [[thing]].</text></revision></page>"
        for i in range(20)
    )
    path = tmp_path / "d.xml.bz2"
    path.write_bytes(bz2.compress(f"<mediawiki>{pages}</mediawiki>".encode()))
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        state = LearnState(tmp_path / "state")
        source = open_source(str(path))
        state._positions[source.key] = 15  # as after a crash
        report = learn(graph, [source], CONFIG, state)
        assert report.counts.documents == 5
        assert learn(graph, [open_source(str(path))], CONFIG, LearnState(tmp_path / "state")).counts.documents == 0
        again = learn(graph, [open_source(str(path))], IngestConfig(again=True), LearnState(tmp_path / "state"))
        assert again.counts.documents == 20


def test_pages_that_lead_in_circles_end(tmp_path: Path) -> None:
    """Redirects to each other and to themselves, and things that are twins of each other."""
    pages = {
        "A": "#REDIRECT [[B]]",
        "B": "#REDIRECT [[A]]",
        "C": "#REDIRECT [[C]]",
        "Old Delton": "#REDIRECT [[Delton]]",
        "Delton": "{{Infobox settlement|twin=[[Epsburg]]|capital=[[Delton]]}}'''Delton''' is a [[town]].",
        "Epsburg": "{{Infobox settlement|twin=[[Delton]]}}'''Epsburg''' is a [[town]].",
    }
    articles = "".join(
        f"<page><title>{title}</title><ns>0</ns><revision><text>{text}</text></revision></page>"
        for title, text in pages.items()
    )
    (tmp_path / "d.xml").write_text(f"<mediawiki>{articles}</mediawiki>", encoding="utf-8")
    with Graph.open(tmp_path / "g.db", create=True) as graph:
        assert _learn(graph, open_source(str(tmp_path / "d.xml"))).counts.documents == 2
        said = statements(graph)
        assert {("Delton", "twin", "Epsburg"), ("Epsburg", "twin", "Delton")} <= said
        assert not {each for each in said if each[0] == each[2]}
        delton = graph.store.find_entity("Delton")
        assert delton is not None
        assert graph.store.entity(delton).aliases == ("Old Delton",)


def test_bad_files_of_a_folder_are_named_and_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "image.txt").write_bytes(b"\x89PNG\0\0\0")
    (folder / "Latin.txt").write_bytes("Caf\xe9 Müller is a café.".encode("latin-1"))
    (folder / "marked.txt").write_bytes("Marked is a text.".encode("utf-16"))
    (folder / "rows.jsonl").write_text(
        '{"title": "A", "text": "A is a letter."}\nnot json\n[1]\n{"title": 3}\n', encoding="utf-8"
    )
    (folder / "broken.txt.gz").write_bytes(b"\x1f\x8b\x08 broken")
    (folder / ".hidden.txt").write_text("Hidden is hidden.", encoding="utf-8")
    (folder / "link.txt").symlink_to(folder / "marked.txt")
    source = FolderSource(folder)
    assert {each.text for each in source.documents()} == {
        "Café Müller is a café.",
        "Marked is a text.",
        "A is a letter.",
    }
    assert len(source.skipped) == 5
    assert any("image.txt" in line for line in source.skipped)
    assert any("broken.txt.gz" in line for line in source.skipped)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        open_source(str(tmp_path / "nowhere"))


def test_watching_gives_what_is_new_and_steady(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.txt").write_text("one", encoding="utf-8")
    new = folder / "b.txt"
    steps: list[Callable[[], object]] = [
        lambda: new.write_text("tw", encoding="utf-8"),
        lambda: new.write_text("two and more", encoding="utf-8"),
        lambda: None,
        (folder / "a.txt").unlink,
        lambda: None,
    ]
    waiting = iter(steps)

    def sleep(seconds: float) -> None:
        assert seconds == 0.0
        next(waiting)()

    found = [[path.name for path in each] for each in changes([folder], 0.0, looks=6, sleep=sleep)]
    assert found == [["a.txt"], ["b.txt"]]


def test_one_page_of_prose_is_read_the_same_by_a_model_from_its_file(world: Graph, pages: Path, tmp_path: Path) -> None:
    from groundzero.ingest.model_file import read_model, write_model
    from groundzero.ingest.pages import Page, train

    knowledge = Knowledge(world)
    known = [(knowledge.link(person[0]), page_text(person, n)) for n, person in enumerate(people()[:80])]
    model = train([Page(each, text) for each, text in known if each is not None], knowledge.facts, knowledge.gazetteer)
    write_model(tmp_path / "m.npz", model)
    loaded = read_model(tmp_path / "m.npz", knowledge.facts, knowledge.gazetteer)
    for number, person in list(enumerate(people()))[80:]:
        page = Page(knowledge.link(person[0]) or -1, page_text(person, number))
        ours, theirs = model.find(page), loaded.find(page)
        assert [(each.relation, each.object, each.accepted) for each in ours] == [
            (each.relation, each.object, each.accepted) for each in theirs
        ]
    shutil.rmtree(pages)
