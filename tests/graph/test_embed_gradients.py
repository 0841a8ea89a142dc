"""Gradients written by hand equal autograd's, for every model, loss and way of choosing negatives, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from groundzero.graph.embed.batches import Batch
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import initial_tables, make_model
from groundzero.graph.embed.step import StepFunction

E, R, D, B, K = 11, 3, 6, 8, 5
MODELS = [("transe", 1), ("transe", 2), ("distmult", 2), ("complex", 2), ("rotate", 2)]
LOSSES = ["softmax", "margin", "self_adversarial"]


def config_of(model: str, norm: int, **changes) -> EmbedConfig:
    values = {"model": model, "norm": norm, "dim": D, "margin": 1.5, "temperature": 0.7, "negatives": K, "seed": 3}
    return EmbedConfig.parse({"init": "normal", "init_scale": 0.7, "sampler": "uniform", **values, **changes})


def make_batch(config: EmbedConfig) -> Batch:
    generator = torch.Generator().manual_seed(5)

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=generator)

    backward_B = None if config.reciprocal else draw(2, B).bool()
    relation_B = draw(R * (2 if config.reciprocal else 1), B)
    if config.sampler == "all":
        position, answer = draw(B, 2 * B).sort().values, draw(E, 2 * B)
        position[:B] = torch.arange(B)
        position = position.sort().values
        distinct = torch.unique(torch.stack([position, answer]), dim=1)
        return Batch(draw(E, B), relation_B, backward_B, torch.empty(0, dtype=torch.int64), None, tuple(distinct))
    negatives = draw(E, K) if config.sampler == "shared" else draw(E, B, K)
    return Batch(draw(E, B), relation_B, backward_B, draw(E, B), negatives)


def plain_score(config: EmbedConfig, anchor, relation, backward, candidate) -> torch.Tensor:
    """The textbook formula with autograd's own operations. `candidate` is (..., D); the rest broadcasts."""

    def complex_of(x):
        return torch.complex(*x.chunk(2, -1))

    sign = (1 - 2 * backward.double())[..., None]
    if config.model == "transe":
        return -torch.linalg.vector_norm(anchor + sign * relation - candidate, ord=config.norm, dim=-1)
    if config.model == "distmult":
        return (anchor * relation * candidate).sum(-1)
    if config.model == "complex":
        r = complex_of(relation)
        r = torch.complex(r.real, sign * r.imag)
        return (complex_of(anchor) * r * complex_of(candidate).conj()).real.sum(-1)
    turned = complex_of(anchor) * torch.polar(torch.ones_like(relation), sign * relation)
    return -(turned - complex_of(candidate)).abs().sum(-1)


def plain_loss(config: EmbedConfig, entities, relations, batch: Batch, dropout=None) -> torch.Tensor:
    anchor, relation = entities[batch.anchor_B], relations[batch.relation_B]
    backward = torch.zeros(B, dtype=torch.bool) if batch.backward_B is None else batch.backward_B
    if batch.answers_of is not None:
        scores = plain_score(config, anchor[:, None], relation[:, None], backward[:, None], entities[None])
        position, answer = batch.answers_of
        log_share = scores.log_softmax(1)[position]
        own = log_share[torch.arange(len(answer)), answer]
        share = torch.bincount(position, minlength=B).double().pow(config.question_weight - 1)[position]
        loss = -(share * ((1 - config.label_smoothing) * own + config.label_smoothing * log_share.mean(1))).sum()
        uses = torch.bincount(position, minlength=B).double().pow(config.question_weight)
    else:
        positive = plain_score(config, anchor, relation, backward, entities[batch.answer_B])
        ids = batch.negatives if batch.negatives.ndim == 2 else batch.negatives.expand(B, -1)
        negative = plain_score(config, anchor[:, None], relation[:, None], backward[:, None], entities[ids])
        negative = negative.masked_fill(ids == batch.answer_B[:, None], -math.inf)
        loss = sampled_loss(config, positive, negative)
        uses = torch.ones(B).double()
    penalty = 0.0
    if config.regularization:
        for x in (anchor, relation) if config.model != "rotate" else (anchor,):
            size = torch.complex(*x.chunk(2, -1)).abs() if config.model in ("complex", "rotate") else x.abs()
            penalty = penalty + config.regularization * (size.pow(3).sum(1) * uses).sum()
    return loss + penalty


def sampled_loss(config: EmbedConfig, positive, negative) -> torch.Tensor:
    if config.loss == "softmax":
        return F.cross_entropy(
            torch.cat([positive[:, None], negative], 1), torch.zeros(B, dtype=torch.int64), reduction="sum"
        )
    if config.loss == "margin":
        return (config.margin - positive[:, None] + negative).clamp(min=0).sum() / K
    share = (config.temperature * negative).softmax(1).detach()
    apart = F.logsigmoid(-negative - config.margin).nan_to_num(posinf=0.0)
    return -(F.logsigmoid(config.margin + positive).sum() + (share * apart).sum()) / 2


