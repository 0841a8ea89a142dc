"""A training as files: tensors in safetensors, the rest in JSON, published whole or not at all, and read back verified.

training.safetensors    tables, optimiser state, best tables
state.json              progress, settings, and a digest of the triples
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from groundzero.errors import ConfigError, FormatError
from groundzero.graph.embed.splits import Splits
from groundzero.graph.embed.trainer import EmbeddingTrainer
from groundzero.run.checkpoints import Checkpoints
from groundzero.run.files import storage_errors

_TENSORS, _STATE = "training.safetensors", "state.json"
# Settings that may change when training goes on: they say how long, where and how it is watched, not what is learnt.
_MAY_CHANGE = {"epochs", "device", "memory_mb", "patience"}
KEEP = 1


def save_training(trainer: EmbeddingTrainer, folder: Path) -> None:
    """Publish a checkpoint in `folder`/checkpoints and drop the one before.

    Raises:
        StorageError: the disk refused; the checkpoint before is untouched.
    """
    checkpoints = Checkpoints(folder / "checkpoints")
    step = trainer.progress.epoch * trainer.batches.steps_per_epoch + trainer.progress.step

    def write(target: Path) -> None:
        save_file({name: tensor.contiguous().clone() for name, tensor in trainer.tensors().items()}, target / _TENSORS)
        content = {"config": trainer.config.model_dump(), "graph": digest(trainer.splits), **trainer.state()}
        (target / _STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")

    checkpoints.publish(step, write)
    checkpoints.prune(KEEP)


def resume_training(trainer: EmbeddingTrainer, folder: Path) -> bool:
    """Go on from the newest sound checkpoint; False where there is none.

    Raises:
        ConfigError: the settings or the triples are others than those of the checkpoint.
        FormatError: it verifies and still cannot be read.
    """
    found = Checkpoints(folder / "checkpoints").latest().checkpoint
    if found is None:
        return False
    try:
        state = json.loads((found.path / _STATE).read_text(encoding="utf-8"))
        tensors = load_file(found.path / _TENSORS)
        _check(trainer, state, folder)
        trainer.restore(tensors, state)
    except (OSError, KeyError, TypeError, SafetensorError, json.JSONDecodeError) as error:
        raise FormatError(
            f"Cannot read the training state in {found.path}: {error}.", remedy=f"Delete {folder} and train anew."
        ) from None
    return True


def discard_training(folder: Path) -> None:
    """Forget whatever training `folder` holds, so that its checkpoints cannot be taken for those of the next.

    Raises:
        StorageError: the disk refused.
    """
    if (folder / "checkpoints").exists():
        with storage_errors(f"clear {folder / 'checkpoints'}"):
            shutil.rmtree(folder / "checkpoints")


def digest(splits: Splits) -> str:
    """SHA-256 of everything training and validation see."""
    whole = hashlib.sha256(f"{splits.n_entities} {splits.n_relations} ".encode())
    for triples in (splits.train, splits.valid, splits.test):
        whole.update(f"{len(triples)} ".encode())
        whole.update(triples.astype("<i8").tobytes())
    return whole.hexdigest()


def _check(trainer: EmbeddingTrainer, state: dict[str, Any], folder: Path) -> None:
    now, then = trainer.config.model_dump(), state["config"]
    changed = sorted(key for key in now if key not in _MAY_CHANGE and now[key] != then.get(key))
    if changed:
        said = ", ".join(f"{key} was {then.get(key)!r} and is {now[key]!r}" for key in changed)
        raise ConfigError(
            f"The training in {folder} had other settings: {said}.", remedy="Keep them, or choose another --out."
        )
    if state["graph"] != digest(trainer.splits):
        raise ConfigError(
            f"The graph has changed since the training in {folder} began.",
            remedy="Train anew without --resume.",
        )
