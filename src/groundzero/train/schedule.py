"""The learning rate over time, as a factor of its peak: a pure function of the step."""

from __future__ import annotations

import math

from groundzero.train.config import TrainConfig


def learning_rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Factor in (0, 1] at `step` of `steps`, counted from 0.

    Warm-up is linear. Then `cosine` (Loshchilov & Hutter 2017) and `wsd` (Hu et al. 2024) arrive at
    `min_learning_rate` where the step after the last would be: `wsd` stays at 1 and falls linearly over the last
    `decay_fraction`, or over all that the warm-up leaves where that is less. `constant` stays at 1.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    floor = config.min_learning_rate / config.learning_rate
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    decay_steps = max(1, min(round(config.decay_fraction * steps), steps - config.warmup_steps))
    remaining = (steps - step) / decay_steps
    return floor + (1 - floor) * min(1.0, max(0.0, remaining))
