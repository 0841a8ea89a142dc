"""One page over http(s): guarded, bounded in size and time, unpacked with a bound too.

Proxies of the environment are not used: what a proxy connects to cannot be judged.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import groundzero
from groundzero.errors import InputError
from groundzero.ingest.guard import Resolve, Target, check_url, resolve

USER_AGENT = f"groundzero/{groundzero.__version__} (learning facts; respects robots.txt)"
MAX_BYTES = 8 * 2**20
"""Bytes of a page, packed and unpacked alike."""
SECONDS = 30.0
"""Everything together: connecting, redirections, body."""
_REDIRECTS = 5
_BLOCK = 2**16
_KINDS = ("text/", "application/xhtml+xml", "application/json", "application/x-wiki")
_MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came."""

    url: str
    """After redirections."""
    status: int
    kind: str
    """The content type, without parameters."""
    text: str
    retry_after: float
    """Seconds that the server asks to wait; 0 where it does not."""
    revision: str
    """The page's own mark: its ETag or date."""


class Fetcher:
    """Fetches pages.

    Args:
        allow_hosts: `host` or `host:port` that may be reached though they are not public.
        resolve: names to addresses; for tests.
    """

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str] = (),
        max_bytes: int = MAX_BYTES,
        seconds: float = SECONDS,
        resolve: Resolve = resolve,
    ) -> None:
        self.allow_hosts, self.max_bytes, self.seconds, self._resolve = tuple(allow_hosts), max_bytes, seconds, resolve

    def get(self, url: str) -> Answer:
        """The page at `url`, whatever its status.

        Raises:
            UsageError: no address that may be fetched.
            InputError: it cannot be reached, leads to where it may not, is too large, too slow, or no text.
        """
        deadline = time.monotonic() + self.seconds
        for _ in range(_REDIRECTS + 1):
            target = check_url(url, allow_hosts=self.allow_hosts, resolve=self._resolve)
            answer, location = self._once(url, target, deadline)
            if not location:
                return answer
            onward = urljoin(url, quote(location, safe="/:?#[]@!$&'()*+,;=%~-._"))
            if target.scheme == "https" and not onward.lower().startswith("https:"):
                raise InputError(
                    f"{url} leads to {onward[:200]}, which is not https.", remedy="Name that address itself."
                )
            url = onward
        raise InputError(f"{url[:200]} leads on and on.", remedy="Check the address in a browser.")

    def _once(self, url: str, target: Target, deadline: float) -> tuple[Answer, str]:
        """One request; the second is where it leads to, if it does."""
        connection = _Connection(target, max(deadline - time.monotonic(), 0.1))
        watchdog = threading.Timer(max(deadline - time.monotonic(), 0.1), connection.abort)
        watchdog.daemon = True
        watchdog.start()
        try:
            headers = {
                "User-Agent": USER_AGENT,
                "Accept-Encoding": "gzip",
                "Accept": "text/html, text/plain, text/x-wiki",
            }
            path = quote(target.path, safe="/:?#[]@!$&'()*+,;=%~-._")
            connection.request("GET", path, headers={"Host": target.netloc, "Connection": "close", **headers})
            response = connection.getresponse()
            location = response.getheader("Location", "") if response.status in _MOVED else ""
            if location:
                return Answer(url, response.status, "", "", 0.0, ""), location
            return self._answer(url, response, deadline), ""
        except (OSError, http.client.HTTPException, zlib.error, ValueError) as error:
            if isinstance(error, InputError):
                raise
            late = time.monotonic() >= deadline
            reason = f"no whole answer within {self.seconds:g} s" if late else str(error) or type(error).__name__
            raise InputError(f"Cannot fetch {url}: {reason}.", remedy="Check the address and the connection.") from None
        finally:
            watchdog.cancel()
            connection.close()

    def _answer(self, url: str, response: http.client.HTTPResponse, deadline: float) -> Answer:
        kind = response.getheader("Content-Type", "text/html").partition(";")[0].strip().lower()
        if response.status == 200 and not kind.startswith(_KINDS):
            raise InputError(f"{url} is {kind[:60]}, not text.", remedy="Name pages of text or wikitext.")
        packed = response.getheader("Content-Encoding", "").strip().lower()
        if packed not in ("", "identity", "gzip", "x-gzip"):
            raise InputError(f"{url} comes packed as {packed[:30]}.", remedy="Such pages are not read.")
        data = self._body(url, response, deadline, unpack=packed.endswith("gzip"))
        charset = response.headers.get_content_charset("utf-8")
        return Answer(
            url, response.status, kind, _decode(data, charset), _seconds(response.getheader("Retry-After", "")),
            (response.getheader("ETag") or response.getheader("Last-Modified") or "")[:100],
        )  # fmt: skip

    def _body(self, url: str, response: http.client.HTTPResponse, deadline: float, *, unpack: bool) -> bytes:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if unpack else None
        parts, size, read = [], 0, 0
        while block := response.read1(_BLOCK):
            read += len(block)
            if unpacker is not None:
                block = unpacker.decompress(block, self.max_bytes + 1 - size)
                if unpacker.unconsumed_tail:
                    size = self.max_bytes + 1
            size += len(block)
            if size > self.max_bytes or read > self.max_bytes:
                raise InputError(f"{url} is larger than {self.max_bytes:,} bytes.", remedy="Such pages are not read.")
            if time.monotonic() > deadline:
                raise InputError(f"{url} takes longer than {self.seconds:g} s.", remedy="Try again later.")
            parts.append(block)
        return b"".join(parts)


class _Connection(http.client.HTTPConnection):
    """To the address that was judged, under the name that was asked for."""

    def __init__(self, target: Target, timeout: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout)
        self._target = target
        self.max_headers = 64

    def connect(self) -> None:
        self.sock: socket.socket = self._reach()
        if self._target.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self._target.host)

    def _reach(self) -> socket.socket:
        """The first of the judged addresses that answers."""
        refusal: OSError | None = None
        for address in self._target.addresses:
            try:
                return socket.create_connection((address, self._target.port), self.timeout)
            except OSError as error:
                refusal = error
        assert refusal is not None
        raise refusal

    def abort(self) -> None:
        """End it from another thread, wherever it waits."""
        sock = self.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                return


def _decode(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, errors="replace")
    except LookupError:
        return data.decode("utf-8", errors="replace")


def _seconds(header: str) -> float:
    return min(float(header), 3600.0) if header.strip().isdigit() and len(header) < 8 else 0.0


Fetch = Callable[[str], Answer]
