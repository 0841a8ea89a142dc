"""Every switch of the architecture does something, and what it does is what its name says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import ConfigError
from groundzero.model import GPT, GPTConfig
from groundzero.model.config import FAMILIES, RotaryScaling
from groundzero.model.fused import relu_squared, rms_norm, rotate
from groundzero.model.layers import FeedForward, LayerNorm, Rotary, sinusoids
from groundzero.model.presets import preset, preset_names
from groundzero.model.size import parameter_count

BASE = {"family": "llama", "n_kv_head": 4, "head_dim": 8}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 16, "beta_fast": 2.0, "beta_slow": 0.25}
# What is switched, and what it is switched from where that is not `BASE`.
CHANGES_LOGITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "n_layer": (3, {}),
    "n_head": (2, {"n_kv_head": 2}),
    "n_kv_head": (2, {}),
    "d_model": (16, {}),
    "d_ff": (40, {}),
    "head_dim": (6, {}),
    "position": ("sinusoidal", {}),
    "rotary_base": (50.0, {}),
    "rotary_fraction": (0.5, {}),
    "rotary_scaling": (YARN, {}),
    "norm": ("layernorm", {}),
    "norm_eps": (0.1, {}),
    "norm_affine": (False, {}),
    "activation": ("relu2", {}),
    "qk_norm": (True, {}),
    "attention_bias": (True, {}),
    "feed_forward_bias": (True, {}),
    "tie_embeddings": (False, {}),
    "scale_embeddings": (True, {}),
    "norm_embeddings": (True, {}),
    "window": (3, {}),
    "logit_softcap": (1.0, {}),
    "family": ("gpt2", {}),
}
SCALING_CHANGES = {"method": "linear", "factor": 2.0, "original_context": 8, "beta_fast": 0.8, "beta_slow": 0.5}
CHANGES_SOMETHING_ELSE = {
    "vocab_size": "the width of the logits",
    "vocab_multiple": "padding, which nobody sees (test_gpt)",
    "context": "how long a row may be (test_cache)",
    "dropout": "training alone (test_gpt)",
    "init": "the start (test_gpt)",
    "init_std": "the start (test_gpt)",
    "checkpoint_activations": "memory alone (test_gpt)",
}


def test_every_switch_is_accounted_for() -> None:
    assert set(CHANGES_LOGITS) | set(CHANGES_SOMETHING_ELSE) == set(GPTConfig.model_fields)
    assert not set(CHANGES_LOGITS) & set(CHANGES_SOMETHING_ELSE)
    assert set(SCALING_CHANGES) == set(RotaryScaling.model_fields) == set(YARN)


def logits(make_model: Any, make_ids: Any, switches: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return make_model(**switches)(make_ids(2, 20))[0]


@pytest.mark.parametrize("name", CHANGES_LOGITS)
def test_a_switch_changes_logits(make_model, make_ids, name) -> None:
    value, also = CHANGES_LOGITS[name]
    before = logits(make_model, make_ids, BASE)
    after = logits(make_model, make_ids, BASE | also | {name: value})
    assert after.shape == before.shape
    assert after.isfinite().all()
    assert (after - before).abs().amax(dim=-1)[:, 3:].min() > 1e-4  # a window of three sees all of three


@pytest.mark.parametrize("name", SCALING_CHANGES)
def test_a_switch_of_the_stretching_changes_logits(make_model, make_ids, name) -> None:
    base = BASE | {"rotary_base": 50.0}  # four pairs with wavelengths from 6 to 118 tokens, so that bands matter
    before = logits(make_model, make_ids, base | {"rotary_scaling": YARN})
    after = logits(make_model, make_ids, base | {"rotary_scaling": YARN | {name: SCALING_CHANGES[name]}})
    assert (after - before).abs().max() > 1e-4


@pytest.mark.parametrize("field", ["position", "norm", "activation"])
def test_the_values_of_a_switch_all_differ(make_model, make_ids, field) -> None:
    values = {
        "position": ["learned", "sinusoidal", "rotary"],
        "norm": ["layernorm", "rmsnorm"],
        "activation": ["gelu", "gelu_tanh", "swiglu", "relu2"],
    }[field]
    results = [logits(make_model, make_ids, BASE | {field: value}) for value in values]
    for at, one in enumerate(results):
        for other in results[at + 1 :]:
            assert (one - other).abs().max() > 1e-5


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_is_its_switches(make_model, make_ids, family) -> None:
    """Named or spelt out upon another family, it is the same network."""
    spelt = {"norm_affine": True, "tie_embeddings": True, "init": "residual_scaled", "norm_embeddings": False}
    spelt |= {"logit_softcap": 0.0, "qk_norm": False, "attention_bias": False, "feed_forward_bias": False}
    other = "speedrun" if family == "gpt2" else "gpt2"
    one = logits(make_model, make_ids, {"family": family})
    assert torch.equal(one, logits(make_model, make_ids, spelt | FAMILIES[family] | {"family": other}))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("size", ["nano", "micro", "tiny", "small", "medium", "gpt2", "large"])
def test_sizes_cross_families(family, size) -> None:
    config = GPTConfig.parse({**preset(size).model, "family": family})
    with torch.device("meta"):
        model = GPT(config)
    assert sum(p.numel() for p in model.parameters()) == parameter_count(config).allocated
    assert {p.device.type for p in model.parameters()} == {"meta"}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_runs(name) -> None:
    """Its switches, at a width that a test can pay for."""
    config = preset(name).config
    small = {"n_head": 4, "n_kv_head": 2 if config.n_kv_head < config.n_head else 4, "d_model": 32, "head_dim": 8}
    model = GPT(config.replace(**small, d_ff=48, n_layer=2, vocab_size=53, context=24))
    ids_BT = torch.arange(24)[None]
    logits_BTV, loss = model(ids_BT, ids_BT)
    assert logits_BTV.shape == (1, 24, 53)
    assert loss is not None and loss.isfinite()


# --- what a switch says ----------------------------------------------------------------------------------------------


def test_activations_as_their_papers_write_them() -> None:
    x_BTD = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    for name in ("gelu", "gelu_tanh", "swiglu", "relu2"):
        layer = FeedForward(GPTConfig(d_model=8, n_head=2, d_ff=12, activation=name))
        up = x_BTD @ layer.up.weight.t()
        if name == "gelu":
            hidden = up * 0.5 * (1 + torch.erf(up / 2**0.5))
        elif name == "gelu_tanh":
            hidden = 0.5 * up * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (up + 0.044715 * up**3)))
        elif name == "swiglu":
            gate = x_BTD @ layer.gate.weight.t()
            hidden = gate / (1 + torch.exp(-gate)) * up
        else:
            hidden = torch.where(up > 0, up**2, 0.0)
        torch.testing.assert_close(layer(x_BTD), hidden @ layer.down.weight.t(), rtol=1e-4, atol=1e-5)


@given(width=st.integers(1, 33), eps=st.sampled_from([1e-6, 1e-2]), spread=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=50, deadline=None)
def test_norms_as_their_papers_write_them(width, eps, spread) -> None:
    generator = torch.Generator().manual_seed(width)
    x_ND = torch.randn(5, width, generator=generator) * spread
    scale_D = torch.randn(width, generator=generator)
    want_ND = x_ND / (x_ND.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(rms_norm(x_ND, None, eps), want_ND, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(rms_norm(x_ND, scale_D, eps), want_ND * scale_D, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        rms_norm(x_ND, scale_D, eps), F.rms_norm(x_ND, (width,), scale_D, eps), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(LayerNorm(width, eps)(x_ND), F.layer_norm(x_ND, (width,), eps=eps))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_norm_in_half_precision_neither_overflows_nor_vanishes(dtype) -> None:
    """300^2 is beyond float16, and 1e-5^2 below it; the sum is taken in float32."""
    for spread in (300.0, 1e-2):
        x_ND = torch.full((2, 64), spread, dtype=dtype)
        torch.testing.assert_close(rms_norm(x_ND, None, 1e-8), torch.ones_like(x_ND), rtol=1.6e-2, atol=0)


def test_hand_written_gradients_against_central_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(8, generator=generator, dtype=torch.float64, requires_grad=True)
    turn_TR = Rotary(GPTConfig(head_dim=8)).at(slice(0, 5), 5, torch.float64)
    places_BT = torch.tensor([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]])
    turn_BTR = [table[:, None] for table in Rotary(GPTConfig(head_dim=8)).at(places_BT, 8, torch.float64)]
    options = {"eps": 1e-6, "atol": 1e-8, "rtol": 1e-6}
    assert torch.autograd.gradcheck(lambda x, scale: rms_norm(x, scale, 1e-3), (x, scale), **options)
    assert torch.autograd.gradcheck(lambda x: rms_norm(x, None, 1e-3), (x,), **options)
    assert torch.autograd.gradcheck(relu_squared, (x,), **options)
    assert torch.autograd.gradcheck(lambda x: rotate(x, *turn_TR), (x,), **options)
    assert torch.autograd.gradcheck(lambda x: rotate(x, *turn_BTR), (x,), **options)


def test_sinusoids_of_vaswani() -> None:
    for width in (8, 7):
        table_TD = sinusoids(50, width)
        assert table_TD.shape == (50, width)
        for position, unit in ((0, 0), (1, 1), (49, 4), (13, 6)):
            angle = torch.tensor(position / 10_000 ** ((unit - unit % 2) / width), dtype=torch.float64)
            want = angle.cos() if unit % 2 else angle.sin()
            assert table_TD[position, unit].item() == pytest.approx(want.item(), abs=1e-6)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_without_places_given_a_token_stands_at_its_column(make_model, make_ids, position) -> None:
    model, ids_BT = make_model(position=position), make_ids(2, 20)
    columns_BT = torch.arange(20).repeat(2, 1)
    torch.testing.assert_close(model(ids_BT, positions_BT=columns_BT)[0], model(ids_BT)[0], rtol=1e-5, atol=1e-5)
    moved = model(ids_BT, positions_BT=columns_BT.flip(1))[0]
    assert (moved - model(ids_BT)[0]).abs().max() > 1e-3


def test_rotary_positions_are_relative(make_model, make_ids) -> None:
    """Moving every token by three places changes nothing; that is what makes them rotary."""
    ids_BT, columns_BT = make_ids(2, 20), torch.arange(20).repeat(2, 1)
    for position, relative in (("rotary", True), ("learned", False), ("sinusoidal", False)):
        model = make_model(position=position)
        same = torch.allclose(model(ids_BT)[0], model(ids_BT, positions_BT=columns_BT + 3)[0], rtol=1e-4, atol=1e-4)
        assert same == relative


# --- shapes that cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"d_model": 33, "n_head": 2}, "d_model 33 is not divisible by n_head 2"),
        ({"d_model": 33, "n_head": 2, "head_dim": 0}, "d_model 33 is not divisible by n_head 2"),
        ({"n_head": 6, "n_kv_head": 4}, "n_head 6 is not a multiple of n_kv_head 4"),
        ({"n_head": 2, "n_kv_head": 4, "d_model": 32}, "n_head 2 is not a multiple of n_kv_head 4"),
        ({"head_dim": 5}, "even head_dim x rotary_fraction, got 5"),
        ({"head_dim": 8, "rotary_fraction": 0.4}, "even head_dim x rotary_fraction, got 3"),
        ({"head_dim": 8, "rotary_fraction": 0.1}, "even head_dim x rotary_fraction, got 0"),
        ({"rotary_base": 1.0}, "rotary_base"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"n_layer": -1}, "n_layer"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"family": "bert"}, "family"),
        ({"position": "alibi"}, "position"),
        ({"rotary_scaling": {"method": "yarn", "factor": 1.0, "original_context": 8}}, "factor"),
        ({"rotary_scaling": {"method": "ntk", "factor": 2.0, "original_context": 8}}, "method"),
        ({"rotary_scaling": YARN | {"beta_slow": 0.0}}, "beta_slow"),
        ({"n_layers": 3}, "n_layer"),
    ],
    ids=str,
)
def test_an_impossible_shape_is_named(values, words) -> None:
    with pytest.raises(ConfigError) as caught:
        GPTConfig.parse(values)
    assert words in f"{caught.value} {caught.value.remedy}"


def test_widths_follow_from_others() -> None:
    config = GPTConfig(family="llama", d_model=384, n_head=6)
    assert (config.head_dim, config.n_kv_head, config.d_ff) == (64, 6, 1024)
    assert GPTConfig(family="gpt2", d_model=384, n_head=6).d_ff == 1536
    assert GPTConfig(head_dim=10, n_head=3, d_model=64).head_dim == 10
    assert GPTConfig(vocab_size=65).padded_vocab_size == 128
    assert GPTConfig(vocab_size=65, vocab_multiple=1).padded_vocab_size == 65
    assert GPTConfig.parse(config.model_dump()) == config
