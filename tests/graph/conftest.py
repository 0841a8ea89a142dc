"""Stores for the tests of this room: files, and a PostgreSQL cluster of the tests' own.

The cluster is made in a temporary folder, reached by a socket, and gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a database on a server that runs for this session of tests."""
    with _postgres_server() as address:
        yield address


@pytest.fixture
def new_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes addresses of graphs that are not there yet."""
    return lambda: f"{postgres_server}&graph=g{uuid.uuid4().hex}"


@pytest.fixture(params=["sqlite", "postgres"])
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes locations of graphs that are not there yet, in every store that can be written to."""
    if request.param == "postgres":
        made: Callable[[], str] = request.getfixturevalue("new_postgres")
        return made
    return lambda: str(tmp_path / f"{uuid.uuid4().hex}.db")


@contextmanager
def _postgres_server() -> Iterator[str]:
    """The address of a database on a private server; skips the test, saying why, where none can be started."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql, or put initdb and pg_ctl on the PATH")
    with tempfile.TemporaryDirectory(prefix="gz-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            if shutil.which("runuser") is None:
                pytest.skip("PostgreSQL does not run as root, and there is no runuser to become another")
            shutil.chown(folder, "postgres", "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        data = folder / "data"
        run = [str(binaries / "initdb"), "-D", str(data), "-U", "tester", "--auth=trust", "-E", "UTF8", "--no-sync"]
        _call([*as_user, *run, "--locale=C.UTF-8"], folder)
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c max_connections=60"
        control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        _call([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            _call([*control, "-m", "immediate", "stop"], folder)


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


def _call(command: list[str], folder: Path) -> None:
    # The output of a server that stays must not go into a pipe that somebody waits for.
    done = subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(command)} failed; see {folder}/log"
