"""One step: scores of a batch, their loss, and the gradients of both tables, with no graph recorded for autograd.

Shapes as in comparisons.py: B questions, K negatives each or N shared, E entities, D numbers each, R of a relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from groundzero.graph.embed.batches import Batch
from groundzero.graph.embed.comparisons import gather
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.losses import Loss, make_loss
from groundzero.graph.embed.models import Model, make_model
from groundzero.graph.embed.rows import Contributions

BLOCK_BYTES = 16 << 20
"""Scores against every entity are worked on in blocks of questions this large, which share the cache with the table.
16 MiB took 84 ms a step, 4 MiB 98, 1 MiB 124 (512 questions, 17,050 entities, dim 256, one core of an EPYC 9005)."""


@dataclass
class Gradients:
    """Sums over a batch, not means."""

    loss: float
    triples: int
    entities: Contributions
    relations: Contributions
    all_entities_ED: Tensor | None = None
    """A gradient for every row, where every entity was scored; `entities` is then added to it."""
    weight: float = 0.0
    """What to divide by for a mean: the number of triples, but where questions are weighed otherwise."""


class StepFunction:
    """Computes gradients for one configuration."""

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config
        self.model: Model = make_model(config)
        self.loss: Loss = make_loss(config)

    def gradients(
        self, entities_ED: Tensor, relations_RW: Tensor, batch: Batch, dropout: Tensor | None = None
    ) -> Gradients:
        """Loss and gradients of a batch.

        Args:
            dropout: factor_BD by which questions are multiplied: 0, or 1 / (1 - rate).
        """
        model = self.model
        anchor_BD, relation_BR = gather(entities_ED, batch.anchor_B), gather(relations_RW, batch.relation_B)
        query_BD = model.query(anchor_BD, relation_BR, batch.backward_B)
        if dropout is not None:
            query_BD = query_BD * dropout
        into = Gradients(0.0, batch.triples, Contributions(model.comparison), Contributions(model.comparison))
        into.weight = float(batch.triples)
        if batch.answers_of is not None:
            query_gradient_BD = self._against_all(query_BD, entities_ED, batch.answers_of, into)
        elif batch.negatives is not None and batch.negatives.ndim == 1:
            query_gradient_BD = self._against_shared(query_BD, entities_ED, batch, into)
        else:
            query_gradient_BD = self._against_own(query_BD, entities_ED, batch, into)
        if dropout is not None:
            query_gradient_BD = query_gradient_BD * dropout
        anchor_gradient_BD, relation_gradient_BR = model.query_backward(
            anchor_BD, relation_BR, batch.backward_B, query_gradient_BD
        )
        if self.config.regularization:
            uses_B1 = _uses(batch, anchor_BD, self.config.question_weight)
            anchor_gradient_BD = anchor_gradient_BD + self._penalty(anchor_BD, uses_B1, into)
            if self.config.model != "rotate":  # angles have no length
                relation_gradient_BR = relation_gradient_BR + self._penalty(relation_BR, uses_B1, into)
        into.entities.add(batch.anchor_B, anchor_gradient_BD)
        into.relations.add(batch.relation_B, relation_gradient_BR)
        return into

    def _against_own(self, query_BD: Tensor, entities_ED: Tensor, batch: Batch, into: Gradients) -> Tensor:
        """Every question has its own negatives."""
        ids_BK = batch.negatives
        assert ids_BK is not None
        answer_BD = gather(entities_ED, batch.answer_B)
        compare = self.model.comparison
        positive_B = compare.paired(query_BD, answer_BD)
        negative_BK = compare.sampled(query_BD, entities_ED, ids_BK)
        loss, positive_weight_B, weight_BK = self._loss(
            positive_B, negative_BK, ids_BK == batch.answer_B[:, None], into
        )
        query_gradient_BD, answer_gradient_BD = compare.paired_backward(
            query_BD, answer_BD, positive_B, positive_weight_B
        )
        more_BD, of_query_BK, of_self_BK = compare.sampled_backward(
            query_BD, entities_ED, ids_BK, negative_BK, weight_BK
        )
        into.entities.add(batch.answer_B, answer_gradient_BD)
        into.entities.add_negatives(ids_BK, query_BD, of_query_BK, of_self_BK)
        into.loss += loss
        return query_gradient_BD.add_(more_BD)

    def _against_shared(self, query_BD: Tensor, entities_ED: Tensor, batch: Batch, into: Gradients) -> Tensor:
        """All questions share the negatives: two matrix products."""
        ids_N = batch.negatives
        assert ids_N is not None
        answer_BD, candidate_ND = gather(entities_ED, batch.answer_B), gather(entities_ED, ids_N)
        compare = self.model.comparison
        positive_B = compare.paired(query_BD, answer_BD)
        negative_BN = compare.matrix(query_BD, candidate_ND)
        loss, positive_weight_B, weight_BN = self._loss(
            positive_B, negative_BN, ids_N[None, :] == batch.answer_B[:, None], into
        )
        query_gradient_BD, answer_gradient_BD = compare.paired_backward(
            query_BD, answer_BD, positive_B, positive_weight_B
        )
        slope_BN = compare.slope(negative_BN, weight_BN)
        more_BD, candidate_gradient_ND = compare.matrix_backward(query_BD, candidate_ND, slope_BN)
        into.entities.add(batch.answer_B, answer_gradient_BD)
        into.entities.add(ids_N, candidate_gradient_ND)
        into.loss += loss
        return query_gradient_BD.add_(more_BD)

    def _loss(
        self, positive_B: Tensor, negative: Tensor, is_answer: Tensor, into: Gradients
    ) -> tuple[float, Tensor, Tensor]:
        """The loss without negatives that happen to be the answer; their weight is 0."""
        clashes = bool(is_answer.any())
        loss, positive_weight_B, weight = self.loss(
            positive_B, negative.masked_fill(is_answer, float("-inf")) if clashes else negative
        )
        if clashes:
            weight = weight.masked_fill(is_answer, 0.0)
        return float(loss), positive_weight_B, weight

    def _against_all(
        self, query_BD: Tensor, entities_ED: Tensor, answers_of: tuple[Tensor, Tensor], into: Gradients
    ) -> Tensor:
        """Softmax over every entity, with as many terms per question as it has answers."""
        compare = self.model.comparison
        table_ED = entities_ED.to(torch.bfloat16) if self.config.precision == "bfloat16" else entities_ED
        position_A, answer_A = answers_of
        counts_B = torch.bincount(position_A, minlength=len(query_BD))
        ends_B = counts_B.cumsum(0)
        share_B1 = counts_B[:, None].to(query_BD.dtype).pow_(self.config.question_weight - 1)
        into.weight = float((counts_B * share_B1[:, 0]).sum())
        slope_BE = table_ED.new_empty(len(query_BD), len(entities_ED))
        for part in _blocks(len(query_BD), len(entities_ED), query_BD):
            first, last = int(ends_B[part.start - 1]) if part.start else 0, int(ends_B[part.stop - 1])
            here = (position_A[first:last] - part.start, answer_A[first:last])
            score_BE = compare.matrix(query_BD[part], table_ED)
            loss, weight_BE = _exhaustive_softmax(
                score_BE, here, counts_B[part, None], share_B1[part], self.config.label_smoothing
            )
            into.loss += loss
            slope_BE[part] = compare.slope(score_BE, weight_BE)
        query_gradient_BD, into.all_entities_ED = compare.matrix_backward(query_BD, table_ED, slope_BE)
        return query_gradient_BD

    def _penalty(self, vectors_BD: Tensor, uses_B1: Tensor, into: Gradients) -> Tensor:
        """Gradient of the N3 penalty, whose sum is added to the loss."""
        if self.config.model in ("complex", "rotate"):
            real, imaginary = vectors_BD.chunk(2, 1)
            size = (real.square() + imaginary.square()).sqrt_()
            direction_BD = vectors_BD * torch.cat([size, size], 1)
        else:
            size = vectors_BD.abs()
            direction_BD = vectors_BD * size
        into.loss += float(self.config.regularization * (size.pow(3).sum(1) * uses_B1[:, 0]).sum())
        return direction_BD * (3 * self.config.regularization * uses_B1)


def _exhaustive_softmax(
    score_BE: Tensor, answers: tuple[Tensor, Tensor], counts_B1: Tensor, share_B1: Tensor, smoothing: float
) -> tuple[float, Tensor]:
    """Summed loss and weight_BE. Each of a question's answers counts its `share`; 1 is what a triple alone counts."""
    counts_B1 = counts_B1.to(score_BE.dtype)
    log_share_BE = score_BE.log_softmax(1)
    share_A = share_B1[answers[0], 0]
    loss = -(1 - smoothing) * (log_share_BE[answers] * share_A).sum()
    if smoothing:
        loss = loss - smoothing * (log_share_BE.mean(1, keepdim=True) * counts_B1 * share_B1).sum()
    weight_BE = log_share_BE.exp_().mul_(counts_B1 * share_B1)
    weight_BE[answers] -= (1 - smoothing) * share_A
    if smoothing:
        weight_BE -= counts_B1 * share_B1 * (smoothing / score_BE.shape[1])
    return float(loss), weight_BE


def _uses(batch: Batch, like: Tensor, question_weight: float) -> Tensor:
    """How much each question counts, (B, 1)."""
    if batch.answers_of is None:
        return torch.ones_like(like[:, :1])
    return torch.bincount(batch.answers_of[0], minlength=len(like))[:, None].to(like.dtype).pow_(question_weight)


def _blocks(count: int, n_entities: int, like: Tensor) -> list[slice]:
    budget = BLOCK_BYTES if like.device.type == "cpu" else BLOCK_BYTES << 8
    size = max(32, budget // (n_entities * like.element_size()))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
