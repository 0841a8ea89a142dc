"""Whether the gradient reaches every block, neither fading nor swelling on its way down.

Shapes: B sequences, T time, D d_model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from groundzero.evaluate.check import Check
from groundzero.model import GPT

UNEVEN = 100.0
"""Largest over smallest norm among the blocks that is worth a warning. Fresh and trained models of all five families,
4 and 12 blocks deep, stay below 4 for the stream and below 30 for the weights. At 100 the smaller gradient makes a
ten-thousandth of the sum of squares: the global norm, which clipping goes by, is that of one block alone."""
BROKEN = 10_000.0
"""The same for a failure: the smaller one's square is then below the rounding of a float32 sum (6e-8), so clipping does
not see the block at all, and float16 and bfloat16 lose its gradients beside the others'."""


@dataclass(frozen=True)
class BlockGradient:
    """What reaches one block."""

    block: int
    stream: float
    """Norm of d loss / d stream that leaves the block."""
    weights: float
    """Norm of d loss / d weights of the block."""
    share: float
    """The latter over the norm of the weights themselves."""


def gradient_flow(model: GPT, tokens_BT: Tensor, targets_BT: Tensor) -> list[BlockGradient]:
    """One backward pass, as training makes it but without dropout; the model is left as it was."""
    streams: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
        output.retain_grad()
        streams.append(output)

    hooks = [block.register_forward_hook(keep) for block in model.blocks]
    try:
        with learning(model), torch.enable_grad():
            model.loss(tokens_BT, targets_BT).backward()  # type: ignore[no-untyped-call]
            return [_flow(layer, block, streams[layer]) for layer, block in enumerate(model.blocks)]
    finally:
        for hook in hooks:
            hook.remove()


def check_gradients(flow: list[BlockGradient]) -> Check:
    """Norms are alike from the first block to the last.

    What enters the first block is left out: it is as small as embeddings are, and a norm that enlarges it enlarges its
    gradient as much (600 times at the end of a small training), which is nobody's fault.
    """
    remedy = "Lower the learning rate or init_std, and check that every block adds to the stream (x + f(norm(x)))."
    for what, norms in (
        ("the stream", [each.stream for each in flow]),
        ("the weights", [each.weights for each in flow]),
    ):
        bad = next((layer for layer, norm in enumerate(norms) if not math.isfinite(norm)), None)
        if bad is not None:
            return Check("Gradients", "failed", f"The gradient of {what} in block {bad} is {norms[bad]}.", remedy)
        dead = next((layer for layer, norm in enumerate(norms) if norm == 0.0), None)
        if dead is not None:
            message = f"No gradient reaches {what} of block {dead}."
            return Check("Gradients", "failed", message, "A zero head before its first step does so; else " + _LOOK)
    spread, what = max(
        (_spread([each.stream for each in flow]), "stream"), (_spread([each.weights for each in flow]), "weights")
    )
    norms = [each.stream if what == "stream" else each.weights for each in flow]
    low, high = norms.index(min(norms)), norms.index(max(norms))
    if spread > UNEVEN:
        verb = "vanishes" if low < high else "explodes"
        message = f"The gradient of the {what} {verb} on its way down: {norms[low]:.2g} in block {low}, "
        message += f"{norms[high]:.2g} in block {high}, {spread:.2g} times as much."
        return Check("Gradients", "failed" if spread > BROKEN else "warning", message, remedy)
    bars = sparkline([each.stream for each in flow])
    if len(flow) == 1:
        return Check("Gradients", "ok", f"{bars} reaches the only block")
    return Check("Gradients", "ok", f"{bars} alike from first block to last, within {spread:.1f} times")


def sparkline(norms: list[float]) -> str:
    """A bar for each norm on a logarithmic scale whose floor is `BROKEN` times below the largest."""
    largest = max(norms)
    if not 0 < largest < math.inf:
        return "?" * len(norms)
    return "".join("▁▂▃▄▅▆▇█"[level(norm / largest, 7)] for norm in norms)


def level(share: float, steps: int) -> int:
    """Where a share of the largest lies between 1 / `BROKEN` (0) and 1 (`steps`), logarithmically."""
    if not share * BROKEN > 1.0:
        return 0
    return min(steps, round(steps * math.log(share * BROKEN) / math.log(BROKEN)))


_LOOK = "look for a detached tensor in the block above."


def _spread(norms: list[float]) -> float:
    return max(norms) / min(norms)


def _flow(layer: int, block: nn.Module, stream_BTD: Tensor) -> BlockGradient:
    gradients = [p.grad for p in block.parameters() if p.grad is not None]
    norm = _norm(gradients)
    stream = 0.0 if stream_BTD.grad is None else _norm([stream_BTD.grad])
    return BlockGradient(layer, stream, norm, norm / max(_norm(list(block.parameters())), 1e-30))


def _norm(tensors: list[Any]) -> float:
    return math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors))


@contextmanager
def learning(model: GPT) -> Iterator[None]:
    """Gradients on and empty; afterwards as they were."""
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    kept = {name: parameter.grad for name, parameter in model.named_parameters()}
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted[name])
            parameter.grad = kept[name]
