"""Quantisation: the weights of a trained model in 8 or 4 bits each instead of 32.

A machine that writes text reads every weight once per token, so its speed is the memory's: half the bytes, twice the
tokens. And a weight needs few digits, for what a layer makes of a hundred of them is a sum in which small errors, up as
often as down, largely cancel.

*Affine quantisation* (Jacob et al. 2018) lays an even grid of 2^bits points over the range of the numbers and stores,
for each number, the index of the nearest point:

    scale = (largest - smallest) / (2^bits - 1)         the distance between points
    zero  = round(lowest index - smallest / scale)      the index that stands for 0
    q     = clip(round(x / scale) + zero)               int8: -128..127, int4: -8..7
    x'    = scale * (q - zero)

The range is stretched to include 0, so that 0 comes back as exactly 0 (a padded row must stay silent). Then every x
within it lies between two points, and

    |x - x'| <= scale / 2

The bound says where quality is lost: `scale` follows the *largest* weight. One outlier makes the grid coarse for
everybody who shares it. So weights share a scale with few: not with the whole matrix (one scale per *tensor*), but with
their row (per *row*, so that an output has its own), or with 32 neighbours (per *group*, which 4 bits need). Each group
pays for a scale and a zero of its own; the demonstration prints what that costs and buys.

Two int4 share a byte: the first in the lower half, the second in the upper.

A layer need not unfold its weights to use them. As scale and zero are the same throughout a group, they leave the sum:

    sum_i x_i * scale * (q_i - zero)  =  scale * (sum_i x_i q_i  -  zero * sum_i x_i)

Training needs fractions finer than any grid, so there is no `backward`: quantise when training is over.

Shapes: N tokens, O outputs (rows), I inputs, G groups of S weights each, K groups a row.

Run me: `python -m groundzero.reference.quantize`
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from groundzero.reference.module import Array

Bits = Literal[4, 8]
Codes = NDArray[np.int8]
Bytes = NDArray[np.uint8]
Sharing = Literal["tensor", "row"] | int
"""Who shares a scale: all, a row, or this many neighbours in a row."""


@dataclass(frozen=True)
class Quantized:
    """An array as small whole numbers, with a scale and a zero for each group."""

    packed: Bytes
    """The codes of all groups in a row: int8 as bytes, or two int4 a byte."""
    scale_G1: Array
    """Distance between the points of the grid; its precision is that of the array."""
    zero_G1: Codes
    """The code that stands for 0."""
    shape: tuple[int, ...]
    """Of the array."""
    bits: Bits
    """Of a code."""

    def codes(self) -> Codes:
        """codes_GS, unpacked: a row for each group."""
        size = math.prod(self.shape)
        codes = unpack_int4(self.packed, size) if self.bits == 4 else self.packed.view(np.int8)
        return codes.reshape(len(self.scale_G1), -1)

    def dequantize(self) -> Array:
        """x' = scale * (q - zero), in the shape and precision of the original."""
        steps_GS = np.subtract(self.codes(), self.zero_G1, dtype=np.int16)  # -128 - 127 does not fit in 8 bits
        x: Array = steps_GS.astype(self.scale_G1.dtype)
        x *= self.scale_G1
        return x.reshape(self.shape)

    @property
    def nbytes(self) -> int:
        """Codes, scales and zeros together."""
        return self.packed.nbytes + self.scale_G1.nbytes + self.zero_G1.nbytes


