"""One file over https: with a bound on its size, its hash checked, and nothing left behind when it fails.

The catalogue is short on purpose: what is in it has been read, and is checked against a hash that ships with us.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import groundzero
from groundzero.errors import InputError, StorageError, UsageError
from groundzero.run.files import flush_file, storage_errors

MAX_BYTES = 2**32
_BLOCK_BYTES = 2**18
_TIMEOUT_S = 30.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Item:
    """Something of the catalogue."""

    url: str
    sha256: str
    file_name: str
    about: str


CATALOGUE = {
    "shakespeare": Item(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "shakespeare.txt",
        "40,000 lines of Shakespeare, 1.1 MB, public domain",
    )
}


@dataclass(frozen=True)
class Downloaded:
    """What came."""

    path: Path
    bytes: int
    sha256: str


class Response(Protocol):
    """What is needed of an answer."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


Fetch = Callable[[str], Response]


def download(
    what: str,
    out: Path | None = None,
    *,
    sha256: str = "",
    max_bytes: int = MAX_BYTES,
    overwrite: bool = False,
    fetch: Fetch | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Downloaded:
    """Fetch a URL, or something of the catalogue by its name, into a file.

    Args:
        out: the file; by default named as in the catalogue or at the end of the URL, in the working directory.
        sha256: what the file must hash to.
        fetch: opens a URL; for tests.
        progress: told the bytes so far.

    Raises:
        UsageError: no https URL and no name of the catalogue, or a hash that is none.
        InputError: it cannot be fetched, is larger than `max_bytes`, or has another hash.
        StorageError: `out` exists and `overwrite` is false, or the disk refuses.
    """
    item = CATALOGUE.get(what)
    url, expected = (item.url, item.sha256) if item else (what, sha256.lower())
    _check(url, expected)
    path = out or Path(item.file_name if item else _name_of(url))
    if path.exists() and not overwrite:
        raise StorageError(f"{path} already exists.", remedy="Choose another --out, or replace it with --overwrite.")
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex[:12]}")
    with storage_errors(f"write {path}"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                got = _copy(_blocks(url, fetch or _open), file, max_bytes, url, progress)
            if expected and got.sha256 != expected:
                raise InputError(
                    f"{url} has SHA-256 {got.sha256}, not {expected}.",
                    remedy="It was altered or replaced; do not use it unless you know why.",
                )
            flush_file(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return Downloaded(path, got.bytes, got.sha256)


def _check(url: str, sha256: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        raise UsageError(
            f"{url!r} is no https address and no name of the catalogue ({', '.join(CATALOGUE)}).",
            remedy="Give an address that starts with https:// and holds no password.",
        )
    if sha256 and not _SHA256.fullmatch(sha256):
        raise UsageError(f"{sha256!r} is no SHA-256.", remedy="Give 64 hexadecimal digits.")


def _name_of(url: str) -> str:
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    if not _FILE_NAME.fullmatch(name):
        raise UsageError(f"{url} ends in no file name that can be used.", remedy="Name the file with --out.")
    return name


def _copy(
    blocks: Iterator[bytes], file: IO[bytes], max_bytes: int, url: str, progress: Callable[[int], None]
) -> Downloaded:
    hash_, size = hashlib.sha256(), 0
    for block in blocks:
        size += len(block)
        if size > max_bytes:
            raise InputError(f"{url} is larger than {max_bytes} bytes.", remedy="Raise --max-bytes if that is meant.")
        hash_.update(block)
        file.write(block)
        progress(size)
    return Downloaded(Path(file.name), size, hash_.hexdigest())


def _blocks(url: str, fetch: Fetch) -> Iterator[bytes]:
    """The content, with every way in which a network fails as one error."""
    remedy = "Check the address and the connection, and try again."
    try:
        response = fetch(url)
        try:
            while block := response.read(_BLOCK_BYTES):
                yield block
        finally:
            response.close()
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} answers {error.code} {error.reason}.", remedy=remedy) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"Cannot fetch {url}: {reason}.", remedy=remedy) from None


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never to anything else than https."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str) -> Response:
    request = urllib.request.Request(url, headers={"User-Agent": f"groundzero/{groundzero.__version__}"})  # noqa: S310 - https, see _check
    response: Response = urllib.request.build_opener(_OnlyHttps).open(request, timeout=_TIMEOUT_S)
    return response
