"""How the network starts, what its parameters are, what padding may do, and that precision and memory are choices."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from groundzero.errors import InputError
from groundzero.model import GPT, GPTConfig
from groundzero.model.config import FAMILIES

WIDE: dict[str, Any] = {"vocab_size": 500, "n_layer": 4, "n_head": 4, "d_model": 128, "context": 32}
RESIDUAL_ENDS = ("attention.out.weight", "feed_forward.down.weight")
EVERY_FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))


def loss_and_gradients(model: GPT, ids_BT: Tensor, seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    loss = model.loss(ids_BT, ids_BT.roll(-1, dims=1))
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


# --- how it starts ---------------------------------------------------------------------------------------------------


@EVERY_FAMILY
@pytest.mark.parametrize("init_std", [0.02, 0.1])
def test_residual_scaled_start(family, init_std) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(family=family, init="residual_scaled", init_std=init_std, tie_embeddings=False, **WIDE))
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            want = init_std / math.sqrt(2 * 4) if name.endswith(RESIDUAL_ENDS) else init_std
            margin = 5 / math.sqrt(2 * parameter.numel())  # five standard errors
            assert parameter.std().item() == pytest.approx(want, rel=margin), name
            assert abs(parameter.mean().item()) < 5 * want / math.sqrt(parameter.numel()), name
        else:
            assert parameter.eq(0.0 if name.endswith("bias") else 1.0).all(), name


@EVERY_FAMILY
def test_zero_start_is_the_identity(make_ids, family) -> None:
    """Each block adds nothing, so the last hidden state is the embedding, normalised."""
    model = GPT(GPTConfig(**WIDE, family=family, init="zero")).eval()
    states: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _, inputs, output: states.extend((inputs[0], output)))
    model(make_ids(2, 8))
    assert len(states) == 8
    assert all(torch.equal(state, states[0]) for state in states)
    assert states[0].ne(0).any()


@EVERY_FAMILY
def test_zero_start_of_an_untied_head_knows_nothing(make_ids, family) -> None:
    model = GPT(GPTConfig(**WIDE, family=family, init="zero", tie_embeddings=False))
    logits_BTV, loss = model(make_ids(2, 8), make_ids(2, 8, seed=2))
    assert logits_BTV.eq(0).all()
    assert loss.item() == pytest.approx(math.log(500), rel=1e-6)


@EVERY_FAMILY
def test_an_untrained_model_guesses_evenly(make_ids, family) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(**WIDE, family=family)).eval()
    loss = model.loss(make_ids(8, 32, vocab_size=500), make_ids(8, 32, vocab_size=500, seed=2))
    assert loss.item() == pytest.approx(math.log(500), rel=0.02)


@EVERY_FAMILY
def test_the_seed_decides_the_start(family) -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(GPT(GPTConfig(family=family, init="residual_scaled", **WIDE)))
    one, same, other = (model.embedding.weight for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# --- what its parameters are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@EVERY_FAMILY
def test_every_parameter_has_one_role(family, tied) -> None:
    model = GPT(GPTConfig(family=family, tie_embeddings=tied, **WIDE))
    roles = model.roles()
    assert list(roles) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        inside = name.startswith("blocks.")
        want = "matrix" if parameter.dim() == 2 else "vector"
        if not inside and parameter.dim() == 2:
            want = "head" if name.startswith("head") else "embedding"
        assert roles[name] == want, name
    tables = [name for name, role in roles.items() if role in ("embedding", "head")]
    learned = ["position.weight"] if model.config.position == "learned" else []
    assert tables == ["embedding.weight", *learned, *([] if tied else ["head.weight"])]
    assert model.head_weight is (model.embedding.weight if tied else model.head.weight)


@EVERY_FAMILY
def test_every_parameter_learns(make_model, make_ids, family) -> None:
    """None is left out of the graph, and none is left out of the loss."""
    model = make_model(family=family).train()
    for gradient in loss_and_gradients(model, make_ids(4, 24))[1:]:
        assert gradient.isfinite().all()
        assert gradient.ne(0).any()


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@EVERY_FAMILY
def test_padding_never_leaves(make_model, make_ids, family, tied) -> None:
    """53 ids in a table of 64: eleven rows that no logit, loss or gradient knows of."""
    model, ids_BT = make_model(family=family, tie_embeddings=tied), make_ids(2, 12)
    assert model.head_weight.shape[0] == 64
    for loss in (model(ids_BT, ids_BT)[1], model.loss(ids_BT, ids_BT)):
        (gradient_VD,) = torch.autograd.grad(loss, model.head_weight)
        assert gradient_VD[53:].eq(0).all()
        assert gradient_VD[:53].ne(0).any()
    with torch.no_grad():
        before_BTV, before = model(ids_BT, ids_BT)
        assert before_BTV.shape == (2, 12, 53)
        model.head_weight[53:] = 1e4
        after_BTV, after = model(ids_BT, ids_BT)
    assert torch.equal(before_BTV, after_BTV)
    assert torch.equal(before, after)
    torch.testing.assert_close(model.loss(ids_BT, ids_BT), before, rtol=1e-5, atol=1e-6)


@EVERY_FAMILY
def test_padding_changes_nothing(make_model, make_ids, family) -> None:
    padded, exact, ids_BT = make_model(family=family), make_model(family=family, vocab_multiple=1), make_ids(2, 12)
    with torch.no_grad():
        for name, parameter in exact.named_parameters():
            parameter.copy_(padded.get_parameter(name)[: len(parameter)])
        torch.testing.assert_close(padded(ids_BT, ids_BT), exact(ids_BT, ids_BT), rtol=1e-5, atol=1e-5)


# --- memory and precision --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@EVERY_FAMILY
def test_recomputing_blocks_changes_no_bit(make_model, make_ids, family, dropout) -> None:
    """With dropout too: the same seed drops the same units again."""
    models = [
        make_model(family=family, dropout=dropout, checkpoint_activations=checkpointed).train()
        for checkpointed in (False, True)
    ]
    results = [loss_and_gradients(model, make_ids(2, 24)) for model in models]
    for kept, recomputed in zip(*results, strict=True):
        assert torch.equal(kept, recomputed)
    if dropout:
        assert not torch.equal(loss_and_gradients(models[1], make_ids(2, 24), seed=1)[0], results[1][0])


def test_recomputing_blocks_keeps_less(make_model, make_ids) -> None:
    kept = []
    for checkpointed in (False, True):
        model = make_model(n_layer=6, checkpoint_activations=checkpointed).train()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes) or x, lambda x: x):
            model.loss(make_ids(2, 24), make_ids(2, 24))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


@EVERY_FAMILY
def test_bfloat16_activations(make_model, make_ids, family) -> None:
    """Weights and loss stay float32; what flows between them is halved, and the loss moves by a rounding."""
    model, ids_BT = make_model(family=family), make_ids(4, 24)
    want, *want_gradients = loss_and_gradients(model, ids_BT)
    model.compute_dtype = torch.bfloat16
    assert model.hidden(ids_BT).dtype == torch.bfloat16
    got, *gradients = loss_and_gradients(model, ids_BT)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1.6e-2, atol=0)
    torch.testing.assert_close(model(ids_BT, ids_BT.roll(-1, dims=1))[1], want, rtol=1.6e-2, atol=0)
    for gradient, reference in zip(gradients, want_gradients, strict=True):
        assert gradient.dtype == torch.float32
        # A bias of keys shifts all scores of a query alike: its gradient is 0, and here noise of about 1e-3.
        assert (gradient - reference).norm() < 0.1 * reference.norm() + 2e-3


@EVERY_FAMILY
def test_float64_end_to_end(make_model, make_ids, family) -> None:
    """No part falls back to float32: gradients agree with central differences to a millionth."""
    model, ids_BT = make_model(family=family, n_layer=1).double(), make_ids(2, 10)
    logits_BTV, loss = model(ids_BT, ids_BT)
    assert logits_BTV.dtype == loss.dtype == torch.float64
    fused = model.loss(ids_BT, ids_BT)
    assert fused.dtype == torch.float64
    torch.testing.assert_close(fused, loss, rtol=1e-12, atol=0)
    generator = torch.Generator().manual_seed(3)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(fused, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        losses = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                parameter.add_(direction, alpha=step)
                losses.append(model.loss(ids_BT, ids_BT).item())
            parameter.add_(direction, alpha=1e-5)
        want = (gradient * direction).sum().item()
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(want, rel=1e-6, abs=1e-8)


@EVERY_FAMILY
def test_float32_is_near_float64(make_model, make_ids, family) -> None:
    ids_BT = make_ids(2, 24)
    single, double = make_model(family=family), make_model(family=family).double()
    for got, want in zip(loss_and_gradients(single, ids_BT), loss_and_gradients(double, ids_BT), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


@EVERY_FAMILY
def test_dropout_is_for_training_alone(make_model, make_ids, family) -> None:
    model, ids_BT = make_model(family=family, dropout=0.5), make_ids(2, 12)
    plain = make_model(family=family)
    assert torch.equal(model(ids_BT)[0], plain(ids_BT)[0])
    model.train()
    assert not torch.equal(model(ids_BT)[0], model(ids_BT)[0])
    assert torch.equal(plain.train()(ids_BT)[0], plain(ids_BT)[0])


# --- what it takes ---------------------------------------------------------------------------------------------------


def test_side_inputs_that_it_does_not_know(make_model, make_ids) -> None:
    with pytest.raises(InputError, match="no side input 'facts'"):
        make_model()(make_ids(1, 4), side_inputs={"facts": torch.zeros(1)})


@EVERY_FAMILY
def test_no_targets_no_loss(make_model, make_ids, family) -> None:
    model, ids_BT = make_model(family=family), make_ids(2, 5)
    logits_BTV, loss = model(ids_BT)
    assert loss is None
    assert logits_BTV.shape == (2, 5, 53)
    assert logits_BTV.dtype == torch.float32
    assert torch.equal(model.logits(model.hidden(ids_BT)), logits_BTV)


@EVERY_FAMILY
def test_rows_do_not_know_each_other(make_model, make_ids, family) -> None:
    model, ids_BT = make_model(family=family), make_ids(3, 9)
    alone = torch.cat([model(row[None])[0] for row in ids_BT])
    torch.testing.assert_close(model(ids_BT)[0], alone, rtol=1e-5, atol=1e-5)
