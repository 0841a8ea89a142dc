"""A forecast: what the build will be and take, from a glance at the input and a measurement of the machine.

Nothing is written. The seconds of each stage are what it would get if every stage before it took what is foreseen; when
it comes to it, what is left is dealt out anew (`budget`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from groundzero.build.budget import WEIGHTS, share
from groundzero.build.config import BuildConfig
from groundzero.build.order import Order
from groundzero.build.survey import Inputs
from groundzero.hardware import Device, Precision, choose_device, choose_precision, keep_freed_memory
from groundzero.model.gpt import GPT
from groundzero.model.size import memory, parameter_count
from groundzero.train.optimizer import Optimizers
from groundzero.train.session import BUDGET_SHARE

BYTES_PER_TOKEN = 3.8
"""Of English, at our vocabularies."""
PROCESS_BYTES = 700 * 2**20
"""Python with PyTorch and a graph, before there is a model."""
KNOWLEDGE = 1.35
"""Memory of a model with knowledge layers, times that without."""
STATE_BYTES = 12
"""Of a checkpoint, for each parameter: weights and two moments."""
CHECKPOINTS = 3
"""Kept by a training: two and the best."""
_READ_PER_S, _IMPORTED_PER_S, _SPOKEN_PER_S = 2e6, 4e4, 3e5
"""Bytes of text through tokenizer and shards, statements into a graph, bytes of the graph put into words."""
_STEPS, _ROWS = 3, 4


@dataclass(frozen=True)
class Plan:
    """What is foreseen."""

    minutes: float
    """For everything."""
    parameters: int
    """Of the network without knowledge layers."""
    d_model: int
    n_layer: int
    vocab_size: int
    context: int
    device: str
    precision: str
    text_bytes: float
    """To be read: the user's, unpacked, and the facts in words."""
    statements: int
    """Of the graph; 0 without one."""
    text_tokens: float
    """What the text comes to."""
    tokens_per_second: float
    """Of pretraining, measured on the untrained network."""
    pretraining_tokens: float
    """To be learnt from."""
    passes: float
    """Over the text."""
    memory_bytes: float
    disk_bytes: float
    seconds: Mapping[str, float]
    """By stage."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def forecast(order: Order, config: BuildConfig, inputs: Inputs, stages: tuple[str, ...]) -> Plan:
    """Measure the network for some seconds and work out the rest.

    Args:
        stages: names of those that the build has, in order.
    """
    device = choose_device(order.device)
    precision = choose_precision(device, config.pretraining.train.precision)
    speed = tokens_per_second(config, device, precision)
    model = config.pretraining.model
    text_bytes = inputs.text_bytes + inputs.facts_bytes
    tokens = text_bytes / BYTES_PER_TOKEN
    count = parameter_count(model)
    seconds = _seconds(order, inputs, stages)
    learnt = speed * BUDGET_SHARE * seconds["pretrain"]
    if config.pretraining.train.steps:
        train = config.pretraining.train
        learnt = float(train.steps * train.batch_size * train.accumulate * model.context)
    training = memory(
        model,
        config.pretraining.train.batch_size,
        precision=precision.name,
        optimizer=config.pretraining.train.optimizer,
        fused_kernels=device.kind != "cpu",
    ).total
    runs = 2 if order.graph else 1
    return Plan(
        minutes=order.minutes,
        parameters=count.total,
        d_model=model.d_model,
        n_layer=model.n_layer,
        vocab_size=model.vocab_size,
        context=model.context,
        device=device.name,
        precision=precision.name,
        text_bytes=text_bytes,
        statements=inputs.statements,
        text_tokens=tokens,
        tokens_per_second=speed,
        pretraining_tokens=learnt,
        passes=learnt / max(1.0, tokens),
        memory_bytes=PROCESS_BYTES + training * (KNOWLEDGE if order.graph else 1.0),
        disk_bytes=runs * CHECKPOINTS * STATE_BYTES * count.allocated + 3 * text_bytes + 500.0 * inputs.statements,
        seconds=seconds,
    )


def tokens_per_second(config: BuildConfig, device: Device, precision: Precision) -> float:
    """Speed of whole training steps of the untrained network, on random tokens; a few seconds."""
    keep_freed_memory()
    settings, state = config.pretraining, torch.get_rng_state()
    try:
        torch.manual_seed(0)
        model = GPT(settings.model).to(device.name)
        model.compute_dtype = None if precision.name == "float32" else getattr(torch, precision.name)
        optimizers = Optimizers(model, settings.train)
        optimizers.set_factor(0.0)
        rows = min(settings.train.batch_size, _ROWS) if device.kind == "cpu" else settings.train.batch_size
        tokens_BT = torch.randint(settings.model.vocab_size, (rows, settings.model.context + 1)).to(device.name)
        times = []
        for index in range(_STEPS + 1):
            start = time.perf_counter()
            model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
            optimizers.step()
            float(next(model.parameters()).detach().flatten()[0])  # waits for the device
            if index:  # the first one warms up
                times.append(time.perf_counter() - start)
    finally:
        torch.set_rng_state(state)
    return rows * settings.model.context / statistics.median(times)


def _seconds(order: Order, inputs: Inputs, stages: tuple[str, ...]) -> dict[str, float]:
    """By stage: what it takes, or what it gets of what those before it leave."""
    fixed = {
        "graph": 1.0 + inputs.statements / _IMPORTED_PER_S,
        "text": 2.0 + inputs.text_bytes / _READ_PER_S + inputs.facts_bytes / _SPOKEN_PER_S,
        "report": 5.0,
    }
    found: dict[str, float] = {}
    for place, name in enumerate(stages):
        spent = sum(found.values())
        found[name] = (
            share(60.0 * order.minutes, spent, name, stages[place:]) if name in WEIGHTS else fixed.get(name, 0.0)
        )
    return found
