"""The readable BPE: its split equals the published patterns, its merges are what recounting from scratch gives."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.reference import tokenizer as bpe
from groundzero.reference.split import SCANNERS, WHITE_SPACE, character_class, split
from groundzero.tokenizer import PATTERNS

SCALARS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
CLASSES = {"L": r"\p{L}", "N": r"\p{N}", "S": r"\s"}


# Text that stresses a splitter: endings, case folds, line ends, odd spaces, digits of many scripts, marks, emoji.
TRICKY = st.one_of(
    st.sampled_from("'sSſK0٣²Ⅷé世界🙂!_\r\n\t \u00a0\u3000\x85\x1c\x00\ufeff\u200b"),
    st.sampled_from(["ll", "'LL", "'re", "123", "e\u0301", "👩\u200d🚀", "...", "\r\n", "  "]),
)
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])
TEXT = st.lists(st.one_of(TRICKY, KNOWN, st.sampled_from("abc XYZ09.,'\n"))).map("".join)


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=600, deadline=None)
@given(text=TEXT)
def test_the_scanner_cuts_where_the_regular_expression_cuts(name: str, text: str) -> None:
    assert split(text, name) == regex.findall(PATTERNS[name].regex, text)


def test_every_pattern_has_a_scanner() -> None:
    assert set(SCANNERS) == set(PATTERNS)


def test_white_space_is_the_unicode_property() -> None:
    assert set(regex.findall(r"\p{White_Space}", "".join(SCALARS))) == WHITE_SPACE


def test_classes_differ_from_the_regex_module_only_on_characters_this_python_does_not_know() -> None:
    text = "".join(SCALARS)
    for name, pattern in CLASSES.items():
        ours = {character for character in SCALARS if character_class(character) == name}
        differing = ours ^ set(regex.findall(pattern, text))
        assert {unicodedata.category(character) for character in differing} <= {"Cn"}, name


def test_an_unknown_pattern_is_named() -> None:
    with pytest.raises(ValueError, match=r"'gpt9'.*qwen2"):
        split("text", "gpt9")


# --- training ------------------------------------------------------------------------------------------------------


def naive_merges(text: str, n_merges: int, minimum_frequency: int, first_merge: int) -> list[tuple[int, int]]:
    """The definition: recount everything for every merge."""
    words = [([64 + value for value in piece.encode()], count) for piece, count in Counter(split(text)).items()]
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges:
        counts: Counter[tuple[int, int]] = Counter()
        for word, count in words:
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        merged = [(bpe.merge(word, pair, first_merge + len(merges)), count) for word, count in words]
        made = sum(count * (len(old) - len(new)) for (old, count), (new, _) in zip(words, merged, strict=True))
        if made < minimum_frequency:
            break
        words = merged
        merges.append(pair)
    return merges


REPETITIVE = st.lists(st.sampled_from(["ab", "aab", "aaaa", "a", "b", "ba", " ", "the", "\n"]), max_size=40).map(
    "".join
)


@settings(max_examples=150, deadline=None)
@given(text=REPETITIVE, minimum_frequency=st.integers(1, 4))
def test_incremental_counts_learn_what_recounting_learns(text: str, minimum_frequency: int) -> None:
    trained = bpe.train(text, 320 + 12, minimum_frequency=minimum_frequency)
    assert list(trained.merges) == naive_merges(text, 12, minimum_frequency, 320)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(REPETITIVE, max_size=6), seed=st.randoms())
def test_the_order_of_documents_does_not_matter(texts: list[str], seed: object) -> None:
    shuffled = list(texts)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert bpe.train(texts, 340) == bpe.train(shuffled, 340)


def test_ties_go_to_the_smaller_pair() -> None:
    assert bpe.train("ab ba", 321, minimum_frequency=1).merges == ((64 + ord(" "), 64 + ord("b")),)


def test_a_rare_pair_is_not_merged() -> None:
    assert bpe.train("xyxyxy q", 400, minimum_frequency=4).merges == ()
    assert bpe.train("xy. xy. xy. xy. q", 400, minimum_frequency=3).vocabulary_size > 320


# --- ids and text --------------------------------------------------------------------------------------------------


def test_ids_are_laid_out_controls_then_bytes_then_merges() -> None:
    trained = bpe.train("aa aa aa", 321)
    assert bpe.CONTROL_TOKENS[:7] == ("<PAD>", "<UNK>", "<BOS>", "<EOS>", "<SEP>", "<MASK>", "<KNOW>")
    assert len(set(bpe.CONTROL_TOKENS)) == 64
    assert [trained.tokens[64 + value] for value in range(256)] == [bytes([value]) for value in range(256)]
    assert trained.tokens[320] == b"aa"
    assert set(trained.tokens[:64]) == {b""}


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_round_trips_through_bytes(text: str) -> None:
    trained = bpe.train("the cat sat on the mat; the cat sat", 340)
    assert trained.decode(trained.encode(text)) == text


def test_names_of_control_tokens_in_text_are_text_unless_asked_for() -> None:
    trained = bpe.train("abc", 320)
    assert trained.encode("<EOS>") == [64 + value for value in b"<EOS>"]
    assert trained.encode("a<EOS><|user|>b", control=True) == [64 + ord("a"), 3, 8, 64 + ord("b")]


def test_the_thirty_token_exercise() -> None:
    text = "to be or not to be that is the question"
    trained = bpe.train(text, 30, alphabet="character", controls=bpe.CONTROL_TOKENS[:4], minimum_frequency=1)
    assert trained.vocabulary_size == 30
    assert trained.symbols == tuple(character.encode() for character in sorted(set(text)))
    assert trained.decode(trained.encode(text)) == text
    assert len(trained.encode("to be")) < len("to be")
    assert trained.encode("zebra").count(1) == 1  # z is <UNK>


def test_a_vocabulary_too_small_says_what_it_must_hold() -> None:
    with pytest.raises(ValueError, match="vocabulary_size 319 is less than 64 controls"):
        bpe.train("a", 319)
    with pytest.raises(ValueError, match="needs <UNK>"):
        bpe.train("a", 30, alphabet="character", controls=())


def test_the_module_is_its_own_demo_and_imports_no_torch() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "groundzero.reference.tokenizer"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert "id 29" in shown.stdout
    heavy = "any(name in sys.modules for name in ('torch', 'numpy', 'regex'))"
    check = f"import sys, groundzero.reference.tokenizer; sys.exit({heavy})"
    subprocess.run([sys.executable, "-c", check], check=True)
