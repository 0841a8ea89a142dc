"""From what the user names to sources: paths and addresses."""

from __future__ import annotations

from collections.abc import Sequence

from groundzero.ingest.sources import Source, open_source


def open_sources(names: Sequence[str], *, delay: float = 1.0, allow_hosts: Sequence[str] = ()) -> list[Source]:
    """The sources of a command line; addresses are fetched when they are read.

    Raises:
        InputError: a path does not exist.
        UsageError: an address that may not be fetched.
    """
    from groundzero.ingest.web import UrlSource, Visitor  # noqa: PLC0415 - brings in http and ssl

    visitor = None
    sources: list[Source] = []
    for name in names:
        if name.lower().startswith(("http://", "https://")):
            visitor = visitor or Visitor(delay=delay, allow_hosts=allow_hosts)
            sources.append(UrlSource(name, visitor))
        else:
            sources.append(open_source(name))
    return sources
