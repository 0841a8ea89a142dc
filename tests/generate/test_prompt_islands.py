"""Prompts whose facts do not see each other: batches, pieces, caches and meters read them as the model alone would."""

from __future__ import annotations

import itertools

import pytest
import torch

from groundzero.errors import InputError
from groundzero.generate import Engine, Request, SamplingConfig, prefix, rows
from groundzero.generate.meter import _Replay
from groundzero.model.islands import island_positions

GREEDY = SamplingConfig(temperature=0, max_tokens=12, ignore_eos=True)
FACTS = ("the cat has a hat. ", "a dog. ", "seven of them sat there. ")
QUESTION = "what has the cat"


def parts(tokenizer, facts=FACTS, question=QUESTION):
    """A prompt of facts and a question: ids, and the island of each."""
    ids, islands = tokenizer.encode("know: "), [0] * len("know: ")
    for number, fact in enumerate(facts, 1):
        ids += tokenizer.encode(fact)
        islands += [number] * (len(ids) - len(islands))
    ids += tokenizer.encode(question)
    return ids, islands + [0] * (len(ids) - len(islands))


def request_of(tokenizer, facts=FACTS, *, apart=True, config=GREEDY, **options):
    ids, islands = parts(tokenizer, facts)
    return Request(ids, config, islands=islands if apart else None, **options)


def read_whole(model, ids, islands, n_new):
    """What the likeliest tokens are when everything is read anew at each step."""
    ids, islands = list(ids), list(islands)
    for _ in range(n_new):
        given = {"islands_BS": torch.tensor([islands]), "positions_BT": torch.tensor([island_positions(islands)])}
        with torch.inference_mode():
            logits_V = model(torch.tensor([ids]), **given)[0][0, -1]
        ids.append(int(logits_V.argmax()))
        islands.append(0)
    return tuple(ids[-n_new:])


@pytest.fixture
def model(make_model, characters):
    return make_model(characters.vocab_size, context=96).double()


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
@pytest.mark.parametrize("pieces", [rows.PREFILL_TOKENS, 7, 1])
def test_an_answer_is_that_of_the_model_alone(make_model, characters, monkeypatch, family, pieces):
    monkeypatch.setattr(rows, "PREFILL_TOKENS", pieces)
    model = make_model(characters.vocab_size, context=96, family=family).double()
    engine = Engine(model, characters, prefix_cache_bytes=10_000_000)
    request = request_of(characters)
    want = read_whole(model, request.prompt, request.islands, 12)
    assert engine.run([request])[0].ids == want
    again = engine.run([request])[0]
    assert (again.ids, again.cached_tokens > 0) == (want, True)


def test_rows_with_and_without_islands_act_together_as_they_do_alone(model, characters):
    config = SamplingConfig(temperature=1.0, max_tokens=24, ignore_eos=True, seed=5)
    requests = [
        Request("the cat", config),
        request_of(characters, config=config),
        request_of(characters, apart=False, config=config),
        request_of(characters, FACTS[:2], config=config),
        request_of(characters, config=config),
        Request("a dog sat there", config),
    ]
    for options in ({}, {"max_batch": 2}, {"prefix_cache_bytes": 10_000_000}):
        together = Engine(model, characters, **options).run(requests)
        alone = [Engine(model, characters).run([request])[0] for request in requests]
        assert [completion.ids for completion in together] == [completion.ids for completion in alone]
    assert together[1].ids == together[4].ids != together[2].ids


def test_the_order_of_facts_says_nothing(model, characters):
    answers = {
        apart: {
            Engine(model, characters).run([request_of(characters, order, apart=apart)])[0].ids
            for order in itertools.permutations(FACTS)
        }
        for apart in (True, False)
    }
    assert len(answers[True]) == 1
    assert len(answers[False]) > 1, "the order must matter to prove anything"


def test_a_context_that_slides_reads_on(make_model, characters):
    model = make_model(characters.vocab_size, context=96).double()
    config = SamplingConfig(temperature=0, max_tokens=60, ignore_eos=True)
    engine = Engine(model, characters, cache_capacity=80)
    completion = engine.run([request_of(characters, config=config)])[0]
    assert completion.slides
    ids, islands = parts(characters)
    for place, token in enumerate(completion.ids):
        length = len(ids)
        first = 0 if length <= 80 else length - 60  # after the first slide three quarters are kept
        if length <= 80 or place == 81 - len(parts(characters)[0]):
            assert read_whole(model, ids[first:], islands[first:], 1) == (token,)
        ids.append(token)
        islands.append(0)


def check_no_stale_prefix(model, characters):
    """Every prompt, masked or not, is answered as without a cache; those that see each other alike share."""
    engine = Engine(model, characters, prefix_cache_bytes=10_000_000)
    other = request_of(characters)
    one_island = Request(other.prompt, GREEDY, islands=[min(island, 1) for island in other.islands])
    for request, cached in (
        (request_of(characters, apart=False), 0),
        (other, 0),
        (one_island, 16),  # the first fact is read alike
        (request_of(characters, apart=False), 64),
        (request_of(characters, FACTS[:2]), 32),  # the same beginning
        (request_of(characters, FACTS[1:]), 0),
        (other, 64),
    ):
        got = engine.run([request])[0]
        assert got.ids == Engine(model, characters).run([request])[0].ids
        assert got.cached_tokens == cached


def test_masked_and_unmasked_prompts_share_nothing(model, characters):
    check_no_stale_prefix(model, characters)


def test_a_cache_that_knows_no_islands_is_seen(model, characters, monkeypatch):
    original = prefix._block_keys
    monkeypatch.setattr(prefix, "_block_keys", lambda ids, salt, islands: original(ids, salt, None))
    with pytest.raises(AssertionError):
        check_no_stale_prefix(model, characters)


def test_the_meter_reads_facts_apart(model, characters):
    """Of a plain model the meter's distributions are those the answer was chosen from."""
    from groundzero.generate.evidence import Evidence

    config = GREEDY.replace(logprobs=1)
    request = request_of(characters, config=config, evidence=Evidence((), channels=frozenset({"prompt"})))
    engine = Engine(model, characters)
    completion = engine.run([request])[0]
    _, own_GV = _Replay(engine, request, completion).distributions(
        engine.prompt_ids(request), attention=True, islands=request.islands
    )
    got = [float(own_V[token].log()) for own_V, token in zip(own_GV, completion.ids, strict=True)]
    assert got == pytest.approx([entry.logprob for entry in completion.logprobs], abs=1e-5)


def test_islands_that_are_not_the_prompts_are_refused(model, characters):
    engine, ids = Engine(model, characters), characters.encode("abc")
    for prompt, islands, message in (
        ("abc", [0, 0, 0], "A prompt of text has 3 islands"),
        (ids, [0, 0], "A prompt of 3 ids has 2 islands"),
        ([], [], "cannot have the islands"),
        (ids, [0, 1, 1], "0 for the last"),
        (ids, [0, -1, 0], "0 or more"),
    ):
        with pytest.raises(InputError, match=message):
            engine.submit(Request(prompt, GREEDY, islands=islands))
