"""What each of the two worlds computes at every place of the network, under one set of names.

The NumPy twin shows its outputs to a watcher; PyTorch's modules have hooks. Both give the same names to the same
modules, and a few places that are no module's output get names of their own:

    embedding                    the stream that enters the first block: tokens and places
    blocks.0.attention.query     as the matrix makes it; `query_ready` and `key_ready` are normed and turned by place
    blocks.0.attention.weights   the share of each key in each output
    blocks.0.attention.mixed     the values, mixed by the weights; what `attention.out` gets
    blocks.0.after_attention     the residual stream with what attention added
    blocks.0.feed_forward.hidden what `feed_forward.down` gets, behind the bend
    blocks.0.after_feed_forward  the residual stream that leaves the block
    final_norm, logits, loss

Shapes: T time, S keys, D d_model, H heads, K key/value heads, E head_dim; there is one sequence, so no batch axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundzero.model import GPT, GPTConfig
from groundzero.reference import model as reference

Recording = dict[str, NDArray[Any]]
"""What was computed at each place, by name."""

_AXES = {"weights": ("head", "token", "key"), "_ready": ("head", "token", "unit")}


def places(config: GPTConfig) -> list[str]:
    """Names of the places that a model of this config has, in the order of computation."""
    ready = ["attention.query_ready", "attention.key_ready"] if config.qk_norm or config.position == "rotary" else []
    gate = ["feed_forward.gate"] if config.activation == "swiglu" else []
    inside = [
        *("attention_norm", "attention.query", "attention.key", "attention.value", *ready),
        *("attention.weights", "attention.mixed", "attention.out", "after_attention"),
        *("feed_forward_norm", *gate, "feed_forward.up", "feed_forward.hidden", "feed_forward.down"),
        "after_feed_forward",
    ]
    blocks = [f"blocks.{layer}.{name}" for layer in range(config.n_layer) for name in inside]
    return ["embedding", *blocks, "final_norm", "logits", "loss"]


def place_of(parameter: str) -> str:
    """The place that a parameter decides first: `attention.query_norm`, say, decides `attention.query_ready`."""
    if parameter.endswith((".query_norm", ".key_norm")):
        return parameter.removesuffix("_norm") + "_ready"
    owner = parameter.rsplit(".", 1)[0]
    return {"position": "embedding", "head": "logits"}.get(owner, owner)


def axes_of(place: str) -> tuple[str, ...]:
    """What the axes of a place's array are; none for the loss."""
    if place == "loss":
        return ()
    return next((axes for end, axes in _AXES.items() if place.endswith(end)), ("token", "unit"))


def record_twin(gpt: reference.GPT, ids: Sequence[int]) -> Recording:
    """Run the NumPy model over one sequence; the loss is that of each token given those before it."""
    seen: Recording = {}
    ids_BT, targets_BT = inputs(ids)

    def keep(name: str, output: Any) -> None:
        seen[_OWN_NAMES.get(name, name)] = output[0]

    with ExitStack() as watching:
        gpt.watch(keep)
        watching.callback(gpt.watch, None)
        for layer, block in enumerate(gpt.blocks):
            watching.enter_context(_input_seen(block.feed_forward_norm, f"blocks.{layer}.after_attention", seen))
        logits_BTV = gpt(ids_BT)
    for layer, block in enumerate(gpt.blocks):
        _record_inside_twin(block, f"blocks.{layer}", seen)
    seen["logits"] = logits_BTV[0]
    seen["loss"] = np.asarray(reference.cross_entropy(logits_BTV, targets_BT)[0])
    return seen


