"""What a run came to, in a few figures; finding runs, and how two of them differ."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundzero.errors import GroundzeroError, InputError
from groundzero.run.directory import RunDirectory

_DEPTH = 3  # folders below the given one in which runs are looked for


@dataclass(frozen=True)
class Summary:
    """A run in one row."""

    run: str
    created: str = ""
    preset: str = ""
    steps: int | None = None
    """Last step that was logged."""
    tokens: int | None = None
    """Targets learned from."""
    train_loss: float | None = None
    """Last, in nats."""
    val_loss: float | None = None
    """Last, in nats."""
    val_bpb: float | None = None
    """The same in bits per byte."""
    best_val_loss: float | None = None
    """Lowest over the run, in nats."""
    best_step: int | None = None
    """The step that `best` names."""
    tokens_per_second: float | None = None
    """Median over the log."""
    checkpoints: tuple[int, ...] = ()
    """Steps that can be loaded, as far as their names tell."""
    problem: str = ""
    """Why the run cannot be read; empty when it can."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def find_runs(folder: Path) -> Iterator[RunDirectory]:
    """The runs in `folder` and up to three levels below it, by name.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"No folder at {folder}.", remedy="Give the folder that holds your runs.")
    yield from _find(folder, _DEPTH)


def summarise(run: RunDirectory) -> Summary:
    """The figures of a run, from its manifest and metrics; a damaged run gives its problem instead."""
    try:
        manifest = run.manifest()
        best = run.best()
    except GroundzeroError as error:
        return Summary(run=str(run.path), problem=error.message)
    records = [record for record in run.metrics if isinstance(record, dict)]
    validation = _series(records, "val_loss")
    speeds = _series(records, "tokens_per_second")
    config = manifest.get("config")
    return Summary(
        run=str(run.path),
        created=str(manifest.get("created", "")),
        preset=str(config.get("preset", "")) if isinstance(config, Mapping) else "",
        steps=_last(records, "step"),
        tokens=_last(records, "tokens"),
        train_loss=_last(records, "train_loss"),
        val_loss=_last(records, "val_loss"),
        val_bpb=_last(records, "val_bpb"),
        best_val_loss=min(validation, default=None),
        best_step=best,
        tokens_per_second=round(statistics.median(speeds), 1) if speeds else None,
        checkpoints=tuple(run.checkpoints.steps()),
    )


def differences(manifests: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What distinguishes runs: each dotted key of config, seeds, data, tokenizer, versions and hardware whose values
    are not all equal, with the value in each run (None where it has none)."""
    flat = []
    for manifest in manifests:
        named = {part: manifest.get(part) for part in ("seeds", "data", "tokenizer", "versions", "hardware", "git")}
        config = manifest.get("config")
        flat.append({**_flatten(config if isinstance(config, Mapping) else {}), **_flatten(named)})
    keys = dict.fromkeys(key for each in flat for key in each)
    values = {key: [each.get(key) for each in flat] for key in keys}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def _find(folder: Path, depth: int) -> Iterator[RunDirectory]:
    if (folder / "manifest.json").is_file() and (folder / "checkpoints").is_dir():
        yield RunDirectory(folder)
    elif depth > 0:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
                yield from _find(child, depth - 1)


def _series(records: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    values = (record.get(key) for record in records)
    return [value for value in values if isinstance(value, int | float)]


def _last(records: Sequence[Mapping[str, Any]], key: str) -> Any:
    series = _series(records, key)
    return series[-1] if series else None


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{name}."))
        elif value is not None:
            flat[name] = value
    return flat
