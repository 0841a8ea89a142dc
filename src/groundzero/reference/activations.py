"""Activations: the bends that let a network be more than one big matrix.

Two linear maps in a row are again one linear map: without something bent between them, depth would add nothing.
An activation is a bent function applied to each number alone. Four are used in language models:

    ReLU(x)   = max(0, x)                          a hinge; its slope is 0 or 1
    ReLU^2(x) = max(0, x)^2                        a hinge with a soft start (So et al. 2021)
    GELU(x)   = x * Phi(x)                         x times the chance that a normal draw lies below x
                                                   (Hendrycks & Gimpel 2016); `tanh` is GPT-2's approximation of it
    SiLU(x)   = x * sigmoid(x)                     nearly the same shape, cheaper; the gate of SwiGLU

and one function works on a whole row: softmax turns any scores into positive numbers that sum to one.

    softmax(x)_i = exp(x_i) / sum_j exp(x_j)

Each function here comes with its backward: given d_y, the gradient of its output, it returns d_x. For a function of one
number that is the slope: d_x = d_y * f'(x). For softmax every output depends on every input, and the chain rule sums
over all of them; see `softmax_backward`.

Run me: `python -m groundzero.reference.activations`
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from groundzero.reference.module import Array


def softmax(x: Array) -> Array:
    """Scores to probabilities over the last axis; -inf becomes exactly 0.

    The largest score is subtracted first. It cancels in the fraction, and no exp can overflow: the largest is exp(0).
    A row of nothing but -inf has no probabilities; it becomes all zeros (a query that may see no key takes nothing).
    """
    largest = x.max(axis=-1, keepdims=True)
    y = x - np.where(np.isfinite(largest), largest, 0.0).astype(x.dtype)
    np.exp(y, out=y)
    total = y.sum(axis=-1, keepdims=True)
    y /= np.where(total == 0.0, 1.0, total).astype(x.dtype)
    return y


def softmax_backward(d_y: Array, y: Array) -> Array:
    """Through softmax, from its output y.

    With y_i = e^{x_i} / S:  dy_i/dx_j = y_i (1[i = j] - y_j). Hence d_x_j = sum_i d_y_i dy_i/dx_j
    = y_j (d_y_j - sum_i d_y_i y_i): each gradient minus the row's weighted mean of gradients. Their sum is zero, as it
    must be: adding the same number to all scores changes nothing.
    """
    d_x = d_y * y
    d_x -= y * d_x.sum(axis=-1, keepdims=True)
    return d_x


def relu(x: Array) -> Array:
    """max(0, x)."""
    return np.maximum(x, 0.0)


def relu_backward(d_y: Array, x: Array) -> Array:
    """Slope 1 where x > 0, else 0."""
    return d_y * (x > 0)


def relu_squared(x: Array) -> Array:
    """max(0, x)^2 (So et al. 2021, "Primer")."""
    return np.square(np.maximum(x, 0.0))


def relu_squared_backward(d_y: Array, x: Array) -> Array:
    """Slope 2 max(0, x)."""
    return d_y * (2.0 * np.maximum(x, 0.0))


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), written with tanh so that no exp overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def silu(x: Array) -> Array:
    """x sigmoid(x), also called swish (Elfwing et al. 2017)."""
    return x * sigmoid(x)


def silu_backward(d_y: Array, x: Array) -> Array:
    """Slope s + x s (1 - s), with s = sigmoid(x) and ds/dx = s (1 - s)."""
    s = sigmoid(x)
    return d_y * (s * (1.0 + x * (1.0 - s)))


def normal_density(x: Array) -> Array:
    """phi(x) = e^(-x^2/2) / sqrt(2 pi)."""
    return np.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))


def normal_below(x: Array) -> Array:
    """Phi(x), the chance that a draw from the standard normal lies below x.

    In float64 it is the standard library's erfc, number by number. In float32 it is Abramowitz & Stegun 7.1.26, a
    polynomial in t = 1 / (1 + p|x|) times the density, with an error below 7.5e-8: a hundred times faster.
    """
    if x.dtype != np.float32:
        each = np.frompyfunc(math.erfc, 1, 1)
        return np.asarray(0.5 * each(x * -math.sqrt(0.5)).astype(np.float64))
    t = 1.0 / (1.0 + (0.3275911 * math.sqrt(0.5)) * np.abs(x))
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * polynomial * np.exp(-0.5 * x * x)
    return np.where(x < 0, tail, 1.0 - tail)


def gelu(x: Array) -> Array:
    """x Phi(x), exactly (Hendrycks & Gimpel 2016)."""
    return x * normal_below(x)


def gelu_backward(d_y: Array, x: Array) -> Array:
    """Slope Phi(x) + x phi(x): the product rule, and the slope of Phi is the density phi."""
    return d_y * (normal_below(x) + x * normal_density(x))


_TANH_SCALE, _TANH_CUBIC = math.sqrt(2.0 / math.pi), 0.044715


def gelu_tanh(x: Array) -> Array:
    """GPT-2's approximation: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    return 0.5 * x * (1.0 + np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x)))


