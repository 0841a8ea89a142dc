"""The same model twice, in NumPy and in PyTorch, with the same weights; and how far apart two results are.

`CASES` names the architectures that everything is compared over: every family, and every switch in both positions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from groundzero.model import GPTConfig as TorchConfig
from groundzero.model import gpt as torch_gpt
from groundzero.reference.config import GPTConfig
from groundzero.reference.model import GPT
from groundzero.reference.module import Array

TINY: dict[str, Any] = {"vocab_size": 61, "vocab_multiple": 16, "context": 12, "n_layer": 2, "n_head": 4, "d_model": 32}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 24, "beta_fast": 2.0, "beta_slow": 0.25}
LINEAR = {"method": "linear", "factor": 2.0, "original_context": 6}

CASES: dict[str, dict[str, Any]] = {
    "gpt2": {"family": "gpt2"},
    "classic": {"family": "classic"},
    "llama": {"family": "llama"},
    "qwen3": {"family": "qwen3"},
    "speedrun": {"family": "speedrun"},
    "learned positions": {"family": "qwen3", "position": "learned"},
    "sinusoidal positions, odd width": {"family": "llama", "position": "sinusoidal", "d_model": 33, "head_dim": 8},
    "rotary positions on gpt2": {"family": "gpt2", "position": "rotary"},
    "half a head rotated": {"family": "qwen3", "rotary_fraction": 0.5},
    "short waves": {"family": "llama", "rotary_base": 50.0},
    "linear stretching": {"family": "llama", "rotary_scaling": LINEAR},
    "YaRN": {"family": "qwen3", "rotary_base": 50.0, "head_dim": 16, "rotary_scaling": YARN},
    "YaRN on half a head": {"family": "llama", "head_dim": 16, "rotary_fraction": 0.5, "rotary_scaling": YARN},
    "LayerNorm, no scales": {"family": "gpt2", "norm_affine": False},
    "RMSNorm, no scales": {"family": "llama", "norm_affine": False, "norm_eps": 0.1},
    "LayerNorm in qwen3": {"family": "qwen3", "norm": "layernorm", "feed_forward_bias": True},
    "GELU": {"family": "llama", "activation": "gelu"},
    "GELU tanh": {"family": "qwen3", "activation": "gelu_tanh"},
    "ReLU squared": {"family": "gpt2", "activation": "relu2"},
    "SwiGLU with biases": {"family": "gpt2", "activation": "swiglu", "d_ff": 40},
    "two key heads": {"family": "qwen3", "n_kv_head": 2},
    "one key head": {"family": "gpt2", "n_kv_head": 1},
    "one head": {"family": "qwen3", "n_head": 1},
    "wide heads": {"family": "llama", "head_dim": 10, "attention_bias": True},
    "QK-norm, no scales": {"family": "qwen3", "norm_affine": False, "n_kv_head": 2},
    "QK-norm on gpt2": {"family": "gpt2", "qk_norm": True},
    "untied": {"family": "gpt2", "tie_embeddings": False},
    "tied speedrun": {"family": "speedrun", "tie_embeddings": True, "norm_affine": True},
    "scaled embeddings": {"family": "qwen3", "scale_embeddings": True},
    "classic, not scaled": {"family": "classic", "scale_embeddings": False},
    "normed embeddings": {"family": "gpt2", "norm_embeddings": True},
    "window of one": {"family": "llama", "window": 1},
    "window of four": {"family": "qwen3", "window": 4, "n_kv_head": 2},
    "soft-cap": {"family": "qwen3", "logit_softcap": 3.0},
    "no soft-cap": {"family": "speedrun", "logit_softcap": 0.0},
    "no padding": {"family": "qwen3", "vocab_multiple": 1},
    "a lot of padding": {"family": "speedrun", "vocab_multiple": 128},
    "one layer": {"family": "classic", "n_layer": 1},
    "dropout and start, which only training sees": {"family": "gpt2", "dropout": 0.3, "init": "zero", "init_std": 0.1},
    "documents": {"family": "qwen3", "documents": True},
    "documents in a window": {"family": "gpt2", "documents": True, "window": 3, "n_kv_head": 2},
    "one token": {"family": "qwen3", "shape": (1, 1)},
    "one short row": {"family": "gpt2", "shape": (1, 5)},
}
"""Switches by the name of what they try; `documents` and `shape` (B, T) speak of the batch."""


@dataclass(frozen=True)
class Twins:
    """Two models with equal weights, and a batch for them."""

    numpy: GPT
    torch: torch_gpt.GPT
    ids_BT: np.ndarray
    targets_BT: np.ndarray
    documents_BT: np.ndarray | None

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """ids, targets and documents for PyTorch."""
        documents = None if self.documents_BT is None else torch.tensor(self.documents_BT)
        return torch.tensor(self.ids_BT), torch.tensor(self.targets_BT), documents

    def zero_gradients_known(self) -> set[str]:
        """Parameters whose gradient is zero in exact arithmetic, so that what is left of it is rounding alone.

        A key bias adds the same q . b to every score of a row, which softmax ignores; unless keys are turned by their
        position or normalised after it was added.
        """
        config = self.numpy.config
        if config.position == "rotary" or config.qk_norm:
            return set()
        return {name for name in self.numpy.parameters() if name.endswith("attention.key.bias")}


def make_twins(dtype: Any = np.float64, seed: int = 0, **case: Any) -> Twins:
    """The twins of a case (see `CASES`), in evaluation mode."""
    shape, with_documents = case.pop("shape", (3, 12)), case.pop("documents", False)
    torch_config = TorchConfig.parse({**TINY, **case})
    of_torch = torch_gpt.GPT(torch_config).to(torch.float64 if dtype == np.float64 else torch.float32).eval()
    of_numpy = GPT(GPTConfig.of(**{**TINY, **case}))
    scatter(of_numpy, dtype, seed)
    copy_weights(of_numpy, of_torch)
    rng = np.random.default_rng(seed + 1)
    ids_BT = rng.integers(0, torch_config.vocab_size, shape)
    targets_BT = rng.integers(-1, torch_config.vocab_size, shape)
    targets_BT.flat[0], targets_BT.flat[-1] = (-1, 5) if targets_BT.size > 1 else (5, 5)
    documents_BT = np.sort(rng.integers(0, 3, shape), axis=1) if with_documents else None
    return Twins(of_numpy, of_torch, ids_BT, targets_BT, documents_BT)


def scatter(model: GPT, dtype: Any, seed: int = 0) -> None:
    """Weights far from their start, so that no part is silent: matrices at 1 / sqrt(fan-in), scales around 1.

    A name always draws the same numbers.
    """
    model.astype(dtype)
    for name, parameter in model.parameters().items():
        noise = np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(parameter.shape)
        if parameter.value.ndim > 1:
            parameter.value[...] = noise * (0.5 if "embedding" in name else parameter.shape[-1] ** -0.5)
        else:
            parameter.value[...] = 0.3 * noise + (0.0 if name.endswith("bias") else 1.0)


def copy_weights(source: GPT, target: torch_gpt.GPT) -> None:
    """By name; the names and their order must be the same."""
    values, parameters = source.parameters(), dict(target.named_parameters())
    assert list(values) == list(parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(values[name].value.copy()))


def apart(one: Any, other: Any, scale: float = 0.0) -> float:
    """The largest difference of two arrays, as a share of the largest number in `other` (or of `scale`, if larger).

    Infinite where shapes differ or something is not finite.
    """
    one, other = as_array(one), as_array(other)
    if one.shape != other.shape or not np.isfinite(one).all() or not np.isfinite(other).all():
        return float("inf")
    largest = max(scale, float(np.abs(other).max(initial=0.0)))
    difference = float(np.abs(one.astype(np.float64) - other).max(initial=0.0))
    return difference / largest if largest else (float("inf") if difference else 0.0)


def as_array(value: Any) -> Array:
    """NumPy's view of a tensor, an array or a number."""
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def outputs_of_torch(model: torch_gpt.GPT, *inputs: Any, **options: Any) -> dict[str, torch.Tensor]:
    """The output of every module that is called, by dotted name."""
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            outputs[name] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_modules()]
    with torch.no_grad():  # with gradients, layers that share an input run as one product, not as modules
        model(*inputs, **options)
    for hook in hooks:
        hook.remove()
    return outputs


def outputs_of_numpy(model: GPT, *inputs: Any, **options: Any) -> dict[str, Array]:
    """The output of every module, by dotted name."""
    outputs: dict[str, Array] = {}
    model.watch(outputs.__setitem__)
    model(*inputs, **options)
    model.watch(None)
    return outputs


def cases(*names: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The named cases, or all."""
    yield from ((name, dict(CASES[name])) for name in names or CASES)
