"""The parity ladder: how far NumPy and PyTorch are apart, from single operations up to twenty steps of training.

`python -m tests.reference.ladder` climbs it for every case of `twins.CASES` and prints a table;
`test_ladder.py` holds each rung to its tolerance.

A distance is the largest difference within an array as a share of the largest number in it (`twins.apart`); a rung's is
the largest over its arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from groundzero.model import fused, layers, loss
from groundzero.model.attention import explicit_attention, make_mask
from groundzero.model.config import GPTConfig as TorchConfig
from groundzero.reference import activations as np_activations
from groundzero.reference import attention as np_attention
from groundzero.reference import layers as np_layers
from groundzero.reference.attention import KVCache
from groundzero.reference.model import cross_entropy
from groundzero.reference.module import Array
from groundzero.reference.optimizer import clip_gradients
from groundzero.reference.optimizer import learning_rate_factor as np_learning_rate_factor
from groundzero.reference.roles import OptimizerConfig
from groundzero.reference.roles import Optimizers as NumpyOptimizers
from groundzero.train.config import TrainConfig
from groundzero.train.optimizer import Optimizers as TorchOptimizers
from groundzero.train.schedule import learning_rate_factor
from tests.reference.twins import (
    LINEAR,
    YARN,
    Twins,
    apart,
    cases,
    make_twins,
    outputs_of_numpy,
    outputs_of_torch,
)

TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}
STEPS = 20
"""Of training, on the rungs that train: in float64 alone. AdamW divides each gradient by its own size, so that one
which is zero in exact arithmetic (a key bias, see `Twins.zero_gradients_known`) makes a step of its rounding."""

Distances = dict[str, float]


def climb_operations(dtype: Any) -> Distances:
    """The first rung: each operation on its own, by name."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)  # type: ignore[no-any-return]

    x_ND, scale_D, shift_D = 3 * draw(5, 16), draw(16), draw(16)
    torch_x_ND = torch.from_numpy(x_ND)
    found = {
        name: apart(forward(x_ND), of_torch(torch_x_ND))
        for name, (forward, of_torch) in {
            "relu": (np_activations.relu, F.relu),
            "relu2": (np_activations.relu_squared, fused.relu_squared),
            "silu": (np_activations.silu, F.silu),
            "gelu": (np_activations.gelu, F.gelu),
            "gelu_tanh": (np_activations.gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
            "sigmoid": (np_activations.sigmoid, torch.sigmoid),
            "softmax": (np_activations.softmax, lambda x: x.softmax(-1)),
            "rms_norm": (lambda x: np_layers.rms_norm(x, 1e-3)[0] * scale_D, _rms_norm_with(scale_D)),
            "layer_norm": (
                lambda x: np_layers.layer_norm(x, 1e-3)[0] * scale_D + shift_D,
                lambda x: F.layer_norm(x, (16,), torch.from_numpy(scale_D), torch.from_numpy(shift_D), 1e-3),
            ),
        }.items()
    }
    for width in (16, 7):
        found[f"sinusoids of width {width}"] = apart(np_layers.sinusoids(40, width), layers.sinusoids(40, width))
    found |= _climb_rotation(draw(2, 3, 9, 16), dtype)
    found |= _climb_attention(draw, dtype)
    logits_BTV, targets_BT = 2 * draw(2, 6, 19), rng.integers(-1, 19, (2, 6))
    torch_loss = loss.cross_entropy(torch.from_numpy(logits_BTV).flatten(0, 1), torch.from_numpy(targets_BT).flatten())
    return found | {"cross_entropy": apart(cross_entropy(logits_BTV, targets_BT)[0], torch_loss)}


def _rms_norm_with(scale_D: Array) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: fused.rms_norm(x, torch.from_numpy(scale_D), 1e-3)


def _climb_rotation(x_BHTR: Array, dtype: Any) -> Distances:
    found: Distances = {}
    width = x_BHTR.shape[-1]
    for name, scaling in (("plain", None), ("linear", LINEAR), ("yarn", YARN)):
        config = TorchConfig(family="llama", head_dim=width, rotary_base=50.0, rotary_scaling=scaling)
        wanted_R, wanted_factor = layers.rotary_frequencies(config)
        stretched = None if scaling is None else np_layers.RotaryScaling(**scaling)
        frequency_R, factor = np_layers.rotary_frequencies(width, 50.0, stretched)
        found[f"frequencies, {name}"] = max(apart(frequency_R, wanted_R), abs(factor - wanted_factor))
        turn = [table.astype(dtype) for table in np_layers.rotary_tables(np.arange(4, 13), frequency_R, factor)]
        torch_turn = layers.Rotary(config).to(torch.float64).at(slice(4, 13), 13, torch.from_numpy(x_BHTR).dtype)
        turned = fused.rotate(torch.from_numpy(x_BHTR), *torch_turn)
        found[f"rotate, {name}"] = apart(np_layers.rotate(x_BHTR, *turn), turned)
    return found


def _climb_attention(draw: Callable[..., Array], dtype: Any) -> Distances:
    found: Distances = {}
    documents_BT = np.array([[0, 0, 1, 1, 1, 2, 2], [5, 5, 5, 5, 5, 5, 5]])
    for name, options in {"causal": {}, "window": {"window": 3}, "documents": {"documents_BT": documents_BT}}.items():
        q, k, v = draw(2, 4, 7, 8), draw(2, 4, 7, 8), draw(2, 4, 7, 8)
        torch_options = {key: torch.from_numpy(v) if key == "documents_BT" else v for key, v in options.items()}
        visible = np_attention.causal_mask(7, 7, **options)
        bias = make_mask(7, 7, **torch_options, dtype=torch.from_numpy(q).dtype).bias
        wanted = explicit_attention(*(torch.from_numpy(part) for part in (q, k, v)), bias)
        got = np_attention.scaled_dot_product_attention(q, k, v, visible)
        found[f"attention, {name}"] = max(apart(got[0], wanted[0]), apart(got[1], wanted[1]))
    return found


def climb_forward(twins: Twins) -> Distances:
    """Layers, blocks, logits and the loss."""
    ids_BT, targets_BT, documents_BT = twins.tensors()
    wanted = outputs_of_torch(twins.torch, ids_BT, documents_BT=documents_BT)
    got = outputs_of_numpy(twins.numpy, twins.ids_BT, documents_BT=twins.documents_BT)
    distances = {name: apart(got[name], wanted[name]) for name in wanted if name}
    blocks = {f"blocks.{layer}" for layer in range(twins.numpy.config.n_layer)}
    loss = twins.numpy.loss(twins.ids_BT, twins.targets_BT, documents_BT=twins.documents_BT)
    with torch.no_grad():
        logits, plain_loss = twins.torch(ids_BT, targets_BT, documents_BT=documents_BT)
        fused_loss = twins.torch.loss(ids_BT, targets_BT, documents_BT=documents_BT)
    return {
        "layer": max(distance for name, distance in distances.items() if name not in blocks),
        "block": max(distances[name] for name in blocks),
        "logits": apart(got[""], logits),
        "loss": max(apart(loss, plain_loss), apart(loss, fused_loss)),
    }


def climb_gradients(twins: Twins) -> Distances:
    """Each parameter's gradient, by name; those known to be zero as a share of the largest gradient of the model."""
    ids_BT, targets_BT, documents_BT = twins.tensors()
    twins.torch.zero_grad(set_to_none=False)
    twins.torch.loss(ids_BT, targets_BT, documents_BT=documents_BT).backward()
    twins.numpy.zero_gradients()
    twins.numpy.loss(twins.ids_BT, twins.targets_BT, documents_BT=twins.documents_BT, backward=True)
    wanted = {name: parameter.grad for name, parameter in twins.torch.named_parameters()}
    largest = max(float(gradient.abs().max()) for gradient in wanted.values() if gradient is not None)
    zero = twins.zero_gradients_known()
    return {
        name: apart(parameter.gradient, wanted[name], largest if name in zero else 0.0)
        for name, parameter in twins.numpy.parameters().items()
    }


def climb_cache(twins: Twins) -> Distances:
    """Logits with keys and values remembered: in both worlds, in pieces of one and of several tokens, against whole."""
    ids_BT, _, _ = twins.tensors()
    whole_BTV = twins.numpy(twins.ids_BT)
    np_cache, torch_cache = KVCache(twins.numpy.config.n_layer), twins.torch.new_cache(len(ids_BT))
    found, start = {"whole": 0.0}, 0
    while start < ids_BT.shape[1]:
        stop = start + (4 if start == 0 else 1 if start % 2 else 3)
        got_BTV = twins.numpy(twins.ids_BT[:, start:stop], np_cache)
        with torch.no_grad():
            wanted_BTV = twins.torch(ids_BT[:, start:stop], cache=torch_cache)[0]
        found[f"{start} to {stop}"] = apart(got_BTV, wanted_BTV)
        found["whole"] = max(found["whole"], apart(got_BTV, whole_BTV[:, start:stop]))
        start = stop
    return found


def climb_training(twins: Twins, optimizer: str, steps: int = STEPS) -> Distances:
    """Parameters after `steps` updates, with warm-up, decay, clipping and weight decay; and losses along the way."""
    schedule = "cosine" if optimizer == "adamw" else "wsd"
    values = {"optimizer": optimizer, "learning_rate": 3e-3, "weight_decay": 0.1, "clip": 0.7}
    config = TrainConfig.parse(
        {**values, "steps": steps, "schedule": schedule, "warmup_steps": 3, "min_learning_rate": 3e-4}
    )
    own = {name: getattr(config, name) for name in OptimizerConfig.__dataclass_fields__}
    of_numpy = NumpyOptimizers(twins.numpy.parameters(), OptimizerConfig(**own))
    of_torch = TorchOptimizers(twins.torch, config)
    rng = np.random.default_rng(7)
    found: Distances = {"losses": 0.0, "lengths of gradients": 0.0}
    vocabulary = twins.numpy.config.vocab_size
    twins.torch.zero_grad()
    twins.numpy.zero_gradients()
    for step in range(steps):
        ids_BT, targets_BT = rng.integers(0, vocabulary, (2, 8)), rng.integers(-1, vocabulary, (2, 8))
        torch_loss = twins.torch.loss(torch.from_numpy(ids_BT), torch.from_numpy(targets_BT))
        torch_loss.backward()
        loss = twins.numpy.loss(ids_BT, targets_BT, backward=True)
        torch_length = torch.nn.utils.clip_grad_norm_(list(twins.torch.parameters()), config.clip)
        length = clip_gradients(twins.numpy.parameters(), config.clip)
        np_factor = np_learning_rate_factor(
            step, steps, warmup_steps=3, floor=0.1, schedule=schedule, decay_fraction=config.decay_fraction
        )
        of_numpy.set_factor(np_factor)
        of_torch.set_factor(learning_rate_factor(step, steps, config))
        of_numpy.step()
        of_torch.step()
        found["losses"] = max(found["losses"], apart(loss, torch_loss))
        found["lengths of gradients"] = max(found["lengths of gradients"], apart(length, torch_length))
    values_of_torch = dict(twins.torch.named_parameters())
    return found | {name: apart(p.value, values_of_torch[name]) for name, p in twins.numpy.parameters().items()}


def greedy_tokens(twins: Twins, n_token: int) -> dict[str, list[int]]:
    """What each world writes at temperature 0, with and without remembered keys and values."""
    prompt = twins.ids_BT[0, :4].tolist()
    written = {"numpy, cached": list(twins.numpy.generate(prompt, n_token, temperature=0.0))}
    ids = list(prompt)
    for _ in range(n_token):
        ids.append(int(twins.numpy(np.array([ids]))[0, -1].argmax()))
    written["numpy, anew"] = ids[len(prompt) :]
    with torch.no_grad():
        ids = list(prompt)
        for _ in range(n_token):
            ids.append(int(twins.torch(torch.tensor([ids]))[0][0, -1].argmax()))
        written["torch, anew"] = ids[len(prompt) :]
        cache, new, chosen = twins.torch.new_cache(1), list(prompt), []
        for _ in range(n_token):
            new = [int(twins.torch(torch.tensor([new]), cache=cache)[0][0, -1].argmax())]
            chosen += new
        written["torch, cached"] = chosen
    return written


def n_greedy(twins: Twins) -> int:
    """How far a case may write: to the end of a table of positions, and beyond the context without one."""
    return 8 if twins.numpy.config.position != "rotary" else 16


def climb(case: dict[str, Any], dtype: Any) -> Distances:
    """All rungs of a case but the first, the largest distance on each; for tokens 0 (all the same) or infinity."""
    found = climb_forward(make_twins(dtype, **case))
    twins = make_twins(dtype, **case)
    gradients = climb_gradients(twins)
    zero = twins.zero_gradients_known() if dtype == np.float32 else set()
    found["gradient"] = max(distance for name, distance in gradients.items() if name not in zero)
    if "documents" not in case:
        found["with a cache"] = max(climb_cache(twins).values())
    if dtype == np.float64:
        found[f"{STEPS} AdamW steps"] = max(climb_training(make_twins(dtype, **case), "adamw").values())
        found[f"{STEPS} Muon steps"] = max(climb_training(make_twins(dtype, **case), "muon").values())
    if twins.ids_BT.shape[1] >= 4:
        written = list(greedy_tokens(twins, n_greedy(twins)).values())
        found["greedy tokens"] = 0.0 if all(tokens == written[0] for tokens in written) else float("inf")
    return found


def main() -> None:
    """Print the table: the worst case of each rung in both precisions."""
    torch.set_num_threads(1)
    worst: dict[str, dict[str, tuple[float, str]]] = {}
    for dtype in (np.float64, np.float32):
        label = np.dtype(dtype).name
        rungs = worst.setdefault(label, {})
        rungs["operation"] = max((distance, name) for name, distance in climb_operations(dtype).items())
        for name, case in cases():
            if sys.stderr.isatty():
                print(f"\r{label}: {name:50}", end="", file=sys.stderr, flush=True)
            for rung, distance in climb(case, dtype).items():
                rungs[rung] = max(rungs.get(rung, (0.0, "all")), (distance, name))
    if sys.stderr.isatty():
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    print("| rung | float64 | where | float32 | where |\n|---|---|---|---|---|")
    for rung, (distance, where) in worst["float64"].items():
        print(f"| {rung} | {_cells(rung, distance, where)} |", end="")
        other = worst["float32"].get(rung)
        print(" | |" if other is None else f" {_cells(rung, *other)} |")


def _cells(rung: str, distance: float, where: str) -> str:
    if rung == "greedy tokens":
        return "the same | everywhere" if distance == 0.0 else f"differ | {where}"
    return f"{distance:.0e} | {where}"


if __name__ == "__main__":
    main()
