"""Transformer: attention to gather, a feed-forward layer to think it over, and a stream that both add to.

A vector runs down the layers for each token: the *residual stream*. A block does not replace it. Twice it reads the
stream through a norm, computes something, and adds that back (pre-norm, Xiong et al. 2020):

    x ------------------------------(+)------------------------------(+)---->
      \\-- norm -- attention --------/ \\-- norm -- feed-forward ------/

Attention moves information between tokens; the feed-forward layer works on each token alone: widen (usually four
times), bend, narrow. The additions are why deep stacks learn at all: on the way back the gradient of a sum goes
unchanged to both of its terms, so the stream carries it from the last layer to the first past everything.

    FeedForward      down(bend(up(x)))                       GELU, or ReLU^2
    SwiGLU           down(silu(gate(x)) * up(x))             one view decides how much of the other passes
    Block            the picture above
    KnowledgeBlock   the same with a third reader between the two: cross-attention to facts, behind a gate that starts
                     shut, so that a trained model keeps its every output until the gate learns to open
    Stack            blocks in a row

Shapes: B batch, T time, D model width, F feed-forward width, N facts.

Run me: `python -m groundzero.reference.transformer`
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from groundzero.reference.activations import ACTIVATIONS, silu, silu_backward
from groundzero.reference.attention import Attention, CrossAttention, KVCache
from groundzero.reference.layers import Dropout, LayerNorm, Linear, Norm, RMSNorm
from groundzero.reference.module import Array, Module, Parameter, Sequence, Visible


class FeedForward(Module):
    """down(bend(up(x))): each token alone."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: str = "gelu",
        bias: bool = True,
        rng: np.random.Generator,
        std: float = 0.02,
        out_std: float = 0.02,
    ) -> None:
        self.activation = activation
        self.up = Linear(d_model, d_ff, bias=bias, rng=rng, std=std)
        self.down = Linear(d_ff, d_model, bias=bias, rng=rng, std=out_std)

    def forward(self, x_BTD: Array) -> Array:
        """Widen, bend, narrow."""
        self.memory = up_BTF = self.up(x_BTD)
        bend, _ = ACTIVATIONS[self.activation]
        return self.down(bend(up_BTF))  # type: ignore[no-any-return]

    def backward(self, d_y_BTD: Array) -> Array:
        """Narrow, bend, widen, backwards."""
        up_BTF: Array = self.memory
        _, bend_backward = ACTIVATIONS[self.activation]
        return self.up.backward(bend_backward(self.down.backward(d_y_BTD), up_BTF))


class SwiGLU(Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, equation 6)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        bias: bool = False,
        rng: np.random.Generator,
        std: float = 0.02,
        out_std: float = 0.02,
    ) -> None:
        self.gate = Linear(d_model, d_ff, bias=bias, rng=rng, std=std)
        self.up = Linear(d_model, d_ff, bias=bias, rng=rng, std=std)
        self.down = Linear(d_ff, d_model, bias=bias, rng=rng, std=out_std)

    def forward(self, x_BTD: Array) -> Array:
        """Two views of x, multiplied."""
        gate_BTF, up_BTF = self.gate(x_BTD), self.up(x_BTD)
        open_BTF = silu(gate_BTF)
        self.memory = gate_BTF, up_BTF, open_BTF
        return self.down(open_BTF * up_BTF)  # type: ignore[no-any-return]

    def backward(self, d_y_BTD: Array) -> Array:
        """The product rule: each factor's gradient is multiplied by the other factor."""
        gate_BTF, up_BTF, open_BTF = self.memory
        d_hidden_BTF = self.down.backward(d_y_BTD)
        d_x_BTD: Array = self.gate.backward(silu_backward(d_hidden_BTF * up_BTF, gate_BTF))
        d_x_BTD += self.up.backward(d_hidden_BTF * open_BTF)
        return d_x_BTD


