"""Optimisers: which way, and how far, to turn every dial.

`backward` gave each parameter w its gradient g = d loss / d w: the direction in which the loss rises fastest. All
optimisers walk against it. They differ in what they remember and in what they take for a step of length one.

SGD, stochastic gradient descent (Robbins & Monro 1951), takes the gradient as it comes. With momentum m (Polyak 1964)
it keeps a running sum, so that steps that agree add up and steps that zigzag cancel:

    u <- m u + g                 w <- w - lr u

It has one rate for all dials, and that is its trouble: where the loss is a narrow valley, a rate that is safe across
the valley crawls along it.

AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019, algorithm 2) gives every dial its own rate. It keeps a running mean
of the gradient and of its square, and divides one by the root of the other:

    m <- b1 m + (1 - b1) g       v <- b2 v + (1 - b2) g^2
    w <- w - lr * decay * w - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

The quotient is about +-1 where a dial's gradient keeps its sign and small where it is noise: the step no longer depends
on the gradient's size. m and v start at zero, so after t steps they have seen only the share 1 - b^t of their weight;
dividing by it (*bias correction*) makes them means. The decay is *decoupled*: it pulls w towards zero directly, and not
through g, where the division would undo it.

Muon (Jordan et al. 2024) is for matrices. AdamW treats a matrix as a bag of dials; but the gradient G = U S V^T of a
weight matrix usually has a few large singular values in S that drown the rest. Muon replaces them all by one, so every
direction that the gradient points out is learnt at the same rate:

    M <- m M + (1 - m) G         N = m M + (1 - m) G  (Nesterov's look-ahead)
    W <- W - lr * decay * W - lr * sqrt(max(1, R / C)) * orthogonalize(N)

A singular value decomposition would do, and be slow. Newton and Schulz found that an odd polynomial of a matrix acts
on its singular values alone: X <- a X + (b A + c A^2) X with A = X X^T maps every s to a s + b s^3 + c s^5. Jordan's
a, b, c push all but the smallest to about 1 within five rounds, with matrix products only. See `orthogonalize`.

Around these: `clip_gradients` shortens a gradient that is too long, `learning_rate_factor` starts slowly and ends
slowly, and `Optimizers` (`roles.py`) gives each parameter the optimiser that suits its role.

State is a flat dictionary of arrays named `<parameter>/<what>`, with PyTorch's names and the precision of the weights,
so that a training begun in one world goes on in the other. Updates are made in place with one array of scratch.

Shapes: P matrices of one shape stacked, R rows, C columns.

Run me: `python -m groundzero.reference.optimizer`
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np

from groundzero.reference.module import Array, Parameter

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""a, b, c of the quintic (Jordan et al. 2024), chosen so that small singular values grow as fast as can be."""


class Optimizer(ABC):
    """Parameters by name, their rate, and what is remembered of each: `state["<parameter>/<what>"]`."""

    def __init__(self, parameters: Mapping[str, Parameter], learning_rate: float) -> None:
        self.parameters = dict(parameters)
        self.learning_rate = learning_rate
        """May be changed between steps."""
        self.state: dict[str, Array] = {}
        self._scratch: dict[np.dtype[np.floating], Array] = {}

    @abstractmethod
    def step(self) -> None:
        """Update every parameter, in place, from its gradient. The gradients stay."""

    def _remembered(self, name: str, what: str) -> Array:
        """The array of state `what` of a parameter, zeros of its shape and precision at first."""
        key = f"{name}/{what}"
        if key not in self.state:
            self.state[key] = np.zeros_like(self.parameters[name].value)
        return self.state[key]

    def _work(self, like: Array) -> Array:
        """Scratch of the shape and precision of `like`, shared by all parameters."""
        buffer = self._scratch.get(like.dtype)
        if buffer is None or buffer.size < like.size:
            buffer = self._scratch[like.dtype] = np.empty(like.size, like.dtype)
        return buffer[: like.size].reshape(like.shape)


