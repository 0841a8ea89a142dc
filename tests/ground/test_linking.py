"""Mentions to entities, and statements by relevance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.ground.link import Linker
from groundzero.ground.reason import Reasoner
from groundzero.ground.words import read_words, stem

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    with Graph.open(tmp_path_factory.mktemp("atlas") / "atlas.db", create=True) as graph:
        import_file(graph.store, FIXTURE)
        with graph.store.writer() as writer:
            writer.add_entity("york", label="York")
            writer.add_entity("new-york", label="New York", description="city in the United States")
            writer.add_entity("the-who", label="The Who")
            for name in ("Iran", "Atlanta", "Nigeria"):
                writer.add_entity(name.lower(), label=name)
            for key, what in (("aladdin-1", "film of 1992"), ("aladdin-2", "musical")):
                writer.add_entity(key, label="Aladdin", description=what)
        graph.refresh()
        yield graph


def first(graph: Graph, question: str) -> str:
    links = Linker(graph).link(question)
    return graph.entity(links[0].candidates[0].entity).key if links else ""


def test_the_longest_name_is_meant(graph: Graph) -> None:
    links = Linker(graph).link("Who lives in New York?")
    assert [link.surface for link in links] == ["New York"]
    assert first(graph, "who lives in york?") == "york"


def test_question_words_are_no_names(graph: Graph) -> None:
    assert first(graph, "who wrote Red Dust?") == "Red Dust"
    assert first(graph, "Where do The Who come from?") == "the-who"


def test_context_tells_twins_apart(graph: Graph) -> None:
    assert first(graph, "Who directed the film Aladdin?") == "aladdin-1"
    assert first(graph, "Who composed the musical Aladdin?") == "aladdin-2"
    links = Linker(graph).link("Who made Aladdin?")
    assert len(links[0].candidates) == 2


@pytest.mark.parametrize("absent", ["Iraq", "Atlantis", "Niger"])
def test_a_name_that_is_like_another_is_not_that_other(graph: Graph, absent: str) -> None:
    """Corrected, it would be answered about something else than was asked."""
    assert first(graph, f"What is the capital of {absent}?") not in ("iran", "atlanta", "nigeria")


@pytest.mark.parametrize("written", ["Nwe York", "New Yrok", "new yrok", "NEW YORK", "New Yörk"])
def test_misspelt_names(graph: Graph, written: str) -> None:
    """`Nwe York` is also York; which of the two is meant is for the reasoner to tell."""
    links = Linker(graph).link(f"Who lives in {written}?")
    assert "new-york" in [graph.entity(link.candidates[0].entity).key for link in links]


def test_nothing_like_a_name_is_no_link(graph: Graph) -> None:
    assert Linker(graph).link("Who painted Qwxzzk Vbnm?") == []
    assert Linker(graph).link("") == []


def test_statements_of_the_relation_asked_for_come_first(graph: Graph) -> None:
    found = Reasoner(graph).retrieve("What is the capital of Peru?")
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    best = graph.statement(found[0].statement)
    assert best is not None
    assert graph.label(best.subject) == "Peru"
    assert graph.relation(best.relation).label == "capital"
    assert len({each.statement for each in found}) == len(found)


def test_retrieval_is_bounded_and_knows_when_there_is_nothing(graph: Graph) -> None:
    reasoner = Reasoner(graph)
    assert len(reasoner.retrieve("Who is Ana Ruiz?", limit=3)) == 3
    assert reasoner.retrieve("Who is Nobody Atall?") == []


@pytest.mark.parametrize(
    ("words", "one"),
    [
        (("directed", "directs", "directing"), "direct"),
        (("cities", "city"), "city"),
        (("born", "birth"), "birth"),
        (("died", "death", "dead"), "die"),
        (("wrote", "written"), "write"),
        (("married", "marry"), "marry"),
        (("stopped",), "stop"),
    ],
)
def test_forms_of_a_word_have_one_stem(words: tuple[str, ...], one: str) -> None:
    assert {stem(word) for word in words} == {one}


def test_words_know_their_place() -> None:
    text = "Who is Zoë's grandmother?"
    words = read_words(text)
    assert [word.text for word in words] == ["who", "is", "zoe", "s", "grand", "mother"]
    assert [text[word.start : word.end] for word in words] == ["Who", "is", "Zoë", "s", "grand", "mother"]
