"""The choice of tokens against a NumPy oracle, and the shape of what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.generate.config import SamplingConfig
from groundzero.generate.sampling import RowSettings, choose, distribution, draw, penalise

CONFIGS = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([1e-3, 0.5, 0.8, 1.0, 2.0, 100.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 100]),
    top_p=st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    repetition_penalty=st.sampled_from([0.5, 1.0, 1.3]),
    presence_penalty=st.sampled_from([-2.0, 0.0, 0.7]),
    frequency_penalty=st.sampled_from([-0.5, 0.0, 2.0]),
)


def oracle_penalties(logits_V: np.ndarray, config: SamplingConfig, prompt: list[int], answer: list[int]) -> np.ndarray:
    """Penalties as the definitions say them, one token at a time."""
    out_V = logits_V.astype(np.float64).copy()
    for token in {*prompt, *answer}:
        out_V[token] *= config.repetition_penalty if out_V[token] < 0 else 1 / config.repetition_penalty
    for token in set(answer):
        out_V[token] -= config.presence_penalty + config.frequency_penalty * answer.count(token)
    return out_V


def oracle_distribution(logits_V: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """Temperature, top-k, top-p, min-p on one row in float64, by sorting."""

    def softmax(x_V: np.ndarray) -> np.ndarray:
        e_V = np.exp(x_V - x_V.max())
        return e_V / e_V.sum()

    x_V = logits_V.astype(np.float64) / config.temperature
    if config.top_k:
        kth = np.sort(x_V)[::-1][min(config.top_k, len(x_V)) - 1]
        x_V = np.where(x_V >= kth, x_V, -np.inf)
    if config.top_p < 1:
        order = np.argsort(-x_V, kind="stable")
        probs = softmax(x_V)[order]
        kept = order[(np.cumsum(probs) - probs) < config.top_p]
        x_V = np.where(x_V >= x_V[kept].min(), x_V, -np.inf)
    probs_V = softmax(x_V)
    probs_V[probs_V < config.min_p * probs_V.max()] = 0
    return probs_V / probs_V.sum()


@settings(max_examples=150, deadline=None)
@given(
    configs=st.lists(CONFIGS, min_size=1, max_size=5), seed=st.integers(0, 10_000), vocab=st.sampled_from([3, 11, 700])
)
def test_a_batch_of_settings_gives_the_oracles_distribution_row_by_row(configs, seed, vocab):
    # Logits on a coarse, uneven grid: far enough apart that no cut falls between float32 and float64.
    rng = np.random.default_rng(seed)
    logits_BV = (rng.permuted(np.tile(np.arange(vocab), (len(configs), 1)), axis=1) * 0.137).astype(np.float32)
    got_BV = distribution(torch.from_numpy(logits_BV), RowSettings.stack(configs)).numpy()
    for got_V, logits_V, config in zip(got_BV, logits_BV, configs, strict=True):
        want_V = oracle_distribution(logits_V, config)
        assert np.array_equal(got_V > 1e-12, want_V > 1e-12) or abs(got_V - want_V).max() < 1e-5
        np.testing.assert_allclose(got_V, want_V, rtol=2e-4, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), configs=st.lists(CONFIGS, min_size=1, max_size=4), seed=st.integers(0, 10_000))
def test_penalties_follow_their_published_definitions(data, configs, seed):
    vocab = 13
    logits_BV = np.random.default_rng(seed).normal(size=(len(configs), vocab)).astype(np.float32) * 3
    tokens = st.lists(st.integers(0, vocab - 1), max_size=8)
    histories = [(data.draw(tokens), data.draw(tokens)) for _ in configs]
    seen_BV = torch.zeros(len(configs), vocab, dtype=torch.bool)
    generated_BV = torch.zeros(len(configs), vocab, dtype=torch.int32)
    for row, (prompt, answer) in enumerate(histories):
        seen_BV[row, prompt + answer] = True
        for token in answer:
            generated_BV[row, token] += 1
    got_BV = penalise(torch.from_numpy(logits_BV), RowSettings.stack(configs), seen_BV, generated_BV).numpy()
    for got_V, logits_V, config, (prompt, answer) in zip(got_BV, logits_BV, configs, histories, strict=True):
        np.testing.assert_allclose(got_V, oracle_penalties(logits_V, config, prompt, answer), rtol=1e-5, atol=1e-6)


def test_the_repetition_penalty_is_hugging_faces():
    from transformers import RepetitionPenaltyLogitsProcessor

    logits_BV = torch.randn(1, 50, generator=torch.Generator().manual_seed(3))
    ids_BT = torch.tensor([[4, 4, 9, 30]])
    want_BV = RepetitionPenaltyLogitsProcessor(1.7)(ids_BT, logits_BV.clone())
    seen_BV = torch.zeros(1, 50, dtype=torch.bool)
    seen_BV[0, ids_BT[0]] = True
    rows = RowSettings.stack([SamplingConfig(repetition_penalty=1.7)])
    got_BV = penalise(logits_BV, rows, seen_BV, torch.zeros(1, 50, dtype=torch.int32))
    assert torch.equal(got_BV, want_BV)


@pytest.mark.parametrize("options", [{"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 20, "top_p": 0.6}])
def test_truncation_is_hugging_faces(options):
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits_BV = torch.randn(6, 400, generator=torch.Generator().manual_seed(5)) * 3
    want_BV = TemperatureLogitsWarper(0.7)(None, logits_BV)
    for warper, key in ((TopKLogitsWarper, "top_k"), (TopPLogitsWarper, "top_p"), (MinPLogitsWarper, "min_p")):
        if key in options:
            want_BV = warper(options[key])(None, want_BV)
    config = SamplingConfig(temperature=0.7, **options)
    got_BV = distribution(logits_BV, RowSettings.stack([config] * 6))
    torch.testing.assert_close(got_BV, want_BV.softmax(-1), rtol=1e-5, atol=1e-6)


def test_a_flat_distribution_wider_than_the_guess_keeps_the_whole_nucleus():
    logits_BV = torch.linspace(0, 0.1, 5000).repeat(2, 1)
    probs_BV = distribution(logits_BV, RowSettings.stack([SamplingConfig(top_p=0.9, temperature=1.0)] * 2))
    kept = int((probs_BV[0] > 0).sum())
    assert 4300 < kept < 4600
    assert logits_BV[0].softmax(-1)[-kept:].sum() >= 0.9 - 1e-4


def test_tokens_tied_with_the_last_one_kept_stay():
    probs_BV = distribution(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), RowSettings.stack([SamplingConfig(top_k=2)]))
    assert (probs_BV > 0).tolist() == [[True, True, True, False]]


def test_draws_follow_the_distribution():
    """Chi-square at a fixed seed: 200,000 draws over 12 tokens, 11 degrees of freedom, p = 0.001 at 31.26."""
    probs_BV = torch.tensor([[0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.03, 0.02, 0.01, 0.007, 0.003]])
    uniforms = torch.from_numpy(np.random.default_rng(7).random(200_000))
    ids_B, valid_B = draw(probs_BV.expand(len(uniforms), -1), uniforms)
    assert valid_B.all()
    observed = torch.bincount(ids_B, minlength=12).double()
    expected = probs_BV[0].double() * len(uniforms)
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert statistic < 31.26
    # The test would see a fault: the same draws against a distribution 2 % off fail it.
    skewed = expected * torch.linspace(0.98, 1.02, 12)
    assert float(((observed - skewed) ** 2 / skewed).sum()) > 31.26


@given(uniform=st.floats(0, 1, exclude_max=True), zeros=st.sets(st.integers(0, 9), max_size=9))
def test_an_impossible_token_is_never_drawn(uniform, zeros):
    probs_BV = torch.full((1, 10), 0.1)
    probs_BV[0, list(zeros)] = 0
    ids_B, valid_B = draw(probs_BV, torch.tensor([uniform], dtype=torch.float64))
    assert valid_B.all()
    assert int(ids_B) not in zeros


def test_greedy_rows_take_the_likeliest_beside_rows_that_draw():
    logits_BV = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    rows = RowSettings.stack([SamplingConfig(temperature=0), SamplingConfig(temperature=1.0)])
    ids_B, valid_B = choose(logits_BV, rows, torch.tensor([0.0, 0.0], dtype=torch.float64))
    assert ids_B.tolist() == [1, 0]
    assert valid_B.all()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [-torch.inf, torch.nan])
def test_a_row_without_a_possible_token_is_reported_and_its_neighbours_are_not(temperature, bad):
    logits_BV = torch.tensor([[bad, bad, bad], [1.0, -torch.inf, -torch.inf]])
    rows = RowSettings.stack([SamplingConfig(temperature=temperature, top_p=0.9, top_k=2, min_p=0.1)] * 2)
    ids_B, valid_B = choose(logits_BV, rows, torch.tensor([0.5, 0.999], dtype=torch.float64))
    assert valid_B.tolist() == [False, True]
    assert int(ids_B[1]) == 0


def test_extreme_temperatures_stay_finite():
    logits_BV = torch.tensor([[1e4, -1e4, 9e3]])
    for temperature in (1e-5, 2e-5, 100.0):
        probs_BV = distribution(logits_BV, RowSettings.stack([SamplingConfig(temperature=temperature)]))
        assert torch.isfinite(probs_BV).all()
        assert probs_BV.sum() == pytest.approx(1)
