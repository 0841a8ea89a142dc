"""Settings of learning from text."""

from __future__ import annotations

from pydantic import Field

from groundzero.settings import Settings


class IngestConfig(Settings):
    """How much to believe, and how much to read at a time."""

    precision: float = Field(default=0.85, gt=0.5, lt=1.0)
    """Share of accepted prose facts that must be right on pages that the model was not trained on."""
    suggested: bool = False
    """Accept also facts that no sentence names but the whole page suggests; they are quarantined otherwise."""
    again: bool = False
    """Read again what was read before."""
    training_pages: int = Field(default=3000, ge=1)
    """Pages about known things that prose is learnt from, at most."""
    training_read: int = Field(default=20_000, ge=1)
    """Documents read in search of such pages, at most."""
    least_pages: int = Field(default=200, ge=5)
    """Fewer such pages teach too little (61 taught that Kabul is the capital of Algeria); an earlier model, or none, is
    used."""
    batch: int = Field(default=50, ge=1)
    """Documents recorded in one transaction, at most."""
    batch_seconds: float = Field(default=5.0, gt=0)
    """Seconds after which a transaction is closed however few documents it has."""
