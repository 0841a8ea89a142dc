"""Facts as the network takes them (vectors from the graph, texts as tokens, a number), and how each becomes one vector.

Shapes: B rows, N facts of the longest row, L tokens of the longest text, E width of an embedding of the graph, V = 3 E,
D d_model, F width of a fact, T time, M marks of the fact that has most.

A fact is read as

    fact = W [e_subject; e_relation; e_object] + W_s mean(subject) + W_r mean(relation) + W_o mean(object)
         + number[n] + sum of mark[m]

where marks are what whoever found the fact knows of it (that the question names its subject, say), and mean(text) is
the mean of its tokens' rows in the model's own table, which facts read and never change. The cost is linear in the
number of facts, and no fact sees another: their order means nothing, only number and marks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundzero.errors import InputError
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.layers import Linear

NO_TOKEN = -1


@dataclass(frozen=True, eq=False)
class Fact:
    """One statement, ready to be read."""

    subject: Sequence[int]
    """Its text as token ids; empty where it has none that could be written."""
    relation: Sequence[int]
    """As `subject`."""
    object: Sequence[int]
    """As `subject`."""
    number: int = 0
    """How the prompt calls it, from 1; 0 when it has no number."""
    vectors: Sequence[float] | Tensor | None = None
    """Embeddings of subject, relation and object in the graph, one after the other (3 E); zeros when absent."""
    document: int = 0
    """Which of several texts packed into one row it belongs to (see `Batch.documents_BT`)."""
    marks: Sequence[int] = ()
    """What is known of it beside its words, each thing a number (`ground.marks` says what they mean)."""
    readable: bool = True
    """Whether blocks may read it; one that they may not can still be copied from."""


class Facts(NamedTuple):
    """The facts of a batch, padded."""

    vectors_BNV: Tensor
    """Float; V is 0 for a model without embeddings of the graph."""
    subject_BNL: Tensor
    """int64, -1 where there is no token; each of the three texts has its own L."""
    relation_BNL: Tensor
    """As `subject_BNL`."""
    object_BNL: Tensor
    """As `subject_BNL`."""
    number_BN: Tensor
    """int64, 0 for none."""
    visible_BN: Tensor
    """Bool, false where there is no fact."""
    documents_BN: Tensor | None = None
    """The document that may see a fact; None where every token of its row may."""
    readable_BN: Tensor | None = None
    """Which visible facts the blocks may read; None is all of them."""
    marks_BNM: Tensor | None = None
    """int64, -1 where there is none; None is none at all."""

    def copyable(self) -> Tensor:
        """Which slots have a text to copy, copyable_BS: slot 2 n of S = 2 N is fact n's subject, 2 n + 1 its object."""
        texts = [(ids_BNL >= 0).any(-1) for ids_BNL in (self.subject_BNL, self.object_BNL)]
        return (torch.stack(texts, dim=-1) & self.visible_BN[..., None]).flatten(1)


def make_facts(rows: Sequence[Sequence[Fact]], d_vector: int = 0, *, isolate_documents: bool = False) -> Facts:
    """Facts of several rows as padded tensors.

    Args:
        d_vector: width of one embedding of the graph (`KnowledgeConfig.d_vector`).
        isolate_documents: let a token see only the facts of its own document.

    Raises:
        InputError: a fact's vectors are not 3 x d_vector numbers.
    """
    n_fact = max(map(len, rows), default=0)
    shape = (len(rows), n_fact)
    vectors_BNV = torch.zeros(*shape, 3 * d_vector)
    numbers = torch.zeros(shape, dtype=torch.int64)
    documents = torch.full(shape, -1, dtype=torch.int64)
    visible_BN, readable_BN = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    for b, facts in enumerate(rows):
        visible_BN[b, : len(facts)] = True
        for n, fact in enumerate(facts):
            numbers[b, n], documents[b, n], readable_BN[b, n] = fact.number, fact.document, fact.readable
            if fact.vectors is not None:
                vector_V = torch.as_tensor(fact.vectors, dtype=torch.float32).flatten()
                if len(vector_V) != 3 * d_vector:
                    raise InputError(
                        f"A fact's vectors have {len(vector_V)} numbers, and the model takes {3 * d_vector}.",
                        remedy="Give subject, relation and object of the embedding that the model was tuned with.",
                    )
                vectors_BNV[b, n] = vector_V
    return Facts(
        vectors_BNV,
        _pad_texts([[fact.subject for fact in facts] for facts in rows], n_fact),
        _pad_texts([[fact.relation for fact in facts] for facts in rows], n_fact),
        _pad_texts([[fact.object for fact in facts] for facts in rows], n_fact),
        numbers,
        visible_BN,
        documents if isolate_documents else None,
        None if bool(readable_BN.all()) else readable_BN,
        _pad_texts([[fact.marks for fact in facts] for facts in rows], n_fact),
    )


