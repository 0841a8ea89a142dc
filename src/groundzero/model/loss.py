"""Cross-entropy straight from the hidden states, without ever holding the logits of all tokens at full precision.

Shapes: N tokens, D d_model, V vocabulary (padded), C tokens in one chunk.

The output layer is the widest of all: at V 8192 the float32 logits of 2,048 tokens take 64 MB, read and written
several times. Here a chunk's logits are made, turned into probabilities and at once into the gradient while they are
still in cache; what remains is one half-precision matrix, from which both gradients follow.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 8 << 20
"""Float32 logits held at a time on a CPU; fits its last cache."""
GPU_CHUNK_BYTES = 512 << 20
"""The same on an accelerator, where larger products pay."""


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Mean of -ln p(target) over targets that are not -1; nan when there are none."""
    return F.cross_entropy(logits_NV.float(), targets_N, ignore_index=-1)


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
        loss: float32 scalar, the mean over targets that are not -1.
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N, vocab_size, softcap)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass over chunks: d loss / d logits = softmax - onehot, over the number of targets."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, vocab_size: int, softcap: float
    ) -> Tensor:
        weight = weight_VD.to(hidden_ND.dtype)
        n_token, n_vocab = len(hidden_ND), len(weight)
        needs_grad = any(ctx.needs_input_grad[:2])
        limit = CHUNK_BYTES if hidden_ND.device.type == "cpu" else GPU_CHUNK_BYTES
        chunk = max(1, min(n_token, limit // (4 * n_vocab)))
        counted_N = targets_N >= 0
        n_counted = counted_N.sum()
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        grad_NV = torch.empty(n_token, n_vocab, dtype=hidden_ND.dtype, device=hidden_ND.device) if needs_grad else None
        for start in range(0, n_token, chunk):
            rows = slice(start, start + chunk)
            target_C1 = targets_N[rows].clamp(min=0)[:, None]
            counted_C = counted_N[rows]
            logits_CV = hidden_ND[rows] @ weight.t()
            if softcap:
                squashed_CV = torch.tanh(logits_CV / softcap)
                logits_CV = squashed_CV * softcap
            if vocab_size < n_vocab:
                logits_CV[:, vocab_size:] = float("-inf")
            prob_CV = torch.softmax(logits_CV, dim=-1, dtype=torch.float32)
            # ln Z from the largest logit and its probability: exact, and no second pass of exponentials.
            top_C, at_C = logits_CV.max(dim=-1)
            log_z_C = top_C.float() - prob_CV.gather(1, at_C[:, None])[:, 0].log()
            loss_C = log_z_C - logits_CV.gather(1, target_C1)[:, 0].float()
            total += (loss_C * counted_C).sum()
            if grad_NV is not None:
                prob_CV.scatter_add_(1, target_C1, torch.full_like(target_C1, -1, dtype=prob_CV.dtype))
                if softcap:
                    prob_CV *= 1 - squashed_CV.square()
                torch.mul(prob_CV, counted_C[:, None], out=grad_NV[rows])
        if grad_NV is not None:
            ctx.save_for_backward(hidden_ND, weight, grad_NV, n_counted)
            ctx.weight_dtype = weight_VD.dtype
        return total / n_counted

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden_ND, weight_VD, grad_NV, n_counted = ctx.saved_tensors
        # Divided by the count only here: p - onehot is of order 1, and would vanish in float16 if divided before.
        scale = grad_outputs[0] / n_counted
        grad_hidden = ((grad_NV @ weight_VD) * scale).to(hidden_ND.dtype) if ctx.needs_input_grad[0] else None
        grad_weight = (grad_NV.t() @ hidden_ND).to(ctx.weight_dtype) * scale if ctx.needs_input_grad[1] else None
        return grad_hidden, grad_weight, None, None, None
