"""Cross-entropy straight from the hidden states, without ever holding the logits of all tokens at full precision.

Shapes: N tokens, D d_model, V vocabulary (padded), C tokens in one chunk.

The output layer is the widest of all: at V 8192 the float32 logits of 2,048 tokens take 64 MB, read and written
several times. Here a chunk's logits are made, turned into probabilities and at once into the gradient while they are
still in cache; what remains is one half-precision matrix, from which both gradients follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 8 << 20
"""Float32 logits held at a time on a CPU; fits its last cache."""
GPU_CHUNK_BYTES = 512 << 20
"""The same on an accelerator, where larger products pay."""
_FEW = 0.75
"""Share of targets that count below which the others are left out rather than multiplied by zero."""


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Mean of -ln p(target) over targets that are not -1; 0 when there are none."""
    wide_NV = logits_NV.to(_wide(logits_NV.dtype))
    return F.cross_entropy(wide_NV, targets_N, ignore_index=-1, reduction="sum") / (targets_N >= 0).sum().clamp(min=1)


def soft_cap(logits: Tensor, cap: float) -> Tensor:
    """Squash into (-cap, cap), almost the identity near zero; no-op when cap is 0 (Gemma 2, 2024)."""
    return cap * torch.tanh(logits / cap) if cap else logits


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, vocab_size: int, softcap: float = 0.0
) -> Tensor:
    """`cross_entropy(soft_cap(hidden @ weight.T))` over the first `vocab_size` entries, fused.

    Args:
        hidden_ND: normalised hidden states, in the precision of the computation.
        weight_VD: the output layer, in any precision; rows beyond `vocab_size` are padding.
        targets_N: int64, -1 is ignored.

    Returns:
        loss: scalar, float32 (float64 for float64), the mean over targets that are not -1; 0 when there are none.
    """
    hidden_ND, targets_N = _only_counted(hidden_ND, targets_N)
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, targets_N, vocab_size, softcap
    )
    return loss