class SGD(Optimizer):
    """Gradient descent with momentum (Robbins & Monro 1951, Polyak 1964).

    Args:
        momentum: share of the running sum that is kept, in [0, 1).
    """

    def __init__(self, parameters: Mapping[str, Parameter], learning_rate: float, *, momentum: float = 0.0) -> None:
        super().__init__(parameters, learning_rate)
        self.momentum = momentum

    def step(self) -> None:
        """u <- momentum * u + gradient; w <- w - lr * u."""
        for name, parameter in self.parameters.items():
            direction = parameter.gradient
            if self.momentum:
                direction = self._remembered(name, "momentum")
                direction *= self.momentum
                direction += parameter.gradient
            work = self._work(parameter.value)
            np.multiply(direction, self.learning_rate, out=work)
            parameter.value -= work


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    Args:
        betas: memory of the gradient and of its square, in [0, 1).
        epsilon: added to the root of the square.
        weight_decay: share of each weight taken off per step, times the rate.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        learning_rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.betas, self.epsilon, self.weight_decay = betas, epsilon, weight_decay

    def step(self) -> None:
        """Decay, then m, v, bias correction and the step; see the equations above."""
        beta1, beta2 = self.betas
        for name, parameter in self.parameters.items():
            weight, gradient, work = parameter.value, parameter.gradient, self._work(parameter.value)
            mean, square = self._remembered(name, "exp_avg"), self._remembered(name, "exp_avg_sq")
            count = self.state.setdefault(f"{name}/step", np.zeros((), np.float32))  # float32 as in PyTorch's files
            count += 1
            t = float(count)

            weight *= 1 - self.learning_rate * self.weight_decay

            np.subtract(gradient, mean, out=work)  # m += (1 - b1) (g - m), the same as b1 m + (1 - b1) g
            work *= 1 - beta1
            mean += work

            np.multiply(gradient, gradient, out=work)
            work *= 1 - beta2
            square *= beta2
            square += work

            np.sqrt(square, out=work)
            work /= math.sqrt(1 - beta2**t)
            work += self.epsilon
            np.divide(mean, work, out=work)
            work *= self.learning_rate / (1 - beta1**t)
            weight -= work


class Muon(Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024). For matrices only.

    Matrices of one shape, lying or standing, go through the iteration as one stack: one call for many small products.

    Args:
        momentum: memory of the gradient, in [0, 1).
        weight_decay: share of each weight taken off per step, times the rate.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        learning_rate: float = 0.02,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        for name, parameter in parameters.items():
            if parameter.value.ndim != 2:
                raise ValueError(f"Muon updates matrices; {name} has the shape {parameter.shape}. Give it to AdamW.")
        super().__init__(parameters, learning_rate)
        self.momentum, self.weight_decay = momentum, weight_decay
        self._same_shape: dict[tuple[int, ...], list[str]] = {}
        for name, parameter in self.parameters.items():
            self._same_shape.setdefault(tuple(sorted(parameter.shape)), []).append(name)

    def step(self) -> None:
        """Momentum, look-ahead, orthogonalisation, decay, step; see the equations above."""
        for shape_RC, names in self._same_shape.items():
            ahead_PRC = np.empty((len(names), *shape_RC), self.parameters[names[0]].value.dtype)
            for ahead_RC, name in zip(ahead_PRC, names, strict=True):
                self._look_ahead(name, out=_lying(ahead_RC, like=self.parameters[name].value))
            direction_PRC = orthogonalize(ahead_PRC)
            direction_PRC *= self.learning_rate
            for direction_RC, name in zip(direction_PRC, names, strict=True):
                weight_RC = self.parameters[name].value
                rows, columns = weight_RC.shape
                weight_RC *= 1 - self.learning_rate * self.weight_decay
                weight_RC -= _lying(direction_RC, like=weight_RC) * math.sqrt(max(1.0, rows / columns))

    def _look_ahead(self, name: str, out: Array) -> None:
        """M <- m M + (1 - m) G, and m M + (1 - m) G with the new M into `out`."""
        gradient, momentum = self.parameters[name].gradient, self._remembered(name, "momentum")
        work = self._work(gradient)
        np.subtract(gradient, momentum, out=work)
        work *= 1 - self.momentum
        momentum += work
        np.subtract(momentum, gradient, out=work)
        work *= self.momentum
        np.add(gradient, work, out=out)


