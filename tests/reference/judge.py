"""Three judges of a gradient worked out by hand, none of which knows the others.

    trying     nudge single numbers both ways: central differences, float64, relative error below 1e-6
    autograd   write the same function anew in PyTorch and let it differentiate; relative error below 1e-9
    direction  nudge everything at once along a random direction: one number that all gradients together must meet

A `Trial` is one function at one point. Parameters' gradients start at 1, so that whoever assigns where it should add
is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import assume

from groundzero.reference.layers import Dropout
from groundzero.reference.module import Array, Module
from groundzero.reference.transformer import FeedForward

Tensors = dict[str, torch.Tensor]
STEP = 1e-5
"""Of trying: its own error is about STEP^2, and rounding divided by STEP; both 1e-10."""
N_TRIED = 10
"""Numbers nudged in each array."""


@dataclass(frozen=True)
class Trial:
    """A function of named arrays, its gradient by hand, and the same function for PyTorch."""

    arrays: dict[str, Array]
    """Everything that has a gradient, float64; `forward` reads these very arrays."""
    forward: Callable[[], Array]
    backward: Callable[[Array], Mapping[str, Array]]
    """From the gradient of the output to that of each array."""
    expression: Callable[[Tensors], torch.Tensor]
    """The same function, written anew."""


def of_module(
    module: Module,
    inputs: dict[str, Array],
    expression: Callable[[Tensors], torch.Tensor],
    *,
    forward: Callable[[], Array] | None = None,
    backward: Callable[[Array], Any] | None = None,
    seed: int = 0,
) -> Trial:
    """A trial of a module: its inputs and all of its parameters, scattered around; dropout silences the same each time.

    Args:
        forward: how the module is called, where it takes more than the inputs.
        backward: returns the gradients of the inputs in order, where it is not `module.backward`.
    """
    scatter(module, seed)
    arrays = dict(inputs) | {name: parameter.value for name, parameter in module.parameters().items()}

    def run() -> Array:
        freeze_dropout(module, seed)
        return forward() if forward is not None else module(*inputs.values())  # type: ignore[no-any-return]

    def run_backward(d_y: Array) -> dict[str, Array]:
        for parameter in module.parameters().values():
            parameter.gradient[...] = 1.0
        result = (backward or module.backward)(d_y)
        results = result if isinstance(result, tuple) else (result,)
        found = {name: parameter.gradient - 1.0 for name, parameter in module.parameters().items()}
        return found | dict(zip(inputs, results, strict=bool(inputs)))

    run()
    if any(near_a_corner(part) for _, part in module.modules()):
        assume(False)
    return Trial(arrays, run, run_backward, expression)


def near_a_corner(part: Module) -> bool:
    """Whether some unit stands where a hinge bends: trying both ways would find the mean of two slopes."""
    hinges = isinstance(part, FeedForward) and part.activation in {"relu", "relu2"}
    return hinges and bool(np.abs(part.memory).min(initial=1.0) < 100 * STEP)


def scatter(module: Module, seed: int) -> None:
    """Parameters in float64 at random, biases and scales included."""
    rng = np.random.default_rng(seed)
    module.astype(np.float64)
    for parameter in module.parameters().values():
        parameter.value[...] = rng.standard_normal(parameter.shape) * max(1, parameter.shape[-1]) ** -0.5


def freeze_dropout(module: Module, seed: int) -> None:
    """Let each dropout of the module silence the same numbers at the next forward pass as at the last."""
    for place, (_, part) in enumerate(module.modules()):
        if isinstance(part, Dropout):
            part.rng = np.random.default_rng([seed, place])


def judge(trial: Trial, seed: int = 0) -> None:
    """Let all three judges look; whoever disagrees raises."""
    rng = np.random.default_rng(seed)
    y = trial.forward()
    d_y = rng.standard_normal(np.shape(y))
    kept = {name: array.copy() for name, array in trial.arrays.items()}
    given = d_y.copy()
    by_hand = {name: np.array(gradient) for name, gradient in trial.backward(given).items()}
    assert np.array_equal(given, d_y), "backward must not change what it is given: others read it too"
    assert set(by_hand) == set(trial.arrays), set(by_hand) ^ set(trial.arrays)
    for name, array in trial.arrays.items():
        assert by_hand[name].shape == array.shape, f"{name}: a gradient has the shape of what it is the gradient of"
        assert np.array_equal(array, kept[name]), f"{name}: backward must not change what it differentiates"
    largest = max((float(np.abs(gradient).max(initial=0.0)) for gradient in by_hand.values()), default=0.0)

    def loss() -> float:
        return float((trial.forward() * d_y).sum())

    ask_autograd(trial, y, d_y, by_hand, largest)
    ask_trying(trial, loss, by_hand, largest, rng)
    ask_direction(trial, loss, by_hand, rng)


def ask_autograd(trial: Trial, y: Array, d_y: Array, by_hand: Mapping[str, Array], largest: float) -> None:
    """Outputs and gradients as PyTorch has them."""
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in trial.arrays.items()}
    wanted = trial.expression(tensors)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-9, atol=1e-12, err_msg="output")
    (wanted * torch.from_numpy(d_y)).sum().backward()
    for name, tensor in tensors.items():
        other = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        assert_close("autograd", name, by_hand[name], other, 1e-9, largest)


def ask_trying(
    trial: Trial, loss: Callable[[], float], by_hand: Mapping[str, Array], largest: float, rng: np.random.Generator
) -> None:
    """Some numbers of each array, one at a time."""
    for name, array in trial.arrays.items():
        places = rng.permutation(array.size)[:N_TRIED]
        tried = [_slope(loss, array, int(place)) for place in places]
        assert_close("trying", name, by_hand[name].reshape(-1)[places], np.array(tried), 1e-6, largest)


def _slope(loss: Callable[[], float], array: Array, place: int) -> float:
    flat = array.reshape(-1)
    assert np.shares_memory(flat, array) or not array.size
    kept = flat[place]
    flat[place] = kept + STEP
    above = loss()
    flat[place] = kept - STEP
    below = loss()
    flat[place] = kept
    return (above - below) / (2 * STEP)


def ask_direction(
    trial: Trial, loss: Callable[[], float], by_hand: Mapping[str, Array], rng: np.random.Generator
) -> None:
    """The slope along one direction through all arrays, as a share of the length of the whole gradient."""
    direction = {name: rng.standard_normal(array.shape) for name, array in trial.arrays.items()}
    length = sum(float(np.square(part).sum()) for part in direction.values()) ** 0.5 or 1.0
    steps = {name: part * (STEP / length) for name, part in direction.items()}
    kept = {name: array.copy() for name, array in trial.arrays.items()}
    slopes = []
    for sign in (1.0, -1.0):
        for name, array in trial.arrays.items():
            array[...] = kept[name] + sign * steps[name]
        slopes.append(sign * loss())
    for name, array in trial.arrays.items():
        array[...] = kept[name]
    tried = sum(slopes) / (2 * STEP)
    wanted = sum(float((by_hand[name] * part).sum()) for name, part in direction.items()) / length
    whole = sum(float(np.square(gradient).sum()) for gradient in by_hand.values()) ** 0.5
    assert abs(tried - wanted) <= 1e-6 * max(whole, 1e-2), f"direction: {wanted} by hand, {tried} tried"


def assert_close(judge: str, name: str, got: Array, wanted: Array, tolerance: float, largest: float) -> None:
    """Differences as a share of the array's largest gradient, or of a thousandth of the largest of all.

    The latter is for gradients that are zero in exact arithmetic, of which only rounding is left.
    """
    scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-3 * largest, 1e-4)
    difference = float(np.abs(got - wanted).max(initial=0.0))
    assert difference <= tolerance * scale, f"{judge}: d_{name} is off by {difference:.1e} of {scale:.1e}"
