"""One file: ours byte for byte, Hugging Face's too, and refused when it is not what was written."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from groundzero.errors import FormatError, InputError, StorageError
from groundzero.tokenizer import PATTERNS, Tokenizer, TokenizerConfig, train_tokenizer
from groundzero.tokenizer.file import to_document

CORPUS = "the cat sat on the mat, the dog sat on the log; naïve café 世界 🙂 1984\n don't\n\n" * 3
TRAINED = {
    **{name: train_tokenizer([CORPUS], TokenizerConfig(vocab_size=400, pattern=name)) for name in PATTERNS},
    "char": train_tokenizer([CORPUS], TokenizerConfig(kind="char")),
}
FIXTURES = Path(__file__).parents[1] / "fixtures"
EACH = pytest.mark.parametrize("name", TRAINED)
# Rust's Unicode decides in both engines, so every scalar may come.
WORDS = st.one_of(
    st.sampled_from(["the ", "cat", "'LL", "don't", "\r\n", "  ", "\n\n", "<EOS>", "<|user|>", "🙂", "ſ", "123"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
TEXT = st.lists(WORDS, max_size=20).map("".join)


@EACH
def test_a_saved_tokenizer_loads_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tokenizer.json"
    TRAINED[name].save(path)
    loaded = Tokenizer.load(path)
    assert loaded == TRAINED[name]
    assert loaded.fingerprint == TRAINED[name].fingerprint
    assert loaded.merges == TRAINED[name].merges
    again = tmp_path / "again.json"
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    assert list(path.parent.iterdir()) == [path]


@EACH
@settings(max_examples=250, deadline=None)
@given(text=TEXT)
def test_hugging_face_reads_the_file_and_gives_the_same_ids(name: str, text: str) -> None:
    ours, theirs = TRAINED[name], _hugging_face(name)
    theirs.encode_special_tokens = False
    assert theirs.encode(text).ids == ours.encode(text, control=True)
    theirs.encode_special_tokens = True  # its way to say that names in text are text
    ids = ours.encode(text)
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)


_LOADED: dict[str, tokenizers.Tokenizer] = {}


def _hugging_face(name: str) -> tokenizers.Tokenizer:
    if name not in _LOADED:
        _LOADED[name] = tokenizers.Tokenizer.from_str(json.dumps(to_document(TRAINED[name])))
    return _LOADED[name]


@EACH
def test_transformers_reads_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    TRAINED[name].save(path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(path))
    text = "the cat sat 1984\n<EOS>"
    assert theirs.encode(text) == TRAINED[name].encode(text, control=True)
    assert len(theirs) == TRAINED[name].vocab_size


# --- what must be refused ------------------------------------------------------------------------------------------


@EACH
def test_one_changed_byte_is_found_wherever_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    TRAINED[name].save(path)
    data = bytearray(path.read_bytes())
    for i in range(0, len(data), 13 if name == "char" else 211):
        for flip in (0x01, 0x20, 0x80):
            damaged = data.copy()
            damaged[i] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(FormatError, match=r"tokenizer\.json"):
                Tokenizer.load(path)


@EACH
def test_a_truncated_file_is_refused_at_every_length(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    TRAINED[name].save(path)
    data = path.read_bytes().rstrip()
    for length in range(0, len(data), 199):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError, match="truncated or damaged"):
            Tokenizer.load(path)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_schema_version_is_named(version: object, tmp_path: Path) -> None:
    document = to_document(TRAINED["qwen2"])
    document["model"]["groundzero"]["schema_version"] = version
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(FormatError, match=f"schema version {version!r}"):
        Tokenizer.load(path)


@pytest.mark.parametrize("content", ["{}", "[]", "7", '{"model": 3}', '{"model": {"groundzero": {}}}', "null"])
def test_a_file_of_another_kind_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=r"other\.json is not a groundzero tokenizer"):
        Tokenizer.load(path)


def test_binary_and_deeply_nested_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for content in (b"\x00\xff\xfe", b"[" * 200_000):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="truncated or damaged"):
            Tokenizer.load(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No tokenizer at .*gz tokenizer train"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(InputError, match="Cannot read"):
        Tokenizer.load(tmp_path)


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.json"
    TRAINED["char"].save(path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"Cannot write .*tokenizer\.json: No space left"):
        TRAINED["qwen2"].save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file(tmp_path: Path) -> None:
    TRAINED["char"].save(tmp_path / "tokenizer.json")
    assert (tmp_path / "tokenizer.json").stat().st_mode & stat.S_IRUSR


# --- past versions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_files_of_schema_version_1_still_load_and_encode_as_they_did(kind: str) -> None:
    folder = FIXTURES / "tokenizer-v1"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[kind]
    tokenizer = Tokenizer.load(folder / f"{kind}.json")
    assert tokenizer.vocab_size == expected["vocab_size"]
    assert tokenizer.fingerprint == expected["fingerprint"]
    assert tokenizer.encode(expected["text"]) == expected["ids"]
    assert tokenizer.encode(expected["text"], control=True) == expected["control_ids"]
