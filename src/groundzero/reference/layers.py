"""Layers: the small parts that a transformer is built of, each with its gradient worked out by hand.

Shapes: B batch, T time, D width, I inputs, O outputs, V vocabulary, R rotated units of a head; N stands for any number
of leading axes (all tokens of all sequences, say).

    Embedding    a table: row number `id` is the vector of that token
    Linear       y = x W^T + b: every output is a weighted sum of all inputs
    LayerNorm    shift and scale each vector to mean 0 and variance 1, so that depth neither swells nor shrinks it
    RMSNorm      the same without the shift: divide by the root mean square
    Dropout      in training, silence random units, so that none is relied on alone
    positions    attention sees a set; these tell it the order: `sinusoids` and learned tables are added to the
                 embeddings, `rotate` turns queries and keys so that their product depends on how far apart they stand

How to read a backward. Take y = x W^T + b, that is y_o = sum_i x_i W_oi + b_o. A change of W_oi changes y_o alone, x_i
times as much: d_W_oi = d_y_o x_i, added up over all tokens, which is d_W = d_y^T x. A change of x_i changes every y_o,
W_oi times as much: d_x_i = sum_o d_y_o W_oi, which is d_x = d_y W. Shapes alone nearly dictate the result: d_W must
have the shape of W, and only one product of d_y and x has it.

Run me: `python -m groundzero.reference.layers`
"""

from __future__ import annotations

import math

import numpy as np

from groundzero.reference.config import RotaryScaling
from groundzero.reference.module import Array, Ids, Module, Parameter


class Linear(Module):
    """y = x W^T + b. Weight (O, I), as PyTorch and Hugging Face store it."""

    def __init__(
        self, n_in: int, n_out: int, *, bias: bool = True, rng: np.random.Generator, std: float = 0.02
    ) -> None:
        self.weight = Parameter(_normal(rng, (n_out, n_in), std))
        if bias:
            self.bias = Parameter(np.zeros(n_out, dtype=np.float32))

    def forward(self, x_NI: Array) -> Array:
        """Returns y_NO. All tokens are rows of one matrix, so that it is one matrix product."""
        self.memory = x_NI
        y_NO = x_NI.reshape(-1, x_NI.shape[-1]) @ self.weight.value.T
        if hasattr(self, "bias"):
            y_NO += self.bias.value
        return y_NO.reshape(*x_NI.shape[:-1], -1)

    def backward(self, d_y_NO: Array) -> Array:
        """d_W = d_y^T x, d_b = sum of d_y over tokens, d_x = d_y W."""
        x_NI: Array = self.memory
        rows_NO = d_y_NO.reshape(-1, d_y_NO.shape[-1])
        self.weight.gradient += rows_NO.T @ x_NI.reshape(-1, x_NI.shape[-1])
        if hasattr(self, "bias"):
            self.bias.gradient += rows_NO.sum(axis=0)
        return (rows_NO @ self.weight.value).reshape(x_NI.shape)


class Embedding(Module):
    """Row `id` of a table (V, D). The same as Linear on one-hot vectors, without multiplying by all the zeros."""

    def __init__(self, n_row: int, width: int, *, rng: np.random.Generator, std: float = 0.02) -> None:
        self.weight = Parameter(_normal(rng, (n_row, width), std))

    def forward(self, ids_N: Ids) -> Array:
        """Returns x_ND."""
        self.memory = ids_N
        return self.weight.value[ids_N]

    def backward(self, d_x_ND: Array) -> None:
        """Each row collects the gradients of all the places where its token stood. Ids have no gradient."""
        ids_N: Ids = self.memory
        rows_ND = d_x_ND.reshape(-1, d_x_ND.shape[-1])
        order = np.argsort(ids_N, axis=None, kind="stable")  # equal ids side by side: each run is one sum
        ids, starts = np.unique(ids_N.reshape(-1)[order], return_index=True)
        self.weight.gradient[ids] += np.add.reduceat(rows_ND[order], starts, axis=0)


def layer_norm(x_ND: Array, eps: float) -> tuple[Array, Array]:
    """(x - mean) / sqrt(variance + eps) over the last axis (Ba et al. 2016).

    Returns:
        The normalised x_ND, and 1 / sqrt(variance + eps), which the backward needs, (..., 1).
    """
    centred_ND = x_ND - x_ND.mean(axis=-1, keepdims=True)
    inverse_N1 = 1.0 / np.sqrt(np.square(centred_ND).mean(axis=-1, keepdims=True) + eps)
    return centred_ND * inverse_N1, inverse_N1


