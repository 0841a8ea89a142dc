"""`gz config`: what it writes is valid, what it shows is what a run sees, what it finds wrong is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.cli.app import main
from groundzero.cli.config_text import toml_value, walk
from groundzero.model.presets import preset_names
from groundzero.train.config import RunConfig, resolve


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """The JSON object of a command that succeeds."""
    assert main(["config", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, str]]:
    """Exit code and error of a command that fails."""
    code = main(["config", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)["error"]


def uncommented(text: str) -> str:
    """The template with every setting taken out of its comment."""
    return re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", preset_names())
def test_what_init_writes_parses_to_the_preset_as_it_stands_and_uncommented(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert main(["config", "init", str(path), "--preset", name]) == 0
    assert main(["config", "check", str(path)]) == 0
    assert resolve(config_file=path) == resolve(preset_name=name)
    path.write_text(uncommented(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert resolve(config_file=path) == resolve(preset_name=name)


def test_init_without_a_preset_writes_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert main(["config", "init", str(path)]) == 0
    assert resolve(config_file=path) == resolve()


def test_init_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init"]) == 0
    lines = capsys.readouterr().out.splitlines()
    settings = list(walk(resolve()))
    assert len(settings) > 70
    for setting in settings:
        assert setting.meaning, f"{setting.path} has no docstring"
        section = lines.index(f"[{setting.section}]") if setting.section else 0
        here = next(
            number for number, line in enumerate(lines) if number >= section and re.match(rf"#?{setting.key} =", line)
        )
        assert lines[here - 1].startswith("# ")


def test_init_lets_what_is_set_hold(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert main(["config", "init", str(path), "--set", "train.steps=7", "--set", "n_embd=96"]) == 0
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    assert values["train"] == {"steps": 7}
    assert values["model"] == {"d_model": 96}


def test_a_family_changed_in_the_file_brings_its_switches(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert main(["config", "init", str(path)]) == 0
    text = path.read_text(encoding="utf-8").replace('#family = "qwen3"', 'family = "gpt2"')
    path.write_text(text, encoding="utf-8")
    assert resolve(config_file=path).model.position == "learned"


def test_init_does_not_overwrite_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text("mine", encoding="utf-8")
    code, error = refused(capsys, "init", str(path))
    assert (code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert str(path) in error["message"] and "--force" in error["remedy"]
    assert printed(capsys, "init", str(path), "--force")["path"] == str(path)
    assert main(["config", "check", str(path)]) == 0


def test_init_into_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capsys, "init", str(tmp_path / "none" / "run.toml"))
    assert code == 3
    assert "none" in error["message"]


def test_init_onto_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capsys, "init", str(tmp_path), "--force")
    assert code == 3
    assert str(tmp_path) in error["message"]


def test_show_says_where_each_value_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"preset": "pico-tiny", "train": {"batch_size": 3}, "block_size": 32}), encoding="utf-8")
    settings = printed(capsys, "show", "--config", str(path), "--set", "train.minutes=5")["settings"]
    sources = {name: setting["source"] for name, setting in settings.items()}
    assert sources["preset"] == sources["train.batch_size"] == sources["model.context"] == str(path)
    assert sources["train.minutes"] == "--set"
    assert sources["train.steps"] == "default"  # the preset's 5000 give way to the minutes
    assert sources["model.dropout"] == "preset pico-tiny"
    assert sources["model.position"] == "family gpt2"
    assert sources["model.head_dim"] == "derived"
    assert sources["model.norm_eps"] == "default"
    assert settings["model.context"]["value"] == 32
    assert settings["train.steps"]["value"] == 0


def test_show_has_every_value_of_the_resolved_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    settings = printed(capsys, "show", "--preset", "tiny")["settings"]
    config = resolve(preset_name="tiny")
    assert {name: setting["value"] for name, setting in settings.items()} == {
        setting.path: setting.value for setting in walk(config)
    }
    sections = {name.partition(".")[0] for name in settings}
    assert sections == set(RunConfig.model_fields)
    assert settings["preset"]["source"] == "--preset"
    assert settings["model.family"]["range"] == "one of gpt2, classic, llama, qwen3, speedrun"
    assert settings["generate.top_p"]["range"] == "above 0, at most 1"


@pytest.mark.parametrize(("key", "count"), [("train.steps", 1), ("tokenizer", 5)])
def test_show_one_section_or_setting(key: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    settings = printed(capsys, "show", key)["settings"]
    assert len(settings) >= count
    assert all(name.startswith(key) for name in settings)


def test_show_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "train.steps"]) == 0
    out = capsys.readouterr().out
    assert "train.steps" in out and "Updates of the weights" in out and "\x1b" not in out


def test_show_an_unknown_setting(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capsys, "show", "train.stesp")
    assert (code, error["remedy"]) == (2, "Did you mean 'train.steps'?")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[train]\nstesp = 3\n", "train.stesp"),
        ("[train]\nsteps = -3\n", "train.steps"),
        ("[train]\nsteps = 'many'\n", "train.steps"),
        ("[model]\nn_head = 5\nd_model = 64\n", "[model] d_model 64 is not divisible by n_head 5."),
        ("preset = 'tny'\n", "tny"),
        ("preset = 3\n", "preset"),
        ("train = 3\n", "train"),
        ("schema_version = 99\n", "99"),
        ("[train\n", "does not parse"),
        ("[tran]\nsteps = 3\n", "tran"),
    ],
)
def test_check_names_what_is_wrong(text: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    code, error = refused(capsys, "check", str(path))
    assert code == 3
    assert named in error["message"]
    assert error["remedy"]


def test_check_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(capsys, "check", str(tmp_path / "none.toml"))
    assert code == 3
    assert "none.toml" in error["message"] and "gz config init" in error["remedy"]


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("[train]\nsteps = 3\nminutes = 5\n", "train.minutes will not"),
        ("[train]\nsteps = 3\nwarmup_steps = 3\n", "warmup_steps"),
        ("[model]\nvocab_size = 500\n[tokenizer]\nvocab_size = 600\n", "tokenizer.vocab_size"),
        ("[model]\nwindow = 4096\n", "window"),
        ("[data]\ntext = 'a'\ndataset = 'b'\n", "data.text"),
    ],
)
def test_check_warns_of_what_can_hardly_be_meant(
    text: str, warned: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    found = printed(capsys, "check", str(path))
    assert found["valid"] is True
    assert len(found["warnings"]) == 1
    assert warned in found["warnings"][0]


def test_check_says_what_the_run_will_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text("preset = 'numpy-gpt'\n", encoding="utf-8")
    assert printed(capsys, "check", str(path)) == {
        "path": str(path),
        "valid": True,
        "preset": "numpy-gpt",
        "parameters": 1_049_344,
        "warnings": [],
    }


PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(PLAIN)
def test_a_plain_value_written_as_toml_is_read_back(value: Any) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


def test_a_table_written_as_toml_is_read_back() -> None:
    scaling = {"method": "yarn", "factor": 2.0, "original_context": 256, "left": None}
    assert tomllib.loads(f"value = {toml_value(scaling)}")["value"] == {
        "method": "yarn",
        "factor": 2.0,
        "original_context": 256,
    }


def test_gz_config_needs_no_torch() -> None:
    code = "import sys; from groundzero.cli.app import main; main(['config', 'show']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
