"""Cached and uncached logits agree: every family, however the tokens are cut into passes, alone and in a batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]
POSITIONS = ["learned", "sinusoidal", "rotary"]
CONTEXT = 40
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # logits here reach 30


def uncached(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0][0]


def cached(model, cache, rows, ids: list[int], cuts: list[int]) -> torch.Tensor:
    """Logits of a run of rows that all read `ids`, in passes that end at the cuts."""
    borders = sorted({0, len(ids), *cuts})
    pieces = []
    for start, stop in itertools.pairwise(borders):
        ids_BT = torch.tensor([ids[start:stop]] * (rows[1] - rows[0]))
        with torch.no_grad():
            pieces.append(model(ids_BT, cache=cache.rows(*rows))[0])
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize("capacity", [None, CONTEXT], ids=["growing", "static"])
@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
@pytest.mark.parametrize("window", [0, 1, 7])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_token_by_token_and_in_chunks(make_model, family, position, window, n_kv_head, capacity):
    model = make_model(family=family, position=position, window=window, n_kv_head=n_kv_head, context=CONTEXT)
    ids = torch.randint(97, (CONTEXT,), generator=torch.Generator().manual_seed(1)).tolist()
    want_TV = uncached(model, ids)
    for cuts in ([*range(CONTEXT)], [1], [7, 8, 15], [39]):
        got_BTV = cached(model, model.new_cache(2, capacity), (0, 1), ids, cuts)
        torch.testing.assert_close(got_BTV[0], want_TV, **CLOSE)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    family=st.sampled_from(FAMILIES),
    window=st.sampled_from([0, 3]),
    lengths=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    n_new=st.integers(1, 8),
    cuts=st.lists(st.integers(1, 29), max_size=3),
    static=st.booleans(),
)
def test_rows_of_different_lengths_in_one_pass(make_model, family, window, lengths, n_new, cuts, static):
    model = make_model(family=family, window=window, context=CONTEXT, n_kv_head=2)
    cache = model.new_cache(len(lengths), CONTEXT if static else None)
    generator = torch.Generator().manual_seed(2)
    texts = [torch.randint(97, (length + n_new,), generator=generator).tolist() for length in lengths]
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        cached(model, cache, (row, row + 1), text[:length], [cut for cut in cuts if cut < length])
    new_BT = torch.tensor([text[-n_new:] for text in texts])
    with torch.no_grad():
        got_BTV = model(new_BT, cache=cache.rows(0, len(lengths)))[0]
    for got_TV, text in zip(got_BTV, texts, strict=True):
        torch.testing.assert_close(got_TV, uncached(model, text)[-n_new:], **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_the_same_alone_and_among_others(make_model, family):
    model = make_model(family=family, context=CONTEXT)
    ids = list(range(20, 50))
    alone = cached(model, model.new_cache(1), (0, 1), ids, [10, 20, 21, 22])
    among = cached(model, model.new_cache(6), (1, 5), ids, [10, 20, 21, 22])
    for row in among:
        torch.testing.assert_close(row, alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaling", ["linear", "yarn"])
def test_stretched_rotary_positions(make_model, scaling):
    rotary_scaling = {"method": scaling, "factor": 2.0, "original_context": CONTEXT // 2}
    model = make_model(family="llama", rotary_scaling=rotary_scaling, rotary_fraction=0.5, context=CONTEXT)
    ids = list(range(CONTEXT))
    got_BTV = cached(model, model.new_cache(1), (0, 1), ids, [3, 4, 5, 30])
    torch.testing.assert_close(got_BTV[0], uncached(model, ids), **CLOSE)


def test_a_fault_in_the_cache_would_be_seen(make_model):
    """The same comparison, with one stored value disturbed, fails."""
    model, ids = make_model(context=CONTEXT), list(range(20))
    cache = model.new_cache(1)
    cached(model, cache, (0, 1), ids[:10], [])
    cache.values_LBKSE[0, 0, 0, 3, 0] += 0.5
    got_BTV = cached(model, cache, (0, 1), ids[10:], [])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(got_BTV[0], uncached(model, ids)[10:], **CLOSE)
