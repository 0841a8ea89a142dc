"""Asking a SPARQL endpoint: one host, bounded in time and size, and terms that cannot break out of a query.

Redirects are not followed, compressed answers not accepted, and an answer is read no further than its limit.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from groundzero.errors import FormatError, InputError, StorageError

MAX_BYTES = 64 * 2**20
"""Of one answer."""
_IRI = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>"{}|^`\\\ud800-\udfff]*""")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}

Binding = dict[str, dict[str, str]]
"""A row of an answer: for each variable its `type`, `value`, and perhaps `datatype` or `xml:lang`."""


class SPARQLClient:
    """Queries to one endpoint.

    Args:
        address: http or https; a user and password in it are sent as Basic authorisation, and not shown.
        timeout: seconds for a whole answer.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        try:
            parts = urlsplit(address)
            self._port = parts.port
        except ValueError as error:
            raise InputError(f"Cannot read the address: {error}.", remedy="Give https://host/sparql.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("A SPARQL endpoint needs an http address.", remedy="Give https://host/sparql.")
        self._scheme, self._host, self._timeout = parts.scheme, parts.hostname, timeout
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {
            "Accept": "application/sparql-results+json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "groundzero",
        }
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + b64encode(secret.encode("utf-8")).decode("ascii")
        where = self._host if self._port is None else f"{self._host}:{self._port}"
        self.location = f"sparql+{parts.scheme}://{where}{parts.path}"

    def select(self, query: str) -> list[Binding]:
        """The rows of a SELECT.

        Raises:
            StorageError: no answer, a refusal, one too slow or too large, or a redirect.
            FormatError: an answer that is no SPARQL result.
        """
        answer = self._ask(query)
        try:
            found = json.loads(answer)["results"]["bindings"]
            assert isinstance(found, list)
            for row in found:
                for term in row.values():
                    if not isinstance(term["type"], str) or not isinstance(term["value"], str):
                        raise TypeError("a term that is no text")
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
            kind = type(error).__name__
            raise FormatError(f"{self.location} gave no SPARQL result ({kind}).", remedy="Check the address.") from None
        return found

    def _ask(self, query: str) -> bytes:
        deadline = time.monotonic() + self._timeout
        connection = self._connect()
        try:
            connection.request("POST", self._path, urlencode({"query": query}).encode("ascii"), self._headers)
            with connection.getresponse() as response:
                self._check(response)
                return self._read(response, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise StorageError(
                f"No answer from {self.location}: {error}.", remedy="Check network and address."
            ) from error
        finally:
            connection.close()

    def _check(self, response: http.client.HTTPResponse) -> None:
        if 300 <= response.status < 400:
            raise StorageError(f"{self.location} wants to redirect elsewhere.", remedy="Give the final address.")
        if response.status != 200:
            raise StorageError(
                f"{self.location} refused: {response.status} {response.reason}.", remedy="Try later, or check it."
            )
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise StorageError(f"{self.location} sent a compressed answer.", remedy="Turn compression off there.")

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        parts, size = [], 0
        while part := response.read1(65536):
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                raise StorageError(f"{self.location} answered more than {MAX_BYTES >> 20} MB.", remedy="Ask for less.")
            if time.monotonic() > deadline:
                raise StorageError(f"{self.location} took over {self._timeout:g} s.", remedy="Ask for less, or later.")
        return b"".join(parts)

    def _connect(self) -> http.client.HTTPConnection:
        if self._scheme == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)


def is_iri(text: str) -> bool:
    """Whether `text` can stand in a query as an IRI."""
    return _IRI.fullmatch(text) is not None


def iri(text: str) -> str:
    """An IRI as a term of a query.

    Raises:
        InputError: it is none.
    """
    if not is_iri(text):
        raise InputError(f"{text[:60]!r} is no IRI.", remedy="Entities of an endpoint are IRIs.")
    return f"<{text}>"


def literal(text: str, language: str = "") -> str:
    """A text as a term of a query; nothing in it can end it."""
    escaped = "".join(_ESCAPES.get(char) or (f"\\u{ord(char):04X}" if ord(char) < 32 else char) for char in text)
    return f'"{escaped}"' + (f"@{language}" if re.fullmatch(r"[A-Za-z]+(-[A-Za-z0-9]+)*", language) else "")


def value(row: Binding, variable: str) -> Any:
    """The text of a variable, or None where it is unbound."""
    term = row.get(variable)
    return None if term is None else term["value"]
