"""`gz hardware`, `info`, `doctor` and `runs`: what they print, as prose and as JSON, and how they fail."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from groundzero import hardware
from groundzero.cli import checks
from groundzero.cli.app import main
from groundzero.model.presets import PRESETS
from groundzero.run import RunDirectory

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run-v1"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with two runs that differ in steps, and one that is damaged."""
    for name in ("a", "b", "damaged"):
        shutil.copytree(FIXTURE, tmp_path / name)
    run = RunDirectory.open(tmp_path / "b")
    config = run.manifest()["config"]
    run.write_manifest(config={**config, "train": {**config["train"], "steps": 9}}, git=None)
    (tmp_path / "damaged" / "manifest.json").write_bytes(b"{}")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """The one JSON object that a command prints."""
    assert main([*(str(word) for word in words), "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    return json.loads(captured.out)


def printed(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert main([str(word) for word in words]) == code
    out = capsys.readouterr().out
    assert "\x1b" not in out
    return out


def test_runs_list_shows_final_figures(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "runs", "list", runs)["runs"]
    assert [Path(each["run"]).name for each in listed] == ["a", "b", "damaged"]
    assert listed[0]["val_loss"] == 2.375
    assert listed[0]["checkpoints"] == [1, 2]
    assert "has schema None" in listed[2]["problem"]
    assert main(["runs", "list", str(runs)]) == 0
    captured = capsys.readouterr()
    assert "2.375" in captured.out
    assert "damaged" in captured.err


def test_runs_list_of_an_empty_folder_and_of_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "runs", "list", tmp_path) == {"folder": str(tmp_path), "runs": []}
    assert printed(capsys, "runs", "list", tmp_path) == ""
    assert said(capsys, "runs", "list", tmp_path / "absent", code=3)["error"]["kind"] == "input"


def test_runs_compare_and_diff_name_the_settings_that_differ(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared = said(capsys, "runs", "compare", runs / "a", runs / "b")
    assert compared["differences"]["train.steps"] == [2, 9]
    assert len(compared["runs"]) == 2
    text = printed(capsys, "runs", "compare", runs / "a", runs / "b")
    assert "Val loss" in text
    assert "train.steps" in text
    listed = said(capsys, "runs", "diff", runs / "a", runs / "b")["differences"]
    assert {"key": "train.steps", "a": 2, "b": 9} in listed
    assert "train.steps" in printed(capsys, "runs", "diff", runs / "a", runs / "b")
    assert said(capsys, "runs", "diff", runs / "a", runs / "a")["differences"] == []
    assert "No difference" in printed(capsys, "runs", "diff", runs / "a", runs / "a")
    assert said(capsys, "runs", "diff", runs / "a", runs / "damaged", code=3)["error"]["kind"] == "format"
    assert said(capsys, "runs", "compare", code=2)["error"]["kind"] == "usage"


def test_runs_verify_finds_a_changed_file(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "runs", "verify", runs / "a") == {
        "run": str(runs / "a"),
        "ok": True,
        "checkpoints": [1, 2],
        "problems": [],
    }
    assert "everything is as it was written (2 checkpoints)" in printed(capsys, "runs", "verify", runs / "a")
    (runs / "a" / "checkpoints" / "step-2" / "model.safetensors").write_bytes(b"not really weights; 2")
    verdict = said(capsys, "runs", "verify", runs / "a", code=3)
    assert not verdict["ok"]
    assert verdict["problems"] == ["step-2: model.safetensors was altered (its SHA-256 differs)"]
    assert "step-2: model.safetensors" in printed(capsys, "runs", "verify", runs / "a", code=3)
    assert said(capsys, "runs", "verify", runs / "absent", code=3)["error"]["kind"] == "input"


def test_runs_verify_reads_the_runs_own_data(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = FIXTURE.with_name("dataset-v1")
    data = runs / "a" / "data"
    shutil.copytree(stored, data)
    assert said(capsys, "runs", "verify", runs / "a")["ok"]
    RunDirectory(runs / "a").write_manifest(data={"path": "", "sha256": "0" * 64})
    problems = said(capsys, "runs", "verify", runs / "a", code=3)["problems"]
    assert problems == ["data/manifest.json was altered (its SHA-256 differs)"]
    RunDirectory(runs / "a").write_manifest(data={"path": "/elsewhere", "sha256": "0" * 64})
    assert said(capsys, "runs", "verify", runs / "a")["ok"]
    shard = max((path for path in data.iterdir() if path.suffix != ".json"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    assert shard.name in said(capsys, "runs", "verify", runs / "a", code=3)["problems"][0]


def test_info_describes_the_set_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GROUNDZERO_HOME", str(tmp_path))
    told = said(capsys, "info")
    assert told["folders"]["datasets"] == str(tmp_path)
    assert set(told["versions"]) >= {"groundzero", "python", "torch"}
    assert told["presets"] == [preset.name for preset in PRESETS]
    assert told["hardware"] in printed(capsys, "info")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_info_of_every_preset_holds_shape_counts_recipe_and_defaults(
    preset: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "info", "--preset", preset.name)
    assert told["parameters"]["true"] == preset.true_parameters == told["size"]["parameters"]
    assert told["parameters"]["stated"] == preset.stated_parameters
    assert told["model"]["n_layer"] == preset.config.n_layer
    assert told["train"] == preset.train
    assert told["generate"] == preset.generate
    assert f"{preset.true_parameters:,}" in printed(capsys, "info", "--preset", preset.name)


def test_info_lists_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "info", "--presets")["presets"]
    assert [each["preset"] for each in listed] == [preset.name for preset in PRESETS]
    assert "groundzero-small" in printed(capsys, "info", "--presets")


def test_info_of_a_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "info", "--run", runs / "a")
    assert told["model"]["d_model"] == 8
    assert told["best_step"] == 2
    assert told["hardware"] == {"device": "cpu", "precision": "float32"}
    assert "val_loss" in printed(capsys, "info", "--checkpoint", runs / "a")
    assert said(capsys, "info", "--run", runs / "absent", code=3)["error"]["kind"] == "input"
    RunDirectory(runs / "a").write_manifest(config={})
    assert "describes no model" in said(capsys, "info", "--run", runs / "a", code=3)["error"]["message"]


def test_info_refuses_what_cannot_be_shown(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = said(capsys, "info", "--preset", "tinny", code=3)["error"]
    assert error["remedy"] == "Did you mean 'tiny'?"
    assert said(capsys, "info", "--preset", "tiny", "--run", runs / "a", code=2)["error"]["kind"] == "usage"


def test_hardware_tells_everything_and_what_was_chosen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = hardware.Measurement("cpu", 1024, 123.0, None, 45.6)
    monkeypatch.setattr(hardware, "measure", lambda device: measured)
    told = said(capsys, "hardware")
    assert told["measured"][0] == vars(measured)
    assert {backend["name"] for backend in told["backends"]} == {"CUDA", "ROCm", "XPU", "MPS"}
    assert all(backend["reason"] for backend in told["backends"])
    assert set(told["chosen"]) == {"device", "precision", "compile"}
    assert all(choice["reason"] for choice in told["chosen"].values())
    text = printed(capsys, "hardware")
    for part in ("Processor", "Memory", "CUDA", "not found", "Compiler", "Chosen", "Precision", "123", "emulated"):
        assert part in text


def test_hardware_without_measuring_and_only_the_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "measure", None)
    assert said(capsys, "hardware", "--no-measure")["measured"] == []
    device = hardware.choose_device().name
    assert printed(capsys, "hardware", "--recommended") == f"{device}\n"
    assert said(capsys, "hardware", "--recommended")["device"] == device


def test_doctor_gives_a_verdict_on_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "doctor", "--dir", tmp_path)
    assert told["ok"]
    assert told["error"] == 0
    names = {check["name"] for check in told["checks"]}
    assert {"Python", "torch", "Compiler", "Memory", "Disk", "Working folder", "User folder"} <= names
    assert "Verdict" in printed(capsys, "doctor", "--dir", tmp_path)
    lost = said(capsys, "doctor", "--dir", tmp_path / "absent", code=1)
    assert [check["name"] for check in lost["checks"] if check["status"] == "error"] == ["Disk"]


def test_known_flaws_are_named_with_the_release_that_mends_them() -> None:
    old = {"torch": "2.9.1+cu128", "sqlite": "3.40.1", "python": "3.11.7", "h11": "0.14.0"}
    findings = " ".join(f"{check.message} {check.remedy}" for check in checks.check_flaws(old))
    for part in ("CVE-2026-24747", "2.10", "WAL-reset", "3.51.3", "CVE-2026-11822", "CVE-2025-4517", "3.11.13", "0.16"):
        assert part in findings
    new = {"torch": "2.13.0", "sqlite": "3.53.2", "python": "3.12.11", "h11": "0.16.0", "jinja2": "3.1.6"}
    assert [check.status for check in checks.check_flaws(new)] == ["ok"]
    assert "3.12.11" in checks.check_flaws({"python": "3.12.10"})[0].remedy
    assert [check.status for check in checks.check_flaws({"sqlite": "3.51.3"})] == ["warning"]


@pytest.mark.parametrize(
    ("text", "version"),
    [("2.13.0+cpu", (2, 13)), ("3.51.3", (3, 51, 3)), ("0", (0,)), ("2.10", (2, 10)), ("v?", (0,)), ("1.0rc1", (1,))],
)
def test_versions_compare_by_their_numbers(text: str, version: tuple[int, ...]) -> None:
    assert checks.version_of(text) == version


def test_doctor_finds_what_is_missing_old_full_or_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def without(name: str) -> Any:
        raise ImportError(f"No module named {name!r}") if name == "torch" else OSError("libfoo.so: not found")

    monkeypatch.setattr(importlib, "import_module", without)
    found = list(checks.check_modules())
    assert {check.status for check in found} == {"error"}
    assert found[0].message == "Cannot be imported: No module named 'torch'."
    monkeypatch.undo()
    monkeypatch.setattr(checks, "installed_versions", lambda: {"torch": "2.9.0", "numpy": "9.9"})
    assert [(check.name, check.status) for check in checks.check_floors()] == [("torch", "error")]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**30))
    assert checks.check_disk(tmp_path).status == "warning"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**20))
    assert checks.check_disk(tmp_path).status == "error"
    monkeypatch.setattr(hardware, "detect_memory", lambda: hardware.Memory(2**32, 2**28))
    assert checks.check_memory().status == "warning"
    monkeypatch.setattr(hardware, "find_compiler", lambda device: hardware.Compiler("", "no C++ compiler"))
    assert checks.check_compiler().status == "warning"

    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert checks.check_writable("Folder", tmp_path / "not" / "there").status == "error"
