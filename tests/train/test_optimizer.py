"""The optimisers against plain NumPy, one line per term of their papers; and which parameter gets which."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.train import optimizer as optimizer_module
from groundzero.train.optimizer import Muon, Optimizers, orthogonalize

RATES = [0.3, 1.0, 1.0, 0.7, 0.1]
"""Factors of the peak rate, one per step."""


def numpy_orthogonalize(x: np.ndarray) -> np.ndarray:
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.sqrt((x**2).sum()) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


def with_singular_values(values: list[float], rows: int, columns: int, seed: int) -> torch.Tensor:
    """A matrix of float64 with these singular values."""
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    left, _ = torch.linalg.qr(torch.randn(rows, n, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, n, generator=generator, dtype=torch.float64))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


@settings(deadline=None, max_examples=60)
@given(data=st.data(), rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 2**31))
def test_orthogonalize_brings_every_singular_value_near_one(data, rows, columns, seed):
    n = min(rows, columns)
    values = data.draw(st.lists(st.floats(0.05, 1.0), min_size=n, max_size=n))
    size = data.draw(st.floats(1e-3, 1e3))
    result = orthogonalize(with_singular_values(values, rows, columns, seed)[None] * size)[0]
    got = torch.linalg.svdvals(result)
    assert got.min() >= 0.6
    assert got.max() <= 1.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 64), (128, 32), (32, 128), (1, 9), (9, 1)])
def test_orthogonalize_in_the_precisions_of_training(shape, dtype):
    values = torch.linspace(0.1, 1, min(shape)).tolist()
    matrix = with_singular_values(values, *shape, seed=3).to(dtype)
    result = orthogonalize(matrix[None])[0]
    assert result.dtype == dtype
    got = torch.linalg.svdvals(result.float())
    assert got.min() >= 0.6
    assert got.max() <= 1.25


@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_orthogonalize_keeps_the_directions(shape):
    matrix = with_singular_values(np.linspace(0.2, 1, min(shape)).tolist(), *shape, seed=1)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalize(matrix[None])[0] @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_a_stack_goes_through_as_each_alone(shape):
    stack = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = torch.stack([orthogonalize(matrix[None])[0] for matrix in stack])
    torch.testing.assert_close(orthogonalize(stack), alone, rtol=1e-12, atol=1e-14)


def test_orthogonalize_leaves_a_zero_gradient_zero():
    assert not orthogonalize(torch.zeros(2, 4, 6)).any()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_both_optimisers_equal_numpy_for_several_steps(lab, optimizer):
    config = lab.config(
        optimizer=optimizer, learning_rate=0.01, muon_learning_rate=0.03, weight_decay=0.2, beta1=0.8, muon_momentum=0.9
    )
    model = lab.model(n_kv_head=1, attention_bias=True, tie_embeddings=False).double()
    optimizers, roles = Optimizers(model, config), model.roles()
    mirror = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
    first = {name: np.zeros_like(value) for name, value in mirror.items()}
    second = {name: np.zeros_like(value) for name, value in mirror.items()}
    generator = np.random.default_rng(5)
    for step, factor in enumerate(RATES, start=1):
        gradients = {name: generator.normal(size=value.shape) for name, value in mirror.items()}
        for name, parameter in model.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name].copy())
        optimizers.set_factor(factor)
        optimizers.step()
        for name, gradient in gradients.items():
            value = mirror[name]
            if optimizer == "muon" and roles[name] == "matrix":
                rate = config.muon_learning_rate * factor
                first[name] = 0.9 * first[name] + 0.1 * gradient
                ahead = 0.1 * gradient + 0.9 * first[name]
                rows, columns = value.shape
                value *= 1 - rate * 0.2
                value -= rate * np.sqrt(max(1, rows / columns)) * numpy_orthogonalize(ahead)
            else:
                rate = config.learning_rate * factor
                value *= 1 - rate * (0.0 if roles[name] == "vector" else 0.2)
                first[name] = 0.8 * first[name] + 0.2 * gradient
                second[name] = 0.95 * second[name] + 0.05 * gradient**2
                mean, square = first[name] / (1 - 0.8**step), second[name] / (1 - 0.95**step)
                value -= rate * mean / (np.sqrt(square) + config.epsilon)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.detach().numpy(), mirror[name], rtol=1e-9, atol=1e-12, err_msg=name)
            assert parameter.grad is None


def test_muon_updates_lying_and_standing_matrices_in_any_company():
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (16, 8), (8, 16), (16, 8), (4, 4), (8, 16)]
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]

    def update(groups: list[list[int]]) -> dict[int, torch.Tensor]:
        parameters = {i: torch.nn.Parameter(values[i].clone()) for group in groups for i in group}
        for group in groups:
            muon = Muon([{"params": [parameters[i] for i in group], "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}])
            for _ in range(3):
                for i in group:
                    parameters[i].grad = gradients[i].clone()
                muon.step()
        return {i: parameter.detach() for i, parameter in parameters.items()}

    together, alone = update([list(range(6))]), update([[i] for i in range(6)])
    for i in range(6):
        torch.testing.assert_close(together[i], alone[i], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_fused_adamw_equals_the_plain_one(lab, monkeypatch, dtype, tolerance):
    ends = []
    for fused in (True, False):
        monkeypatch.setattr(optimizer_module, "_has_fused_adamw", lambda device, fused=fused: fused)
        model = lab.model().to(dtype)
        optimizers = Optimizers(model, lab.config(optimizer="adamw"))
        assert optimizers.optimizers[0].fused is fused
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=dtype)
            optimizers.step()
        ends.append([parameter.detach().clone() for parameter in model.parameters()])
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_weight_decay_shrinks_matrices_and_tables_and_nothing_else(lab, family, optimizer):
    model = lab.model(family=family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)  # some start at zero, where decay does nothing
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizers = Optimizers(model, lab.config(optimizer=optimizer, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step()
    roles = model.roles()
    for name, parameter in model.named_parameters():
        if roles[name] == "vector":
            assert torch.equal(parameter, before[name]), name
        else:
            assert parameter.norm() < before[name].norm(), name


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_muon_takes_the_matrices_inside_blocks_and_adamw_the_rest(lab, family):
    model = lab.model(family=family)
    adamw, muon = Optimizers(model, lab.config(optimizer="muon")).optimizers
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert by_muon == {name for name in names.values() if name.startswith("blocks.") and name.endswith(".weight")} - {
        name for name in names.values() if "norm" in name
    }
    assert by_muon | by_adamw == set(names.values())
    assert not by_muon & by_adamw


def test_frozen_parameters_stay_and_have_no_state(lab):
    model = lab.model()
    model.embedding.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = lab.trainer(lab.config(weight_decay=0.5), model=model)
    trainer.fit(3)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in frozen), name
    assert not any(key.startswith(tuple(frozen)) for key in trainer.optimizers.state_tensors())


def test_rates_follow_the_factor_from_their_own_peaks(lab):
    optimizers = Optimizers(lab.model(), lab.config(optimizer="muon", learning_rate=0.01, muon_learning_rate=0.2))
    for factor in (0.5, 1.0, 0.25):
        optimizers.set_factor(factor)
        rates = [{group["lr"] for group in optimizer.param_groups} for optimizer in optimizers.optimizers]
        assert rates == [{0.01 * factor}, {0.2 * factor}]
