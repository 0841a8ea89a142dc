"""`gz config`: write a config file with every setting explained, show what holds and why, check a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.errors import InputError, StorageError, UsageError

if TYPE_CHECKING:
    from groundzero.cli.config_text import Setting
    from groundzero.train.config import RunConfig

# What these commands need of the rooms below is imported where it is used: `gz config --help` is to answer at once.

app = typer.Typer(help="Write, explain and check config files.", no_args_is_help=True, add_completion=False)

PresetOption = Annotated[str, typer.Option("--preset", help="Preset to start from; see `gz info --preset NAME`.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change one setting: section.key=value. May be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def init(
    path: Annotated[Path | None, typer.Argument(help="Where to write; standard output when absent.")] = None,
    preset: PresetOption = "",
    overrides: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a TOML file with every setting, its meaning, its range and its default."""
    from groundzero.cli.config_text import template  # noqa: PLC0415
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.model.aliases import translate  # noqa: PLC0415
    from groundzero.settings import parse_overrides  # noqa: PLC0415
    from groundzero.train.config import resolve  # noqa: PLC0415

    config = resolve(preset_name=preset, overrides=overrides or ())
    given = _flat(translate(parse_overrides(overrides or ())))
    text = template(config, {**given, "schema_version": config.schema_version, "preset": config.preset})
    if path is not None:
        _write(path, text, force=force)
    payload = {"path": None if path is None else str(path), "preset": config.preset, "text": text}
    emit(payload, as_json, lambda: note(f"Wrote {path}") if path is not None else print(text, end=""))


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="Only this section (train) or setting (train.steps).")] = "",
    config: Annotated[Path | None, typer.Option("--config", help="A .toml or .json file.")] = None,
    preset: PresetOption = "",
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting as a run would see it, and where each value comes from."""
    from groundzero.cli.config_text import walk  # noqa: PLC0415
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.train.config import resolve  # noqa: PLC0415

    resolved = resolve(preset_name=preset, config_file=config, overrides=overrides or ())
    sources = _sources(resolved, preset, config, overrides or [])
    settings = [each for each in walk(resolved) if not key or key in (each.path, each.section)]
    if not settings:
        raise _unknown(key, resolved)
    payload = {
        "preset": resolved.preset,
        "settings": {
            each.path: {
                "value": each.value,
                "source": sources[each.path],
                "meaning": each.meaning,
                "range": each.range,
            }
            for each in settings
        },
    }
    emit(payload, as_json, lambda: _print_settings(settings, sources))


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A .toml or .json file.")],
    preset: PresetOption = "",
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a config file describes a run; exit code 3 and the first fault when it does not."""
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.model.size import parameter_count  # noqa: PLC0415
    from groundzero.train.config import resolve  # noqa: PLC0415

    resolved = resolve(preset_name=preset, config_file=path, overrides=overrides or ())
    warnings = _warnings(resolved)
    count = parameter_count(resolved.model).total
    payload = {
        "path": str(path),
        "valid": True,
        "preset": resolved.preset,
        "parameters": count,
        "warnings": warnings,
    }

    def tell() -> None:
        print(f"{path} is valid: preset {resolved.preset}, {count:,} parameters.")
        for warning in warnings:
            print(f"Beware: {warning}")

    emit(payload, as_json, tell)


def _write(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", remedy="Choose another name, or give --force.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}.", remedy="Make it first.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror}.", remedy="Choose a place you may write to."
        ) from None


def _sources(resolved: RunConfig, preset_name: str, config_file: Path | None, overrides: list[str]) -> dict[str, str]:
    """Where each setting comes from, the strongest source last: default, family, preset, file, --set."""
    from groundzero.cli.config_text import walk  # noqa: PLC0415
    from groundzero.model.aliases import translate  # noqa: PLC0415
    from groundzero.model.presets import preset  # noqa: PLC0415
    from groundzero.reference.config import FAMILIES  # noqa: PLC0415
    from groundzero.settings import parse_overrides, read_settings_file  # noqa: PLC0415
    from groundzero.train.config import LENGTHS  # noqa: PLC0415

    layers: list[tuple[str, Mapping[str, Any]]] = [
        (f"family {resolved.model.family}", {"model": FAMILIES[resolved.model.family]}),
        (f"preset {resolved.preset}", preset(resolved.preset).sections()),
    ]
    if config_file is not None:
        layers.append((str(config_file), translate(read_settings_file(config_file))))
    layers.append(("--set", translate(parse_overrides(overrides))))
    if preset_name:
        layers.append(("--preset", {"preset": preset_name}))
    sources = {setting.path: "default" for setting in walk(resolved)}
    for key, field in type(resolved.model).model_fields.items():
        if getattr(resolved.model, key) != field.default:
            sources[f"model.{key}"] = "derived"
    for name, values in layers:
        given = _flat(values)
        if any(given.get(f"train.{kind}") for kind in LENGTHS):  # as in `resolve`: it replaces every one below
            sources.update(dict.fromkeys((f"train.{kind}" for kind in LENGTHS), "default"))
        sources.update(dict.fromkeys(given, name))
    return sources


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"train": {"steps": 3}}` as `{"train.steps": 3}`; deeper tables are values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    return flat


def _warnings(config: RunConfig) -> list[str]:
    """What is allowed but can hardly be meant."""
    from groundzero.train.config import LENGTHS  # noqa: PLC0415

    found = []
    train = config.train
    lengths = [name for name in LENGTHS if getattr(train, name)]
    if len(lengths) > 1:
        found.append(f"train.{lengths[0]} decides; train.{' and train.'.join(lengths[1:])} will not be looked at.")
    if train.steps and train.warmup_steps >= train.steps:
        found.append(f"train.warmup_steps {train.warmup_steps} is the whole run of {train.steps} steps.")
    if config.model.vocab_size != config.tokenizer.vocab_size:
        found.append("model.vocab_size follows the tokenizer; set tokenizer.vocab_size instead.")
    if config.model.window >= config.model.context:
        found.append("model.window is as long as model.context, so it does nothing.")
    if config.data.text and config.data.dataset:
        found.append("data.dataset is used, and data.text will not be read.")
    return found


def _unknown(key: str, config: RunConfig) -> UsageError:
    import difflib  # noqa: PLC0415

    from groundzero.cli.config_text import walk  # noqa: PLC0415

    known = {name for each in walk(config) for name in (each.path, each.section, each.key) if name}
    near = difflib.get_close_matches(key, known, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else "`gz config show` lists them all."
    return UsageError(f"There is no setting {key!r}.", remedy=remedy)


def _print_settings(settings: list[Setting], sources: Mapping[str, str]) -> None:
    from groundzero.cli.config_text import toml_value  # noqa: PLC0415
    from groundzero.cli.output import console, table  # noqa: PLC0415

    rows = [
        (
            each.path,
            "" if each.value is None else toml_value(each.value),
            sources[each.path],
            f"{each.meaning} ({each.range})" if each.range else each.meaning,
        )
        for each in settings
    ]
    console().print(table(("setting", "value", "from", "meaning"), rows))
