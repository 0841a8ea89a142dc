"""A cache changes what a token costs and nothing else: cached logits are those of the whole text read at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import InputError
from groundzero.model import GPT
from groundzero.model.cache import CacheRows, KVCache

FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # logits here reach 10
N_ROW = 3
LONGEST = 24
SWITCHES = st.fixed_dictionaries(
    {"family": st.sampled_from(FAMILIES)},
    optional={
        "n_kv_head": st.sampled_from([1, 2]),
        "window": st.integers(1, 8),
        "position": st.sampled_from(["learned", "sinusoidal", "rotary"]),
        "rotary_fraction": st.just(0.5),
        "rotary_scaling": st.sampled_from(
            [{"method": method, "factor": 2.0, "original_context": 12} for method in ("linear", "yarn")]
        ),
    },
)
ROW = st.integers(0, N_ROW - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), ROW, st.integers(1, N_ROW), st.integers(1, 9)),
        st.tuples(st.just("truncate"), ROW, st.floats(0, 1)),
        st.tuples(st.just("copy"), ROW, ROW),
        st.tuples(st.just("move"), ROW, ROW),
    ),
    min_size=1,
    max_size=9,
)


def uncached(model: GPT, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0][0]


def run_steps(model: GPT, cache: KVCache, steps: list[tuple[Any, ...]], longest: int = LONGEST) -> None:
    """Do the steps to the cache and, beside it, to plain lists of ids; compare at every reading."""
    generator = torch.Generator().manual_seed(9)
    texts: list[list[int]] = [[] for _ in range(cache.batch_size)]
    for name, row, *rest in steps:
        if name == "read":
            stop = min(row + rest[0], len(texts))
            n_new = min(rest[1], longest - max(len(text) for text in texts[row:stop]))
            if n_new < 1:
                continue
            new_BT = torch.randint(53, (stop - row, n_new), generator=generator)
            with torch.no_grad():
                got_BTV = model(new_BT, cache=cache.rows(row, stop))[0]
            for at, got_TV in zip(range(row, stop), got_BTV, strict=True):
                texts[at] += new_BT[at - row].tolist()
                torch.testing.assert_close(got_TV, uncached(model, texts[at])[-n_new:], **CLOSE)
        elif name == "truncate":
            length = int(rest[0] * len(texts[row]))
            cache.truncate(row, length)
            del texts[row][length:]
        elif name == "copy":
            cache.copy_row(row, rest[0])
            texts[rest[0]] = list(texts[row])
        else:  # out of one cache and back into another place
            cache.write_row(rest[0], *cache.read_row(row))
            texts[rest[0]] = list(texts[row])
        assert cache.lengths == [len(text) for text in texts]


@given(switches=SWITCHES, steps=STEPS, static=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_use_of_a_cache_gives_uncached_logits(make_model, switches, steps, static) -> None:
    model = make_model(**switches)
    run_steps(model, model.new_cache(N_ROW, LONGEST if static else None), steps)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("window", [0, 6])
@pytest.mark.parametrize("family", ["llama", "qwen3", "speedrun"])
def test_rotary_positions_go_on_beyond_the_context(make_model, family, window, static) -> None:
    """Trained on 24 tokens, read to 200: growing past 64 slots and past the rotary tables."""
    model = make_model(family=family, window=window)
    steps = [("read", 0, 1, 50), ("read", 1, 1, 7), *[("read", 0, 2, n) for n in (1, 60, 1, 1, 70, 10)]]
    run_steps(model, model.new_cache(N_ROW, 200 if static else None), steps, longest=200)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "classic"])
def test_a_table_of_positions_ends(make_model, make_ids, family, cached) -> None:
    model = make_model(family=family)
    with pytest.raises(InputError, match="25 tokens does not fit the 24 positions"), torch.no_grad():
        if cached:
            cache = model.new_cache(1)
            model(make_ids(1, 20), cache=cache)
            model(make_ids(1, 5), cache=cache)
        else:
            model(make_ids(1, 25))


@pytest.mark.parametrize("family", ["gpt2", "classic"])
def test_a_table_of_positions_ends_for_uneven_rows_too(make_model, make_ids, family) -> None:
    model = make_model(family=family)
    cache = model.new_cache(2)
    with torch.no_grad():
        model(make_ids(1, 24), cache=cache.rows(0, 1))
        model(make_ids(1, 3), cache=cache.rows(1, 2))
        with pytest.raises(InputError, match="25 tokens does not fit the 24 positions"):
            model(make_ids(2, 1), cache=cache)
        assert cache.lengths == [24, 3]
        run_on = model(make_ids(1, 1), cache=cache.rows(1, 2))[0]
    ids = [*make_ids(1, 3)[0].tolist(), *make_ids(1, 1)[0].tolist()]
    torch.testing.assert_close(run_on[0], uncached(model, ids)[-1:], **CLOSE)


def test_a_whole_cache_is_all_its_rows(make_model, make_ids) -> None:
    model, ids_BT = make_model(), make_ids(2, 10)
    with torch.no_grad():
        whole, rows = model.new_cache(2), model.new_cache(2)
        assert torch.equal(model(ids_BT, cache=whole)[0], model(ids_BT, cache=rows.all_rows())[0])
    assert whole.lengths == rows.lengths == [10, 10]


def test_capacity_grows_by_doubling_or_not_at_all(make_model, make_ids) -> None:
    model = make_model()
    growing, static = model.new_cache(1), model.new_cache(1, 10)
    with torch.no_grad():
        model(make_ids(1, 10), cache=growing)
        assert growing.capacity == 24  # its first guess is the context
        model(make_ids(1, 15), cache=growing)
        assert growing.capacity == 48
        model(make_ids(1, 10), cache=static)
        assert static.capacity == 10
        with pytest.raises(AssertionError, match="static cache of 10 tokens cannot hold 11"):
            model(make_ids(1, 1), cache=static)
    assert static.lengths == [10]


def test_size_and_precision_follow_the_model(make_model) -> None:
    model = make_model(n_kv_head=2)
    cache = model.new_cache(3, 10)
    assert cache.keys_LBKSE.shape == cache.values_LBKSE.shape == (2, 3, 2, 10, 8)
    assert cache.nbytes == 2 * 2 * 3 * 2 * 10 * 8 * 4
    model.compute_dtype = torch.bfloat16
    assert model.new_cache(1).keys_LBKSE.dtype == torch.bfloat16
    model.compute_dtype = None
    assert make_model().double().new_cache(1).keys_LBKSE.dtype == torch.float64


def test_truncating_beyond_what_is_there_is_refused(make_model, make_ids) -> None:
    model = make_model()
    cache = model.new_cache(1)
    with torch.no_grad():
        model(make_ids(1, 4), cache=cache)
    for length in (-1, 5):
        with pytest.raises(AssertionError):
            cache.truncate(0, length)
    for start, stop in ((0, 0), (0, 2), (-1, 1)):
        with pytest.raises(AssertionError):
            cache.rows(start, stop)


def test_what_is_read_of_a_row_is_a_copy(make_model, make_ids) -> None:
    model = make_model()
    cache = model.new_cache(2)
    with torch.no_grad():
        model(make_ids(2, 6), cache=cache)
    keys_LKSE, values_LKSE = cache.read_row(0)
    assert keys_LKSE.shape == values_LKSE.shape == (2, 4, 6, 8)
    keys_LKSE.zero_()
    assert cache.keys_LBKSE[:, 0, :, :6].ne(0).any()


@pytest.mark.parametrize("broken", ["positions", "truncate", "uneven"])
def test_a_broken_cache_is_seen(make_model, monkeypatch, broken) -> None:
    if broken == "positions":  # new tokens believe that they stand at the start
        monkeypatch.setattr(CacheRows, "positions", lambda self, n_new: slice(0, n_new))
    elif broken == "truncate":
        monkeypatch.setattr(KVCache, "truncate", lambda self, row, length: None)
    else:  # every row believes that it is as long as the longest
        monkeypatch.setattr(CacheRows, "positions", lambda self, n_new: slice(self.longest, self.longest + n_new))
    steps = [("read", 0, 1, 8), ("read", 1, 1, 3), ("read", 0, 2, 4), ("truncate", 0, 0.5), ("read", 0, 1, 3)]
    model = make_model(family="gpt2")
    with pytest.raises(AssertionError):
        run_steps(model, model.new_cache(N_ROW), steps)
