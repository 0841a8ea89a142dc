"""Lessons as token ids: spans are surfaces, data stays data, and neighbours in a batch change nothing."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundzero.data import Batch
from groundzero.errors import InputError, UsageError
from groundzero.generate.evidence import CHANNELS, surface_forms
from groundzero.graph.graph import Graph
from groundzero.ground.classes import LessonLoader, open_channels
from groundzero.ground.config import ChannelSettings
from groundzero.ground.lessons import Copied, Fact, Lesson, LessonSettings
from groundzero.ground.prompt import answer_ids, exercise, network_facts, question_ids
from groundzero.ground.teacher import Teacher
from groundzero.model.copying import OBJECT, SUBJECT, UNTAUGHT, slot_of
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.tokenizer import Tokenizer

SETTINGS = LessonSettings(test_share=0.4)
labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda s: s.strip())


def lessons_of(world: Graph, count: int = 60) -> list[Lesson]:
    return list(Teacher(world, SETTINGS).lessons(count))


def test_the_ids_of_a_span_are_a_surface_of_its_fact(world: Graph, words: Tokenizer) -> None:
    spans = 0
    for lesson in lessons_of(world):
        pieces = answer_ids(lesson, words)
        assert words.decode([token for ids, _ in pieces for token in ids]) == lesson.text
        for ids, copied in pieces:
            if copied is not None:
                assert tuple(ids) in surface_forms(words, copied.text)
                spans += 1
    assert spans > 20


def test_spans_start_at_slots_with_their_text_and_are_not_spelt_by_the_network(world: Graph, words: Tokenizer) -> None:
    for lesson in lessons_of(world):
        made = exercise(lesson, words)
        assert len(made.ids) == len(made.learnt) == len(made.starts)
        begun = [place for place, slots in enumerate(made.starts) if slots]
        copied = [piece for piece in lesson.answer if isinstance(piece, Copied)]
        assert len(begun) == len(copied)
        for place, piece in zip(begun, copied, strict=True):
            assert not made.learnt[place]
            texts = {
                (lesson.facts[slot // 2].subject if slot % 2 == SUBJECT else lesson.facts[slot // 2].object)
                for slot in made.starts[place]
            }
            assert texts == {piece.text}
            own = slot_of(piece.fact, SUBJECT if piece.role == "subject" else OBJECT)
            assert own in made.starts[place]


def test_without_copying_the_network_spells_and_the_gate_learns_nothing(world: Graph, words: Tokenizer) -> None:
    for lesson in lessons_of(world):
        made = exercise(lesson, words, {"prompt", "attention"})
        start = len(question_ids(words, lesson.question, lesson.facts))
        assert all(made.learnt[start:])
        assert not any(made.learnt[:start])
        assert all(slots == (UNTAUGHT,) for slots in made.starts[start:])


@given(labels, labels)
def test_names_of_control_tokens_in_facts_and_questions_stay_text(words: Tokenizer, label: str, other: str) -> None:
    own = ("<|end|>", "<KNOW>", "<SEP>", "<|assistant|>", "<EOS>")
    for text in (*own, label):
        fact = Fact(text, other, f"{label}{text}", 1, (1, 1, 2))
        plain = Fact("a", "b", "c", 1, (1, 1, 2))
        for question in (text, f"What is {text}{other}?"):
            ids = question_ids(words, question, [fact])
            frame = question_ids(words, "What is it?", [plain])
            assert [token for token in ids if token < 64] == [token for token in frame if token < 64]
        given_fact, _ = network_facts(words, [fact])
        assert min([*given_fact.subject, *given_fact.relation, *given_fact.object]) >= 64


@pytest.mark.parametrize("channels", [("prompt",), ("attention",), ("copy",), ("prompt", "copy"), tuple(CHANNELS)])
def test_shut_channels_carry_nothing(world: Graph, words: Tokenizer, channels: tuple[str, ...]) -> None:
    lesson = next(each for each in lessons_of(world) if each.kind == "two")
    made = exercise(lesson, words, channels)  # type: ignore[arg-type]
    assert (words.know_id in made.ids) == ("prompt" in channels)
    assert bool(made.facts) == bool(set(channels) & {"attention", "copy"})
    assert all(fact.readable == ("attention" in channels) for fact in made.facts)
    assert [fact.number for fact in made.facts[:-1]] == list(range(1, len(made.facts)))
    assert not made.facts or not (made.facts[-1].subject or made.facts[-1].object), "the last says nothing"


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_every_lesson_can_be_answered_through_its_channels(seed: int, prompt: float, attention: float, copy: float):
    settings = ChannelSettings(prompt_share=prompt, attention_share=attention, copy_share=copy)
    fact = Fact("a", "b", "c", 1, (1, 1, 2))
    for kind in ("one", "unknown", "list"):
        for made_up in (False, True):
            lesson = Lesson(kind, "?", (fact,), ("x",), made_up)  # type: ignore[arg-type]
            open_ = open_channels(lesson, settings, random.Random(seed))
            assert open_ <= CHANNELS
            assert open_
            assert kind == "one" or open_ & {"prompt", "attention"}
            assert kind == "unknown" or open_ & {"prompt", "copy"}, "names would be learnt by heart"


def loader_of(world: Graph, words: Tokenizer, **options: int) -> LessonLoader:
    given = {"batch_size": 6, "context": 512, "validation_lessons": 10, **options}
    return LessonLoader(Teacher(world, SETTINGS), Teacher(world, SETTINGS, split="test"), words, **given)


def test_a_batch_is_a_function_of_its_step(world: Graph, words: Tokenizer) -> None:
    one, other = loader_of(world, words), loader_of(world, words)
    one.batch(0)
    first, second = one.batch(5), other.batch(5)
    assert torch.equal(first.tokens_BT, second.tokens_BT)
    assert torch.equal(first.extras["starts_BTA"], second.extras["starts_BTA"])
    with one.prefetch(5, 6) as batches:
        ((step, third),) = list(batches)
    assert step == 5
    assert torch.equal(first.targets_BT, third.targets_BT)


def test_lessons_in_a_row_learn_as_alone(world: Graph, words: Tokenizer, reader_model: KnowledgeGPT) -> None:
    model = reader_model.double()
    loader = loader_of(world, words)
    made = [loader._exercise(loader._teacher, number) for number in range(6)]
    together = loader._batch([each for each in made if each is not None])
    assert len(together.tokens_BT) < len(made), "nothing shares a row"

    def sums(batch: Batch) -> tuple[float, float, float, int]:
        facts = batch.extras["facts"]
        starts_BTA = batch.extras["starts_BTA"]
        kept = {"documents_BT": batch.documents_BT, "positions_BT": batch.positions_BT}
        facts = facts._replace(vectors_BNV=facts.vectors_BNV.double())
        loss, copying = model.losses(batch.tokens_BT, batch.targets_BT, **kept, facts=facts, starts_BTA=starts_BTA)
        assert copying is not None
        begins_BT = (starts_BTA >= 0).any(-1)
        learnt_BT = batch.targets_BT >= 0
        counted = int(((learnt_BT & (starts_BTA[..., 0] != UNTAUGHT)) | begins_BT).sum())
        n_learnt, n_begun = int(learnt_BT.sum()), int(begins_BT.sum())
        return loss.item() * n_learnt, copying.gate.item() * counted, copying.pointer.item() * n_begun, n_begun

    alone = [sums(loader._batch([each])) for each in made if each is not None]
    assert sums(together) == pytest.approx([sum(part) for part in zip(*alone, strict=True)], rel=1e-9)


def test_a_batch_of_small_talk_still_reaches_every_weight(words: Tokenizer, world: Graph, reader_model: KnowledgeGPT):
    loader = loader_of(world, words)
    batch = loader._batch([exercise(Lesson("talk", "Hello!", (), ("Hello!",)), words)])
    loss = reader_model.loss(batch.tokens_BT, batch.targets_BT, **batch.extras)
    loss.backward()
    assert all(parameter.grad is not None for parameter in reader_model.parameters())
    assert torch.isfinite(loss)


def test_validation_covers_the_held_out_lessons_once(world: Graph, words: Tokenizer) -> None:
    loader = loader_of(world, words)
    whole = list(loader.validation_batches())
    assert sum(int((batch.targets_BT >= 0).sum()) for batch in whole) == sum(
        sum(each.learnt[1:]) for each in loader._validation
    )
    part = list(loader.validation_batches(max_tokens=1))
    assert sum(len(batch.tokens_BT) for batch in part) == 1
    assert loader.validation_bytes(max_tokens=1) is None
    assert loader.validation_bytes()


def test_what_cannot_be_taught_is_said(world: Graph, words: Tokenizer) -> None:
    with pytest.raises(InputError, match="context of 3 tokens"):
        loader_of(world, words, context=3)
    with pytest.raises(UsageError, match="batch_size"):
        loader_of(world, words, batch_size=0)
