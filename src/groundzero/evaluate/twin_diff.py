"""The NumPy twin and PyTorch side by side on one run, place by place: where do they first disagree?

Both read the run's checkpoint for themselves and compute the same prompt. What differs at a place is measured

    absolute   |PyTorch - NumPy|
    relative   the same over the largest number of that token's vector, by NumPy, so that a number near zero among
               large ones is not held to digits that nothing depends on

and a place is beyond the tolerance when a relative difference is. Differences travel: what comes after the first place
beyond the tolerance says nothing more, so the first is where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from groundzero.errors import FormatError
from groundzero.evaluate.gradients import learning
from groundzero.evaluate.twin_watch import (
    Recording,
    as_array,
    axes_of,
    inputs,
    place_of,
    places,
    record_pytorch,
    record_twin,
)
from groundzero.generate import Engine, Request, SamplingConfig
from groundzero.generate.load import load_engine
from groundzero.model import GPT
from groundzero.reference import model as reference
from groundzero.reference.config import GPTConfig
from groundzero.reference.utils import assign, load_weights
from groundzero.run import RunDirectory
from groundzero.tokenizer import Tokenizer

TOLERANCES = {"float32": 1e-4, "float64": 1e-9}
"""Largest relative difference that rounding may make, by precision; what the tests of the twin hold it to."""
_SMALL_VECTOR = 1e-3
"""Of a place's largest number: a vector below is measured as if it were as large, for it is rounding of larger ones."""


@dataclass(frozen=True)
class Spot:
    """One number that differs."""

    at: dict[str, int]
    """Token, unit, and head or key where there are such."""
    numpy: float
    pytorch: float


@dataclass(frozen=True)
class Difference:
    """How far apart the two are at one place."""

    name: str
    """See `twin_watch.places`; or a parameter's name."""
    shape: tuple[int, ...]
    """By NumPy."""
    absolute: float
    """Largest |PyTorch - NumPy|; infinite where the shapes differ or only one is a number."""
    relative: float
    """Largest of those over the largest number of their vector."""
    first: Spot | None
    """The first number beyond the tolerance, by token, then by unit; None when all are within."""

    @property
    def beyond(self) -> bool:
        """Whether the tolerance is exceeded."""
        return self.first is not None or self.absolute == float("inf")


@dataclass(frozen=True)
class NextTokens:
    """What each of the two writes after the prompt, always taking the likeliest token."""

    numpy: tuple[int, ...]
    pytorch: tuple[int, ...]
    verdict: Literal["same", "tie", "differ"]
    """tie: they part where two tokens are equally likely within the tolerance."""


@dataclass(frozen=True)
class TwinDiff:
    """The outcome."""

    run: str
    step: int
    """Of the checkpoint."""
    family: str
    dtype: str
    tolerance: float
    prompt: tuple[int, ...]
    """Ids that both computed."""
    prompt_tokens_cut: int
    """Tokens at the end of the prompt that the context had no room for."""
    parameters: int
    """Arrays of weights that both have read."""
    parameters_apart: tuple[Difference, ...]
    """Those that are not equal bit for bit."""
    layers: tuple[Difference, ...]
    """Place by place, in the order of computation."""
    loss: tuple[float, float]
    """NumPy's and PyTorch's, in nats."""
    next_tokens: NextTokens
    gradients: tuple[Difference, ...] = ()
    """Of the loss, by parameter, in the order in which they are found: the last layer's first. Only when asked for."""

    @property
    def first(self) -> Difference | None:
        """The first place beyond the tolerance, on the way forwards and then backwards."""
        return next((each for each in (*self.layers, *self.gradients) if each.beyond), None)

    @property
    def ok(self) -> bool:
        """Whether the two agree everywhere."""
        return self.first is None and not self.parameters_apart and self.next_tokens.verdict != "differ"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"ok": self.ok, **asdict(self), "first": asdict(self.first) if self.first else None}


