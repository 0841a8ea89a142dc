"""Whether a network computes what a causal language model must: shapes, attention, causality, cache.

Shapes: T time, S keys, D d_model, F d_ff, H heads, K key/value heads, E head_dim, V vocabulary; ids_1T is one sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from groundzero.evaluate.check import Check
from groundzero.evaluate.twin_watch import Recording, place_of, places
from groundzero.model import GPT, GPTConfig
from groundzero.model.size import parameter_count

ROW_SUM_TOLERANCE = 1e-5
"""Of attention weights: a sum of a hundred float32 shares is off by a hundred roundings of 6e-8 at worst."""
CACHE_TOLERANCE = 1e-4
"""Of logits, relative to the largest: one token at a time is another order of summing, the same as a twin's."""
FLOAT16_LARGEST = 65_504.0
"""Largest number of float16; bfloat16 reaches further, but what a block adds is lost below 1/256 of the stream."""
PLACES_CHANGED = 5
"""At how many places a token is changed to see whom it reaches."""


@dataclass(frozen=True)
class LayerShape:
    """What one place of the network gives, and what it learns."""

    name: str
    axes: str
    """What the axes are: "T D"."""
    shape: tuple[int, ...]
    """As computed."""
    expected: tuple[int, ...]
    """As the configuration says."""
    parameters: int
    """Learned numbers, padding rows included."""


def layer_shapes(model: GPT, found: Recording, n_token: int) -> list[LayerShape]:
    """Every place of the network in the order of computation, with the shape it has for one sequence.

    Args:
        found: what `record_pytorch` saw for a sequence of `n_token`.
    """
    names = [name for name in places(model.config) if name != "loss"]
    sizes = _sizes(model.config, n_token)
    counts = _parameters_by_place(model, names)
    rows = []
    for name in names:
        axes = _axes(name)
        expected = tuple(sizes[axis] for axis in axes.split())
        rows.append(LayerShape(name, axes, found[name].shape, expected, counts[name]))
    return rows


def check_shapes(model: GPT, rows: list[LayerShape]) -> Check:
    """Every place has the shape that the configuration says, and every parameter a place."""
    wrong = next((row for row in rows if row.shape != row.expected), None)
    if wrong is not None:
        message = f"{wrong.name} is {_by(wrong.shape)}, and should be {_by(wrong.expected)} ({wrong.axes})."
        return Check("Shapes", "failed", message, _OUR_FAULT)
    roles = model.roles()
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    held = sum(count for name, count in counts.items() if roles[name] != "knowledge")
    listed, computed = sum(row.parameters for row in rows), parameter_count(model.config).allocated
    if held != computed or held != listed:
        message = f"The model holds {held:,} numbers, {listed:,} in these layers; its configuration gives {computed:,}."
        return Check("Shapes", "failed", message, _OUR_FAULT)
    beside = sum(counts.values()) - held
    more = f", and {beside:,} in knowledge layers" if beside else ""
    return Check("Shapes", "ok", f"{len(rows)} places as the configuration says; {held:,} parameters{more}")


@torch.no_grad()
def check_weights(model: GPT) -> Check:
    """No weight is infinite or no number."""
    for name, parameter in model.named_parameters():
        bad = int((~torch.isfinite(parameter)).sum())
        if bad:
            message = f"{name} holds {bad:,} of {parameter.numel():,} weights that are no finite numbers."
            return Check(
                "Weights", "failed", message, "Training diverged: use an earlier checkpoint, and train gentler."
            )
    largest, name = max((float(parameter.abs().max()), name) for name, parameter in model.named_parameters())
    return Check("Weights", "ok", f"all finite; the largest is {largest:.3g}, in {name}")


def check_stream(model: GPT, found: Recording) -> Check:
    """Every number of the residual stream fits half precision.

    Norms hide a start that is far too large from the gradient: the first block already drowns the embeddings, and all
    later ones are in proportion. The stream shows it.
    """
    streams = {"the embedding": found["embedding"]}
    streams |= {f"block {layer}": found[f"blocks.{layer}.after_feed_forward"] for layer in range(model.config.n_layer)}
    sizes = {name: float(np.abs(stream_TD).max()) for name, stream_TD in streams.items()}
    bad = next((name for name, size in sizes.items() if not math.isfinite(size)), None)
    if bad is not None:
        return Check("Stream", "failed", f"What leaves {bad} holds numbers that are not finite.", _TOO_LARGE)
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > FLOAT16_LARGEST:
        message = f"The stream reaches {sizes[largest]:.3g} behind {largest}; float16 ends at {FLOAT16_LARGEST:,.0f}."
        return Check("Stream", "warning", message, _TOO_LARGE)
    return Check("Stream", "ok", f"numbers up to {sizes[largest]:.3g}, behind {largest}; half precision holds them")


