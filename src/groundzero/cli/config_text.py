"""A run's configuration as text: every setting with its meaning and range, and a commented TOML file of them all."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from groundzero.settings import Settings

WIDTH = 100
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


@dataclass(frozen=True)
class Setting:
    """One setting of a configuration, with its value in that configuration."""

    section: str
    """Table of the file; empty at the top."""
    key: str
    value: Any
    meaning: str
    range: str
    """What it may be, in words; empty where any value of its type will do."""

    @property
    def path(self) -> str:
        """As `--set` names it."""
        return f"{self.section}.{self.key}" if self.section else self.key


def walk(settings: Settings) -> Iterator[Setting]:
    """Every setting, in the order of the classes, sections after plain values."""
    later: list[Setting] = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, Settings):
            later += [
                Setting(key, inner, _plain(getattr(value, inner)), _meaning(about), _range(about))
                for inner, about in type(value).model_fields.items()
            ]
        else:
            yield Setting("", key, _plain(value), _meaning(field), _range(field))
    yield from later


def section_meaning(settings: Settings, section: str) -> str:
    """The docstring of a section."""
    return _meaning(type(settings).model_fields[section])


def template(settings: Settings, active: Mapping[str, Any]) -> str:
    """A TOML file with every setting and its meaning; those in `active` hold, the others are commented out.

    Args:
        settings: supplies the values that stand in the comments.
        active: paths such as `train.steps` and their values.
    """
    lines = [
        "# A run of groundzero. Lines that begin with a single # and no space are settings at their defaults:",
        "# take the # away to change one. `gz config check FILE` says whether it all fits together.",
    ]
    section = ""
    for setting in walk(settings):
        if setting.section != section:
            section = setting.section
            lines += ["", "", f"[{section}]", *_comment(section_meaning(settings, section))]
        lines += ["", *_comment(" ".join(filter(None, (setting.meaning, _in_brackets(setting.range)))))]
        value = active.get(setting.path, setting.value)
        mark = "" if setting.path in active else "#"
        lines.append(f"{mark}{setting.key} = {toml_value(value)}" if value is not None else f"#{setting.key} =")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items() if item is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    assert isinstance(value, int | float), value
    return repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(field.annotation)))
    bounds = [
        f"{word} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, word in _BOUNDS.items()
        if getattr(constraint, name, None) is not None
    ]
    return ", ".join(bounds)


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]