def diff_run(
    run: Path | str,
    prompt: str,
    *,
    step: Literal["best", "latest"] | int = "best",
    dtype: Literal["float32", "float64"] = "float32",
    device: str = "cpu",
    tolerance: float | None = None,
    tokens: int = 16,
    gradients: bool = False,
) -> TwinDiff:
    """Compare the two worlds on a run's own weights.

    Args:
        prompt: text; its first `context` tokens are compared.
        device: where PyTorch computes; NumPy is always on the CPU.
        tolerance: largest relative difference; `TOLERANCES` of the precision when None.
        tokens: how many to write after the prompt.
        gradients: compare every gradient of the loss, too.

    Raises:
        InputError, FormatError, ConfigError: see `load_engine`.
    """
    directory = RunDirectory.open(run)
    found = directory.checkpoint(step).checkpoint
    assert found is not None
    engine = load_engine(directory, found.step, device=device, dtype="float32")
    engine.model.to(getattr(torch, dtype))
    twin = load_twin(found.path, directory.manifest()["config"]["model"])
    twin.astype(dtype)
    ids = _prompt_ids(prompt, engine.tokenizer, add_bos=engine.add_bos)
    tolerance = TOLERANCES[dtype] if tolerance is None else tolerance
    return compare(
        twin,
        engine,
        ids,
        tolerance=tolerance,
        tokens=tokens,
        gradients=gradients,
        run=str(run),
        step=found.step,
        dtype=dtype,
    )


def compare(
    twin: reference.GPT,
    engine: Engine,
    ids: Sequence[int],
    *,
    tolerance: float,
    tokens: int = 16,
    gradients: bool = False,
    run: str = "",
    step: int = 0,
    dtype: str = "float32",
) -> TwinDiff:
    """Compare a NumPy model with the PyTorch model of an engine on one sequence of ids."""
    kept = ids[: engine.context]
    ours, theirs = record_twin(twin, kept), record_pytorch(engine.model, kept)
    finite = bool(np.isfinite(ours["logits"]).all() and np.isfinite(theirs["logits"]).all())
    return TwinDiff(
        run=run,
        step=step,
        family=engine.model.config.family,
        dtype=dtype,
        tolerance=tolerance,
        prompt=tuple(kept),
        prompt_tokens_cut=len(ids) - len(kept),
        parameters=len(twin.parameters()),
        parameters_apart=tuple(_compare_parameters(twin, engine.model)),
        layers=tuple(_compare_places(places(engine.model.config), ours, theirs, tolerance)),
        loss=(float(ours["loss"]), float(theirs["loss"])),
        next_tokens=_write_on(twin, engine, kept, tokens if finite else 0, tolerance),
        gradients=tuple(_compare_gradients(twin, engine.model, kept, tolerance)) if gradients else (),
    )


def difference(
    name: str, numpy: NDArray[Any], pytorch: NDArray[Any], tolerance: float, axes: Sequence[str], floor: float = 0.0
) -> Difference:
    """Measure one array against the other.

    Args:
        axes: what its axes are.
        floor: a vector whose largest number is below is measured as if it were this large.
    """
    if numpy.shape != pytorch.shape:
        return Difference(name, numpy.shape, float("inf"), float("inf"), None)
    a, b = numpy.astype(np.float64), pytorch.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf, where both are infinite
        apart = np.abs(b - a)
    apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isnan(apart), np.inf, apart))
    relative = _relative(apart, a, floor)
    first = _first_beyond(relative > tolerance, a, b, axes)
    return Difference(name, a.shape, float(apart.max(initial=0.0)), float(relative.max(initial=0.0)), first)


def load_twin(folder: Path, config: dict[str, Any]) -> reference.GPT:
    """The NumPy model with the weights of a checkpoint, which it reads for itself.

    Raises:
        FormatError: the files are damaged or hold other arrays than the model has.
    """
    twin = reference.GPT(GPTConfig.from_mapping(config))
    try:
        assign(twin.parameters(), load_weights(folder))
    except (ValueError, OSError) as error:
        raise FormatError(
            f"The NumPy twin cannot read {folder}: {error}",
            remedy="Use another checkpoint of the run (`gz runs verify RUN` lists the sound ones).",
        ) from None
    return twin


def _prompt_ids(prompt: str, tokenizer: Tokenizer, *, add_bos: bool) -> list[int]:
    """As the engine reads a prompt."""
    ids = tokenizer.encode(prompt)
    return [tokenizer.bos_id, *ids] if add_bos or not ids else ids


