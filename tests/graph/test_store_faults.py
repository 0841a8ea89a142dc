"""What was acknowledged stays, whatever kills the writer or refuses its writes; and the tests notice a store that lies.

Killed: SIGKILL, so the system keeps what was written but not synced. Power loss is not simulated; instead the system
calls are read, to see that nothing is acknowledged before the log was synced. Full disk: a limit on the size of files
(any system), a small tmpfs (root), and single calls that fail (strace).
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from groundzero.graph.sqlite import SQLiteStore

VICTIM = Path(__file__).with_name("store_victim.py")
_spec = importlib.util.spec_from_file_location("store_victim", VICTIM)
assert _spec is not None
assert _spec.loader is not None
victim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(victim)


def _start(path: Path, transactions: int, *, fault: str = "", before: list[str] | None = None, **options: Any) -> Any:
    command = [*(before or []), sys.executable, str(VICTIM), str(path), str(transactions), "--fault", fault]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", **options)


def _kill_after(process: Any, acknowledgements: int, seconds: float) -> int:
    """Wait for so many acknowledgements and a moment more, kill, and return the last one that got through."""
    last = 0
    for _ in range(acknowledgements):
        line = process.stdout.readline()
        last = int(line.split()[1]) if line.startswith("ack") else last
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    for line in process.communicate()[0].splitlines():
        if re.fullmatch(r"ack \d+", line):
            last = int(line.split()[1])
    return last


def _verify(path: Path, acknowledged: int) -> int:
    store = SQLiteStore(path)
    try:
        return victim.verify(store, acknowledged)
    finally:
        store.close()


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    acknowledged = total = 0
    for kill in range(kills):
        path = tmp_path / f"{kill // 10}.db"  # a new graph now and then, or looking at all of it takes ever longer
        process = _start(path, 10**6)
        last = _kill_after(process, chance.randint(1, 8), chance.random() * 0.02)
        acknowledged = last or (acknowledged if kill % 10 else 0)
        store = SQLiteStore(path, timeout=2)  # the dead one's lease does not block
        last = victim.verify(store, acknowledged)
        total += last
        for number in range(max(1, last - 1), last + 1):  # what may have been half done is done again
            with store.writer() as writer:
                victim.write(writer, number)
        victim.verify(store, acknowledged)
        store.close()
    assert total >= kills


@pytest.mark.parametrize(("fault", "complaint"), [("early", "was acknowledged"), ("halves", "has 0 of")])
def test_the_kill_test_notices_a_broken_writer(tmp_path: Path, fault: str, complaint: str) -> None:
    process = _start(tmp_path / "facts.db", 10**6, fault=fault)
    acknowledged = _kill_after(process, 4, 0.0)  # the fourth line of "halves" says that it is in the middle
    with pytest.raises(AssertionError, match=complaint):
        _verify(tmp_path / "facts.db", acknowledged)


def _needs_strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("no strace here: apt-get install strace")
    return found


def _unsynced_acknowledgements(trace: str) -> list[str]:
    """Acknowledgements written while the log held anything that no sync had followed."""
    early, dirty, logs = [], False, set()
    for line in trace.splitlines():
        call = re.search(r"\b(openat|pwrite64|fdatasync|fsync|write)\((.*)", line)
        if call is None:
            continue
        name, rest = call.groups()
        if name == "openat" and "-wal" in rest:
            logs.add(rest.rpartition("= ")[2].strip())
        number = rest.split(",")[0].split(")")[0]
        if name == "pwrite64" and number in logs:
            dirty = True
        elif name in ("fdatasync", "fsync") and number in logs:
            dirty = False
        elif name == "write" and '"ack ' in rest and dirty:
            early.append(rest)
    return early


@pytest.mark.parametrize("fault", ["", "no sync"])
def test_nothing_is_acknowledged_before_the_log_is_synced(tmp_path: Path, fault: str) -> None:
    trace = tmp_path / "trace"
    calls = "trace=openat,pwrite64,fdatasync,fsync,write"
    process = _start(
        tmp_path / "facts.db", 10, fault=fault, before=[_needs_strace(), "-f", "-e", calls, "-o", str(trace)]
    )
    assert process.communicate()[0].count("ack") == 10
    early = _unsynced_acknowledgements(trace.read_text(encoding="utf-8"))
    assert len(early) == (0 if fault == "" else 10)


def _write_under_limit(path: Path, limit: int, fault: str = "") -> list[str]:
    """What a writer says that may not make a file larger than `limit` bytes."""
    resource = pytest.importorskip("resource", reason="no limits on the size of files on this system")

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = _start(path, 300, fault=fault, preexec_fn=limit_files)
    return process.communicate()[0].splitlines()


@pytest.mark.parametrize("limit", [200_000, 333_333, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_full_disk_is_reported_and_costs_nothing_acknowledged(tmp_path: Path, limit: int) -> None:
    """Simulated by a limit on the size of a file: the write fails as on a full disk, with another error number."""
    path = tmp_path / "facts.db"
    SQLiteStore(path, create=True).close()
    lines = _write_under_limit(path, limit)
    assert lines[-1].startswith("failed Cannot use")
    acknowledged = len(lines) - 1
    assert acknowledged > 0
    last = _verify(path, acknowledged)
    process = _start(path, last + 5)  # with room again it goes on
    assert process.communicate()[0].count("ack") == 5
    assert _verify(path, last + 5) == last + 5


def test_the_full_disk_test_notices_a_writer_that_ignores_errors(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    SQLiteStore(path, create=True).close()
    lines = _write_under_limit(path, 200_000, fault="deaf")
    acknowledged = [int(line.split()[1]) for line in lines if line.startswith("ack")][-1]
    with pytest.raises(AssertionError, match="was acknowledged"):
        _verify(path, acknowledged)


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [1, 2, 4])
def test_a_full_file_system_is_reported_and_costs_nothing_acknowledged(tmp_path: Path, mebibytes: int) -> None:
    """Not simulated: a tmpfs of that size."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small tmpfs here; the test with limited files stands in for it")
    try:
        lines = _start(place / "facts.db", 10_000).communicate()[0].splitlines()
        assert "full" in lines[-1]
        acknowledged = sum(line.startswith("ack") for line in lines)
        last = _verify(place / "facts.db", acknowledged)
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        assert _start(place / "facts.db", last + 5).communicate()[0].count("ack") == 5
        _verify(place / "facts.db", last + 5)
    finally:
        subprocess.run(["umount", str(place)], check=True)


