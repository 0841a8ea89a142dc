"""Attention: each token asks, every earlier token answers, and the answers are mixed by how well they fit.

Shapes: B batch, T queries, S keys (S >= T with a cache), H query heads, K key/value heads, G = H/K queries per key
head, D d_model, E head_dim.

Two paths compute the same thing. `scaled_dot_product_attention` of PyTorch is the general one. The explicit path is
four matrix products that one can read; it returns the weights, and on CPUs it is also the faster one for short
sequences, because PyTorch's CPU kernel multiplies tiny float32 tiles (measured at B 8, H 8, T 256, E 64, bfloat16, two
AVX512-BF16 cores: forward and backward 24 ms, explicit 6 ms).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundzero.model.cache import CacheRows
from groundzero.model.config import GPTConfig
from groundzero.model.fused import rms_norm, rotate
from groundzero.model.islands import MAINLAND
from groundzero.model.layers import Linear, linear_together

EXPLICIT_UP_TO = 1024
"""Longest sequence for which the explicit path is worth its B*H*T*S weights on a CPU."""


@dataclass(frozen=True)
class Mask:
    """Which keys a query may see, made once for all layers."""

    bias: Tensor
    """Added to the scores: 0 where visible, -inf elsewhere; (T, S), or (B, 1, T, S) when rows differ."""
    causal: bool
    """Nothing but "itself and what came before" over T == S, which fused kernels know without a bias."""


def make_mask(
    n_query: int,
    n_key: int,
    *,
    window: int = 0,
    documents_BT: Tensor | None = None,
    islands_BS: Tensor | None = None,
    positions_BT: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Mask:
    """A query sees itself and what came before, within the window, its own document, its own island and the mainland.

    Args:
        n_query, n_key: T and S; query t stands at place S - T + t unless `positions_BT` says otherwise.
        window: how many tokens back a query sees, itself included; 0 is all.
        documents_BT: document of each token (needs T == S).
        islands_BS: island of each key (see `model.islands`), those of the queries among them.
        positions_BT: the place of each query among the keys, for rows of different lengths.
    """
    key_S = torch.arange(n_key, device=device)
    if positions_BT is None:
        query = torch.arange(n_key - n_query, n_key, device=device)[:, None]
    else:
        query = positions_BT[:, None, :, None]
    visible = key_S <= query
    if window:
        visible = visible & (key_S > query - window)
    if documents_BT is not None:
        visible = visible & (documents_BT[:, None, :, None] == documents_BT[:, None, None, :])
    if islands_BS is not None:
        own_BT = islands_BS[:, n_key - n_query :] if positions_BT is None else islands_BS.gather(1, positions_BT)
        asking, asked = own_BT[:, None, :, None], islands_BS[:, None, None, :]
        visible = visible & ((asking == MAINLAND) | (asked == MAINLAND) | (asking == asked))
    plain = documents_BT is None and islands_BS is None and positions_BT is None
    causal = n_query == n_key and not window and plain
    bias = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, float("-inf"))
    return Mask(bias, causal)


def explicit_attention(
    q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, bias: Tensor | None, *, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(E) + bias) v, written out (Vaswani et al. 2017, equation 1).

    The G query heads that share a key head are stacked as rows of one matrix, so keys are never copied.

    Args:
        bias: as in `Mask`; None when every key is visible.

    Returns:
        out_BHTE and the weights_BHTS that mixed it.
    """
    batch, n_head, n_query, head_dim = q_BHTE.shape
    n_kv_head, n_key = k_BKSE.shape[1], k_BKSE.shape[2]
    group = n_head // n_kv_head
    q_NTE = q_BHTE.reshape(batch * n_kv_head, group * n_query, head_dim)
    k_NSE = k_BKSE.reshape(batch * n_kv_head, n_key, head_dim)
    v_NSE = v_BKSE.reshape(batch * n_kv_head, n_key, head_dim)
    scale = head_dim**-0.5
    if bias is None:
        scores_NTS = torch.bmm(q_NTE, k_NSE.transpose(1, 2)) * scale
    elif bias.dim() == 2:  # one mask for all rows: broadcast inside the matrix product
        stacked_TS = bias.repeat(group, 1) if group > 1 else bias
        scores_NTS = torch.baddbmm(stacked_TS.expand(len(q_NTE), -1, -1), q_NTE, k_NSE.transpose(1, 2), alpha=scale)
    else:
        stacked_NTS = bias.expand(batch, n_kv_head, n_query, n_key).repeat(1, 1, group, 1).flatten(0, 1)
        scores_NTS = torch.baddbmm(stacked_NTS, q_NTE, k_NSE.transpose(1, 2), alpha=scale)
    weights_NTS = torch.softmax(scores_NTS, dim=-1)
    out_NTE = torch.bmm(F.dropout(weights_NTS, dropout) if dropout else weights_NTS, v_NSE)
    return out_NTE.view(batch, n_head, n_query, head_dim), weights_NTS.view(batch, n_head, n_query, n_key)


