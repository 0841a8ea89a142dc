"""Every way in which text or disk can fail: one error that names the thing and the remedy, and nothing left behind."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import groundzero.data.preparation
import groundzero.data.publish
import groundzero.data.shards
from groundzero.data import DataConfig, TokenDataset, prepare, read_texts
from groundzero.errors import ConfigError, GroundzeroError, InputError, StorageError

GZIPPED = gzip.compress(b"some text to be cut short " * 50)

BAD_FILES = {
    "empty.txt": (b"", "has no text"),
    "blank.txt": (b" \n\t\n", "has no text"),
    "binary.txt": (b"some\0thing", r"binary.txt looks binary: it has a NUL near byte 4"),
    "latin.txt": ("café".encode("latin-1"), r"latin.txt is not utf-8 text: byte 0xe9 at offset 3.*--encoding"),
    "utf16.txt": ("text".encode("utf-16"), r"utf16.txt is not utf-8 text: byte 0xff at offset 0"),
    "half.txt": (b"caf\xc3", r"half.txt is not utf-8 text: byte 0xc3 at offset 3"),
    "cut.txt.gz": (GZIPPED[:-20], r"cut.txt.gz is a damaged .gz file"),
    "flipped.txt.gz": (GZIPPED[:-6] + b"\0" + GZIPPED[-5:], r"flipped.txt.gz is a damaged .gz file"),
    "no.gz": (b"plain text", r"no.gz is a damaged .gz file"),
    "zero.gz": (b"", "has no text"),
    "broken.jsonl": (b'{"text": "fine"}\n\n{"text": "broken\n', r"broken.jsonl line 3 is not JSON.*--skip-bad"),
    "deep.jsonl": (b"[" * 100_000, r"deep.jsonl line 1 is not JSON"),
    "list.jsonl": (b"[1, 2]\n", r"list.jsonl line 1 is list, not an object"),
    "keys.jsonl": (b'{"body": "x", "id": 1}\n', r"keys.jsonl line 1 has no text .* keys are body, id.*--text-field"),
    "number.jsonl": (b'{"text": 5}\n', r"number.jsonl line 1 has no text in 'text'"),
    "latin.jsonl": (b'{"text": "caf\xe9"}\n', r"latin.jsonl line 1 is not utf-8 text"),
    "surrogate.jsonl": (b'{"text": "a\\ud800"}\n', r"surrogate.jsonl line 1 holds half of a surrogate pair"),
    "one.txt": (b"x", "1 character"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_and_nothing_is_left(name: str, tmp_path: Path, tokenizer: Any) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / name, tmp_path / "out", tokenizer)
    assert caught.value.remedy
    assert str(tmp_path) in caught.value.message or name == "one.txt"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_bad_files_and_lines_can_be_left_out_with_a_report(tmp_path: Path, tokenizer: Any) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, (content, _) in BAD_FILES.items():
        (folder / name).write_bytes(content)
    (folder / "good.txt").write_text("good", encoding="utf-8")
    (folder / "good.jsonl").write_text('{"text": "also good"}\nrubbish\n{"text": "fine too"}\n', encoding="utf-8")
    dataset = prepare(folder, tmp_path / "out", tokenizer, DataConfig(skip_bad=True))
    assert sum(split.documents for split in dataset.manifest.splits.values()) == 5  # and "fine" of broken.jsonl, "x"
    skipped = "\n".join(dataset.manifest.skipped)
    assert all(name in skipped for name in BAD_FILES if name != "one.txt")
    assert "good.jsonl line 2 is not JSON" in skipped
    assert list(read_texts(folder, DataConfig(skip_bad=True))).count("good") == 1


def test_a_bad_file_in_a_folder_stops_everything_unless_told_otherwise(tmp_path: Path, tokenizer: Any) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "good.txt").write_text("good", encoding="utf-8")
    (folder / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"bad\.txt is not utf-8"):
        prepare(folder, tmp_path / "out", tokenizer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No file or folder at .*thing"),
        (lambda path: path.mkdir(), r"thing holds no .txt, .md, .jsonl or .gz file"),
        (lambda path: path.symlink_to(path), "Cannot read .*thing"),
        pytest.param(
            getattr(os, "mkfifo", None),
            "thing is neither a file nor a folder",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no such files"),
        ),
    ],
)
def test_a_source_that_is_none(make: Callable[[Path], None], message: str, tmp_path: Path, tokenizer: Any) -> None:
    make(tmp_path / "thing")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "thing", tmp_path / "out", tokenizer)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_special_files_in_a_folder_are_skipped_and_reported(tmp_path: Path, tokenizer: Any) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    os.mkfifo(folder / "pipe.txt")
    (folder / "a.txt").write_text("some text", encoding="utf-8")
    dataset = prepare(folder, tmp_path / "out", tokenizer)
    assert "pipe.txt is not a regular file" in dataset.manifest.skipped[0]


def test_an_unreadable_file(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is simulated, because root may read everything."""
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    refuse(monkeypatch, Path, "open", errno.EACCES, only=lambda path, *rest: path.name == "a.txt")
    with pytest.raises(InputError, match=r"Cannot read .*a\.txt: Permission denied.*permissions"):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer)


