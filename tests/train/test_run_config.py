"""Preset, file, `--set`, options: each lies over the one before; what cannot work is named with its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groundzero.errors import ConfigError, InputError
from groundzero.model.presets import preset, preset_names
from groundzero.train.config import RunConfig, TrainConfig, resolve

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run-config-v1.json"


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "f.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_each_source_lies_over_the_one_before(file):
    path = file("[train]\nbatch_size = 2\nlearning_rate = 0.5\nclip = 3.0\n[model]\nn_layer = 3\nd_model = 64")
    config = resolve(
        preset_name="nano",
        config_file=path,
        overrides=["train.learning_rate=0.25", "train.clip=4", "model.n_layer=2"],
        options={"train": {"clip": 5.0}},
    )
    assert config.model.n_head == preset("nano").config.n_head
    assert (config.train.batch_size, config.model.d_model) == (2, 64)
    assert (config.train.learning_rate, config.model.n_layer) == (0.25, 2)
    assert config.train.clip == 5.0


def test_the_preset_of_the_option_wins_over_the_files_and_the_files_over_the_default(file):
    path = file('preset = "tiny"')
    assert resolve(config_file=path).preset == "tiny"
    assert resolve(config_file=path, preset_name="small").preset == "small"
    assert resolve().preset == "micro"
    assert resolve(config_file=file('{"preset": "nano"}', "f.json")).preset == "nano"


@pytest.mark.parametrize("length", [{"minutes": 5}, {"epochs": 2}])
def test_a_length_of_another_kind_replaces_the_presets(length):
    name = next(name for name in preset_names() if preset(name).train.get("steps"))
    assert resolve(preset_name=name).train.steps == preset(name).train["steps"]
    config = resolve(preset_name=name, options={"train": length})
    assert config.train.steps == 0
    assert {kind: getattr(config.train, kind) for kind in length} == length


def test_a_set_length_replaces_the_files(file):
    path = file("[train]\nsteps = 100\n")
    assert resolve(config_file=path, overrides=["train.minutes=3"]).train.steps == 0
    assert resolve(config_file=path, options={"train": {"epochs": 1.5}}).train.steps == 0
    assert resolve(config_file=path, options={"train": {"batch_size": 2}}).train.steps == 100


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_resolves_and_its_json_resolves_to_itself(name, tmp_path):
    config = resolve(preset_name=name)
    path = tmp_path / "resolved.json"
    path.write_text(config.model_dump_json(), encoding="utf-8")
    assert RunConfig.parse(json.loads(path.read_text(encoding="utf-8"))) == config
    assert resolve(config_file=path) == config


@pytest.mark.parametrize(
    ("assignment", "message", "remedy"),
    [
        ("train.learning_rat=1", r"Unknown setting 'train\.learning_rat'", "learning_rate"),
        ("modle.n_layer=1", "Unknown setting 'modle'", "model"),
        ("train.steps=-1", r"'train\.steps' cannot be -1", ""),
        ("train.steps=many", r"'train\.steps' cannot be 'many'", ""),
        ("train.optimizer=sgd", r"'train\.optimizer' cannot be 'sgd'", ""),
        ("train.learning_rate=0", r"'train\.learning_rate' cannot be 0", ""),
        ("train.learning_rate=nan", r"'train\.learning_rate' cannot be nan", ""),
        ("train.beta2=1", r"'train\.beta2' cannot be 1", ""),
        ("model.n_head=5", "192 is not divisible by n_head 5", ""),
        ("model.n_kv_head=4", "n_head 6 is not a multiple of n_kv_head 4", ""),
        ("model.context=0", r"'model\.context' cannot be 0", ""),
        ("train.min_learning_rate=9", "min_learning_rate is above learning_rate", ""),
        ("schema_version=99", "this release reads schema 1, and this is 99", ""),
        ("preset=nowhere", "no preset 'nowhere'", ""),
        ("train.steps", "Cannot read --set", "section.key=value"),
    ],
)
def test_what_cannot_work_is_named(assignment, message, remedy):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(overrides=[assignment])
    assert caught.value.exit_code == 3
    assert remedy in str(caught.value)
    assert caught.value.remedy


def test_a_missing_or_broken_file_is_named(tmp_path, file):
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        resolve(config_file=tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"f\.toml does not parse"):
        resolve(config_file=file("[train\n"))
    with pytest.raises(ConfigError, match="preset"):
        resolve(config_file=file("preset = 3"))


def test_a_configuration_written_by_the_first_version_still_means_the_same():
    """`run-config-v1.json` holds every setting of schema 1 with values other than the defaults."""
    values = json.loads(FIXTURE.read_text(encoding="utf-8"))
    config = RunConfig.parse(values)
    dumped = json.loads(config.model_dump_json())
    for section, settings in values.items():
        if isinstance(settings, dict):
            for key, value in settings.items():
                assert dumped[section][key] == value, f"{section}.{key}"
        else:
            assert dumped[section] == settings
    assert values["schema_version"] == 1
    defaults = json.loads(RunConfig.parse({}).model_dump_json())
    assert all(defaults["train"][key] != value for key, value in values["train"].items())
    assert set(values["train"]) <= set(TrainConfig.model_fields)
