"""The Tokenizer's promises: round trips, control tokens, bytes, streaming, errors."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import ConfigError, InputError
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from groundzero.tokenizer.inspection import compare, compression, show

CORPUS = "the cat sat on the mat, the dog sat on the log; naïve café 世界 🙂 1984\n" * 3
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BPE = train_tokenizer([CORPUS], TokenizerConfig(vocab_size=400))
CHAR = train_tokenizer([CORPUS], TokenizerConfig(kind="char"))
BOTH = pytest.mark.parametrize("tokenizer", [BPE, CHAR], ids=["bpe", "char"])


def test_every_unicode_scalar_round_trips() -> None:
    scalars = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    assert len(scalars) == 1_112_064
    text = "".join(scalars)
    (ids,) = BPE.encode_batch([text])
    assert BPE.decode(ids) == text
    random.Random(0).shuffle(scalars)
    apart = ["".join(scalars[i : i + 4096]) for i in range(0, len(scalars), 4096)]
    assert [BPE.decode(ids) for ids in BPE.encode_batch(apart)] == apart


@settings(max_examples=300, deadline=None)
@given(text=TEXT)
def test_text_round_trips(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text
    assert BPE.decode_bytes(BPE.encode(text)) == text.encode()


@settings(max_examples=300, deadline=None)
@given(data=st.lists(st.one_of(st.binary(max_size=6), TEXT.map(str.encode))).map(b"".join))
def test_arbitrary_bytes_round_trip(data: bytes) -> None:
    assert BPE.decode_bytes(BPE.encode_bytes(data)) == data


@settings(deadline=None)
@given(text=TEXT)
def test_bytes_of_text_encode_as_the_text(text: str) -> None:
    assert BPE.encode_bytes(text.encode()) == BPE.encode(text)
    assert CHAR.encode_bytes(text.encode()) == CHAR.encode(text)


def test_ids_are_laid_out_controls_then_alphabet_then_merges() -> None:
    assert [BPE.pad_id, BPE.unk_id, BPE.bos_id, BPE.eos_id, BPE.sep_id, BPE.mask_id, BPE.know_id] == list(range(7))
    assert BPE.controls[:11] == (
        *("<PAD>", "<UNK>", "<BOS>", "<EOS>", "<SEP>", "<MASK>", "<KNOW>"),
        *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    )
    assert len(set(BPE.controls)) == 64
    assert [BPE.token_bytes(64 + value) for value in range(256)] == [bytes([value]) for value in range(256)]
    for k, (left, right) in enumerate(BPE.merges):
        assert BPE.token_bytes(320 + k) == BPE.token_bytes(left) + BPE.token_bytes(right)
    assert BPE.vocab_size == 320 + len(BPE.merges)
    assert CHAR.vocab_size == 64 + len(set(CORPUS))
    assert [CHAR.token_bytes(i).decode() for i in range(64, CHAR.vocab_size)] == sorted(set(CORPUS))


# --- control tokens ------------------------------------------------------------------------------------------------


@BOTH
@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.one_of(st.sampled_from(BPE.controls), st.text("the cat<|>EOS"))))
def test_text_never_becomes_a_control_token_unless_asked_for(tokenizer: Tokenizer, words: list[str]) -> None:
    text = "".join(words)
    assert all(token >= 64 or token == tokenizer.unk_id for token in tokenizer.encode(text))
    (ids,) = tokenizer.encode_batch([text])
    assert ids.tolist() == tokenizer.encode(text)
    asked = tokenizer.encode(text, control=True)
    assert tokenizer.encode_batch([text], control=True)[0].tolist() == asked
    assert sum(token < 64 and token != tokenizer.unk_id for token in asked) == sum(
        text.count(name) for name in tokenizer.controls if name != "<UNK>"
    )


def test_control_tokens_in_text_when_asked_for() -> None:
    ids = BPE.encode("<|user|>the cat<|end|><EOS>", control=True)
    assert ids == [8, *BPE.encode("the cat"), 10, 3]
    assert BPE.decode(ids) == "the cat"
    assert BPE.decode(ids, keep_control=True) == "<|user|>the cat<|end|><EOS>"
    assert BPE.id_of("<|user|>") == 8
    with pytest.raises(InputError, match="'<nobody>'"):
        BPE.id_of("<nobody>")


def test_unknown_characters_become_unk() -> None:
    assert CHAR.encode("the Zcat").count(CHAR.unk_id) == 1
    assert CHAR.decode(CHAR.encode("Zthe")) == "the"
    assert CHAR.encode("") == BPE.encode("") == []


# --- streaming -----------------------------------------------------------------------------------------------------


@BOTH
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_stream_never_splits_a_character_and_adds_up_to_decode(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    ids += tokenizer.encode(data.draw(TEXT))
    keep = data.draw(st.booleans())
    decoder = tokenizer.stream_decoder(keep_control=keep)
    parts, start = [], 0
    while start < len(ids):
        n = data.draw(st.integers(1, 4))
        parts.append(decoder.push(ids[start : start + n]))
        start += n
    parts.append(decoder.flush())
    assert "".join(parts) == tokenizer.decode(ids, keep_control=keep)


def test_a_stream_waits_for_the_rest_of_a_character() -> None:
    decoder = BPE.stream_decoder()
    byte_ids = [64 + value for value in "🙂".encode()]
    assert [decoder.push(token) for token in byte_ids] == ["", "", "", "🙂"]
    assert decoder.push(byte_ids[:2]) == ""
    assert decoder.flush() == "\ufffd"
    assert decoder.push(BPE.encode("the")) == "the"


# --- errors --------------------------------------------------------------------------------------------------------


@BOTH
def test_ids_outside_the_vocabulary_are_named(tokenizer: Tokenizer) -> None:
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(InputError, match=f"Id {wrong} is not in this tokenizer"):
            tokenizer.decode([wrong])
        with pytest.raises(InputError, match=f"Id {wrong} "):
            tokenizer.stream_decoder().push(wrong)
    assert tokenizer.decode(np.array([], dtype=np.uint32)) == ""


@BOTH
def test_a_lone_surrogate_is_named_with_its_place(tokenizer: Tokenizer) -> None:
    for call in (tokenizer.encode, lambda text: tokenizer.encode_batch(["fine", text])):
        with pytest.raises(InputError, match=r"U\+D800 at character 3"):
            call("abc\ud800")
    with pytest.raises(InputError, match=r"U\+DFFF"):
        train_tokenizer(["\udfff"], TokenizerConfig())


@pytest.mark.parametrize("blank", [" ", "\t", "\u3000", " \n"])
def test_an_endless_run_of_white_space_is_refused_and_a_long_one_is_not(blank: str) -> None:
    long = "the" + blank * (100_000 // len(blank)) + "cat"
    assert BPE.decode(BPE.encode(long)) == long
    endless = "the" + blank * 2_000_000 + "cat"
    for call in (BPE.encode, lambda text: BPE.encode_batch([text]), lambda text: BPE.encode_bytes(text.encode())):
        with pytest.raises(InputError, match="white-space characters in a row"):
            call(endless)
    with pytest.raises(InputError, match="white-space characters in a row"):
        train_tokenizer([endless], TokenizerConfig())


def test_words_of_any_length_train_and_encode() -> None:
    for word in ("a" * 100_000, " " * 100_000, "abc" * 30_000, "世" * 30_000):
        tokenizer = train_tokenizer([word, "x" + word], TokenizerConfig(vocab_size=360))
        assert tokenizer.decode(tokenizer.encode(word)) == word
        assert len(tokenizer.merges) == tokenizer.vocab_size - 320


def test_bytes_that_are_no_text_need_bpe() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        CHAR.encode_bytes(b"\xff")


@pytest.mark.parametrize("kind", ["bpe", "char"])
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_training_needs_text(kind: str, texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text"):
        train_tokenizer(texts, TokenizerConfig.parse({"kind": kind}))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"vocab_size": 319}, "319"),
        ({"pattern": "gpt9"}, "gpt9"),
        ({"kind": "wordpiece"}, "wordpiece"),
        ({"min_frequency": 0}, "min_frequency"),
        ({"vocabsize": 1000}, "vocab_size"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        TokenizerConfig.parse(values)


def test_aliases_of_patterns_are_the_pattern() -> None:
    assert TokenizerConfig(pattern="cl100k").pattern == "llama3"
    assert BPE.pattern is not None
    assert BPE.pattern.llama_cpp == "qwen2"


# --- training ------------------------------------------------------------------------------------------------------


def test_an_interrupted_iterator_interrupts_the_training() -> None:
    def texts() -> object:
        yield CORPUS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(texts(), TokenizerConfig(min_frequency=1))  # type: ignore[arg-type]


def test_training_reads_no_more_than_max_bytes() -> None:
    def texts() -> object:
        yield "abc abc é"
        raise AssertionError("read on")

    limited = train_tokenizer(texts(), TokenizerConfig(max_bytes=9, kind="char"))  # type: ignore[arg-type]
    assert limited.vocab_size == 64 + 4  # é would need a tenth byte


def test_the_vocabulary_stops_where_the_text_does() -> None:
    assert train_tokenizer(["ab"], TokenizerConfig(min_frequency=1)).vocab_size == 321
    assert train_tokenizer(["ab"], TokenizerConfig(min_frequency=2)).vocab_size == 320


# --- looking inside ------------------------------------------------------------------------------------------------


def test_compression_counts_what_is_there() -> None:
    measured = compression(CHAR, ["the cat", "Z"])
    assert (measured.characters, measured.bytes, measured.tokens, measured.unknown) == (8, 8, 8, 1)
    assert compression(BPE, ["the cat"]).bytes_per_token > 1
    assert compression(BPE, []).bytes_per_token == 0


def test_comparison_and_display() -> None:
    same = compare(BPE, BPE)
    assert (same.shared, same.only_first, same.only_second) == (BPE.vocab_size - 64, [], [])
    apart = compare(BPE, CHAR)
    ours = {BPE.token_bytes(i) for i in range(64, BPE.vocab_size)}
    theirs = {CHAR.token_bytes(i) for i in range(64, CHAR.vocab_size)}
    assert (set(apart.only_first), set(apart.only_second)) == (ours - theirs, theirs - ours)
    assert apart.shared == len(ours & theirs)
    assert show(BPE, 3) == "<EOS>"
    assert show(BPE, 64 + 10) == r"\n"
    assert show(BPE, 64 + 255) == r"\xff"


def test_equality_and_representation() -> None:
    again = train_tokenizer([CORPUS], TokenizerConfig(vocab_size=400))
    assert again == BPE
    assert hash(again) == hash(BPE)
    assert again.fingerprint == BPE.fingerprint
    assert len(BPE.fingerprint) == 64
    assert BPE != CHAR
    assert repr(BPE) == f"Tokenizer(kind='bpe', vocab_size={BPE.vocab_size}, pattern='qwen2')"
