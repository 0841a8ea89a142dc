"""`isolate_facts`: one setting, learnt with and answered with, and kept in the run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from groundzero.generate import Engine
from groundzero.graph.graph import Graph
from groundzero.ground.classes import LessonLoader
from groundzero.ground.config import GroundingSettings
from groundzero.ground.lessons import Fact, LessonSettings
from groundzero.ground.opening import open_grounded
from groundzero.ground.prompt import exercise, question_ids, question_prompt
from groundzero.ground.speech import Speaker
from groundzero.ground.teacher import Teacher
from groundzero.ground.tuning import Grounding, tune_on_graph
from groundzero.model.islands import island_positions
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.run import RunDirectory
from groundzero.tokenizer import Tokenizer
from groundzero.train import resolve, train_run

SETTINGS = LessonSettings(test_share=0.4)
FACTS = (
    Fact("Peru", "capital", "Lima", 1, (1, 1, 2), 1),
    Fact("Peru", "continent", "South America", 2, (1, 2, 3)),
    Fact("Chile", "capital", "Santiago", 3, (4, 1, 5)),
)
QUESTION = "What is the capital of Peru?"


def apart(model: KnowledgeGPT) -> KnowledgeGPT:
    model.knowledge_config = model.knowledge_config.replace(isolate_facts=True)
    return model


def test_every_fact_is_an_island_and_nothing_else_is(words: Tokenizer) -> None:
    ids, islands = question_prompt(words, QUESTION, FACTS, isolate_facts=True)
    assert islands is not None
    assert len(ids) == len(islands)
    assert [island for island, _ in itertools.groupby(islands)] == [0, 1, 2, 3, 0]
    texts = [words.decode([token for token, own in zip(ids, islands, strict=True) if own == n]) for n in (1, 2, 3)]
    assert [text.strip() for text in texts] == [
        "[1] Peru | capital | Lima",
        "[2] Peru | continent | South America",
        "[3] Chile | capital | Santiago",
    ]
    behind = ids[islands.index(2)], ids[islands.index(3)]
    assert behind == (words.know_id, words.know_id), "each that is not marked says so"
    assert question_prompt(words, QUESTION, FACTS) == (question_ids(words, QUESTION, FACTS), None)
    assert question_prompt(words, QUESTION, (), isolate_facts=True).ids == question_ids(words, QUESTION, ())


def test_a_fact_is_read_alike_beside_any_others(words: Tokenizer, reader_model: KnowledgeGPT) -> None:
    """Another name in one fact moves no bit inside another, in the prompt that questions are asked with."""
    prompt = question_prompt(words, QUESTION, FACTS, isolate_facts=True)
    assert prompt.islands is not None
    other = [70 + token % 9 if island == 1 else token for token, island in zip(*prompt, strict=True)]
    places = {
        "islands_BS": torch.tensor([prompt.islands]),
        "positions_BT": torch.tensor([island_positions(prompt.islands)]),
    }
    with torch.no_grad():
        one_TD, two_TD = (reader_model.hidden(torch.tensor([ids]), **places)[0] for ids in (prompt.ids, other))
    same = [bool(torch.equal(one, two)) for one, two in zip(one_TD, two_TD, strict=True)]
    assert [all(same[place] for place, own in enumerate(prompt.islands) if own == n) for n in (1, 2, 3)] == [
        False,
        True,
        True,
    ]
    assert not same[-1], "the question sees all of them"


def test_lessons_in_a_row_are_read_as_alone(world: Graph, words: Tokenizer, reader_model: KnowledgeGPT) -> None:
    """Islands and documents of one row, and what the trainer and validation hand to the model."""
    model = reader_model.double()
    loader = LessonLoader(
        Teacher(world, SETTINGS),
        Teacher(world, SETTINGS, split="test"),
        words,
        batch_size=6,
        context=512,
        isolate_facts=True,
        validation_lessons=10,
    )
    lessons = [each for number in range(4) if (each := loader._teacher.lesson(number)) is not None]
    made = [exercise(lesson, words, {"prompt"}, isolate_facts=True) for lesson in lessons]
    batch = loader._batch(made)
    assert len(batch.tokens_BT) < len(made), "nothing shares a row"
    given = {"documents_BT": batch.documents_BT, "positions_BT": batch.positions_BT}

    def hidden(**more: Tensor) -> Tensor:
        with torch.no_grad():
            return model.hidden(batch.tokens_BT, **given, **more)

    together_RTD, without_RTD = hidden(islands_BS=batch.extras["islands_BS"]), hidden()
    for each in made:
        assert each.islands is not None
        ids, islands = each.ids[:-1], each.islands[:-1]
        row, start = next(
            (row, start)
            for row, tokens in enumerate(batch.tokens_BT.tolist())
            for start in range(len(tokens) - len(ids) + 1)
            if tokens[start : start + len(ids)] == ids
        )
        alone = {"islands_BS": torch.tensor([islands]), "positions_BT": torch.tensor([island_positions(islands)])}
        with torch.no_grad():
            alone_TD = model.hidden(torch.tensor([ids]), **alone)[0]
        place = slice(start, start + len(ids))
        torch.testing.assert_close(together_RTD[row, place], alone_TD, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(together_RTD, without_RTD, rtol=1e-3)
    loss = model.loss(batch.tokens_BT, batch.targets_BT, **given, **batch.extras)
    assert torch.isfinite(loss)


def test_a_speaker_asks_as_its_model_learnt(words: Tokenizer, reader_model: KnowledgeGPT) -> None:
    plain = Speaker(Engine(reader_model, words))._request(QUESTION, FACTS, frozenset({"prompt"}), None)
    assert plain.islands is None
    engine = Engine(apart(reader_model), words, prefix_cache_bytes=1_000_000)
    speaker = Speaker(engine, max_tokens=12)
    request = speaker._request(QUESTION, FACTS, frozenset({"prompt"}), None)
    assert request.islands == question_prompt(words, QUESTION, FACTS, isolate_facts=True).islands
    said = speaker.say(QUESTION, FACTS)
    figures = speaker.measure(QUESTION, FACTS, said)
    assert set(figures) == {"prompt", "attention", "copy"}
    assert all(0 <= figure <= 1 for figure in figures.values())


@pytest.mark.parametrize("isolate", [False, True])
def test_the_setting_is_kept_in_the_run(world_path: Path, tmp_path: Path, isolate: bool) -> None:
    """From a base to a tuned run, and from that to another that goes on otherwise."""
    (tmp_path / "text.txt").write_text("What is the capital of Peru? I do not know. [1] | 0123456789\n" * 60)
    switches = {
        "data": {"text": str(tmp_path / "text.txt"), "validation_fraction": 0.3},
        "tokenizer": {"kind": "bpe", "vocab_size": 400},
        "model": {"n_layer": 1, "n_head": 2, "d_model": 16, "context": 512},
        "train": {"batch_size": 2, "steps": 1, "precision": "float32", "device": "cpu", "sample_tokens": 0},
    }
    config = resolve(preset_name="nano", options=switches)
    train_run(config, tmp_path / "base")
    source = tmp_path / "base"
    for name, setting in (("tuned", isolate), ("again", not isolate)):
        settings = GroundingSettings.parse(
            {"knowledge": {"isolate_facts": setting}, "lessons": {"test_share": 0.4}, "validation_lessons": 4}
        )
        tune_on_graph(config, tmp_path / name, grounding=Grounding(source, str(world_path), settings))
        source = tmp_path / name
        with Graph.open(world_path, read_only=True) as graph:
            speaker = open_grounded(RunDirectory.open(source), graph).speaker
            request = speaker._request(QUESTION, FACTS, frozenset({"prompt"}), None)
        assert (request.islands is not None) == setting


def test_knowledge_of_before_reads_facts_together() -> None:
    assert not KnowledgeConfig.parse({}).isolate_facts