def _lying(matrix: Array, like: Array) -> Array:
    """A view of a lying matrix as tall as `like`: transposed where `like` stands. Its own inverse."""
    return matrix if matrix.shape == like.shape else matrix.T


def orthogonalize(matrices_PRC: Array, steps: int = 5) -> Array:
    """U V^T, roughly, of matrices U S V^T: all singular values end within about 0.7 to 1.2.

    An odd polynomial of a matrix is the polynomial of its singular values: X X^T = U S^2 U^T, so
    (X X^T) X = U S^3 V^T, and so on. Dividing by the Frobenius norm first brings all of them into [0, 1], where the
    quintic a s + b s^3 + c s^5 drives them up. It overshoots on purpose: exact would be slower, and a direction is all
    that is asked for. Standing matrices are laid down, so that the products are of the smaller size.

    Raises:
        ValueError: not a stack of matrices.
    """
    if matrices_PRC.ndim != 3:
        raise ValueError(
            f"orthogonalize takes a stack (P, R, C) of matrices, and this has the shape {matrices_PRC.shape}"
        )
    a, b, c = NEWTON_SCHULZ
    stands = matrices_PRC.shape[1] > matrices_PRC.shape[2]
    x_PRC = matrices_PRC.swapaxes(1, 2) if stands else matrices_PRC
    x_PRC = x_PRC / (np.sqrt(np.square(x_PRC).sum(axis=(1, 2), keepdims=True)) + 1e-7)
    for _ in range(steps):
        gram_PRR = x_PRC @ x_PRC.swapaxes(1, 2)
        quintic_PRR = gram_PRR @ gram_PRR
        quintic_PRR *= c
        gram_PRR *= b
        quintic_PRR += gram_PRR
        risen_PRC = quintic_PRR @ x_PRC
        x_PRC *= a
        x_PRC += risen_PRC
    result_PRC: Array = x_PRC.swapaxes(1, 2) if stands else x_PRC
    return result_PRC


def clip_gradients(parameters: Mapping[str, Parameter], longest: float) -> float:
    """Shorten the gradient to the length `longest`, if it is longer, and return the length it had.

    The length is that of all gradients as one vector, so its direction stays (Pascanu et al. 2013): one odd batch
    cannot throw the weights far. As in PyTorch, 1e-6 is added to the length that is divided by. A `longest` of 0 or
    infinity only measures. A length that is not finite changes nothing: look at it before the step.
    """
    gradients = [parameter.gradient for parameter in parameters.values()]
    length = math.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient in gradients))
    factor = (longest or math.inf) / (length + 1e-6)
    if factor < 1.0 and math.isfinite(length):
        for parameter in parameters.values():
            parameter.gradient *= factor
    return length


