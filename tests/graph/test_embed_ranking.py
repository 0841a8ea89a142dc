"""Filtered ranks with realistic ties against a brute-force oracle; bounded memory; the per-relation report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.graph.embed import comparisons, ranking
from groundzero.graph.embed.classification import score_triples
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import initial_tables
from groundzero.graph.embed.ranking import evaluate_ranking, ranks, report
from groundzero.graph.embed.splits import Known

E, R = 13, 3
MODELS = [("transe", 1), ("transe", 2), ("distmult", 2), ("complex", 2), ("rotate", 2)]


def some_triples(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([random.integers(E, size=count), random.integers(R, size=count), random.integers(E, size=count)], 1)


def oracle(config: EmbedConfig, entities, relations, triples, everything) -> np.ndarray:
    """Ranks by definition: score all candidates one by one, drop known ones, average best and worst rank."""
    known = {tuple(row) for row in everything.tolist()}
    found = np.empty((len(triples), 2))
    for i, (s, r, o) in enumerate(triples.tolist()):
        for side in (0, 1):
            candidates = np.array([(s, r, e) if side == 0 else (e, r, o) for e in range(E)])
            scores = score_triples(config, entities, relations, candidates, backward=bool(side))
            truth = scores[o if side == 0 else s]
            others = [
                score
                for row, score in zip(candidates.tolist(), scores, strict=True)
                if tuple(row) not in known and tuple(row) != (s, r, o)
            ]
            better = sum(score > truth for score in others)
            equal = sum(score == truth for score in others)
            found[i, side] = ((better + 1) + (better + equal + 1)) / 2
    return found


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_ranks_equal_brute_force(model, norm, reciprocal) -> None:
    config = EmbedConfig(model=model, norm=norm, dim=4, reciprocal=reciprocal, init="normal", init_scale=1.0)
    entities, relations = initial_tables(config, E, R, dtype=torch.float64)
    everything = some_triples(60, 1)
    test = everything[40:]
    found = ranks(config, entities, relations, test, Known(everything, E, R))
    np.testing.assert_allclose(found, oracle(config, entities, relations, test, everything))


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_ties_are_realistic(model, norm) -> None:
    """Vectors of whole numbers from {0, 1}, where equal scores abound and float arithmetic is exact."""
    config = EmbedConfig(model=model, norm=norm, dim=2)
    generator = torch.Generator().manual_seed(4)
    entities = torch.randint(2, (E, 2), generator=generator).double()
    relations = torch.zeros(2 * R, 1 if model == "rotate" else 2).double() + (model in ("distmult", "complex"))
    everything = some_triples(50, 2)
    found = ranks(config, entities, relations, everything[:30], Known(everything, E, R))
    expected = oracle(config, entities, relations, everything[:30], everything)
    np.testing.assert_allclose(found, expected)
    assert (found % 1 == 0.5).any(), "no tie was seen"


def test_a_constant_score_earns_the_middle_rank() -> None:
    config = EmbedConfig(model="distmult", dim=2)
    triples = np.array([[0, 0, 1]])
    zeros = torch.zeros(E, 2), torch.zeros(2 * R, 2)
    found = ranks(config, *zeros, triples, Known(triples, E, R))
    np.testing.assert_array_equal(found, [[(1 + E) / 2] * 2])


def test_scores_that_are_no_numbers_earn_no_first_rank() -> None:
    config = EmbedConfig(model="distmult", dim=2)
    triples = np.array([[0, 0, 1]])
    broken = torch.full((E, 2), float("nan")), torch.ones(2 * R, 2)
    assert (ranks(config, *broken, triples, Known(triples, E, R)) > E / 3).all()


def test_known_answers_of_every_split_are_left_out() -> None:
    config = EmbedConfig(model="distmult", dim=1 + 1)
    entities = torch.arange(E).double()[:, None].repeat(1, 2)
    relations = torch.ones(2 * R, 2).double()
    triple = np.array([[3, 0, 5]])
    alone = ranks(config, entities, relations, triple, Known(triple, E, R))
    beside = np.array([[3, 0, 5], [3, 0, 9], [3, 0, 12], [7, 0, 5], [3, 1, 11], [3, 0, 1]])
    filtered = ranks(config, entities, relations, triple, Known(beside, E, R))
    np.testing.assert_array_equal(alone - filtered, [[2, 1]])  # 9 and 12 outrank 5 as objects, 7 outranks 3 as subject


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), rows=st.integers(1, 70), memory=st.sampled_from([1, 3, 100]))
def test_ranks_do_not_depend_on_blocks_or_order(seed, rows, memory) -> None:
    config = EmbedConfig(dim=4, init="normal", init_scale=1.0, seed=seed % 1000)
    tables = initial_tables(config, E, R, dtype=torch.float64)
    triples = some_triples(rows, seed)
    known = Known(triples, E, R)
    whole = ranks(config, *tables, triples, known)
    order = np.random.default_rng(seed).permutation(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "MAX_QUESTIONS", memory)
        patch.setattr(ranking, "COUNT_BYTES", 100 * memory)
        np.testing.assert_array_equal(ranks(config, *tables, triples[order], known), whole[order])


def test_the_score_matrix_stays_within_the_bound(monkeypatch) -> None:
    n_entities = 5000
    config = EmbedConfig(dim=2, memory_mb=1)
    tables = initial_tables(config, n_entities, 1)
    random = np.random.default_rng(0)
    triples = np.stack(
        [random.integers(n_entities, size=400), np.zeros(400, int), random.integers(n_entities, size=400)], 1
    )
    seen = []
    inner = comparisons.Euclidean.ranking

    def watched(self, query, entities):
        scores = inner(self, query, entities)
        seen.append(scores.numel() * scores.element_size())
        return scores

    monkeypatch.setattr(comparisons.Euclidean, "ranking", watched)
    evaluate_ranking(config, *tables, triples, Known(triples, n_entities, 1))
    assert max(seen) <= 1 << 20
    assert len(seen) > 2


def test_the_report_counts_as_its_names_say() -> None:
    triples = np.array([[0, 0, 1], [1, 0, 2], [2, 2, 3]])
    made = report(np.array([[1, 4], [2.5, 10], [11, 3]]), triples)
    assert made.mrr == pytest.approx((1 + 1 / 4 + 1 / 2.5 + 1 / 10 + 1 / 11 + 1 / 3) / 6)
    assert (made.hits_at_1, made.hits_at_3, made.hits_at_10) == pytest.approx((1 / 6, 3 / 6, 5 / 6))
    assert made.mean_rank == pytest.approx(31.5 / 6)
    assert made.questions == 6
    first, second = made.per_relation
    assert (first.relation, first.triples, second.relation, second.triples) == (0, 2, 2, 1)
    assert first.mrr_objects == pytest.approx((1 + 1 / 2.5) / 2)
    assert first.mrr_subjects == pytest.approx((1 / 4 + 1 / 10) / 2)
    assert second.hits_at_10 == 0.5


def test_no_triples_give_no_number() -> None:
    config = EmbedConfig(dim=2)
    empty = np.empty((0, 3), np.int64)
    made = evaluate_ranking(config, *initial_tables(config, E, R), empty, Known(empty, E, R))
    assert np.isnan(made.mrr)
    assert made.questions == 0


@given(seed=st.integers(0, 2**20), count=st.integers(0, 60))
def test_the_index_of_what_is_known_agrees_with_a_set(seed, count) -> None:
    triples = some_triples(count, seed)
    known, as_set = Known(triples, E, R), {tuple(row) for row in triples.tolist()}
    asked = some_triples(40, seed + 1)
    assert known.contains(asked).tolist() == [tuple(row) in as_set for row in asked.tolist()]
    for backward in (False, True):
        anchors, relations = asked[:, 2 if backward else 0], asked[:, 1]
        positions, answers = known.pairs(anchors, relations, backward=backward)
        for i, (anchor, relation) in enumerate(zip(anchors, relations, strict=True)):
            expected = sorted(
                {s if backward else o for s, r, o in as_set if (o if backward else s) == anchor and r == relation}
            )
            assert answers[positions == i].tolist() == expected
            assert known.answers(int(anchor), int(relation), backward=backward).tolist() == expected