def _only_counted(hidden_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that count, where those are few: in a conversation only answers do, and of them no copied name.

    On a CPU alone: elsewhere the host would wait to learn how many they are.
    """
    if hidden_ND.device.type != "cpu":
        return hidden_ND, targets_N
    (counted_C,) = torch.nonzero(targets_N >= 0, as_tuple=True)
    if not 0 < len(counted_C) < _FEW * len(targets_N):
        return hidden_ND, targets_N
    return hidden_ND[counted_C], targets_N[counted_C]


class Scores(NamedTuple):
    """Sums over the targets that are not -1."""

    loss_sum: Tensor
    """In nats; float32, or float64 for float64."""
    correct: Tensor
    """How often the target had the largest logit."""
    counted: Tensor
    """How many targets there were."""


def score_targets(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, vocab_size: int, softcap: float = 0.0
) -> Scores:
    """Loss and hits for evaluation; arguments as in `linear_cross_entropy`."""
    counted_N = targets_N >= 0
    loss_sum = torch.zeros((), dtype=_wide(hidden_ND.dtype), device=hidden_ND.device)
    correct = torch.zeros((), dtype=torch.int64, device=hidden_ND.device)
    for chunk in _chunks(hidden_ND, weight_VD.to(hidden_ND.dtype), targets_N, vocab_size, softcap):
        counted_C = counted_N[chunk.rows]
        loss_sum += (chunk.loss_C * counted_C).sum()
        correct += ((chunk.logits_CV.argmax(dim=-1) == chunk.target_C1[:, 0]) & counted_C).sum()
    return Scores(loss_sum, correct, counted_N.sum())


class _Chunk(NamedTuple):
    rows: slice
    target_C1: Tensor
    logits_CV: Tensor
    loss_C: Tensor
    prob_CV: Tensor
    squashed_CV: Tensor | None


def _chunks(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    vocab_size: int,
    softcap: float,
    *,
    prob_NV: Tensor | None = None,
) -> Iterator[_Chunk]:
    """Probabilities and losses of a few tokens at a time.

    Args:
        prob_NV: where the probabilities are to go, in the precision they are to have; else float32 at least. In half
            precision a token's loss is then off by up to 0.004 nats either way, and the mean of thousands by nothing.
    """
    n_token, n_vocab, wide = len(hidden_ND), len(weight_VD), _wide(hidden_ND.dtype)
    limit = CHUNK_BYTES if hidden_ND.device.type == "cpu" else GPU_CHUNK_BYTES
    step = max(1, min(n_token, limit // (4 * n_vocab)))
    for start in range(0, n_token, step):
        rows = slice(start, start + step)
        target_C1 = targets_N[rows].clamp(min=0)[:, None]
        logits_CV, squashed_CV = hidden_ND[rows] @ weight_VD.t(), None
        if softcap:
            squashed_CV = torch.tanh(logits_CV / softcap)
            logits_CV = squashed_CV * softcap
        if vocab_size < n_vocab:
            logits_CV[:, vocab_size:] = float("-inf")
        if prob_NV is None:
            prob_CV = torch.softmax(logits_CV, dim=-1, dtype=wide)
        else:
            prob_CV = torch.softmax(logits_CV, dim=-1, out=prob_NV[rows])
        # ln Z from the largest logit and its probability: no second pass of exponentials.
        log_z_C = logits_CV.amax(dim=-1).to(wide) - prob_CV.amax(dim=-1).to(wide).log()
        loss_C = log_z_C - logits_CV.gather(1, target_C1)[:, 0].to(wide)
        yield _Chunk(rows, target_C1, logits_CV, loss_C, prob_CV, squashed_CV)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The precision in which logarithms are taken and losses summed."""
    return torch.promote_types(dtype, torch.float32)


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass over chunks: d loss / d logits = softmax - onehot, over the number of targets."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, vocab_size: int, softcap: float
    ) -> Tensor:
        weight = weight_VD.to(hidden_ND.dtype)
        counted_N = targets_N >= 0
        n_counted = counted_N.sum().clamp(min=1)
        all_counted = counted_N.device.type == "cpu" and bool(counted_N.all())  # elsewhere asking costs a wait
        total = torch.zeros((), dtype=_wide(hidden_ND.dtype), device=hidden_ND.device)
        grad_NV = hidden_ND.new_empty(len(hidden_ND), len(weight)) if any(ctx.needs_input_grad[:2]) else None
        for chunk in _chunks(hidden_ND, weight, targets_N, vocab_size, softcap, prob_NV=grad_NV):
            counted_C = counted_N[chunk.rows]
            total += (chunk.loss_C * counted_C).sum()
            if grad_NV is not None:
                grad_CV = chunk.prob_CV  # less one at the target; scatter_add_ would copy the whole in half precision
                grad_CV.scatter_(1, chunk.target_C1, grad_CV.gather(1, chunk.target_C1) - 1)
                if chunk.squashed_CV is not None:
                    grad_CV *= 1 - chunk.squashed_CV.square()
                if not all_counted:
                    grad_CV *= counted_C[:, None]
        if grad_NV is not None:
            ctx.save_for_backward(hidden_ND, weight, grad_NV, n_counted)
            ctx.weight_dtype = weight_VD.dtype
        return total / n_counted

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden_ND, weight_VD, grad_NV, n_counted = ctx.saved_tensors
        # Divided by the count only here: p - onehot is of order 1, and would vanish in float16 if divided before.
        scale = grad_outputs[0] / n_counted
        grad_hidden = (grad_NV @ weight_VD).mul_(scale) if ctx.needs_input_grad[0] else None
        grad_weight = (grad_NV.t() @ hidden_ND).to(ctx.weight_dtype).mul_(scale) if ctx.needs_input_grad[1] else None
        return grad_hidden, grad_weight, None, None, None