def learning_rate_factor(
    step: int,
    steps: int,
    *,
    warmup_steps: int = 0,
    floor: float = 0.0,
    schedule: Literal["cosine", "wsd", "constant"] = "cosine",
    decay_fraction: float = 0.6,
) -> float:
    """The learning rate at `step` of `steps`, counted from 0, as a factor in (0, 1] of its peak.

    *Warm-up*: early gradients are large and agree about little, and AdamW's means have seen few of them, so the rate
    rises in a straight line over `warmup_steps`. *Decay*: late in training the noise of the batches keeps the weights
    dancing around the minimum, in a circle as wide as the rate, so the rate falls to `floor`:

        cosine    floor + (1 - floor) (1 + cos(pi * progress)) / 2      (Loshchilov & Hutter 2017)
        wsd       1, then a straight line over the last `decay_fraction` of the steps      (Hu et al. 2024)
        constant  1
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    decay_steps = max(1, min(round(decay_fraction * steps), steps - warmup_steps))
    return floor + (1 - floor) * min(1.0, max(0.0, (steps - step) / decay_steps))


def demo() -> None:
    """Walk down a valley four ways, look at what Muon does to a matrix, clip a gradient, and draw the schedules."""
    _demo_valley()
    _demo_muon()
    _demo_clipping()
    _demo_schedules()
    print("\nWhich parameter goes to which optimiser: python -m groundzero.reference.roles")


def _demo_valley() -> None:
    print("A narrow valley: loss = (w - 1) H (w - 1) / 2 with curvatures from 1 to 1000, all weights starting at 0.")
    print("Each optimiser at its own best rate of 1-2-5 steps; loss after so many steps:\n")
    curvature = np.geomspace(1, 1000, 8)
    rates = [digit * 10.0**power for power in range(-4, 0) for digit in (1, 2, 5)]
    contenders: dict[str, Callable[[dict[str, Parameter], float], Optimizer]] = {
        "SGD": SGD,
        "SGD + momentum 0.9": partial(SGD, momentum=0.9),
        "AdamW": AdamW,
    }
    print(f"  {'':20}{'rate':>8}" + "".join(f"{step:>10}" for step in (10, 50, 100, 200)))
    for name, make in contenders.items():
        tried = []
        for rate in rates:
            weight = Parameter(np.zeros(8))
            optimizer, losses = make({"w": weight}, rate), []
            for _ in range(200):
                error = weight.value - 1
                losses.append(float(np.clip(0.5 * (curvature * error**2).sum(), 0, 1e9)))
                weight.gradient[...] = np.clip(curvature * error, -1e9, 1e9)
                optimizer.step()
            tried.append((losses[-1], rate, losses))
        _, rate, losses = min(tried)
        print(f"  {name:20}{rate:8g}" + "".join(f"{losses[step - 1]:10.2g}" for step in (10, 50, 100, 200)))
    print("\n  Plain SGD may not step further than 2 / 1000, the steepest curvature's limit, and so crawls where the")
    print(
        "  curvature is 1. Momentum adds up what agrees. AdamW divides each weight's steepness out: one rate suits all."
    )


def _demo_muon() -> None:
    rng = np.random.default_rng(0)
    gradient_RC = rng.normal(size=(32, 2)) @ rng.normal(size=(2, 64)) + 0.1 * rng.normal(size=(32, 64))
    print("\nMuon: a gradient as training makes them, 32 x 64, two directions far louder than the others.")
    print("Its singular values, as a share of the largest, through the rounds of Newton and Schulz:\n")
    for rounds in (0, 1, 3, 5):
        values = np.linalg.svd(orthogonalize(gradient_RC[None], rounds)[0], compute_uv=False)
        shown = values / values[0] if rounds == 0 else values
        print(f"  after {rounds} rounds  {_spark(shown, top=1.3)}  smallest {shown[-1]:.3f}, largest {shown[0]:.3f}")
    print("\n  After five all are about 1: the quiet directions are learnt as fast as the loud ones.")


def _demo_clipping() -> None:
    parameter = Parameter(np.zeros(2))
    parameter.gradient[...] = (30.0, 40.0)
    length = clip_gradients({"w": parameter}, 1.0)
    print(f"\nClipping: the gradient (30, 40) has the length {length:g}; clipped to 1 it is", end=" ")
    print(f"({parameter.gradient[0]:.2f}, {parameter.gradient[1]:.2f}): the same direction.")


def _demo_schedules() -> None:
    print("\nThe learning rate over 60 steps, with a warm-up of 8:\n")
    schedules: tuple[Literal["cosine", "wsd", "constant"], ...] = ("cosine", "wsd", "constant")
    for schedule in schedules:
        factors = [learning_rate_factor(step, 60, warmup_steps=8, floor=0.1, schedule=schedule) for step in range(60)]
        print(f"  {schedule:9} {_spark(np.array(factors))}  ends at {factors[-1]:.2f}")


def _spark(values: Array, top: float = 1.0) -> str:
    """A row of numbers in [0, top] as a row of characters, the fuller the higher."""
    ramp = " .:-=+*#%@"
    return "".join(ramp[round(height)] for height in np.clip(values / top, 0, 1) * (len(ramp) - 1))


if __name__ == "__main__":
    demo()
