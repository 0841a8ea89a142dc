"""Attention, feed-forward layers, blocks and the whole model as trials for the judges; see `judged_operations`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import strategies as st

from groundzero.model import GPTConfig as TorchConfig
from groundzero.model import gpt as torch_gpt
from groundzero.reference import attention, layers, model, transformer
from groundzero.reference.config import GPTConfig
from groundzero.reference.module import Array
from tests.reference.judge import Tensors, Trial, of_module
from tests.reference.judged_operations import (
    EXPRESSIONS,
    Draw,
    affine,
    attended,
    draw_visible,
    dropped,
    judges,
    normed,
    turned,
)
from tests.reference.twins import YARN


@dataclass(frozen=True)
class AttentionCase:
    """An attention layer, what it is called with, and how to write it for PyTorch."""

    layer: attention.Attention
    width: int
    n_token: int
    turn: tuple[Array, Array] | None
    angle_TR: Array
    visible: np.ndarray | None

    def expression(self, t: Tensors, prefix: str, x: torch.Tensor) -> torch.Tensor:
        """Every query head by itself beside its own copy of keys and values."""
        layer = self.layer
        q = self._ready(t, prefix, "query", affine(t, f"{prefix}query.", x), layer.n_head)
        k = self._ready(t, prefix, "key", affine(t, f"{prefix}key.", x), layer.n_kv_head)
        v = heads(affine(t, f"{prefix}value.", x), layer.n_kv_head)
        group = layer.n_head // layer.n_kv_head
        k, v = (torch.stack([part[:, h // group] for h in range(layer.n_head)], dim=1) for part in (k, v))
        visible = attention.causal_mask(x.shape[1], x.shape[1]) if self.visible is None else self.visible
        kept = dropped(layer.weight_dropout)
        kept = kept.reshape(len(x), layer.n_head, x.shape[1], -1) if kept.dim() else kept
        mixed = attended(q, k, v, visible, kept)
        return affine(t, f"{prefix}out.", mixed.permute(0, 2, 1, 3).flatten(2))

    def _ready(self, t: Tensors, prefix: str, name: str, x: torch.Tensor, n_head: int) -> torch.Tensor:
        layer = self.layer
        x = heads(x, n_head)
        if layer.qk_norm:
            x = normed({"weight": t.get(f"{prefix}{name}_norm", torch.ones(()))}, "", x, False, layer.norm_eps)
        if self.turn is None:
            return x
        turned_part, rest = x[..., : layer.rotary_dim], x[..., layer.rotary_dim :]
        return torch.cat((turned(turned_part, torch.from_numpy(self.angle_TR)), rest), dim=-1)


def heads(x: torch.Tensor, n_head: int) -> torch.Tensor:
    """(B, T, H*E) to (B, H, T, E)."""
    return x.unflatten(-1, (n_head, -1)).permute(0, 2, 1, 3)


def draw_attention(draw: Draw, rng: np.random.Generator, batch: int) -> AttentionCase:
    """Any switches, and a mask of any kind: causal, windowed, by document, or at random with rows that see nothing."""
    n_token, width, rotary_dim = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.sampled_from([0, 2, 4]))
    angle_TR = 3 * rng.standard_normal((n_token, rotary_dim // 2))
    turn = (np.cos(angle_TR), np.sin(angle_TR)) if rotary_dim else None
    documents_BT = np.sort(rng.integers(0, 2, (batch, n_token)), axis=1)
    visible = draw(
        st.sampled_from(
            [
                None,
                attention.causal_mask(n_token, n_token, window=2),
                attention.causal_mask(n_token, n_token, documents_BT=documents_BT),
                rng.random((n_token, n_token)) < 0.5,
                rng.random((batch, 1, n_token, n_token)) < 0.5,
            ]
        )
    )
    layer = draw_layer(draw, rng, width, rotary_dim)
    return AttentionCase(layer, width, n_token, turn, angle_TR, visible)


def draw_layer(draw: Draw, rng: np.random.Generator, width: int, rotary_dim: int) -> attention.Attention:
    n_head, n_kv_head = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (4, 2)]))
    head_dim = draw(st.sampled_from([4, 6] if rotary_dim else [1, 2]))
    layer = attention.Attention(
        width,
        n_head,
        n_kv_head,
        head_dim,
        bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        norm_eps=0.01,
        norm_affine=draw(st.booleans()),
        rotary_dim=rotary_dim,
        dropout=draw(st.sampled_from([0.0, 0.4])),
        rng=rng,
    )
    layer.train()
    return layer


@judges(attention.Attention)
def attention_layer(draw: Draw, rng: np.random.Generator) -> Trial:
    batch = draw(st.integers(1, 3))
    case = draw_attention(draw, rng, batch)
    x = rng.standard_normal((batch, case.n_token, case.width))
    return of_module(
        case.layer,
        {"x": x},
        lambda t: case.expression(t, "", t["x"]),
        forward=lambda: case.layer(x, case.turn, case.visible),
    )


def draw_facts(draw: Draw, rng: np.random.Generator, batch: int) -> tuple[Array, np.ndarray | None]:
    """Facts, and which of them are there: all, some, none."""
    n_fact, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return rng.standard_normal((batch, n_fact, width)), draw_visible(draw, rng, (batch, n_fact))


def cross(t: Tensors, prefix: str, n_head: int, facts: str, visible_BN: np.ndarray | None) -> Callable[[Any], Any]:
    """Cross-attention to the tensor called `facts`."""

    def expression(x: torch.Tensor) -> torch.Tensor:
        q = heads(affine(t, f"{prefix}query.", x), n_head)
        k, v = (heads(affine(t, f"{prefix}{name}.", t[facts]), n_head) for name in ("key", "value"))
        visible = None if visible_BN is None else visible_BN[:, None, None, :]
        mixed = attended(q, k, v, visible, torch.ones(()))
        return affine(t, f"{prefix}out.", mixed.permute(0, 2, 1, 3).flatten(2))

    return expression


@judges(attention.CrossAttention)
def cross_attention(draw: Draw, rng: np.random.Generator) -> Trial:
    batch, n_head = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))
    facts, visible_BN = draw_facts(draw, rng, batch)
    width = n_head * draw(st.integers(1, 3))
    layer = attention.CrossAttention(width, facts.shape[2], n_head, bias=draw(st.booleans()), rng=rng)
    x = rng.standard_normal((batch, draw(st.integers(1, 3)), width))
    return of_module(
        layer,
        {"x": x, "facts": facts},
        lambda t: cross(t, "", n_head, "facts", visible_BN)(t["x"]),
        forward=lambda: layer(x, facts, visible_BN),
    )


# --- the layer that thinks, and blocks -------------------------------------------------------------------------------

FeedForward = transformer.FeedForward | transformer.SwiGLU


def draw_feed_forward(draw: Draw, rng: np.random.Generator, width: int) -> FeedForward:
    bias, d_ff = draw(st.booleans()), draw(st.integers(1, 5))
    kind = draw(st.sampled_from([*sorted(EXPRESSIONS), "swiglu"]))
    if kind == "swiglu":
        return transformer.SwiGLU(width, d_ff, bias=bias, rng=rng)
    return transformer.FeedForward(width, d_ff, activation=kind, bias=bias, rng=rng)


def thought(layer: FeedForward, t: Tensors, prefix: str, x: torch.Tensor) -> torch.Tensor:
    """The feed-forward layer whose parameters begin with `prefix`."""
    up = affine(t, f"{prefix}up.", x)
    if isinstance(layer, transformer.SwiGLU):
        hidden = EXPRESSIONS["silu"](affine(t, f"{prefix}gate.", x)) * up
    else:
        hidden = EXPRESSIONS[layer.activation](up)
    return affine(t, f"{prefix}down.", hidden)


@judges(transformer.FeedForward, transformer.SwiGLU)
def feed_forward(draw: Draw, rng: np.random.Generator) -> Trial:
    width = draw(st.integers(1, 4))
    layer = draw_feed_forward(draw, rng, width)
    x = rng.standard_normal((draw(st.integers(1, 3)), draw(st.integers(1, 3)), width))
    return of_module(layer, {"x": x}, lambda t: thought(layer, t, "", t["x"]))


def draw_norm(draw: Draw, width: int) -> layers.Norm:
    kind = draw(st.sampled_from([layers.LayerNorm, layers.RMSNorm]))
    return kind(width, eps=0.1, affine=draw(st.booleans()))


def norm_of(layer: layers.Norm, t: Tensors, prefix: str, x: torch.Tensor) -> torch.Tensor:
    return normed(t, prefix, x, layer.subtracts_mean, layer.eps)


def block_expression(
    block: transformer.Block, case: AttentionCase, between: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Callable[[Tensors, str, torch.Tensor], torch.Tensor]:
    """The block for PyTorch, with something `between` its halves or nothing."""

    def expression(t: Tensors, prefix: str, x: torch.Tensor) -> torch.Tensor:
        heard = case.expression(
            t, f"{prefix}attention.", norm_of(block.attention_norm, t, f"{prefix}attention_norm.", x)
        )
        x = x + heard * dropped(block.attention_dropout)
        x = x if between is None else between(x)
        thinking = norm_of(block.feed_forward_norm, t, f"{prefix}feed_forward_norm.", x)
        thinking = thought(block.feed_forward, t, f"{prefix}feed_forward.", thinking)
        return x + thinking * dropped(block.feed_forward_dropout)

    return expression


def draw_block(draw: Draw, rng: np.random.Generator, case: AttentionCase, **knowledge: Any) -> transformer.Block:
    kind = transformer.KnowledgeBlock if knowledge else transformer.Block
    block = kind(
        draw_norm(draw, case.width),
        case.layer,
        draw_norm(draw, case.width),
        draw_feed_forward(draw, rng, case.width),
        dropout=draw(st.sampled_from([0.0, 0.3])),
        rng=rng,
        **knowledge,
    )
    block.train()
    return block


@judges(transformer.Block)
def block(draw: Draw, rng: np.random.Generator) -> Trial:
    batch = draw(st.integers(1, 2))
    case = draw_attention(draw, rng, batch)
    whole = draw_block(draw, rng, case)
    x = rng.standard_normal((batch, case.n_token, case.width))
    expression = block_expression(whole, case)
    return of_module(
        whole, {"x": x}, lambda t: expression(t, "", t["x"]), forward=lambda: whole(x, case.turn, case.visible)
    )


@judges(transformer.KnowledgeBlock, transformer.KnowledgeBlock.backward_with_facts)
def knowledge_block(draw: Draw, rng: np.random.Generator) -> Trial:
    """With facts, with none that is there, and without."""
    batch, with_facts = draw(st.integers(1, 2)), draw(st.booleans())
    case = draw_attention(draw, rng, batch)
    facts, visible_BN = draw_facts(draw, rng, batch)
    norm = draw_norm(draw, case.width)
    reader = attention.CrossAttention(case.width, facts.shape[2], 1, rng=rng)
    whole = draw_block(draw, rng, case, knowledge_norm=norm, knowledge=reader)
    x = rng.standard_normal((batch, case.n_token, case.width))
    inputs = {"x": x, "facts": facts} if with_facts else {"x": x}

    def backward(d_y: Array) -> Any:
        d_x, d_facts = whole.backward_with_facts(d_y)
        assert (d_facts is not None) == with_facts
        return (d_x, d_facts) if with_facts else d_x

    def expression(t: Tensors) -> torch.Tensor:
        def read(x: torch.Tensor) -> torch.Tensor:
            heard = cross(t, "knowledge.", 1, "facts", visible_BN)(norm_of(norm, t, "knowledge_norm.", x))
            return x + torch.tanh(t["knowledge_gate"]) * heard

        return block_expression(whole, case, read if with_facts else None)(t, "", t["x"])

    given = facts if with_facts else draw(st.sampled_from([None, facts[:, :0]]))
    visible = visible_BN if with_facts else None

    def forward() -> Array:
        return whole(x, case.turn, case.visible, facts_BNF=given, visible_BN=visible)  # type: ignore[no-any-return]

    return of_module(whole, inputs, expression, forward=forward, backward=backward)


@judges(transformer.Stack)
def stack(draw: Draw, rng: np.random.Generator) -> Trial:
    batch = draw(st.integers(1, 2))
    case = draw_attention(draw, rng, batch)
    cases = [case]
    if draw(st.booleans()):
        rotary_dim = 2 * case.angle_TR.shape[1]
        cases.append(dataclasses.replace(case, layer=draw_layer(draw, rng, case.width, rotary_dim)))
    blocks = [draw_block(draw, rng, one) for one in cases]
    whole = transformer.Stack(blocks)
    x = rng.standard_normal((batch, case.n_token, case.width))

    def expression(t: Tensors) -> torch.Tensor:
        y = t["x"]
        for place, (one, its_case) in enumerate(zip(blocks, cases, strict=True)):
            y = block_expression(one, its_case)(t, f"{place}.", y)
        return y

    return of_module(whole, {"x": x}, expression, forward=lambda: whole(x, case.turn, case.visible))


# --- the whole model -------------------------------------------------------------------------------------------------


@contextmanager
def same_dropout(twin: model.GPT) -> Iterator[None]:
    """Let PyTorch silence what the twin silenced in its last forward pass, place by place; in the same order."""
    masks = [dropped(part) for _, part in twin.modules() if isinstance(part, layers.Dropout) and part.probability]

    def silence(x: torch.Tensor, probability: float) -> torch.Tensor:
        assert probability == twin.config.dropout
        return x * masks.pop(0).reshape(x.shape)

    with patch("torch.nn.functional.dropout", silence):
        yield
    assert not masks, "PyTorch drops in fewer places"


@judges(model.GPT)
def whole_model(draw: Draw, rng: np.random.Generator) -> Trial:
    """Any family with switches at random, in training; autograd differentiates the product's model."""
    values: dict[str, Any] = {
        "family": draw(st.sampled_from(["gpt2", "classic", "llama", "qwen3", "speedrun"])),
        "vocab_size": draw(st.integers(2, 9)),
        "vocab_multiple": draw(st.sampled_from([1, 8])),
        "context": 8,
        "n_layer": draw(st.integers(1, 2)),
        "d_model": 8,
        "n_head": draw(st.sampled_from([1, 2])),
        "n_kv_head": 1,
        "d_ff": 6,
        "window": draw(st.sampled_from([0, 1, 2])),
        "rotary_scaling": draw(st.sampled_from([None, YARN])),
        "norm_eps": 0.1,
        "dropout": draw(st.sampled_from([0.0, 0.3])),
    }
    for switch, choices in {"logit_softcap": [0.0, 2.0], "tie_embeddings": [False, True]}.items():
        if draw(st.booleans()):
            values[switch] = draw(st.sampled_from(choices))
    whole = model.GPT(GPTConfig.of(**values))
    whole.train()
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 8)))
    ids_BT = rng.integers(0, values["vocab_size"], shape)
    documents_BT = draw(st.sampled_from([None, np.sort(rng.integers(0, 2, shape), axis=1)]))
    of_torch = torch_gpt.GPT(TorchConfig.parse(values)).double()

    def expression(t: Tensors) -> torch.Tensor:
        documents = None if documents_BT is None else torch.from_numpy(documents_BT)
        inputs = (torch.from_numpy(ids_BT),), {"documents_BT": documents}
        with same_dropout(whole):
            return torch.func.functional_call(of_torch, t, *inputs)[0]  # type: ignore[no-any-return]

    return of_module(whole, {}, expression, forward=lambda: whole(ids_BT, documents_BT=documents_BT))
