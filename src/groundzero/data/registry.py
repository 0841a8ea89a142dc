"""Named datasets: a name for a text source or a prepared folder, kept per user.

An entry is a small sealed file that points elsewhere, so removing a name never deletes data. They live in `datasets/`
below `GROUNDZERO_HOME`, or below the platform's folder for a user's data.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from groundzero.data.dataset import TokenDataset
from groundzero.data.manifest import MANIFEST
from groundzero.errors import FormatError, InputError, UsageError
from groundzero.run import read_sealed, write_sealed
from groundzero.run.files import storage_errors

# Lower case, because some file systems do not tell cases apart; no separator, so no way out of the folder.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_DEFAULT = "default.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """A name and what it stands for."""

    name: str
    path: Path
    kind: Literal["text", "tokens"]
    """text: a file or folder to prepare; tokens: a prepared dataset."""


def user_home() -> Path:
    """Where this user's things live: `GROUNDZERO_HOME`, or the platform's place."""
    if given := os.environ.get("GROUNDZERO_HOME"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "groundzero"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "groundzero"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "groundzero"


class Registry:
    """The names of one user; `home` is `user_home()` unless given."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home or user_home()
        self._folder = self._home / "datasets"

    def add(self, name: str, path: Path | str, *, overwrite: bool = False) -> Entry:
        """Give `path` a name; what it is, text or a prepared dataset, is seen from the path.

        Raises:
            UsageError: the name is not allowed, or taken and `overwrite` is false.
            InputError: there is nothing at `path`.
            FormatError: it is a damaged dataset.
            StorageError: the disk refuses.
        """
        file = self._file(name)
        target = Path(path)
        if not target.exists():
            raise InputError(f"No file or folder at {target}.", remedy="Check the path.")
        if file.exists() and not overwrite:
            raise UsageError(
                f"A dataset named {name!r} exists.", remedy=f"Remove it with `gz data remove {name}`, or --overwrite."
            )
        entry = Entry(name, target.resolve(), _kind(target))
        if entry.kind == "tokens":
            TokenDataset.open(entry.path)
        with storage_errors(f"name the dataset {name!r} in {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_sealed(file, {"schema": _SCHEMA, "name": name, "path": str(entry.path), "kind": entry.kind})
        return entry

    def entries(self) -> list[Entry]:
        """All names in alphabetical order.

        Raises:
            FormatError: an entry is damaged.
        """
        if not self._folder.is_dir():
            return []
        return [self.find(file.stem) for file in sorted(self._folder.glob("*.json")) if _NAME.fullmatch(file.stem)]

    def find(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            UsageError: no such name can exist.
            InputError: none does.
            FormatError: the entry is damaged.
        """
        file = self._file(name)
        if not file.exists():
            known = ", ".join(sorted(other.stem for other in self._folder.glob("*.json"))) or "none yet"
            raise InputError(
                f"There is no dataset named {name!r} (names: {known}).", remedy="Add one: `gz data add NAME PATH`."
            )
        content = read_sealed(file, reads=_SCHEMA, what="dataset entry")
        kind, path = content.get("kind"), content.get("path")
        if kind not in ("text", "tokens") or not isinstance(path, str) or content.get("name") != name:
            raise FormatError(
                f"The dataset entry {file} makes no sense.", remedy=f"`gz data remove {name}` and add it."
            )
        return Entry(name, Path(path), kind)

    def remove(self, name: str) -> None:
        """Forget a name; the data stay where they are. A damaged entry can be removed too.

        Raises:
            InputError: there is no such name.
            StorageError: the disk refuses.
        """
        file = self._file(name)
        if not file.exists():
            self.find(name)
        with storage_errors(f"remove {file}"):
            file.unlink()
            if self._default_name() == name:
                (self._home / _DEFAULT).unlink()

    def use(self, name: str) -> Entry:
        """Make `name` what is trained on when nothing is said.

        Raises:
            InputError: there is no such name.
            StorageError: the disk refuses.
        """
        entry = self.find(name)
        with storage_errors(f"choose the dataset {name!r}"):
            write_sealed(self._home / _DEFAULT, {"schema": _SCHEMA, "dataset": name})
        return entry

    def default(self) -> Entry | None:
        """The entry chosen with `use`; None when none is."""
        name = self._default_name()
        return self.find(name) if name else None

    def locate(self, reference: str) -> Entry:
        """What a path or a name stands for, and whether that is text or a prepared dataset.

        Raises:
            InputError: it is neither, or the name's data are gone.
        """
        if Path(reference).exists():
            return Entry("", Path(reference), _kind(Path(reference)))
        if not _NAME.fullmatch(reference):
            raise InputError(f"No dataset at {reference}.", remedy="Give a folder, or a name from `gz data list`.")
        entry = self.find(reference)
        if not entry.path.exists():
            raise InputError(
                f"The dataset {reference!r} was at {entry.path}, where nothing is any more.",
                remedy=f"Put it back, or `gz data remove {reference}` and add it again.",
            )
        return entry

    def resolve(self, reference: str) -> Path:
        """The path of `locate`."""
        return self.locate(reference).path

    def _default_name(self) -> str | None:
        file = self._home / _DEFAULT
        if not file.exists():
            return None
        return str(read_sealed(file, reads=_SCHEMA, what="choice of dataset").get("dataset"))

    def _file(self, name: str) -> Path:
        check_name(name)
        return self._folder / f"{name}.json"


def _kind(path: Path) -> Literal["text", "tokens"]:
    return "tokens" if (path / MANIFEST).is_file() else "text"


def check_name(name: str) -> None:
    """Refuse what could lead out of the folder, or cannot be a file name everywhere.

    Raises:
        UsageError: the name is not allowed.
    """
    if not _NAME.fullmatch(name) or name.split(".", maxsplit=1)[0] in _DEVICES:
        raise UsageError(
            f"{name!r} cannot name a dataset.",
            remedy="Use up to 64 lower-case letters, digits, dots, dashes, underscores; a letter or digit first.",
        )
