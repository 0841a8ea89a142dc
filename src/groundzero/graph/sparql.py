"""To come."""

from __future__ import annotations

from groundzero.errors import UsageError


def SPARQLStore(address: str, *, timeout: float):  # type: ignore[no-untyped-def]  # noqa
    raise UsageError("SPARQL is not there yet.")
