"""The optimisers by hand take PyTorch's steps: ours in `train/`, and PyTorch's own, to 1e-9 in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.model import GPT, GPTConfig
from groundzero.reference import optimizer as hand
from groundzero.reference import roles as by_role
from groundzero.reference.module import Parameter
from groundzero.reference.optimizer import clip_gradients, learning_rate_factor, orthogonalize
from groundzero.reference.roles import OptimizerConfig, Optimizers, roles
from groundzero.train import TrainConfig
from groundzero.train import optimizer as ours
from groundzero.train.schedule import learning_rate_factor as trainers_factor

STEPS, TIGHT = 20, 1e-9
SHAPES = {"up": (7, 5), "up_bias": (7,), "down": (3, 7), "down_bias": (3,)}


class Regression:
    """A network of two layers with tanh between them, in both worlds, on the same random data."""

    def __init__(self, seed: int = 0, dtype: Any = np.float64) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.y = rng.normal(size=(20, 5)).astype(dtype), rng.normal(size=(20, 3)).astype(dtype)
        values = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
        self.numpy = {name: Parameter(value.copy()) for name, value in values.items()}
        self.torch = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in values.items()}

    def numpy_gradients(self) -> None:
        value = {name: parameter.value for name, parameter in self.numpy.items()}
        hidden = np.tanh(self.x @ value["up"].T + value["up_bias"])
        d_out = hidden @ value["down"].T + value["down_bias"] - self.y
        d_hidden = (d_out @ value["down"]) * (1 - hidden**2)
        gradients = {
            "up": d_hidden.T @ self.x,
            "up_bias": d_hidden.sum(0),
            "down": d_out.T @ hidden,
            "down_bias": d_out.sum(0),
        }
        for name, gradient in gradients.items():
            self.numpy[name].gradient[...] = gradient

    def torch_gradients(self) -> None:
        for parameter in self.torch.values():
            parameter.grad = None
        x, y, value = torch.from_numpy(self.x), torch.from_numpy(self.y), self.torch
        hidden = torch.tanh(x @ value["up"].T + value["up_bias"])
        (0.5 * (hidden @ value["down"].T + value["down_bias"] - y) ** 2).sum().backward()

    def run(self, by_hand: Any, by_torch: Any, steps: int = STEPS) -> None:
        """Every parameter follows the same path, and hand-written state is the state of PyTorch."""
        for _ in range(steps):
            self.numpy_gradients()
            self.torch_gradients()
            by_hand.step()
            by_torch.step()
        for name, parameter in self.numpy.items():
            np.testing.assert_allclose(parameter.value, self.torch[name].detach(), rtol=TIGHT, atol=1e-12, err_msg=name)

    def matrices(self) -> tuple[dict[str, Parameter], list[torch.nn.Parameter]]:
        names = [name for name, shape in SHAPES.items() if len(shape) == 2]
        return {name: self.numpy[name] for name in names}, [self.torch[name] for name in names]


def assert_same_state(by_hand: hand.Optimizer, by_torch: Any, problem: Regression) -> None:
    for key, array in by_hand.state.items():
        name, _, what = key.rpartition("/")
        theirs = by_torch.state[problem.torch[name]][what]
        assert array.shape == tuple(theirs.shape)
        np.testing.assert_allclose(array, theirs, rtol=TIGHT, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_sgd_is_pytorchs(momentum: float) -> None:
    problem = Regression()
    by_torch = torch.optim.SGD(problem.torch.values(), lr=0.003, momentum=momentum)
    problem.run(hand.SGD(problem.numpy, 0.003, momentum=momentum), by_torch)


@pytest.mark.parametrize("decay", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95), (0.0, 0.5)])
def test_adamw_is_pytorchs(decay: float, betas: tuple[float, float]) -> None:
    problem = Regression()
    by_hand = hand.AdamW(problem.numpy, 0.03, betas=betas, epsilon=1e-8, weight_decay=decay)
    by_torch = torch.optim.AdamW(problem.torch.values(), lr=0.03, betas=betas, eps=1e-8, weight_decay=decay)
    problem.run(by_hand, by_torch)
    assert_same_state(by_hand, by_torch, problem)


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_is_the_trainers(fused: bool) -> None:
    problem = Regression(1)
    by_hand = hand.AdamW(problem.numpy, 0.02, betas=(0.9, 0.95), epsilon=1e-6, weight_decay=0.1)
    group = {"params": list(problem.torch.values()), "lr": 0.02, "weight_decay": 0.1}
    by_torch = ours.AdamW([group], betas=(0.9, 0.95), eps=1e-6, fused=fused)
    problem.run(by_hand, by_torch)
    assert_same_state(by_hand, by_torch, problem)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_muon_is_the_trainers(decay: float) -> None:
    problem = Regression(2)
    matrices, tensors = problem.matrices()
    by_hand = hand.Muon(matrices, 0.05, momentum=0.9, weight_decay=decay)
    by_torch = ours.Muon([{"params": tensors, "lr": 0.05, "momentum": 0.9, "weight_decay": decay}])
    problem.run(by_hand, by_torch)
    assert_same_state(by_hand, by_torch, problem)


def test_muon_takes_lying_and_standing_matrices_in_one_stack_as_it_takes_them_alone() -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=shape) for name, shape in {"a": (6, 4), "b": (4, 6), "c": (6, 4)}.items()}
    gradients = {name: rng.normal(size=value.shape) for name, value in values.items()}

    def after(names: list[str]) -> dict[str, np.ndarray]:
        parameters = {name: Parameter(values[name].copy()) for name in names}
        for name, parameter in parameters.items():
            parameter.gradient[...] = gradients[name]
        hand.Muon(parameters, 0.1).step()
        return {name: parameter.value for name, parameter in parameters.items()}

    together = after(["a", "b", "c"])
    for name in values:
        np.testing.assert_allclose(together[name], after([name])[name], rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 4), rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_orthogonalize_is_the_trainers_and_keeps_directions(n: int, rows: int, columns: int, seed: int) -> None:
    matrices_PRC = np.random.default_rng(seed).normal(size=(n, rows, columns))
    kept = matrices_PRC.copy()
    result_PRC = orthogonalize(matrices_PRC)
    np.testing.assert_array_equal(matrices_PRC, kept)
    theirs = ours.orthogonalize(torch.from_numpy(matrices_PRC))
    np.testing.assert_allclose(result_PRC, theirs, rtol=TIGHT, atol=1e-11)
    u, s, v = np.linalg.svd(matrices_PRC, full_matrices=False)
    for index in range(n):  # the singular vectors stay, so U^T X V is diagonal
        diagonal = u[index].T @ result_PRC[index] @ v[index].T
        np.testing.assert_allclose(diagonal, np.diag(np.diag(diagonal)), atol=1e-8)
        well = s[index] > 0.02 * np.linalg.norm(s[index])
        assert (np.abs(np.diag(diagonal)[well] - 0.95) < 0.3).all()


def test_orthogonalizing_nothing_is_nothing() -> None:
    assert not orthogonalize(np.zeros((1, 3, 4))).any()


def test_muon_refuses_what_is_no_matrix() -> None:
    with pytest.raises(ValueError, match=r"bias.*\(3,\)"):
        hand.Muon({"bias": Parameter(np.zeros(3))})
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        orthogonalize(np.zeros((2, 2)))


@pytest.mark.parametrize("make", [lambda p: hand.SGD(p, 0.1, momentum=0.9), hand.AdamW, hand.Muon])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_the_weights_is_that_of_the_state_and_arrays_stay_in_place(
    make: Callable[[Any], hand.Optimizer], dtype: Any
) -> None:
    parameters = {"w": Parameter(np.ones((4, 3), dtype))}
    value, gradient = parameters["w"].value, parameters["w"].gradient
    gradient[...] = 0.5
    optimizer = make(parameters)
    for _ in range(3):
        optimizer.step()
    assert parameters["w"].value is value and value.dtype == dtype and not (value == 1).any()
    assert (gradient == 0.5).all(), "a step leaves the gradients to their owner"
    assert {key: array.dtype for key, array in optimizer.state.items() if not key.endswith("/step")} == {
        key: np.dtype(dtype) for key in optimizer.state if not key.endswith("/step")
    }


# ---------------------------------------------------------------------- by role, and across worlds


def rates(kind: str) -> dict[str, Any]:
    return {"optimizer": kind, "learning_rate": 2e-3, "muon_learning_rate": 0.03, "weight_decay": 0.2, "beta2": 0.9}


def model_of(family: str) -> GPT:
    torch.manual_seed(0)
    size = {"vocab_size": 61, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 16, "tie_embeddings": False}
    return GPT(GPTConfig.parse({"family": family, **size}))


def parameters_of(model: GPT) -> dict[str, Parameter]:
    return {name: Parameter(parameter.detach().numpy().copy()) for name, parameter in model.named_parameters()}


class Pair:
    """The optimisers of a whole model in both worlds, fed the same random gradients at a falling rate."""

    def __init__(self, kind: str, family: str) -> None:
        self.model = model_of(family).double()
        self.parameters = parameters_of(self.model)
        self.numpy = Optimizers(self.parameters, OptimizerConfig(**rates(kind)))
        self.torch = ours.Optimizers(self.model, TrainConfig.parse(rates(kind)))

    def run(self, first: int, last: int, *, numpy: bool = True, torch_: bool = True) -> None:
        for step in range(first, last):
            rng = np.random.default_rng(step)
            for optimizers in [self.numpy] * numpy + [self.torch] * torch_:
                optimizers.set_factor(1 - step / 40)
            for name, parameter in self.model.named_parameters():
                gradient = rng.normal(size=tuple(parameter.shape))
                if numpy:
                    self.parameters[name].gradient += gradient
                parameter.grad = torch.from_numpy(gradient)
            if numpy:
                self.numpy.step()
                assert not any(parameter.gradient.any() for parameter in self.parameters.values())
            if torch_:
                self.torch.step()

    def assert_equal(self) -> None:
        for name, parameter in self.model.named_parameters():
            np.testing.assert_allclose(self.parameters[name].value, parameter.detach(), rtol=TIGHT, atol=1e-12)
        theirs = self.torch.state_tensors()
        assert self.numpy.state().keys() == theirs.keys()
        for key, array in self.numpy.state().items():
            assert array.dtype == theirs[key].numpy().dtype, key
            np.testing.assert_allclose(array, theirs[key], rtol=TIGHT, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_model_is_grouped_and_updated_as_by_the_trainer(kind: str, family: str) -> None:
    pair = Pair(kind, family)
    pair.run(0, STEPS)
    pair.assert_equal()


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_training_may_change_worlds_in_the_middle_both_ways(kind: str) -> None:
    there, back = Pair(kind, "gpt2"), Pair(kind, "gpt2")
    there.run(0, 10, numpy=False)  # begun in PyTorch
    for name, parameter in there.model.named_parameters():
        there.parameters[name].value[...] = parameter.detach()
    there.numpy.load_state({key: tensor.numpy() for key, tensor in there.torch.state_tensors().items()})
    there.run(10, STEPS)
    there.assert_equal()

    back.run(0, 10, torch_=False)  # begun in NumPy
    with torch.no_grad():
        for name, parameter in back.model.named_parameters():
            parameter.copy_(torch.from_numpy(back.parameters[name].value))
    back.torch.load_state_tensors({key: torch.from_numpy(a.copy()) for key, a in back.numpy.state().items()})
    back.run(10, STEPS)
    back.assert_equal()
    np.testing.assert_allclose(
        there.parameters["embedding.weight"].value, back.parameters["embedding.weight"].value, rtol=TIGHT
    )


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_roles_are_the_models(family: str) -> None:
    model = model_of(family)
    assert roles(parameters_of(model)) == model.roles()


def test_knowledge_layers_have_their_own_role() -> None:
    names = ["knowledge.relation.weight", "blocks.1.knowledge.query.weight", "blocks.0.knowledge_norm.weight"]
    found = roles({name: Parameter(np.zeros((2, 2))) for name in names})
    assert set(found.values()) == {"knowledge"}


def test_the_defaults_are_the_trainers() -> None:
    config = OptimizerConfig()
    trainers = TrainConfig.parse({})
    for name, value in vars(config).items():
        assert getattr(trainers, name) == value, name


def test_loaded_state_is_a_copy_in_the_precision_of_the_weights() -> None:
    optimizers = Optimizers({"embedding.weight": Parameter(np.ones((2, 2), np.float32))})
    optimizers.step()
    state = {key: array.astype(np.float64) for key, array in optimizers.state().items()}
    other = Optimizers({"embedding.weight": Parameter(np.ones((2, 2), np.float32))})
    other.load_state(state)
    other.step()
    assert {array.dtype for array in other.state().values()} == {np.dtype(np.float32)}
    assert state["embedding.weight/step"] == 1 and other.state()["embedding.weight/step"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.9.w/momentum": np.zeros((2, 2))}, r"'blocks\.9\.w/momentum'.*no parameter 'blocks\.9\.w'"),
        ({"blocks.0.w/exp_avg": np.zeros((2, 2))}, r"blocks\.0\.w is updated by Muon"),
        ({"blocks.0.b/momentum": np.zeros(2)}, r"blocks\.0\.b is updated by AdamW"),
        ({"blocks.0.b/exp_avg": np.zeros(3)}, r"'blocks\.0\.b/exp_avg' has the shape \(3,\).*needs \(2,\)"),
    ],
)
def test_state_of_another_model_is_refused_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    optimizers = Optimizers({"blocks.0.w": Parameter(np.zeros((2, 2))), "blocks.0.b": Parameter(np.zeros(2))})
    optimizers.step()
    before = optimizers.state()
    with pytest.raises(ValueError, match=message):
        optimizers.load_state({**before, **change})
    assert optimizers.state().keys() == before.keys()


# ---------------------------------------------------------------------- clipping and schedules


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.floats(1e-6, 1e6), longest=st.floats(1e-4, 1e4))
def test_clipping_is_pytorchs(seed: int, size: float, longest: float) -> None:
    rng = np.random.default_rng(seed)
    parameters, tensors = {}, []
    for name, shape in SHAPES.items():
        parameters[name] = Parameter(np.zeros(shape))
        parameters[name].gradient[...] = rng.normal(size=shape) * size
        tensors.append(torch.zeros(shape, dtype=torch.float64, requires_grad=True))
        tensors[-1].grad = torch.from_numpy(parameters[name].gradient.copy())
    length = clip_gradients(parameters, longest)
    assert length == pytest.approx(float(torch.nn.utils.clip_grad_norm_(tensors, longest)), rel=1e-12)
    for parameter, tensor in zip(parameters.values(), tensors, strict=True):
        np.testing.assert_allclose(parameter.gradient, tensor.grad, rtol=1e-12)


@pytest.mark.parametrize("longest", [0.0, float("inf")])
def test_without_a_limit_the_gradient_is_only_measured(longest: float) -> None:
    parameter = Parameter(np.zeros(2))
    parameter.gradient[...] = (30.0, 40.0)
    assert clip_gradients({"w": parameter}, longest) == 50.0
    assert parameter.gradient.tolist() == [30.0, 40.0]


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_is_told_and_left(bad: float) -> None:
    parameter = Parameter(np.zeros(2))
    parameter.gradient[...] = (bad, 1.0)
    assert not np.isfinite(clip_gradients({"w": parameter}, 1.0))
    assert parameter.gradient[1] == 1.0


@settings(max_examples=300, deadline=None)
@given(
    steps=st.integers(1, 60),
    warmup=st.integers(0, 70),
    floor=st.floats(0, 1),
    schedule=st.sampled_from(["cosine", "wsd", "constant"]),
    fraction=st.floats(0.01, 1),
)
def test_the_schedule_is_the_trainers_at_every_step(
    steps: int, warmup: int, floor: float, schedule: Any, fraction: float
) -> None:
    config = TrainConfig.parse(
        {
            "learning_rate": 2.0,
            "min_learning_rate": 2.0 * floor,
            "warmup_steps": warmup,
            "schedule": schedule,
            "decay_fraction": fraction,
        }
    )
    for step in range(steps + 3):
        factor = learning_rate_factor(
            step, steps, warmup_steps=warmup, floor=floor, schedule=schedule, decay_fraction=fraction
        )
        assert factor == trainers_factor(step, steps, config)


# ---------------------------------------------------------------------- demonstrations


@pytest.mark.parametrize(
    ("module", "phrases"),
    [
        (hand, ["A narrow valley", "SGD + momentum", "AdamW", "after 5 rounds", "Clipping", "cosine"]),
        (by_role, ["embedding.weight", "Muon", "vector", "half the memory"]),
    ],
)
def test_the_demonstration_runs_and_explains(module: Any, phrases: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", module.__name__],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    for phrase in phrases:
        assert phrase in done.stdout