def _pad_texts(rows: Sequence[Sequence[Sequence[int]]], n_fact: int) -> Tensor:
    longest = max((len(ids) for texts in rows for ids in texts), default=0)
    padded = [
        [[*ids, *[NO_TOKEN] * (longest - len(ids))] for ids in texts] + [[NO_TOKEN] * longest] * (n_fact - len(texts))
        for texts in rows
    ]
    return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), n_fact, longest)


def mean_embedding(table_VD: Tensor, ids_BNL: Tensor) -> Tensor:
    """The mean of the tokens' rows, mean_BND; zero where there is no token. The table gets no gradient."""
    there_NL = (ids_BNL >= 0).flatten(0, 1)
    table_VD = table_VD.detach()
    if not there_NL.numel():
        return table_VD.new_zeros(*ids_BNL.shape[:2], table_VD.shape[1])
    share_NL = there_NL.to(table_VD.dtype) / there_NL.sum(-1, keepdim=True).clamp(min=1)
    ids_NL = ids_BNL.flatten(0, 1).clamp(min=0)
    mean_ND = F.embedding_bag(ids_NL, table_VD, mode="sum", per_sample_weights=share_NL)
    return mean_ND.view(*ids_BNL.shape[:2], -1)


def start_as_identity(layer: nn.Linear, scale: float = 1.0) -> None:
    """Pass the input on, times `scale`; at random, of the same size, where widths differ."""
    if layer.in_features == layer.out_features:
        nn.init.eye_(layer.weight)
        with torch.no_grad():
            layer.weight *= scale
    else:
        nn.init.normal_(layer.weight, std=scale * layer.in_features**-0.5)


class FactEncoder(nn.Module):
    """One vector for each fact; see the head of this file."""

    def __init__(self, d_model: int, config: KnowledgeConfig) -> None:
        super().__init__()
        self.max_number = config.max_number
        self.vectors = Linear(3 * config.d_vector, config.d_fact, bias=False) if config.d_vector else None
        self.subject = Linear(d_model, config.d_fact, bias=False)
        self.relation = Linear(d_model, config.d_fact, bias=False)
        self.object = Linear(d_model, config.d_fact, bias=False)
        self.number = nn.Embedding(config.max_number + 1, config.d_fact)
        self.mark = nn.Embedding(config.n_mark, config.d_fact) if config.n_mark else None

    def reset_parameters(self, table_VD: Tensor) -> None:
        """Every term of a fact starts at about the same size, 1, however small the table's rows are.

        Texts start as themselves where a fact is as wide as the model: reader and output speak of tokens by these rows.
        """
        spread = float(table_VD.detach().float().square().mean().sqrt()) or 1.0
        for layer in (self.subject, self.relation, self.object):
            start_as_identity(layer, 1 / spread)
        nn.init.normal_(self.number.weight)
        if self.mark is not None:
            nn.init.normal_(self.mark.weight)
        if self.vectors is not None:  # embeddings of a graph have length 1 or so each
            nn.init.normal_(self.vectors.weight, std=3**-0.5)

    def forward(self, facts: Facts, table_VD: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """
        Args:
            table_VD: the model's token table.
            dtype: precision of the computation; the table's when None.

        Returns:
            facts_BNF: rubbish, but finite, where no fact is visible.
        """
        dtype = dtype or table_VD.dtype
        number_BN = torch.where(facts.number_BN <= self.max_number, facts.number_BN, 0)
        fact_BNF = self.number.weight.to(dtype)[number_BN]
        for layer, ids_BNL in (
            (self.subject, facts.subject_BNL),
            (self.relation, facts.relation_BNL),
            (self.object, facts.object_BNL),
        ):
            fact_BNF = fact_BNF + layer(mean_embedding(table_VD, ids_BNL).to(dtype))
        if self.mark is not None and facts.marks_BNM is not None:
            known_BNM = (facts.marks_BNM >= 0) & (facts.marks_BNM < len(self.mark.weight))
            mark_BNMF = self.mark.weight.to(dtype)[torch.where(known_BNM, facts.marks_BNM, 0)]
            fact_BNF = fact_BNF + (mark_BNMF * known_BNM[..., None]).sum(2)
        if self.vectors is not None:
            fact_BNF = fact_BNF + self.vectors(facts.vectors_BNV.to(dtype))
        return fact_BNF