def quantize(x: Array, bits: Bits = 8, sharing: Sharing = "row") -> Quantized:
    """The nearest points of a grid for each group of `x`.

    Args:
        x: any shape; a row is what the last axis runs over.
        sharing: who shares a scale: "tensor", "row", or so many neighbours in a row.

    Raises:
        ValueError: not 4 or 8 bits, a row that the group does not divide, nothing, or numbers that are not finite.
    """
    if bits not in {4, 8}:
        raise ValueError(f"weights are quantised to 4 or 8 bits, not {bits}")
    if not x.size or not (np.abs(x) <= np.finfo(x.dtype).max / 2).all():  # twice that may come up on the way
        raise ValueError(f"an array of shape {x.shape} is empty or holds numbers that are not finite, or hardly so")
    x_GS = x.reshape(-1, _group_size(x.shape, sharing))
    lowest_code, highest_code = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    smallest_G1 = np.minimum(x_GS.min(axis=1, keepdims=True), 0)
    largest_G1 = np.maximum(x_GS.max(axis=1, keepdims=True), 0)
    levels = 2**bits - 1
    scale_G1 = (largest_G1 - smallest_G1) / levels
    # A hair wider, so that the scale's own rounding leaves nobody outside; never 0, which cannot be divided by.
    scale_G1 = np.maximum(scale_G1 * (1 + 4 * np.finfo(x.dtype).eps), np.finfo(x.dtype).tiny)
    scale_G1 = np.where(largest_G1 == smallest_G1, 1, scale_G1).astype(x.dtype)
    zero_G1 = np.rint(lowest_code - smallest_G1 / scale_G1)
    codes_GS = x_GS / scale_G1
    np.rint(codes_GS, out=codes_GS)
    codes_GS += zero_G1
    codes = np.clip(codes_GS, lowest_code, highest_code, out=codes_GS).astype(np.int8).reshape(-1)
    packed = pack_int4(codes) if bits == 4 else codes.view(np.uint8)
    return Quantized(packed, scale_G1, zero_G1.astype(np.int8), x.shape, bits)


def _group_size(shape: tuple[int, ...], sharing: Sharing) -> int:
    columns = shape[-1] if shape else 1
    size = {"tensor": math.prod(shape), "row": columns}[sharing] if isinstance(sharing, str) else sharing
    if sharing != "tensor" and (size < 1 or columns % size):
        raise ValueError(f"groups of {size} do not divide a row of {columns}")
    return size


def pack_int4(codes: Codes) -> Bytes:
    """Codes from -8 to 7, two a byte: the first in the lower half. An odd one at the end shares with a 0.

    A negative code is kept as its lower four bits: -1 is 1111, -8 is 1000 (two's complement).
    """
    nibbles = np.bitwise_and(codes.reshape(-1).view(np.uint8), np.uint8(0x0F))
    if nibbles.size % 2:
        nibbles = np.append(nibbles, np.uint8(0))
    packed: Bytes = nibbles[0::2] | (nibbles[1::2] << 4)
    return packed


def unpack_int4(packed: Bytes, size: int) -> Codes:
    """The `size` codes that `pack_int4` packed.

    Four bits say 0 to 15; those from 8 up mean n - 16. Flipping the highest bit and taking 8 off does just that.
    """
    nibbles = np.empty(2 * packed.size, np.uint8)
    nibbles[0::2] = packed & 0x0F
    nibbles[1::2] = packed >> 4
    return ((nibbles ^ 8).view(np.int8) - np.int8(8))[:size]


