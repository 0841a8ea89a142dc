"""From logits to a token: penalties -> processors -> temperature -> top-k -> top-p -> min-p -> one draw.

The order is Hugging Face's. Every function takes a whole batch with one setting per row and computes in float32; a
row's result depends on no other row. Truncations cut at a *value*, so tokens that tie with the last one kept stay,
and the outcome does not depend on how a sort breaks ties. A draw is the inverse of the cumulative distribution in
order of token id at one uniform number per row, which comes from the request's own generator.

Shapes: B rows (requests), V vocabulary, K largest logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groundzero.generate.config import SamplingConfig

# How many of the largest logits the nucleus is looked for in before everything is sorted: over 32,768 logits on one
# core topk(256) takes 0.05 ms and a full sort 1.9 ms, and a trained model rarely spreads 95 % over more than 256.
_NUCLEUS_GUESS = 256


@dataclass(frozen=True)
class RowSettings:
    """The sampling settings of a batch, one row per request, as tensors; rebuilt only when the batch changes."""

    temperature_B: Tensor
    top_k_B: Tensor
    top_p_B: Tensor
    min_p_B: Tensor
    repetition_B: Tensor
    presence_B: Tensor
    frequency_B: Tensor
    greedy_B: Tensor
    all_greedy: bool
    any_greedy: bool
    any_penalty: bool
    largest_k: int
    any_nucleus: bool
    any_min_p: bool

    @classmethod
    def stack(cls, configs: Sequence[SamplingConfig], device: torch.device | str = "cpu") -> RowSettings:
        """One row per config, in order."""

        def floats(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        greedy = [config.greedy for config in configs]
        return cls(
            temperature_B=floats([1.0 if config.greedy else config.temperature for config in configs]),
            top_k_B=torch.tensor([config.top_k for config in configs], dtype=torch.int64, device=device),
            top_p_B=floats([config.top_p for config in configs]),
            min_p_B=floats([config.min_p for config in configs]),
            repetition_B=floats([config.repetition_penalty for config in configs]),
            presence_B=floats([config.presence_penalty for config in configs]),
            frequency_B=floats([config.frequency_penalty for config in configs]),
            greedy_B=torch.tensor(greedy, dtype=torch.bool, device=device),
            all_greedy=all(greedy),
            any_greedy=any(greedy),
            any_penalty=any(config.penalised for config in configs),
            largest_k=max((config.top_k for config in configs if not config.greedy), default=0),
            any_nucleus=any(config.top_p < 1 and not config.greedy for config in configs),
            any_min_p=any(config.min_p > 0 and not config.greedy for config in configs),
        )


def penalise(logits_BV: Tensor, rows: RowSettings, seen_BV: Tensor, generated_BV: Tensor) -> Tensor:
    """Make tokens that were already there less (or, with negative values, more) likely.

    Args:
        logits_BV: float32.
        seen_BV: bool, tokens of prompt or answer; the repetition penalty acts on these, as in Hugging Face.
        generated_BV: how often each token was generated; presence and frequency act on these, as at OpenAI.
    """
    factor_B1 = rows.repetition_B[:, None]
    repeated_BV = torch.where(logits_BV > 0, logits_BV / factor_B1, logits_BV * factor_B1)
    logits_BV = torch.where(seen_BV, repeated_BV, logits_BV)
    penalty_BV = rows.frequency_B[:, None] * generated_BV + rows.presence_B[:, None] * (generated_BV > 0)
    return logits_BV - penalty_BV


def distribution(logits_BV: Tensor, rows: RowSettings) -> Tensor:
    """Probabilities after temperature, top-k, top-p and min-p; float32, rows sum to 1.

    A row without one possible token (all -inf) or with a NaN comes out as NaN; `draw` reports it.
    """
    top_B1 = logits_BV.amax(-1, keepdim=True)
    scaled_BV = (logits_BV - top_B1) / rows.temperature_B[:, None]
    top_BK = None
    if rows.largest_k:
        top_BK = scaled_BV.topk(min(rows.largest_k, scaled_BV.shape[1])).values
        kth_B = _kth_largest(top_BK, rows)
        scaled_BV, top_BK = _cut_below(scaled_BV, kth_B), _cut_below(top_BK, kth_B)
    if rows.any_nucleus:
        scaled_BV = _cut_below(scaled_BV, _nucleus_border(scaled_BV, top_BK, rows))
    if rows.any_min_p:
        # The likeliest token has scaled logit 0, so a ratio of probabilities is a difference from it.
        scaled_BV = _cut_below(scaled_BV, rows.min_p_B.log())
    return scaled_BV.softmax(-1)


def draw(probs_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """The token at which the cumulative distribution passes `uniform_B`, and whether the row had one.

    Args:
        probs_BV: float32; a row need not sum to 1 exactly.
        uniform_B: float64 in [0, 1).

    Returns:
        ids_B int64 and valid_B bool; an invalid row holds NaN or nothing but zeros, and its id means nothing.
    """
    cumulative_BV = probs_BV.double().cumsum(-1)
    total_B = cumulative_BV[:, -1]
    # Just below the total at most: then the first entry above the target exists and has a probability above zero.
    target_B = torch.minimum(uniform_B * total_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
    ids_B = torch.searchsorted(cumulative_BV, target_B[:, None], right=True).squeeze(1)
    return ids_B.clamp_(max=probs_BV.shape[1] - 1), total_B > 0


def choose(logits_BV: Tensor, rows: RowSettings, uniform_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """One token for each row, greedy or drawn.

    Args:
        logits_BV: float32, after penalties and processors.
        uniform_B: float64 in [0, 1), one for each row; None when every row is greedy.

    Returns:
        ids_B int64 and valid_B bool: False where no token is possible, or a logit is NaN.
    """
    if rows.all_greedy or uniform_B is None:
        top_B, ids_B = logits_BV.max(-1)
        return ids_B, top_B > -torch.inf  # false for NaN too, which `max` hands on
    drawn_B, valid_B = draw(distribution(logits_BV, rows), uniform_B)
    if not rows.any_greedy:
        return drawn_B, valid_B
    top_B, likeliest_B = logits_BV.max(-1)
    return (
        torch.where(rows.greedy_B, likeliest_B, drawn_B),
        torch.where(rows.greedy_B, top_B > -torch.inf, valid_B),
    )


def _cut_below(scaled_BV: Tensor, border_B: Tensor) -> Tensor:
    return scaled_BV.masked_fill(scaled_BV < border_B[:, None], -torch.inf)


def _kth_largest(top_BK: Tensor, rows: RowSettings) -> Tensor:
    """The value of the k-th largest logit of each row; -inf where top-k is off."""
    index_B = rows.top_k_B.clamp(1, top_BK.shape[1]) - 1
    kth_B = top_BK.gather(1, index_B[:, None]).squeeze(1)
    return torch.where(rows.top_k_B > 0, kth_B, -torch.inf)


def _nucleus_border(scaled_BV: Tensor, top_BK: Tensor | None, rows: RowSettings) -> Tensor:
    """The smallest logit in the smallest set of likeliest tokens that reaches top_p; -inf where top-p is off.

    Args:
        top_BK: the largest of `scaled_BV` in order, where top-k has sorted them out already: the first guess.
    """
    vocabulary = scaled_BV.shape[1]
    log_total_B1 = scaled_BV.logsumexp(-1, keepdim=True)
    off_B = rows.top_p_B >= 1
    # A GPU sorts fast and waits long for the question whether the guess was enough, so it sorts at once.
    if top_BK is None or scaled_BV.is_cuda:
        top_BK = scaled_BV.topk(vocabulary if scaled_BV.is_cuda else min(_NUCLEUS_GUESS, vocabulary)).values
    while True:
        probs_BK = (top_BK - log_total_B1).exp()
        kept_BK = probs_BK.cumsum(-1) - probs_BK < rows.top_p_B[:, None]
        if top_BK.shape[1] == vocabulary or not bool((kept_BK[:, -1] & ~off_B).any()):
            return top_BK.masked_fill(~kept_BK, torch.inf).amin(-1).masked_fill(off_B, -torch.inf)
        top_BK = scaled_BV.topk(vocabulary).values
