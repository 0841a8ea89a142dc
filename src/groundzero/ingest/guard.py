"""Which addresses may be reached: public ones only, judged after resolving, and the very address judged is used.

A name is resolved once, every address it has is examined, and the connection goes to one of those; so that a name
that answers differently the next time (rebinding) gains nothing. Redirections come back here.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from groundzero.errors import InputError, UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 2000
# Not reached whatever `is_global` of this Python says of them: shared, benchmarking, documentation, translation, relay.
_NEVER = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to for a URL."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    """Those that were judged, in the order in which to try them."""
    path: str
    """With the query; without the fragment."""

    @property
    def netloc(self) -> str:
        """Host, and port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name. Raises InputError where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(f"Cannot find {host}: {error}.", remedy="Check the address and the connection.") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def check_url(url: str, *, allow_hosts: Sequence[str] = (), resolve: Resolve = resolve) -> Target:
    """Judge a URL and resolve it.

    Args:
        allow_hosts: `host` or `host:port` that may be reached wherever they are.

    Raises:
        UsageError: no http(s) URL, one with a password, or an unusual port.
        InputError: its name has no address, or one that is not public.
    """
    scheme, host, port, path = _parts(url)
    allowed = host in allow_hosts or f"{host}:{port}" in allow_hosts
    if not allowed and port != _PORTS[scheme]:
        raise UsageError(f"{url[:200]} is on port {port}.", remedy=f"Allow it with --allow-host {host}:{port}.")
    addresses = resolve(host, port)
    if not addresses:
        raise InputError(f"{host} has no address.", remedy="Check the address.")
    for each in addresses:
        if not allowed and not is_public(each):
            raise InputError(
                f"{host} is at {each}, which is not a public address.",
                remedy=f"If you trust it, allow it with --allow-host {host}.",
            )
    return Target(scheme, host, port, tuple(addresses), path)


def is_public(text: str) -> bool:
    """Whether an IP address is one of the open network; also of what it wraps."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _parts(url: str) -> tuple[str, str, int, str]:
    remedy = "Give an address like https://example.org/page."
    if len(url) > _MAX_URL or any(char.isspace() or ord(char) < 33 or char == "\\" for char in url):
        raise UsageError(f"{url[:100]!r} is no address.", remedy=remedy)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host.encode("idna").decode("ascii").lower() if not host.isascii() else host
    except (ValueError, UnicodeError):
        raise UsageError(f"{url[:100]!r} is no address.", remedy=remedy) from None
    if parts.scheme not in _PORTS or not host:
        raise UsageError(f"{url[:100]!r} is no http or https address.", remedy=remedy)
    if parts.username is not None or parts.password is not None:
        raise UsageError("An address with a user name or password in it.", remedy=remedy)
    path = parts.path or "/"
    return parts.scheme, host, port or _PORTS[parts.scheme], path + (f"?{parts.query}" if parts.query else "")
