"""What a training needs beside a model and an optimiser: something to learn from, and a place to leave off.

**Tokens and batches.** A text is one long row of ids. The last tenth is held back: the model never learns from it, so
its loss there (the *validation loss*) tells learning from memorising. The rest is cut into windows of T + 1 ids. A
window holds T lessons at once, because a causal model answers at every place without seeing what comes after:

    ids       to  be  or  not  to  be           window of T + 1 = 6
    tokens    to  be  or  not  to               what the model sees
    targets       be  or  not  to  be           what it should have said: the same, one place to the left

An *epoch* visits every window once, in random order, B windows a step; the next epoch cuts at other places. The batch
of a step is a pure function of the ids, the seed and the step: nothing is drawn from a generator that somebody else
may have used, so a training that was interrupted at step 700 goes on with exactly the batch it would have had.

**Checkpoints.** All that is needed to go on as if nothing had happened: the weights, what the optimiser remembers, the
step, and the state of the random generators. They are the files that the PyTorch trainer writes, name for name:

    model-00001-of-00001.safetensors    the weights (in shards, where they are large)
    model.safetensors.index.json        which weight lies in which shard
    training.safetensors                optimizer/<parameter>/<what>, and random/<device>
    state.json                          step, tokens seen, seconds, best loss, ...

so a model trained there opens here, learns on, and goes back. Read `safetensors.py` for the file format.

Shapes: B batch, T time (context), N tokens of a text.

Run me: `python -m groundzero.reference.utils`
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundzero.reference.module import Ids, Parameter
from groundzero.reference.optimizer import AdamW
from groundzero.reference.safetensors import AnyArray, SafetensorsFile, read, write

INDEX = "model.safetensors.index.json"
TRAINING = "training.safetensors"
STATE = "state.json"
MAX_SHARD_BYTES = 2 << 30


# ---------------------------------------------------------------------- tokens and batches


def split_tokens(ids_N: Ids, validation_fraction: float = 0.1) -> tuple[Ids, Ids]:
    """The beginning for training, the end for validation; views, not copies.

    The end and not a random tenth: neighbouring windows share phrases, and a model that has seen the left half of a
    sentence is no longer surprised by the right one.

    Raises:
        ValueError: one of the two would be empty.
    """
    n_train = int(len(ids_N) * (1 - validation_fraction))
    if not 0 < n_train < len(ids_N):
        raise ValueError(
            f"{len(ids_N)} tokens cannot give a share of {validation_fraction} and keep some to learn from."
        )
    return ids_N[:n_train], ids_N[n_train:]


class Batches:
    """Windows of a text, addressed by step.

    Raises:
        ValueError: the text is not longer than the context.
    """

    def __init__(self, ids_N: Ids, *, batch_size: int, context: int, seed: int = 0) -> None:
        if batch_size < 1 or context < 1:
            raise ValueError(f"batch_size {batch_size} and context {context} must be at least 1.")
        if len(ids_N) <= context:
            raise ValueError(f"A text of {len(ids_N)} tokens has no window of {context} and the token after it.")
        self.ids_N, self.batch_size, self.context, self.seed = ids_N, batch_size, context, seed
        # One window fewer than fit, where there are several: the room that is left shifts the cuts from epoch to epoch.
        self.windows_per_epoch = max(1, (len(ids_N) - 1) // context - 1)
        self._room = len(ids_N) - self.windows_per_epoch * context

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see every window at least once."""
        return -(-self.windows_per_epoch // self.batch_size)

    def batch(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """tokens_BT and targets_BT of a step, counted from 0: the same whenever and wherever it is asked for."""
        window_B = step * self.batch_size + np.arange(self.batch_size)
        epoch_B, place_B = np.divmod(window_B, self.windows_per_epoch)
        start_B = np.empty_like(window_B)
        for epoch in range(int(epoch_B[0]), int(epoch_B[-1]) + 1):  # mostly one; two where an epoch ends
            rng = np.random.default_rng([self.seed, epoch])
            shift, order_W = rng.integers(self._room), rng.permutation(self.windows_per_epoch)
            here = epoch_B == epoch
            start_B[here] = shift + order_W[place_B[here]] * self.context
        return _windows(self.ids_N, start_B, self.context)


def validation_batches(
    ids_N: Ids, *, batch_size: int, context: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The whole text in order, in windows side by side: every token but the first is a target once.

    The last windows may be short: their rest holds id 0 and targets of -1, which count for nothing. Weigh the loss of a
    batch by its targets that count.
    """
    n_inputs = len(ids_N) - 1
    for first in range(0, n_inputs, batch_size * context):
        start_B = np.arange(first, min(first + batch_size * context, n_inputs), context)
        place_BT = start_B[:, None] + np.arange(context)
        inside_BT = place_BT < n_inputs
        place_BT = np.minimum(place_BT, n_inputs - 1)
        tokens_BT = np.where(inside_BT, ids_N[place_BT], 0).astype(np.int64)
        yield tokens_BT, np.where(inside_BT, ids_N[place_BT + 1].astype(np.int64), -1)


def _windows(ids_N: Ids, start_B: Ids, context: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    window_BT1 = ids_N[start_B[:, None] + np.arange(context + 1)].astype(np.int64)
    return window_BT1[:, :-1], window_BT1[:, 1:]


# ---------------------------------------------------------------------- weights


def save_weights(
    weights: Mapping[str, AnyArray], folder: Path | str, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write arrays as `model-00001-of-0000N.safetensors` and their index, as the PyTorch side does."""
    shards: list[dict[str, AnyArray]] = [{}]
    held = 0
    for name, array in weights.items():
        if shards[-1] and held + array.nbytes > max_shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = array
        held += array.nbytes
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write(Path(folder) / file_name, shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file_name)
    total = sum(array.nbytes for array in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (Path(folder) / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def load_weights(folder: Path | str) -> dict[str, AnyArray]:
    """Arrays by name from a folder that `save_weights`, here or in PyTorch, wrote.

    Raises:
        ValueError: the index or a shard is damaged.
        OSError: a file is missing or cannot be read.
    """
    folder = Path(folder)
    weight_map = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file_name, str) for file_name in weight_map.values()):
        raise ValueError(f"{folder / INDEX} has no weight_map of names to files.")
    weights: dict[str, AnyArray] = {}
    for file_name in dict.fromkeys(weight_map.values()):
        if Path(file_name).name != file_name or "\\" in file_name or not file_name.endswith(".safetensors"):
            raise ValueError(f"{folder / INDEX} points to {file_name!r}, which names no shard beside it.")
        with SafetensorsFile(folder / file_name) as file:
            for name in (name for name, where in weight_map.items() if where == file_name):
                if name not in file.tensors:
                    raise ValueError(f"{folder / file_name} lacks {name}, which the index says it holds.")
                weights[name] = file.read(name)
    return {name: weights[name] for name in weight_map}


def assign(parameters: Mapping[str, Parameter], weights: Mapping[str, AnyArray]) -> None:
    """Put arrays into parameters of the same names and shapes, in the precision that the parameters have.

    Raises:
        ValueError: a name or a shape differs, or an array holds no fractions; nothing has been changed then.
    """
    if set(parameters) != set(weights):
        odd = sorted(set(parameters) ^ set(weights))[0]
        side = "the weights" if odd in parameters else "this model"
        raise ValueError(f"These are not this model's weights: {side} lack{'' if odd in parameters else 's'} {odd}.")
    for name, parameter in parameters.items():
        if weights[name].shape != parameter.shape or weights[name].dtype.kind != "f":
            found = f"{weights[name].dtype} of shape {weights[name].shape}"
            raise ValueError(f"{name} is {found}; this model needs floats of shape {parameter.shape}.")
    for name, parameter in parameters.items():
        parameter.value[...] = weights[name]


# ---------------------------------------------------------------------- checkpoints


@dataclass
class Progress:
    """How far a training is; the fields of `state.json`."""

    step: int = 0
    """Updates of the weights so far."""
    tokens: int = 0
    """Targets learned from so far."""
    seconds: float = 0.0
    """Time spent in steps so far."""
    best_loss: float | None = None
    """Lowest validation loss so far, in nats."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of PyTorch's float16 scaler; kept for the way back."""
    pending_losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last record of metrics; kept for the way back."""


@dataclass
class Checkpoint:
    """All that is needed to go on."""

    weights: dict[str, AnyArray]
    """By parameter."""
    optimizer: dict[str, AnyArray] = field(default_factory=dict)
    """What `Optimizers.state()` returned: `<parameter>/<what>`."""
    progress: Progress = field(default_factory=Progress)
    """How far the training is."""
    random: dict[str, AnyArray] = field(default_factory=dict)
    """State of PyTorch's random generators by device, as it stores them. Saved as of seed 0 where there is none."""


def save_checkpoint(folder: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into a folder that is there; `gz train --resume` and `load_checkpoint` can go on from it."""
    folder = Path(folder)
    save_weights(checkpoint.weights, folder)
    random = {"cpu": torch_generator_state(0), **checkpoint.random}
    tensors = {f"optimizer/{key}": array for key, array in checkpoint.optimizer.items()}
    write(folder / TRAINING, tensors | {f"random/{device}": state for device, state in random.items()})
    (folder / STATE).write_text(json.dumps(asdict(checkpoint.progress), indent=1), encoding="utf-8")


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read a checkpoint, whichever side wrote it.

    Raises:
        ValueError: a file is damaged.
        OSError: a file is missing or cannot be read.
    """
    folder = Path(folder)
    state, known = _read_json(folder / STATE), {item.name for item in fields(Progress)}
    if set(state) - known:
        raise ValueError(f"{folder / STATE} holds {sorted(set(state) - known)[0]!r}, which no checkpoint has.")
    if type(state.get("step", 0)) is not int or state.get("step", 0) < 0:
        raise ValueError(f"{folder / STATE} says step {state['step']!r}, which is no number of steps.")
    parts: dict[str, dict[str, AnyArray]] = {"optimizer": {}, "random": {}}
    for key, array in read(folder / TRAINING).items():
        part, _, name = key.partition("/")
        if part not in parts:
            raise ValueError(f"{folder / TRAINING} holds {key!r}, which belongs to neither {' nor '.join(parts)}.")
        parts[part][name] = array
    return Checkpoint(load_weights(folder), parts["optimizer"], Progress(**state), parts["random"])


def torch_generator_state(seed: int) -> NDArray[np.uint8]:
    """What `torch.manual_seed(seed); torch.get_rng_state()` gives, so that PyTorch can go on from a NumPy training.

    Both worlds have the same Mersenne twister (Matsumoto & Nishimura 1998) of 624 words, filled from the lower 32 bits
    of the seed. PyTorch stores: the seed, how many words are left (1: refill first), that it is seeded, where it is,
    the words as 64 bits each, and 40 bytes for a normal number kept in reserve (none).
    """
    key = np.random.RandomState(seed % 2**32).get_state(legacy=False)["state"]["key"]
    words: NDArray[np.uint32] = np.asarray(key)
    head = seed.to_bytes(8, "little") + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(8)
    return np.frombuffer(head + words.astype("<u8").tobytes() + bytes(40), np.uint8).copy()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged: it is not JSON.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object.")
    return content


# ---------------------------------------------------------------------- demonstration


def demo() -> None:
    """Cut a famous line into windows, and stop and resume a small training without a trace."""
    text = "to be or not to be that is the question whether tis nobler in the mind to suffer"
    words = text.split()
    names = sorted(set(words))
    ids_N = np.array([names.index(word) for word in words])
    train_N, validation_N = split_tokens(ids_N, 0.2)
    print(f"{len(ids_N)} words, {len(names)} different ones; ids {ids_N}")
    print(f"{len(train_N)} to learn from, the last {len(validation_N)} to check with.\n")
    batches = Batches(train_N, batch_size=2, context=4, seed=1337)
    print(
        f"Windows of 4, two a step: {batches.windows_per_epoch} windows are an epoch of {batches.steps_per_epoch} step."
    )
    for step in (0, 1, 0):
        for tokens_T, targets_T in zip(*batches.batch(step), strict=True):
            told = " ".join(f"{names[i]:9}" for i in tokens_T)
            print(f"  step {step}   sees {told}  should say {' '.join(names[i] for i in targets_T)}")
    print("Step 0, asked for again, is the same batch: steps can be repeated, and trainings resumed.\n")
    _demo_resume()


def _demo_resume() -> None:
    target = np.linspace(-1, 1, 12).reshape(3, 4)

    def train(weight: Parameter, optimizer: AdamW, steps: int) -> None:
        for _ in range(steps):
            weight.gradient[...] = weight.value - target
            optimizer.step()

    straight = Parameter(np.zeros((3, 4)))
    train(straight, AdamW({"weight": straight}, 0.1), 20)
    print("A training of 20 steps, and one that is stopped after 10 and resumed from its checkpoint:")
    with tempfile.TemporaryDirectory() as folder:
        before = Parameter(np.zeros((3, 4)))
        optimizer = AdamW({"weight": before}, 0.1)
        train(before, optimizer, 10)
        save_checkpoint(folder, Checkpoint({"weight": before.value}, optimizer.state, Progress(step=10)))
        for path in sorted(Path(folder).iterdir()):
            print(f"  {path.name:34} {path.stat().st_size:5} bytes")
        loaded = load_checkpoint(folder)
    after = Parameter(np.zeros((3, 4)))
    assign({"weight": after}, loaded.weights)
    optimizer = AdamW({"weight": after}, 0.1)
    optimizer.state = dict(loaded.optimizer)
    train(after, optimizer, 10)
    print(f"Largest difference of the weights at the end: {np.abs(after.value - straight.value).max()}")
    forgetful = Parameter(before.value.copy())
    train(forgetful, AdamW({"weight": forgetful}, 0.1), 10)
    print(f"Had the optimiser's memory been left out:     {np.abs(forgetful.value - straight.value).max():.3f}")


if __name__ == "__main__":
    demo()
