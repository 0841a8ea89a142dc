"""`gz eval`: an exam from the command line, and held-out loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groundzero.cli.app import main
from groundzero.errors import InputError, UsageError
from groundzero.run import RunDirectory
from groundzero.train import resolve, train_run

TEXT = "Where is the capital of Peru? I do not know: the facts do not say. [1] South America | continent 0123456789\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "text.txt").write_text(TEXT * 60, encoding="utf-8")
    options = {
        "data": {"text": str(folder / "text.txt"), "validation_fraction": 0.3},
        "tokenizer": {"kind": "bpe", "vocab_size": 400},
        "model": {"n_layer": 1, "n_head": 2, "d_model": 32, "context": 512},
        "train": {"batch_size": 2, "steps": 1, "precision": "float32", "device": "cpu", "sample_tokens": 0},
    }
    train_run(resolve(preset_name="nano", options=options), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def grounded(base: Path, wide_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grounded") / "run"
    settings = ("train.batch_size=4", "train.precision=float32", "train.sample_tokens=0",
                "ground.validation_lessons=8", "ground.lessons.test_share=0.4")  # fmt: skip
    sets = [word for setting in settings for word in ("--set", setting)]
    words = ["finetune", "ground", "--run", str(base), "--graph", str(wide_path), "--out", str(out), "--steps", "1"]
    assert main([*words, *sets]) == 0
    return out


def test_an_exam_from_a_run_alone(grounded: Path, wide_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = ["eval", "grounding", "--run", str(grounded), "--questions", "2", "--only", "answers,refusal", "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["run"], found["graph"], found["seed"], found["questions"]) == (str(grounded), str(wide_path), 1337, 2)
    assert set(found["sections"]) == {"answers", "refusal"}
    assert found["sections"]["answers"]["measures"][0].keys() >= {"name", "value", "n", "low", "high", "aim", "reached"}
    assert "Examining" in err
    kept = json.loads((grounded / "exam" / "exam.json").read_text(encoding="utf-8"))
    assert kept["sections"] == found["sections"]
    assert (grounded / "exam" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert RunDirectory.open(grounded).verify() == []


def test_a_table_for_people(grounded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "grounding", "--run", str(grounded), "--questions", "2", "--only", "answers", "--out"]
    capsys.readouterr()
    assert main([*words, str(tmp_path / "card")]) == 0
    out, err = capsys.readouterr()
    assert "One hop, unseen facts · fallback on" in out
    assert "aims reached" in out
    assert str(tmp_path / "card" / "report.html") in err


def test_what_cannot_be_examined_is_told(base: Path, grounded: Path, wide_path: Path) -> None:
    assert main(["eval", "grounding", "--run", str(base), "--graph", str(wide_path)]) == InputError.exit_code
    assert main(["eval", "grounding", "--run", str(grounded), "--only", "nonsense"]) == UsageError.exit_code
    assert main(["eval", "grounding", "--run", str(grounded), "--graph", "missing.db"]) == InputError.exit_code
    assert main(["eval", "grounding", "--run", "missing"]) == InputError.exit_code


def test_ctrl_c_before_anything_is_finished_leaves_no_card(
    grounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundzero.ground.grounded import GroundedModel

    def stop(self: GroundedModel, question: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GroundedModel, "evidence", stop)
    out = tmp_path / "card"
    words = ["eval", "grounding", "--run", str(grounded), "--questions", "2", "--out", str(out)]
    assert main(words) == 130
    assert not out.exists()


def test_held_out_loss(base: Path, grounded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["eval", "loss", "--run", str(base), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    recorded = [record for record in RunDirectory.open(base).metrics if "val_loss" in record][-1]
    assert found["loss"] == pytest.approx(recorded["val_loss"], rel=1e-3)
    assert main(["eval", "loss", "--run", str(base), "--tokens", "64"]) == 0
    assert "63 held-out tokens" in capsys.readouterr().out
    assert main(["eval", "loss", "--run", str(grounded)]) == UsageError.exit_code