def layer_norm_backward(d_y_ND: Array, y_ND: Array, inverse_N1: Array) -> Array:
    """Through the normalisation, from its output y.

    x enters y three times: itself, through the mean, and through the variance. Collected:
    d_x = (d_y - mean(d_y) - y mean(d_y y)) / sqrt(variance + eps). Read: what a norm ignores (a common shift, a common
    scale) cannot have a gradient, so both components are removed from d_y.
    """
    along_N1 = (d_y_ND * y_ND).mean(axis=-1, keepdims=True)
    return (d_y_ND - d_y_ND.mean(axis=-1, keepdims=True) - y_ND * along_N1) * inverse_N1  # type: ignore[no-any-return]


def rms_norm(x_ND: Array, eps: float) -> tuple[Array, Array]:
    """x / sqrt(mean(x^2) + eps) over the last axis (Zhang & Sennrich 2019).

    Returns:
        The normalised x_ND, and 1 / sqrt(mean(x^2) + eps), which the backward needs, (..., 1).
    """
    inverse_N1 = 1.0 / np.sqrt(np.square(x_ND).mean(axis=-1, keepdims=True) + eps)
    return x_ND * inverse_N1, inverse_N1


def rms_norm_backward(d_y_ND: Array, y_ND: Array, inverse_N1: Array) -> Array:
    """As for `layer_norm_backward`, but only the scale is ignored: d_x = (d_y - y mean(d_y y)) / rms."""
    along_N1 = (d_y_ND * y_ND).mean(axis=-1, keepdims=True)
    return (d_y_ND - y_ND * along_N1) * inverse_N1  # type: ignore[no-any-return]


