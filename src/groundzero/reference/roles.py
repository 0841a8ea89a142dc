"""Which parameter goes to which optimiser: decided by its role in the network, never by taste.

Matrices inside blocks turn one vector into another: every direction of input and output counts, and Muon, which learns
all directions at one rate, suits them best. The embedding and the head are matrices in shape but tables in use: a row
is one token, and most tokens are absent from a batch, so an orthogonal step would move rows that nothing was learnt
about. They go to AdamW. Vectors (biases, the scales of norms) go to AdamW without decay: decay keeps weights from
growing unasked, while pulling the scale of a norm to zero would silence the layer behind it.

Run me: `python -m groundzero.reference.roles`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from groundzero.reference.module import Array, Parameter
from groundzero.reference.optimizer import AdamW, Muon, Optimizer

Role = Literal["embedding", "matrix", "vector", "head", "knowledge"]


@dataclass(frozen=True)
class OptimizerConfig:
    """How to update the weights; names and defaults are those of the `train` section of a run."""

    optimizer: Literal["adamw", "muon"] = "muon"
    """adamw for all weights, or muon for matrices inside blocks and adamw for the rest."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak rate of Muon."""
    weight_decay: float = 0.1
    """Share of each matrix taken off per step, times the rate; vectors are spared."""
    beta1: float = 0.9
    """AdamW: memory of the gradient."""
    beta2: float = 0.95
    """AdamW: memory of its square."""
    epsilon: float = 1e-8
    """AdamW: added to the root of the square."""
    muon_momentum: float = 0.95
    """Muon: memory of the gradient."""


class Optimizers:
    """The optimisers of a model behind one face: each parameter goes to the one that suits its role.

    Matrices inside blocks go to Muon. The embedding and the head are matrices too, but tables: a row is one token, and
    most tokens are absent from a batch, so an orthogonal step would move rows that nothing was learnt about. They go
    to AdamW. So do vectors (biases, scales of norms), without decay: pulling a norm's scale to zero helps nobody.
    """

    def __init__(self, parameters: Mapping[str, Parameter], config: OptimizerConfig | None = None) -> None:
        config = config or OptimizerConfig()
        role = roles(parameters)
        muon = {n: p for n, p in parameters.items() if config.optimizer == "muon" and role[n] == "matrix"}
        rest = {n: p for n, p in parameters.items() if n not in muon}
        decayed = {n: p for n, p in rest.items() if role[n] != "vector"}
        plain = {n: p for n, p in rest.items() if role[n] == "vector"}
        rate, betas, epsilon, decay = (
            config.learning_rate,
            (config.beta1, config.beta2),
            config.epsilon,
            config.weight_decay,
        )
        self.parameters = dict(parameters)
        self.optimizers: list[Optimizer] = [
            AdamW(decayed, rate, betas=betas, epsilon=epsilon, weight_decay=decay),
            AdamW(plain, rate, betas=betas, epsilon=epsilon),
            Muon(muon, config.muon_learning_rate, momentum=config.muon_momentum, weight_decay=decay),
        ]
        self._peaks = [optimizer.learning_rate for optimizer in self.optimizers]

    def set_factor(self, factor: float) -> None:
        """Set every rate to `factor` of its peak."""
        for optimizer, peak in zip(self.optimizers, self._peaks, strict=True):
            optimizer.learning_rate = peak * factor

    def step(self) -> None:
        """Update the weights from their gradients and forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()
        for parameter in self.parameters.values():
            parameter.gradient[...] = 0.0

    def state(self) -> dict[str, Array]:
        """All state by `<parameter>/<what>`: the very arrays, empty before the first step."""
        return {key: array for optimizer in self.optimizers for key, array in optimizer.state.items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore a copy of what `state` returned, here or in PyTorch.

        Raises:
            ValueError: it belongs to other parameters, other shapes or another optimiser.
        """
        fresh: list[dict[str, Array]] = [{} for _ in self.optimizers]
        for key, array in state.items():
            name, _, what = key.rpartition("/")
            place = next((i for i, optimizer in enumerate(self.optimizers) if name in optimizer.parameters), None)
            if place is None:
                raise ValueError(f"The optimiser state holds {key!r}, and this model has no parameter {name!r}.")
            value = self.parameters[name].value
            expected = {"momentum"} if isinstance(self.optimizers[place], Muon) else {"exp_avg", "exp_avg_sq", "step"}
            if what not in expected:
                kind = type(self.optimizers[place]).__name__
                raise ValueError(f"The optimiser state holds {key!r}, and {name} is updated by {kind}.")
            shape = () if what == "step" else value.shape
            if array.shape != shape:
                raise ValueError(f"The optimiser state {key!r} has the shape {array.shape}; this model needs {shape}.")
            fresh[place][key] = np.array(array, np.float32 if what == "step" else value.dtype)
        for optimizer, loaded in zip(self.optimizers, fresh, strict=True):
            optimizer.state = loaded


def roles(parameters: Mapping[str, Parameter]) -> dict[str, Role]:
    """What each parameter is, by name: embedding, matrix, vector, head or knowledge."""
    found: dict[str, Role] = {}
    for name, parameter in parameters.items():
        if name.startswith(("embedding.", "position.")):
            found[name] = "embedding"
        elif name.startswith("head."):
            found[name] = "head"
        elif ".knowledge" in name or name.startswith("knowledge"):
            found[name] = "knowledge"
        else:
            found[name] = "matrix" if parameter.value.ndim >= 2 else "vector"
    return found


def demo() -> None:
    """Show where the parameters of a small network go."""
    shapes = {
        "embedding.weight": (320, 32),
        "blocks.0.attention_norm.weight": (32,),
        "blocks.0.attention.query.weight": (32, 32),
        "blocks.0.attention.query.bias": (32,),
        "blocks.0.feed_forward.up.weight": (128, 32),
        "blocks.0.feed_forward.down.weight": (32, 128),
        "final_norm.weight": (32,),
        "head.weight": (320, 32),
    }
    parameters = {name: Parameter(np.ones(shape)) for name, shape in shapes.items()}
    optimizers, role = Optimizers(parameters), roles(parameters)
    print(f"{'parameter':36}{'shape':12}{'role':11}{'optimiser':11}{'decay':7}remembers")
    for optimizer in optimizers.optimizers:
        optimizer.step()
        for name in optimizer.parameters:
            decay = optimizer.weight_decay if isinstance(optimizer, AdamW | Muon) else 0.0
            kept = ", ".join(key.rpartition("/")[2] for key in optimizer.state if key.startswith(f"{name}/"))
            shape = " x ".join(map(str, shapes[name]))
            print(f"{name:36}{shape:12}{role[name]:11}{type(optimizer).__name__:11}{decay:<7g}{kept}")
    print("\nMuon remembers one array a matrix, AdamW two: Muon needs half the memory beside the weights.")


if __name__ == "__main__":
    demo()
