"""Opening a dataset: any damage is found and named, and a past version stays readable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundzero.data import DataConfig, TokenDataset, prepare
from groundzero.errors import FormatError, InputError
from groundzero.run import write_sealed

FIXTURE = Path(__file__).parents[1] / "fixtures" / "dataset-v1"


@pytest.fixture
def dataset(tmp_path: Path, tokenizer: Any) -> TokenDataset:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n', encoding="utf-8")
    return prepare(tmp_path / "a.jsonl", tmp_path / "set", tokenizer)


def test_version_1_reads_as_it_did() -> None:
    """Written by the first release from three lines of .jsonl, one id a byte; never write it again."""
    dataset = TokenDataset.open(FIXTURE)
    text = {split: bytes(i - 64 for i in stream.read(0, len(stream)).tolist() if i >= 64).decode() for split, stream in
            (("train", dataset.train), ("validation", dataset.validation))}  # fmt: skip
    assert sorted("".join(text.values())) == sorted("one documenttwo documentsdrei Dokumente, größer")
    assert dataset.manifest.framing == "document"
    assert dataset.train.documents + dataset.validation.documents == 3
    assert dataset.token_bytes.tolist() == [0] * 64 + [1] * 256


def test_a_flipped_byte_anywhere_is_found_and_the_file_named(dataset: TokenDataset) -> None:
    for path in sorted(dataset.path.iterdir()):
        good = path.read_bytes()
        for at in {0, len(good) - 1, *range(3, len(good), 29)}:
            path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
            with pytest.raises((FormatError, InputError), match=path.name.replace(".", r"\.")):
                TokenDataset.open(dataset.path)
        path.write_bytes(good)
    TokenDataset.open(dataset.path)


def test_a_truncated_file_is_found_even_without_hashing(dataset: TokenDataset) -> None:
    for path in sorted(dataset.path.iterdir()):
        good = path.read_bytes()
        for size in (0, 1, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:size])
            with pytest.raises(FormatError, match=path.name.replace(".", r"\.")):
                TokenDataset.open(dataset.path, verify=False)
        path.write_bytes(good)


def test_a_missing_file_is_found(dataset: TokenDataset) -> None:
    (dataset.path / "train-starts.npy").unlink()
    with pytest.raises(FormatError, match=r"train-starts\.npy is missing"):
        TokenDataset.open(dataset.path)


def test_hashes_are_checked_when_asked_for_in_a_large_dataset(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundzero.data.dataset._ALWAYS_HASH_BELOW", 0)
    path = dataset.path / "train-00000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    TokenDataset.open(dataset.path)
    with pytest.raises(FormatError, match=r"train-00000\.npy is damaged: its hash"):
        TokenDataset.open(dataset.path, verify=True)


def edit(dataset: TokenDataset, change: Any) -> None:
    """Change the manifest and seal it again, as someone who means it would."""
    path = dataset.path / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.unlink()
    write_sealed(path, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=2), "newer groundzero"),
        (lambda m: m.update(schema=None), "schema None"),
        (lambda m: m.update(format="something.else"), "not the manifest of a token dataset"),
        (lambda m: m.update(surprise=1), "Unknown setting 'surprise'"),
        (lambda m: m["splits"].pop("validation"), "lacks a split"),
        (lambda m: m["splits"]["train"].update(tokens=1), "disagree"),
        (lambda m: m["splits"]["train"].update(shards=[]), "disagree"),
        (lambda m: m["splits"]["train"]["starts"].update(name="../../secret.npy"), "splits.train.starts.name"),
        (lambda m: m["splits"]["train"]["starts"].update(name="/etc/passwd"), "splits.train.starts.name"),
        (lambda m: m.update(dtype="uint32"), "not uint32"),
        (lambda m: m["tokenizer"].update(vocab_size=7), "token_bytes.npy is damaged"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(dataset: TokenDataset, change: Any, message: str) -> None:
    edit(dataset, change)
    with pytest.raises(FormatError, match=message):
        TokenDataset.open(dataset.path)


def test_a_shard_that_is_no_array_is_refused(dataset: TokenDataset) -> None:
    path = dataset.path / "train-00000.npy"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(FormatError, match=r"train-00000\.npy is damaged: it is not a \.npy file"):
        TokenDataset.open(dataset.path, verify=False)


def test_no_dataset_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        TokenDataset.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"No prepared dataset at .*: it has no manifest\.json"):
        TokenDataset.open(tmp_path)


def test_a_dataset_can_be_moved(dataset: TokenDataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.path, tmp_path / "elsewhere")
    assert len(TokenDataset.open(tmp_path / "elsewhere").train) == len(dataset.train)


def test_shards_cannot_be_written_through(dataset: TokenDataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.read(0, 3)[0] = 1


def test_another_tokenizer_is_refused(dataset: TokenDataset, tokenizer: Any) -> None:
    dataset.check_tokenizer(tokenizer.fingerprint)
    with pytest.raises(InputError, match="another tokenizer"):
        dataset.check_tokenizer("0" * 64)


def test_large_vocabularies_take_four_bytes(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.vocab_size = 2**16 + 1
    tokenizer.token_bytes = lambda token: b""
    tokenizer.encode_batch = lambda texts: [np.array([2**16, 70, 71], dtype=np.uint32) for _ in texts]
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    dataset = prepare(tmp_path / "a.jsonl", tmp_path / "set", tokenizer, DataConfig(split="document"))
    assert dataset.train.read(0, 5).tolist() == [2, 2**16, 70, 71, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1]), "training ids are empty"),
        (([1], []), "validation ids are empty"),
        (([[1]], [1]), "training ids are empty or not one row"),
        (([-1], [1]), "whole numbers from 0"),
        (([0.5], [1]), "whole numbers from 0"),
    ],
)
def test_ids_that_cannot_be_are_refused(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenDataset.from_ids(*arguments)


@pytest.mark.parametrize("starts", [(), (1,), (0, 0), (0, 5), (0, 2, 1)])
def test_starts_that_cannot_be_are_refused(starts: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="starts do not ascend from 0 to below 3"):
        TokenDataset.from_ids([1, 2, 3], [1], train_starts=starts)
