"""Fifty steps of every family under both optimisers: the loss curves of today are those of yesterday.

`pytest tests/train/test_golden.py --update-golden` writes `tests/fixtures/golden_losses.json` anew, after a change that
is meant to change the mathematics. Curves are compared bit for bit where they were made with the same PyTorch on a
CPU with the same vector instructions; elsewhere, where sums run in another order, to `RTOL`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from groundzero.hardware import detect_cpu
from groundzero.train import Observer

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden_losses.json"
FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]
OPTIMIZERS = ["adamw", "muon"]
STEPS = 50
RTOL = 1e-5
NOTE = (
    "Training losses of 50 steps: one thread, float32, fixed seeds, text made in tests/train/conftest.py. Compared bit"
    " for bit with the same torch and CPU capability, else to rtol 1e-5. Written by pytest --update-golden."
)


class Losses(Observer):
    def __init__(self) -> None:
        self.values: list[float] = []

    def stepped(self, step: int, record: Mapping[str, Any] | None) -> None:
        assert record is not None
        self.values.append(record["train_loss"])


def curve(lab: Any, family: str, optimizer: str) -> list[float]:
    listener = Losses()
    config = lab.config(optimizer=optimizer, log_every=1, evaluate_every=1000, sample_tokens=0, accumulate=2)
    trainer = lab.trainer(config, observer=listener, family=family, dropout=0.1)
    trainer.fit(STEPS)
    return listener.values


def machine() -> dict[str, str]:
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "processor": detect_cpu().name,
    }


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest, lab: Any) -> dict[str, Any]:
    if request.config.getoption("--update-golden"):
        torch.set_num_threads(1)
        curves = {
            f"{family}/{optimizer}": curve(lab, family, optimizer) for family in FAMILIES for optimizer in OPTIMIZERS
        }
        content = {"note": NOTE, "steps": STEPS, "made_with": machine(), "curves": curves}
        GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_curve_is_the_golden_one(lab, golden, family, optimizer):
    expected = golden["curves"][f"{family}/{optimizer}"]
    got = curve(lab, family, optimizer)
    assert len(got) == golden["steps"] == STEPS
    if golden["made_with"] == machine():
        assert got == expected
    else:
        assert got == pytest.approx(expected, rel=RTOL)


def test_the_golden_curves_fall_and_differ(golden):
    curves = golden["curves"]
    assert set(curves) == {f"{family}/{optimizer}" for family in FAMILIES for optimizer in OPTIMIZERS}
    assert all(values[-1] < values[0] for values in curves.values())
    assert len({values[-1] for values in curves.values()}) == len(curves)


def test_the_comparison_notices_a_changed_mathematics(lab, golden, monkeypatch):
    """A thousandth more learning rate is seen within fifty steps."""
    plain = lab.config
    monkeypatch.setattr(lab, "config", lambda **values: plain(**{**values, "learning_rate": 3e-3 * (1 + 1e-3)}))
    assert curve(lab, "qwen3", "adamw") != pytest.approx(golden["curves"]["qwen3/adamw"], rel=RTOL)
