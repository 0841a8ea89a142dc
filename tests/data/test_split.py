"""Which documents are held back."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.data import DataConfig
from groundzero.data.split import Documents, SplitPlan, plan_split
from groundzero.errors import InputError

hashes = st.integers(0, 2**64 - 1)
documents = st.lists(st.tuples(hashes, st.integers(1, 1000)), min_size=2, max_size=80)


def plan(pairs: list[tuple[int, int]], split: str = "auto", fraction: float = 0.1) -> SplitPlan:
    known = Documents(array("Q", [hash_ for hash_, _ in pairs]), array("Q", [size for _, size in pairs]))
    return plan_split(known, DataConfig(split=split, validation_fraction=fraction))


def share(pairs: list[tuple[int, int]], made: SplitPlan) -> float:
    return 1 - sum(made.train_characters) / sum(size for _, size in pairs)


@given(documents, st.floats(0.01, 0.99), st.sampled_from(["auto", "document", "tail"]))
def test_both_sides_get_something(pairs: list[tuple[int, int]], fraction: float, split: str) -> None:
    if len({hash_ for hash_, _ in pairs}) < 2 or max(size for _, size in pairs) < 2:
        return
    made = plan(pairs, split, fraction)
    assert 0 < sum(made.train_characters) < sum(size for _, size in pairs)
    assert all(kept <= size for kept, (_, size) in zip(made.train_characters, pairs, strict=True))
    if made.kind == "document":
        assert all(kept in (0, size) for kept, (_, size) in zip(made.train_characters, pairs, strict=True))


@given(documents, st.floats(0.01, 0.9))
def test_auto_splits_documents_only_near_the_wanted_share(pairs: list[tuple[int, int]], fraction: float) -> None:
    if len({hash_ for hash_, _ in pairs}) < 2 or max(size for _, size in pairs) < 2:
        return
    made = plan(pairs, "auto", fraction)
    if made.kind == "document":
        assert fraction / 2 <= share(pairs, made) <= 2 * fraction
        assert share(pairs, made) < 1


def test_a_book_and_a_read_me_are_split_by_tail() -> None:
    for hashes in ((0, 2**63), (2**63, 0), (2**63, 2**62)):
        made = plan([(hashes[0], 1_000_000), (hashes[1], 300)])
        assert made.kind == "tail"
        assert list(made.train_characters) == [900_000, 270]


def test_documents_of_one_kind_stay_whole_even_where_the_hash_is_unlucky() -> None:
    """A hundred documents of which the fixed threshold would hold back none."""
    pairs = [(2**63 + number, 100) for number in range(100)]
    made = plan(pairs)
    assert made.kind == "document"
    assert share(pairs, made) == pytest.approx(0.1)


def test_equal_documents_stay_together_or_are_split_by_tail() -> None:
    assert plan([(5, 10), (5, 10)]).kind == "tail"
    with pytest.raises(InputError, match="two different documents"):
        plan([(5, 10), (5, 10)], "document")


def test_one_character_cannot_be_split() -> None:
    with pytest.raises(InputError, match="1 character"):
        plan([(5, 1)])
