"""The background thread: what it makes, how it fails, and that it always ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from groundzero.data import BatchLoader, TokenDataset
from groundzero.data.prefetch import Prefetch


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "groundzero-prefetch"]


def test_it_gives_what_the_loader_gives() -> None:
    loader = BatchLoader(TokenDataset.from_ids(range(500), range(9)), batch_size=2, context=8, seed=5)
    with loader.prefetch(3, 9) as batches:
        seen = dict(batches)
    assert list(seen) == [3, 4, 5, 6, 7, 8]
    assert all(torch.equal(batch.tokens_BT, loader.batch(step).tokens_BT) for step, batch in seen.items())


def test_it_ends_when_the_consumer_leaves_early() -> None:
    made = []
    with Prefetch(lambda step: made.append(step) or step, 0, None, 2) as items:
        for step, _ in items:
            if step == 5:
                break
    assert 5 < len(made) <= 5 + 1 + 2 + 1  # seen, waiting in the queue, in the hand


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_it_ends_when_the_consumer_fails(interruption: type[BaseException]) -> None:
    with pytest.raises(interruption), Prefetch(lambda step: step, 0, None, 2) as items:
        next(items)
        raise interruption


def test_it_ends_when_nobody_takes_anything() -> None:
    before = threading.active_count()
    with Prefetch(lambda step: step, 0, None, 1):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_what_fails_in_the_thread_is_raised_in_its_place() -> None:
    def make(step: int) -> int:
        return 10 // (2 - step)

    with Prefetch(make, 0, None, 4) as items:
        assert next(items) == (0, 5)
        assert next(items) == (1, 10)
        with pytest.raises(ZeroDivisionError):
            next(items)
