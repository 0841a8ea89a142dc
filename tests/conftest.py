"""Fixtures for every room: the folder of real data, and a single thread so that figures repeat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes the golden loss curves anew."""
    parser.addoption("--update-golden", action="store_true", help="write tests/fixtures/golden_losses.json anew")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data that nobody of this project wrote; `GROUNDZERO_DATA`, or `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("GROUNDZERO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set GROUNDZERO_DATA")
    return folder