def dense(config: EmbedConfig, entities, relations, batch: Batch, dropout=None):
    """(loss, gradient of entities, gradient of relations) as ours, spread over whole tables."""
    found = StepFunction(config).gradients(entities, relations, batch, dropout)
    of_entities = torch.zeros_like(entities) if found.all_entities_ED is None else found.all_entities_ED.clone()
    of_relations = torch.zeros_like(relations)
    for rows, gradient in found.entities.pieces(entities):
        of_entities[rows] += gradient
    for rows, gradient in found.relations.pieces(relations):
        of_relations[rows] += gradient
    return found.loss, of_entities, of_relations


def assert_gradients_match(config: EmbedConfig) -> None:
    entities, relations = initial_tables(config, E, R, dtype=torch.float64)
    batch = make_batch(config)
    loss, of_entities, of_relations = dense(config, entities, relations, batch)
    entities.requires_grad_()
    relations.requires_grad_()
    expected = plain_loss(config, entities, relations, batch)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-9)
    torch.testing.assert_close(of_entities, entities.grad, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(of_relations, relations.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize("sampler", ["uniform", "shared"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_sampled_gradients_equal_autograd(model, norm, loss, sampler, reciprocal) -> None:
    assert_gradients_match(config_of(model, norm, loss=loss, sampler=sampler, reciprocal=reciprocal))


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_gradients_against_every_entity_equal_autograd(model, norm, smoothing, reciprocal) -> None:
    assert_gradients_match(config_of(model, norm, sampler="all", reciprocal=reciprocal, label_smoothing=smoothing))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_gradients_with_questions_weighed_otherwise_equal_autograd(weight) -> None:
    config = config_of("complex", 2, sampler="all", label_smoothing=0.1, question_weight=weight, regularization=0.2)
    assert_gradients_match(config)
    counts = torch.bincount(make_batch(config).answers_of[0]).double()
    found = StepFunction(config).gradients(*initial_tables(config, E, R), make_batch(config))
    assert found.weight == pytest.approx(float(counts.pow(weight).sum()))


@pytest.mark.parametrize("sampler", ["uniform", "all"])
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_gradients_of_the_penalty_equal_autograd(model, norm, sampler) -> None:
    assert_gradients_match(config_of(model, norm, sampler=sampler, regularization=0.3))


def test_a_gradient_with_one_sign_wrong_is_noticed(monkeypatch) -> None:
    """What shows that the comparisons above can fail."""
    from groundzero.graph.embed.comparisons import Euclidean

    right = Euclidean.sampled_backward

    def wrong(self, *arguments):
        of_query, coefficient, own = right(self, *arguments)
        return of_query, -coefficient, own

    monkeypatch.setattr(Euclidean, "sampled_backward", wrong)
    with pytest.raises(AssertionError):
        assert_gradients_match(config_of("transe", 2))


def test_dropout_multiplies_the_question_and_its_gradient() -> None:
    config = config_of("distmult", 2, sampler="all")
    entities, relations = initial_tables(config, E, R, dtype=torch.float64)
    batch = make_batch(config)
    mask = (torch.rand(B, D, generator=torch.Generator().manual_seed(1)) > 0.4).double() / 0.6
    loss, of_entities, of_relations = dense(config, entities, relations, batch, mask)
    entities.requires_grad_()
    relations.requires_grad_()
    scores = (entities[batch.anchor_B] * relations[batch.relation_B] * mask) @ entities.t()
    expected = -scores.log_softmax(1)[batch.answers_of].sum()
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-9)
    torch.testing.assert_close(of_entities, entities.grad)
    torch.testing.assert_close(of_relations, relations.grad)


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_paired_sampled_and_matrix_scores_agree_and_ranking_keeps_their_order(model, norm) -> None:
    config = config_of(model, norm)
    entities, _ = initial_tables(config, E, R, dtype=torch.float64)
    compare = make_model(config).comparison
    query = torch.randn(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    matrix = compare.matrix(query, entities)
    ids = torch.arange(E).expand(B, -1)
    torch.testing.assert_close(compare.sampled(query, entities, ids), matrix)
    for column in range(E):
        torch.testing.assert_close(compare.paired(query, entities[[column] * B]), matrix[:, column])
    assert torch.equal(compare.ranking(query, entities).argsort(1), matrix.argsort(1))


def test_a_question_that_hits_its_answer_exactly_has_a_finite_gradient() -> None:
    for norm in (1, 2):
        config = config_of("transe", norm)
        entities, relations = torch.zeros(E, D), torch.zeros(R * 2, D)
        loss, of_entities, of_relations = dense(config, entities, relations, make_batch(config))
        assert math.isfinite(loss)
        assert of_entities.isfinite().all()
        assert of_relations.isfinite().all()


def test_bfloat16_products_come_near_float32() -> None:
    for model in ("transe", "complex"):
        config = config_of(model, 2, sampler="all")
        tables = initial_tables(config, E, R)
        batch = make_batch(config)
        exact = dense(config, *tables, batch)
        rough = dense(config.replace(precision="bfloat16"), *tables, batch)
        assert rough[0] == pytest.approx(exact[0], rel=2e-2)
        for ours, theirs in zip(rough[1:], exact[1:], strict=True):
            assert (ours - theirs).norm() < 3e-2 * theirs.norm()
