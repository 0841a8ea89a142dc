"""The network: embed the tokens, run the blocks, score the next token.

Shapes: B batch, T time, D d_model, V vocabulary, H heads, S keys, R rotated units of a head,
N facts, E width of a head.

The file knows no device and no precision. Weights live where `model.to(...)` puts them; the embedded tokens take
`compute_dtype`, and everything after follows the precision of its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groundzero.errors import InputError
from groundzero.model.attention import Attention, Mask, make_mask
from groundzero.model.cache import CacheRows, KVCache
from groundzero.model.config import GPTConfig
from groundzero.model.fused import rms_norm
from groundzero.model.layers import FeedForward, Linear, Rotary, make_norm, sinusoids
from groundzero.model.loss import cross_entropy, linear_cross_entropy, soft_cap
from groundzero.model.weights import is_knowledge

Role = Literal["embedding", "matrix", "vector", "head", "knowledge"]


class Reading(NamedTuple):
    """Facts as the reader of one block sees them: projected once, whatever number of tokens asks."""

    keys_BHNE: Tensor
    values_BHNE: Tensor
    visible_BTN: Tensor
    """Bool; which facts a token may read; (B, 1, N) where all tokens of a row may read the same."""


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)) (pre-norm, Xiong et al. 2020)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        x_BTD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        mask: Mask | None,
        cache: CacheRows | None = None,
        weights_out: list[Tensor] | None = None,
        reading: Reading | None = None,
    ) -> Tensor:
        """
        Args:
            reading: facts, for blocks that read them (`knowledge`); a plain block does not.
        """
        return self._think(self._gather(x_BTD, turn, mask, cache, weights_out))

    def _gather(
        self,
        x_BTD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        mask: Mask | None,
        cache: CacheRows | None,
        weights_out: list[Tensor] | None,
    ) -> Tensor:
        mixed_BTD = self.attention(self.attention_norm(x_BTD), turn, mask, cache, weights_out)
        return x_BTD + self._drop(mixed_BTD)

    def _think(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self._drop(self.feed_forward(self.feed_forward_norm(x_BTD)))

    def _drop(self, x_BTD: Tensor) -> Tensor:
        return F.dropout(x_BTD, self.dropout) if self.dropout and self.training else x_BTD


class GPT(nn.Module):
    """A decoder-only transformer described by its config (see `GPTConfig` for every switch).

    >>> gpt = GPT(GPTConfig(vocab_size=100, n_layer=2, n_head=2, d_model=32, context=16))
    >>> logits_BTV, loss = gpt(torch.zeros(1, 16, dtype=torch.int64), torch.zeros(1, 16, dtype=torch.int64))
    """

    side_input_names: tuple[str, ...] = ()
    """Names of the side inputs that `forward` takes; a model with knowledge layers has some."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype: torch.dtype | None = None
        """Precision of activations; that of the weights when None."""
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        if config.position == "learned":
            self.position = nn.Embedding(config.context, config.d_model)
        elif config.position == "sinusoidal":
            table_TD = sinusoids(config.context, config.d_model)
            self.register_buffer("position_TD", table_TD.float(), persistent=False)
        else:
            self.rotary = Rotary(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.final_norm = make_norm(config)
        if not config.tie_embeddings:
            self.head = Linear(config.d_model, config.padded_vocab_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """GPT-2's start: normal(0, init_std), output projections scaled down or zero, scales at 1 and biases at 0."""
        config = self.config
        residual_std = config.init_std / math.sqrt(2 * config.n_layer) if config.init == "residual_scaled" else 0.0
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                ends_block = name.endswith(("attention.out", "feed_forward.down"))
                zero_head = name == "head" and config.init == "zero"
                std = 0.0 if zero_head else residual_std if ends_block else config.init_std
                nn.init.normal_(module.weight, std=std)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)

    def reset_tables(self) -> None:
        """Fill the tables of positions again, which `to_empty` leaves without content and no file holds."""
        if self.config.position == "rotary":
            self.rotary.reset_tables()
        elif self.config.position == "sinusoidal":
            self.get_buffer("position_TD").copy_(sinusoids(self.config.context, self.config.d_model))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device or precision; the tables are computed anew in it, not rounded twice."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.reset_tables()
        return self

    @property
    def head_weight(self) -> Tensor:
        """The output layer (V, D): the embedding table where they are tied."""
        return self.embedding.weight if self.config.tie_embeddings else self.head.weight

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.embedding.weight.device

    def roles(self) -> dict[str, Role]:
        """What each parameter is, by name; optimisers, sharding, LoRA and quantisation select by it."""
        roles: dict[str, Role] = {}
        for name, parameter in self.named_parameters():
            if name.startswith(("embedding.", "position.")):
                roles[name] = "embedding"
            elif name.startswith("head."):
                roles[name] = "head"
            elif is_knowledge(name):
                roles[name] = "knowledge"
            else:
                roles[name] = "matrix" if parameter.dim() >= 2 else "vector"
        return roles

    def forward(
        self,
        ids_BT: Tensor,
        targets_BT: Tensor | None = None,
        *,
        cache: KVCache | CacheRows | None = None,
        documents_BT: Tensor | None = None,
        islands_BS: Tensor | None = None,
        positions_BT: Tensor | None = None,
        side_inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Score every next token.

        Args:
            ids_BT: token ids, int64.
            targets_BT: the tokens to predict, -1 where none counts.
            cache: keys and values of earlier tokens; the new ones are appended.
            documents_BT: document of each token; attention then stays within it. None attends across.
            islands_BS: island of each token, those in the cache included (see `model.islands`); their positions go in
                `positions_BT`. None has no islands.
            positions_BT: place of each token, where it is not simply its column; within the context.
            side_inputs: further inputs by name, for models that declare them in `side_input_names`.

        Returns:
            logits_BTV over the real vocabulary, and the mean cross-entropy in nats: None without targets, 0 when all
            of them are -1.

        Raises:
            InputError: the sequence does not fit a model whose positions are a table.
        """
        hidden_BTD = self.hidden(
            ids_BT,
            cache=cache,
            documents_BT=documents_BT,
            islands_BS=islands_BS,
            positions_BT=positions_BT,
            side_inputs=side_inputs,
        )
        logits_BTV = self.logits(hidden_BTD)
        if targets_BT is None:
            return logits_BTV, None
        return logits_BTV, cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())

    def loss(
        self,
        ids_BT: Tensor,
        targets_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        islands_BS: Tensor | None = None,
        positions_BT: Tensor | None = None,
    ) -> Tensor:
        """The loss of `forward` alone, fused with the output layer: what training calls."""
        hidden_BTD = self.hidden(ids_BT, documents_BT=documents_BT, islands_BS=islands_BS, positions_BT=positions_BT)
        return linear_cross_entropy(
            hidden_BTD.flatten(0, 1),
            self.head_weight,
            targets_BT.flatten(),
            vocab_size=self.config.vocab_size,
            softcap=self.config.logit_softcap,
        )

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Scores over the real vocabulary from normalised hidden states."""
        logits_BTV = F.linear(hidden_BTD, self.head_weight.to(hidden_BTD.dtype))[..., : self.config.vocab_size]
        return soft_cap(logits_BTV, self.config.logit_softcap)

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        cache: KVCache | CacheRows | None = None,
        documents_BT: Tensor | None = None,
        islands_BS: Tensor | None = None,
        positions_BT: Tensor | None = None,
        side_inputs: Mapping[str, Any] | None = None,
        weights_out: list[Tensor] | None = None,
    ) -> Tensor:
        """Normalised hidden states after the last block, hidden_BTD; arguments as in `forward`.

        Args:
            weights_out: receives each layer's attention weights_BHTS when given.
        """
        unknown = set(side_inputs or ()) - set(self.side_input_names)
        if unknown:
            raise InputError(
                f"This model takes no side input {sorted(unknown)[0]!r}.", remedy="Use a model with knowledge layers."
            )
        n_new = ids_BT.shape[1]
        rows = cache.all_rows() if isinstance(cache, KVCache) else cache
        if rows is not None:
            rows.begin(n_new)
        x_BTD, turn = self._embed(ids_BT, rows, positions_BT)
        mask = self._mask(n_new, rows, documents_BT, islands_BS, x_BTD)
        readings = self._readings(side_inputs, documents_BT)
        for block, reading in zip(self.blocks, readings, strict=True):
            if self.config.checkpoint_activations and self.training and rows is None and weights_out is None:
                x_BTD = checkpoint(block, x_BTD, turn, mask, reading=reading, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, turn, mask, rows, weights_out, reading)
        if rows is not None:
            rows.finish(n_new)
        return self.final_norm(x_BTD)  # type: ignore[no-any-return]

    def prepare_side_inputs(self, side_inputs: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Whatever of the work on side inputs does not depend on tokens, done once for many forward passes."""
        return side_inputs

    def attention_weights(self, ids_BT: Tensor) -> list[Tensor]:
        """Each layer's attention weights_BHTS, by the explicit path."""
        weights: list[Tensor] = []
        self.hidden(ids_BT, weights_out=weights)
        return weights

    def new_cache(self, batch_size: int, capacity: int | None = None) -> KVCache:
        """An empty cache for this model; growing when `capacity` is None, else allocated once."""
        dtype = self.compute_dtype or self.embedding.weight.dtype
        return KVCache(self.config, batch_size, capacity, dtype=dtype, device=self.device)

    def _readings(self, side_inputs: Mapping[str, Any] | None, documents_BT: Tensor | None) -> Sequence[Reading | None]:
        """What each block reads beside the text: nothing, in a model without knowledge layers."""
        return (None,) * len(self.blocks)

    def _embed(
        self, ids_BT: Tensor, rows: CacheRows | None, positions_BT: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Embedded tokens, and the rotation of their positions where the model rotates."""
        config = self.config
        n_new = ids_BT.shape[1]
        dtype = self.compute_dtype or self.embedding.weight.dtype
        places: Tensor | slice = slice(0, n_new) if rows is None else rows.positions(n_new)
        longest = n_new if rows is None else rows.longest + n_new
        if positions_BT is not None:
            places, longest = positions_BT, max(longest, config.context)
        x_BTD = F.embedding(ids_BT, self.embedding.weight).to(dtype)
        if config.scale_embeddings:
            x_BTD = x_BTD * math.sqrt(config.d_model)
        turn = None
        if config.position == "rotary":
            cos, sin = self.rotary.at(places, longest, dtype)
            turn = (cos, sin) if isinstance(places, slice) else (cos[:, None], sin[:, None])
        else:
            table_TD = self.position.weight if config.position == "learned" else self.get_buffer("position_TD")
            if longest > config.context and positions_BT is None:
                raise InputError(
                    f"A sequence of {longest} tokens does not fit the {config.context} positions of this model.",
                    remedy="Shorten it, or train with a larger context.",
                )
            x_BTD = x_BTD + table_TD[places].to(dtype)
        if config.norm_embeddings:
            x_BTD = rms_norm(x_BTD, None, config.norm_eps)
        if config.dropout and self.training:
            x_BTD = F.dropout(x_BTD, config.dropout)
        return x_BTD, turn

    def _mask(
        self,
        n_new: int,
        rows: CacheRows | None,
        documents_BT: Tensor | None,
        islands_BS: Tensor | None,
        x_BTD: Tensor,
    ) -> Mask | None:
        """The visibility of keys; None when a single new token sees all of them."""
        n_key = n_new if rows is None else rows.longest + n_new
        uneven = rows is not None and not rows.even
        limited = bool(self.config.window and n_key > self.config.window) or islands_BS is not None
        if n_new == 1 and not uneven and not limited:
            return None
        positions = rows.positions(n_new) if rows is not None and uneven else None
        assert not isinstance(positions, slice)
        return make_mask(
            n_new,
            n_key,
            window=self.config.window,
            documents_BT=documents_BT,
            islands_BS=islands_BS,
            positions_BT=positions,
            dtype=x_BTD.dtype,
            device=x_BTD.device,
        )
