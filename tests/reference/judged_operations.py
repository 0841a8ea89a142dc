"""Functions and simple layers with a backward, each as a trial for the judges: at random points, in odd shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from groundzero.reference import activations, attention, layers, lora, model
from groundzero.reference.module import Array, Sequence
from tests.reference.judge import Tensors, Trial, freeze_dropout, of_module

Draw = Callable[[st.SearchStrategy[Any]], Any]
TRIALS: dict[str, tuple[tuple[object, ...], Callable[[Draw, np.random.Generator], Trial]]] = {}
"""By name: what is judged, and how to draw a trial of it."""


def judges(*things: object) -> Callable[[Any], Any]:
    """Enter a function that draws trials; `things` are the functions or classes that they judge."""

    def enter(draw_trial: Any) -> Any:
        TRIALS[draw_trial.__name__] = things, draw_trial
        return draw_trial

    return enter


def leading(draw: Draw) -> tuple[int, ...]:
    """Axes in front of the last: none, one or two, of length one or more."""
    return tuple(draw(st.lists(st.integers(1, 3), max_size=2)))


def of_function(
    forward: Callable[[Array], Array], backward: Callable[[Array], Array], x: Array, expression: Callable[[Any], Any]
) -> Trial:
    """A trial of a function of one array."""
    return Trial({"x": x}, lambda: forward(x), lambda d_y: {"x": backward(d_y)}, lambda t: expression(t["x"]))


# --- activations -----------------------------------------------------------------------------------------------------

EXPRESSIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "relu2": lambda x: torch.where(x > 0, x * x, 0.0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
}


@judges(*(backward for _, backward in activations.ACTIVATIONS.values()))
def an_activation(draw: Draw, rng: np.random.Generator) -> Trial:
    name = draw(st.sampled_from(sorted(activations.ACTIVATIONS)))
    x = away_from_zero(2 * rng.standard_normal((*leading(draw), draw(st.integers(1, 7)))))
    forward, backward = activations.ACTIVATIONS[name]
    return of_function(forward, lambda d_y: backward(d_y, x), x, EXPRESSIONS[name])


def away_from_zero(x: Array) -> Array:
    """Hinges have a corner at zero, where trying both ways finds the mean of two slopes."""
    return np.where(np.abs(x) < 1e-3, 0.1, x)


@judges(activations.softmax_backward)
def softmax(draw: Draw, rng: np.random.Generator) -> Trial:
    """With entries, and perhaps a whole row, at -inf."""
    x = 3 * rng.standard_normal((*leading(draw), draw(st.integers(1, 6))))
    hidden = rng.random(x.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))

    def forward() -> Array:
        return activations.softmax(np.where(hidden, -np.inf, x))

    def backward(d_y: Array) -> dict[str, Array]:
        return {"x": np.where(hidden, 0.0, activations.softmax_backward(d_y, forward()))}

    def expression(t: Tensors) -> torch.Tensor:
        return shares(t["x"], torch.from_numpy(~hidden))

    return Trial({"x": x}, forward, backward, expression)


def shares(scores: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Softmax over what is visible; zeros where nothing is."""
    risen = torch.exp(scores) * visible
    total = risen.sum(-1, keepdim=True)
    return risen / torch.where(total > 0, total, 1.0)


# --- layers ----------------------------------------------------------------------------------------------------------


@judges(layers.layer_norm_backward)
def layer_norm(draw: Draw, rng: np.random.Generator) -> Trial:
    x, eps = rng.standard_normal((*leading(draw), draw(st.integers(1, 6)))) + 1.0, draw(st.sampled_from([1e-3, 0.5]))
    return of_function(
        lambda x: layers.layer_norm(x, eps)[0],
        lambda d_y: layers.layer_norm_backward(d_y, *layers.layer_norm(x, eps)),
        x,
        lambda x: unit_variance(x, eps),
    )


@judges(layers.rms_norm_backward)
def rms_norm(draw: Draw, rng: np.random.Generator) -> Trial:
    x, eps = rng.standard_normal((*leading(draw), draw(st.integers(1, 6)))) + 1.0, draw(st.sampled_from([1e-3, 0.5]))
    return of_function(
        lambda x: layers.rms_norm(x, eps)[0],
        lambda d_y: layers.rms_norm_backward(d_y, *layers.rms_norm(x, eps)),
        x,
        lambda x: unit_square(x, eps),
    )


def unit_variance(x: torch.Tensor, eps: float) -> torch.Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt()


def unit_square(x: torch.Tensor, eps: float) -> torch.Tensor:
    return x / ((x * x).mean(-1, keepdim=True) + eps) ** 0.5