class Attention(nn.Module):
    """Multi-head attention with fewer key/value heads where the config says so (Ainslie et al. 2023)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        query_width = config.n_head * config.head_dim
        kv_width = config.n_kv_head * config.head_dim
        self.query = Linear(config.d_model, query_width, bias=config.attention_bias)
        self.key = Linear(config.d_model, kv_width, bias=config.attention_bias)
        self.value = Linear(config.d_model, kv_width, bias=config.attention_bias)
        self.out = Linear(query_width, config.d_model, bias=config.attention_bias)
        if config.qk_norm:
            affine = config.norm_affine
            self.query_norm = nn.Parameter(torch.ones(config.head_dim)) if affine else None
            self.key_norm = nn.Parameter(torch.ones(config.head_dim)) if affine else None

    def forward(
        self,
        x_BTD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        mask: Mask | None,
        cache: CacheRows | None = None,
        weights_out: list[Tensor] | None = None,
    ) -> Tensor:
        """
        Args:
            turn: cosine and sine of the positions, or None without rotary positions.
            mask: which keys are visible; None when every key is (a single new token).
            weights_out: receives weights_BHTS when given; forces the explicit path.
        """
        batch, n_query, _ = x_BTD.shape
        head_dim = self.config.head_dim
        parts = linear_together((self.query, self.key, self.value), x_BTD)
        q_BHTE, k_BKSE, v_BKSE = (
            part.view(batch, n_query, -1, head_dim).transpose(1, 2).contiguous() for part in parts
        )
        if self.config.qk_norm:
            q_BHTE = rms_norm(q_BHTE, self.query_norm, self.config.norm_eps)
            k_BKSE = rms_norm(k_BKSE, self.key_norm, self.config.norm_eps)
        if turn is not None:
            q_BHTE, k_BKSE = self._turn(q_BHTE, turn), self._turn(k_BKSE, turn)
        if cache is not None:
            k_BKSE, v_BKSE = cache.append(self.layer, k_BKSE, v_BKSE)
        out_BHTE = self._mix(q_BHTE, k_BKSE, v_BKSE, mask, weights_out)
        return self.out(out_BHTE.transpose(1, 2).reshape(batch, n_query, -1))  # type: ignore[no-any-return]

    def _turn(self, x_BHTE: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Rotate the first R units of each head."""
        rotary_dim = self.config.rotary_dim
        if rotary_dim == x_BHTE.shape[-1]:
            return rotate(x_BHTE, *turn)
        turned, rest = torch.split(x_BHTE, [rotary_dim, x_BHTE.shape[-1] - rotary_dim], dim=-1)
        return torch.cat((rotate(turned, *turn), rest), dim=-1)

    def _mix(
        self, q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Mask | None, weights_out: list[Tensor] | None
    ) -> Tensor:
        dropout = self.config.dropout if self.training else 0.0
        bias = None if mask is None else mask.bias
        short_on_cpu = q_BHTE.device.type == "cpu" and k_BKSE.shape[2] <= EXPLICIT_UP_TO
        if weights_out is not None or short_on_cpu:
            out_BHTE, weights_BHTS = explicit_attention(q_BHTE, k_BKSE, v_BKSE, bias, dropout=dropout)
            if weights_out is not None:
                weights_out.append(weights_BHTS)
            return out_BHTE
        causal = mask is not None and mask.causal
        grouped = q_BHTE.shape[1] != k_BKSE.shape[1]
        return F.scaled_dot_product_attention(
            q_BHTE, k_BKSE, v_BKSE, None if causal else bias, dropout, is_causal=causal, enable_gqa=grouped
        )
