"""From text to shards and back: nothing lost, borders kept, both sides of the split as promised."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundzero.data import DataConfig, TokenDataset, prepare, prepare_cached
from groundzero.errors import InputError, StorageError

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1, max_size=60)


def write_jsonl(path: Path, documents: list[str]) -> Path:
    lines = (json.dumps({"text": text}) for text in documents)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def documents_of(dataset: TokenDataset, tokenizer: Any, split: str) -> list[str]:
    stream = dataset.stream(split)
    return [tokenizer.decode(stream.document(index)) for index in range(stream.documents)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(documents=st.lists(texts, min_size=2, max_size=30), shard=st.integers(1, 50))
def test_every_document_comes_back_on_one_side(
    documents: list[str], shard: int, tmp_path: Path, tokenizer: Any
) -> None:
    real = [text for text in documents if text.strip()]
    if len(set(real)) < 2:
        return
    source = write_jsonl(tmp_path / "a.jsonl", documents)
    config = DataConfig(validation_fraction=0.3, shard_tokens=shard, split="document")
    dataset = prepare(source, tmp_path / "out", tokenizer, config, overwrite=True)
    train, validation = (documents_of(dataset, tokenizer, split) for split in ("train", "validation"))
    assert train
    assert validation
    assert sorted(train + validation) == sorted(real)
    assert not set(train) & set(validation)  # exact duplicates stay together
    for name, side in (("train", train), ("validation", validation)):
        record = dataset.manifest.splits[name]
        assert record.documents == len(side)
        assert record.bytes == sum(len(text.encode()) for text in side) == record.text_tokens
        assert record.characters == sum(map(len, side))
        assert record.tokens == record.text_tokens + 2 * len(side) == len(dataset.stream(name))


def test_documents_are_framed(tmp_path: Path, tokenizer: Any) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two"])
    dataset = prepare(source, tmp_path / "out", tokenizer, DataConfig(split="document"))
    for stream in (dataset.train, dataset.validation):
        ids = stream.document(0)
        assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
    assert dataset.starts_with_bos


def test_adding_documents_moves_no_old_one(tmp_path: Path, tokenizer: Any) -> None:
    old = [f"document {number}" for number in range(200)]
    new = [f"another {number}" for number in range(200)]
    sides = []
    for name, documents in (("old", old), ("both", [*new, *old])):
        dataset = prepare(write_jsonl(tmp_path / f"{name}.jsonl", documents), tmp_path / name, tokenizer)
        sides.append(set(documents_of(dataset, tokenizer, "validation")))
    assert sides[0] == {text for text in sides[1] if text.startswith("document")}
    assert 5 <= len(sides[0]) <= 40  # a tenth of 200, five standard deviations either way


def test_the_seed_moves_documents(tmp_path: Path, tokenizer: Any) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [f"document {number}" for number in range(100)])
    sides = [
        documents_of(prepare(source, tmp_path / str(seed), tokenizer, DataConfig(seed=seed)), tokenizer, "validation")
        for seed in (1, 2)
    ]
    assert sides[0] != sides[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(text=texts.filter(lambda text: len(text) > 1 and text.strip()), fraction=st.floats(0.01, 0.99))
def test_one_document_is_split_by_tail(text: str, fraction: float, tmp_path: Path, tokenizer: Any) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(text.encode("utf-8"))
    dataset = prepare(source, tmp_path / "out", tokenizer, DataConfig(validation_fraction=fraction), overwrite=True)
    cut = max(1, min(int(len(text) * (1 - fraction)), len(text) - 1))
    assert dataset.train.read(0, 1)[0] == tokenizer.bos_id
    assert tokenizer.decode(dataset.train.read(0, len(dataset.train))) == text[:cut]
    assert tokenizer.decode(dataset.validation.read(0, len(dataset.validation))) == text[cut:]
    assert len(dataset.validation) == len(text[cut:].encode())  # no control id: comparable with other programs
    assert not dataset.starts_with_bos


def test_tail_of_each_of_several_documents(tmp_path: Path, tokenizer: Any) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["0123456789", "abcdefghij"])
    dataset = prepare(source, tmp_path / "out", tokenizer, DataConfig(split="tail", validation_fraction=0.3))
    assert documents_of(dataset, tokenizer, "train") == ["0123456", "abcdefg"]
    assert documents_of(dataset, tokenizer, "validation") == ["789", "hij"]


def test_tiny_shakespeare_is_split_as_nanogpt_splits_it(data_dir: Path, tmp_path: Path, tokenizer: Any) -> None:
    dataset = prepare(data_dir / "text-tinyshakespeare" / "input.txt.gz", tmp_path / "out", tokenizer)
    counts = {name: record.text_tokens for name, record in dataset.manifest.splits.items()}
    assert counts == {"train": 1_003_854, "validation": 111_540}
    assert len(dataset.validation) == 111_540


def test_a_long_text_comes_in_pieces_that_join_to_the_whole(tmp_path: Path, tokenizer: Any) -> None:
    text = "".join(f"line {number} of a long text, with é and 漢字\n" for number in range(60_000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, DataConfig(shard_tokens=100_003))
    assert len(dataset.manifest.splits["train"].shards) > 10
    whole = [dataset.stream(split).read(0, len(dataset.stream(split))) for split in ("train", "validation")]
    assert tokenizer.decode(np.concatenate(whole)) == text


@given(start=st.integers(0, 300), length=st.integers(0, 300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_reading_across_shards(start: int, length: int, sharded: TokenDataset) -> None:
    whole = np.concatenate([sharded.train.read(i, i + 1) for i in range(len(sharded.train))])
    stop = min(start + length, len(whole))
    assert sharded.train.read(min(start, stop), stop).tolist() == whole[min(start, stop) : stop].tolist()


@pytest.fixture
def sharded(tmp_path: Path, tokenizer: Any) -> TokenDataset:
    (tmp_path / "a.txt").write_text("abcdefghijklmnopqrstuvwxyz" * 15, encoding="utf-8")
    return prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, DataConfig(shard_tokens=37))


def test_a_folder_is_read_in_order_and_says_what_it_left_out(tmp_path: Path, tokenizer: Any) -> None:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.txt").write_text("bee", encoding="utf-8")
    (folder / "a.md").write_text("ay", encoding="utf-8")
    (folder / "deep" / "c.txt.gz").write_bytes(gzip.compress(b"sea"))
    (folder / "deep" / "d.gz").write_bytes(gzip.compress(b"dee"))
    write_jsonl(folder / "e.jsonl", ["e1", "e2"])
    (folder / "f.JSONL.GZ").write_bytes(gzip.compress(b'{"text": "eff"}'))
    (folder / "empty.txt").touch()
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.txt").write_text("hidden", encoding="utf-8")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    dataset = prepare(folder, tmp_path / "out", tokenizer)
    assert [source.name for source in dataset.manifest.sources] == [
        "a.md", "b.txt", "deep/c.txt.gz", "deep/d.gz", "e.jsonl", "f.JSONL.GZ",
    ]  # fmt: skip
    skipped = "\n".join(dataset.manifest.skipped)
    assert len(dataset.manifest.skipped) == dataset.manifest.counts["skipped"] == 4
    assert "1 files are not .txt, .md, .jsonl or .gz, such as picture.png" in skipped
    assert "loop is a link to a folder" in skipped
    assert "gone.txt is a broken link" in skipped
    assert "empty.txt is empty" in skipped
    both = documents_of(dataset, tokenizer, "train") + documents_of(dataset, tokenizer, "validation")
    assert sorted(both) == ["ay", "bee", "dee", "e1", "e2", "eff", "sea"]


@pytest.mark.parametrize(
    ("separator", "text", "expected"),
    [
        ("<|endoftext|>", "one\n<|endoftext|>\ntwo<|endoftext|>", ["one", "two"]),
        ("\\n---\\n", "one\n---\ntwo\nlines", ["one", "two\nlines"]),
        ("blank-line", "one\nstill one\n \n\n\ntwo\n\n", ["one\nstill one", "two"]),
        ("line", "one\r\n\r\ntwo\n", ["one", "two"]),
        ("", "one\n\ntwo", ["one\n\ntwo"]),
    ],
)
def test_what_separates_documents(
    separator: str, text: str, expected: list[str], tmp_path: Path, tokenizer: Any
) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    config = DataConfig(document_separator=separator, split="document" if separator else "tail")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, config)
    both = [*documents_of(dataset, tokenizer, "train"), *documents_of(dataset, tokenizer, "validation")]
    assert sorted(both) == expected or "".join(both) == "".join(expected)
    assert len(both) == 2


def test_separators_on_the_seams_of_blocks(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundzero.data.readers._BLOCK_BYTES", 3)
    (tmp_path / "a.txt").write_text("één<|sep|>twee<|sep|>三", encoding="utf-8")
    config = DataConfig(document_separator="<|sep|>", split="document")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, config)
    both = documents_of(dataset, tokenizer, "train") + documents_of(dataset, tokenizer, "validation")
    assert sorted(both) == sorted(["één", "twee", "三"])


def test_standard_input(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", piped(b"some text from a pipe"))
    dataset = prepare("-", tmp_path / "out", tokenizer)
    assert dataset.manifest.sources[0].name == "-"
    assert dataset.manifest.splits["train"].bytes + dataset.manifest.splits["validation"].bytes == 21


def piped(content: bytes) -> Any:
    return SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)


def test_a_byte_order_mark_is_no_text_and_line_ends_stay(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\nthree")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer)
    both = documents_of(dataset, tokenizer, "train") + documents_of(dataset, tokenizer, "validation")
    assert "".join(both) == "one\r\ntwo\nthree"


def test_another_encoding(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_bytes("naïve café".encode("cp1252"))
    dataset = prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, DataConfig(encoding="cp1252"))
    assert dataset.manifest.splits["train"].bytes == len("naïve caf".encode())


def test_encodings_can_be_found_out(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundzero.data.readers._BLOCK_BYTES", 3)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        (folder / f"{encoding}.txt").write_bytes(f"naïve café in {encoding}".encode(encoding))
    dataset = prepare(folder, tmp_path / "out", tokenizer, DataConfig(encoding="auto", split="document"))
    both = documents_of(dataset, tokenizer, "train") + documents_of(dataset, tokenizer, "validation")
    assert sorted(both) == [f"naïve café in {encoding}" for encoding in ("cp1252", "utf-16", "utf-8", "utf-8-sig")]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, tokenizer: Any) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two", "three"])
    for name in ("x", "y"):
        prepare(source, tmp_path / name, tokenizer)
    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "y").iterdir()
    }


def test_the_cache_is_keyed_by_content_tokenizer_and_settings(tmp_path: Path, tokenizer: Any) -> None:
    source, cache = tmp_path / "a.txt", tmp_path / "cache"
    source.write_text("some text that stays", encoding="utf-8")
    first = prepare_cached(source, cache, tokenizer)
    stamp = (first.path / "manifest.json").stat().st_mtime_ns
    assert prepare_cached(source, cache, tokenizer).path == first.path
    assert (first.path / "manifest.json").stat().st_mtime_ns == stamp
    assert prepare_cached(source, cache, tokenizer, DataConfig(validation_fraction=0.2)).path != first.path
    tokenizer.fingerprint = "0" * 64
    assert prepare_cached(source, cache, tokenizer).path != first.path
    source.write_text("some text that changes", encoding="utf-8")
    assert len(list(cache.iterdir())) == 3
    prepare_cached(source, cache, tokenizer)
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_cache_entry_is_made_again(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    first = prepare_cached(tmp_path / "a.txt", tmp_path / "cache", tokenizer)
    (first.path / "train-00000.npy").write_bytes(b"")
    again = prepare_cached(tmp_path / "a.txt", tmp_path / "cache", tokenizer)
    assert again.path == first.path
    assert len(again.train) == len(first.train)


def test_two_processes_may_fill_the_cache_at_once(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage == "encoding":
            prepare_cached(tmp_path / "a.txt", tmp_path / "cache", tokenizer)

    dataset = prepare_cached(tmp_path / "a.txt", tmp_path / "cache", tokenizer, progress=meanwhile)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [dataset.path.name]


def test_progress_reaches_its_totals(tmp_path: Path, tokenizer: Any) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two", "three"])
    told: dict[str, tuple[int, int]] = {}
    prepare(
        source, tmp_path / "out", tokenizer, progress=lambda stage, done, total: told.update({stage: (done, total)})
    )
    size = source.stat().st_size
    assert told == {"reading": (size, size), "encoding": (11, 11)}


def test_the_target_is_not_overwritten_unasked(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer)
    with pytest.raises(StorageError, match=r"out already exists.*--overwrite"):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer)
    prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "out"]


def test_what_is_no_dataset_is_never_overwritten(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "books").mkdir()
    book = tmp_path / "books" / "a.txt"
    book.write_text("some text", encoding="utf-8")
    for out in (tmp_path / "books", book):
        with pytest.raises(StorageError, match=r"already exists, and is no dataset: it holds a\.txt"):
            prepare(book, out, tokenizer, overwrite=True)
    assert book.read_text(encoding="utf-8") == "some text"
    (tmp_path / "empty").mkdir()
    prepare(book, tmp_path / "empty", tokenizer, overwrite=True)


def test_a_split_by_document_needs_two(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    with pytest.raises(InputError, match=r"two different documents.*--split tail"):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer, DataConfig(split="document"))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two"])

    def meddle(stage: str, done: int, total: int) -> None:
        if stage == "reading":
            write_jsonl(source, ["one", "two more"])

    with pytest.raises(InputError, match="changed while it was read"):
        prepare(source, tmp_path / "out", tokenizer, progress=meddle)
    assert not (tmp_path / "out").exists()
