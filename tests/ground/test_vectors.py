"""The graph's vectors beside the texts of facts: of this graph, or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from groundzero.errors import InputError
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.session import embed_graph
from groundzero.graph.graph import Graph
from groundzero.ground.lessons import Fact, LessonSettings
from groundzero.ground.prompt import exercise
from groundzero.ground.teacher import Teacher
from groundzero.ground.vectors import stands_beside_texts, vectors_if_any, vectors_of
from groundzero.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def embedding(world_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    with Graph.open(world_path, read_only=True) as graph:
        embed_graph(graph.store, EmbedConfig(dim=8, epochs=1, evaluate_every=0), folder)
    return folder


def capital_of_peru(graph: Graph) -> Fact:
    teacher = Teacher(graph, LessonSettings(test_share=0, made_up_share=0))
    facts = (fact for lesson in teacher.lessons(200, "one") for fact in lesson.facts)
    return next(each for each in facts if (each.subject, each.relation) == ("Peru", "capital"))


def test_a_fact_has_the_vectors_of_its_ends(world: Graph, embedding: Path) -> None:
    vectors, width = vectors_of(embedding, world)
    assert vectors is not None
    assert width == 8
    fact = capital_of_peru(world)
    found = vectors(fact)
    assert found is not None
    assert found.shape == (24,)
    assert [float(np.linalg.norm(part)) for part in np.split(found, 3)] == pytest.approx([1, 1, 1], rel=1e-6)
    subject, relation, object_ = fact.ends
    turned = vectors(replace(fact, ends=(object_ or 0, relation, subject)))
    assert turned is not None
    assert np.array_equal(found[:8], turned[16:])
    assert np.array_equal(found[16:], turned[:8])
    literal = vectors(replace(fact, ends=(subject, relation, None)))
    assert literal is not None
    assert not literal[16:].any(), "a literal has no vector"
    assert vectors(replace(fact, ends=(10**6, relation, subject))) is None, "nor has what was added since"


def test_another_graph_has_none(world: Graph, world_path: Path, embedding: Path, tmp_path: Path) -> None:
    """Numbers of entities mean other things there."""
    with Graph.open(tmp_path / "other.db", create=True) as other:
        with other.store.writer() as writer:
            things = [writer.add_entity(f"thing {n}", label=f"Thing {n}") for n in range(40)]
            relation = writer.add_relation("near", label="near")
            for one, two in pairwise(things):
                writer.add_statement(one, relation, two)
        other.refresh()
        assert vectors_if_any(embedding, other) is None
        with pytest.raises(InputError, match="another graph"):
            vectors_of(embedding, other)
    shutil.copy(world_path, tmp_path / "copy.db")
    with Graph.open(tmp_path / "copy.db") as copy:
        with copy.store.writer() as writer:
            peru, town = copy.store.find_entity("Peru"), writer.add_entity("town", label="Town")
            capital = copy.store.find_relation("capital")
            assert peru is not None
            assert capital is not None
            writer.add_statement(peru, capital, town)
        copy.refresh()
        assert vectors_if_any(embedding, copy) is not None, "an edit makes no other graph of it"


def test_where_there_are_none_texts_speak_alone(world: Graph, embedding: Path, tmp_path: Path) -> None:
    assert vectors_if_any(None, world) is None
    assert vectors_if_any(tmp_path / "gone", world) is None
    assert vectors_of(None, world) == (None, 0)
    with pytest.raises(InputError, match="gone"):
        vectors_of(tmp_path / "gone", world)
    assert stands_beside_texts(embedding)


def test_relations_that_are_no_vectors_are_refused(world: Graph, tmp_path: Path) -> None:
    embed_graph(world.store, EmbedConfig(model="rotate", dim=8, epochs=1, evaluate_every=0), tmp_path / "angles")
    assert not stands_beside_texts(tmp_path / "angles")
    assert vectors_if_any(tmp_path / "angles", world) is None
    with pytest.raises(InputError, match="rotate"):
        vectors_of(tmp_path / "angles", world)


def test_things_that_nobody_has_have_no_vectors(world: Graph, words: Tokenizer, embedding: Path) -> None:
    vectors, _ = vectors_of(embedding, world)
    for share in (0.0, 1.0):
        teacher = Teacher(world, LessonSettings(test_share=0.3, made_up_share=share))
        made = [exercise(lesson, words, vectors=vectors) for lesson in teacher.lessons(20, "one")]
        population = words.encode(" population")  # joins no entities
        given = [
            fact.vectors is not None for each in made for fact in each.facts[:-1] if list(fact.relation) != population
        ]
        assert given
        assert all(given) if share == 0 else not any(given)
