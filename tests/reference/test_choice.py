"""How the twin chooses a token, against the engine's own distribution and against words of its docstring."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from groundzero.generate.config import SamplingConfig
from groundzero.generate.sampling import RowSettings, distribution
from groundzero.reference.config import GPTConfig
from groundzero.reference.model import GPT, next_token_probabilities
from tests.reference.twins import make_twins

# On a grid: scores closer than float32 can tell apart are equals to the engine and not to the twin.
scores = st.lists(st.integers(-128, 128).map(lambda i: i / 16), min_size=1, max_size=40)


def by_the_engine(logits_V, **values) -> np.ndarray:
    rows = RowSettings.stack([SamplingConfig(**values)])
    return distribution(torch.tensor([logits_V], dtype=torch.float32), rows)[0].numpy()


@settings(deadline=None, max_examples=300)
@given(
    logits_V=scores,
    temperature=st.sampled_from([0.25, 0.7, 1.0, 1.9]),
    top_k=st.integers(0, 45),
    top_p=st.sampled_from([1.0, 0.999, 0.9, 0.61, 0.3, 0.01]),
)
def test_probabilities_are_those_of_the_engine(logits_V, temperature, top_k, top_p):
    values = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    got = next_token_probabilities(np.array(logits_V), **values)
    kept = np.sort(next_token_probabilities(np.array(logits_V), temperature=temperature, top_k=top_k))[::-1]
    # The engine sums in float32: where a sum meets top_p within its rounding, which side it falls on is chance.
    assume(np.abs(np.cumsum(kept) - top_p).min() > 1e-5 or top_p == 1.0)
    np.testing.assert_allclose(got, by_the_engine(logits_V, **values), rtol=1e-4, atol=1e-6)
    assert got.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_border_of_top_p_is_the_first_to_reach_it():
    """Halves and quarters are exact: 1/2 reaches 0.5 alone, and a hair more needs the next ones, which are equals."""
    logits_V = [math.log(2.0), 0.0, 0.0]
    assert next_token_probabilities(np.array(logits_V), top_p=0.5).tolist() == [1.0, 0.0, 0.0]
    assert next_token_probabilities(np.array(logits_V), top_p=0.5000001).tolist() == [0.5, 0.25, 0.25]
    assert by_the_engine(logits_V, temperature=1.0, top_p=0.5).tolist() == [1.0, 0.0, 0.0]


def test_equals_of_the_last_one_kept_stay():
    logits_V = np.array([1.0, 3.0, 1.0, 0.0])
    assert np.count_nonzero(next_token_probabilities(logits_V, top_k=1)) == 1
    assert np.count_nonzero(next_token_probabilities(logits_V, top_k=2)) == 3
    assert np.count_nonzero(next_token_probabilities(logits_V, top_k=4)) == 4


def test_temperature():
    logits_V = np.array([0.0, 2.0, 2.0, -1.0])
    assert next_token_probabilities(logits_V, temperature=0.0).tolist() == [0.0, 1.0, 0.0, 0.0]
    sharp, plain, flat = (next_token_probabilities(logits_V, temperature=t) for t in (0.5, 1.0, 2.0))
    assert sharp[1] > plain[1] > flat[1] > 0.25
    assert plain[1] / plain[0] == pytest.approx(math.exp(2.0))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), top_k=st.sampled_from([0, 3]), top_p=st.sampled_from([1.0, 0.5]))
def test_what_is_written_is_drawn_from_these_probabilities(seed, top_k, top_p):
    """Token by token, at the numbers that the same seed draws: the inverse of the cumulative distribution."""
    gpt = make_twins(np.float64, family="qwen3").numpy
    prompt = [1, 2, 3]
    written = list(gpt.generate(prompt, 6, temperature=0.9, top_k=top_k, top_p=top_p, seed=seed))
    rng, ids = np.random.default_rng(seed), list(prompt)
    for token in written:
        logits_V = gpt(np.array([ids]))[0, -1]
        cumulative_V = np.cumsum(next_token_probabilities(logits_V, temperature=0.9, top_k=top_k, top_p=top_p))
        drawn = rng.random()
        assert (cumulative_V[token - 1] if token else 0.0) <= drawn < cumulative_V[token]
        ids.append(token)
    assert len(written) == 6


def test_writing_stops_at_a_stop_token_and_at_the_end_of_a_table():
    gpt = make_twins(np.float64, family="qwen3").numpy
    free = list(gpt.generate([1, 2], 8, temperature=0.0))
    first = free.index(free[3])
    assert list(gpt.generate([1, 2], 8, temperature=0.0, stop=[free[3]])) == free[:first]
    for position, n_written in (("learned", 10), ("sinusoidal", 10), ("rotary", 30)):
        config = GPTConfig.of(
            vocab_size=7, vocab_multiple=8, context=12, n_layer=1, n_head=2, d_model=8, position=position
        )
        tokens = list(GPT(config).generate([1, 2, 3], 30, temperature=2.0))
        assert len(tokens) == n_written
        assert set(tokens) <= set(range(7))  # never a row of padding