CALLS = ["pwrite64:error=ENOSPC", "pwrite64:error=EIO", "fdatasync:error=EIO", "pwrite64:signal=KILL"]
NUMBERS = [*range(1, 10), 12, 16, 20, 26, 33, 40]


@pytest.mark.parametrize(
    ("calls", "persistent", "numbers"),
    [
        (CALLS[:1] + CALLS[3:], False, [2, 5]),
        *(pytest.param([call], each, NUMBERS, marks=pytest.mark.slow) for call in CALLS for each in (False, True)),
    ],
)
def test_any_one_call_may_fail(tmp_path: Path, calls: list[str], persistent: bool, numbers: Sequence[int]) -> None:
    """The n-th call fails, for many n, once or from then on, or the process dies there; from the very first call."""
    for call, number in itertools.product(calls, numbers):
        path = tmp_path / f"{call[-4:]}-{number}.db"
        inject = f"inject={call}:when={number}{'+' if persistent else ''}"
        process = _start(path, 12, before=[_needs_strace(), "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", inject],
                         stderr=subprocess.PIPE)  # fmt: skip
        output, complaint = process.communicate()
        acknowledged = output.count("ack")
        stopped = process.returncode == -signal.SIGKILL or "failed" in output or "StorageError" in complaint
        assert stopped or acknowledged == 12, (number, output, complaint)
        if acknowledged:
            _verify(path, acknowledged)
        assert _start(path, acknowledged + 14).communicate()[0].rstrip().endswith(f"ack {acknowledged + 14}")
