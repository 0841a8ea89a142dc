"""Sowing a bug of `bugs.py` into a copy of the package, and letting the tests look for it there.

The working tree is never touched. Each worker has a copy of its own, which comes before the package on the path of the
tests that it runs.
"""

from __future__ import annotations

import compileall
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue

import pytest

from tests.mutation.bug import Bug

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "groundzero"
PASSED = "every test passed"
SECONDS = 600
"""A test that takes longer hangs."""


@dataclass(frozen=True)
class Verdict:
    """What became of a bug."""

    noticed: bool
    by: str
    """The first test that failed, or what went wrong instead."""


class Copies:
    """Copies of the package, handed out one to each worker at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = folder / str(number)
            shutil.copytree(PACKAGE, copy / "groundzero", ignore=shutil.ignore_patterns("__pycache__"))
            # Compiled once; by content and not by time, as two versions of a file may be of one second and one size.
            compileall.compile_dir(copy, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
            self._free.put(copy)

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A folder that holds `groundzero`, to itself."""
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)


def sow(bug: Bug, source: str) -> str:
    """The source with the bug.

    Raises:
        ValueError: what is to be replaced does not occur exactly once.
    """
    if source.count(bug.before) != 1:
        raise ValueError(f"{bug.what}: {bug.before!r} occurs {source.count(bug.before)} times in {bug.file}, not once.")
    return source.replace(bug.before, bug.after)


def judge(bug: Bug | None, copies: Copies, tests: Sequence[str]) -> Verdict:
    """Run the tests against a copy with the bug, or without any."""
    with copies.one() as copy:
        if bug is None:
            return _run(copy, tests)
        path = copy / "groundzero" / bug.file
        sound = path.read_text(encoding="utf-8")
        path.write_text(sow(bug, sound), encoding="utf-8")
        try:
            return _run(copy, tests)
        finally:
            path.write_text(sound, encoding="utf-8")


def _run(copy: Path, tests: Sequence[str]) -> Verdict:
    """The first failure of the tests with this copy on the path."""
    output = copy / "output.txt"
    output.write_bytes(b"")
    process = _context().Process(target=_pytest, args=(copy, output, tests))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return Verdict(False, f"no test failed, and they did not end within {SECONDS} s")
    printed = output.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^FAILED \S*?(\w+\.py::\S+)", printed, re.MULTILINE)
    if process.exitcode == 1 and failed:
        return Verdict(True, failed[1])
    if process.exitcode == 0:
        return Verdict(False, PASSED)
    return Verdict(False, f"the tests could not run: {' '.join(printed.split()[-40:])}")


def _context() -> BaseContext:
    """Processes that begin with PyTorch imported, where the system can fork: it is most of what a test run costs."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numpy", "torch"])
    return context


def _pytest(copy: Path, output: Path, tests: Sequence[str]) -> None:
    """In a process of its own: run the tests on a copy, for themselves and for what they start."""
    sys.path[:0] = [str(copy), str(ROOT)]
    os.environ["PYTHONPATH"] = str(copy)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    options = [
        "-p",
        "tests.mutation.profile",
        "-x",
        "-q",
        "--tb=no",
        "-rf",
        "-m",
        "not slow and not gpu",
        "-p",
        "no:cacheprovider",
    ]
    sys.exit(int(pytest.main([*options, f"--rootdir={ROOT}", "--hypothesis-profile=bugs", *tests])))


def used(copies: Copies) -> str:
    """Where the package lies that the tests of a copy would import."""
    with copies.one() as copy:
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        command = [sys.executable, "-B", "-c", "import groundzero; print(groundzero.__file__)"]
        found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
        return "" if Path(found.stdout.strip()).is_relative_to(copy) else found.stdout.strip()


@contextmanager
def quiet_workers() -> Iterator[None]:
    """One thread for each worker, and nothing compiled is left beside the tests; set before the first one starts."""
    kept = dict(os.environ)
    os.environ.update({"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