def _relative(apart: NDArray[np.float64], numpy: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Differences over the largest number of their vector, the last axis; 0 where nothing differs."""
    size = np.abs(np.where(np.isfinite(numpy), numpy, 0.0))
    largest = size.max(axis=-1, keepdims=True, initial=0.0) if size.ndim else size
    scale = np.broadcast_to(np.maximum(largest, max(floor, _SMALL_VECTOR * float(size.max(initial=0.0)))), apart.shape)
    relative = np.zeros_like(apart)
    np.divide(apart, scale, out=relative, where=scale > 0)
    return np.where((scale == 0) & (apart > 0), np.inf, relative)


def _first_beyond(
    beyond: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], axes: Sequence[str]
) -> Spot | None:
    """The first number beyond, by token before anything else: a fault at a token reaches only later ones."""
    found = np.argwhere(beyond)
    if not len(found):
        return None
    order = [axes.index("token"), *range(len(axes))] if "token" in axes else list(range(len(axes)))
    place = tuple(int(i) for i in min(found.tolist(), key=lambda each: [each[axis] for axis in order]))
    return Spot(dict(zip(axes, place, strict=True)), float(a[place]), float(b[place]))


def _compare_places(names: Sequence[str], ours: Recording, theirs: Recording, tolerance: float) -> list[Difference]:
    missing = [name for name in names if name not in ours or name not in theirs]
    assert not missing, f"nobody has watched {missing[0]}"
    return [difference(name, ours[name], theirs[name], tolerance, axes_of(name)) for name in names]


def _compare_parameters(twin: reference.GPT, model: GPT) -> list[Difference]:
    """Weights that are not equal bit for bit: the two have read the same files, so none may differ.

    Knowledge layers, which are silent without facts, are left out.
    """
    roles = model.roles()
    ours = twin.parameters()
    theirs = {name: parameter for name, parameter in model.named_parameters() if roles[name] != "knowledge"}
    apart: list[Difference] = []
    for name in dict.fromkeys((*ours, *theirs)):
        if name not in ours or name not in theirs:
            apart.append(Difference(name, (), float("inf"), float("inf"), None))
            continue
        a, b = ours[name].value, as_array(theirs[name])
        found = difference(name, a, b, 0.0, _parameter_axes(a))
        if found.beyond:
            apart.append(found)
    return apart


def _compare_gradients(twin: reference.GPT, model: GPT, ids: Sequence[int], tolerance: float) -> list[Difference]:
    """Gradients of the loss by parameter, found by hand and by PyTorch.

    An array is measured against its largest number, or against a thousandth of the largest of all gradients: that of a
    key bias is zero in theory, and rounding in practice.
    """
    ids_BT, targets_BT = inputs(ids)
    twin.zero_gradients()
    twin.loss(ids_BT, targets_BT, backward=True)
    ours = {name: parameter.gradient.copy() for name, parameter in twin.parameters().items()}
    twin.zero_gradients()
    with learning(model), torch.enable_grad():
        tensors = [torch.from_numpy(array).to(model.device) for array in (ids_BT, targets_BT)]
        model.loss(*tensors).backward()  # type: ignore[no-untyped-call]
        theirs = {name: as_array(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    floor = _SMALL_VECTOR * max(float(np.abs(gradient).max()) for gradient in ours.values())
    apart = []
    order = {place: number for number, place in enumerate(places(model.config))}
    for name, gradient in sorted(ours.items(), key=lambda each: order[place_of(each[0])], reverse=True):
        other = theirs.get(name, np.zeros_like(gradient))
        own_floor = max(floor, float(np.abs(gradient).max()))
        apart.append(difference(name, gradient, other, tolerance, _parameter_axes(gradient), own_floor))
    return apart


def _parameter_axes(array: NDArray[Any]) -> tuple[str, ...]:
    return ("row", "column") if array.ndim == 2 else ("unit",)


def _write_on(twin: reference.GPT, engine: Engine, ids: Sequence[int], tokens: int, tolerance: float) -> NextTokens:
    """Let both write, greedily, as far as the context goes."""
    tokens = max(0, min(tokens, engine.context - len(ids)))
    sampling = SamplingConfig(max_tokens=tokens, temperature=0.0, ignore_eos=True, overflow="stop")
    theirs = engine.run([Request(list(ids), sampling)])[0].ids
    ours = tuple(twin.generate(ids, tokens, temperature=0.0))
    if ours == theirs:
        return NextTokens(ours, theirs, "same")
    parted = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    logits_V = twin(np.array([[*ids, *ours[:parted]]]))[0, -1]
    gap = abs(float(logits_V[ours[parted]] - logits_V[theirs[parted]]))
    return NextTokens(ours, theirs, "tie" if gap <= tolerance * float(np.abs(logits_V).max()) else "differ")
