"""The permutation of an epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundzero.data.order import mix, permute


@given(n=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_it_is_a_bijection(n: int, key: int) -> None:
    assert sorted(permute(np.arange(n), n, key)) == list(range(n))


@given(n=st.integers(1, 10**12), key=st.integers(0, 2**64 - 1), data=st.data())
def test_an_index_goes_to_the_same_place_alone_or_in_company(n: int, key: int, data: st.DataObject) -> None:
    indices = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=9)))
    together = permute(indices, n, key)
    assert ((together >= 0) & (together < n)).all()
    assert [int(permute(indices[i : i + 1], n, key)[0]) for i in range(len(indices))] == together.tolist()


def test_the_order_is_the_same_for_ever() -> None:
    """A change here would make every interrupted run see other batches when it resumes."""
    assert permute(np.arange(10), 10, 42).tolist() == [8, 6, 7, 4, 9, 0, 5, 2, 1, 3]
    assert mix(0) == 16294208416658607535  # splitmix64's published first output for seed 0


def test_it_is_evenly_mixed() -> None:
    """Over many keys each element visits each place about equally often: chi-square of 12 x 12 cells near 121."""
    n, keys = 12, 6000
    counts = np.zeros((n, n))
    for key in range(keys):
        counts[np.arange(n), permute(np.arange(n), n, mix(key))] += 1
    expected = keys / n
    assert ((counts - expected) ** 2 / expected).sum() < 200  # 121 +- 15.6, so five standard deviations


def test_neighbours_are_parted() -> None:
    places = permute(np.arange(10_000), 10_000, 7)
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.05
