"""Which model a budget affords: parameters grow with the root of what can be computed, as compute-optimal ones do
(Hoffmann et al. 2022), from a size that five minutes on two cores teach to write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundzero.hardware import Device, detect_cpu

FIVE_MINUTES = 5e6
"""Parameters that five minutes on two cores are worth."""
READERS_FIVE_MINUTES, READERS_POWER = 5.2e6, 0.25
"""The same of a model that is to read facts, which is better taught longer than made larger: on Wiki27K, on one core,
2.8 M parameters answered 84 % of questions in unseen wordings after 9 minutes, 6.5 M (and worse lessons) 47 % after 14.
In five minutes it is no smaller all the same: after 500 steps one word in six that 3 M wrote was made up."""
LARGEST_ON_CPU, LARGEST = 30e6, 360e6
PARAMETERS_PER_BYTE = 12.0
"""Of text, at most: a larger model learns a small text by heart. The embedded text (1.4 MB) affords the 4.8 M that its
samples were chosen with, four times over."""
POWER = {"cuda": 100.0, "xpu": 40.0, "mps": 10.0}
"""How many times two cores an accelerator is, roughly. A figure that was measured would choose another size at every
try, and on a busy machine a small one."""
CONTEXT_WITH_FACTS = 512
"""Eight facts with a question and its answer fit in it; 256 do not hold them."""


@dataclass(frozen=True)
class Size:
    """A shape with the recipe that belongs to it."""

    parameters: float
    """About."""
    d_model: int
    n_layer: int
    n_head: int
    vocab_size: int
    context: int
    batch_size: int
    learning_rate: float

    def sections(self) -> dict[str, dict[str, Any]]:
        """As sections of a run's configuration."""
        return {
            "model": {
                "d_model": self.d_model, "n_layer": self.n_layer, "n_head": self.n_head,
                "vocab_size": self.vocab_size, "context": self.context,
            },
            "tokenizer": {"vocab_size": self.vocab_size},
            "train": {"batch_size": self.batch_size, "learning_rate": self.learning_rate},
        }  # fmt: skip


# Between the presets nano, micro, tiny, small, medium and large; 4.8 M is the recipe chosen on the embedded text, whose
# vocabulary holds most words whole.
SIZES = (
    Size(1.0e6, 128, 4, 4, 1024, 256, 16, 2e-3),
    Size(3.0e6, 192, 5, 6, 4096, 256, 16, 1.5e-3),
    Size(4.8e6, 256, 4, 4, 6144, 256, 8, 1.5e-3),
    Size(10e6, 320, 6, 5, 8192, 256, 16, 1e-3),
    Size(16e6, 384, 7, 6, 8192, 256, 16, 9e-4),
    Size(25e6, 512, 6, 8, 12288, 512, 8, 8e-4),
    Size(80e6, 640, 12, 10, 32768, 1024, 32, 6e-4),
    Size(350e6, 1024, 24, 16, 49152, 1024, 32, 3e-4),
)


def choose_size(minutes: float, text_bytes: float, device: Device, *, facts: bool = False) -> Size:
    """The largest size that the minutes and the text afford; the smallest where they afford none.

    Args:
        facts: whether it is to answer from a graph.
    """
    computed = minutes / 5 * power_of(device)
    affordable = READERS_FIVE_MINUTES * computed**READERS_POWER if facts else FIVE_MINUTES * math.sqrt(computed)
    largest = LARGEST_ON_CPU if device.kind == "cpu" else LARGEST
    most = min(affordable, largest, PARAMETERS_PER_BYTE * text_bytes)
    return max((size for size in SIZES if size.parameters <= most), default=SIZES[0], key=lambda size: size.parameters)


def power_of(device: Device) -> float:
    """How many times as much as two cores a device computes, roughly."""
    return POWER.get(device.kind, max(0.5, detect_cpu().usable_cores / 2))


def with_context(sections: Mapping[str, Any], context: int) -> dict[str, Any]:
    """The sections with at least this context. Batches keep their tokens: twice the context, half the rows."""
    model, train = dict(sections.get("model", {})), dict(sections.get("train", {}))
    own = model.get("context", context)
    if own < context:
        model["context"] = context
        if "batch_size" in train:
            train["batch_size"] = max(1, train["batch_size"] * own // context)
    return {**sections, "model": model, "train": train}
