"""Classification, calibration, prediction, newcomers, and what is kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.errors import FormatError, InputError, UsageError
from groundzero.graph.embed.answers import AnswerCurves, log_odds, winners
from groundzero.graph.embed.calibration import Platt, calibration_error, fit_platt
from groundzero.graph.embed.classification import (
    Thresholds,
    best_threshold,
    classify,
    fit_thresholds,
    hard_negatives,
    score_triples,
)
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.embed.models import initial_tables
from groundzero.graph.embed.newcomers import add_newcomers, closed_form, refresh
from groundzero.graph.embed.session import UnfinishedError, embed_graph, train_embedding
from groundzero.graph.embed.splits import Known, Splits
from groundzero.graph.nouns import Entity

MODELS = [("transe", 1), ("transe", 2), ("distmult", 2), ("complex", 2), ("rotate", 2)]
E, R = 12, 3
FIRST_ID, FIRST_RELATION = 100, 7  # ids of a graph are no row numbers


def make_embedding(**changes) -> Embedding:
    config = EmbedConfig.parse({"dim": 6, "init": "normal", "init_scale": 1.0, **changes})
    entities, relations = initial_tables(config, E, R)
    return Embedding(config, entities, relations, np.arange(E) * 2 + FIRST_ID, np.arange(R) + FIRST_RELATION, 3)


def umls(folder: Path) -> Splits:
    parts = [
        [
            line.split("\t")
            for line in (folder / "kg-umls-text" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
        ]
        for name in ("train", "dev", "test")
    ]
    entities = sorted({end for part in parts for s, _, o in part for end in (s, o)})
    relations = sorted({r for part in parts for _, r, _ in part})
    e, r = ({name: i for i, name in enumerate(names)} for names in (entities, relations))
    arrays = [np.array([(e[s], r[p], e[o]) for s, p, o in part]) for part in parts]
    return Splits.make(len(e), len(r), *arrays)


# Triple classification


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), st.booleans()), min_size=1, max_size=20))
def test_no_threshold_beats_the_one_that_is_chosen(examples) -> None:
    scores, truth = np.array([s for s, _ in examples]), np.array([t for _, t in examples])
    chosen = best_threshold(scores, truth)
    candidates = np.concatenate([scores, scores + 0.1, scores - 0.1])
    assert ((scores >= chosen) == truth).sum() == max(((scores >= c) == truth).sum() for c in candidates)


def test_a_threshold_lies_half_way() -> None:
    assert best_threshold(np.array([1.0, 2.0, 4.0, 5.0]), np.array([False, False, True, True])) == 3.0


def test_thresholds_are_per_relation_and_one_for_the_rest() -> None:
    positives, negatives = np.array([[0, 0, 1], [0, 1, 1]]), np.array([[1, 0, 0], [1, 1, 0]])
    fitted = fit_thresholds(positives, np.array([5.0, -5.0]), negatives, np.array([3.0, -7.0]))
    assert fitted.of_relation == {0: 4.0, 1: -6.0}
    assert fitted.of(np.array([1, 0, 2])).tolist() == [-6.0, 4.0, fitted.overall]


def test_classification_counts_by_hand() -> None:
    thresholds = Thresholds({0: 0.0}, 10.0)
    positives, negatives = np.array([[0, 0, 1], [0, 0, 2], [0, 1, 2]]), np.array([[0, 0, 3], [0, 1, 3]])
    judged = classify(thresholds, positives, np.array([0.0, -1.0, 11.0]), negatives, np.array([2.0, 9.0]))
    assert judged.accuracy == 3 / 5
    assert judged.precision == pytest.approx(2 / 3)
    assert judged.recall == pytest.approx(2 / 3)
    assert judged.f1 == pytest.approx(2 / 3)
    assert judged.triples == 5


def test_hard_negatives_are_false_and_of_the_relations_own_objects(data_dir) -> None:
    splits = umls(data_dir)
    negatives = hard_negatives(splits, splits.valid, seed=1)
    assert len(negatives) > 0.95 * len(splits.valid)
    assert not splits.known.contains(negatives).any()
    pairs = {tuple(pair) for pair in splits.train[:, 1:].tolist()}
    assert np.mean([tuple(pair) in pairs for pair in negatives[:, 1:].tolist()]) > 0.6  # so dense is it
    np.testing.assert_array_equal(negatives, hard_negatives(splits, splits.valid, seed=1))


# Calibration


@pytest.mark.parametrize(("slope", "offset"), [(2.0, -1.0), (0.3, 4.0), (-1.0, 0.0), (5.0, 0.0)])
def test_platt_finds_the_curve_that_made_the_labels(slope, offset) -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=20_000) * 2 - offset / slope
    truth = random.random(20_000) < Platt(slope, offset).probability(scores)
    fitted = fit_platt(scores, truth)
    assert fitted.slope == pytest.approx(slope, rel=0.15)
    assert np.abs(fitted.probability(scores) - Platt(slope, offset).probability(scores)).max() < 0.05
    assert calibration_error(fitted.probability(scores), truth) < 0.02


def test_probabilities_stay_within_bounds_when_classes_part_or_lack() -> None:
    scores = np.array([-2.0, -1.0, 1.0, 2.0])
    apart = fit_platt(scores, scores > 0).probability(np.array([-1e9, -2.0, 2.0, 1e9]))
    assert ((apart >= 0) & (apart <= 1)).all()
    assert (np.diff(apart) >= 0).all()
    assert fit_platt(scores, np.ones(4, bool)).probability(scores) == pytest.approx(5 / 6)


def test_calibration_error_by_hand() -> None:
    probability, truth = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, True, True, True])
    assert calibration_error(probability, truth) == pytest.approx((0.45 + 0.05) / 2)


# How sure to be of answers


def test_log_odds_are_those_of_a_softmax() -> None:
    score_E = torch.tensor([1.0, -2.0, 0.5, float("-inf")])
    share = torch.softmax(score_E.double(), 0)[:3].numpy()
    np.testing.assert_allclose(log_odds(score_E, torch.tensor([0, 1, 2])), np.log(share / (1 - share)), rtol=1e-9)
    assert np.isfinite(log_odds(torch.tensor([9e4, 0.0]), torch.tensor([0, 1]))).all()


def test_the_best_of_many_is_believed_less_than_one_statement_alone(data_dir, tmp_path) -> None:
    """On statements that neither the training nor the fitting saw; the curve of single statements is the broken
    variant: it takes the winner of 135 candidates for one that nobody chose."""
    splits = umls(data_dir)
    embedding = train_embedding(EmbedConfig(dim=32, epochs=10, evaluate_every=0), splits, tmp_path)
    assert embedding.answers is not None
    found = winners(
        embedding.config, embedding.entities_ED, embedding.relations_RW, splits, splits.test, backward=False
    )
    trained = Known(splits.train, splits.n_entities, splits.n_relations)
    questions = np.unique(splits.test[:, :2], axis=0)
    alone = []
    for subject, relation in questions.tolist():
        best = embedding.predict(
            subject=subject, relation=relation, limit=1, exclude=trained.answers(subject, relation, backward=False)
        )[0]
        alone.append(embedding.probability(np.array([[subject, relation, best.entity]]))[0])
    ours = calibration_error(embedding.answers.objects.probability(found.odds), found.right)
    naive = calibration_error(np.array(alone), found.right)
    assert ours < 0.12
    assert naive > 2 * ours


def test_without_held_out_statements_nobody_can_say_how_sure_to_be(tmp_path) -> None:
    triples = np.array([[0, 0, 1], [1, 0, 2]])
    embedding = train_embedding(EmbedConfig(dim=4, epochs=1), Splits.make(3, 1, triples), tmp_path)
    assert embedding.answers is None
    assert Embedding.load(tmp_path).answers is None


def test_answers_are_as_likely_as_their_curve_says() -> None:
    embedding = make_embedding()
    embedding.answers = AnswerCurves(Platt(0.5, 0.25), Platt(2.0, -1.0))
    for curve, asked in ((Platt(0.5, 0.25), {"subject": FIRST_ID}), (Platt(2.0, -1.0), {"object": FIRST_ID})):
        found = embedding.predict(relation=FIRST_RELATION, limit=E, exclude=[FIRST_ID + 2], **asked)
        share = np.exp([each.score for each in found])
        share /= share.sum()
        expected = curve.probability(np.log(share / (1 - share)))
        np.testing.assert_allclose([each.probability for each in found], expected, rtol=1e-4)


# Prediction


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_predictions_are_the_best_scores_without_what_is_known(model, norm, reciprocal) -> None:
    embedding = make_embedding(model=model, norm=norm, reciprocal=reciprocal)
    subject = FIRST_ID + 4
    triples = np.array([(2, 1, o) for o in range(E)])
    scores = score_triples(embedding.config, embedding.entities_ED, embedding.relations_RW, triples)
    order = [int(embedding.entity_ids[i]) for i in np.argsort(-scores)]
    found = embedding.predict(subject=subject, relation=FIRST_RELATION + 1, limit=4)
    assert [p.entity for p in found] == order[:4]
    assert [p.score for p in found] == pytest.approx(sorted(scores, reverse=True)[:4], rel=1e-4)
    known = {order[0], order[2]}
    found = embedding.predict(subject=subject, relation=FIRST_RELATION + 1, limit=99, exclude=[*known, 5555])
    assert [p.entity for p in found] == [entity for entity in order if entity not in known]


@pytest.mark.parametrize("reciprocal", [True, False])
def test_subjects_are_predicted_from_objects(reciprocal) -> None:
    embedding = make_embedding(reciprocal=reciprocal)
    triples = np.array([(s, 0, 5) for s in range(E)])
    scores = score_triples(embedding.config, embedding.entities_ED, embedding.relations_RW, triples, backward=True)
    found = embedding.predict(object=FIRST_ID + 10, relation=FIRST_RELATION, limit=1)
    assert found[0].entity == embedding.entity_ids[int(np.argmax(scores))]


def test_probability_is_platt_of_the_score_above_its_threshold() -> None:
    embedding = make_embedding()
    embedding.platt, embedding.thresholds = Platt(0.7, 0.1), Thresholds({1: -2.0}, -4.0)
    triples = np.array([[FIRST_ID, FIRST_RELATION + 1, FIRST_ID + 2], [FIRST_ID, FIRST_RELATION, FIRST_ID + 2]])
    scores = embedding.score(triples)
    expected = Platt(0.7, 0.1).probability(scores - np.array([-2.0, -4.0]))
    np.testing.assert_allclose(embedding.probability(triples), expected)
    assert embedding.is_true(triples).tolist() == (scores >= np.array([-2.0, -4.0])).tolist()
    found = embedding.predict(subject=FIRST_ID, relation=FIRST_RELATION + 1, limit=E)
    by_entity = {p.entity: p.probability for p in found}
    assert by_entity[FIRST_ID + 2] == pytest.approx(expected[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relation": FIRST_RELATION}, "subject or an object"),
        ({"relation": FIRST_RELATION, "subject": FIRST_ID, "object": FIRST_ID}, "not both"),
        ({"relation": 9999, "subject": FIRST_ID}, "Relation 9999 has no vector"),
        ({"relation": FIRST_RELATION, "subject": 101}, "Entity 101 has no vector"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        make_embedding().predict(**arguments)


def test_the_nearest_are_by_cosine() -> None:
    embedding = make_embedding()
    embedding.entities_ED[3] = embedding.entities_ED[8] * 5
    (nearest, cosine), *_ = embedding.nearest(FIRST_ID + 6, limit=3)
    assert (nearest, cosine) == (FIRST_ID + 16, pytest.approx(1.0))


# Newcomers


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize("norm", [1, 2])
def test_a_transe_newcomer_is_placed_where_its_neighbours_point(norm, reciprocal) -> None:
    embedding = make_embedding(norm=norm, reciprocal=reciprocal)
    r = embedding.relations_RW
    back = -r[1] if not reciprocal else r[1 + R]
    expected = (embedding.vector(FIRST_ID) + r[0] + embedding.vector(FIRST_ID + 2) + back) / 2
    triples = np.array([[FIRST_ID, FIRST_RELATION, 999], [999, FIRST_RELATION + 1, FIRST_ID + 2]])
    assert add_newcomers(embedding, triples, transaction=9) == [999]
    torch.testing.assert_close(embedding.vector(999), expected)
    assert embedding.transaction == 9
    assert embedding.predict(subject=FIRST_ID, relation=FIRST_RELATION, limit=E + 1)


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_closed_forms_minimise_what_they_say(model, norm) -> None:
    """Small steps in any direction make the sum of squares (or the ridge's objective) larger."""
    embedding = make_embedding(model=model, norm=norm, reciprocal=False)
    embedding.figures["positive_score"] = 2.0
    questions = [
        (FIRST_ID, FIRST_RELATION, False),
        (FIRST_ID + 2, FIRST_RELATION + 1, True),
        (FIRST_ID + 4, FIRST_RELATION, False),
    ]
    vector = closed_form(embedding, questions).double()
    from groundzero.graph.embed.ranking import question_vectors

    queries = torch.cat(
        [
            question_vectors(
                make_model_of(embedding), embedding.config, embedding.entities_ED, embedding.relations_RW,
                np.array([(e - FIRST_ID) // 2]), np.array([r - FIRST_RELATION]), backward=backward,
            )
            for e, r, backward in questions
        ]
    ).double()  # fmt: skip

    def objective(x: torch.Tensor) -> float:
        if model in ("transe", "rotate"):
            return float((queries - x).square().sum())
        ridge = 0.1 * float(queries.square().sum(1).mean())
        return float((queries @ x - 2.0).square().sum() + ridge * x.square().sum())

    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        nudge = torch.randn(vector.shape, generator=generator, dtype=torch.float64) * 1e-2
        assert objective(vector) < objective(vector + nudge)


def make_model_of(embedding: Embedding):
    from groundzero.graph.embed.models import make_model

    return make_model(embedding.config)


def test_newcomers_that_hang_on_newcomers_follow_and_strangers_stay_without() -> None:
    embedding = make_embedding()
    triples = np.array([[1001, FIRST_RELATION, 1000], [1000, FIRST_RELATION, FIRST_ID], [2000, FIRST_RELATION, 2001],
                        [3000, 555, FIRST_ID]])  # fmt: skip
    assert add_newcomers(embedding, triples, transaction=4) == [1000, 1001]
    assert not embedding.has(2000)
    assert not embedding.has(3000)
    with pytest.raises(InputError, match="2000 has no vector"):
        embedding.vector(2000)


@pytest.mark.parametrize("sampler", ["all", "uniform"])
def test_a_refresh_moves_only_its_own_rows(sampler) -> None:
    embedding = make_embedding(sampler=sampler)
    before = embedding.entities_ED.clone()
    triples = np.array([[FIRST_ID, FIRST_RELATION, FIRST_ID + 2], [FIRST_ID + 4, FIRST_RELATION, FIRST_ID]])
    refresh(embedding, triples, [FIRST_ID], steps=5)
    assert (embedding.entities_ED[1:] == before[1:]).all()
    assert (embedding.entities_ED[0] != before[0]).any()


def test_newcomers_to_a_trained_graph_rank_well_at_once_and_better_after_a_refresh(data_dir, tmp_path) -> None:
    """Ten entities of UMLS are taken out before training and come back with all but one of their triples each."""
    whole = umls(data_dir)
    new = set(range(0, 130, 13))
    touching = np.array([bool({int(s), int(o)} & new) for s, _, o in whole.train])
    inner = np.array([{int(s), int(o)} <= new for s, _, o in whole.train])
    old = [e for e in range(whole.n_entities) if e not in new]
    row = {e: i for i, e in enumerate(old)}
    train = np.array([(row[int(s)], r, row[int(o)]) for s, r, o in whole.train[~touching]])
    splits = Splits.make(len(old), whole.n_relations, train, train[:300])
    config = EmbedConfig(dim=32, epochs=30, evaluate_every=0)
    embedding = train_embedding(config, splits, tmp_path, entity_ids=np.array(old))
    arriving = whole.train[touching & ~inner]
    shown, asked = arriving[::2], arriving[1::2]

    def mean_reciprocal_rank() -> float:
        found = []
        for s, r, o in asked.tolist():
            side = {"subject": s} if o in new else {"object": o}
            answer = o if o in new else s
            order = [p.entity for p in embedding.predict(relation=r, limit=200, **side)]
            found.append(1 / (order.index(answer) + 1) if answer in order else 0.0)
        return float(np.mean(found))

    add_newcomers(embedding, shown, transaction=2)
    at_once = mean_reciprocal_rank()
    refresh(embedding, shown, sorted(new), steps=40)
    assert at_once > 0.1  # chance: 0.04
    assert mean_reciprocal_rank() > at_once
    assert add_newcomers(embedding, shown, transaction=5) == []


# On disk


def test_what_is_saved_is_what_is_loaded(tmp_path) -> None:
    embedding = make_embedding(model="complex")
    embedding.platt, embedding.thresholds = Platt(0.5, -0.25), Thresholds({0: 1.5, 2: -3.0}, 0.125)
    embedding.answers = AnswerCurves(Platt(1.0, 2.0), Platt(3.0, 4.0))
    embedding.figures = {"mrr": 0.5, "per_relation": [{"relation": 7}]}
    embedding.save(tmp_path / "kept")
    again = Embedding.load(tmp_path / "kept")
    assert torch.equal(again.entities_ED, embedding.entities_ED)
    assert torch.equal(again.relations_RW, embedding.relations_RW)
    assert again.entity_ids.tolist() == embedding.entity_ids.tolist()
    assert (again.config, again.platt, again.thresholds) == (embedding.config, embedding.platt, embedding.thresholds)
    assert again.answers == embedding.answers
    assert (again.figures, again.transaction) == (embedding.figures, 3)


@pytest.mark.parametrize("damage", ["vectors flipped", "vectors gone", "json flipped", "newer", "nothing"])
def test_a_damaged_embedding_is_refused_by_name(tmp_path, damage) -> None:
    make_embedding().save(tmp_path)
    vectors, text = tmp_path / "vectors.safetensors", tmp_path / "embedding.json"
    if damage == "vectors flipped":
        raw = bytearray(vectors.read_bytes())
        raw[-3] ^= 1
        vectors.write_bytes(raw)
    elif damage == "vectors gone":
        vectors.unlink()
    elif damage == "json flipped":
        text.write_text(
            text.read_text(encoding="utf-8").replace('"transaction": 3', '"transaction": 4'), encoding="utf-8"
        )
    elif damage == "newer":
        text.write_text(json.dumps({"schema": 99}), encoding="utf-8")
    else:
        text.unlink()
    with pytest.raises(InputError if damage == "nothing" else FormatError, match=r"embedding|vectors"):
        Embedding.load(tmp_path)


def test_training_to_the_end_gives_figures_and_files(data_dir, tmp_path) -> None:
    config = EmbedConfig(model="complex", dim=32, epochs=30, evaluate_every=10, regularization=0.01)
    embedding = train_embedding(config, umls(data_dir), tmp_path)
    figures = embedding.figures
    assert figures["mrr"] > 0.75
    assert figures["accuracy"] > 0.8
    assert figures["calibration_error"] < 0.15
    assert {"model", "mrr", "hits_at_1", "hits_at_3", "hits_at_10", "loss", "seconds", "triples_per_second"} <= set(
        figures
    )
    assert sum(row["triples"] for row in figures["per_relation"]) == 661
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["epoch"] for r in records if "mrr" not in r] == list(range(1, 31))
    assert Embedding.load(tmp_path).figures["mrr"] == figures["mrr"]


def test_an_interrupted_session_resumes_to_the_same_embedding(data_dir, tmp_path) -> None:
    splits, config = umls(data_dir), EmbedConfig(dim=16, epochs=6, evaluate_every=2)
    whole = train_embedding(config, splits, tmp_path / "whole")
    steps = iter(range(10**6))
    with pytest.raises(UnfinishedError):
        train_embedding(config, splits, tmp_path / "cut", should_stop=lambda: next(steps) > 9)
    with pytest.raises(UsageError, match="--resume"):
        train_embedding(config, splits, tmp_path / "cut")
    cut = train_embedding(config, splits, tmp_path / "cut", resume=True)
    assert torch.equal(whole.entities_ED, cut.entities_ED)
    assert whole.figures["mrr"] == cut.figures["mrr"]
    log = [(tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines() for name in ("whole", "cut")]
    epochs = [[json.loads(line)["epoch"] for line in lines] for lines in log]
    assert epochs[0] == epochs[1]


def test_a_shorter_training_in_the_same_folder_is_not_taken_for_the_longer(data_dir, tmp_path) -> None:
    splits = umls(data_dir)
    train_embedding(EmbedConfig(dim=8, epochs=4, evaluate_every=2), splits, tmp_path)
    short = EmbedConfig(dim=8, epochs=2, evaluate_every=2, seed=9)
    fresh = train_embedding(short, splits, tmp_path)
    again = train_embedding(short, splits, tmp_path, resume=True)
    assert fresh.figures["epochs"] == again.figures["epochs"] == 2
    assert torch.equal(fresh.entities_ED, again.entities_ED)


class FakeStore:
    """Just enough of a store: triples with ids far from 0."""

    def __init__(self, triples: np.ndarray, name: str = "") -> None:
        self._triples, self._name = triples, name

    def transaction(self) -> int:
        return 17

    def entity(self, entity: int) -> Entity:
        if entity not in self._triples[:, [0, 2]]:
            raise InputError(f"There is no entity {entity}.", remedy="Name another.")
        return Entity(entity, f"{self._name}{entity}", label="")

    def triples(self, *, at: int | None = None) -> np.ndarray:
        assert at == 17
        return np.concatenate([self._triples, np.arange(len(self._triples))[:, None]], axis=1)


def test_a_store_is_embedded_at_its_transaction(data_dir, tmp_path) -> None:
    splits = umls(data_dir)
    triples = np.concatenate([splits.train, splits.valid]) * 3 + 1000
    embedding = embed_graph(FakeStore(triples), EmbedConfig(dim=16, epochs=4, evaluate_every=2), tmp_path)
    assert embedding.transaction == 17
    assert set(embedding.entity_ids.tolist()) == set(triples[:, [0, 2]].reshape(-1).tolist())
    assert embedding.has_relation(int(triples[0, 1]))
    kept = Embedding.load(tmp_path)
    assert kept.is_of(FakeStore(triples))
    assert not kept.is_of(FakeStore(triples, "another's ")), "the same numbers, and other things"
    assert not kept.is_of(FakeStore(triples + 100_000))
    assert embedding.figures["test_triples"] == pytest.approx(0.05 * len(triples), rel=0.02)
    with pytest.raises(InputError, match="no statements"):
        embed_graph(FakeStore(np.empty((0, 3), np.int64)), EmbedConfig(dim=16), tmp_path / "empty")


@pytest.mark.parametrize("count", [1, 2, 15])
def test_a_tiny_graph_is_embedded_without_held_out_triples(tmp_path, count) -> None:
    triples = np.array([[i, 0, i + 1] for i in range(count)])
    embedding = embed_graph(FakeStore(triples), EmbedConfig(dim=8, epochs=2), tmp_path)
    assert embedding.n_entities == count + 1
    assert embedding.predict(subject=0, relation=0, limit=1)
