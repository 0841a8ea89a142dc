"""What a step makes small, and its derivative with respect to every score, by hand.

Each takes positive_B and negative_BK (scores; a negative that is really the answer is -inf and counts for nothing) and
returns (sum over the batch, its derivatives weight_B and weight_BK). Divide by the batch's size for the mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from groundzero.graph.embed.config import EmbedConfig

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def make_loss(config: EmbedConfig) -> Loss:
    """The loss that a configuration names."""
    if config.loss == "softmax":
        return softmax_loss
    if config.loss == "margin":
        return lambda positive_B, negative_BK: margin_loss(positive_B, negative_BK, config.margin)
    return lambda positive_B, negative_BK: self_adversarial_loss(
        positive_B, negative_BK, config.margin, config.temperature
    )


def softmax_loss(positive_B: Tensor, negative_BK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-log of the answer's share of exp(score) among itself and its negatives."""
    logits = torch.cat([positive_B[:, None], negative_BK], 1)
    share = logits.softmax(1)
    loss = torch.logsumexp(logits, 1).sub_(positive_B).sum()
    return loss, share[:, 0] - 1, share[:, 1:]


def margin_loss(positive_B: Tensor, negative_BK: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """max(0, margin - positive + negative), mean over the negatives (Bordes et al. 2013)."""
    violation_BK = (negative_BK - positive_B[:, None] + margin).clamp_(min=0)
    active_BK = (violation_BK > 0).to(positive_B.dtype) / negative_BK.shape[1]
    return violation_BK.sum() / negative_BK.shape[1], -active_BK.sum(1), active_BK


def self_adversarial_loss(
    positive_B: Tensor, negative_BK: Tensor, margin: float, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(-log s(margin + positive) - sum p log s(-margin - negative)) / 2, s the sigmoid (Sun et al. 2019, equation 5).

    p is the softmax of temperature * negative, and no gradient flows through it.
    """
    share_BK = (negative_BK * temperature).softmax(1) if temperature else _even(negative_BK)
    apart_BK = F.softplus(negative_BK + margin)
    loss = (F.softplus(-positive_B - margin).sum() + (share_BK * apart_BK).sum()) / 2
    return loss, -torch.sigmoid(-positive_B - margin) / 2, share_BK * torch.sigmoid(negative_BK + margin) / 2


def _even(negative_BK: Tensor) -> Tensor:
    return torch.full_like(negative_BK, 1 / negative_BK.shape[1])
