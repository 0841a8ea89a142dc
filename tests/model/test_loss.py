"""The fused loss is the plain one: value, both gradients, soft cap, ignored targets, padding, chunks and precisions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundzero.model import loss as loss_module
from groundzero.model.loss import cross_entropy, linear_cross_entropy, score_targets, soft_cap

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
CASES = st.fixed_dictionaries(
    {
        "n_token": st.integers(1, 40),
        "d_model": st.sampled_from([1, 5, 16]),
        "vocab_size": st.integers(1, 30),
        "n_padding": st.sampled_from([0, 1, 7]),
        "softcap": st.sampled_from([0.0, 0.5, 15.0]),
        "ignored": st.sampled_from([0.0, 0.4, 1.0]),
        "spread": st.sampled_from([0.1, 1.0, 8.0]),
        "seed": st.integers(0, 1000),
    }
)


def random_case(
    n_token: int,
    d_model: int,
    vocab_size: int,
    n_padding: int,
    softcap: float,
    ignored: float,
    spread: float,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    hidden_ND = (torch.randn(n_token, d_model, generator=generator) * spread).to(dtype)
    weight_VD = torch.randn(vocab_size + n_padding, d_model, generator=generator).to(dtype)
    targets_N = torch.randint(vocab_size, (n_token,), generator=generator)
    targets_N[torch.rand(n_token, generator=generator) < ignored] = -1
    return hidden_ND, weight_VD, targets_N, {"vocab_size": vocab_size, "softcap": softcap}


def plain(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, vocab_size: int, softcap: float) -> Tensor:
    """As `GPT.forward` does it."""
    return cross_entropy(soft_cap((hidden_ND @ weight_VD.t())[:, :vocab_size], softcap), targets_N)


def with_gradients(function: Any, hidden_ND: Tensor, weight_VD: Tensor, *rest: Any, **options: Any) -> list[Tensor]:
    parts = hidden_ND.clone().requires_grad_(), weight_VD.clone().requires_grad_()
    loss = function(*parts, *rest, **options)
    return [loss.detach(), *torch.autograd.grad(loss * 3, parts)]


def check_fused(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, options: dict[str, Any]) -> None:
    got = with_gradients(linear_cross_entropy, hidden_ND, weight_VD, targets_N, **options)
    want = with_gradients(plain, hidden_ND, weight_VD, targets_N, **options)
    for fused, ours in zip(got, want, strict=True):
        largest = max(1.0, float(ours.abs().max()))  # what cancels leaves a rest of the size that the terms had
        torch.testing.assert_close(fused, ours, rtol=CLOSE["rtol"], atol=largest * CLOSE["atol"])
    assert got[2][options["vocab_size"] :].eq(0).all()  # padding learns nothing
    assert got[1][targets_N < 0].eq(0).all()  # nor does anything from an ignored target


@given(case=CASES, chunk=st.sampled_from([1, 2, 3, 7, 1000]))
@settings(max_examples=150, deadline=None)
def test_loss_and_both_gradients_however_it_is_cut(case, chunk) -> None:
    *tensors, options = random_case(**case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "CHUNK_BYTES", chunk * 4 * len(tensors[1]))
        check_fused(*tensors, options)
        scores = score_targets(*tensors, **options)
    loss = plain(*tensors, **options)
    counted = int((tensors[2] >= 0).sum())
    assert int(scores.counted) == counted
    torch.testing.assert_close(scores.loss_sum / max(counted, 1), loss, **CLOSE)
    logits_NV = soft_cap(tensors[0] @ tensors[1].t(), options["softcap"])[:, : options["vocab_size"]]
    hits = (logits_NV.argmax(dim=-1) == tensors[2]).sum()
    assert int(scores.correct) == int(hits)


@pytest.mark.parametrize("chunk", [1, 3, 4, 5, 12, 13])
def test_chunk_borders(monkeypatch, chunk) -> None:
    """Cut just before, at and after the last token, into equal and unequal parts."""
    case = random_case(12, 8, 9, 7, 0.0, 0.0, 1.0, 0)
    sizes = []
    original = loss_module._chunks

    def counting(*args: Any, **options: Any) -> Any:
        for part in original(*args, **options):
            sizes.append(len(part.loss_C))
            yield part

    monkeypatch.setattr(loss_module, "CHUNK_BYTES", chunk * 4 * 16)
    monkeypatch.setattr(loss_module, "_chunks", counting)
    check_fused(*case[:3], case[3])
    assert sum(sizes) == 12 and max(sizes) == min(chunk, 12)


@pytest.mark.parametrize("function", [plain, linear_cross_entropy])
def test_no_target_counts(function) -> None:
    hidden_ND, weight_VD, targets_N, options = random_case(6, 4, 9, 3, 0.0, 1.0, 1.0, 0)
    assert (targets_N == -1).all()
    for tensor in with_gradients(function, hidden_ND, weight_VD, targets_N, **options):
        assert torch.equal(tensor, torch.zeros_like(tensor))


def test_by_hand() -> None:
    hidden_ND, weight_VD = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.0], [9.0]])
    loss = linear_cross_entropy(hidden_ND, weight_VD, torch.tensor([1, -1]), vocab_size=2)
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)  # one of two, the third being padding


@pytest.mark.parametrize("softcap", [0.0, 0.7])
@pytest.mark.parametrize("n_padding", [0, 3])
def test_gradients_against_central_differences(monkeypatch, softcap, n_padding) -> None:
    hidden_ND, weight_VD, targets_N, options = random_case(
        7, 4, 6, n_padding, softcap, 0.3, 1.0, 5, dtype=torch.float64
    )
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 3 * 4 * len(weight_VD))
    inputs = (hidden_ND.requires_grad_(), weight_VD.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda hidden, weight: linear_cross_entropy(hidden, weight, targets_N, **options),
        inputs,
        eps=1e-6,
        atol=1e-8,
        rtol=1e-6,
    )


@pytest.mark.parametrize("softcap", [0.0, 15.0])
def test_bfloat16_is_near_float32(softcap) -> None:
    hidden_ND, weight_VD, targets_N, options = random_case(64, 32, 100, 28, softcap, 0.2, 0.2, 6)
    got = with_gradients(linear_cross_entropy, hidden_ND.bfloat16(), weight_VD, targets_N, **options)
    want = with_gradients(plain, hidden_ND.bfloat16().float(), weight_VD.bfloat16().float(), targets_N, **options)
    assert [tensor.dtype for tensor in got] == [torch.float32, torch.bfloat16, torch.float32]
    torch.testing.assert_close(got[0], want[0], rtol=1.6e-2, atol=0)
    for tensor, reference in zip(got[1:], want[1:], strict=True):
        error = (tensor.float() - reference).norm() / reference.norm()
        assert error < 1.6e-2


def test_float16_gradients_do_not_vanish() -> None:
    """A mean over many tokens divides by their count: 1 / 4096 of a probability would underflow."""
    hidden_ND, weight_VD, targets_N, options = random_case(4096, 8, 50, 14, 0.0, 0.0, 0.5, 7)
    got = with_gradients(linear_cross_entropy, hidden_ND.half(), weight_VD, targets_N, **options)
    want = with_gradients(plain, hidden_ND, weight_VD, targets_N, **options)
    assert (got[2] - want[2]).norm() / want[2].norm() < 1.6e-2


@pytest.mark.parametrize("spread", [1e3, 1e4])
def test_large_logits_stay_finite(spread) -> None:
    hidden_ND, weight_VD, targets_N, options = random_case(8, 4, 9, 7, 0.0, 0.2, spread, 8)
    check_fused(hidden_ND, weight_VD, targets_N, options)
    assert all(
        tensor.isfinite().all()
        for tensor in with_gradients(linear_cross_entropy, hidden_ND, weight_VD, targets_N, **options)
    )


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_one_gradient_at_a_time(frozen) -> None:
    hidden_ND, weight_VD, targets_N, options = random_case(9, 4, 7, 1, 2.0, 0.2, 1.0, 9)
    both = with_gradients(linear_cross_entropy, hidden_ND, weight_VD, targets_N, **options)
    live = weight_VD if frozen == "hidden" else hidden_ND
    live.requires_grad_()
    linear_cross_entropy(hidden_ND, weight_VD, targets_N, **options).mul(3).backward()
    torch.testing.assert_close(live.grad, both[2 if frozen == "hidden" else 1])
    assert (hidden_ND if frozen == "hidden" else weight_VD).grad is None


def test_soft_cap_bounds_and_leaves_small_logits() -> None:
    logits = torch.linspace(-100, 100, 201)
    assert soft_cap(logits, 15.0).abs().max() <= 15
    torch.testing.assert_close(soft_cap(logits * 1e-3, 15.0), logits * 1e-3, rtol=1e-4, atol=0)
    assert soft_cap(logits, 0.0) is logits


@pytest.mark.parametrize("family", ["gpt2", "speedrun"])
@pytest.mark.parametrize("masked", [0, 5, 40])
def test_the_loss_of_forward_is_the_loss_trained_on(make_model, make_ids, family, masked) -> None:
    model = make_model(family=family)
    ids_BT, targets_BT = make_ids(2, 20), make_ids(2, 20, seed=2)
    targets_BT.view(-1)[:masked] = -1
    losses = model(ids_BT, targets_BT)[1], model.loss(ids_BT, targets_BT)
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
    torch.testing.assert_close(*losses, **CLOSE)
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert masked < 40 or losses[0] == 0


@pytest.mark.parametrize("broken", ["ignore", "padding", "count", "cap"])
def test_a_broken_loss_is_seen(monkeypatch, broken) -> None:
    hidden_ND, weight_VD, targets_N, options = random_case(12, 4, 9, 7, 2.0, 0.4, 1.0, 3)
    check_fused(hidden_ND, weight_VD, targets_N, options)
    original = linear_cross_entropy

    def wrong(hidden: Tensor, weight: Tensor, targets: Tensor, *, vocab_size: int, softcap: float) -> Tensor:
        if broken == "ignore":  # -1 taken for the first token
            targets = targets.clamp(min=0)
        elif broken == "padding":
            vocab_size = len(weight)
        elif broken == "cap":
            softcap = 0.0
        loss = original(hidden, weight, targets, vocab_size=vocab_size, softcap=softcap)
        return loss * (targets >= 0).float().mean() if broken == "count" else loss

    monkeypatch.setitem(globals(), "linear_cross_entropy", wrong)
    with pytest.raises(AssertionError):
        check_fused(hidden_ND, weight_VD, targets_N, options)


def test_tokens_that_do_not_count_are_left_out_where_they_are_many(monkeypatch) -> None:
    hidden, weight, targets, vocab = random_case(12, 8, 9, 7, 0.0, 0.0, 1.0, 0)[:4]
    targets[3:] = -1
    sizes: list[int] = []
    original = loss_module._chunks

    def counting(*args: Any, **options: Any) -> Any:
        for part in original(*args, **options):
            sizes.append(len(part.loss_C))
            yield part

    monkeypatch.setattr(loss_module, "_chunks", counting)
    check_fused(hidden, weight, targets, vocab)
    assert sum(sizes) == 3
