"""The engine: what it generates is what the model says, whoever shares the batch and whenever they come."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundzero.errors import GroundzeroError, InputError, UsageError
from groundzero.generate.config import SamplingConfig
from groundzero.generate.engine import Engine
from groundzero.generate.request import Request

GREEDY = SamplingConfig(temperature=0, max_tokens=20, ignore_eos=True)
SAMPLED = SamplingConfig(temperature=1.2, top_k=20, top_p=0.9, min_p=0.01, seed=3, ignore_eos=True)
PENALISED = SAMPLED.replace(repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=-0.2)
PROMPTS = ["", "a", "the cat sat", "once upon a time, there was é 日", "the cat sat"]


def greedy_by_full_passes(model, ids: list[int], n: int, vocabulary: int) -> list[int]:
    """The definition: run the whole text through the model for every token."""
    ids, n_prompt = list(ids), len(ids)
    with torch.no_grad():
        for _ in range(n):
            logits_BTV, _ = model(torch.tensor([ids]))
            ids.append(int(logits_BTV[0, -1, :vocabulary].argmax()))
    return ids[n_prompt:]


FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switches", [{}, {"n_kv_head": 2}, {"window": 5}, {"n_kv_head": 1, "window": 3}])
@pytest.mark.parametrize("capacity", [None, 48])
def test_a_batch_of_prompts_gives_what_full_passes_give(make_engine, family, switches, capacity):
    engine = make_engine(family=family, options={"cache_capacity": capacity}, **switches)
    completions = engine.run([Request(prompt, GREEDY.replace(max_tokens=12)) for prompt in PROMPTS])
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        ids = engine.tokenizer.encode(prompt) or [engine.tokenizer.bos_id]
        want = greedy_by_full_passes(engine.model, ids, 12, engine.tokenizer.vocab_size)
        assert list(completion.ids) == want
        assert completion.prompt_tokens == len(ids)
        assert completion.finish_reason == "length"
        assert completion.text == engine.tokenizer.decode(want)


def test_a_seed_gives_the_same_text_alone_and_in_any_company(make_engine):
    sampled = SamplingConfig(temperature=0.9, top_p=0.95, max_tokens=15, seed=11, ignore_eos=True)
    alone = make_engine().run([Request("the cat", sampled)])[0]
    others = [Request(p, SamplingConfig(temperature=1.0, seed=i, max_tokens=3 + 4 * i)) for i, p in enumerate(PROMPTS)]
    for max_batch, place in itertools.product((1, 2, 6), (0, 3, 5)):
        engine = make_engine(options={"max_batch": max_batch})
        requests = [*others[:place], Request("the cat", sampled), *others[place:]]
        again = engine.run(requests)[place]
        assert again.ids == alone.ids
        assert again.text == alone.text
        assert again.seed == 11


def test_requests_join_and_leave_a_running_batch(make_engine):
    engine = make_engine(options={"max_batch": 3})
    alone = [engine.run([Request(p, GREEDY.replace(max_tokens=4 + 3 * i))])[0] for i, p in enumerate(PROMPTS)]
    handles = []
    for number, prompt in enumerate(PROMPTS):
        handles.append(engine.submit(Request(prompt, GREEDY.replace(max_tokens=4 + 3 * number))))
        engine.step()
        engine.step()
        assert engine.n_running <= 3
    while engine.step():
        pass
    assert [handle.result().ids for handle in handles] == [completion.ids for completion in alone]
    assert (engine.n_running, engine.n_waiting) == (0, 0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    max_batch=st.integers(1, 4),
    arrivals=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40), st.integers(0, 30)), min_size=1, max_size=7),
)
def test_any_schedule_of_arrivals_and_cancellations_leaves_every_answer_as_it_is_alone(
    make_engine, data, max_batch, arrivals
):
    """Prompts up to the context and beyond, so that rows slide while others come and go."""
    model = make_engine(context=16).model
    engine = make_engine(model=model, options={"max_batch": max_batch, "prefix_cache_bytes": 20_000})
    reference = make_engine(model=model)
    handles = []
    for wait, n_prompt, n_tokens in arrivals:
        prompt = [64 + (i * 7 + n_prompt) % 30 for i in range(n_prompt)]
        config = data.draw(st.sampled_from([GREEDY, SAMPLED, PENALISED])).replace(max_tokens=n_tokens)
        handles.append(engine.submit(Request(prompt, config)))
        for _ in range(wait):
            engine.step()
        if data.draw(st.booleans()):
            data.draw(st.sampled_from(handles)).cancel()
    while engine.step():
        pass
    assert (engine.n_running, engine.n_waiting) == (0, 0)
    for handle in handles:
        got, want = handle.result(), reference.run([handle.request])[0]
        assert got.ids == want.ids[: len(got.ids)]
        assert got.finish_reason == "cancelled" or got.ids == want.ids
        assert handle.cancelled or got.finish_reason == "length"


def test_streamed_text_is_the_text(make_engine, byte_pairs):
    """Random bytes make half characters; whatever comes, the pieces are the whole."""
    engine = make_engine(tokenizer=byte_pairs)
    for seed in range(12):
        config = SamplingConfig(temperature=1.5, seed=seed, max_tokens=40, stop=("e", "th") if seed % 2 else ())
        whole = engine.run([Request("the cat", config)])[0]
        events = list(engine.stream(Request("the cat", config)))
        assert "".join(event.text for event in events) == whole.text == events[-1].completion.text
        assert tuple(itertools.chain.from_iterable(event.ids for event in events)) == whole.ids
        assert all(event.completion is None for event in events[:-1])
        if not config.stop:
            assert whole.text == byte_pairs.decode(whole.ids)


def test_a_stop_string_ends_the_text_before_it(make_engine):
    engine = make_engine()
    config = SamplingConfig(temperature=1.0, seed=4, max_tokens=60, ignore_eos=True)
    full = engine.run([Request("the", config)])[0]
    stop = full.text[len(full.text) // 2 :][:2]
    assert len(stop) == 2
    stopped = engine.run([Request("the", config.replace(stop=stop))])[0]
    assert stopped.finish_reason == "stop"
    assert stopped.text == full.text[: full.text.index(stop)]
    assert engine.tokenizer.decode(stopped.ids) == stopped.text + stop


def test_the_end_of_a_text_and_stop_ids_end_the_answer(make_engine):
    engine = make_engine()
    first, second = engine.run([Request("the", GREEDY)])[0].ids[:2]
    stopped = engine.run([Request("the", GREEDY.replace(stop_ids=second))])[0]
    if first != second:
        assert (stopped.ids, stopped.finish_reason) == ((first,), "stop")
    with torch.no_grad():  # make <EOS> the likeliest by far
        engine.model.final_norm.weight.zero_()
        engine.model.embedding.weight[engine.tokenizer.eos_id] += 1
        engine.model.final_norm.weight += engine.model.embedding.weight[engine.tokenizer.eos_id].sign() * 5
        hidden_D = engine.model.hidden(torch.tensor([engine.tokenizer.encode("the")]))[0, -1]
        engine.model.embedding.weight[engine.tokenizer.eos_id] = hidden_D * 100
    ended = engine.run([Request("the", SamplingConfig(temperature=0))])[0]
    assert (ended.ids, ended.text, ended.finish_reason) == ((), "", "eos")
    ignored = engine.run([Request("the", SamplingConfig(temperature=0, ignore_eos=True, max_tokens=3))])[0]
    assert ignored.ids[0] == engine.tokenizer.eos_id
    assert len(ignored.ids) == 3


def test_prompts_start_from_bos_as_the_model_was_trained(make_engine):
    engine = make_engine(options={"add_bos": True})
    bos = engine.tokenizer.bos_id
    ids = [bos, *engine.tokenizer.encode("the")]
    framed, by_hand, plain = engine.run(
        [Request("the", GREEDY), Request(ids, GREEDY), Request("the", GREEDY, add_bos=False)]
    )
    assert framed.ids == by_hand.ids
    assert (framed.prompt_tokens, plain.prompt_tokens) == (4, 3)
    empty_text, empty_ids, only_bos = engine.run([Request("", GREEDY), Request([], GREEDY), Request([bos], GREEDY)])
    assert empty_text.ids == empty_ids.ids == only_bos.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_context_is_read_again_from_its_last_three_quarters(make_engine, family):
    engine = make_engine(family=family, context=16)
    ids = [64 + i % 20 for i in range(10)]
    completion = engine.run([Request(ids, GREEDY.replace(max_tokens=30))])[0]
    seen, want, slides = list(ids), [], 0
    for _ in range(30):
        want += greedy_by_full_passes(engine.model, seen, 1, engine.tokenizer.vocab_size)
        seen.append(want[-1])
        if len(seen) > 16 and len(want) < 30:
            seen, slides = seen[-12:], slides + 1
    assert list(completion.ids) == want
    assert (completion.slides, completion.truncated_prompt_tokens) == (slides, 0)


def test_a_prompt_that_does_not_fit_loses_its_beginning_and_says_so(make_engine):
    engine = make_engine(context=16)
    long = [64 + i % 20 for i in range(40)]
    cut, fits = engine.run([Request(long, GREEDY.replace(max_tokens=2)), Request(long[-12:], GREEDY)])
    assert cut.truncated_prompt_tokens == 28
    assert cut.prompt_tokens == 40
    assert cut.ids == fits.ids[:2]
    exactly = engine.run([Request(long[:16], GREEDY.replace(max_tokens=1))])[0]
    assert (exactly.truncated_prompt_tokens, exactly.slides) == (0, 0)


def test_overflow_stop_ends_at_the_context_and_refuses_longer_prompts(make_engine):
    engine = make_engine(context=16)
    stops = GREEDY.replace(overflow="stop", max_tokens=100)
    completion = engine.run([Request([64] * 10, stops)])[0]
    assert (completion.finish_reason, len(completion.ids), completion.slides) == ("length", 7, 0)
    with pytest.raises(InputError, match=r"17 tokens.*context is 16"):
        engine.submit(Request([64] * 17, stops))


def test_a_smaller_cache_shortens_the_context(make_engine):
    engine = make_engine(options={"cache_capacity": 8})
    assert engine.context == 8
    completion = engine.run([Request([64] * 20, GREEDY)])[0]
    assert completion.truncated_prompt_tokens == 14
    assert completion.slides > 0


def test_zero_tokens_is_an_empty_answer(make_engine):
    completion = make_engine().run([Request("the", SamplingConfig(max_tokens=0))])[0]
    assert (completion.ids, completion.text, completion.finish_reason) == ((), "", "length")


def test_cancelling_ends_a_request_at_the_next_step_and_frees_its_row(make_engine):
    engine = make_engine(options={"max_batch": 1})
    running, waiting = (engine.submit(Request(p, GREEDY)) for p in ("the", "cat"))
    engine.step()
    waiting.cancel()
    running.cancel()
    events = engine.step()
    assert {event.handle for event in events} == {running, waiting}
    assert [handle.result().finish_reason for handle in (running, waiting)] == ["cancelled", "cancelled"]
    assert len(running.result().ids) == 1
    assert (engine.n_running, engine.n_waiting) == (0, 0)


def test_closing_a_stream_cancels_its_request(make_engine):
    engine = make_engine()
    stream = engine.stream(Request("the", GREEDY))
    next(stream)
    assert engine.n_running == 1
    stream.close()
    assert engine.n_running == 0


def test_two_streams_side_by_side_get_their_own_events(make_engine):
    engine = make_engine()
    first, second = (engine.stream(Request(p, GREEDY)) for p in ("the", "a cat"))
    texts = ["", ""]
    for one, other in itertools.zip_longest(first, second):
        texts[0] += one.text if one else ""
        texts[1] += other.text if other else ""
    assert texts == [
        completion.text for completion in make_engine().run([Request("the", GREEDY), Request("a cat", GREEDY)])
    ]


def test_logprobs_are_the_models_own(make_engine):
    engine = make_engine()
    config = SamplingConfig(temperature=0.7, top_k=3, presence_penalty=1, seed=1, max_tokens=6, logprobs=4)
    both = engine.run([Request("the", config), Request("the cat", GREEDY)])
    completion = both[0]
    assert both[1].logprobs is None
    assert [entry.id for entry in completion.logprobs] == list(completion.ids)
    ids = engine.tokenizer.encode("the")
    for entry in completion.logprobs:
        with torch.no_grad():
            logits_V = engine.model(torch.tensor([ids]))[0][0, -1, : engine.tokenizer.vocab_size]
        want_V = logits_V.log_softmax(-1)
        assert entry.logprob == pytest.approx(float(want_V[entry.id]), abs=1e-4)
        values, tokens = want_V.topk(4)
        assert [token for token, _ in entry.top] == tokens.tolist()
        assert [value for _, value in entry.top] == pytest.approx(values.tolist(), abs=1e-4)
        ids.append(entry.id)


def test_penalties_act_on_what_the_row_has_seen(make_engine):
    """Against the definition by full passes, in a batch whose rows come, go and move."""
    engine = make_engine(options={"max_batch": 2})
    penalised = GREEDY.replace(repetition_penalty=1.4, presence_penalty=0.5, frequency_penalty=0.7, max_tokens=14)
    requests = [Request("a", GREEDY.replace(max_tokens=3)), Request("the cat", penalised), Request("on", penalised)]
    completions = engine.run([*requests, Request("b", GREEDY.replace(max_tokens=30))])
    for request, completion in zip(requests[1:], completions[1:3], strict=True):
        prompt = engine.tokenizer.encode(request.prompt)
        answer: list[int] = []
        for _ in range(14):
            with torch.no_grad():
                logits_V = engine.model(torch.tensor([prompt + answer]))[0][0, -1, : engine.tokenizer.vocab_size]
            for token in {*prompt, *answer}:
                logits_V[token] *= 1.4 if logits_V[token] < 0 else 1 / 1.4
            for token in set(answer):
                logits_V[token] -= 0.5 + 0.7 * answer.count(token)
            answer.append(int(logits_V.argmax()))
        assert list(completion.ids) == answer


def test_ids_beyond_the_tokenizer_are_never_chosen(make_engine, make_model, characters):
    model = make_model(characters.vocab_size + 500)
    completions = make_engine(model=model).run(
        [Request("a", SamplingConfig(temperature=50, max_tokens=40, seed=seed)) for seed in range(5)]
    )
    assert max(token for completion in completions for token in completion.ids) < characters.vocab_size


def test_a_model_in_training_goes_on_training(make_engine):
    engine = make_engine(dropout=0.5)
    want = engine.run([Request("the", GREEDY)])[0].ids
    engine.model.train()
    assert engine.run([Request("the", GREEDY)])[0].ids == want
    assert engine.model.training
    _, loss = engine.model(torch.tensor([[70, 71]]), torch.tensor([[71, 72]]))
    loss.backward()


def test_damaged_weights_are_an_error_of_that_request_and_the_engine_lives_on(make_engine):
    engine = make_engine()
    good = engine.model.final_norm.weight.detach().clone()
    with torch.no_grad():
        engine.model.final_norm.weight.fill_(torch.nan)
    with pytest.raises(GroundzeroError, match=r"NaN.*earlier checkpoint"):
        engine.run([Request("the", GREEDY)])
    with torch.no_grad():
        engine.model.final_norm.weight.copy_(good)
    assert len(engine.run([Request("the", GREEDY)])[0].ids) == 20


def test_a_failing_model_fails_its_requests_and_not_the_engine(make_engine, monkeypatch):
    engine = make_engine()
    handle = engine.submit(Request("the", GREEDY))
    with monkeypatch.context() as patch:
        patch.setattr(engine.model, "logits", lambda hidden: 1 / 0)
        events = engine.step()
    assert events[0].completion.finish_reason == "error"
    with pytest.raises(ZeroDivisionError):
        handle.result()
    assert engine.n_running == 0
    assert engine.run([Request("the", GREEDY)])[0].finish_reason == "length"


def test_an_interrupted_read_is_finished_by_the_next_step(make_engine, monkeypatch):
    want = make_engine().run([Request("the cat", GREEDY)])[0].ids
    engine = make_engine()
    handle = engine.submit(Request("the cat", GREEDY))
    with monkeypatch.context() as patch:

        def interrupt(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(engine.model, "hidden", interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    while handle.completion is None:
        engine.step()
    assert handle.result().ids == want


def test_bad_arguments_are_refused(make_engine, make_model, characters):
    engine = make_engine()
    with pytest.raises(InputError, match=r"token 4000.*0 to \d+"):
        engine.submit(Request([70, 4000]))
    with pytest.raises(InputError, match="token -1"):
        engine.submit(Request([-1]))
    with pytest.raises(UsageError, match="max_batch cannot be 0"):
        make_engine(options={"max_batch": 0})
    with pytest.raises(UsageError, match="cache_capacity cannot be -1"):
        make_engine(options={"cache_capacity": -1})
    with pytest.raises(InputError, match="tokenizer the model was trained with"):
        Engine(make_model(70), characters)
    with pytest.raises(InputError, match="no side input 'facts'"):
        engine.submit(Request("a", side_inputs={"facts": torch.zeros(1, 4)}))
