"""The twin and PyTorch agree on every family; a fault in either is found where it is, to the layer and the number."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from groundzero.errors import FormatError, InputError
from groundzero.evaluate import twin_diff
from groundzero.evaluate.twin_diff import TOLERANCES, TwinDiff, compare, diff_run, difference, load_twin
from groundzero.evaluate.twin_watch import axes_of, places, record_pytorch, record_twin
from groundzero.generate import Engine
from groundzero.model import attention, gpt, layers
from groundzero.reference import model as reference
from groundzero.reference.attention import causal_mask

FAMILIES = ("gpt2", "classic", "llama", "qwen3", "speedrun")
IDS = [70, 66, 71, 80, 66, 75, 90, 64]
SWITCHES: list[dict[str, Any]] = [
    {"family": "qwen3", "n_kv_head": 2},
    {"family": "gpt2", "n_kv_head": 1, "qk_norm": True},
    {"family": "llama", "window": 3, "rotary_fraction": 0.5, "attention_bias": True},
    {"family": "qwen3", "position": "learned", "tie_embeddings": False, "logit_softcap": 4.0},
    {"family": "gpt2", "norm_embeddings": True, "activation": "swiglu", "n_layer": 1},
    {"family": "speedrun", "norm_affine": True, "head_dim": 10, "dropout": 0.2},
]


def check(twin: reference.GPT, engine: Engine, **options: Any) -> TwinDiff:
    return compare(twin, engine, IDS, tolerance=1e-4, tokens=6, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees(make_run, family, dtype) -> None:
    found = diff_run(make_run(family=family).path, "the quick brown", dtype=dtype)
    assert found.ok
    assert found.first is None
    assert found.next_tokens.verdict == "same"
    assert found.next_tokens.numpy == found.next_tokens.pytorch != ()
    assert found.loss[0] == pytest.approx(found.loss[1], rel=TOLERANCES[dtype])
    assert max(layer.relative for layer in found.layers) < TOLERANCES[dtype] / 10
    assert [layer.name for layer in found.layers][:2] == ["embedding", "blocks.0.attention_norm"]
    assert found.family == family
    assert found.step == 7
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_agrees(make_run, switches) -> None:
    found = diff_run(make_run(**switches).path, "fox jumps over", dtype="float64")
    assert found.ok
    assert {layer.name for layer in found.layers} >= {"blocks.0.attention.weights", "blocks.0.feed_forward.hidden"}


def test_places_are_in_the_order_of_computation_and_all_are_seen(pair) -> None:
    twin, engine = pair()
    names = places(engine.model.config)
    ours, theirs = record_twin(twin, IDS), record_pytorch(engine.model, IDS)
    assert set(names) <= ours.keys() & theirs.keys()
    assert len(set(names)) == len(names)
    for name in names:
        assert ours[name].shape == theirs[name].shape
        assert ours[name].ndim == len(axes_of(name))
    assert not {name for name in names if name.endswith("_ready")} & set(places(pair(family="classic")[1].model.config))


def test_looking_leaves_nothing_behind(pair) -> None:
    twin, engine = pair()
    before = engine.model(torch.tensor([IDS]))[0]
    check(twin, engine)
    assert torch.equal(engine.model(torch.tensor([IDS]))[0], before)
    for module in engine.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "_mix" not in vars(module)
    for _, module in twin.modules():
        assert module.watcher is None
        assert "forward" not in vars(module)


# Which place a parameter decides first, and which axis of it names the unit.
DECIDES = {
    "embedding.weight": "embedding",
    "position.weight": "embedding",
    "attention_norm.weight": "attention_norm",
    "attention_norm.bias": "attention_norm",
    "attention.query.weight": "attention.query",
    "attention.query.bias": "attention.query",
    "attention.key.weight": "attention.key",
    "attention.key.bias": "attention.key",
    "attention.value.weight": "attention.value",
    "attention.value.bias": "attention.value",
    "attention.query_norm": "attention.query_ready",
    "attention.key_norm": "attention.key_ready",
    "attention.out.weight": "attention.out",
    "attention.out.bias": "attention.out",
    "feed_forward_norm.weight": "feed_forward_norm",
    "feed_forward_norm.bias": "feed_forward_norm",
    "feed_forward.gate.weight": "feed_forward.gate",
    "feed_forward.up.weight": "feed_forward.up",
    "feed_forward.up.bias": "feed_forward.up",
    "feed_forward.down.weight": "feed_forward.down",
    "feed_forward.down.bias": "feed_forward.down",
    "final_norm.weight": "final_norm",
    "final_norm.bias": "final_norm",
    "head.weight": "logits",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_changed_weight_is_located_exactly(pair, family) -> None:
    """Every array of the second block, and those outside: name, row and column, layer and unit."""
    twin, engine = pair(family=family)
    tied = engine.model.config.tie_embeddings
    tried = set()
    for name, parameter in engine.model.named_parameters():
        if name.startswith("blocks.0."):
            continue
        kind = name.removeprefix("blocks.1.")
        index = {"embedding.weight": (IDS[3], 5), "position.weight": (3, 5)}.get(kind, (5, 2))[: parameter.dim()]
        with torch.no_grad():
            kept = parameter[index].clone()
            parameter[index] += 0.7
            found = check(twin, engine)
            parameter[index] = kept
        place = name.replace(kind, DECIDES[kind])
        assert [apart.name for apart in found.parameters_apart] == [name]
        assert found.parameters_apart[0].absolute == pytest.approx(0.7, rel=1e-5)
        assert tuple(found.parameters_apart[0].first.at.values()) == index
        assert not found.ok
        assert found.first.name == place
        if place != "embedding" or not engine.model.config.norm_embeddings:  # which changes every unit
            assert found.first.first.at["unit"] == 5
        token = 3 if kind in ("embedding.weight", "position.weight") else 0
        if kind == "feed_forward.down.weight":  # where ReLU lets the unit through for the first time
            token = int(np.argmax(np.abs(record_twin(twin, IDS)["blocks.1.feed_forward.hidden"][:, 2]) > 1e-3))
        assert found.first.first.at["token"] == token
        assert found.first.first.numpy != found.first.first.pytorch
        tried.add(kind)
    assert check(twin, engine).ok
    assert tried >= {"embedding.weight", "attention.query.weight", "feed_forward.down.weight"} | (
        set() if tied else {"head.weight"}
    )


def broken_rotation(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    rotate = attention.rotate
    patch.setattr(attention, "rotate", lambda x, cos, sin: rotate(x, cos, -sin))


def broken_scale(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    explicit = attention.explicit_attention
    patch.setattr(attention, "explicit_attention", lambda q, *rest, **options: explicit(q * 1.5, *rest, **options))


def broken_mask(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    make = gpt.make_mask

    def shifted(n_query: int, n_key: int, **options: Any) -> attention.Mask:
        mask = make(n_query, n_key, **options)
        ahead = torch.ones_like(mask.bias, dtype=torch.bool).triu(2)
        return attention.Mask(torch.zeros_like(mask.bias).masked_fill(ahead, -math.inf), causal=False)

    patch.setattr(gpt, "make_mask", shifted)


def broken_residual(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    block = engine.model.blocks[1]
    patch.setattr(block, "_drop", lambda x: 0.5 * x)


def broken_bend(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    patch.setattr(layers.F, "silu", torch.nn.functional.gelu)


def broken_norm(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    twin.blocks[1].feed_forward_norm.eps = 0.05


def broken_loss(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    loss = gpt.cross_entropy
    patch.setattr(gpt, "cross_entropy", lambda logits, targets: loss(logits, targets.roll(1)))


def broken_twin_mask(patch: pytest.MonkeyPatch, twin: reference.GPT, engine: Engine) -> None:
    patch.setattr(reference, "causal_mask", lambda n, m, **options: causal_mask(n, m, window=2))


@pytest.mark.parametrize(
    ("broken", "place", "token"),
    [
        (broken_rotation, "blocks.0.attention.query_ready", 1),
        (broken_scale, "blocks.0.attention.weights", 1),
        (broken_mask, "blocks.0.attention.weights", 0),
        (broken_twin_mask, "blocks.0.attention.weights", 2),
        (broken_residual, "blocks.1.after_attention", 0),
        (broken_norm, "blocks.1.feed_forward_norm", 0),
        (broken_bend, "blocks.0.feed_forward.hidden", 0),
        (broken_loss, "loss", None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_broken_layer_is_located_exactly(pair, monkeypatch, broken, place, token) -> None:
    """Weights are equal and one formula is wrong: its own place is the first, at the first token that it touches."""
    twin, engine = pair()
    broken(monkeypatch, twin, engine)
    found = check(twin, engine)
    assert not found.ok
    assert not found.parameters_apart
    assert found.first.name == place
    assert found.first.first.at.get("token") == token
    monkeypatch.undo()
    assert check(*pair()).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_agree_in_every_family(make_run, family, dtype) -> None:
    found = diff_run(make_run(family=family).path, "the quick brown", dtype=dtype, gradients=True, tokens=0)
    assert found.ok
    assert len(found.gradients) == found.parameters
    assert found.gradients[-1].name in {"embedding.weight", "position.weight"}
    assert found.gradients[0].name.startswith(("head", "final_norm", "blocks.1.feed_forward.down"))
    assert max(gradient.relative for gradient in found.gradients) < TOLERANCES[dtype] / 2


def test_a_wrong_backward_is_located_at_the_layer_that_it_belongs_to(pair, monkeypatch) -> None:
    """Forwards all is well; backwards, the first array that is wrong belongs to the part that is."""
    twin, engine = pair(family="qwen3")
    block = twin.blocks[1]
    backward = block.feed_forward_norm.backward
    monkeypatch.setattr(block.feed_forward_norm, "backward", lambda d_y: 1.5 * backward(d_y))
    found = check(twin, engine, gradients=True)
    assert not any(layer.beyond for layer in found.layers)
    assert found.first.name == "blocks.1.attention.out.weight"
    assert not found.ok
    assert [each.name for each in found.gradients if not each.beyond] == [
        "final_norm.weight",
        "blocks.1.feed_forward.down.weight",
        "blocks.1.feed_forward.up.weight",
        "blocks.1.feed_forward.gate.weight",
        "blocks.1.feed_forward_norm.weight",
    ]
    assert not any(parameter.gradient.any() for parameter in twin.parameters().values())
    assert not any(p.requires_grad or p.grad is not None for p in engine.model.parameters())


def test_a_layer_of_another_shape_is_located(pair, monkeypatch) -> None:
    twin, engine = pair()
    monkeypatch.setattr(engine.model, "logits", lambda hidden: hidden @ engine.model.head_weight.T)
    found = check(twin, engine, run="r")
    assert found.first.name == "logits"
    assert found.first.beyond
    assert found.first.first is None
    assert found.first.absolute == math.inf


def test_writing_that_differs_is_an_error_but_for_a_tie(pair, monkeypatch) -> None:
    twin, engine = pair()
    generate = twin.generate

    def stray(ids: list[int], n: int, **options: Any) -> Any:
        written = list(generate(ids, n, **options))
        return iter([*written[:2], (written[2] + 1) % 64 + 1, *written[3:]])

    monkeypatch.setattr(twin, "generate", stray)
    found = check(twin, engine)
    assert found.first is None
    assert found.next_tokens.verdict == "differ"
    assert not found.ok
    twin.embedding.weight.value[...] = 0.0  # all tokens score 0: every choice is a tie
    assert twin_diff._write_on(twin, engine, IDS, 6, 1e-4).verdict == "tie"


def test_weights_that_are_no_numbers_are_shown_and_not_written_with(pair) -> None:
    twin, engine = pair()
    with torch.no_grad():
        engine.model.blocks[1].attention.query.weight[0, 0] = math.nan
    found = check(twin, engine)
    assert found.first.name == "blocks.1.attention.query"
    assert found.next_tokens.numpy == ()
    assert not found.ok


def test_a_full_context_leaves_nothing_to_write_and_a_longer_prompt_is_cut(make_run) -> None:
    found = diff_run(make_run(family="gpt2").path, "the quick brown fox jumps over the lazy dog")
    assert found.ok
    assert len(found.prompt) == 24
    assert found.prompt_tokens_cut == 43 - 24
    assert found.next_tokens.numpy == found.next_tokens.pytorch == ()


def test_an_empty_prompt_is_the_beginning_of_a_text(make_run) -> None:
    found = diff_run(make_run().path, "")
    assert found.prompt == (2,)
    assert found.loss == (0.0, 0.0)
    assert found.ok


def test_the_tolerance_decides(make_run) -> None:
    found = diff_run(make_run().path, "the quick", tolerance=0.0)
    assert not found.ok
    assert found.first.relative > 0
    assert found.tolerance == 0.0


def test_files_that_are_no_weights_of_this_model_are_refused(fresh_run) -> None:
    run = fresh_run()
    config = run.manifest()["config"]["model"]
    with pytest.raises(FormatError, match="NumPy twin cannot read"):
        load_twin(run.checkpoints.path_of(7), {**config, "n_layer": 3})
    next(run.checkpoints.path_of(7).glob("*.safetensors")).write_bytes(b"damaged")
    with pytest.raises(FormatError, match="NumPy twin cannot read"):
        load_twin(run.checkpoints.path_of(7), config)
    with pytest.raises(InputError, match="no checkpoint of step 8"):
        diff_run(run.path, "a", step=8)


NUMBERS = st.floats(-4, 4, width=32)
ARRAYS = arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=NUMBERS)


@given(a=ARRAYS, data=st.data(), tolerance=st.sampled_from([1e-9, 1e-4, 0.1]))
@settings(max_examples=150, deadline=None)
def test_the_first_number_beyond_is_the_first_by_token_and_unit(a, data, tolerance) -> None:
    b = a + data.draw(arrays.arrays(np.float64, a.shape, elements=st.sampled_from([0.0, 0.0, 1e-6, 0.01, 1.0])))
    found = difference("x", a, b, tolerance, ("token", "unit"))
    assert found.absolute == np.abs(a - b).max()
    scale = np.maximum(np.abs(a).max(axis=1, keepdims=True), 1e-3 * np.abs(a).max())
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(a == b, 0.0, np.abs(a - b) / scale)
    beyond = np.argwhere(relative > tolerance)
    assert found.beyond == bool(len(beyond))
    if len(beyond):
        assert tuple(found.first.at.values()) == tuple(beyond[0])
    else:
        assert found.first is None
        assert found.relative <= tolerance


def test_numbers_that_are_none_count_as_apart_unless_both_are() -> None:
    nan, inf = math.nan, math.inf
    a = np.array([[1.0, nan, inf, 2.0]])
    assert not difference("x", a, a.copy(), 1e-4, ("token", "unit")).beyond
    for other in ([1.0, 1.0, inf, 2.0], [nan, nan, inf, 2.0], [1.0, nan, -inf, 2.0], [1.0, nan, inf, nan]):
        found = difference("x", a, np.array([other]), 1e-4, ("token", "unit"))
        assert found.beyond
        assert found.absolute == inf


def test_heads_come_after_tokens_in_the_search() -> None:
    a = np.zeros((2, 3, 4)) + 1.0
    b = a.copy()
    b[0, 2, 1] = 2.0
    b[1, 1, 3] = 2.0
    found = difference("x", a, b, 1e-4, ("head", "token", "unit"))
    assert found.first.at == {"head": 1, "token": 1, "unit": 3}
