"""Fixtures for every room: the folder of real data, and a single thread so that figures repeat."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "160"  # tables are read by tests, whatever the width of the terminal that runs them
if threading.current_thread() is threading.main_thread():
    # A shell that starts the tests in the background has them ignore Ctrl-C, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
