"""Tiny models whose weights stand far from their start, so that no part of them is silent."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from groundzero.model import GPT, GPTConfig

TINY: dict[str, Any] = {"vocab_size": 53, "n_layer": 2, "n_head": 4, "d_model": 32, "d_ff": 48, "context": 24}


def scatter_weights(model: GPT, seed: int) -> None:
    """Activations of order 1 everywhere: matrices at 1 / sqrt(fan-in), scales around 1, biases around 0.

    A name always draws the same numbers, so that models that differ in one switch share their other weights.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.dim() > 1:
                value = noise / parameter.shape[-1] ** 0.5 if "embedding" not in name else noise * 0.5
            else:
                value = 0.3 * noise + (0.0 if name.endswith("bias") else 1.0)
            parameter.copy_(value)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., GPT]:
    def make(*, seed: int = 0, **switches: Any) -> GPT:
        model = GPT(GPTConfig(**{"family": "qwen3", **TINY, **switches}))
        scatter_weights(model, seed)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_ids() -> Callable[..., torch.Tensor]:
    """Random token ids, int64."""

    def make(*shape: int, vocab_size: int = TINY["vocab_size"], seed: int = 1) -> torch.Tensor:
        return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))

    return make
