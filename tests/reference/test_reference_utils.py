"""Batches by step, and checkpoints that either world writes and the other goes on from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from groundzero.model import GPT, GPTConfig
from groundzero.model import weights as product
from groundzero.reference import utils as hand
from groundzero.reference.module import Parameter
from groundzero.reference.roles import OptimizerConfig, Optimizers
from groundzero.reference.safetensors import write
from groundzero.reference.utils import (
    Batches,
    Checkpoint,
    Progress,
    assign,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    split_tokens,
    torch_generator_state,
    validation_batches,
)
from groundzero.run import RunDirectory
from groundzero.train import TrainConfig
from groundzero.train import optimizer as trainers
from groundzero.train.checkpoint import Progress as TrainersProgress
from groundzero.train.checkpoint import load_training, save_training

FIXTURE = Path(__file__).parents[1] / "fixtures" / "trained-run-v1" / "checkpoints" / "step-400"
RATES: dict[str, Any] = {"learning_rate": 2e-3, "muon_learning_rate": 0.03, "weight_decay": 0.2}

# ---------------------------------------------------------------------- tokens and batches


@given(n=st.integers(0, 300), fraction=st.floats(0, 1))
def test_the_split_is_a_beginning_and_an_end_or_refused(n: int, fraction: float) -> None:
    ids_N = np.arange(n)
    expected = int(n * (1 - fraction))  # nanoGPT's
    if not 0 < expected < n:
        with pytest.raises(ValueError, match=f"{n} tokens"):
            split_tokens(ids_N, fraction)
        return
    train_N, validation_N = split_tokens(ids_N, fraction)
    assert len(train_N) == expected
    np.testing.assert_array_equal(np.concatenate([train_N, validation_N]), ids_N)


SIZES = {"n": st.integers(2, 400), "batch_size": st.integers(1, 9), "context": st.integers(1, 40)}


@settings(max_examples=200, deadline=None)
@given(**SIZES, seed=st.integers(0, 2**40), step=st.integers(0, 200))
def test_a_batch_is_a_function_of_its_step(n: int, batch_size: int, context: int, seed: int, step: int) -> None:
    assume(n > context)
    ids_N = np.random.default_rng(n).integers(0, 60000, n).astype(np.uint16)
    one, other = (Batches(ids_N, batch_size=batch_size, context=context, seed=seed) for _ in range(2))
    other.batch(step + 1)
    for ours, theirs in zip(one.batch(step), other.batch(step), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == (batch_size, context) and ours.dtype == np.int64


@settings(max_examples=200, deadline=None)
@given(**SIZES, seed=st.integers(0, 2**40), first=st.integers(0, 3))
def test_an_epoch_visits_every_window_once_and_misses_less_than_two(
    n: int, batch_size: int, context: int, seed: int, first: int
) -> None:
    assume(n > context)
    batches = Batches(np.arange(n), batch_size=batch_size, context=context, seed=seed)
    per_epoch = batches.windows_per_epoch
    assert batches.steps_per_epoch == -(-per_epoch // batch_size)
    rows: list[Any] = []
    for step in range(-(-(first + 1) * per_epoch // batch_size)):
        tokens_BT, targets_BT = batches.batch(step)
        np.testing.assert_array_equal(targets_BT, tokens_BT + 1)  # ids are places here: the target is the next place
        rows += list(tokens_BT)
    epoch = np.sort(np.concatenate(rows[first * per_epoch : (first + 1) * per_epoch]))
    np.testing.assert_array_equal(epoch, np.arange(epoch[0], epoch[0] + per_epoch * context))
    assert n - 1 - len(epoch) < 2 * context


def test_epochs_and_seeds_differ_in_order_and_in_cuts() -> None:
    def starts(seed: int, epoch: int) -> list[int]:
        batches = Batches(np.arange(1000), batch_size=1, context=10, seed=seed)
        windows = batches.windows_per_epoch
        return [int(batches.batch(step)[0][0, 0]) for step in range(epoch * windows, (epoch + 1) * windows)]

    orders = [starts(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len({tuple(order) for order in orders}) == 6
    assert all(order != sorted(order) for order in orders)
    assert len({min(order) for order in orders}) > 1


@settings(max_examples=200, deadline=None)
@given(**SIZES)
def test_validation_asks_for_every_token_but_the_first_once(n: int, batch_size: int, context: int) -> None:
    ids_N = (np.random.default_rng(n).integers(0, 60000, n)).astype(np.uint16)
    asked: list[int] = []
    for tokens_BT, targets_BT in validation_batches(ids_N, batch_size=batch_size, context=context):
        assert tokens_BT.shape == targets_BT.shape and tokens_BT.shape[0] <= batch_size
        counts = targets_BT >= 0
        assert (tokens_BT[~counts] == 0).all()
        np.testing.assert_array_equal(tokens_BT[counts], ids_N[len(asked) : len(asked) + counts.sum()])
        asked += targets_BT[counts].tolist()
    assert asked == ids_N[1:].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0, "context": 2}, "batch_size 0"),
        ({"batch_size": 1, "context": 0}, "context 0"),
        ({"batch_size": 1, "context": 9}, "9 tokens has no window of 9"),
    ],
)
def test_a_text_without_a_window_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batches(np.arange(9), **options)


# ---------------------------------------------------------------------- weights


def model_of(family: str = "gpt2", seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    size = {"vocab_size": 61, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 16}
    return GPT(GPTConfig.parse({"family": family, **size}))


def arrays_of(model: GPT) -> dict[str, Any]:
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shard_bytes", [product.MAX_SHARD_BYTES, 5000, 1])
@pytest.mark.parametrize("family", ["gpt2", "speedrun"])
def test_the_files_are_those_of_the_product_byte_for_byte(tmp_path: Path, family: str, shard_bytes: int) -> None:
    model = model_of(family)
    for name in ("product", "hand"):
        (tmp_path / name).mkdir()
    product.save_weights(model, tmp_path / "product", max_shard_bytes=shard_bytes)
    save_weights(arrays_of(model), tmp_path / "hand", max_shard_bytes=shard_bytes)
    assert contents(tmp_path / "hand") == contents(tmp_path / "product")
    loaded = load_weights(tmp_path / "product")
    assert list(loaded) == list(arrays_of(model))
    for name, array in arrays_of(model).items():
        np.testing.assert_array_equal(loaded[name], array)


def test_float64_weights_arrive_in_the_product(tmp_path: Path) -> None:
    source, target = model_of().double(), model_of(seed=1).double()
    save_weights(arrays_of(source), tmp_path)
    product.load_weights(target, tmp_path)
    for name, array in arrays_of(target).items():
        np.testing.assert_array_equal(array, arrays_of(source)[name])


def test_weights_are_assigned_in_the_precision_of_the_parameters_or_not_at_all() -> None:
    parameters = {"a": Parameter(np.zeros((2, 3), np.float32)), "b": Parameter(np.zeros(2, np.float32))}
    value = parameters["a"].value
    assign(parameters, {"a": np.ones((2, 3)), "b": np.ones(2)})
    assert parameters["a"].value is value and value.dtype == np.float32 and (value == 1).all()
    for weights, message in [
        ({"a": np.zeros((2, 3))}, "the weights lack b"),
        ({"a": np.zeros((2, 3)), "b": np.zeros(2), "c": np.zeros(2)}, "this model lacks c"),
        ({"a": np.zeros((2, 3)), "b": np.zeros(3)}, r"b is float64 of shape \(3,\).*needs floats of shape \(2,\)"),
        ({"a": np.zeros((2, 3)), "b": np.zeros(2, np.int8)}, "b is int8"),
    ]:
        with pytest.raises(ValueError, match=message):
            assign(parameters, weights)
    assert (value == 1).all()


# ---------------------------------------------------------------------- checkpoints


class InTorch:
    """A training in the product, with gradients that depend on nothing but the step."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.model = model_of(seed=seed).double()
        self.optimizers = trainers.Optimizers(self.model, TrainConfig.parse({"optimizer": kind, **RATES}))

    def run(self, first: int, last: int) -> None:
        for step in range(first, last):
            for name, parameter in self.model.named_parameters():
                parameter.grad = torch.from_numpy(gradient(step, name, tuple(parameter.shape)))
            self.optimizers.step()

    def weights(self) -> dict[str, Any]:
        return arrays_of(self.model)


