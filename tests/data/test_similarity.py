"""Window hashes, sketches, and the pairs they find."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundzero.data.similarity import code_points, near_pairs, resemblance, sketch, window_hashes

WORDS = [f"{a}{b}{c}" for a in "bdkmst" for b in "aeiou" for c in "lnrst"]


def prose(seed: int, words: int = 300) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@given(st.text(max_size=40), st.integers(0, 4))
def test_equal_windows_have_equal_hashes_and_others_differ(text: str, log2: int) -> None:
    width = 2**log2
    windows = [text[i : i + width] for i in range(len(text) - width + 1)]
    hashes = window_hashes(code_points(text), log2).tolist()
    assert len(hashes) == len(windows)
    assert len(set(hashes)) == len(set(windows))
    assert len(set(zip(windows, hashes, strict=True))) == len(set(windows))


def test_hashes_collide_no_more_than_chance() -> None:
    hashes = window_hashes(np.random.default_rng(0).integers(0, 60, 300_000), 6)
    assert len(np.unique(hashes)) == len(hashes)
    for shift in (0, 20, 40, 56):  # every bit is as good as another: 256 cells of 1,172 +- 34
        counts = np.bincount(((hashes >> np.uint64(shift)) & np.uint64(255)).astype(int), minlength=256)
        assert counts.min() > 950
        assert counts.max() < 1400


def test_resemblance_is_the_share_of_shingles() -> None:
    a, b = prose(1), prose(2)
    assert resemblance(sketch(code_points(a)), sketch(code_points(a))) == 1
    assert resemblance(sketch(code_points(a)), sketch(code_points(b))) < 0.05
    half = sketch(code_points(a + b))
    assert 0.3 < resemblance(half, sketch(code_points(a))) < 0.7  # 0.5 +- 0.044 of a sample of 128
    assert resemblance(sketch(code_points("short")), half) == 0


def test_near_copies_are_found_and_nothing_else() -> None:
    texts = [prose(seed) for seed in range(200)]
    texts[150] = texts[20].replace("bal", "mul")
    texts[199] = texts[20][:-30]
    pairs = near_pairs([sketch(code_points(text)) for text in texts], 0.8)
    assert {later for _, later, _ in pairs} == {150, 199}
    assert all(earlier in (20, 150) and share >= 0.8 for earlier, _, share in pairs)


def test_a_text_copied_often_gives_a_pair_a_copy() -> None:
    texts = [prose(0) + f" copy {number}" for number in range(100)]
    assert len(near_pairs([sketch(code_points(text)) for text in texts], 0.8)) == 99
