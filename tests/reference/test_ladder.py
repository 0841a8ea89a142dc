"""Rung by rung the twins agree: 1e-9 in float64, 1e-4 in float32, for every family and every switch (see `ladder`)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.generate.config import SamplingConfig
from groundzero.generate.engine import Engine
from groundzero.generate.request import Request
from groundzero.model import GPTConfig as TorchConfig
from groundzero.model import config as torch_config
from groundzero.model import gpt as torch_gpt
from groundzero.model.presets import preset, preset_names
from groundzero.reference import config
from groundzero.reference.config import GPTConfig
from groundzero.reference.model import GPT
from groundzero.tokenizer import TokenizerConfig, train_tokenizer
from tests.reference import ladder
from tests.reference.twins import CASES, LINEAR, TINY, YARN, Twins, apart, make_twins

PRECISIONS = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
EVERY_CASE = pytest.mark.parametrize("case", CASES)


def beyond(distances: ladder.Distances, dtype: Any) -> ladder.Distances:
    """Those that are further apart than the precision allows."""
    return {name: distance for name, distance in distances.items() if not distance <= ladder.TOLERANCE[dtype]}


def twins_of(case: str, dtype: Any = np.float64) -> Twins:
    return make_twins(dtype, **CASES[case])


@PRECISIONS
def test_operations(dtype):
    distances = ladder.climb_operations(dtype)
    assert len(distances) == 21
    assert not beyond(distances, dtype)


@PRECISIONS
@EVERY_CASE
def test_layers_blocks_logits_and_loss(case, dtype):
    distances = ladder.climb_forward(twins_of(case, dtype))
    assert list(distances) == ["layer", "block", "logits", "loss"]
    assert not beyond(distances, dtype)


@PRECISIONS
@EVERY_CASE
def test_every_gradient(case, dtype):
    twins = twins_of(case, dtype)
    distances = ladder.climb_gradients(twins)
    assert set(distances) == {name for name, _ in twins.torch.named_parameters()}
    assert not beyond(distances, dtype)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@EVERY_CASE
def test_weights_after_twenty_steps(case, optimizer):
    assert not beyond(ladder.climb_training(twins_of(case), optimizer), np.float64)


@PRECISIONS
@pytest.mark.parametrize("case", [name for name, case in CASES.items() if "documents" not in case])
def test_logits_with_keys_and_values_remembered(case, dtype):
    assert not beyond(ladder.climb_cache(twins_of(case, dtype)), dtype)


@PRECISIONS
@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.get("shape") != (1, 1)])
def test_greedy_tokens(case, dtype):
    twins = twins_of(case, dtype)
    n_token = ladder.n_greedy(twins)
    written = ladder.greedy_tokens(twins, n_token)
    assert len(written["numpy, cached"]) == n_token
    assert all(tokens == written["numpy, cached"] for tokens in written.values()), written


@pytest.mark.parametrize("case", ["gpt2", "classic", "llama", "qwen3", "speedrun", "window of four"])
def test_greedy_tokens_of_the_engine(case):
    tokenizer = train_tokenizer(["abc"], TokenizerConfig(kind="char"))
    twins = make_twins(np.float32, **CASES[case], vocab_size=tokenizer.vocab_size, context=24)
    prompt = [int(token) for token in twins.ids_BT[0, :6]]
    greedy = SamplingConfig(temperature=0.0, max_tokens=18, ignore_eos=True)
    (completion,) = Engine(twins.torch, tokenizer).run([Request(prompt, greedy)])
    assert list(completion.ids) == list(twins.numpy.generate(prompt, 18, temperature=0.0))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_combination_of_switches(data):
    """Not only one switch at a time: logits, loss, cache and every gradient of architectures put together at random."""
    draw = data.draw
    heads = draw(st.sampled_from([(1, 1), (2, 1), (4, 2), (4, 4), (6, 3)]))
    case: dict[str, Any] = {
        "family": draw(st.sampled_from(["gpt2", "classic", "llama", "qwen3", "speedrun"])),
        "position": draw(st.sampled_from(["learned", "sinusoidal", "rotary"])),
        "rotary_fraction": draw(st.sampled_from([0.5, 1.0])),
        "rotary_scaling": draw(st.sampled_from([None, LINEAR, YARN])),
        "norm": draw(st.sampled_from(["layernorm", "rmsnorm"])),
        "activation": draw(st.sampled_from(["gelu", "gelu_tanh", "swiglu", "relu2"])),
        "n_head": heads[0],
        "n_kv_head": heads[1],
        "head_dim": draw(st.sampled_from([4, 8])),
        "d_model": draw(st.sampled_from([12, 17])),
        "window": draw(st.sampled_from([0, 1, 3])),
        "logit_softcap": draw(st.sampled_from([0.0, 2.0])),
        "vocab_multiple": draw(st.sampled_from([1, 64])),
        "n_layer": draw(st.integers(1, 2)),
        "shape": (draw(st.integers(1, 3)), draw(st.integers(1, 12))),
    }
    for switch in ("norm_affine", "qk_norm", "attention_bias", "feed_forward_bias", "tie_embeddings"):
        case[switch] = draw(st.booleans())
    for switch in ("scale_embeddings", "norm_embeddings"):
        case[switch] = draw(st.booleans())
    documents = draw(st.booleans())
    twins = make_twins(np.float64, **case, documents=documents)
    assert not beyond(ladder.climb_forward(twins), np.float64)
    assert not beyond(ladder.climb_gradients(twins), np.float64)
    if not documents:
        assert not beyond(ladder.climb_cache(twins), np.float64)


def test_a_gradient_that_is_zero_by_nature_is_left_as_rounding():
    """Why key biases are measured against the model's largest gradient: in both worlds theirs is noise."""
    twins = twins_of("gpt2")
    ladder.climb_gradients(twins)
    assert len(twins.zero_gradients_known()) == twins.numpy.config.n_layer
    for name in twins.zero_gradients_known():
        assert np.abs(twins.numpy.parameters()[name].gradient).max() < 1e-15
        assert dict(twins.torch.named_parameters())[name].grad.abs().max() < 1e-15
    assert not twins_of("QK-norm on gpt2").zero_gradients_known()
    assert not twins_of("rotary positions on gpt2").zero_gradients_known()


