"""Whether the machine can carry the build out, before anything is spent on it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from groundzero.build.plan import Plan
from groundzero.errors import ConfigError, StorageError
from groundzero.hardware import detect_memory

MARGIN = 0.95
"""Of the free memory, what may be asked for."""


def examine_machine(plan: Plan, out: Path) -> None:
    """Memory, disk and permissions.

    Raises:
        ConfigError: the memory does not suffice.
        StorageError: the disk does not, or refuses.
    """
    free = detect_memory().available
    if plan.device == "cpu" and plan.memory_bytes > MARGIN * free:
        raise ConfigError(
            f"The build needs about {plan.memory_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
            remedy="Close other programs, or give a smaller --preset or --set train.batch_size.",
        )
    place = out.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        room = shutil.disk_usage(place).free
        with tempfile.TemporaryFile(dir=place if place.is_dir() else place.parent):
            pass
    except OSError as error:
        raise StorageError(
            f"Cannot write in {place}: {error.strerror or error}.", remedy="Give an --out where you may write."
        ) from error
    if plan.disk_bytes > room:
        raise StorageError(
            f"The build needs about {plan.disk_bytes / 1e9:.1f} GB of disk, and {place} has {room / 1e9:.1f} GB left.",
            remedy="Free some, or give an --out on another disk or a smaller --preset.",
        )
