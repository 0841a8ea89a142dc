"""To come."""

from __future__ import annotations

from groundzero.errors import UsageError


def PostgresStore(address: str, *, create: bool, read_only: bool, timeout: float):  # type: ignore[no-untyped-def]  # noqa
    raise UsageError("PostgreSQL is not there yet.")
