"""The attention one can read equals PyTorch's: outputs and gradients, over every shape and mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundzero.model import attention
from groundzero.model.attention import explicit_attention, make_mask

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
SHAPES = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "n_kv_head": st.sampled_from([1, 2, 3]),
        "group": st.sampled_from([1, 2, 4]),
        "n_query": st.integers(1, 9),
        "n_before": st.integers(0, 5),
        "head_dim": st.sampled_from([1, 4, 7]),
        "seed": st.integers(0, 1000),
    }
)


def random_parts(
    batch: int, n_kv_head: int, group: int, n_query: int, n_before: int, head_dim: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q_BHTE = torch.randn(batch, n_kv_head * group, n_query, head_dim, generator=generator)
    k_BKSE, v_BKSE = torch.randn(2, batch, n_kv_head, n_query + n_before, head_dim, generator=generator)
    return q_BHTE.requires_grad_(), k_BKSE.requires_grad_(), v_BKSE.requires_grad_()


def check_paths_agree(parts: tuple[Tensor, Tensor, Tensor], bias: Tensor | None) -> None:
    """Outputs, and the gradients of queries, keys and values."""
    ours = explicit_attention(*parts, bias)[0]
    theirs = F.scaled_dot_product_attention(*parts, bias, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, **CLOSE)
    upstream = torch.cos(torch.arange(ours.numel(), dtype=ours.dtype)).view_as(ours)
    for got, want in zip(
        torch.autograd.grad(ours, parts, upstream), torch.autograd.grad(theirs, parts, upstream), strict=True
    ):
        torch.testing.assert_close(got, want, **CLOSE)


@given(shape=SHAPES)
@settings(max_examples=60, deadline=None)
def test_every_key_visible(shape) -> None:
    check_paths_agree(random_parts(**shape), None)


@given(shape=SHAPES, window=st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_one_mask_for_all_rows(shape, window) -> None:
    mask = make_mask(shape["n_query"], shape["n_query"] + shape["n_before"], window=window)
    check_paths_agree(random_parts(**shape), mask.bias)


@given(shape=SHAPES, window=st.integers(0, 6), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_mask_per_row(shape, window, data) -> None:
    """Rows of a cache stand at different places; rows of a batch hold different documents."""
    n_query, n_key = shape["n_query"], shape["n_query"] + shape["n_before"]
    starts = data.draw(st.lists(st.integers(0, shape["n_before"]), min_size=shape["batch"], max_size=shape["batch"]))
    positions_BT = torch.tensor(starts)[:, None] + torch.arange(n_query)
    mask = make_mask(n_query, n_key, window=window, positions_BT=positions_BT)
    check_paths_agree(random_parts(**shape), mask.bias)
    documents_BT = (
        torch.randint(3, (shape["batch"], n_query), generator=torch.Generator().manual_seed(shape["seed"]))
        .sort(dim=1)
        .values
    )
    mask = make_mask(n_query, n_query, window=window, documents_BT=documents_BT)
    check_paths_agree(random_parts(**shape | {"n_before": 0}), mask.bias)


@given(n_query=st.integers(1, 12), n_before=st.integers(0, 12), window=st.integers(0, 14), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_mask_says_what_the_words_say(n_query, n_before, window, data) -> None:
    """Against a loop: itself and what came before, within the window and its own document."""
    n_key = n_query + n_before
    documents = data.draw(st.lists(st.integers(0, 2), min_size=n_query, max_size=n_query)) if not n_before else None
    documents_BT = None if documents is None else torch.tensor([documents])
    mask = make_mask(n_query, n_key, window=window, documents_BT=documents_BT)
    want = torch.full((n_query, n_key), float("-inf"))
    for query in range(n_query):
        for key in range(n_key):
            place = n_before + query
            near = not window or key > place - window
            together = documents is None or documents[query] == documents[key]
            if key <= place and near and together:
                want[query, key] = 0.0
    assert torch.equal(mask.bias.view(n_query, n_key), want)
    assert mask.causal == (n_before == 0 and not window and documents is None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 24), (3, 1), (2, 17)], ids=str)
@pytest.mark.parametrize(
    "switches",
    [
        {"family": "gpt2"},
        {"family": "classic", "n_head": 1},
        {"family": "llama", "n_kv_head": 2},
        {"family": "qwen3", "n_kv_head": 1, "window": 4},
        {"family": "speedrun", "head_dim": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("packed", [False, True])
def test_both_paths_give_one_model(make_model, make_ids, monkeypatch, shape, switches, packed) -> None:
    """Loss and the gradient of every parameter."""
    model, ids_BT = make_model(**switches), make_ids(*shape)
    documents_BT = (torch.arange(shape[1]) // 5).repeat(shape[0], 1) if packed else None
    losses, gradients = [], []
    for limit in (attention.EXPLICIT_UP_TO, 0):
        monkeypatch.setattr(attention, "EXPLICIT_UP_TO", limit)
        losses.append(model.loss(ids_BT, ids_BT.roll(-1), documents_BT=documents_BT))
        gradients.append(torch.autograd.grad(losses[-1], list(model.parameters()), allow_unused=True))
    torch.testing.assert_close(losses[0], losses[1], **CLOSE)
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, **CLOSE)


def test_long_rows_take_pytorchs_path(make_model, make_ids, monkeypatch) -> None:
    """What makes the comparison above one of two paths."""
    taken = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.F, "scaled_dot_product_attention", lambda *a, **k: taken.append(k["is_causal"]) or original(*a, **k)
    )
    model, ids_BT = make_model(), make_ids(1, 9)
    model(ids_BT)
    assert taken == []
    monkeypatch.setattr(attention, "EXPLICIT_UP_TO", 8)
    model(ids_BT)
    assert taken == [True] * model.config.n_layer  # the fused causal kernel
    model(ids_BT, documents_BT=torch.zeros(1, 9, dtype=torch.int64))
    assert taken[model.config.n_layer :] == [False] * model.config.n_layer


@given(
    switches=st.fixed_dictionaries(
        {
            "family": st.sampled_from(["gpt2", "classic", "llama", "qwen3", "speedrun"]),
            "n_kv_head": st.sampled_from([1, 2, 4]),
            "window": st.integers(0, 9),
        }
    ),
    length=st.integers(1, 24),
)
@settings(max_examples=40, deadline=None)
def test_weights_share_out_one_and_give_the_future_nothing(make_model, make_ids, switches, length) -> None:
    model, ids_BT = make_model(**switches), make_ids(2, length)
    weights = model.attention_weights(ids_BT)
    assert len(weights) == model.config.n_layer
    for weights_BHTS in weights:
        assert weights_BHTS.shape == (2, 4, length, length)
        torch.testing.assert_close(weights_BHTS.sum(dim=-1), torch.ones(2, 4, length))
        hidden_TS = make_mask(length, length, window=switches["window"]).bias < 0
        assert weights_BHTS[..., hidden_TS].eq(0).all()
        assert weights_BHTS[..., ~hidden_TS].gt(0).all()


def test_asking_for_weights_changes_nothing(make_model, make_ids, monkeypatch) -> None:
    model, ids_BT = make_model(n_kv_head=2, window=7), make_ids(2, 20)
    gathered: list[Tensor] = []
    with torch.no_grad():
        plain = model.hidden(ids_BT)
        assert torch.equal(model.hidden(ids_BT, weights_out=gathered), plain)
        monkeypatch.setattr(attention, "EXPLICIT_UP_TO", 0)
        torch.testing.assert_close(model.hidden(ids_BT), plain, **CLOSE)
        for got, want in zip(model.attention_weights(ids_BT), gathered, strict=True):
            torch.testing.assert_close(got, want, **CLOSE)


def test_weights_mix_the_values(make_model) -> None:
    """What `attention_weights` shows is what the output was made of."""
    q_BHTE, k_BKSE, v_BKSE = random_parts(2, 2, 2, 5, 0, 4, 0)
    out_BHTE, weights_BHTS = explicit_attention(q_BHTE, k_BKSE, v_BKSE, make_mask(5, 5).bias)
    want = weights_BHTS @ v_BKSE.repeat_interleave(2, dim=1)
    torch.testing.assert_close(out_BHTE, want, **CLOSE)


def test_dropout_of_weights_keeps_their_mean() -> None:
    parts = random_parts(1, 2, 2, 6, 0, 4, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        want = explicit_attention(*parts, None)[0]
        drawn = torch.stack([explicit_attention(*parts, None, dropout=0.25)[0] for _ in range(4000)])
    assert (drawn[0] != want).any()
    torch.testing.assert_close(drawn.mean(dim=0), want, rtol=0, atol=0.06)  # five standard errors


@pytest.mark.parametrize("broken", ["scale", "grouping", "mask"])
def test_a_broken_path_is_seen(broken) -> None:
    parts = random_parts(2, 2, 2, 6, 0, 4, 0)
    bias = make_mask(6, 6).bias
    original: Any = explicit_attention

    def wrong(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, **options: Any) -> tuple[Tensor, Tensor]:
        if broken == "scale":
            return original(q * 1.01, k, v, bias, **options)
        if broken == "grouping":
            out, weights = original(q[:, [0, 2, 1, 3]], k, v, bias, **options)
            return out[:, [0, 2, 1, 3]], weights
        return original(q, k, v, None, **options)

    check_paths_agree(parts, bias)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError):
        patch.setitem(globals(), "explicit_attention", wrong)
        check_paths_agree(parts, bias)
