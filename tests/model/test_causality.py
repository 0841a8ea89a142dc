"""No future token, no token of another document and none beyond the window reaches a logit: bit for bit, not nearly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.model import GPT, attention, gpt

CONTEXT = 24
SWITCHES = st.fixed_dictionaries(
    {"family": st.sampled_from(["gpt2", "classic", "llama", "qwen3", "speedrun"])},
    optional={
        "position": st.sampled_from(["learned", "sinusoidal", "rotary"]),
        "rotary_fraction": st.just(0.5),
        "norm": st.sampled_from(["layernorm", "rmsnorm"]),
        "activation": st.sampled_from(["gelu", "gelu_tanh", "swiglu", "relu2"]),
        "n_kv_head": st.sampled_from([1, 2, 4]),
        "qk_norm": st.booleans(),
        "window": st.integers(1, CONTEXT),
        "logit_softcap": st.sampled_from([0.0, 5.0]),
        "tie_embeddings": st.booleans(),
        "scale_embeddings": st.booleans(),
        "norm_embeddings": st.booleans(),
        "dropout": st.just(0.3),  # in `eval` it does nothing
        "n_layer": st.integers(1, 3),
    },
)
LENGTHS = st.integers(1, CONTEXT)
PATHS = st.sampled_from(["explicit", "sdpa"])


@pytest.fixture
def path(monkeypatch):
    """Chooses between our attention and PyTorch's."""
    return lambda name: monkeypatch.setattr(attention, "EXPLICIT_UP_TO", CONTEXT if name == "explicit" else 0)


def changed(ids_BT: torch.Tensor, place: int) -> torch.Tensor:
    other_BT = ids_BT.clone()
    other_BT[:, place] = (other_BT[:, place] + 7) % 53
    return other_BT


def check_causal(model: GPT, ids_BT: torch.Tensor, place: int) -> None:
    """Another token at `place` leaves every earlier logit as it is, and moves its own."""
    with torch.no_grad():
        before_BTV, after_BTV = model(ids_BT)[0], model(changed(ids_BT, place))[0]
    assert torch.equal(before_BTV[:, :place], after_BTV[:, :place])
    assert not torch.equal(before_BTV[:, place], after_BTV[:, place])


def check_causal_gradient(model: GPT, ids_BT: torch.Tensor, place: int) -> None:
    """Logits before `place` have no gradient in what is embedded from `place` on."""
    embedded: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        arguments[0].retain_grad()
        embedded.append(arguments[0])

    handle = model.blocks[0].register_forward_pre_hook(keep)
    model(ids_BT)[0][:, :place].square().sum().backward()
    handle.remove()
    assert embedded[0].grad is not None
    assert embedded[0].grad[:, place:].eq(0).all()
    assert place == 0 or embedded[0].grad[:, :place].ne(0).any()


@given(switches=SWITCHES, length=LENGTHS, place=st.integers(0, CONTEXT - 1), path_name=PATHS)
@settings(max_examples=120, deadline=None)
def test_the_future_is_not_seen(make_model, make_ids, switches, length, place, path_name) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "EXPLICIT_UP_TO", CONTEXT if path_name == "explicit" else 0)
        model, ids_BT = make_model(**switches), make_ids(2, length)
        check_causal(model, ids_BT, place % length)
        check_causal_gradient(model, ids_BT, place % length)


def check_documents(model: GPT, ids_BT: torch.Tensor, documents_BT: torch.Tensor, place: int) -> None:
    """Another token at `place` moves no logit outside its own document."""
    with torch.no_grad():
        before_BTV = model(ids_BT, documents_BT=documents_BT)[0]
        after_BTV = model(changed(ids_BT, place), documents_BT=documents_BT)[0]
    elsewhere_BT = documents_BT != documents_BT[:, place : place + 1]
    elsewhere_BT[:, :place] = True
    assert torch.equal(before_BTV[elsewhere_BT], after_BTV[elsewhere_BT])
    assert not torch.equal(before_BTV[:, place], after_BTV[:, place])


