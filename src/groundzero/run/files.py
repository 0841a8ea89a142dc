"""Files that survive a crash and tell when they were damaged: atomic writes, durable flushes, sealed JSON.

A sealed JSON file carries the SHA-256 of its own content, and reads only if its bytes are exactly those that were
written: any flipped byte, even in white space, and any truncation is found.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from groundzero.errors import FormatError, InputError, StorageError

# A file system that cannot flush a directory (some network mounts) says one of these; the rename stays atomic.
_NO_DIRECTORY_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS}


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: a crash leaves the old file or the new one, never a mixture.

    Raises:
        OSError: the disk refused; the old file is untouched.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        write_durably(temporary, content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell; `sweep` removes what stays
            temporary.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_file(path: Path) -> None:
    """Flush a file that someone else wrote."""
    with path.open("r+b") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Make renames inside `path` durable, where the platform has such a thing."""
    if os.name == "nt":  # directories cannot be opened there, and NTFS journals renames
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FLUSH:
            raise
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON with its own hash, atomically. Non-finite numbers, which JSON lacks, become null."""
    write_atomic(path, seal(content))


def seal(content: Mapping[str, Any]) -> bytes:
    """`content` as sealed JSON."""
    plain = {key: _finite(value) for key, value in content.items() if key != "sha256"}
    return _dump({**plain, "sha256": hashlib.sha256(_dump(plain)).hexdigest()})


def read_sealed(path: Path, *, reads: int, what: str) -> dict[str, Any]:
    """The content of a sealed JSON file, without its hash.

    Args:
        reads: the schema version that this release reads.
        what: what the file is, for messages: "run manifest".

    Raises:
        InputError: missing or unreadable.
        FormatError: truncated, altered, or of another schema version.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"No {what} at {path}.", remedy="Check the path.") from None
    except OSError as error:
        raise InputError(f"Cannot read the {what} {path}: {error.strerror}.", remedy="Check its permissions.") from None
    damaged = FormatError(
        f"The {what} {path} is damaged: it was truncated or altered after it was written.",
        remedy="Restore it from a copy.",
    )
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(content, dict):
        raise damaged
    _check_schema(content.get("schema"), path, reads=reads, what=what)
    try:
        intact = raw == seal(content)
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise damaged
    del content["sha256"]
    return content


def _check_schema(schema: Any, path: Path, *, reads: int, what: str) -> None:
    if schema == reads:
        return
    if isinstance(schema, int) and schema > reads:
        raise FormatError(
            f"The {what} {path} was written by a newer groundzero (schema {schema}); this release reads {reads}.",
            remedy="Upgrade groundzero.",
        )
    raise FormatError(
        f"The {what} {path} has schema {schema!r}; this release reads {reads}.",
        remedy="It is damaged, or no file of groundzero.",
    )


@contextlib.contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Turn the disk's refusals inside the block into a `StorageError` that says what is safe."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, error.strerror or str(error)) from error
    except Exception as error:
        # safetensors reports what the system said only in its text: "I/O error: No space left on device (os error 28)".
        if "os error" not in str(error):
            raise
        raise storage_error(action, str(error)) from error


def storage_error(action: str, reason: str) -> StorageError:
    """The disk refused; everything saved before is still there."""
    return StorageError(
        f"Could not {action}: {reason}.",
        remedy="Nothing saved before is lost; free space or fix permissions, then resume.",
    )


def _dump(content: Mapping[str, Any]) -> bytes:
    # ASCII, because a path in a command line may hold bytes that are no UTF-8 (lone surrogates).
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, Path) else value
