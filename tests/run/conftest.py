"""A disk that fails on demand, as a fixture, because test modules do not import each other."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def faulty_disk() -> ModuleType:
    """The module `faulty_disk.py` beside this file."""
    spec = importlib.util.spec_from_file_location("faulty_disk", Path(__file__).with_name("faulty_disk.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["faulty_disk"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_waiting_for_the_real_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing is counted and simulated here; the machine itself does not lose power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
