"""The data room with the house's own tokenizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundzero.data import BatchLoader, DataConfig, TokenDataset, prepare, read_texts
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer


@pytest.fixture(scope="module", params=["gpt2", "llama3", "qwen2"])
def bpe(request: pytest.FixtureRequest) -> Tokenizer:
    text = "the cat's mat\n\nthe dog; 12345 numbers\n\n\n  and   spaces\r\n" * 20
    return train_tokenizer([text], TokenizerConfig(vocab_size=400, pattern=request.param))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("at he'1é漢\n\r\t .;"), min_size=40, max_size=300))
def test_pieces_encode_as_the_whole(text: str, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where no safe cut comes within half a piece; with pieces of 256 thousand that means one endless word."""
    monkeypatch.setattr("groundzero.data.readers.PIECE_CHARACTERS", 16)
    pieces = list(read_texts(write(tmp_path, text)))
    if not text.strip():
        return
    assert "".join(pieces) == text
    cuts = np.cumsum([len(piece) for piece in pieces])[:-1]
    if any(not safe(text[: int(cut)], text[int(cut) :]) for cut in cuts):
        return
    assert [i for piece in pieces for i in bpe.encode(piece)] == bpe.encode(text)


def safe(left: str, right: str) -> bool:
    line = left[-1] == "\n" and not left[-2:-1].isspace() and not right[0].isspace()
    return line or (left[-1].isascii() and left[-1].isalpha() and right[0] == " " and right[1:2].isalpha())


def write(folder: Path, text: str) -> Path:
    path = folder / "a.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_characters_of_tiny_shakespeare(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "text-tinyshakespeare" / "input.txt.gz"
    tokenizer = train_tokenizer(read_texts(source), TokenizerConfig(kind="char"))
    dataset = prepare(source, tmp_path / "out", tokenizer)
    assert tokenizer.vocab_size == 64 + 65
    assert dataset.manifest.splits["train"].text_tokens == 1_003_854
    assert len(dataset.validation) == 111_540
    loader = BatchLoader(dataset, batch_size=12, context=64)
    targets = sum(int((batch.targets_BT >= 0).sum()) for batch in loader.validation_batches())
    assert targets == loader.validation_bytes() == 111_539
    whole = np.concatenate([dataset.train.read(1, len(dataset.train)), dataset.validation.read(0, 111_540)])
    assert tokenizer.decode(whole) == "".join(read_texts(source))


def test_the_tokenizer_travels_with_the_dataset(bpe: Tokenizer, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("the cat\n\nthe mat and the dog\n\nnumbers 12", encoding="utf-8")
    dataset = prepare(source, tmp_path / "out", bpe, DataConfig(document_separator="blank-line"))
    tokenizer = Tokenizer.load(TokenDataset.open(tmp_path / "out").tokenizer_path)
    assert tokenizer == bpe
    documents = [
        tokenizer.decode(stream.document(index))
        for stream in (dataset.train, dataset.validation)
        for index in range(stream.documents)
    ]
    assert sorted(documents) == ["numbers 12", "the cat", "the mat and the dog"]
    loader = BatchLoader(dataset, batch_size=1, context=4)
    text_bytes = dataset.manifest.splits["validation"].bytes
    assert loader.validation_bytes() == text_bytes  # <BOS> is no target, <EOS> stands for no bytes
