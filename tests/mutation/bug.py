"""A bug as people make them, to be sown into a copy of the package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One change of one file of the package that makes it wrong."""

    what: str
    """In words."""
    file: str
    """Below src/groundzero."""
    before: str
    after: str
