"""One finding about a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """What was looked at, and what was found."""

    name: str
    status: Status
    message: str
    """One line; it names the file, layer or token."""
    remedy: str = ""
    """What to do about it, in one line; empty where all is well."""
