"""The knowledge-aware output: at each place, whether a copied name begins here, and which.

    gate    g   = sigmoid(w . h + b)                         the probability that a copied span begins here
    pointer p_s = softmax over slots of (W_q h) . (W_k fact_n + role) / sqrt(K)

A slot is the subject or the object of a visible fact. What is copied is the slot's text, whole: `generate.copying`
writes it token by token, so that a name or a number can be chosen wrongly but never misspelt.

Shapes: B rows, T time, N facts, S = 2 N slots (2 n is fact n's subject, 2 n + 1 its object), D d_model, F width of a
fact, K width of the pointer, A alternatives, P places where a span begins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.layers import Linear

SUBJECT, OBJECT = 0, 1
"""The two roles of a slot."""
UNTAUGHT = -2
"""In place of a slot: whether a span begins here is not taught (where copying was switched off, say)."""


def slot_of(fact: int, role: int) -> int:
    """The slot of a fact's subject or object."""
    return 2 * fact + role


class CopyLoss(NamedTuple):
    """Two means, in nats."""

    gate: Tensor
    """Over the places of the answer."""
    pointer: Tensor
    """Over the places where a span begins; 0 without one."""


class CopyHead(nn.Module):
    """Gate and pointer; see the head of this file."""

    def __init__(self, d_model: int, config: KnowledgeConfig) -> None:
        super().__init__()
        self.gate = Linear(d_model, 1)
        self.query = Linear(d_model, config.d_copy, bias=False)
        self.key = Linear(config.d_fact, config.d_copy, bias=False)
        self.role = nn.Parameter(torch.empty(2, config.d_copy))

    def reset_parameters(self, bias: float) -> None:
        """The gate almost shut everywhere, queries and keys of size 1."""
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, bias)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.normal_(self.role)

    def keys(self, facts_BNF: Tensor) -> Tensor:
        """What each slot is found by, keys_BSK."""
        key_BNK: Tensor = self.key(facts_BNF)
        return (key_BNK[:, :, None] + self.role.to(key_BNK.dtype)).flatten(1, 2)

    def point(self, hidden_BTD: Tensor, keys_BSK: Tensor) -> Tensor:
        """Scores of the slots, scores_BTS, whether visible or not."""
        query_BTK = self.query(hidden_BTD)
        scores_BTS: Tensor = query_BTK @ keys_BSK.mT * query_BTK.shape[-1] ** -0.5
        return scores_BTS

    def forward(self, hidden_BTD: Tensor, facts_BNF: Tensor) -> tuple[Tensor, Tensor]:
        """
        Returns:
            gate_BT: its logit, and scores_BTS of the slots, visible or not.
        """
        return self.gate(hidden_BTD)[..., 0], self.point(hidden_BTD, self.keys(facts_BNF))


def unused(starts_BTA: Tensor, n_slot: int) -> Tensor:
    """Which slots, unused_BTS, no span before a place was taken from: a name is taken from one slot only once, or lists
    would go round in circles. A span is taken from the first of the slots that are right for it."""
    first_BT1 = torch.where(starts_BTA[..., :1] >= 0, starts_BTA[..., :1], n_slot)
    taken_BTS = starts_BTA.new_zeros(*starts_BTA.shape[:2], n_slot + 1).scatter_(-1, first_BT1, 1)[..., :n_slot]
    return (taken_BTS.cumsum(1) - taken_BTS) == 0


def pointer(scores_BTS: Tensor, visible_BTS: Tensor) -> Tensor:
    """The probability of each slot; zeros where none is visible."""
    scores_BTS = scores_BTS.masked_fill(~visible_BTS, -torch.inf)
    return torch.where(visible_BTS.any(-1, keepdim=True), scores_BTS, 0.0).softmax(-1) * visible_BTS


def copy_loss(
    gate_BT: Tensor, scores_BTS: Tensor, visible_BTS: Tensor, starts_BTA: Tensor, counted_BT: Tensor
) -> CopyLoss:
    """How surprised gate and pointer are at where spans begin and at what they copy.

    Args:
        gate_BT: logits.
        visible_BTS: which slots a place may point to; may be (B, 1, S).
        starts_BTA: the slots that are right for a span whose first token is the target of this place, -1 beyond them;
            nothing but -1 where no span begins; a first of `UNTAUGHT` keeps the place out of the gate's loss.
        counted_BT: places of the answer, which the gate learns from beside those where a span begins.
    """
    wide = torch.float64 if gate_BT.dtype == torch.float64 else torch.float32
    begins_BT = (starts_BTA >= 0).any(-1)
    counted_BT = (counted_BT & (starts_BTA[..., 0] != UNTAUGHT)) | begins_BT
    surprise_BT = F.binary_cross_entropy_with_logits(gate_BT.to(wide), begins_BT.to(wide), reduction="none")
    gate_loss = (surprise_BT * counted_BT).sum() / counted_BT.sum().clamp(min=1)
    scores_PS = scores_BTS[begins_BT].to(wide)
    visible_PS = visible_BTS.expand(scores_BTS.shape)[begins_BT]
    n_slot = scores_PS.shape[1]
    starts_PA = torch.where(starts_BTA[begins_BT] >= 0, starts_BTA[begins_BT], n_slot)  # what is no slot goes past them
    right_PS = visible_PS.new_zeros(len(starts_PA), n_slot + 1).scatter_(1, starts_PA, True)[:, :n_slot]
    right_P = scores_PS.masked_fill(~(right_PS & visible_PS), -torch.inf).logsumexp(-1)
    all_P = scores_PS.masked_fill(~visible_PS, -torch.inf).logsumexp(-1)
    return CopyLoss(gate_loss, (all_P - right_P).sum() / max(1, len(scores_PS)))
