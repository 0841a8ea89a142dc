"""A file, a folder or standard input as a corpus: files in a fixed order, documents inside them, in bounded memory."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from groundzero.data.config import DataConfig
from groundzero.data.manifest import canonical_digest
from groundzero.data.readers import Piece, Report, read_pieces
from groundzero.errors import InputError, StorageError
from groundzero.run import sha256_of

SUFFIXES = (".txt", ".md", ".jsonl", ".ndjson")
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class SourceFile:
    """One file of a corpus."""

    path: Path
    name: str
    """Relative to the folder given, with forward slashes; the file's own name; or - for standard input."""
    bytes: int
    """Size on disk."""


@dataclass(frozen=True)
class Corpus:
    """Files in the order in which they are read."""

    root: str
    """What the user gave."""
    files: tuple[SourceFile, ...]
    config: DataConfig
    skipped: list[str] = field(default_factory=list)
    """What a folder holds that cannot be read as text files, and why: links to folders, devices, unreadable places."""

    @property
    def bytes(self) -> int:
        """Of all files on disk."""
        return sum(file.bytes for file in self.files)

    def pieces(self, file: SourceFile, report: Report = lambda message: None) -> Iterator[Piece]:
        """The documents of one file; see `readers.read_pieces`."""
        return read_pieces(file.path, self.called(file), self.config, report)

    def called(self, file: SourceFile) -> str:
        """How messages name a file: the path as the user can open it."""
        return "standard input" if file.name == STANDARD_INPUT else str(file.path)

    def __iter__(self) -> Iterator[str]:
        """All text in order, long documents in pieces, as often as asked: what a tokenizer is trained on.

        Raises:
            InputError: a file is bad and `skip_bad` is off; with it, the file gives what precedes the fault.
        """
        for file in self.files:
            try:
                for piece in self.pieces(file):
                    if piece.text:
                        yield piece.text
            except InputError:
                if not self.config.skip_bad:
                    raise

    def fingerprint(self) -> str:
        """SHA-256 of all names and contents."""
        return canonical_digest([[file.name, sha256_of(file.path)] for file in self.files])


@contextmanager
def open_corpus(source: Path | str, config: DataConfig) -> Iterator[Corpus]:
    """Find the files of `source`: a file, a folder (recursively, sorted by name), or `-`.

    Standard input is read once into a temporary file, because preparation reads twice.

    Raises:
        InputError: it is missing or unreadable, or a folder without any text file.
    """
    if str(source) == STANDARD_INPUT:
        with _spooled() as path:
            yield Corpus("-", (SourceFile(path, STANDARD_INPUT, path.stat().st_size),), config)
        return
    root = Path(source)
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"No file or folder at {root}.", remedy="Check the path.") from None
    except OSError as error:
        raise InputError(f"Cannot read {root}: {error.strerror}.", remedy="Check its permissions.") from None
    if stat.S_ISDIR(mode):
        yield _folder(root, config)
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{root} is neither a file nor a folder.", remedy="Give text; pipe it in with - instead.")
    yield Corpus(str(root), (SourceFile(root, root.name, root.stat().st_size),), config)


def read_texts(source: Path | str, config: DataConfig | None = None) -> Iterator[str]:
    """All text of a source, in order, long documents in pieces; see `open_corpus` for what is raised."""
    with open_corpus(source, config or DataConfig()) as corpus:
        yield from corpus


def _folder(root: Path, config: DataConfig) -> Corpus:
    skipped: list[str] = []
    files = sorted(_walk(root, config, skipped), key=lambda file: file.name)
    if not files:
        also = f"; skipped: {skipped[0]}" if skipped else ""
        raise InputError(
            f"{root} holds no .txt, .md, .jsonl or .gz file{also}.", remedy="Give a folder of text, or one file."
        )
    return Corpus(str(root), tuple(files), config, skipped)


def _walk(root: Path, config: DataConfig, skipped: list[str]) -> Iterator[SourceFile]:
    """Text files below `root`. Hidden ones are left out; links to folders are not followed, so loops cannot happen."""

    def refuse(error: OSError) -> None:
        message = f"Cannot read {error.filename}: {error.strerror}."
        if not config.skip_bad:
            raise InputError(message, remedy="Check its permissions, or leave it out with --skip-bad.")
        skipped.append(message)

    others: list[str] = []
    for place, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        skipped.extend(
            f"{Path(place, name)} is a link to a folder." for name in folders if Path(place, name).is_symlink()
        )
        for name in names:
            path = Path(place, name)
            if name.startswith("."):
                continue
            if not _is_text(name):
                others.append(path.relative_to(root).as_posix())
            elif path.is_file():
                yield SourceFile(path, path.relative_to(root).as_posix(), path.stat().st_size)
            else:
                skipped.append(f"{path} is {'a broken link' if path.is_symlink() else 'not a regular file'}.")
    if others:
        skipped.append(f"{len(others)} files are not .txt, .md, .jsonl or .gz, such as {min(others)}.")


def _is_text(name: str) -> bool:
    """By its name: notes.txt, notes.txt.gz, and notes.gz too, but neither archive.tar.gz nor table.csv."""
    inner = name.lower().removesuffix(".gz")
    return inner.endswith(SUFFIXES) or (inner != name.lower() and "." not in inner)


@contextmanager
def _spooled() -> Iterator[Path]:
    """Standard input in a temporary file."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("Nothing is piped in.", remedy="Write, for example, `cat book.txt | gz data prepare - ...`.")
    handle, name = tempfile.mkstemp(prefix="groundzero-", suffix=".stdin")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 2**20)
        yield path
    except OSError as error:
        raise StorageError(
            f"Cannot keep standard input in {path.parent}: {error.strerror or error}.",
            remedy="Free some space there, or set TMPDIR to a folder with room.",
        ) from error
    finally:
        path.unlink(missing_ok=True)
