"""A run that the first version wrote: it loads, writes what it wrote then, and trains on.

`tests/fixtures/trained-run-v1` is a whole run directory of 400 steps, its prepared text included; `...-expected.json`
beside it says what came of it. It is never written anew: a later schema gets a fixture of its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from groundzero.api import Run
from groundzero.run import RunDirectory
from groundzero.train import resolve, train_run

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "trained-run-v1", tmp_path / "run"))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FIXTURES / "trained-run-v1-expected.json").read_text(encoding="utf-8"))
    return values


def test_it_is_intact(stored):
    run = RunDirectory.open(stored)
    assert run.manifest()["schema"] == 1
    assert run.verify() == []


def test_it_writes_what_it_wrote(stored, expected):
    run = Run(stored, device="cpu", step="latest")
    assert {prompt: run.generate(prompt, max_tokens=12, temperature=0.0) for prompt in expected["greedy"]} == expected[
        "greedy"
    ]


def test_it_trains_on(stored, expected):
    result = train_run(resolve(options={"train": {"steps": 406}}), stored, resume=True)
    assert result.steps == 406
    assert result.tokens == expected["tokens_at_406"]
    assert result.train_loss == pytest.approx(expected["train_loss_at_406"], rel=1e-4)
    assert result.val_loss == pytest.approx(expected["val_loss_at_406"], rel=1e-4)
    assert RunDirectory.open(stored).verify() == []