@torch.no_grad()
def check_attention(model: GPT, ids_1T: Tensor) -> Check:
    """The weights of each query are shares of one, and none is given to a later token."""
    worst = 0.0
    for layer, weights_BHTS in enumerate(model.attention_weights(ids_1T)):
        sums_BHT = weights_BHTS.double().sum(dim=-1)
        apart_BHT = (sums_BHT - 1.0).abs().nan_to_num(nan=math.inf)
        worst = max(worst, float(apart_BHT.max()))
        where = f"blocks.{layer}.attention"
        if worst > ROW_SUM_TOLERANCE:
            _, head, token = _first(apart_BHT > ROW_SUM_TOLERANCE)
            total = float(sums_BHT[0, head, token])
            message = f"In {where}, head {head}, the weights of token {token} sum to {total:.6g}."
            return Check("Attention", "failed", message, _OUR_FAULT)
        if bool((weights_BHTS < 0).any()):
            return Check("Attention", "failed", f"{where} has weights below 0.", _OUR_FAULT)
        ahead_BHTS = weights_BHTS.triu(1) != 0
        if bool(ahead_BHTS.any()):
            _, head, token, key = _first(ahead_BHTS)
            message = f"In {where}, head {head}, token {token} looks ahead at token {key}."
            return Check("Attention", "failed", message, _OUR_FAULT)
    return Check("Attention", "ok", f"every row sums to one (within {worst:.0e}), and none looks ahead")


@torch.no_grad()
def check_causality(model: GPT, ids_1T: Tensor) -> Check:
    """Another token at place t leaves every logit before t as it is, bit for bit."""
    before_TV = model(ids_1T)[0][0]
    n_token = ids_1T.shape[1]
    changed = sorted(
        {1 + (n_token - 2) * i // (PLACES_CHANGED - 1) for i in range(PLACES_CHANGED)} & set(range(n_token))
    )
    silent = False
    for place in changed:
        other_1T = ids_1T.clone()
        other_1T[0, place] = (other_1T[0, place] + 1) % model.config.vocab_size
        after_TV = model(other_1T)[0][0]
        differs_T = (before_TV != after_TV).any(dim=-1)
        if bool(differs_T[:place].any()):
            (reached,) = _first(differs_T[:place])
            by = float((before_TV[reached] - after_TV[reached]).abs().max())
            message = f"Changing token {place} changes the logits of token {reached} before it, by up to {by:.3g}."
            return Check("Causality", "failed", message, "The causal mask leaks: its training loss means nothing.")
        silent = silent or not bool(differs_T[place])
    listed = ", ".join(map(str, changed))
    if not changed:
        return Check("Causality", "warning", "One token has nothing before it to leak to.", "Use a longer context.")
    if silent:
        message = f"Changing tokens {listed} changes nothing at all, not even their own logits."
        return Check("Causality", "warning", message, "The model says the same whatever it reads; train it further.")
    return Check("Causality", "ok", f"changing tokens {listed} of {n_token} changes no earlier logit, bit for bit")


@torch.no_grad()
def check_cache(model: GPT, ids_1T: Tensor) -> Check:
    """Reading token by token, and in two parts, gives the logits of reading at once."""
    whole_TV = model(ids_1T)[0][0]
    n_token = ids_1T.shape[1]
    worst = 0.0
    for how, lengths in (("token by token", [1] * n_token), ("in two parts", [n_token // 2, n_token - n_token // 2])):
        cache = model.new_cache(1)
        parts = [model(part, cache=cache)[0][0] for part in torch.split(ids_1T, [n for n in lengths if n], dim=1)]
        apart_T = (torch.cat(parts) - whole_TV).abs().amax(dim=-1) / whole_TV.abs().amax(dim=-1).clamp(min=1e-30)
        apart_T = apart_T.nan_to_num(nan=math.inf)
        worst = max(worst, float(apart_T.max()))
        if worst > CACHE_TOLERANCE:
            (token,) = _first(apart_T > CACHE_TOLERANCE)
            message = f"Read {how}, token {token} gets other logits (relative difference {float(apart_T[token]):.2g})."
            return Check("Cache", "failed", message, _OUR_FAULT)
    return Check("Cache", "ok", f"logits with and without the cache agree within {worst:.0e}")


_TOO_LARGE = "Train with a smaller init_std or learning rate, and stay with float32 or bfloat16 until then."
_OUR_FAULT = "This is a fault of the code, not of the run: please report it, with the configuration."


def _sizes(config: GPTConfig, n_token: int) -> dict[str, int]:
    return {
        "T": n_token,
        "S": n_token,
        "D": config.d_model,
        "F": config.d_ff,
        "H": config.n_head,
        "K": config.n_kv_head,
        "E": config.head_dim,
        "H*E": config.n_head * config.head_dim,
        "K*E": config.n_kv_head * config.head_dim,
        "V": config.vocab_size,
    }


_AXES = {
    "attention.query": "T H*E",
    "attention.key": "T K*E",
    "attention.value": "T K*E",
    "attention.query_ready": "H T E",
    "attention.key_ready": "K T E",
    "attention.weights": "H T S",
    "attention.mixed": "T H*E",
    "feed_forward.gate": "T F",
    "feed_forward.up": "T F",
    "feed_forward.hidden": "T F",
    "logits": "T V",
}
"""Axes of the places that are not T D."""


def _axes(name: str) -> str:
    return _AXES.get(name.split(".", 2)[-1], "T D")


def _parameters_by_place(model: GPT, names: list[str]) -> dict[str, int]:
    """Learned numbers of each place; those of none are in no count."""
    counts = dict.fromkeys(names, 0)
    for parameter_name, parameter in model.named_parameters():
        place = place_of(parameter_name)
        if place in counts:
            counts[place] += parameter.numel()
    return counts


def _first(found: Tensor) -> tuple[int, ...]:
    """The place of the first true entry."""
    return tuple(int(index) for index in found.nonzero()[0])


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