def test_an_unreadable_folder_inside(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "corpus"
    (folder / "locked").mkdir(parents=True)
    (folder / "a.txt").write_text("some text", encoding="utf-8")
    refuse(monkeypatch, os, "scandir", errno.EACCES, only=lambda path: str(path).endswith("locked"))
    with pytest.raises(InputError, match=r"Cannot read .*locked: Permission denied"):
        prepare(folder, tmp_path / "out", tokenizer)
    dataset = prepare(folder, tmp_path / "out", tokenizer, DataConfig(skip_bad=True))
    assert "locked" in dataset.manifest.skipped[0]


def test_nothing_piped_in(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="Nothing is piped in"):
        prepare("-", tmp_path / "out", tokenizer)


def test_a_separator_that_never_comes(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundzero.data.readers._LONGEST_DOCUMENT", 10)
    (tmp_path / "a.txt").write_text("some text without any", encoding="utf-8")
    with pytest.raises(InputError, match=r"21 characters without the separator '---'"):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, DataConfig(document_separator="---"))


def test_an_endless_line(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundzero.data.readers._LONGEST_LINE", 10)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "long"}), encoding="utf-8")
    with pytest.raises(InputError, match="line 1 is longer than"):
        prepare(tmp_path / "a.jsonl", tmp_path / "out", tokenizer)


@pytest.mark.parametrize(
    "values",
    [
        {"validation_fraction": 0}, {"validation_fraction": 1}, {"encoding": "klingon"}, {"split": "middle"},
        {"shard_tokens": 0}, {"text_field": ""}, {"txt": "a.txt"},
    ],
)  # fmt: skip
def test_settings_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        DataConfig.parse(values)


# --- the disk -------------------------------------------------------------------------------------------------------


def refuse(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    code: int,
    *,
    only: Callable[..., bool] = lambda *arguments, **options: True,
) -> None:
    real = getattr(owner, name)

    def refusing(*arguments: Any, **options: Any) -> Any:
        if only(*arguments):
            raise OSError(code, os.strerror(code), str(arguments[0]))
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, refusing)


WRITES = [
    (groundzero.data.shards.np, "save"),
    (groundzero.data.publish, "flush_file"),
    (groundzero.data.publish, "flush_directory"),
    (groundzero.data.manifest, "write_sealed"),
    (Path, "rename"),
    (Path, "mkdir"),
]


def refuse_every_write(existing: bool, folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the n-th call of each kind of write fail, for n = 1, 2, ... until all succeed, and look what is left."""
    source, other, out = folder / "a.txt", folder / "b.txt", folder / "out"
    source.write_text("some text", encoding="utf-8")
    other.write_text("other text to be prepared", encoding="utf-8")
    failures = 0
    for owner, name in WRITES:
        if existing:
            prepare(source, out, tokenizer, overwrite=True)
        for nth in range(100):
            before = {path.name for path in folder.iterdir()}
            calls = iter(range(1000))
            with monkeypatch.context() as patch:
                refuse(patch, owner, name, errno.ENOSPC, only=lambda *_, calls=calls, nth=nth: next(calls) == nth)
                try:
                    prepare(other, out, tokenizer, overwrite=True)
                except StorageError as error:
                    assert str(out) in error.message
                    assert "No space left" in error.message
                    assert error.remedy
                else:
                    break
            failures += 1
            if name == "flush_directory" and nth == 1:  # the rename is done, but may not outlive a power cut
                before |= {"out"}
            elif existing:
                assert TokenDataset.open(out).manifest.sources[0].name == "a.txt"
            assert {path.name for path in folder.iterdir()} == before
        if not existing:
            shutil.rmtree(out)
    return failures


@pytest.mark.parametrize("existing", [False, True])
def test_the_disk_refuses_the_nth_time(
    existing: bool, tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails, and whenever: a StorageError, the old dataset or none, and no litter."""
    assert refuse_every_write(existing, tmp_path, tokenizer, monkeypatch) > 10


@pytest.mark.parametrize("existing", [False, True])
def test_a_writer_that_writes_in_place_would_be_noticed(
    existing: bool, tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault test itself is put to the test."""

    @contextmanager
    def in_place(folder: Path, *, overwrite: bool) -> Iterator[Path]:
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except OSError as error:
            raise StorageError(f"Cannot write {folder}: {error.strerror}.", remedy="Free some space.") from error

    monkeypatch.setattr("groundzero.data.preparation.published", in_place)
    with pytest.raises((AssertionError, GroundzeroError)):
        refuse_every_write(existing, tmp_path, tokenizer, monkeypatch)


class KilledError(BaseException):
    """Stands for the end of the process."""


def test_a_process_killed_at_any_write_loses_nothing(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs after the kill, no clean-up either; what is found next is the old dataset or the new one, whole."""
    out = tmp_path / "out"
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"some text of {name}", encoding="utf-8")
    found = []
    for owner, name in WRITES:
        for nth in range(100):
            prepare(tmp_path / "a.txt", out, tokenizer, overwrite=True)
            calls = iter(range(1000))
            with monkeypatch.context() as patch:
                kill(patch, owner, name, when=lambda calls=calls, nth=nth: next(calls) == nth)
                patch.setattr("groundzero.data.publish.shutil.rmtree", lambda *_, **__: None)
                try:
                    prepare(tmp_path / "b.txt", out, tokenizer, overwrite=True)
                    break
                except KilledError:
                    pass
            with pytest.raises(StorageError, match="already exists"):
                prepare(tmp_path / "b.txt", out, tokenizer)
            found.append(TokenDataset.open(out, verify=True).manifest.sources[0].name)
    assert found.count("a.txt") > 10
    assert found.count("b.txt") == 1  # killed after the rename


def kill(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, when: Callable[[], bool]) -> None:
    real = getattr(owner, name)

    def killing(*arguments: Any, **options: Any) -> Any:
        if when():
            raise KilledError
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, killing)


def test_what_a_killed_process_left_is_tidied_up(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer)
    (tmp_path / "out").rename(tmp_path / ".out.old-0123")  # killed between the two renames
    (tmp_path / ".out.old-4567").mkdir()  # killed before this one was removed
    (tmp_path / ".out.tmp-live").mkdir()
    (tmp_path / ".out.tmp-dead").mkdir()
    os.utime(tmp_path / ".out.tmp-dead", (0, 0))
    with pytest.raises(StorageError, match="already exists"):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer)
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "out", ".out.tmp-live"}
    assert TokenDataset.open(tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    with pytest.raises(StorageError, match=r"Cannot write .*a\.txt.*inside: Not a directory"):
        prepare(tmp_path / "a.txt", tmp_path / "a.txt" / "inside", tokenizer)


def test_interruption_leaves_nothing(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")

    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_errors_are_ours_and_leave_with_code_3() -> None:
    assert InputError("").exit_code == StorageError("").exit_code == 3
    assert issubclass(InputError, GroundzeroError)
