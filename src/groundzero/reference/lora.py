"""LoRA: teach a trained model something new by changing almost nothing of it.

Fine-tuning everything needs, for every weight, a gradient and two more numbers of the optimiser, and gives back a whole
new model. But what a new task changes about a matrix W (O x I) is usually simple: a few directions. Low-rank adaptation
(Hu et al. 2021) freezes W and learns the change as a product of two thin matrices:

    y = x W^T + b + (alpha / r) (x A^T) B^T        A is r x I,  B is O x r,  r small

B starts at zero, so at first nothing changes; A starts random, so that B has something to learn from. (With both at
zero neither would ever move: each one's gradient is multiplied by the other.) A 128 x 128 matrix has 16,384 numbers; at
r = 4 its A and B have 1,024. The factor alpha / r keeps the size of the change alike when r is changed.

The change can be folded in, W + (alpha / r) B A, and the layer is then an ordinary one, at no cost (`merge`); or taken
out again, to the last bit (`unmerge`), so that one model can carry many adapters.

Shapes: N tokens, I inputs, O outputs, r rank.

Run me: `python -m groundzero.reference.lora`
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from groundzero.reference.layers import Linear
from groundzero.reference.module import Array, Module, Parameter
from groundzero.reference.optimizer import AdamW

TARGETS = ("query", "key", "value", "out", "gate", "up", "down")
"""Linear layers that get an adapter: all those inside blocks, which serves best (Dettmers et al. 2023, section 4)."""


class LoRALinear(Linear):
    """A linear layer whose weight is frozen and whose change is learnt as (alpha / r) B A (Hu et al. 2021, 4.1).

    It shares the arrays of the layer that it replaces, so no name and no number of the model changes.

    Args:
        linear: the layer to adapt.
        rank: r, the number of directions that may change.
        alpha: size of the change, relative to the rank.
    """

    def __init__(self, linear: Linear, rank: int, alpha: float, rng: np.random.Generator) -> None:
        if rank < 1:
            raise ValueError(f"a LoRA adapter needs a rank of at least 1, not {rank}")
        self.weight = linear.weight
        if hasattr(linear, "bias"):
            self.bias = linear.bias
        n_out, n_in = linear.weight.shape
        dtype = linear.weight.value.dtype
        spread = 1.0 / math.sqrt(n_in)
        self.lora_a = Parameter(rng.uniform(-spread, spread, (rank, n_in)).astype(dtype))
        self.lora_b = Parameter(np.zeros((n_out, rank), dtype=dtype))
        self.scale = alpha / rank
        self.unmerged: Array | None = None
        """The weight without the change, while merged."""

    def forward(self, x_NI: Array) -> Array:
        """The frozen layer, plus the change where it is not merged."""
        y_NO = super().forward(x_NI)
        if self.unmerged is not None:
            return y_NO
        self._low_Nr = x_NI @ self.lora_a.value.T
        return y_NO + self.scale * (self._low_Nr @ self.lora_b.value.T)

    def backward(self, d_y_NO: Array) -> Array:
        """The frozen weight gets no gradient; x hears from both ways.

        With l = x A^T:  d_B = s d_y^T l,  d_l = s d_y B,  d_A = d_l^T x,  and d_x = d_y W + d_l A.
        """
        assert self.unmerged is None, "a merged adapter does not learn: unmerge it first"
        x_NI: Array = self.memory
        rows_NO, rows_NI = d_y_NO.reshape(-1, d_y_NO.shape[-1]), x_NI.reshape(-1, x_NI.shape[-1])
        self.lora_b.gradient += self.scale * (rows_NO.T @ self._low_Nr.reshape(-1, self.lora_a.shape[0]))
        d_low_Nr = self.scale * (rows_NO @ self.lora_b.value)
        self.lora_a.gradient += d_low_Nr.T @ rows_NI
        d_x_NI = rows_NO @ self.weight.value + d_low_Nr @ self.lora_a.value
        return d_x_NI.reshape(x_NI.shape)

    def merge(self) -> None:
        """Fold the change into the weight: the same outputs from one product."""
        if self.unmerged is None:
            self.unmerged = self.weight.value.copy()
            self.weight.value += self.scale * (self.lora_b.value @ self.lora_a.value)

    def unmerge(self) -> None:
        """Take it out again: the weight is as it was, to the last bit."""
        if self.unmerged is not None:
            self.weight.value[...] = self.unmerged
            self.unmerged = None


def add_lora(
    model: Module, rank: int = 4, alpha: float = 8.0, *, targets: Sequence[str] = TARGETS, seed: int = 0
) -> list[LoRALinear]:
    """Replace the linear layers called `targets` by adapted ones, in place; returns them.

    Raises:
        ValueError: the model has no such layer.
    """
    rng = np.random.default_rng(seed)
    adapted = []
    for _, module in list(model.modules()):
        for name, part in list(module.parts()):
            if name in targets and type(part) is Linear:
                layer = LoRALinear(part, rank, alpha, rng)
                setattr(module, name, layer)
                adapted.append(layer)
    if not adapted:
        raise ValueError(f"the model has no linear layer called {' or '.join(targets)}")
    return adapted


def adapter_parameters(model: Module) -> dict[str, Parameter]:
    """What LoRA trains: every A and B by name, and nothing else."""
    return {name: p for name, p in model.parameters().items() if name.endswith((".lora_a", ".lora_b"))}


def load_adapter(model: Module, arrays: Mapping[str, Array]) -> None:
    """Set every A and B from arrays of those names.

    Raises:
        ValueError: other names or shapes than this model's adapter has.
    """
    parameters = adapter_parameters(model)
    if set(parameters) != set(arrays):
        raise ValueError(f"the adapter does not fit this model: {sorted(set(parameters) ^ set(arrays))[0]} differs")
    for name, parameter in parameters.items():
        if arrays[name].shape != parameter.shape:
            raise ValueError(f"{name} is {arrays[name].shape} in the adapter and {parameter.shape} in this model")
        parameter.value[...] = arrays[name]


def demo() -> None:
    """Adapt a linear map to a change of rank 1, and count what it took."""
    rng = np.random.default_rng(0)
    base = Linear(128, 128, rng=rng, bias=False, std=0.1)
    change = rng.standard_normal((128, 1)) @ rng.standard_normal((1, 128)) * 0.05
    wanted = base.weight.value + change
    print("A layer of 128 x 128 was trained. A new task wants another matrix, which differs in one direction only:\n")
    print("  full fine-tuning would train      16,384 numbers")
    for rank in (1, 2, 4):
        layer = LoRALinear(base, rank, alpha=2.0 * rank, rng=np.random.default_rng(1))
        n_numbers = layer.lora_a.value.size + layer.lora_b.value.size
        print(f"  LoRA of rank {rank} trains             {n_numbers:6,} numbers ({n_numbers / 16384:.1%})")
    layer = LoRALinear(base, 2, alpha=4.0, rng=np.random.default_rng(1))
    x = rng.standard_normal((512, 128))
    print(f"\nBefore: B is zero, so the layer says exactly what it said: {bool((layer(x) == base(x)).all())}\n")
    optimizer = AdamW({"lora_a": layer.lora_a, "lora_b": layer.lora_b}, learning_rate=0.03)
    for step in range(1, 61):
        error = layer(x) - x @ wanted.T
        layer.zero_gradients()
        layer.backward(2.0 * error / error.size)
        optimizer.step()
        if step in {1, 5, 10, 20, 40, 60}:
            print(f"  step {step:2d}: mean squared error {np.mean(error**2):.6f}")
    weight = layer.weight.value.copy()
    before = layer(x)
    layer.merge()
    apart = np.abs(layer(x) - before).max()
    print(f"\nMerged into the weight: one matrix product, outputs apart by {apart:.0e} (rounding).")
    layer.unmerge()
    print(f"Unmerged: the weight is as it was to the last bit: {bool((layer.weight.value == weight).all())}")
    print("\nNext: quantize, which makes a trained model small.")


if __name__ == "__main__":
    demo()
