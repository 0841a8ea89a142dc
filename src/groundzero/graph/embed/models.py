"""The four models: how (anchor, relation) becomes the vector of a question, and the gradients of that by hand.

Asking for the object, the anchor is the subject; asking for the subject (`backward_B` true), the anchor is the object
and the relation is used the other way round. With reciprocal relations only the first is ever asked.

Complex vectors are stored with the D/2 real parts first and the D/2 imaginary parts after. Shapes as in comparisons.py;
R is the width of a relation's row.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from groundzero.graph.embed.comparisons import Comparison, Dot, Euclidean, Manhattan, Modulus
from groundzero.graph.embed.config import EmbedConfig


class Model(ABC):
    """A way to ask."""

    comparison: Comparison

    def relation_width(self, dim: int) -> int:
        """Numbers per relation for `dim` per entity."""
        return dim

    @abstractmethod
    def query(self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None) -> Tensor:
        """query_BD. `backward_B` is None where no question asks for a subject."""

    @abstractmethod
    def query_backward(
        self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None, gradient_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients (anchor_BD, relation_BR)."""


class TransE(Model):
    """q = s + r, or o - r (Bordes et al. 2013)."""

    def __init__(self, norm: int) -> None:
        self.comparison = Euclidean() if norm == 2 else Manhattan()

    def query(self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None) -> Tensor:
        return anchor_BD + _turned(relation_BR, backward_B)

    def query_backward(
        self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None, gradient_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        return gradient_BD, _turned(gradient_BD, backward_B)


class DistMult(Model):
    """q = s * r, and the same backwards (Yang et al. 2015)."""

    def __init__(self) -> None:
        self.comparison = Dot()

    def query(self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None) -> Tensor:
        return anchor_BD * relation_BR

    def query_backward(
        self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None, gradient_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        return gradient_BD * relation_BR, gradient_BD * anchor_BD


class ComplEx(Model):
    """q = s * r in complex numbers, compared by Re<q, conj(o)>; the conjugate backwards (Trouillon et al. 2016)."""

    def __init__(self) -> None:
        self.comparison = Dot()

    def query(self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None) -> Tensor:
        return _times(anchor_BD, _conjugated(relation_BR, backward_B))

    def query_backward(
        self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None, gradient_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        anchor_gradient_BD = _times_conjugate(gradient_BD, _conjugated(relation_BR, backward_B))
        return anchor_gradient_BD, _conjugated(_times_conjugate(gradient_BD, anchor_BD), backward_B)


class RotatE(Model):
    """q = s turned by the relation's angles, D/2 of them; backwards turned back (Sun et al. 2019)."""

    def __init__(self) -> None:
        self.comparison = Modulus()

    def relation_width(self, dim: int) -> int:
        return dim // 2

    def query(self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None) -> Tensor:
        return _times(anchor_BD, _rotation(relation_BR, backward_B))

    def query_backward(
        self, anchor_BD: Tensor, relation_BR: Tensor, backward_B: Tensor | None, gradient_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        rotation_BD = _rotation(relation_BR, backward_B)
        cosine, sine = rotation_BD.chunk(2, 1)
        of_cosine, of_sine = _times_conjugate(gradient_BD, anchor_BD).chunk(2, 1)
        return _times_conjugate(gradient_BD, rotation_BD), _turned(of_sine * cosine - of_cosine * sine, backward_B)


def make_model(config: EmbedConfig) -> Model:
    """The model that a configuration names."""
    if config.model == "transe":
        return TransE(config.norm)
    if config.model == "distmult":
        return DistMult()
    return ComplEx() if config.model == "complex" else RotatE()


def initial_tables(
    config: EmbedConfig, n_entities: int, n_relations: int, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Random tables (entities_ED, relations_RW) on the CPU, a function of the seed alone.

    Relations have twice as many rows where they are reciprocal: the way back of relation i is row n_relations + i.
    """
    generator = torch.Generator().manual_seed(config.seed)
    rows = n_relations * (2 if config.reciprocal else 1)
    entities_ED = _random(config, n_entities, config.dim, generator)
    relations_RW = _random(config, rows, make_model(config).relation_width(config.dim), generator)
    if config.model == "rotate":
        relations_RW = (torch.rand(relations_RW.shape, generator=generator) * 2 - 1) * math.pi
    if config.unit_entities:
        entities_ED /= torch.linalg.vector_norm(entities_ED, dim=1, keepdim=True)
    return entities_ED.to(dtype), relations_RW.to(dtype)


def _random(config: EmbedConfig, rows: int, width: int, generator: torch.Generator) -> Tensor:
    if config.init == "uniform":
        return (torch.rand(rows, width, generator=generator) * 2 - 1) * config.init_scale
    deviation = config.init_scale if config.init == "normal" else math.sqrt(2 / (rows + width))
    return torch.randn(rows, width, generator=generator) * deviation


def _turned(vectors: Tensor, backward_B: Tensor | None) -> Tensor:
    """Negated where backwards."""
    return vectors if backward_B is None else vectors * (1 - 2 * backward_B[:, None].to(vectors.dtype))


def _conjugated(vectors: Tensor, backward_B: Tensor | None) -> Tensor:
    """Imaginary halves negated where backwards."""
    if backward_B is None:
        return vectors
    real, imaginary = vectors.chunk(2, 1)
    return torch.cat([real, _turned(imaginary, backward_B)], 1)


def _rotation(angles_BR: Tensor, backward_B: Tensor | None) -> Tensor:
    return torch.cat([angles_BR.cos(), _turned(angles_BR.sin(), backward_B)], 1)


def _times(left_BD: Tensor, right_BD: Tensor) -> Tensor:
    (a, b), (c, d) = left_BD.chunk(2, 1), right_BD.chunk(2, 1)
    return torch.cat([a * c - b * d, a * d + b * c], 1)


def _times_conjugate(left_BD: Tensor, right_BD: Tensor) -> Tensor:
    (a, b), (c, d) = left_BD.chunk(2, 1), right_BD.chunk(2, 1)
    return torch.cat([a * c + b * d, b * c - a * d], 1)
