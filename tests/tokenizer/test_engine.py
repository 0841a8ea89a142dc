"""The fast engine does what the readable one does: same merges in, same ids out."""

from __future__ import annotations

import gzip
import unicodedata
from pathlib import Path

import pytest
import regex
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from groundzero.reference import tokenizer as bpe
from groundzero.reference.split import character_class, split
from groundzero.tokenizer import PATTERNS, Tokenizer, TokenizerConfig, train_tokenizer
from groundzero.tokenizer.blocks import blocks_of
from groundzero.tokenizer.frequency import surely_frequent
from groundzero.tokenizer.patterns import SplitPattern

BYTES = {bytes([value]): value for value in range(256)}
SCALARS = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)


def rust_matches(pattern: str, text: str) -> str:
    """What Rust's regular expressions find in `text`, joined: tiktoken drops what its pattern does not match."""
    engine = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=BYTES, special_tokens={"<PAD>": 256})
    return engine.decode(engine.encode_ordinary(text))


def oniguruma_matches(character_set: str, text: str) -> str:
    cut = pre_tokenizers.Split(Regex(f"[^{character_set}]"), "removed")
    return "".join(piece for piece, _ in cut.pre_tokenize_str(text))


# Characters that this Python and Rust put in the same class; they part only on those that one of them does not know.
LETTERS, NUMBERS = set(rust_matches(r"\p{L}", SCALARS)), set(rust_matches(r"\p{N}", SCALARS))
SHARED = [c for c in SCALARS if (character_class(c) == "L", character_class(c) == "N") == (c in LETTERS, c in NUMBERS)]


@pytest.mark.parametrize(("name", "pattern"), [("L", r"\p{L}"), ("N", r"\p{N}"), ("S", r"\s")])
def test_all_engines_class_every_scalar_alike_but_for_newer_unicode(name: str, pattern: str) -> None:
    rust = set(rust_matches(pattern, SCALARS))
    assert rust == set(oniguruma_matches(pattern, SCALARS)), "tiktoken and tokenizers differ"
    python = {character for character in SCALARS if character_class(character) == name}
    assert {unicodedata.category(character) for character in rust ^ python} <= {"Cn"}
    newest = set(regex.findall(pattern, SCALARS))
    assert {unicodedata.category(character) for character in rust ^ newest} <= {"Cn"}


PIECES = st.sampled_from(
    ["the ", "cat", " sat", "aaaa", "aa", "'s", "'LL", "12345", "\n\n", "  ", "\t", ".", "...", "é", "世界", "🙂", "ſ"]
)
TEXT = st.lists(st.one_of(PIECES, PIECES, st.sampled_from(SHARED)), max_size=30).map("".join)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5), unseen=TEXT, least=st.integers(1, 4), n_merges=st.integers(0, 60))
def test_same_merges_and_same_ids_as_the_reference(
    pattern: str, texts: list[str], unseen: str, least: int, n_merges: int
) -> None:
    if not any(texts):
        texts = ["a"]
    ours = train_tokenizer(texts, TokenizerConfig(vocab_size=320 + n_merges, pattern=pattern, min_frequency=least))
    reference = bpe.train(texts, 320 + n_merges, pattern=pattern, minimum_frequency=least)
    assert ours.merges == list(reference.merges)
    for text in [*texts, unseen]:
        ids = reference.encode(text)
        assert ours.encode(text) == ids
        assert ours.encode_batch([text])[0].tolist() == ids
        assert ours.decode(ids) == reference.decode(ids) == text


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab ", max_size=40), min_size=1, max_size=6),
    least=st.integers(2, 5),
    n_merges=st.integers(1, 40),
)
def test_minimum_frequency_is_exact_where_runs_abound(texts: list[str], least: int, n_merges: int) -> None:
    texts = [*texts, "a"]
    ours = train_tokenizer(texts, TokenizerConfig(vocab_size=320 + n_merges, min_frequency=least))
    assert ours.merges == list(bpe.train(texts, 320 + n_merges, minimum_frequency=least).merges)


@pytest.fixture(scope="module")
def shakespeare(data_dir: Path) -> str:
    return gzip.decompress((data_dir / "text-tinyshakespeare" / "input.txt.gz").read_bytes()).decode("utf-8")


def test_same_merges_and_ids_on_shakespeare(shakespeare: str) -> None:
    text = shakespeare[:200_000]
    ours = train_tokenizer([text], TokenizerConfig(vocab_size=2000))
    reference = bpe.train(text, 2000)
    assert ours.merges == list(reference.merges)
    part = shakespeare[-20_000:]
    assert ours.encode(part) == reference.encode(part)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_same_merges_on_a_megabyte(shakespeare: str, pattern: str) -> None:
    for least in (1, 2, 30):
        ours = train_tokenizer([shakespeare], TokenizerConfig(vocab_size=16_000, min_frequency=least, pattern=pattern))
        reference = bpe.train(shakespeare, 16_000, minimum_frequency=least, pattern=pattern)
        assert ours.merges == list(reference.merges)


def test_nothing_is_counted_in_full_where_a_few_places_prove_the_frequency(shakespeare: str) -> None:
    tokenizer = train_tokenizer([shakespeare], TokenizerConfig(vocab_size=2000, min_frequency=1))
    tokens = [tokenizer.token_bytes(i) for i in range(64, 2000)]

    def encode(window: str) -> list[int]:
        assert len(window) < 5000
        return [i - 64 for i in tokenizer.encode(window)]

    assert surely_frequent([shakespeare], tokens, encode, 2)
    assert not surely_frequent([shakespeare], tokens, encode, 10**6)


# --- blocks and threads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=300, deadline=None)
@given(text=TEXT, size=st.integers(1, 12))
def test_blocks_split_apart_as_they_do_together(name: str, text: str, size: int) -> None:
    blocks = blocks_of(text, size)
    assert "".join(blocks) == text
    assert [piece for block in blocks for piece in split(block, name)] == split(text, name)


def test_a_batch_is_its_texts_in_order_whatever_their_sizes(shakespeare: str) -> None:
    tokenizer = train_tokenizer([shakespeare], TokenizerConfig(vocab_size=1000))
    texts = ["", shakespeare, "a", shakespeare[:70_000], "", *shakespeare[:50_000].splitlines(keepends=True)]
    encoded = tokenizer.encode_batch(texts)
    assert [ids.dtype.name for ids in encoded[:3]] == ["uint32"] * 3
    assert [ids.tolist() for ids in encoded] == [tokenizer.encode(text) for text in texts]


def test_a_text_without_a_place_to_cut_is_encoded_whole() -> None:
    tokenizer = train_tokenizer(["aaaa aaaa"], TokenizerConfig(vocab_size=330))
    text = "a" * 200_000
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text
    assert tokenizer.encode(text) == tokenizer.encode_batch([text])[0].tolist()


def test_patterns_match_all_of_any_text() -> None:
    for pattern in PATTERNS.values():
        assert isinstance(pattern, SplitPattern)
        assert rust_matches(pattern.regex, SCALARS) == SCALARS


def test_training_twice_gives_the_same_tokenizer(shakespeare: str) -> None:
    config = TokenizerConfig(vocab_size=3000)
    lines = shakespeare.splitlines(keepends=True)
    first: Tokenizer = train_tokenizer(lines, config)
    assert train_tokenizer(iter(lines), config) == first
    assert train_tokenizer(lines[::-1], config) == first
