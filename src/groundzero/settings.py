"""The base of every configuration: typed, frozen, unknown keys refused with a suggestion, read from TOML or JSON.

A settings class is a Pydantic model whose fields carry a one-line docstring with the unit; `gz config show` prints
them. Values from a file come first, `--set section.key=value` after, so the command line wins.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from groundzero.errors import ConfigError, InputError


class Settings(BaseModel):
    """A frozen group of settings; `parse` turns plain data into one, or raises `ConfigError` naming the key."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain data.

        Raises:
            ConfigError: for an unknown key (with the nearest known one), a wrong type or an impossible value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error) from None

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return self.parse({**self.model_dump(), **changes})


def read_settings_file(path: Path) -> dict[str, Any]:
    """Plain data from a `.toml` or `.json` file.

    Raises:
        InputError: the file is missing or unreadable.
        ConfigError: it does not parse.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"No config file at {path}.", remedy="Write one with `gz config init`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}.", remedy="Give a readable UTF-8 file.") from None
    try:
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} does not parse: {error}.", remedy="Mend the syntax at that place.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no table of settings.", remedy="See `gz config init` for the form.")
    return values


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """`["train.steps=100"]` as `{"train": {"steps": 100}}`. Values are TOML where they parse as TOML, else text.

    Raises:
        ConfigError: an assignment is not of the form `section.key=value`.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, raw = assignment.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise ConfigError(f"Cannot read --set {assignment!r}.", remedy="Write it as --set section.key=value.")
        branch: dict[str, Any] = {keys[-1]: _toml_value(raw.strip())}
        for key in reversed(keys[:-1]):
            branch = {key: branch}
        values = merge(values, branch)
    return values


def _toml_value(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _explain(cls: type[Settings], error: ValidationError) -> ConfigError:
    """The first problem of a validation error as one line of ours."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(cls, [str(part) for part in problem["loc"][:-1]])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(sorted(known))}."
        return ConfigError(f"Unknown setting {where!r}.", remedy=remedy)
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if not where or (problem["type"] == "value_error" and isinstance(problem["input"], Mapping)):
        section = f"[{where}] " if where else ""  # the settings of a section do not fit each other
        return ConfigError(f"{section}{message}.", remedy="Change one of these settings.")
    return ConfigError(
        f"Setting {where!r} cannot be {problem['input']!r}: {message}.", remedy="See `gz config show` for its range."
    )


def _fields_at(cls: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        field = cls.model_fields.get(name)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        cls = field.annotation
    return list(cls.model_fields)