class QuantizedLinear:
    """y = x W^T + b with W quantised (O x I); it computes in the precision of x and has no backward.

    Args:
        weight_OI: of a trained layer.
        bias_O: stays as it is: there are too few of them to be worth it.
    """

    def __init__(
        self, weight_OI: Array, bias_O: Array | None = None, *, bits: Bits = 8, sharing: Sharing = "row"
    ) -> None:
        if weight_OI.ndim != 2:
            raise ValueError(f"a linear layer has a matrix, not an array of shape {weight_OI.shape}")
        self.weight, self.bias_O = quantize(weight_OI, bits, sharing), bias_O

    def __call__(self, x_NI: Array) -> Array:
        """Multiply with the codes, and put scale and zero right afterwards: see the last equation above.

        NumPy multiplies fractions fastest, so the codes are widened for it; a kernel would do so in its registers.
        """
        n_out, n_in = self.weight.shape
        n_group = max(1, self.weight.scale_G1.size // n_out)  # a row's; a tensor's one scale serves every row
        rows_NI = x_NI.reshape(-1, n_in)
        x_KNS = rows_NI.reshape(len(rows_NI), n_group, n_in // n_group).swapaxes(0, 1)
        q_KSO = self.weight.codes().reshape(n_out, n_group, -1).transpose(1, 2, 0).astype(x_NI.dtype)
        scale_KO = np.broadcast_to(self.weight.scale_G1.reshape(-1, n_group), (n_out, n_group)).T
        zero_KO = np.broadcast_to(self.weight.zero_G1.reshape(-1, n_group), (n_out, n_group)).T.astype(x_NI.dtype)
        sum_KNO: Array = x_KNS @ q_KSO
        sum_KNO -= x_KNS.sum(axis=2, keepdims=True) * zero_KO[:, None]
        sum_KNO *= scale_KO[:, None]
        y_NO: Array = sum_KNO.sum(axis=0)
        if self.bias_O is not None:
            y_NO += self.bias_O
        return y_NO.reshape(*x_NI.shape[:-1], n_out)


def quantize_weights(
    weights: Mapping[str, Array], bits: Bits = 8, sharing: Sharing = "row"
) -> dict[str, Quantized | Array]:
    """Quantise the matrices inside the blocks of a model; tables and vectors, few or touchy, stay as they are."""
    return {
        name: quantize(array, bits, sharing) if name.startswith("blocks.") and array.ndim == 2 else array
        for name, array in weights.items()
    }


def demo() -> None:
    """Quantise a handful of weights by hand, then a matrix with outliers in every way there is."""
    x = np.array([-0.9, -0.31, -0.02, 0.0, 0.17, 0.5, 1.1])
    by_hand = quantize(x, 4)
    scale, zero, back = by_hand.scale_G1[0, 0], int(by_hand.zero_G1[0, 0]), by_hand.dequantize()
    print(f"Seven weights in 4 bits: 16 points from {x.min()} to {x.max()}, {scale:.4f} apart; code {zero} means 0.\n")
    for name, values in {"weight": x, "code": by_hand.codes()[0], "back": back, "error": back - x}.items():
        print(f"  {name:8}" + "".join(f"{value:8d}" if name == "code" else f"{value:8.3f}" for value in values))
    print(f"\n  No error is above scale / 2 = {scale / 2:.3f}. Two codes a byte, the first in the lower half:", end=" ")
    print(f"{by_hand.packed.tobytes().hex(' ')}\n  The grid (|), and where the weights lie on it (o):\n")
    low, width = x.min() - 0.05, 90 / (x.max() - x.min() + 0.1)
    for character, places in (("|", scale * (np.arange(-8, 8) - zero)), ("o", x)):
        columns = {round((place - low) * width) for place in places}
        print("  " + "".join(character if column in columns else " " for column in range(91)).rstrip())
    _demo_sharing()


def _demo_sharing() -> None:
    rng = np.random.default_rng(0)
    weight_OI = (rng.normal(size=(256, 256)) * 0.02).astype(np.float32)
    weight_OI[rng.integers(0, 256, 40), rng.integers(0, 256, 40)] *= 15  # outliers, as trained matrices have them
    x_NI = rng.normal(size=(64, 256)).astype(np.float32)
    exact_NO = x_NI @ weight_OI.T
    print("\nA matrix of 256 x 256 with 40 outliers, and what the layer y = x W^T then gets wrong:\n")
    print(f"  {'bits':>4}  {'one scale per':14}{'bits a weight':>14}{'bytes':>9}{'error of W':>12}{'error of y':>12}")
    print(f"  {32:4}  {'(float32)':14}{32:14.2f}{weight_OI.nbytes:9}{0:12.2%}{0:12.2%}")
    errors: dict[tuple[int, Sharing], float] = {}
    choices: tuple[Sharing, ...] = ("tensor", "row", 64, 32)
    widths: tuple[Bits, ...] = (8, 4)
    for bits in widths:
        for sharing in choices:
            layer = QuantizedLinear(weight_OI, bits=bits, sharing=sharing)
            off_weight = np.linalg.norm(layer.weight.dequantize() - weight_OI) / np.linalg.norm(weight_OI)
            errors[bits, sharing] = float(np.linalg.norm(layer(x_NI) - exact_NO) / np.linalg.norm(exact_NO))
            name = sharing if isinstance(sharing, str) else f"{sharing} weights"
            each = 8 * layer.weight.nbytes / weight_OI.size
            print(
                f"  {bits:4}  {name:14}{each:14.2f}{layer.weight.nbytes:9}"
                f"{off_weight:12.2%}{errors[bits, sharing]:12.2%}"
            )
    gain = errors[4, "tensor"] / errors[4, 32]
    print(
        f"\n  In 4 bits, scales shared by 32 weights instead of 65,536 make the layer's error {gain:.0f} times smaller."
    )
    print("  In 8 bits a scale per row is enough; it is the default.")


if __name__ == "__main__":
    demo()
