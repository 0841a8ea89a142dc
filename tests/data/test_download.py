"""Fetching one file: only https, never too large, never half, never another than was meant."""

from __future__ import annotations

import hashlib
import http.client
import io
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from groundzero.data import download as room
from groundzero.data.download import CATALOGUE, download
from groundzero.errors import InputError, StorageError, UsageError

URL = "https://example.org/some/book.txt"
CONTENT = b"It was a dark and stormy night.\n" * 100
HASH = hashlib.sha256(CONTENT).hexdigest()


def answering(content: bytes = CONTENT) -> Any:
    return lambda url: io.BytesIO(content)


def test_a_file_arrives_whole(tmp_path: Path) -> None:
    told: list[int] = []
    got = download(URL, tmp_path / "deep" / "a.txt", sha256=HASH.upper(), fetch=answering(), progress=told.append)
    assert got.path.read_bytes() == CONTENT
    assert (got.bytes, got.sha256) == (len(CONTENT), HASH)
    assert told[-1] == len(CONTENT)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_it_is_named_after_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert download(URL + "?raw=1", fetch=answering()).path == Path("book.txt")
    assert download("https://example.org/..%2fup", fetch=answering()).path == Path("up")
    for address in ("https://example.org/", "https://example.org/..", "https://example.org/.hidden", URL + "%00"):
        with pytest.raises(UsageError, match="--out"):
            download(address, fetch=answering())


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a", "file:///etc/passwd", "ftp://example.org/a", "book.txt", "https://", "javascript:x",
        "https://user:password@example.org/a",
    ],
)  # fmt: skip
def test_only_https(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="https"):
        download(address, tmp_path / "a", fetch=answering())


def test_redirections_stay_on_https() -> None:
    handler = room._OnlyHttps()
    request = urllib.request.Request(URL)
    with pytest.raises(urllib.error.URLError, match="not https"):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), "http://example.org/a")
    onward = handler.redirect_request(
        request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), "https://example.com/a"
    )
    assert onward.full_url == "https://example.com/a"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            urllib.error.HTTPError(URL, 404, "Not Found", http.client.HTTPMessage(), io.BytesIO()),
            "answers 404 Not Found",
        ),
        (urllib.error.URLError("no route to host"), "no route to host"),
        (TimeoutError("timed out"), "timed out"),
        (ssl.SSLError("certificate has expired"), "certificate has expired"),
        (http.client.IncompleteRead(b""), "IncompleteRead"),
    ],
)
def test_a_network_that_fails(error: Exception, message: str, tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 10:
                raise error
            return super().read(10)

    def refusing(url: str) -> Any:
        raise error

    for fetch in (refusing, lambda url: Failing(CONTENT)):
        with pytest.raises(InputError, match=message):
            download(URL, tmp_path / "a.txt", fetch=fetch)
        assert list(tmp_path.iterdir()) == []


def test_too_large_or_another_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="larger than 100 bytes"):
        download(URL, tmp_path / "a.txt", max_bytes=100, fetch=answering())
    with pytest.raises(InputError, match=f"has SHA-256 {HASH}, not {'0' * 64}"):
        download(URL, tmp_path / "a.txt", sha256="0" * 64, fetch=answering())
    with pytest.raises(InputError, match="has SHA-256"):
        download("shakespeare", tmp_path / "a.txt", fetch=answering())
    with pytest.raises(UsageError, match="no SHA-256"):
        download(URL, tmp_path / "a.txt", sha256="abc", fetch=answering())
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match="already exists"):
        download(URL, path, fetch=answering())
    with pytest.raises(InputError):
        download(URL, path, max_bytes=1, overwrite=True, fetch=answering())
    assert path.read_bytes() == b"mine"
    with pytest.raises(StorageError, match="Could not write"):
        download(URL, path / "below", fetch=answering())
    download(URL, path, overwrite=True, fetch=answering())
    assert path.read_bytes() == CONTENT


def test_the_catalogue_knows_the_real_file(data_dir: Path, tmp_path: Path) -> None:
    import gzip

    content = gzip.decompress((data_dir / "text-tinyshakespeare" / "input.txt.gz").read_bytes())
    got = download("shakespeare", tmp_path / "a.txt", fetch=answering(content))
    assert got.sha256 == CATALOGUE["shakespeare"].sha256