@judges(layers.rotate_backward)
def rotate(draw: Draw, rng: np.random.Generator) -> Trial:
    n_token, half = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    x = rng.standard_normal((*leading(draw), n_token, 2 * half))
    angle_TR = 3 * rng.standard_normal((n_token, half))
    turn = np.cos(angle_TR), np.sin(angle_TR)
    return of_function(
        lambda x: layers.rotate(x, *turn),
        lambda d_y: layers.rotate_backward(d_y, *turn),
        x,
        lambda x: turned(x, torch.from_numpy(angle_TR)),
    )


def turned(x: torch.Tensor, angle_TR: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
    """Pairs (i, i + R/2) as complex numbers, multiplied by e^(i angle)."""
    half = x.shape[-1] // 2
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.full_like(angle_TR, factor), angle_TR)
    return torch.cat((z.real, z.imag), dim=-1)


@judges(layers.Linear)
def linear(draw: Draw, rng: np.random.Generator) -> Trial:
    n_in, n_out, bias = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.booleans())
    layer = layers.Linear(n_in, n_out, bias=bias, rng=rng)
    return of_module(layer, {"x": rng.standard_normal((*leading(draw), n_in))}, lambda t: affine(t, "", t["x"]))


def affine(t: Tensors, prefix: str, x: torch.Tensor) -> torch.Tensor:
    """The linear layer whose parameters begin with `prefix`."""
    y = torch.einsum("...i,oi->...o", x, t[f"{prefix}weight"])
    return y + t[f"{prefix}bias"] if f"{prefix}bias" in t else y


@judges(layers.Embedding)
def embedding(draw: Draw, rng: np.random.Generator) -> Trial:
    """Tokens stand in it several times, once, or never."""
    n_row = draw(st.integers(1, 5))
    ids = rng.integers(0, n_row, leading(draw) or (1,))
    layer = layers.Embedding(n_row, draw(st.integers(1, 3)), rng=rng)
    one_hot = torch.eye(n_row, dtype=torch.float64)[torch.from_numpy(ids)]
    return of_module(layer, {}, lambda t: one_hot @ t["weight"], forward=lambda: layer(ids))


@judges(layers.Norm, layers.LayerNorm, layers.RMSNorm)
def a_norm(draw: Draw, rng: np.random.Generator) -> Trial:
    width, affine_too = draw(st.integers(1, 6)), draw(st.booleans())
    kind = draw(st.sampled_from([layers.LayerNorm, layers.RMSNorm]))
    layer = kind(width, eps=0.01, affine=affine_too)
    x = rng.standard_normal((*leading(draw), width)) + 1.0
    return of_module(layer, {"x": x}, lambda t: normed(t, "", t["x"], kind is layers.LayerNorm, 0.01))


def normed(t: Tensors, prefix: str, x: torch.Tensor, subtracts_mean: bool, eps: float) -> torch.Tensor:
    """The norm whose parameters, if it has any, begin with `prefix`."""
    y = unit_variance(x, eps) if subtracts_mean else unit_square(x, eps)
    y = y * t[f"{prefix}weight"] if f"{prefix}weight" in t else y
    return y + t[f"{prefix}bias"] if f"{prefix}bias" in t else y


@judges(layers.Dropout)
def dropout(draw: Draw, rng: np.random.Generator) -> Trial:
    """In training it silences the same units each time; outside training none."""
    layer = layers.Dropout(draw(st.sampled_from([0.0, 0.5, 0.9])), rng)
    layer.train(draw(st.booleans()))
    x = rng.standard_normal((*leading(draw), draw(st.integers(1, 6))))
    return of_module(layer, {"x": x}, lambda t: t["x"] * dropped(layer))


def dropped(layer: layers.Dropout) -> torch.Tensor:
    """What the last forward pass multiplied by: 0, or 1 / (1 - p)."""
    if layer.memory is None:
        return torch.ones(())
    assert set(np.unique(layer.memory)) <= {0.0, 1.0 / (1.0 - layer.probability)}
    return torch.from_numpy(layer.memory)


@judges(Sequence)
def a_sequence(draw: Draw, rng: np.random.Generator) -> Trial:
    width = draw(st.integers(1, 4))
    parts = [layers.Linear(width, 3, rng=rng), layers.LayerNorm(3, eps=0.1), layers.Linear(3, 2, rng=rng)]
    chosen = parts[: draw(st.integers(0, 3))]

    def expression(t: Tensors) -> torch.Tensor:
        y = t["x"]
        for place, part in enumerate(chosen):
            y = affine(t, f"{place}.", y) if isinstance(part, layers.Linear) else normed(t, f"{place}.", y, True, 0.1)
        return y

    return of_module(Sequence(*chosen), {"x": rng.standard_normal((*leading(draw), width))}, expression)