def gelu_tanh_backward(d_y: Array, x: Array) -> Array:
    """With u the argument of tanh: slope (1 + tanh u)/2 + x/2 (1 - tanh^2 u) du/dx."""
    squared = x * x
    tanh = np.tanh(_TANH_SCALE * x * (1.0 + _TANH_CUBIC * squared))
    d_u = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBIC * squared)
    return d_y * (0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * d_u)


Forward = Callable[[Array], Array]
Backward = Callable[[Array, Array], Array]

ACTIVATIONS: dict[str, tuple[Forward, Backward]] = {
    "relu": (relu, relu_backward),
    "relu2": (relu_squared, relu_squared_backward),
    "silu": (silu, silu_backward),
    "gelu": (gelu, gelu_backward),
    "gelu_tanh": (gelu_tanh, gelu_tanh_backward),
}
"""Each activation and its backward, by the name that a config uses."""


def demo() -> None:
    """Draw the bends, and show what softmax makes of scores."""
    print("An activation bends each number. Negative inputs are (almost) silenced, positive ones pass:\n")
    xs = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    print("  x        " + "".join(f"{x:8.2f}" for x in xs))
    for name, (forward, _) in ACTIVATIONS.items():
        print(f"  {name:9s}" + "".join(f"{y:8.3f}" for y in forward(xs)))
    print("\nThe slope says how much of a gradient passes back at each x (0: none, nothing is learnt there):\n")
    for name, (_, backward) in ACTIVATIONS.items():
        print(f"  {name:9s}" + "".join(f"{y:8.3f}" for y in backward(np.ones_like(xs), xs)))
    print("\nGELU, drawn (x from -4 to 4):\n")
    for level in (3, 2, 1, 0):
        line = "".join("*" if round(float(y)) == level else " " for y in gelu(np.linspace(-4, 4, 65)))
        print(f"  {level:2d} |{line}")
    print("\nSoftmax turns scores into shares of one. Adding 100 to each changes nothing; doubling each sharpens:\n")
    scores = np.array([1.0, 2.0, 3.0])
    for label, row in (("scores", scores), ("scores + 100", scores + 100), ("scores * 2", scores * 2)):
        print(f"  softmax of {label:13s} {row} = {np.round(softmax(row), 3)}  (sum {softmax(row).sum():.0f})")
    print(f"\n  -inf means 'not you': softmax([1, -inf, 3]) = {np.round(softmax(np.array([1.0, -np.inf, 3.0])), 3)}")
    pushed = softmax_backward(np.array([0.0, 0.0, 1.0]), softmax(scores))
    print(f"  Wanting more of the third share pushes its score up, the others down: {np.round(pushed, 3)} (sum 0)")


if __name__ == "__main__":
    demo()