class Norm(Module):
    """A norm followed by a learnt scale (and, for LayerNorm, shift) of each unit; or by nothing when not `affine`."""

    subtracts_mean: bool

    def __init__(self, width: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        self.eps = eps
        if affine:
            self.weight = Parameter(np.ones(width, dtype=np.float32))
            if self.subtracts_mean:
                self.bias = Parameter(np.zeros(width, dtype=np.float32))

    def forward(self, x_ND: Array) -> Array:
        """Returns y_ND = weight * normalised(x) + bias."""
        normalise = layer_norm if self.subtracts_mean else rms_norm
        self.memory = normal_ND, _ = normalise(x_ND, self.eps)
        y_ND = normal_ND * self.weight.value if hasattr(self, "weight") else normal_ND
        return y_ND + self.bias.value if hasattr(self, "bias") else y_ND

    def backward(self, d_y_ND: Array) -> Array:
        """The scale and shift first, as they came last; then the norm."""
        normal_ND, inverse_N1 = self.memory
        if hasattr(self, "bias"):
            self.bias.gradient += _over_tokens(d_y_ND)
        if hasattr(self, "weight"):
            self.weight.gradient += _over_tokens(d_y_ND * normal_ND)
            d_y_ND = d_y_ND * self.weight.value
        back = layer_norm_backward if self.subtracts_mean else rms_norm_backward
        return back(d_y_ND, normal_ND, inverse_N1)


class LayerNorm(Norm):
    """Mean 0, variance 1, then scale and shift (Ba et al. 2016)."""

    subtracts_mean = True


class RMSNorm(Norm):
    """Root mean square 1, then scale (Zhang & Sennrich 2019)."""

    subtracts_mean = False


class Dropout(Module):
    """In training, set each number to 0 with this probability and enlarge the others so that the mean stays."""

    def __init__(self, probability: float, rng: np.random.Generator) -> None:
        self.probability, self.rng = probability, rng

    def forward(self, x: Array) -> Array:
        """x itself outside training."""
        self.memory = None
        if not self.training or not self.probability:
            return x
        keep = 1.0 - self.probability
        self.memory = (self.rng.random(x.shape, dtype=np.float32) < keep).astype(x.dtype) / keep
        return x * self.memory  # type: ignore[no-any-return]

    def backward(self, d_y: Array) -> Array:
        """What was silenced has no gradient; the rest is enlarged as it was."""
        return d_y if self.memory is None else d_y * self.memory


def sinusoids(n_position: int, width: int) -> Array:
    """Fixed positions of Vaswani et al. (2017), section 3.5.

    PE(t, 2i) = sin(t / 10000^(2i/D)) and PE(t, 2i+1) = cos of the same: clock hands, each slower than the one before.

    Returns:
        table_TD, float64.
    """
    angle_TD = np.arange(n_position)[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table_TD = np.zeros((n_position, width))
    table_TD[:, 0::2] = np.sin(angle_TD)
    table_TD[:, 1::2] = np.cos(angle_TD)[:, : width // 2]
    return table_TD


def rotary_frequencies(width: int, base: float, scaling: RotaryScaling | None = None) -> tuple[Array, float]:
    """Radians per position of each rotated pair: base^(-2i/R), from one radian down to almost none (Su et al. 2021).

    Returns:
        frequency (R/2,), float64; and the factor by which YaRN lengthens queries and keys, else 1
        (Peng et al. 2023, equations 16-22).
    """
    frequency_R = base ** (-np.arange(0, width, 2) / width)
    if scaling is None:
        return frequency_R, 1.0
    if scaling.method == "linear":
        return frequency_R / scaling.factor, 1.0

    def pair_that_turns(turns: float) -> float:
        return width * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    first = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    last = min(math.ceil(pair_that_turns(scaling.beta_slow)), width - 1)
    keep_R = 1.0 - np.clip((np.arange(width // 2) - first) / max(last - first, 0.001), 0.0, 1.0)
    return frequency_R * (keep_R + (1.0 - keep_R) / scaling.factor), 0.1 * math.log(scaling.factor) + 1.0


def rotary_tables(positions: Ids, frequency_R: Array, factor: float = 1.0) -> tuple[Array, Array]:
    """cos and sin of each position's angles, float64: (T, R/2), or (B, T, R/2) for positions_BT."""
    angle = positions[..., None] * frequency_R
    return np.cos(angle) * factor, np.sin(angle) * factor


def rotate(x_NTR: Array, cos_TR: Array, sin_TR: Array) -> Array:
    """Turn each pair of units (i, i + R/2) by its position's angle: (a, b) -> (a cos - b sin, b cos + a sin).

    Turning a query by its position and a key by its own leaves a product that knows only the difference of the two.
    """
    half = x_NTR.shape[-1] // 2
    a_NTR, b_NTR = x_NTR[..., :half], x_NTR[..., half:]
    return np.concatenate((a_NTR * cos_TR - b_NTR * sin_TR, b_NTR * cos_TR + a_NTR * sin_TR), axis=-1)


def rotate_backward(d_y_NTR: Array, cos_TR: Array, sin_TR: Array) -> Array:
    """A rotation's transpose is the rotation back."""
    return rotate(d_y_NTR, cos_TR, -sin_TR)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Array:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(std)


def _over_tokens(d_ND: Array) -> Array:
    """Sum over all axes but the last."""
    return d_ND.reshape(-1, d_ND.shape[-1]).sum(axis=0)  # type: ignore[no-any-return]


def demo() -> None:
    """Show each layer at work on numbers small enough to follow."""
    rng = np.random.default_rng(0)
    np.set_printoptions(precision=3, suppress=True)
    embedding = Embedding(5, 4, rng=rng, std=1.0)
    ids = np.array([3, 1, 3])
    x = embedding(ids)
    print("Embedding: a table with 5 rows of 4 numbers. Tokens [3 1 3] become their rows; both 3s get the same one:\n")
    print(x)
    embedding.backward(np.ones_like(x))
    print("\nSend a gradient of 1 into every number. Row 3 was used twice, so it collects 2; unused rows stay at 0:\n")
    print(embedding.weight.gradient)

    linear = Linear(4, 2, rng=rng, std=1.0)
    print(f"\nLinear: 4 numbers in, 2 out; each output is a weighted sum of the inputs:\n\n{linear(x)}")
    d_x = linear.backward(np.ones((3, 2)))
    print(
        f"\nIts backward makes d_W {linear.weight.gradient.shape}, shaped like W, and d_x {d_x.shape}, shaped like x."
    )

    wild = np.array([[1.0, 2.0, 3.0, 4.0], [100.0, 200.0, 300.0, 400.0]])
    print("\nNorms: two vectors, one a hundred times the other, leave as the same:\n")
    print(f"LayerNorm (mean 0, variance 1):\n{LayerNorm(4)(wild)}\nRMSNorm (mean square 1):\n{RMSNorm(4)(wild)}")
    print("\nso a gradient along the vector itself cannot pass back through RMSNorm (scaling x changes nothing):")
    norm = RMSNorm(4, eps=0.0)
    y = norm(wild)
    print(np.abs(norm.backward(y)).max().round(9))

    dropout = Dropout(0.5, rng)
    dropout.train()
    print(f"\nDropout of one half, in training: {dropout(np.ones(8))}; the survivors are doubled, the mean stays.")

    print(
        "\nSinusoidal positions are clock hands, fast ones left, slow ones right (4 of 8 hands at times 0, 1, 2, 30):\n"
    )
    print(sinusoids(31, 16)[[0, 1, 2, 30], ::4])
    print("\nRotary positions turn queries and keys instead. Only the distance is left in their product:\n")
    frequency, _ = rotary_frequencies(4, 100.0)
    query, key = rng.standard_normal(4), rng.standard_normal(4)
    for at_query, at_key in ((2, 0), (7, 5), (102, 100), (7, 0)):
        turned = [
            rotate(vector[None], *rotary_tables(np.array([at]), frequency))[0]
            for vector, at in ((query, at_query), (key, at_key))
        ]
        product = turned[0] @ turned[1]
        print(f"  query at {at_query:3d}, key at {at_key:3d}: distance {at_query - at_key}, product {product:.6f}")


if __name__ == "__main__":
    demo()