class InNumpy:
    """The same training here."""

    def __init__(self, kind: Any, seed: int = 0) -> None:
        weights = arrays_of(model_of(seed=seed).double())
        self.parameters = {name: Parameter(array) for name, array in weights.items()}
        self.optimizers = Optimizers(self.parameters, OptimizerConfig(optimizer=kind, **RATES))

    def run(self, first: int, last: int) -> None:
        for step in range(first, last):
            for name, parameter in self.parameters.items():
                parameter.gradient[...] = gradient(step, name, parameter.shape)
            self.optimizers.step()

    def weights(self) -> dict[str, Any]:
        return {name: parameter.value for name, parameter in self.parameters.items()}


def gradient(step: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([step, *name.encode()]).normal(size=shape)


def assert_close(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_training_goes_from_pytorch_to_numpy_and_back_through_files(tmp_path: Path, kind: str) -> None:
    straight = InTorch(kind)
    straight.run(0, 15)

    begun = InTorch(kind)
    begun.run(0, 5)
    torch.manual_seed(77)
    state = torch.get_rng_state()
    progress = TrainersProgress(step=5, tokens=960, seconds=1.5, best_loss=3.25, pending_losses=[4.0, 3.5])
    (tmp_path / "there").mkdir()
    save_training(tmp_path / "there", begun.model, begun.optimizers, progress)

    checkpoint = load_checkpoint(tmp_path / "there")
    assert vars(checkpoint.progress) == vars(progress)
    middle = InNumpy(kind, seed=1)
    assign(middle.parameters, checkpoint.weights)
    middle.optimizers.load_state(checkpoint.optimizer)
    middle.run(5, 10)
    (tmp_path / "back").mkdir()
    checkpoint.progress.step = 10
    onward = Checkpoint(middle.weights(), middle.optimizers.state(), checkpoint.progress, checkpoint.random)
    save_checkpoint(tmp_path / "back", onward)

    finished = InTorch(kind, seed=2)
    torch.manual_seed(0)
    assert load_training(tmp_path / "back", finished.model, finished.optimizers).step == 10
    assert torch.equal(torch.get_rng_state(), state), "PyTorch's random numbers go on where they were"
    finished.run(10, 15)
    assert_close(finished.weights(), straight.weights())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_checkpoint_is_published_in_a_run_and_opens_in_the_product(tmp_path: Path, kind: str) -> None:
    ours = InNumpy(kind)
    ours.run(0, 3)
    run = RunDirectory.create(tmp_path / "run")
    checkpoint = Checkpoint(ours.weights(), ours.optimizers.state(), Progress(step=3))
    path = run.publish_checkpoint(3, lambda folder: save_checkpoint(folder, checkpoint))
    assert run.verify(3) == []
    theirs = InTorch(kind, seed=4)
    load_training(path, theirs.model, theirs.optimizers)
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(0).get_state())
    ours.run(3, 6)
    theirs.run(3, 6)
    assert_close(ours.weights(), theirs.weights())


def test_saving_what_was_loaded_gives_the_same_files_back(tmp_path: Path) -> None:
    """A checkpoint of the product, of a release before, passes through unchanged."""
    save_checkpoint(tmp_path, load_checkpoint(FIXTURE))
    theirs = contents(FIXTURE)
    del theirs["manifest.json"]
    ours = contents(tmp_path)
    assert json.loads(ours.pop("state.json")) == json.loads(theirs.pop("state.json"))
    assert ours == theirs


def test_a_stored_run_opens_and_its_optimisers_take_their_state() -> None:
    checkpoint = load_checkpoint(FIXTURE)
    manifest = json.loads((FIXTURE.parents[1] / "manifest.json").read_text(encoding="utf-8"))
    parameters = {name: Parameter(array) for name, array in checkpoint.weights.items()}
    optimizers = Optimizers(parameters, OptimizerConfig(optimizer=manifest["config"]["train"]["optimizer"]))
    optimizers.load_state(checkpoint.optimizer)
    assert optimizers.state().keys() == checkpoint.optimizer.keys()
    assert checkpoint.progress.step == 400


@pytest.mark.parametrize("seed", [0, 1337, 2**32 + 5, 2**63 + 9])
def test_the_random_state_is_what_pytorch_makes_of_the_seed(seed: int) -> None:
    expected = torch.Generator().manual_seed(seed).get_state().numpy()
    np.testing.assert_array_equal(torch_generator_state(seed), expected)


def rewrite(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(change(content) or content), encoding="utf-8")

    return spoil


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        (hand.INDEX, lambda path: path.write_text("{", encoding="utf-8"), "index.json is damaged: it is not JSON"),
        (hand.INDEX, lambda path: path.write_bytes(b"\xff"), "index.json is damaged"),
        (hand.INDEX, lambda path: path.write_text("[" * 100_000, encoding="utf-8"), "index.json is damaged"),
        (hand.INDEX, lambda path: path.write_text("[]", encoding="utf-8"), "holds no JSON object"),
        (hand.INDEX, rewrite(lambda index: {"weight_map": ["a"]}), "has no weight_map"),
        (hand.INDEX, rewrite(lambda index: {"weight_map": {"w": 1}}), "has no weight_map"),
        (
            hand.INDEX,
            rewrite(lambda index: {"weight_map": {"w": "../x.safetensors"}}),
            "'../x.safetensors', which names",
        ),
        (hand.INDEX, rewrite(lambda index: {"weight_map": {"w": "..\\x.safetensors"}}), "which names no shard"),
        (hand.INDEX, rewrite(lambda index: {"weight_map": {"w": "/etc/passwd"}}), "'/etc/passwd', which names"),
        (hand.INDEX, rewrite(lambda index: index["weight_map"].update(v=index["weight_map"]["w"])), "lacks v"),
        ("model-00001-of-00001.safetensors", lambda path: path.write_bytes(b"x" * 40), r"model-00001.*header claims"),
        (hand.STATE, lambda path: path.write_text("nonsense", encoding="utf-8"), "state.json is damaged"),
        (hand.STATE, rewrite(lambda state: state.update(colour="red")), "holds 'colour'"),
        (hand.STATE, rewrite(lambda state: state.update(step="ten")), "says step 'ten'"),
        (hand.STATE, rewrite(lambda state: state.update(step=-1)), "says step -1"),
        (hand.TRAINING, lambda path: write(path, {"else/x": np.zeros(1)}), "'else/x', which belongs to neither"),
        (hand.TRAINING, lambda path: path.write_bytes(b""), "training.safetensors is no safetensors file"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, file: str, spoil: Any, message: str) -> None:
    save_checkpoint(tmp_path, Checkpoint({"w": np.ones((2, 2))}))
    spoil(tmp_path / file)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("file", [hand.INDEX, hand.STATE, hand.TRAINING, "model-00001-of-00001.safetensors"])
def test_a_missing_file_is_the_systems_error(tmp_path: Path, file: str) -> None:
    save_checkpoint(tmp_path, Checkpoint({"w": np.ones((2, 2))}))
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_checkpoint(tmp_path)


def test_the_demonstration_runs_and_explains() -> None:
    done = subprocess.run([sys.executable, "-m", hand.__name__], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    for phrase in ["to learn from", "should say", "same batch", "training.safetensors", "at the end: 0.0"]:
        assert phrase in done.stdout
