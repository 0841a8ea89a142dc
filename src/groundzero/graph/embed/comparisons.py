"""How a question's vector is compared with an entity's, and the gradients of that, written by hand.

Every model here first turns (anchor, relation) into the vector of a question, q, then compares it with the vectors e of
candidates: by dot product, by Euclidean distance, by the sum of absolute differences, or by the sum of complex moduli.
Scores are higher for better candidates, so distances are negated.

Shapes: B questions, K negatives of each, N candidates common to all, E entities, D numbers per vector. Gradients take
`weight`, the derivative of the loss with respect to the score.

Two of the four are `factored`: the gradient of a candidate is a multiple of q plus a multiple of the candidate itself,
so what thousands of negatives add to the rows of the table is a sparse matrix product (`rows.py`), and no vector per
negative is ever made. Bags of rows (`embedding_bag`) fetch ahead and were 5 times faster than `index_select` for 65,536
rows of 256 from 40,943 (3.2 against 17 ms, one core of an EPYC 9005).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = 1 << 20
"""What is worked on at once: the size of a core's second-level cache."""
TINY = 1e-12


class Comparison(ABC):
    """Scores of candidates for a question."""

    factored: bool

    @abstractmethod
    def paired(self, query_BD: Tensor, entity_BD: Tensor) -> Tensor:
        """score_B of one candidate for each question."""

    @abstractmethod
    def paired_backward(
        self, query_BD: Tensor, entity_BD: Tensor, score_B: Tensor, weight_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients (query_BD, entity_BD)."""

    @abstractmethod
    def sampled(self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor) -> Tensor:
        """score_BK of the rows of `table_ED` that `ids_BK` names."""

    @abstractmethod
    def sampled_backward(
        self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor, score_BK: Tensor, weight_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradient of query_BD, and two coefficients per negative, of q and of the candidate itself.

        Where the comparison is factored, a candidate's gradient is `of_query * q + of_self * e`. Where it is not, it is
        `of_query * direction(q - e)` and there is no second coefficient.
        """

    @abstractmethod
    def matrix(self, query_BD: Tensor, entity_ND: Tensor) -> Tensor:
        """score_BN of common candidates."""

    def slope(self, score_BN: Tensor, weight_BN: Tensor) -> Tensor:
        """What `matrix_backward` needs to know of scores and weights. May overwrite `weight_BN`."""
        return weight_BN

    @abstractmethod
    def matrix_backward(self, query_BD: Tensor, entity_ND: Tensor, slope_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients (query_BD, entity_ND)."""

    def ranking(self, query_BD: Tensor, entity_ND: Tensor) -> Tensor:
        """Numbers that order candidates as `matrix` does, and are cheaper where that can be."""
        return self.matrix(query_BD, entity_ND)

    def direction(self, difference_ND: Tensor) -> Tensor:
        """Derivative of the score with respect to the candidate, given q - e. Only where not factored."""
        raise NotImplementedError


class Dot(Comparison):
    """q . e: DistMult, and ComplEx with real and imaginary parts side by side."""

    factored = True

    def paired(self, query_BD: Tensor, entity_BD: Tensor) -> Tensor:
        return (query_BD * entity_BD).sum(1)

    def paired_backward(
        self, query_BD: Tensor, entity_BD: Tensor, score_B: Tensor, weight_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        return entity_BD * weight_B[:, None], query_BD * weight_B[:, None]

    def sampled(self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor) -> Tensor:
        return _dot_sampled(query_BD, table_ED, ids_BK)

    def sampled_backward(
        self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor, score_BK: Tensor, weight_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return bag(ids_BK, table_ED, weight_BK), weight_BK, None

    def matrix(self, query_BD: Tensor, entity_ND: Tensor) -> Tensor:
        return product(query_BD, entity_ND.t())

    def matrix_backward(self, query_BD: Tensor, entity_ND: Tensor, slope_BN: Tensor) -> tuple[Tensor, Tensor]:
        return product(slope_BN, entity_ND), product(slope_BN.t(), query_BD)


class Euclidean(Comparison):
    """-||q - e||, through ||q||² + ||e||² - 2 q . e so that the work is a matrix product."""

    factored = True

    def paired(self, query_BD: Tensor, entity_BD: Tensor) -> Tensor:
        distance_B: Tensor = torch.linalg.vector_norm(query_BD - entity_BD, dim=1)
        return -distance_B

    def paired_backward(
        self, query_BD: Tensor, entity_BD: Tensor, score_B: Tensor, weight_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        gradient_BD = (query_BD - entity_BD) * (weight_B / score_B.clamp(max=-TINY))[:, None]
        return gradient_BD, -gradient_BD

    def sampled(self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor) -> Tensor:
        score_BK = ids_BK.new_empty(ids_BK.shape, dtype=query_BD.dtype)
        for part, rows_CKD in gather_chunks(table_ED, ids_BK):
            rows_CKD.sub_(query_BD[part, None]).square_()
            score_BK[part] = rows_CKD.sum(2).sqrt_().neg_()
        return score_BK

    def sampled_backward(
        self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor, score_BK: Tensor, weight_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        slope_BK = weight_BK / score_BK.clamp(max=-TINY)
        query_gradient_BD = query_BD * slope_BK.sum(1, keepdim=True) - bag(ids_BK, table_ED, slope_BK)
        return query_gradient_BD, -slope_BK, slope_BK

    def matrix(self, query_BD: Tensor, entity_ND: Tensor) -> Tensor:
        squared_BN = self.ranking(query_BD, entity_ND).neg_()
        squared_BN += query_BD.square().sum(1, keepdim=True)
        return squared_BN.clamp_(min=TINY).sqrt_().neg_()

    def slope(self, score_BN: Tensor, weight_BN: Tensor) -> Tensor:
        return weight_BN.div_(score_BN)  # at most -1e-6, by the clamp above

    def matrix_backward(self, query_BD: Tensor, entity_ND: Tensor, slope_BN: Tensor) -> tuple[Tensor, Tensor]:
        of_query_B1 = slope_BN.sum(1, keepdim=True, dtype=query_BD.dtype)
        of_entity_N1 = slope_BN.sum(0, dtype=query_BD.dtype)[:, None]
        query_gradient_BD = query_BD * of_query_B1 - product(slope_BN, entity_ND)
        return query_gradient_BD, entity_ND * of_entity_N1 - product(slope_BN.t(), query_BD)

    def ranking(self, query_BD: Tensor, entity_ND: Tensor) -> Tensor:
        """2 q . e - ||e||², which is -||q - e||² but for a constant per question."""
        if entity_ND.dtype != query_BD.dtype:
            return product(query_BD, entity_ND.t()).mul_(2).sub_(entity_ND.float().square().sum(1))
        return torch.addmm(entity_ND.square().sum(1), query_BD, entity_ND.t(), beta=-1, alpha=2)


class _Elementwise(Comparison):
    """Distances that are sums over dimensions of something that is no product."""

    factored = False

    @abstractmethod
    def distance(self, difference: Tensor) -> Tensor:
        """Over the last dimension. May overwrite its argument."""

    def paired(self, query_BD: Tensor, entity_BD: Tensor) -> Tensor:
        return -self.distance(query_BD - entity_BD)

    def paired_backward(
        self, query_BD: Tensor, entity_BD: Tensor, score_B: Tensor, weight_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        entity_gradient_BD = self.direction(query_BD - entity_BD) * weight_B[:, None]
        return -entity_gradient_BD, entity_gradient_BD

    def sampled(self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor) -> Tensor:
        score_BK = ids_BK.new_empty(ids_BK.shape, dtype=query_BD.dtype)
        for part, rows_CKD in gather_chunks(table_ED, ids_BK):
            score_BK[part] = self.distance(rows_CKD.sub_(query_BD[part, None])).neg_()
        return score_BK

    def sampled_backward(
        self, query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor, score_BK: Tensor, weight_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        gradient_BD = torch.empty_like(query_BD)
        for part, rows_CKD in gather_chunks(table_ED, ids_BK):
            direction_CKD = self.direction(rows_CKD.sub_(query_BD[part, None]))  # of e - q: already the way q should go
            gradient_BD[part] = torch.bmm(weight_BK[part, None], direction_CKD)[:, 0]
        return gradient_BD, weight_BK, None

    def matrix(self, query_BD: Tensor, entity_ND: Tensor) -> Tensor:
        score_BN = query_BD.new_empty(len(query_BD), len(entity_ND))
        buffer = query_BD.new_empty(0)
        for queries, entities in _tiles(query_BD, entity_ND):
            query_C1D, entity_MD = query_BD[queries, None], entity_ND[entities]
            if buffer.shape[:2] != (len(query_C1D), len(entity_MD)):
                buffer = query_BD.new_empty(len(query_C1D), *entity_MD.shape)
            torch.sub(entity_MD, query_C1D, out=buffer)
            torch.neg(self.distance(buffer), out=score_BN[queries, entities])
        return score_BN

    def matrix_backward(self, query_BD: Tensor, entity_ND: Tensor, slope_BN: Tensor) -> tuple[Tensor, Tensor]:
        query_gradient_BD, entity_gradient_ND = torch.zeros_like(query_BD), torch.zeros_like(entity_ND)
        for queries, entities in _tiles(query_BD, entity_ND):
            direction_CMD = self.direction(query_BD[queries, None] - entity_ND[entities])
            direction_CMD *= slope_BN[queries, entities, None]
            query_gradient_BD[queries] -= direction_CMD.sum(1)
            entity_gradient_ND[entities] += direction_CMD.sum(0)
        return query_gradient_BD, entity_gradient_ND


class Manhattan(_Elementwise):
    """-sum |q - e|: TransE with norm 1."""

    def distance(self, difference: Tensor) -> Tensor:
        return difference.abs_().sum(-1)  # in place, then sum: 3 times faster than `vector_norm` with ord=1

    def direction(self, difference_ND: Tensor) -> Tensor:
        return difference_ND.sign()


class Modulus(_Elementwise):
    """-sum |q - e| over complex numbers, real parts first, imaginary parts after: RotatE."""

    def distance(self, difference: Tensor) -> Tensor:
        real, imaginary = difference.square_().chunk(2, -1)
        return (real + imaginary).sqrt_().sum(-1)

    def direction(self, difference_ND: Tensor) -> Tensor:
        real, imaginary = difference_ND.chunk(2, -1)
        modulus = (real.square() + imaginary.square()).sqrt_().clamp_(min=TINY)
        return difference_ND / torch.cat([modulus, modulus], -1)


def bag(ids_BK: Tensor, table_ED: Tensor, weight_BK: Tensor | None = None) -> Tensor:
    """Sums over K of rows of the table, weighted: a sparse matrix times the table."""
    return F.embedding_bag(ids_BK, table_ED, per_sample_weights=weight_BK, mode="sum")


def gather(table_ED: Tensor, ids: Tensor) -> Tensor:
    """A copy of rows of the table, shape (*ids, D)."""
    if table_ED.device.type != "cpu":
        return table_ED[ids]
    return F.embedding_bag(ids.reshape(-1, 1), table_ED, mode="sum").view(*ids.shape, table_ED.shape[1])


def gather_chunks(table_ED: Tensor, ids_BK: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the batch with the rows of their negatives, rows_CKD, each small enough to stay in cache."""
    for part in chunks(len(ids_BK), ids_BK.shape[1] * table_ED.shape[1] * table_ED.element_size(), table_ED):
        yield part, gather(table_ED, ids_BK[part])


def chunks(count: int, bytes_each: int, like: Tensor | None = None) -> Iterator[slice]:
    """Slices of 0..count whose data are about a cache full; larger ones on an accelerator, which has no such need."""
    budget = CHUNK_BYTES if like is None or like.device.type == "cpu" else CHUNK_BYTES << 9
    size = max(1, budget // bytes_each)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _tiles(query_BD: Tensor, entity_ND: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of questions and of candidates whose differences are about a cache full."""
    bytes_each = entity_ND.shape[1] * entity_ND.element_size()
    for entities in chunks(len(entity_ND), bytes_each, entity_ND):
        for queries in chunks(len(query_BD), bytes_each * (entities.stop - entities.start), entity_ND):
            yield queries, entities


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product in the lower precision of the two, returned in float32 where that is bfloat16."""
    if left.dtype == right.dtype and left.dtype != torch.bfloat16:
        return left @ right
    return (left.to(torch.bfloat16) @ right.to(torch.bfloat16)).float()


def _dot_sampled(query_BD: Tensor, table_ED: Tensor, ids_BK: Tensor) -> Tensor:
    score_BK = ids_BK.new_empty(ids_BK.shape, dtype=query_BD.dtype)
    for part, rows_CKD in gather_chunks(table_ED, ids_BK):
        score_BK[part] = torch.bmm(rows_CKD, query_BD[part, :, None])[:, :, 0]
    return score_BK