def record_pytorch(model: GPT, ids: Sequence[int]) -> Recording:
    """The same with the PyTorch model, on its device and in its precision, by the path that it always takes."""
    found: dict[str, Tensor] = {}
    ids_BT, targets_BT = (torch.from_numpy(array).to(model.device) for array in inputs(ids))

    def keeper(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
            found[name] = output[0]

        return keep

    def input_keeper(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, arguments: Any) -> None:
            found[name] = arguments[0][0]

        return keep

    wanted = set(places(model.config))  # knowledge layers, where there are some, keep still without facts
    # Without gradients: with them, matrices that share an input are joined, and their hooks are passed over.
    with torch.no_grad(), ExitStack() as hooks:
        for name, module in model.named_modules():
            if name in wanted:
                hooks.callback(module.register_forward_hook(keeper(name)).remove)
        for name, inner in _INPUTS_OF.items():
            for layer, block in enumerate(model.blocks):
                module = block.get_submodule(inner)
                hooks.callback(module.register_forward_pre_hook(input_keeper(f"blocks.{layer}.{name}")).remove)
        hooks.callback(model.blocks[0].register_forward_pre_hook(input_keeper("embedding")).remove)
        for layer, block in enumerate(model.blocks):
            hooks.enter_context(_queries_seen(block.get_submodule("attention"), f"blocks.{layer}.attention", found))
            hooks.callback(block.register_forward_hook(keeper(f"blocks.{layer}.after_feed_forward")).remove)
        logits_BTV, loss = model(ids_BT, targets_BT)
    assert loss is not None
    with torch.no_grad():
        weights = model.attention_weights(ids_BT)
    found |= {f"blocks.{layer}.attention.weights": each_BHTS[0] for layer, each_BHTS in enumerate(weights)}
    found |= {"logits": logits_BTV[0], "loss": loss}
    return {name: as_array(tensor) for name, tensor in found.items()}


def as_array(tensor: Tensor) -> NDArray[Any]:
    """A tensor in NumPy; half precision is widened to float32, exactly."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


_INPUTS_OF = {
    "attention.mixed": "attention.out",
    "after_attention": "feed_forward_norm",
    "feed_forward.hidden": "feed_forward.down",
}
"""Places that are what a module gets, and which."""
_OWN_NAMES = {"embedding_dropout": "embedding", "embedding": "embedding.rows"}
"""The twin adds positions to its tokens in no module of its own, and shows the sum when it passes dropout."""


def inputs(ids: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """ids_BT and the tokens that came next, -1 for the last, which nothing follows."""
    ids_BT = np.array([ids], dtype=np.int64)
    return ids_BT, np.concatenate((ids_BT[:, 1:], [[-1]]), axis=1)


def _record_inside_twin(block: Any, name: str, seen: Recording) -> None:
    """What a block of the twin remembers of its pass."""
    attention = block.attention
    q_BKNE, k_BKSE = attention.memory[:2]
    seen[f"{name}.attention.query_ready"] = q_BKNE[0].reshape(attention.n_head, -1, q_BKNE.shape[-1])
    seen[f"{name}.attention.key_ready"] = k_BKSE[0]
    seen[f"{name}.attention.weights"] = attention.weights_BHTS[0]
    seen[f"{name}.attention.mixed"] = attention.out.memory[0]
    seen[f"{name}.feed_forward.hidden"] = block.feed_forward.down.memory[0]
    seen[f"{name}.after_feed_forward"] = seen[name]


@contextmanager
def _input_seen(module: Any, name: str, seen: Recording) -> Iterator[None]:
    """Keep what a module of the twin gets, which `watch` does not show."""
    forward = module.forward

    def seeing(x_BTD: Any) -> Any:
        seen[name] = x_BTD[0]
        return forward(x_BTD)

    module.forward = seeing
    try:
        yield
    finally:
        del module.forward  # the class's own comes back


@contextmanager
def _queries_seen(attention: Any, name: str, found: dict[str, Tensor]) -> Iterator[None]:
    """Keep queries and keys as PyTorch's product gets them: normed and turned, which no module's output shows."""
    mix = attention._mix

    def seeing(q_BHTE: Tensor, k_BKSE: Tensor, *rest: Any) -> Tensor:
        found[f"{name}.query_ready"], found[f"{name}.key_ready"] = q_BHTE[0], k_BKSE[0]
        mixed_BHTE: Tensor = mix(q_BHTE, k_BKSE, *rest)
        return mixed_BHTE

    attention._mix = seeing
    try:
        yield
    finally:
        del attention._mix
