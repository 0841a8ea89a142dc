"""Names for datasets: found again, never a way out of their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groundzero.data import prepare
from groundzero.data.registry import Registry, user_home
from groundzero.errors import FormatError, InputError, StorageError, UsageError


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("some text", encoding="utf-8")
    return path


def test_text_and_tokens_are_told_apart(registry: Registry, book: Path, tmp_path: Path, tokenizer: Any) -> None:
    prepare(book, tmp_path / "set", tokenizer)
    registry.add("tokens", tmp_path / "set")
    registry.add("book", book)
    assert [(entry.name, entry.kind) for entry in registry.entries()] == [("book", "text"), ("tokens", "tokens")]
    assert registry.resolve("book") == book.resolve()
    assert registry.resolve(str(book)) == book
    for reference, kind in (("book", "text"), (book, "text"), ("tokens", "tokens"), (tmp_path / "set", "tokens")):
        assert registry.locate(str(reference)).kind == kind


def test_removing_a_name_leaves_the_data(registry: Registry, book: Path) -> None:
    registry.add("book", book)
    registry.use("book")
    assert registry.default().name == "book"
    registry.remove("book")
    assert registry.entries() == []
    assert registry.default() is None
    assert book.exists()


def test_a_taken_name_is_kept(registry: Registry, book: Path, tmp_path: Path) -> None:
    registry.add("book", book)
    with pytest.raises(UsageError, match="'book' exists"):
        registry.add("book", tmp_path)
    assert registry.find("book").path == book.resolve()
    registry.add("book", tmp_path, overwrite=True)
    assert registry.find("book").path == tmp_path.resolve()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "a\\b", "/etc/passwd", "-x", ".hidden",
     "CAPS", "con", "nul.txt", "a" * 65, "a\n", "é", "a\0"],
)  # fmt: skip
def test_names_that_could_lead_elsewhere_are_refused(name: str, registry: Registry, book: Path) -> None:
    for action in (lambda: registry.add(name, book), lambda: registry.find(name), lambda: registry.remove(name)):
        with pytest.raises(UsageError, match="cannot name a dataset"):
            action()


def test_what_is_not_there(registry: Registry, book: Path, tmp_path: Path) -> None:
    for action in (registry.find, registry.remove, registry.use, registry.resolve):
        with pytest.raises(InputError, match="no dataset named 'nothing' \\(names: none yet\\)"):
            action("nothing")
    with pytest.raises(InputError, match="No dataset at some/where"):
        registry.resolve("some/where")
    with pytest.raises(InputError, match="No file or folder at"):
        registry.add("book", tmp_path / "nowhere")
    registry.add("book", book)
    book.unlink()
    with pytest.raises(InputError, match=r"'book' was at .* where nothing is any more"):
        registry.resolve("book")


def test_a_damaged_entry_is_named_and_can_be_removed(registry: Registry, book: Path, tmp_path: Path) -> None:
    registry.add("book", book)
    file = tmp_path / "home" / "datasets" / "book.json"
    file.write_text(file.read_text(encoding="utf-8").replace("text", "test"), encoding="utf-8")
    for action in (lambda: registry.find("book"), registry.entries):
        with pytest.raises(FormatError, match=r"book\.json"):
            action()
    registry.remove("book")
    assert registry.entries() == []


def test_a_damaged_dataset_is_not_named(registry: Registry, book: Path, tmp_path: Path, tokenizer: Any) -> None:
    prepare(book, tmp_path / "set", tokenizer)
    (tmp_path / "set" / "train-00000.npy").unlink()
    with pytest.raises(FormatError, match="missing"):
        registry.add("tokens", tmp_path / "set")


def test_a_home_that_cannot_be_written(book: Path) -> None:
    with pytest.raises(StorageError, match="name the dataset 'book'"):
        Registry(book).add("book", book)


def test_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDZERO_HOME", str(tmp_path))
    assert user_home() == tmp_path
    monkeypatch.delenv("GROUNDZERO_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    for platform in ("linux", "win32"):
        monkeypatch.setattr("sys.platform", platform)
        assert user_home() == tmp_path / "groundzero"
    monkeypatch.setattr("sys.platform", "darwin")
    assert user_home().parts[-2:] == ("Application Support", "groundzero")
