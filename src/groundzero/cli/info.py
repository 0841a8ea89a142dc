"""`gz info`: this set-up, a preset, or a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.model.config import GPTConfig

# The rooms below are imported where they are used: `gz info --help` is to answer at once.


def command(
    preset: Annotated[str, typer.Option("--preset", help="Show this preset: shape, counts, recipe, defaults.")] = "",
    presets: Annotated[bool, typer.Option("--presets", help="List the presets.")] = False,
    run: Annotated[Path | None, typer.Option("--run", help="Show this run directory.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """This set-up: versions, folders, hardware, presets. Or the presets, one of them, or a run.

    Examples:

    gz info

    gz info --preset tiny

    gz info --run runs/book
    """
    from groundzero.cli.output import emit  # noqa: PLC0415

    if bool(preset) + presets + (run is not None) > 1:
        raise UsageError("Only one of --preset, --presets and --run can be shown.", remedy="Give one of them.")
    if presets:
        listed = _presets()
        emit({"presets": listed}, as_json, lambda: _print_presets(listed))
        return
    payload = _preset(preset) if preset else _run(run) if run is not None else _setup()
    emit(payload, as_json, lambda: _print(payload))


def _setup() -> dict[str, Any]:
    from groundzero.data.registry import user_home  # noqa: PLC0415
    from groundzero.hardware import detect, summary  # noqa: PLC0415
    from groundzero.model.presets import preset_names  # noqa: PLC0415
    from groundzero.run.directory import versions  # noqa: PLC0415

    found = detect()
    return {
        "versions": versions(),
        "hardware": summary(found),
        "compiler": found.compiler.reason,
        "folders": {
            "runs": "where --out says; `gz runs list DIR` finds them",
            "datasets": str(user_home()),
            "package": str(Path(__file__).parents[1]),
            "python": sys.prefix,
        },
        "presets": preset_names(),
    }


def _preset(name: str) -> dict[str, Any]:
    from groundzero.model.presets import preset as named  # noqa: PLC0415

    chosen = named(name)
    payload: dict[str, Any] = {
        "preset": chosen.name,
        "origin": chosen.origin,
        "parameters": {
            "true": chosen.true_parameters,
            "stated": chosen.stated_parameters,
            **(
                {"true_with_knowledge_layers": chosen.true_parameters_with_knowledge} if chosen.knowledge_layers else {}
            ),
        },
        **_size(chosen.config),
        "model": chosen.config.model_dump(),
        "tokenizer": dict(chosen.tokenizer),
        "train": dict(chosen.train),
        "generate": dict(chosen.generate),
    }
    if chosen.grounded:
        payload["grounded"] = dict(chosen.grounded)
    return {**payload, "note": chosen.note}


def _presets() -> list[dict[str, Any]]:
    from groundzero.model.presets import PRESETS  # noqa: PLC0415

    return [
        {
            "preset": each.name,
            "origin": each.origin,
            "family": each.config.family,
            "parameters": each.true_parameters,
            "stated": each.stated_parameters,
            "n_layer": each.config.n_layer,
            "d_model": each.config.d_model,
            "context": each.config.context,
        }
        for each in PRESETS
    ]


def _run(path: Path) -> dict[str, Any]:
    from groundzero.errors import FormatError  # noqa: PLC0415
    from groundzero.model.config import GPTConfig  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415
    from groundzero.run.summary import summarise  # noqa: PLC0415

    opened = RunDirectory.open(path)
    manifest = opened.manifest()
    model = manifest.get("config", {}).get("model")
    if not isinstance(model, dict):
        raise FormatError(f"{opened.manifest_path} describes no model.", remedy="Restore it from a copy.")
    config = GPTConfig.parse(model)
    return {
        **summarise(opened).as_dict(),
        **_size(config),
        "model": config.model_dump(),
        **{
            key: manifest[key]
            for key in ("data", "tokenizer", "seeds", "hardware", "versions", "git")
            if key in manifest
        },
        "command": manifest.get("command"),
    }


def _size(config: GPTConfig) -> dict[str, Any]:
    """What follows from a shape alone."""
    from groundzero.model.size import flops_per_token, memory, parameter_count  # noqa: PLC0415

    count = parameter_count(config)
    return {
        "size": {
            "parameters": count.total,
            "parameters_without_embedding": count.without_embedding,
            "training_flops_per_token": flops_per_token(config),
            "training_memory_bytes_batch_1": memory(config, 1).total,
        }
    }


def _print(payload: dict[str, Any]) -> None:
    """One table for the scalars, one for each group."""
    from groundzero.cli.output import console, table  # noqa: PLC0415

    out = console()
    scalars = [(key, _text(value)) for key, value in payload.items() if not isinstance(value, dict)]
    if scalars:
        out.print(table(("", " "), scalars))
    for key, group in payload.items():
        if isinstance(group, dict) and group:
            out.print(table((key, " "), [(name, _text(value)) for name, value in group.items()]))


def _print_presets(listed: list[dict[str, Any]]) -> None:
    from groundzero.cli.output import console, table  # noqa: PLC0415

    rows = [[_text(value) for value in each.values()] for each in listed]
    console().print(table(listed[0], rows, numbers="parameters, n_layer, d_model, context"))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None or value == "" else str(value)
