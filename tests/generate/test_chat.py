"""Conversations as requests: framed as learnt, and the oldest turns left out where all do not fit."""

from __future__ import annotations

import pytest

from groundzero.errors import InputError
from groundzero.generate import SamplingConfig
from groundzero.generate.chat import chat_request, form_of
from groundzero.tokenizer.chat import Turn, template


@pytest.mark.parametrize("name", ["chat", "alpaca"])
def test_turns_are_framed_and_the_oldest_make_room(make_engine, byte_pairs, name):
    engine, form = make_engine(tokenizer=byte_pairs, context=160), template(name)
    said = ["the cat sat " * 3, "on the mat " * 3] * 4 + ["and the cat?"]
    sampling = SamplingConfig(max_tokens=20)
    request = chat_request(engine, form, said, sampling)
    assert len(request.prompt) + 20 <= engine.context
    for kept in range(1, len(said) + 1, 2):
        turns = [Turn(("user", "assistant")[place % 2], text) for place, text in enumerate(said[-kept:])]
        ids = form.ids(byte_pairs, turns, answer=True)
        if len(ids) + 20 <= engine.context:
            longest = ids
    assert request.prompt == longest
    assert engine.run([request])[0].truncated_prompt_tokens == 0
    whole = chat_request(engine, form, said, SamplingConfig(max_tokens=10_000))
    alone = form.ids(byte_pairs, [Turn("user", said[-1])], answer=True)
    assert len(whole.prompt) <= max(engine.context // 2, len(alone)), "half is kept free for a long answer"


def test_a_last_turn_that_is_too_long_is_said_all_the_same(make_engine, byte_pairs):
    engine = make_engine(tokenizer=byte_pairs, context=48)
    request = chat_request(engine, template("chat"), ["hello", "hello", "the cat sat on the mat " * 9])
    assert len(request.prompt) > 48
    assert engine.run([request])[0].truncated_prompt_tokens


def test_without_a_form_the_text_goes_on(make_engine, byte_pairs):
    engine = make_engine(tokenizer=byte_pairs, context=48)
    request = chat_request(engine, None, ["the cat", "sat", "on the mat"])
    assert byte_pairs.decode(request.prompt) == "the cat\nsat\non the mat"
    assert byte_pairs.decode(chat_request(engine, None, ["the cat", "x " * 40, "sat"]).prompt) == "sat"


def test_how_a_run_frames_turns_stands_in_its_manifest():
    assert form_of({}) is form_of({"tuning": {}}) is form_of({"tuning": "?"}) is None
    assert form_of({"tuning": {"template": "alpaca"}}) is template("alpaca")
    with pytest.raises(InputError, match="no chat template 'x'"):
        form_of({"tuning": {"template": "x"}})