@judges(lora.LoRALinear)
def lora_linear(draw: Draw, rng: np.random.Generator) -> Trial:
    """The frozen weight has no gradient; A, B and the input have."""
    n_in, n_out, rank, alpha = (draw(st.integers(1, 4)) for _ in range(4))
    plain = layers.Linear(n_in, n_out, bias=draw(st.booleans()), rng=rng)
    layer = lora.LoRALinear(plain, rank, float(alpha), rng)

    def expression(t: Tensors) -> torch.Tensor:
        frozen = {name: tensor.detach() for name, tensor in t.items()}
        change = torch.einsum("...i,ri,or->...o", t["x"], t["lora_a"], t["lora_b"])
        return affine(frozen, "", t["x"]) + alpha / rank * change

    trial = of_module(layer, {"x": rng.standard_normal((*leading(draw), n_in))}, expression)
    learnt = {name: array for name, array in trial.arrays.items() if name not in {"weight", "bias"}}

    def backward(d_y: Array) -> dict[str, Array]:
        gradients = dict(trial.backward(d_y))
        assert not gradients.pop("weight").any()
        assert not gradients.pop("bias", np.zeros(1)).any()
        return gradients

    def of_learnt(t: Tensors) -> torch.Tensor:
        return expression(t | {name: torch.from_numpy(trial.arrays[name]) for name in trial.arrays if name not in t})

    return Trial(learnt, trial.forward, backward, of_learnt)


# --- attention and the loss, as functions ----------------------------------------------------------------------------


@judges(attention.scaled_dot_product_attention_backward)
def scaled_dot_product_attention(draw: Draw, rng: np.random.Generator) -> Trial:
    """Under any mask: queries that see all keys, some, or none."""
    batch, n_head, n_query, n_key = (draw(st.integers(1, 3)) for _ in range(4))
    width = draw(st.integers(1, 4))
    arrays = {"q": rng.standard_normal((batch, n_head, n_query, width))}
    arrays |= {name: rng.standard_normal((batch, n_head, n_key, width)) for name in "kv"}
    visible = draw_visible(draw, rng, (batch, 1, n_query, n_key))
    silence = layers.Dropout(draw(st.sampled_from([0.0, 0.5])), rng)
    silence.train()

    def run() -> tuple[Array, Array]:
        freeze_dropout(silence, 0)
        return attention.scaled_dot_product_attention(*arrays.values(), visible, silence)

    def backward(d_out: Array) -> dict[str, Array]:
        gradients = attention.scaled_dot_product_attention_backward(d_out, *arrays.values(), run()[1], silence)
        return dict(zip("qkv", gradients, strict=True))

    def expression(t: Tensors) -> torch.Tensor:
        return attended(t["q"], t["k"], t["v"], visible, dropped(silence))

    return Trial(arrays, lambda: run()[0], backward, expression)


def draw_visible(draw: Draw, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray | None:
    """A mask at random, or none."""
    share = draw(st.sampled_from([None, 0.0, 0.5, 0.9]))
    return None if share is None else rng.random(shape) < share


def attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, visible: np.ndarray | None, kept: torch.Tensor
) -> torch.Tensor:
    """Attention over (B, H, T, E), with the weights multiplied by `kept`."""
    scores = torch.einsum("bhte,bhse->bhts", q, k) / q.shape[-1] ** 0.5
    seen = torch.ones(()) if visible is None else torch.from_numpy(visible)
    return torch.einsum("bhts,bhse->bhte", shares(scores, seen) * kept, v)


@judges(model.cross_entropy)
def cross_entropy(draw: Draw, rng: np.random.Generator) -> Trial:
    """Some targets do not count, perhaps all of them."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 6)))
    x, targets = 3 * rng.standard_normal(shape), rng.integers(-1, shape[-1], shape[:2])
    targets[rng.random(targets.shape) < draw(st.sampled_from([0.0, 1.0]))] = -1
    counted = torch.from_numpy(targets >= 0)

    def expression(t: Tensors) -> torch.Tensor:
        log_p = t["x"] - torch.log(torch.exp(t["x"]).sum(-1, keepdim=True))
        true = log_p.gather(-1, torch.from_numpy(targets).clamp(min=0)[..., None])[..., 0]
        return -(true * counted).sum() / max(1, int(counted.sum()))

    return Trial(
        {"x": x},
        lambda: np.array(model.cross_entropy(x, targets)[0]),
        lambda d_loss: {"x": d_loss * model.cross_entropy(x, targets)[1]},
        expression,
    )
