"""What holds for the twin whatever its weights: causality, shares, masks, memory, adapters, and the training loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.reference import lora
from groundzero.reference.activations import softmax
from groundzero.reference.attention import Attention, KVCache, causal_mask, scaled_dot_product_attention
from groundzero.reference.config import GPTConfig
from groundzero.reference.layers import Dropout, Linear
from groundzero.reference.model import GPT, cross_entropy
from groundzero.reference.module import Parameter
from groundzero.reference.optimizer import SGD
from groundzero.reference.roles import OptimizerConfig, Optimizers
from groundzero.reference.training import DivergedError, evaluate, fit
from tests.reference.twins import CASES, make_twins

FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]


# --- softmax and the loss at extremes --------------------------------------------------------------------------------


@given(scores=st.lists(st.floats(-30, 30), min_size=1, max_size=8), shift=st.sampled_from([0.0, 1e4, -1e4]))
def test_softmax_ignores_a_shift_and_never_overflows(scores, shift):
    shares = softmax(np.array(scores) + shift)
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(shares, softmax(np.array(scores)), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_that_sees_nothing_takes_nothing(dtype):
    shares = softmax(np.array([[-np.inf, -np.inf], [0.0, -np.inf]], dtype=dtype))
    assert shares.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert shares.dtype == dtype


def test_the_loss_of_sure_and_of_absurd_scores_is_finite():
    """exp(1000) is beyond every float; the loss is 1000 nats where the truth was given e^-1000."""
    logits_BTV = np.array([[[1000.0, 0.0], [1000.0, 0.0]]])
    assert cross_entropy(logits_BTV, np.array([[0, -1]]))[0] == 0.0
    loss, gradient = cross_entropy(logits_BTV, np.array([[1, 1]]))
    assert loss == 1000.0
    assert gradient.tolist() == [[[0.5, -0.5], [0.5, -0.5]]]


def test_nothing_to_predict_is_no_loss():
    loss, gradient = cross_entropy(np.ones((2, 3, 4)), np.full((2, 3), -1))
    assert loss == 0.0
    assert not gradient.any()


# --- who sees whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [0, 1, 3])
def test_masks_as_they_are_told(window):
    mask = causal_mask(3, 5, window=window)
    for t in range(3):
        for s in range(5):
            place = 2 + t
            assert mask[t, s] == (s <= place and (not window or s > place - window))


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name].get("shape") != (1, 1)])
def test_no_future_token_changes_a_past_score(case):
    """Bit for bit, at every place."""
    twins = make_twins(np.float32, **CASES[case])
    before = twins.numpy(twins.ids_BT, documents_BT=twins.documents_BT)
    for place in range(1, twins.ids_BT.shape[1]):
        changed = twins.ids_BT.copy()
        changed[:, place] = (changed[:, place] + 1) % 61
        after = twins.numpy(changed, documents_BT=twins.documents_BT)
        assert np.array_equal(after[:, :place], before[:, :place])
        assert not np.array_equal(after[:, place], before[:, place])


def test_no_document_changes_another():
    twins = make_twins(np.float64, family="llama", documents=False, shape=(1, 8))
    documents_BT = np.array([[0, 0, 0, 1, 1, 1, 1, 1]])
    before = twins.numpy(twins.ids_BT, documents_BT=documents_BT)
    changed = twins.ids_BT.copy()
    changed[:, :3] = 0
    assert np.array_equal(twins.numpy(changed, documents_BT=documents_BT)[:, 3:], before[:, 3:])


def test_shares_of_attention_sum_to_one_and_hidden_keys_have_none():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, 6, 4)) for _ in range(3))
    visible = causal_mask(6, 6)
    _, weights = scaled_dot_product_attention(q, k, v, visible)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-12)
    assert not weights[..., ~visible].any()


def test_a_cache_counts_what_it_holds_and_each_layer_has_its_own():
    cache, attention = KVCache(2), Attention(4, 2, rng=np.random.default_rng(0))
    assert cache.length == 0
    attention(np.ones((1, 3, 4)), cache=cache, layer=0)
    attention(np.ones((1, 2, 4)), cache=cache, layer=0)
    assert cache.length == 5
    assert cache.keys[1] is None


@pytest.mark.parametrize(("position", "fits"), [("learned", False), ("sinusoidal", False), ("rotary", True)])
def test_a_table_of_positions_has_an_end(position, fits):
    gpt = GPT(GPTConfig.of(vocab_size=5, context=4, n_layer=1, n_head=1, d_model=4, position=position))
    ids_BT = np.zeros((1, 5), dtype=np.int64)
    if fits:
        assert gpt(ids_BT).shape == (1, 5, 5)
        return
    with pytest.raises(ValueError, match="place 4 is beyond the 4 places"):
        gpt(ids_BT)


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_in_training_and_everything_otherwise():
    layer = Dropout(0.25, np.random.default_rng(0))
    x = np.ones(100_000)
    assert layer(x) is x
    layer.train()
    y = layer(x)
    assert np.unique(y).tolist() == [0.0, 1.0 / 0.75]
    assert y.mean() == pytest.approx(1.0, abs=0.01)


def test_dropout_drops_in_every_place_the_config_promises():
    gpt = GPT(GPTConfig.of(family="gpt2", vocab_size=9, context=8, n_layer=2, n_head=2, d_model=8, dropout=0.5))
    gpt.train()
    gpt(np.arange(8)[None])
    dropped = {name for name, part in gpt.modules() if isinstance(part, Dropout) and part.memory is not None}
    places = {"attention.weight_dropout", "attention_dropout", "feed_forward_dropout"}
    assert dropped == {"embedding_dropout"} | {f"blocks.{layer}.{place}" for layer in range(2) for place in places}
    gpt.train(False)
    ids_BT = np.arange(8)[None]
    assert np.array_equal(gpt(ids_BT), gpt(ids_BT))


# --- modules ---------------------------------------------------------------------------------------------------------


def test_a_watcher_sees_every_module_and_then_no_more():
    gpt = GPT(GPTConfig.of(family="llama", vocab_size=9, context=8, n_layer=1, n_head=2, d_model=8))
    seen: list[str] = []
    gpt.watch(lambda name, _: seen.append(name))
    gpt(np.zeros((1, 2), dtype=np.int64))
    assert {"", "embedding", "blocks", "blocks.0", "blocks.0.attention.query", "final_norm"} <= set(seen)
    gpt.watch(None)
    seen.clear()
    gpt(np.zeros((1, 2), dtype=np.int64))
    assert not seen


def test_gradients_add_up_until_they_are_forgotten():
    twins = make_twins(np.float64, family="gpt2")
    gpt = twins.numpy
    gpt.loss(twins.ids_BT, twins.targets_BT, backward=True)
    once = {name: parameter.gradient.copy() for name, parameter in gpt.parameters().items()}
    gpt.loss(twins.ids_BT, twins.targets_BT, backward=True)
    for name, parameter in gpt.parameters().items():
        np.testing.assert_allclose(parameter.gradient, 2 * once[name], rtol=1e-12, atol=1e-18)
    gpt.zero_gradients()
    assert not any(parameter.gradient.any() for parameter in gpt.parameters().values())


# --- adapters --------------------------------------------------------------------------------------------------------


def adapted_model(family: str = "qwen3") -> tuple[GPT, list[lora.LoRALinear]]:
    gpt = make_twins(np.float64, family=family).numpy
    layers = lora.add_lora(gpt, rank=3, alpha=6.0, seed=1)
    return gpt, layers


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_changes_nothing_at_first_and_no_name(family):
    twins = make_twins(np.float64, family=family)
    plain = twins.numpy(twins.ids_BT)
    names = set(twins.numpy.parameters())
    layers = lora.add_lora(twins.numpy, rank=2, alpha=4.0)
    per_block = 7 if twins.numpy.config.activation == "swiglu" else 6
    assert len(layers) == per_block * 2
    assert np.array_equal(twins.numpy(twins.ids_BT), plain)
    assert set(twins.numpy.parameters()) - names == set(lora.adapter_parameters(twins.numpy))
    assert names <= set(twins.numpy.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_and_unmerged(family):
    gpt, layers = adapted_model(family)
    rng = np.random.default_rng(2)
    for parameter in lora.adapter_parameters(gpt).values():
        parameter.value[...] = rng.standard_normal(parameter.shape)
    ids_BT = np.arange(10)[None]
    weights = [layer.weight.value.copy() for layer in layers]
    with_adapter = gpt(ids_BT)
    for _ in range(2):  # a second time changes nothing
        for layer in layers:
            layer.merge()
    assert all(not np.array_equal(layer.weight.value, kept) for layer, kept in zip(layers, weights, strict=True))
    np.testing.assert_allclose(gpt(ids_BT), with_adapter, rtol=1e-9, atol=1e-9)
    for _ in range(2):
        for layer in layers:
            layer.unmerge()
    assert all(np.array_equal(layer.weight.value, kept) for layer, kept in zip(layers, weights, strict=True))
    assert np.array_equal(gpt(ids_BT), with_adapter)


def test_a_merged_adapter_does_not_learn():
    _, layers = adapted_model()
    layers[0](np.ones((2, layers[0].weight.shape[1])))
    layers[0].merge()
    with pytest.raises(AssertionError, match="unmerge it first"):
        layers[0].backward(np.ones((2, layers[0].weight.shape[0])))


def test_an_adapter_moves_to_another_model():
    one, _ = adapted_model()
    other, _ = adapted_model()
    for parameter in lora.adapter_parameters(one).values():
        parameter.value += 0.1
    arrays = {name: parameter.value for name, parameter in lora.adapter_parameters(one).items()}
    lora.load_adapter(other, arrays)
    assert np.array_equal(other(np.arange(10)[None]), one(np.arange(10)[None]))
    with pytest.raises(ValueError, match=r"the adapter does not fit this model: blocks\.0\.attention\.key\.lora_a"):
        lora.load_adapter(other, {k: v for k, v in arrays.items() if k != "blocks.0.attention.key.lora_a"})
    with pytest.raises(ValueError, match=r"lora_a is \(1, 1\) in the adapter"):
        lora.load_adapter(other, arrays | {"blocks.0.attention.key.lora_a": np.ones((1, 1))})


def test_adapters_that_cannot_be():
    gpt = make_twins(np.float64, family="qwen3").numpy
    with pytest.raises(ValueError, match="no linear layer called nothing or nowhere"):
        lora.add_lora(gpt, targets=("nothing", "nowhere"))
    with pytest.raises(ValueError, match="a rank of at least 1, not 0"):
        lora.LoRALinear(Linear(2, 2, rng=np.random.default_rng(0)), 0, 1.0, np.random.default_rng(0))


# --- the loop --------------------------------------------------------------------------------------------------------


def batch_of(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step)
    ids_BT = rng.integers(0, 61, (2, 9))
    return ids_BT[:, :-1], ids_BT[:, 1:]


def trained(steps: list[range], dropout: float = 0.0) -> dict[str, np.ndarray]:
    """Weights after training in so many calls of `fit`, the optimiser kept."""
    gpt = make_twins(np.float64, family="gpt2", dropout=dropout).numpy
    optimizers = Optimizers(gpt.parameters(), OptimizerConfig())
    for part in steps:
        for _ in fit(gpt, optimizers, batch_of, lambda step: 1.0 / (1 + step), part, seed=3):
            pass
    assert not gpt.training
    return {name: parameter.value.copy() for name, parameter in gpt.parameters().items()}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_interrupted_and_resumed_is_uninterrupted(dropout):
    whole, parts = trained([range(6)], dropout), trained([range(2), range(2, 6)], dropout)
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_dropout_differs_from_step_to_step_and_is_the_steps_own():
    gpt = make_twins(np.float64, family="gpt2", dropout=0.3).numpy
    optimizers = Optimizers(gpt.parameters(), OptimizerConfig())
    masks = [gpt.embedding_dropout.memory for _ in fit(gpt, optimizers, batch_of, lambda _: 1.0, [0, 1, 0])]
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


def test_a_step_clips_and_reports():
    gpt = make_twins(np.float64, family="llama").numpy
    before = {name: parameter.value.copy() for name, parameter in gpt.parameters().items()}

    class Plain(Optimizers):
        """Gradient descent at a rate of one: the change is the gradient."""

        def __init__(self) -> None:
            self.parameters, self.optimizers = gpt.parameters(), [SGD(gpt.parameters(), 1.0)]
            self._peaks = [1.0]

    (step,) = fit(gpt, Plain(), batch_of, lambda step: 0.5, [4], clip=0.01)
    assert (step.number, step.tokens) == (5, 16)
    assert step.gradient_length > 0.01
    change = math.sqrt(sum(((gpt.parameters()[name].value - kept) ** 2).sum() for name, kept in before.items()))
    assert change == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_what_is_not_given_to_the_optimiser_stays():
    gpt, layers = adapted_model()
    frozen = {name: p.value.copy() for name, p in gpt.parameters().items() if "lora" not in name}
    optimizers = Optimizers(lora.adapter_parameters(gpt), OptimizerConfig(optimizer="adamw"))
    before = evaluate(gpt, [batch_of(0)]).loss
    for _ in fit(gpt, optimizers, lambda _: batch_of(0), lambda _: 10.0, range(10)):
        pass
    assert evaluate(gpt, [batch_of(0)]).loss < before
    assert all(np.array_equal(gpt.parameters()[name].value, kept) for name, kept in frozen.items())
    assert all(layer.lora_b.value.any() for layer in layers)


def test_a_loss_that_is_no_number_stops_before_the_weights():
    gpt = make_twins(np.float64, family="llama").numpy
    gpt.parameters()["final_norm.weight"].value[0] = np.nan
    kept = gpt.parameters()["embedding.weight"].value.copy()
    optimizers = Optimizers(gpt.parameters(), OptimizerConfig())
    with pytest.raises(DivergedError, match="step 1 gave a loss of nan"):
        list(fit(gpt, optimizers, batch_of, lambda _: 1.0, range(3)))
    assert np.array_equal(gpt.parameters()["embedding.weight"].value, kept)
    assert not gpt.training


@settings(deadline=None, max_examples=20)
@given(cut=st.integers(1, 7))
def test_an_evaluation_weighs_every_target_alike(cut):
    """However the places are dealt out to batches, and whatever does not count."""
    twins = make_twins(np.float64, family="qwen3", shape=(1, 8))
    gpt, ids_BT, targets_BT = twins.numpy, twins.ids_BT, twins.targets_BT.copy()
    first, rest = targets_BT.copy(), targets_BT.copy()
    first[:, cut:], rest[:, :cut] = -1, -1
    whole = evaluate(gpt, [(ids_BT, targets_BT)])
    parts = evaluate(gpt, [(ids_BT, first), (ids_BT, rest)])
    assert whole.loss == pytest.approx(gpt.loss(ids_BT, targets_BT), rel=1e-12)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert (parts.accuracy, parts.tokens) == (whole.accuracy, whole.tokens)


def test_an_evaluation_counts_first_choices():
    gpt = make_twins(np.float64, family="qwen3").numpy
    ids_BT = np.arange(8)[None]
    best_BT = gpt(ids_BT).argmax(-1)
    other_BT = np.where(np.arange(8) < 2, best_BT, (best_BT + 1) % 61)
    assert evaluate(gpt, [(ids_BT, best_BT)]).accuracy == 1.0
    assert evaluate(gpt, [(ids_BT, other_BT)]).accuracy == 0.25
    assert evaluate(gpt, []).tokens == 0


def test_parameters_are_named_once_in_the_order_they_were_made():
    layer = Linear(2, 3, rng=np.random.default_rng(0))
    assert list(layer.parameters()) == ["weight", "bias"]
    assert isinstance(layer.parameters()["weight"], Parameter)
