"""The small parts: linear maps, norms, positions and the feed-forward layer.

Shapes: B batch, T time, D d_model, F d_ff, H heads, E head_dim, R rotated units of a head.

Weights stay in their own precision; activations carry the precision of the computation, and every layer casts its
weight to that of its input. Mixed precision is therefore decided by whoever embeds the tokens, and no layer knows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundzero.model.config import GPTConfig
from groundzero.model.fused import relu_squared, rms_norm


class Linear(nn.Linear):
    """`y = x W^T + b` in the precision of `x`."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


def linear_together(layers: Sequence[nn.Module], x_BTD: Tensor) -> Sequence[Tensor]:
    """Several linear maps of the same input.

    In training their weights are joined into one matrix product, which saves the sum of input gradients and is faster
    for narrow layers; without gradients the copy would cost more than it saves.
    """
    joined = torch.is_grad_enabled() and all(type(layer) is Linear for layer in layers)
    if not joined:
        return [layer(x_BTD) for layer in layers]
    plain = [layer for layer in layers if isinstance(layer, Linear)]
    weight = torch.cat([layer.weight for layer in plain]).to(x_BTD.dtype)
    biases = [layer.bias for layer in plain if layer.bias is not None]
    bias = torch.cat(tuple(biases)).to(x_BTD.dtype) if biases else None
    return torch.split(F.linear(x_BTD, weight, bias), [layer.out_features for layer in plain], dim=-1)


class LayerNorm(nn.Module):
    """Zero mean, unit variance over the last axis, then scale and shift (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float, affine: bool = True) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, (self.width,), weight, bias, self.eps)


class RMSNorm(nn.Module):
    """Unit root mean square over the last axis, then scale (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float, affine: bool = True) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def make_norm(config: GPTConfig) -> nn.Module:
    """The norm the config asks for, over the residual stream."""
    norm = LayerNorm if config.norm == "layernorm" else RMSNorm
    return norm(config.d_model, config.norm_eps, config.norm_affine)


def sinusoids(n_position: int, width: int) -> Tensor:
    """Fixed positions of Vaswani et al. (2017), section 3.5: sine in even units, cosine in odd ones.

    Returns:
        table_TD: float64, T = n_position, D = width.
    """
    position_T1 = torch.arange(n_position, dtype=torch.float64)[:, None]
    frequency_D = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    angle_TD = position_T1 * frequency_D
    table_TD = torch.zeros(n_position, width, dtype=torch.float64)
    table_TD[:, 0::2] = angle_TD.sin()
    table_TD[:, 1::2] = angle_TD.cos()[:, : width // 2]
    return table_TD


def rotary_frequencies(config: GPTConfig) -> tuple[Tensor, float]:
    """Radians per position of each rotated pair, and the factor that scales cosine and sine.

    Su et al. (2021), equation 15; linear interpolation after Chen et al. (2023); YaRN after Peng et al. (2023),
    equations 16-22, whose attention temperature is the returned factor, 0.1 ln(s) + 1.

    Returns:
        frequency_R: float64, one per pair (R/2); and the factor, 1.0 unless YaRN.
    """
    dim, base = config.rotary_dim, config.rotary_base
    frequency_R = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    scaling = config.rotary_scaling
    if scaling is None:
        return frequency_R, 1.0
    if scaling.method == "linear":
        return frequency_R / scaling.factor, 1.0

    def pair_with(turns: float) -> float:
        """Index of the pair that turns this often over the original context."""
        return dim * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_with(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_with(scaling.beta_slow)), dim - 1)
    ramp_R = (torch.arange(dim // 2, dtype=torch.float64) - low) / max(high - low, 0.001)
    keep_R = 1.0 - ramp_R.clamp(0.0, 1.0)
    frequency_R = frequency_R / scaling.factor * (1 - keep_R) + frequency_R * keep_R
    return frequency_R, 0.1 * math.log(scaling.factor) + 1.0


class Rotary(nn.Module):
    """Cosine and sine tables, and the rotation of queries and keys by their position.

    Pairs are (i, i + R/2), as in Hugging Face's and llama.cpp's NEOX layout, so that weights move without permuting.
    The tables take the precision that the model is moved to, computed anew and not rounded twice.
    """

    cos_TR: Tensor
    sin_TR: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        cos_TR, sin_TR = self._tables(config.context)
        self.register_buffer("cos_TR", cos_TR.float(), persistent=False)
        self.register_buffer("sin_TR", sin_TR.float(), persistent=False)

    def _tables(self, n_position: int) -> tuple[Tensor, Tensor]:
        frequency_R, factor = rotary_frequencies(self.config)
        angle_TR = torch.arange(n_position, dtype=torch.float64)[:, None] * frequency_R
        angle_TR = torch.cat((angle_TR, angle_TR), dim=-1)
        sign_R = torch.ones(2 * len(frequency_R), dtype=torch.float64)
        sign_R[
            : len(frequency_R)
        ] = -1.0  # the rotation's minus sign, kept in the table so that `rotate` is two products
        return angle_TR.cos() * factor, angle_TR.sin() * factor * sign_R

    def reset_tables(self) -> None:
        """Fill the tables again, where they lie."""
        for buffer_TR, table_TR in zip((self.cos_TR, self.sin_TR), self._tables(len(self.cos_TR)), strict=True):
            buffer_TR.copy_(table_TR)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow the model to another device or precision."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.reset_tables()
        return self

    def at(self, positions: Tensor | slice, longest: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Tables at the given positions, grown when a sequence outruns the trained context.

        Args:
            positions: positions_BT, or a slice when every row stands at the same places.
            longest: one more than the largest position asked for.

        Returns:
            cos, sin: (T, R) for a slice, (B, T, R) for a tensor of positions; add a head axis before use.
        """
        if longest > len(self.cos_TR):
            cos_TR, sin_TR = self._tables(2 * longest)
            self.cos_TR, self.sin_TR = cos_TR.to(self.cos_TR), sin_TR.to(self.sin_TR)
        return self.cos_TR[positions].to(dtype), self.sin_TR[positions].to(dtype)


class FeedForward(nn.Module):
    """Widen, bend, narrow: the part of a block that looks at each token alone."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = config.activation
        bias = config.feed_forward_bias
        if config.activation == "swiglu":
            self.gate = Linear(config.d_model, config.d_ff, bias=bias)
        self.up = Linear(config.d_model, config.d_ff, bias=bias)
        self.down = Linear(config.d_ff, config.d_model, bias=bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if self.activation == "swiglu":  # Shazeer 2020, equation 6
            gate_BTF, up_BTF = linear_together((self.gate, self.up), x_BTD)
            return self.down(F.silu(gate_BTF) * up_BTF)  # type: ignore[no-any-return]
        up_BTF = self.up(x_BTD)
        if self.activation == "relu2":  # So et al. 2021
            hidden_BTF = relu_squared(up_BTF)
        else:  # Hendrycks & Gimpel 2016; tanh is GPT-2's approximation
            hidden_BTF = F.gelu(up_BTF, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return self.down(hidden_BTF)  # type: ignore[no-any-return]
