"""Weights on disk: safetensors shards with the JSON index that Hugging Face uses, even for one shard.

Nothing here executes what it reads: names, shapes and precisions come from the config, and a file that disagrees is
refused. Knowledge layers, where a model has some, lie in a file of their own beside them (`knowledge_file`): the base's
files are those of a model that never had them.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from groundzero.errors import FormatError

INDEX = "model.safetensors.index.json"
MAX_SHARD_BYTES = 2 << 30


def save_weights(model: nn.Module, directory: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write the parameters of `model` as `model-00001-of-0000N.safetensors` and their index.

    Knowledge layers are left out.
    """
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in _base_parameters(model).items()}
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        if shards[-1] and held + tensor.nbytes > max_shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += tensor.nbytes
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, directory / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file_name)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def load_weights(model: nn.Module, directory: Path) -> None:
    """Fill the parameters of `model`, knowledge layers left out, from a directory that `save_weights` wrote.

    Raises:
        FormatError: a file is missing, damaged, or holds other names or shapes than the model has.
    """
    try:
        weight_map = json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"]
        by_file: dict[str, list[str]] = {}
        for name, file_name in weight_map.items():
            if Path(file_name).name != file_name or not file_name.endswith(".safetensors"):
                raise ValueError(f"{file_name!r} names no shard beside it")
            by_file.setdefault(file_name, []).append(name)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise FormatError(f"Cannot read the weight index of {directory}: {error}.", remedy=_REMEDY) from None
    parameters = _base_parameters(model)
    if set(weight_map) != set(parameters):
        odd = sorted(set(weight_map) ^ set(parameters))[0]
        raise FormatError(f"{directory} does not hold this model's weights: {odd} differs.", remedy=_REMEDY)
    for file_name, names in by_file.items():
        try:
            with safe_open(directory / file_name, framework="pt") as file, torch.no_grad():
                for name in names:
                    tensor = file.get_tensor(name)
                    if tensor.shape != parameters[name].shape:
                        raise FormatError(
                            f"{name} in {directory / file_name} is {tuple(tensor.shape)}, "
                            f"the model needs {tuple(parameters[name].shape)}.",
                            remedy=_REMEDY,
                        )
                    if not tensor.is_floating_point():
                        raise FormatError(f"{name} in {directory / file_name} is {tensor.dtype}.", remedy=_REMEDY)
                    parameters[name].copy_(tensor)
        except (OSError, SafetensorError) as error:
            raise FormatError(f"{directory / file_name} is damaged: {error}.", remedy=_REMEDY) from None


def is_knowledge(name: str) -> bool:
    """Whether a parameter of this name belongs to the knowledge layers, and not to the base."""
    return ".knowledge" in name or name.startswith("knowledge")


def _base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if not is_knowledge(name)}


_REMEDY = "Use another checkpoint of the run (`gz runs verify RUN` lists the sound ones)."
