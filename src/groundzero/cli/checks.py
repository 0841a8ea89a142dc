"""The checks of `gz doctor`: each looks at one thing and says ok, warning or error, with a remedy."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MODULES = (
    *("torch", "numpy", "safetensors", "tokenizers", "tiktoken", "rustbpe", "regex", "pydantic", "typer", "rich"),
    *("prompt_toolkit", "matplotlib"),
)
LOW_DISK_BYTES, NO_DISK_BYTES = 5 * 2**30, 200 * 2**20
LOW_MEMORY_BYTES = 2 * 2**30

Version = tuple[int, ...]


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Flaw:
    """A published flaw of something that we run on."""

    name: str
    since: Version
    fixed: Version
    """First release of that series without it."""
    what: str


# From the CVE records and the projects' release notes. Python's series are maintained side by side, hence several rows.
FLAWS = (
    Flaw("torch", (0,), (2, 10), "CVE-2026-24747: a crafted checkpoint runs code even with weights_only=True"),
    Flaw("sqlite", (3, 7), (3, 51, 3), "WAL-reset race: two connections can corrupt a database"),
    Flaw("sqlite", (0,), (3, 53, 2), "CVE-2026-11822: memory corruption by a crafted FTS5 database"),
    Flaw("python", (3, 11), (3, 11, 13), "CVE-2025-4517: tarfile's data filter can be bypassed"),
    Flaw("python", (3, 12), (3, 12, 11), "CVE-2025-4517: tarfile's data filter can be bypassed"),
    Flaw("python", (3, 13), (3, 13, 4), "CVE-2025-4517: tarfile's data filter can be bypassed"),
    Flaw("h11", (0,), (0, 16), "CVE-2025-43859: request smuggling through chunked bodies"),
    Flaw("jinja2", (0,), (3, 1, 6), "CVE-2025-27516: a template can leave the sandbox"),
)


def examine(folder: Path) -> list[Check]:
    """Every check, in the order in which one would mend things."""
    return [
        check_python(),
        *check_modules(),
        *check_floors(),
        *check_flaws(installed_versions()),
        check_compiler(),
        check_memory(),
        check_disk(folder),
        check_writable("Working folder", folder),
        check_writable("User folder", _user_home()),
    ]


def check_python() -> Check:
    """The interpreter is one that we support."""
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - a check is there for what should not happen
        return Check("Python", "error", f"{version} is too old.", "Install Python 3.11 or newer.")
    return Check("Python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def check_modules() -> Iterator[Check]:
    """Every library that we need can be imported."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield Check(name, "error", f"Cannot be imported: {error}.", "Install groundzero again.")
        except OSError as error:  # a shared library that does not load
            yield Check(name, "error", f"Does not load: {error}.", "Install it again for this system.")
        else:
            yield Check(name, "ok", installed_versions().get(name, ""))


def check_floors() -> Iterator[Check]:
    """No library is older than the release that we are tested with."""
    versions = installed_versions()
    for requirement in importlib.metadata.requires("groundzero") or []:
        match = re.match(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)$", requirement)
        if match is None:
            continue
        name, floor = match.groups()
        have = versions.get(_canonical(name))
        if have is not None and version_of(have) < version_of(floor):
            yield Check(name, "error", f"{have} is older than {floor}.", f"Run `pip install '{name}>={floor}'`.")


def check_flaws(versions: dict[str, str]) -> list[Check]:
    """Nothing that we run on has a flaw known when this release was made."""
    found = [
        Check(
            name=flaw.name,
            status="warning",
            message=f"{versions[flaw.name]} has {flaw.what}.",
            remedy=f"Fixed in {'.'.join(str(part) for part in flaw.fixed)}; upgrade.",
        )
        for flaw in FLAWS
        if flaw.name in versions and _affected(flaw, version_of(versions[flaw.name]))
    ]
    return found or [Check("Known flaws", "ok", f"none of {len(FLAWS)} known ones")]


def check_compiler() -> Check:
    """`torch.compile` could work."""
    from groundzero.hardware import find_compiler  # noqa: PLC0415 - as in the commands

    compiler = find_compiler("cpu")
    if compiler.found:
        return Check("Compiler", "ok", compiler.reason)
    return Check("Compiler", "warning", f"{compiler.reason}.", "Training works without; long runs are slower.")


def check_memory() -> Check:
    """There is memory to train a small model."""
    from groundzero.cli.output import human_bytes  # noqa: PLC0415 - as in the commands
    from groundzero.hardware import detect_memory  # noqa: PLC0415

    memory = detect_memory()
    text = f"{human_bytes(memory.available)} free of {human_bytes(memory.total)}"
    if memory.available < LOW_MEMORY_BYTES:
        return Check("Memory", "warning", f"{text}.", "Close other programs, or train the preset nano.")
    return Check("Memory", "ok", text)


def check_disk(folder: Path) -> Check:
    """There is room for checkpoints."""
    from groundzero.cli.output import human_bytes  # noqa: PLC0415 - as in the commands

    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("Disk", "error", f"{folder}: {error.strerror}.", "Give --dir a folder that exists.")
    text = f"{human_bytes(free)} free in {folder.resolve()}"
    if free < NO_DISK_BYTES:
        return Check("Disk", "error", f"{text}.", "Free space before training.")
    if free < LOW_DISK_BYTES:
        return Check("Disk", "warning", f"{text}.", "A checkpoint takes 12 bytes a parameter.")
    return Check("Disk", "ok", text)


def check_writable(name: str, folder: Path) -> Check:
    """We may write there; a folder that is not there yet is judged by the nearest one above."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check(name, "error", f"Cannot write in {place}: {error.strerror}.", "Change its permissions.")
    return Check(name, "ok", f"{folder.absolute()} is writable")


def installed_versions() -> dict[str, str]:
    """Versions by lower-case name: every installed package, Python itself, and its SQLite."""
    packages = {
        _canonical(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions()
        if found.metadata["Name"]
    }
    return {**packages, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


def version_of(text: str) -> Version:
    """The numbers of a version: "2.13.0+cpu" is (2, 13)."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    numbers = [int(part) for part in match.group().split(".")] if match else [0]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _affected(flaw: Flaw, version: Version) -> bool:
    same_series = flaw.name != "python" or version[:2] == flaw.since[:2]
    return same_series and flaw.since <= version < flaw.fixed


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _user_home() -> Path:
    from groundzero.data.registry import user_home  # noqa: PLC0415 - as in the commands

    return user_home()
