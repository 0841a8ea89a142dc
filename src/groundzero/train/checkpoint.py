"""What a checkpoint of a training holds beside the weights, and how it is written and read back.

    model-0000n-of-0000m.safetensors + index   the weights
    knowledge.safetensors + knowledge.json     the knowledge layers, where the model has some
    training.safetensors                       optimiser state and random generators
    state.json                                 step, tokens, seconds, best loss, gradient scaler

Batches are addressed by step, so there is no loader state to keep.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from groundzero.errors import FormatError
from groundzero.model.gpt import GPT
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.model.knowledge_file import load_knowledge, save_knowledge
from groundzero.model.weights import load_weights, save_weights
from groundzero.train.optimizer import Optimizers

_TENSORS, _STATE = "training.safetensors", "state.json"


@dataclass
class Progress:
    """How far a training is."""

    step: int = 0
    """Updates of the weights so far."""
    tokens: int = 0
    """Targets learned from so far."""
    seconds: float = 0.0
    """Time spent in steps so far."""
    best_loss: float | None = None
    """Lowest validation loss so far, in nats."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the float16 gradient scaler; empty without one."""
    pending_losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last metric record, whose mean the next record will be."""


def save_training(folder: Path, model: GPT, optimizers: Optimizers, progress: Progress) -> None:
    """Write weights and training state into an empty folder."""
    save_weights(model, folder)
    save_knowledge(model, folder)
    tensors = {f"optimizer/{key}": value.cpu() for key, value in optimizers.state_tensors().items()}
    tensors |= {f"random/{name}": state for name, state in random_states(model.device).items()}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / _TENSORS)
    (folder / _STATE).write_text(json.dumps(asdict(progress), indent=1), encoding="utf-8")


def load_training(folder: Path, model: GPT, optimizers: Optimizers) -> Progress:
    """Restore what `save_training` wrote, random generators included.

    Raises:
        FormatError: the files are damaged or belong to another model.
    """
    load_weights(model, folder)
    if isinstance(model, KnowledgeGPT):
        load_knowledge(model, folder)
    try:
        tensors = load_file(folder / _TENSORS)
        progress = Progress(**json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise FormatError(f"Cannot read the training state in {folder}: {error}.", remedy=_REMEDY) from None
    prefix = "optimizer/"
    optimizers.load_state_tensors({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    if "random/cpu" not in tensors:
        raise FormatError(f"{folder / _TENSORS} holds no random state.", remedy=_REMEDY)
    prefix = "random/"
    set_random_states({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, model.device)
    return progress


def random_states(device: torch.device) -> dict[str, Tensor]:
    """State of the random generators that a training on `device` draws from, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device.type).get_rng_state(device)
    return states


def set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the generators back to what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type in states and device.type != "cpu":
        torch.get_device_module(device.type).set_rng_state(states[device.type], device)


_REMEDY = "Resume from another checkpoint; `gz runs verify RUN` lists the sound ones."
