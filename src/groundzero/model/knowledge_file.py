"""Knowledge layers on disk, apart from the base: `knowledge.safetensors` and what they are, in `knowledge.json`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from groundzero.errors import ConfigError, FormatError
from groundzero.model.gpt import GPT
from groundzero.model.knowledge import KnowledgeGPT, attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.weights import is_knowledge

WEIGHTS, CONFIG = "knowledge.safetensors", "knowledge.json"
SCHEMA_VERSION = 1
_REMEDY = "Use another checkpoint of the run (`gz runs verify RUN` lists the sound ones)."


def save_knowledge(model: GPT, directory: Path) -> None:
    """Write the knowledge layers of a model that has some; nothing for one that has none."""
    if not isinstance(model, KnowledgeGPT):
        return
    tensors = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if is_knowledge(name)
    }
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    content = {"schema": SCHEMA_VERSION, "knowledge": model.knowledge_config.model_dump(mode="json")}
    (directory / CONFIG).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_knowledge_config(directory: Path) -> KnowledgeConfig | None:
    """What knowledge layers a checkpoint holds; None when it holds none.

    Raises:
        FormatError: the file is damaged or of a later version.
    """
    path = directory / CONFIG
    if not path.exists():
        if (directory / WEIGHTS).exists():
            raise FormatError(f"{directory / WEIGHTS} lies there without {CONFIG}.", remedy=_REMEDY)
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, values = content["schema"], content["knowledge"]
        if schema != SCHEMA_VERSION:
            raise FormatError(
                f"{path} has schema {schema}, this version reads {SCHEMA_VERSION}.", remedy="Update groundzero."
            )
        return KnowledgeConfig.parse(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FormatError | ConfigError):
            raise FormatError(error.message, remedy=error.remedy) from None
        raise FormatError(f"Cannot read {path}: {error!r}.", remedy=_REMEDY) from None


def with_saved_knowledge(base: GPT, directory: Path) -> GPT:
    """The base with the knowledge layers that a checkpoint holds, weights and all; the base itself when it has none.

    Raises:
        FormatError: the files are damaged or belong to another model.
    """
    config = read_knowledge_config(directory)
    if config is None:
        return base
    try:
        model = attach_knowledge(base, config)
    except ConfigError as error:
        raise FormatError(f"{directory / CONFIG} does not fit the model: {error.message}", remedy=_REMEDY) from None
    load_knowledge(model, directory)
    return model


def load_knowledge(model: KnowledgeGPT, directory: Path) -> None:
    """Fill the knowledge layers from a directory that `save_knowledge` wrote.

    Raises:
        FormatError: the file is missing, damaged, or holds other names, shapes or kinds of number.
    """
    path = directory / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{path} is missing or damaged: {error}.", remedy=_REMEDY) from None
    parameters = {name: parameter for name, parameter in model.named_parameters() if is_knowledge(name)}
    if set(tensors) != set(parameters):
        odd = sorted(set(tensors) ^ set(parameters))[0]
        raise FormatError(f"{path} does not hold this model's knowledge layers: {odd} differs.", remedy=_REMEDY)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor.shape != parameters[name].shape or not tensor.is_floating_point():
                raise FormatError(
                    f"{name} in {path} is {tuple(tensor.shape)} {tensor.dtype}, "
                    f"the model needs {tuple(parameters[name].shape)}.",
                    remedy=_REMEDY,
                )
            parameters[name].copy_(tensor)