@given(
    switches=SWITCHES,
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    place=st.integers(0, CONTEXT - 1),
    path_name=PATHS,
)
@settings(max_examples=80, deadline=None)
def test_another_document_in_the_row_is_not_seen(make_model, make_ids, switches, lengths, place, path_name) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "EXPLICIT_UP_TO", CONTEXT if path_name == "explicit" else 0)
        length = sum(lengths)
        document_T = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        documents_BT = torch.stack((document_T, document_T + 5)).to(torch.int32)
        check_documents(make_model(**switches), make_ids(2, length), documents_BT, place % length)


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_a_document_in_a_row_is_as_it_is_alone(make_model, make_ids, family) -> None:
    """With places that begin anew: packing documents into a row changes nothing for any of them."""
    model, lengths = make_model(family=family), (5, 11, 8)
    ids_BT = make_ids(2, sum(lengths))
    document_T = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    position_T = torch.cat([torch.arange(length) for length in lengths])
    with torch.no_grad():
        packed_BTV = model(ids_BT, documents_BT=document_T.repeat(2, 1), positions_BT=position_T.repeat(2, 1))[0]
        alone = [model(part)[0] for part in ids_BT.split(lengths, dim=1)]
    torch.testing.assert_close(packed_BTV, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path_name", ["explicit", "sdpa"])
@pytest.mark.parametrize("window", [1, 2, 5, 23])
def test_a_token_beyond_the_window_is_not_seen(make_model, make_ids, path, window, path_name) -> None:
    path(path_name)
    model, ids_BT = make_model(window=window, n_layer=1), make_ids(2, CONTEXT)
    for place in (0, 3, CONTEXT - window - 1):
        with torch.no_grad():
            before_BTV, after_BTV = model(ids_BT)[0], model(changed(ids_BT, place))[0]
        same_T = (before_BTV == after_BTV).all(dim=-1).all(dim=0)
        inside = range(place, min(place + window, CONTEXT))
        assert same_T.tolist() == [time not in inside for time in range(CONTEXT)]


@pytest.mark.parametrize("window", [2, 5])
def test_layers_reach_one_window_further_each(make_model, make_ids, window) -> None:
    model, ids_BT = make_model(window=window, n_layer=3), make_ids(1, CONTEXT)
    with torch.no_grad():
        same_T = (model(ids_BT)[0] == model(changed(ids_BT, 2))[0]).all(dim=-1)[0]
    reach = 3 * (window - 1)
    assert same_T.nonzero().flatten().tolist() == [time for time in range(CONTEXT) if not 2 <= time <= 2 + reach]


def test_a_window_as_long_as_the_row_is_none(make_model, make_ids) -> None:
    ids_BT = make_ids(2, CONTEXT)
    assert torch.equal(make_model(window=CONTEXT)(ids_BT)[0], make_model(window=0)(ids_BT)[0])


@pytest.mark.parametrize("path_name", ["explicit", "sdpa"])
@pytest.mark.parametrize("broken", ["no mask", "one too many", "other documents"])
def test_a_leak_is_seen(make_model, make_ids, monkeypatch, path, broken, path_name) -> None:
    path(path_name)
    model, ids_BT = make_model(), make_ids(2, CONTEXT)
    documents_BT = (torch.arange(CONTEXT) >= 9).long().repeat(2, 1)
    original = attention.make_mask
    if broken == "no mask":
        monkeypatch.setattr(gpt.GPT, "_mask", lambda *_: None)
    elif broken == "one too many":

        def shifted(n_query: int, n_key: int, **options: Any) -> attention.Mask:
            mask = original(n_query, n_key, **options)
            ahead = torch.ones_like(mask.bias, dtype=torch.bool).triu(2)
            return attention.Mask(torch.zeros_like(mask.bias).masked_fill(ahead, float("-inf")), causal=False)

        monkeypatch.setattr(gpt, "make_mask", shifted)
    else:
        monkeypatch.setattr(
            gpt, "make_mask", lambda *args, **options: original(*args, **options | {"documents_BT": None})
        )
    checks = {
        "no mask": (check_causal, check_causal_gradient),
        "one too many": (check_causal, check_causal_gradient),
        "other documents": (lambda model, ids, place: check_documents(model, ids, documents_BT, place),),
    }
    for check in checks[broken]:
        with pytest.raises(AssertionError):
            check(model, ids_BT, 7)
