"""Settings: unknown keys refused with a suggestion, files read, `--set` on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from groundzero.errors import ConfigError, InputError
from groundzero.settings import Settings, merge, parse_overrides, read_settings_file


class Inner(Settings):
    """A group."""

    learning_rate: float = Field(1e-3, gt=0)
    """Of the optimiser."""
    steps: int = 10
    """Updates."""


class Outer(Settings):
    """Groups in a group."""

    train: Inner = Inner()
    """How to train."""
    name: str = ""
    """Of the run."""

    @model_validator(mode="after")
    def _named(self) -> Outer:
        if self.name == "forbidden":
            raise ValueError("that name is taken")
        return self


def test_plain_data_becomes_settings() -> None:
    outer = Outer.parse({"train": {"steps": 3}, "name": "x"})
    assert (outer.train.steps, outer.train.learning_rate, outer.name) == (3, 1e-3, "x")


def test_settings_are_frozen_and_replaced() -> None:
    inner = Inner.parse({"steps": 3})
    with pytest.raises(ValidationError):
        inner.steps = 4  # type: ignore[misc]
    assert inner.replace(steps=4) == Inner.parse({"steps": 4})
    assert inner.steps == 3
    with pytest.raises(ConfigError):
        inner.replace(step=4)


def test_docstrings_are_descriptions() -> None:
    assert Inner.model_fields["steps"].description == "Updates."


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"nane": "x"}, "Unknown setting 'nane'.", "Did you mean 'name'?"),
        ({"train": {"stesp": 1}}, "Unknown setting 'train.stesp'.", "Did you mean 'steps'?"),
        ({"train": {"zzz": 1}}, "Unknown setting 'train.zzz'.", "Known keys: learning_rate, steps."),
        ({"train": {"steps": "many"}}, "Setting 'train.steps' cannot be 'many'", "`gz config show`"),
        ({"train": {"learning_rate": 0}}, "Setting 'train.learning_rate' cannot be 0", "`gz config show`"),
        ({"train": {"learning_rate": float("nan")}}, "Setting 'train.learning_rate' cannot be nan", "`gz config show`"),
        ({"train": 3}, "Setting 'train' cannot be 3", "`gz config show`"),
        ({"name": "forbidden"}, "that name is taken.", "Change one of these settings."),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(values: dict[str, Any], message: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse(values)
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_files_are_toml_or_json(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "\u00e9"\n[train]\nsteps = 3\n', encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps({"name": "\u00e9", "train": {"steps": 3}}), encoding="utf-8")
    assert read_settings_file(tmp_path / "a.toml") == read_settings_file(tmp_path / "a.json")
    assert Outer.parse(read_settings_file(tmp_path / "a.toml")).train.steps == 3


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.toml", None, InputError, "No config file at"),
        ("binary.toml", b"\xff\xfe\x00", InputError, "Cannot read"),
        ("broken.toml", b"[train\n", ConfigError, "does not parse"),
        ("broken.json", b"{", ConfigError, "does not parse"),
        ("list.json", b"[1, 2]", ConfigError, "holds no table"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_settings_file(path)
    assert name in str(caught.value)


def test_a_folder_is_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read"):
        read_settings_file(tmp_path)


TABLES = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)).filter(
    lambda table: isinstance(table, dict)
)


@given(TABLES, TABLES, TABLES)
def test_merging_keeps_all_and_lets_the_later_win(first: Any, second: Any, third: Any) -> None:
    assert merge(first, {}) == first
    assert merge({}, first) == first
    assert merge(first, first) == first
    assert merge(merge(first, second), second) == merge(first, second)
    assert set(merge(first, second)) == set(first) | set(second)
    before = json.dumps([first, second])
    merge(merge(first, second), third)
    assert json.dumps([first, second]) == before


def test_tables_merge_key_by_key() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": 5},
        "b": {"z": 1},
    }


@pytest.mark.parametrize(
    ("assignment", "values"),
    [
        ("train.steps=100", {"train": {"steps": 100}}),
        ("train.learning_rate=1e-3", {"train": {"learning_rate": 1e-3}}),
        (" name = plain words ", {"name": "plain words"}),
        ('name="quoted"', {"name": "quoted"}),
        ("flag=true", {"flag": True}),
        ("list=[1, 2]", {"list": [1, 2]}),
        ("empty=", {"empty": ""}),
        ("a.b.c=d=e", {"a": {"b": {"c": "d=e"}}}),
        ("text=C:\\new", {"text": "C:\\new"}),
    ],
)
def test_overrides_are_toml_values_or_text(assignment: str, values: dict[str, Any]) -> None:
    assert parse_overrides([assignment]) == values


def test_later_overrides_win_and_tables_grow() -> None:
    assert parse_overrides(["a.x=1", "a.y=2", "a.x=3"]) == {"a": {"x": 3, "y": 2}}


@pytest.mark.parametrize("assignment", ["steps", "=3", "train.=3", ".steps=3", ""])
def test_an_override_without_a_key_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match="Cannot read --set"):
        parse_overrides([assignment])


@given(st.text().filter(lambda text: "\n" not in text))
def test_any_override_is_understood_or_refused(raw: str) -> None:
    assert set(parse_overrides([f"key={raw}"])) == {"key"}