# --- what a model is -------------------------------------------------------------------------------------------------

ONLY_TORCH = {"checkpoint_activations"}
"""Memory for time: changes no number."""


def test_configs_have_the_same_fields_and_defaults():
    own = {field.name: field.default for field in dataclasses.fields(GPTConfig)}
    theirs = {name: field.default for name, field in TorchConfig.model_fields.items() if name not in ONLY_TORCH}
    assert own == theirs
    assert list(own) == list(theirs)


def test_configs_have_the_same_families():
    assert config.FAMILIES == torch_config.FAMILIES


@EVERY_CASE
def test_configs_derive_the_same_widths(case):
    values = {**TINY, **{key: value for key, value in CASES[case].items() if key not in {"documents", "shape"}}}
    check_config(TorchConfig.parse(values), GPTConfig.of(**values))


def test_configs_of_every_preset():
    for name in preset_names():
        check_config(preset(name).config, GPTConfig.from_mapping(preset(name).model))


def check_config(theirs: TorchConfig, own: GPTConfig) -> None:
    """All fields, given or derived, and what follows from them; and the way through a run's manifest."""
    dumped = {name: value for name, value in theirs.model_dump().items() if name not in ONLY_TORCH}
    assert dataclasses.asdict(own) == dumped
    assert (own.padded_vocab_size, own.rotary_dim) == (theirs.padded_vocab_size, theirs.rotary_dim)
    assert GPTConfig.from_mapping(theirs.model_dump(mode="json")) == own


def test_every_switch_is_tried():
    """A switch that somebody adds must get a case, or a reason."""
    tried = {key for case in CASES.values() for key in case} - {"documents", "shape"}
    assert tried | {"context"} | set(TINY) == {field.name for field in dataclasses.fields(GPTConfig)}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("init", ["residual_scaled", "zero"])
@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_weights_start_with_the_same_statistics(family, init, tied):
    """Means and spreads agree to what chance allows: five standard errors."""
    values = {"family": family, "init": init, "tie_embeddings": tied, "vocab_size": 64, "context": 64, "n_layer": 3}
    values |= {"d_model": 64, "n_head": 4, "init_std": 0.05}
    torch.manual_seed(0)
    of_numpy, of_torch = GPT(GPTConfig.of(**values)), torch_gpt.GPT(TorchConfig.parse(values))
    wanted = dict(of_torch.named_parameters())
    assert list(of_numpy.parameters()) == list(wanted)
    for name, parameter in of_numpy.parameters().items():
        assert parameter.value.dtype == np.float32
        one, other = parameter.value, wanted[name].detach().numpy()
        assert one.shape == other.shape, name
        if one.ndim == 1 or not other.any():
            assert np.array_equal(one, other), name
        else:
            error = float(other.std()) / one.size**0.5
            assert abs(one.mean() - other.mean()) < 5 * error * 2**0.5, name
            assert abs(one.std() - other.std()) < 5 * error, name


# --- the measure itself ----------------------------------------------------------------------------------------------


def test_distances_are_noticed():
    """A measure that could not see a difference would prove nothing."""
    assert apart(np.ones(3), np.ones(3)) == 0.0
    assert apart(np.array([1.0, 4.1]), np.array([1.0, 4.0])) == pytest.approx(0.025)
    assert apart(np.ones(3), np.ones((1, 3))) == float("inf")
    assert apart(np.array([np.nan]), np.array([np.nan])) == float("inf")
    assert apart(np.array([1e-30]), np.array([0.0])) == float("inf")
    assert beyond({"broken": float("nan")}, np.float32)
