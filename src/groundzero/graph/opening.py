"""From what the user writes, a path or an address, to a store."""

from __future__ import annotations

from pathlib import Path

from groundzero.errors import InputError
from groundzero.graph.sqlite import SQLiteStore
from groundzero.graph.store import Store


def open_store(location: str | Path, *, create: bool = False, read_only: bool = False, timeout: float = 10.0) -> Store:
    """The store at `location`: a file's path, `postgresql://...`, or a SPARQL endpoint.

    An endpoint is `http(s)://.../sparql`, or any address with `sparql+` before it.

    Args:
        create: make an empty graph where there is none.
        read_only: refuse writes.
        timeout: seconds to wait for another writer, or for an endpoint's answer.

    Raises:
        InputError: there is nothing there, or the address is of no kind known.
        FormatError: what is there is no graph of ours, is damaged, or is newer than this release.
        StorageError: it cannot be reached or opened.
    """
    address = str(location)
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme in ("postgresql", "postgres"):
        from groundzero.graph.postgres import PostgresStore  # noqa: PLC0415 - an extra

        return PostgresStore(address, create=create, read_only=read_only, timeout=timeout)
    if scheme in ("sparql+https", "sparql+http") or (scheme in ("https", "http") and address.endswith("/sparql")):
        from groundzero.graph.sparql import SPARQLStore  # noqa: PLC0415 - most graphs are files

        return SPARQLStore(address.removeprefix("sparql+"), timeout=timeout)
    if scheme and scheme != "file":
        raise InputError(
            f"No kind of graph is at {address.partition('@')[2] or address!r}.",
            remedy="Give a file, postgresql://..., or a SPARQL endpoint as sparql+https://....",
        )
    return SQLiteStore(Path(location), create=create, read_only=read_only, timeout=timeout)
