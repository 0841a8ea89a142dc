"""Batches by step: exact, complete, and the same whenever they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundzero.data import BatchLoader, TokenDataset
from groundzero.data.loader import Batch
from groundzero.errors import InputError, UsageError

documents_lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def dataset_of(train: list[int], validation: list[int] | None = None) -> TokenDataset:
    """Documents of these lengths whose ids count 1, 2, 3, ... over the whole stream, so that an id tells its place."""
    validation = validation or [2, 3]
    return TokenDataset.from_ids(
        np.arange(1, sum(train) + 1),
        np.arange(1, sum(validation) + 1),
        train_starts=np.cumsum([0, *train[:-1]]),
        validation_starts=np.cumsum([0, *validation[:-1]]),
    )


def epoch(loader: BatchLoader, number: int) -> list[tuple[torch.Tensor, ...]]:
    """The windows of an epoch, row by row, taken out of the batches that hold them."""
    first = number * loader.windows_per_epoch
    rows = []
    for window in range(first, first + loader.windows_per_epoch):
        step, row = divmod(window, loader.batch_size)
        batch = loader.batch(step)
        rows.append((batch.tokens_BT[row], batch.targets_BT[row], batch.documents_BT[row], batch.positions_BT[row]))
    return rows


@given(
    lengths=documents_lengths,
    context=st.integers(1, 20),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    number=st.integers(0, 5),
)
def test_in_an_epoch_every_token_but_a_documents_first_is_a_target_once(
    lengths: list[int], context: int, batch_size: int, seed: int, number: int
) -> None:
    dataset = dataset_of(lengths)
    if len(dataset.train) <= context:
        return
    loader = BatchLoader(dataset, batch_size=batch_size, context=context, seed=seed)
    targets = torch.cat([targets for _, targets, _, _ in epoch(loader, number)])
    firsts = {int(start) + 1 for start in dataset.train.starts}
    assert sorted(targets[targets >= 0].tolist()) == [i for i in range(1, len(dataset.train) + 1) if i not in firsts]


def test_an_order_that_repeats_a_window_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property above is put to the test."""
    monkeypatch.setattr("groundzero.data.windows.permute", lambda indices, n, key: indices // 2)
    dataset = dataset_of([30])
    targets = torch.cat([row[1] for row in epoch(BatchLoader(dataset, batch_size=2, context=4), 0)])
    assert sorted(targets[targets >= 0].tolist()) != list(range(2, 31))


@given(lengths=documents_lengths, context=st.integers(1, 20), batch_size=st.integers(1, 9), step=st.integers(0, 50))
def test_rows_are_consistent(lengths: list[int], context: int, batch_size: int, step: int) -> None:
    """A target is the next token of the same document; positions and documents follow the borders."""
    dataset = dataset_of(lengths)
    if len(dataset.train) <= context:
        return
    batch = BatchLoader(dataset, batch_size=batch_size, context=context, seed=3).batch(step)
    assert_consistent(batch, dataset.train.starts)
    assert batch.tokens_BT.shape == (batch_size, context)


def assert_consistent(batch: Batch, starts: np.ndarray) -> None:
    document_of = lambda token: int(np.searchsorted(starts, token - 1, side="right"))  # noqa: E731
    borders = False
    for tokens, targets, documents, positions in zip(
        batch.tokens_BT.tolist(),
        batch.targets_BT.tolist(),
        batch.documents_BT.tolist(),
        batch.positions_BT.tolist(),
        strict=True,
    ):
        for t, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            assert target in (-1, token + 1)
            if token == 0:
                assert target == -1
            if target >= 0 and t + 1 < len(tokens) and tokens[t + 1]:
                assert tokens[t + 1] == target
            if t == 0:
                continue
            continues = token == tokens[t - 1] + 1 and document_of(token) == document_of(tokens[t - 1])
            continues = continues or token == tokens[t - 1] == 0
            assert documents[t] == documents[t - 1] + (not continues)
            assert positions[t] == (positions[t - 1] + 1 if continues else 0)
            borders = borders or not continues
    assert borders <= batch.has_borders
    assert batch.tokens_BT.dtype == batch.targets_BT.dtype == torch.int64
    assert batch.documents_BT.dtype == batch.positions_BT.dtype == torch.int32


@given(lengths=documents_lengths, seed=st.integers(0, 99), steps=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_a_batch_depends_on_its_step_alone(lengths: list[int], seed: int, steps: list[int]) -> None:
    dataset = dataset_of([*lengths, 5])
    loader = BatchLoader(dataset, batch_size=3, context=4, seed=seed)
    for step in steps:
        again = BatchLoader(dataset, batch_size=3, context=4, seed=seed).batch(step)
        assert equal(loader.batch(step), again)


def equal(a: Batch, b: Batch) -> bool:
    same = (
        torch.equal(getattr(a, name), getattr(b, name))
        for name in ("tokens_BT", "targets_BT", "documents_BT", "positions_BT")
    )
    return all(same) and a.has_borders == b.has_borders


def test_epochs_and_seeds_differ() -> None:
    dataset = dataset_of([1000])
    loader = BatchLoader(dataset, batch_size=1, context=10, seed=0)
    other = BatchLoader(dataset, batch_size=1, context=10, seed=1)
    order = [[int(row[0][0]) for row in epoch(each, number)] for each in (loader, other) for number in (0, 1)]
    assert len({tuple(firsts) for firsts in order}) == 4
    assert len({firsts[0] % 10 for firsts in order}) > 1  # the windows are cut at other places too


@given(lengths=documents_lengths, context=st.integers(1, 50), batch_size=st.integers(1, 9), limit=st.integers(2, 300))
def test_a_validation_pass_has_every_target_once_and_in_order(
    lengths: list[int], context: int, batch_size: int, limit: int
) -> None:
    lengths = [*lengths, 2]
    dataset = dataset_of([60], lengths)
    loader = BatchLoader(dataset, batch_size=batch_size, context=context)
    stop = min(limit, sum(lengths))
    firsts = {int(start) + 1 for start in dataset.validation.starts}
    batches = list(loader.validation_batches(max_tokens=limit))
    for batch in batches:
        assert batch.tokens_BT.shape == (batch_size, context)
        assert_consistent(batch, dataset.validation.starts)
    targets = torch.cat([batch.targets_BT.flatten() for batch in batches])
    assert targets[targets >= 0].tolist() == [i for i in range(1, stop + 1) if i not in firsts]


def test_validation_bytes_are_those_of_the_targets() -> None:
    ids = [1, 5, 6, 2, 1, 7, 2]
    lengths = [0, 0, 0, 9, 9, 3, 4, 5]
    dataset = TokenDataset.from_ids([1] * 9, ids, validation_starts=[0, 4], token_bytes=lengths)
    loader = BatchLoader(dataset, batch_size=2, context=3)
    assert loader.validation_bytes() == 3 + 4 + 5
    assert loader.validation_bytes(max_tokens=3) == 3 + 4
    assert BatchLoader(dataset_of([9]), batch_size=2, context=3).validation_bytes() is None


def test_a_single_document_has_no_borders_inside() -> None:
    """So the plain causal path can be taken, but for the window in which the ring closes."""
    loader = BatchLoader(dataset_of([1001]), batch_size=1, context=10)
    borders = [loader.batch(step).has_borders for step in range(loader.steps_per_epoch)]
    assert 1 <= sum(borders) <= 2


def test_steps_and_epochs() -> None:
    loader = BatchLoader(dataset_of([100]), batch_size=4, context=10)
    assert loader.windows_per_epoch == 10
    assert loader.steps_per_epoch == 3
    assert loader.steps_for(2) == 5
    assert loader.steps_for(0.01) == 1
    assert loader.epoch_at(5) == 2.0


def test_a_corpus_shorter_than_the_context_is_refused_with_the_numbers() -> None:
    with pytest.raises(InputError, match=r"train split has 10 tokens; a context of 10 needs at least 11.*below 10"):
        BatchLoader(dataset_of([10]), batch_size=1, context=10)
    assert BatchLoader(dataset_of([11]), batch_size=1, context=10).batch(0).tokens_BT.shape == (1, 10)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="batch_size 0"):
        BatchLoader(dataset_of([10]), batch_size=0, context=2)
    with pytest.raises(UsageError, match="context 0"):
        BatchLoader(dataset_of([10]), batch_size=1, context=0)


def test_a_validation_split_of_one_token_is_refused() -> None:
    dataset = TokenDataset.from_ids(range(20), [1])
    with pytest.raises(InputError, match="validation split has 1 token"):
        list(BatchLoader(dataset, batch_size=1, context=4).validation_batches())


def test_the_seed_and_step_name_the_same_batch_for_ever() -> None:
    """A change here breaks the exact resumption of every run in progress."""
    batch = BatchLoader(dataset_of([7, 30]), batch_size=2, context=5, seed=1337).batch(2)
    assert batch.tokens_BT.tolist() == [[13, 14, 15, 16, 17], [18, 19, 20, 21, 22]]