class Block(Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(
        self,
        attention_norm: Norm,
        attention: Attention,
        feed_forward_norm: Norm,
        feed_forward: FeedForward | SwiGLU,
        *,
        dropout: float = 0.0,
        rng: np.random.Generator,
    ) -> None:
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward
        self.attention_dropout = Dropout(dropout, rng)
        self.feed_forward_dropout = Dropout(dropout, rng)

    def forward(
        self,
        x_BTD: Array,
        turn: tuple[Array, Array] | None = None,
        visible: Visible | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Array:
        """Arguments as `Attention.forward`."""
        return self._think(self._gather(x_BTD, turn, visible, cache, layer))

    def backward(self, d_y_BTD: Array) -> Array:
        """The two halves, last first."""
        return self._gather_backward(self._think_backward(d_y_BTD))

    def _gather(
        self,
        x_BTD: Array,
        turn: tuple[Array, Array] | None,
        visible: Visible | None,
        cache: KVCache | None,
        layer: int,
    ) -> Array:
        """x + attention(norm(x))."""
        heard_BTD = self.attention(self.attention_norm(x_BTD), turn, visible, cache, layer)
        return x_BTD + self.attention_dropout(heard_BTD)  # type: ignore[no-any-return]

    def _gather_backward(self, d_y_BTD: Array) -> Array:
        """A sum hands its gradient to both terms: what comes back past the layer, plus what comes back through it."""
        d_heard_BTD = self.attention.backward(self.attention_dropout.backward(d_y_BTD))
        return d_y_BTD + self.attention_norm.backward(d_heard_BTD)

    def _think(self, x_BTD: Array) -> Array:
        """x + feed_forward(norm(x))."""
        thought_BTD = self.feed_forward(self.feed_forward_norm(x_BTD))
        return x_BTD + self.feed_forward_dropout(thought_BTD)  # type: ignore[no-any-return]

    def _think_backward(self, d_y_BTD: Array) -> Array:
        """As for `_gather_backward`."""
        d_thought_BTD = self.feed_forward.backward(self.feed_forward_dropout.backward(d_y_BTD))
        return d_y_BTD + self.feed_forward_norm.backward(d_thought_BTD)


class KnowledgeBlock(Block):
    """A block that also reads facts, between its halves: x + tanh(gate) * cross_attention(norm(x), facts).

    The gate is one number that starts at 0 (as in Flamingo, Alayrac et al. 2022): tanh(0) = 0, so a model that gets
    this block says exactly what it said before. The slope of tanh there is 1, so the gate can learn to open.
    """

    def __init__(
        self,
        attention_norm: Norm,
        attention: Attention,
        feed_forward_norm: Norm,
        feed_forward: FeedForward | SwiGLU,
        *,
        knowledge_norm: Norm,
        knowledge: CrossAttention,
        dropout: float = 0.0,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(attention_norm, attention, feed_forward_norm, feed_forward, dropout=dropout, rng=rng)
        self.knowledge_norm = knowledge_norm
        self.knowledge = knowledge
        self.knowledge_gate = Parameter(np.zeros(1, dtype=np.float32))

    def forward(
        self,
        x_BTD: Array,
        turn: tuple[Array, Array] | None = None,
        visible: Visible | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        facts_BNF: Array | None = None,
        visible_BN: Visible | None = None,
    ) -> Array:
        """
        Args:
            facts_BNF: a vector per fact; with None (or N = 0) this is a plain block, to the last bit.
            visible_BN: which of them are there; the others are padding.
        """
        x_BTD = self._gather(x_BTD, turn, visible, cache, layer)
        self.memory = None
        if facts_BNF is not None and facts_BNF.shape[1]:
            self.memory = read_BTD = self.knowledge(self.knowledge_norm(x_BTD), facts_BNF, visible_BN)
            x_BTD = x_BTD + np.tanh(self.knowledge_gate.value) * read_BTD
        return self._think(x_BTD)

    def backward(self, d_y_BTD: Array) -> Array:
        """The gradient of x alone; `backward_with_facts` gives that of the facts, too."""
        return self.backward_with_facts(d_y_BTD)[0]

    def backward_with_facts(self, d_y_BTD: Array) -> tuple[Array, Array | None]:
        """Returns d_x_BTD, and d_facts_BNF where there were facts.

        y = x + tanh(g) r:  d_r = tanh(g) d_y, and d_g = (1 - tanh(g)^2) times the sum of d_y r.
        """
        d_x_BTD = self._think_backward(d_y_BTD)
        d_facts_BNF = None
        if self.memory is not None:
            opened = np.tanh(self.knowledge_gate.value)
            self.knowledge_gate.gradient += (1.0 - opened * opened) * (d_x_BTD * self.memory).sum()
            d_read_BTD, d_facts_BNF = self.knowledge.backward(opened * d_x_BTD)
            d_x_BTD = d_x_BTD + self.knowledge_norm.backward(d_read_BTD)
        return self._gather_backward(d_x_BTD), d_facts_BNF


class Stack(Sequence):
    """Blocks in a row, each with its own place in the cache; named 0, 1, 2 ... in front of their parts."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__(*blocks)

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()

    def forward(
        self,
        x_BTD: Array,
        turn: tuple[Array, Array] | None = None,
        visible: Visible | None = None,
        cache: KVCache | None = None,
    ) -> Array:
        """Arguments as `Attention.forward`."""
        for layer, block in enumerate(self):
            x_BTD = block(x_BTD, turn, visible, cache, layer)
        return x_BTD


def demo() -> None:
    """A block at work, the stream through a deep stack, and a gate that starts shut."""
    rng = np.random.default_rng(0)
    width = 32
    x = rng.standard_normal((1, 5, width)).astype(np.float32)

    def block(std: float = 0.2) -> Block:
        attention = Attention(width, 4, rng=rng, std=std, out_std=std)
        feed_forward = FeedForward(width, 4 * width, rng=rng, std=std, out_std=std)
        return Block(LayerNorm(width), attention, LayerNorm(width), feed_forward, rng=rng)

    one = block()
    y = one(x)
    n_numbers = sum(math.prod(p.shape) for p in one.parameters().values())
    print(f"A block takes 5 tokens of width {width} and returns {y.shape[1]} of width {y.shape[2]}.")
    print(f"It is made of {n_numbers:,} numbers:\n")
    for name, parameter in one.parameters().items():
        print(f"  {name:32s} {parameter.shape!s:10s}")

    print("\nWhy the additions? Send a gradient of length 1 into the end of a stack; how long is it at the start?\n")
    print("  blocks   with x + f(x)   with f(x) alone")
    for depth in (1, 4, 16):
        stack = Stack([block(0.05) for _ in range(depth)])
        stack(x)
        d_y = rng.standard_normal(x.shape).astype(np.float32)
        d_y /= np.linalg.norm(d_y)
        kept = np.linalg.norm(stack.backward(d_y))
        lost = d_y
        for layer in reversed(list(stack)):
            lost = layer.feed_forward_norm.backward(layer.feed_forward.backward(lost))
            lost = layer.attention_norm.backward(layer.attention.backward(lost))
        print(f"  {depth:6d}   {kept:13.3f}   {np.linalg.norm(lost):15.1e}")
    print(
        "\nPast the layers it arrives whole; through them alone it is gone, and the first layers would learn nothing."
    )

    gated = KnowledgeBlock(
        one.attention_norm,
        one.attention,
        one.feed_forward_norm,
        one.feed_forward,
        knowledge_norm=RMSNorm(width),
        knowledge=CrossAttention(width, 8, 4, rng=rng, std=0.3),
        rng=rng,
    )
    facts = rng.standard_normal((1, 3, 8)).astype(np.float32)
    same = bool((gated(x, facts_BNF=facts) == y).all())
    print(f"\nA knowledge block reads 3 facts behind a shut gate: every output as before to the last bit: {same}.")
    gated.knowledge_gate.value[0] = 1.0
    moved = np.abs(gated(x, facts_BNF=facts) - y).max()
    print(f"With the gate at 1 the outputs move by up to {moved:.2f}. How token 1 shares its reading out:")
    assert gated.knowledge.weights_BHTN is not None
    print("  " + ", ".join(f"fact {i}: {w:.2f}" for i, w in enumerate(gated.knowledge.weights_BHTN[0, 0, 0])))
    print("\nNext: optimizer, which turns gradients into learning; then model, which puts a stack between two tables.")


if __name__ == "__main__":
    demo()
