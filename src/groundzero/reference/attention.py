"""Attention: every token asks a question, every earlier token offers an answer, and the best fits are mixed.

A token knows only itself: its vector says "bank". Whether it is a river's or a robber's bank stands in other tokens.
Attention is how vectors look at each other. From each token's vector x three others are made, by three learnt matrices:

    query  q = W_q x   what I am looking for
    key    k = W_k x   what I can be found by
    value  v = W_v x   what I tell those who find me

How well key j fits query i is their dot product. Softmax turns the fits of one query into shares of one, and the output
is the mean of the values with these shares as weights (Vaswani et al. 2017, equation 1):

    attention(q, k, v) = softmax(q k^T / sqrt(E)) v

The sqrt keeps the scores from growing with the width E of a head (a sum of E products has a spread of sqrt(E)), which
would push softmax into a corner where all its slopes are zero. Four turns complete the idea:

    causal mask        a token may look back, never ahead: scores of later keys become -inf, their shares exactly 0
    many heads         several small attentions side by side, so that one may follow grammar, another names
    grouped queries    several query heads share one key/value head: less to remember (Ainslie et al. 2023)
    key/value cache    when writing, past keys and values do not change: keep them, and each new token costs one row

and cross-attention asks the same question of something else than the text: here, of a list of facts.

Shapes: B batch, T queries, S keys, H query heads, K key/value heads, G = H/K query heads per key head, E head width,
D model width, N facts, F fact width.

Run me: `python -m groundzero.reference.attention`
"""

from __future__ import annotations

import math

import numpy as np

from groundzero.reference.activations import softmax, softmax_backward
from groundzero.reference.layers import Dropout, Linear, rms_norm, rms_norm_backward, rotate, rotate_backward
from groundzero.reference.module import Array, Ids, Module, Parameter, Visible


def causal_mask(n_query: int, n_key: int, *, window: int = 0, documents_BT: Ids | None = None) -> Visible:
    """Who may look at whom: True where query t may see key s.

    Args:
        n_query, n_key: T and S. The queries are the last T of the S tokens, so query t stands at place S - T + t.
        window: how far back a query sees, itself included; 0 is all the way.
        documents_BT: the document of each token; attention then stays within it.

    Returns:
        visible_TS, or (B, 1, T, S) with documents.
    """
    query_T1 = np.arange(n_key - n_query, n_key)[:, None]
    key_S = np.arange(n_key)
    visible_TS = key_S <= query_T1
    if window:
        visible_TS &= key_S > query_T1 - window
    if documents_BT is None:
        return visible_TS
    same_BTS = documents_BT[:, :, None] == documents_BT[:, None, :]
    return np.asarray(visible_TS & same_BTS)[:, None]


def scaled_dot_product_attention(
    q_BHTE: Array, k_BHSE: Array, v_BHSE: Array, visible: Visible | None = None, dropout: Dropout | None = None
) -> tuple[Array, Array]:
    """softmax(q k^T / sqrt(E)) v (Vaswani et al. 2017, equation 1).

    Args:
        visible: True where a query may see a key, broadcast to (B, H, T, S); None is everywhere. A query that sees no
            key takes nothing: its output is zero.
        dropout: silences weights in training.

    Returns:
        out_BHTE, and weights_BHTS: the share of each key in each output.
    """
    scores_BHTS: Array = q_BHTE @ k_BHSE.swapaxes(-1, -2)
    scores_BHTS *= 1.0 / math.sqrt(q_BHTE.shape[-1])
    if visible is not None:
        scores_BHTS += np.where(visible, 0.0, -np.inf).astype(scores_BHTS.dtype)
    weights_BHTS = softmax(scores_BHTS)
    kept_BHTS = weights_BHTS if dropout is None else dropout(weights_BHTS)
    return kept_BHTS @ v_BHSE, weights_BHTS


def scaled_dot_product_attention_backward(
    d_out_BHTE: Array,
    q_BHTE: Array,
    k_BHSE: Array,
    v_BHSE: Array,
    weights_BHTS: Array,
    dropout: Dropout | None = None,
) -> tuple[Array, Array, Array]:
    """Backwards through the three steps, last first.

    out = weights v        d_weights = d_out v^T,        d_v = weights^T d_out
    weights = softmax(s)   d_s: see `softmax_backward`; where a key was hidden the weight is 0, and so is d_s
    s = q k^T / sqrt(E)    d_q = d_s k / sqrt(E),        d_k = d_s^T q / sqrt(E)

    Weights that dropout silenced gave nothing and get nothing: it does to both what it did to the weights.

    Returns:
        d_q_BHTE, d_k_BHSE, d_v_BHSE.
    """
    d_weights_BHTS: Array = d_out_BHTE @ v_BHSE.swapaxes(-1, -2)
    kept_BHTS = weights_BHTS
    if dropout is not None:
        d_weights_BHTS, kept_BHTS = dropout.backward(d_weights_BHTS), dropout.backward(weights_BHTS)
    d_v_BHSE = kept_BHTS.swapaxes(-1, -2) @ d_out_BHTE
    d_scores_BHTS = softmax_backward(d_weights_BHTS, weights_BHTS)
    d_scores_BHTS *= 1.0 / math.sqrt(q_BHTE.shape[-1])
    return d_scores_BHTS @ k_BHSE, d_scores_BHTS.swapaxes(-1, -2) @ q_BHTE, d_v_BHSE


class KVCache:
    """Keys and values of the tokens read so far, for each layer; every row of the batch holds equally many."""

    def __init__(self, n_layer: int) -> None:
        self.keys: list[Array | None] = [None] * n_layer
        self.values: list[Array | None] = [None] * n_layer

    @property
    def length(self) -> int:
        """Tokens held."""
        first = self.keys[0]
        return 0 if first is None else first.shape[2]

    def append(self, layer: int, k_BKTE: Array, v_BKTE: Array) -> tuple[Array, Array]:
        """Add the new tokens' keys and values; returns all of them, k_BKSE and v_BKSE."""
        old_keys, old_values = self.keys[layer], self.values[layer]
        if old_keys is not None and old_values is not None:
            k_BKTE = np.concatenate((old_keys, k_BKTE), axis=2)
            v_BKTE = np.concatenate((old_values, v_BKTE), axis=2)
        self.keys[layer], self.values[layer] = k_BKTE, v_BKTE
        return k_BKTE, v_BKTE


class Attention(Module):
    """Causal multi-head self-attention; grouped-query where `n_kv_head` is smaller than `n_head`."""

    def __init__(
        self,
        d_model: int,
        n_head: int,
        n_kv_head: int | None = None,
        head_dim: int | None = None,
        *,
        bias: bool = False,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        norm_affine: bool = True,
        rotary_dim: int = 0,
        dropout: float = 0.0,
        rng: np.random.Generator,
        std: float = 0.02,
        out_std: float = 0.02,
    ) -> None:
        """
        Args:
            qk_norm: give queries and keys unit root mean square per head before their product (Henry et al. 2020).
            rotary_dim: how many units of a head the positions rotate; the rest know no position.
            out_std: spread of the output matrix at the start.
        """
        self.n_head, self.n_kv_head = n_head, n_kv_head or n_head
        self.head_dim = head_dim or d_model // n_head
        self.qk_norm, self.norm_eps, self.rotary_dim = qk_norm, norm_eps, rotary_dim
        kv_width = self.n_kv_head * self.head_dim
        self.query = Linear(d_model, n_head * self.head_dim, bias=bias, rng=rng, std=std)
        self.key = Linear(d_model, kv_width, bias=bias, rng=rng, std=std)
        self.value = Linear(d_model, kv_width, bias=bias, rng=rng, std=std)
        self.out = Linear(n_head * self.head_dim, d_model, bias=bias, rng=rng, std=out_std)
        if qk_norm and norm_affine:
            self.query_norm = Parameter(np.ones(self.head_dim, dtype=np.float32))
            self.key_norm = Parameter(np.ones(self.head_dim, dtype=np.float32))
        self.weight_dropout = Dropout(dropout, rng)
        self.weights_BHTS: Array | None = None
        """The shares of the last forward pass, for those who want to look."""

    def forward(
        self,
        x_BTD: Array,
        turn: tuple[Array, Array] | None = None,
        visible: Visible | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Array:
        """
        Args:
            turn: cosines and sines of the tokens' places (see `rotary_tables`); None without rotary positions.
            visible: who may see whom; the causal mask when None.
            cache: where earlier tokens' keys and values are, under this `layer`.
        """
        q_BHTE, q_memory = self._ready(_split_heads(self.query(x_BTD), self.n_head), "query_norm", turn)
        k_BKSE, k_memory = self._ready(_split_heads(self.key(x_BTD), self.n_kv_head), "key_norm", turn)
        v_BKSE = _split_heads(self.value(x_BTD), self.n_kv_head)
        if cache is not None:
            k_BKSE, v_BKSE = cache.append(layer, k_BKSE, v_BKSE)
        if visible is None:
            visible = causal_mask(q_BHTE.shape[2], k_BKSE.shape[2])

        # The G query heads of one key head are laid out as G*T queries of it, so that keys are never copied.
        q_BKNE = self._group(q_BHTE)
        out_BKNE, weights_BKNS = scaled_dot_product_attention(
            q_BKNE, k_BKSE, v_BKSE, self._group_mask(visible), self.weight_dropout
        )
        self.weights_BHTS = self._ungroup(weights_BKNS)
        self.memory = q_BKNE, k_BKSE, v_BKSE, weights_BKNS, turn, q_memory, k_memory
        return self.out(_join_heads(self._ungroup(out_BKNE)))  # type: ignore[no-any-return]

    def backward(self, d_y_BTD: Array) -> Array:
        """The steps of `forward`, last first; x fed queries, keys and values, so three gradients meet in d_x."""
        q_BKNE, k_BKSE, v_BKSE, weights_BKNS, turn, q_memory, k_memory = self.memory
        d_out_BKNE = self._group(_split_heads(self.out.backward(d_y_BTD), self.n_head))
        # d_k and d_v come out summed over the G heads that share a key head: their queries are rows of one product.
        d_q_BKNE, d_k_BKSE, d_v_BKSE = scaled_dot_product_attention_backward(
            d_out_BKNE, q_BKNE, k_BKSE, v_BKSE, weights_BKNS, self.weight_dropout
        )
        d_q_BHTE = self._ready_backward(self._ungroup(d_q_BKNE), "query_norm", turn, q_memory)
        d_k_BKSE = self._ready_backward(d_k_BKSE, "key_norm", turn, k_memory)
        d_x_BTD: Array = self.query.backward(_join_heads(d_q_BHTE))
        d_x_BTD += self.key.backward(_join_heads(d_k_BKSE))
        d_x_BTD += self.value.backward(_join_heads(d_v_BKSE))
        return d_x_BTD

    def _ready(
        self, x_BHTE: Array, norm: str, turn: tuple[Array, Array] | None
    ) -> tuple[Array, tuple[Array, Array] | None]:
        """Queries or keys as the product wants them: normalised where the config says so, then turned by position."""
        memory = None
        if self.qk_norm:
            x_BHTE, inverse_BHT1 = rms_norm(x_BHTE, self.norm_eps)
            memory = x_BHTE, inverse_BHT1
            if hasattr(self, norm):
                x_BHTE = x_BHTE * getattr(self, norm).value
        if turn is not None:
            turned, rest = x_BHTE[..., : self.rotary_dim], x_BHTE[..., self.rotary_dim :]
            x_BHTE = np.concatenate((rotate(turned, *turn), rest), axis=-1) if rest.size else rotate(turned, *turn)
        return x_BHTE, memory

    def _ready_backward(
        self, d_x_BHTE: Array, norm: str, turn: tuple[Array, Array] | None, memory: tuple[Array, Array] | None
    ) -> Array:
        """Turn back, then back through the norm."""
        if turn is not None:
            turned, rest = d_x_BHTE[..., : self.rotary_dim], d_x_BHTE[..., self.rotary_dim :]
            back = rotate_backward(turned, *turn)
            d_x_BHTE = np.concatenate((back, rest), axis=-1) if rest.size else back
        if memory is None:
            return d_x_BHTE
        normal_BHTE, inverse_BHT1 = memory
        if hasattr(self, norm):
            parameter: Parameter = getattr(self, norm)
            parameter.gradient += (d_x_BHTE * normal_BHTE).sum(axis=(0, 1, 2))
            d_x_BHTE = d_x_BHTE * parameter.value
        return rms_norm_backward(d_x_BHTE, normal_BHTE, inverse_BHT1)

    def _group(self, x_BHTE: Array) -> Array:
        """(B, H, T, ...) to (B, K, G*T, ...)."""
        batch, _, _, last = x_BHTE.shape
        return x_BHTE.reshape(batch, self.n_kv_head, -1, last) if self.n_head != self.n_kv_head else x_BHTE

    def _ungroup(self, x_BKNE: Array) -> Array:
        """(B, K, G*T, ...) back to (B, H, T, ...)."""
        batch, _, _, last = x_BKNE.shape
        return x_BKNE.reshape(batch, self.n_head, -1, last)

    def _group_mask(self, visible: Visible) -> Visible:
        """The same mask for each of the G heads of a group."""
        group = self.n_head // self.n_kv_head
        return np.concatenate([visible] * group, axis=-2) if group > 1 else visible


class CrossAttention(Module):
    """Attention from tokens to facts: queries come from the text, keys and values from fact vectors.

    Facts have no order and no future, so there is no causal mask and no position; the cost is T x N, linear in the
    number of facts. Where no fact is visible the output is zero: nothing is taken from nothing.
    """

    def __init__(
        self, d_model: int, d_fact: int, n_head: int, *, bias: bool = True, rng: np.random.Generator, std: float = 0.02
    ) -> None:
        self.n_head = n_head
        self.query = Linear(d_model, d_model, bias=bias, rng=rng, std=std)
        self.key = Linear(d_fact, d_model, bias=bias, rng=rng, std=std)
        self.value = Linear(d_fact, d_model, bias=bias, rng=rng, std=std)
        self.out = Linear(d_model, d_model, bias=False, rng=rng, std=std)
        self.weights_BHTN: Array | None = None
        """How much each token took from each fact in the last forward pass."""

    def forward(self, x_BTD: Array, facts_BNF: Array, visible_BN: Visible | None = None) -> Array:
        """
        Args:
            facts_BNF: one vector per fact.
            visible_BN: which facts are there; the others are padding.
        """
        q_BHTE = _split_heads(self.query(x_BTD), self.n_head)
        k_BHNE = _split_heads(self.key(facts_BNF), self.n_head)
        v_BHNE = _split_heads(self.value(facts_BNF), self.n_head)
        visible = None if visible_BN is None else visible_BN[:, None, None, :]
        out_BHTE, self.weights_BHTN = scaled_dot_product_attention(q_BHTE, k_BHNE, v_BHNE, visible)
        self.memory = q_BHTE, k_BHNE, v_BHNE
        return self.out(_join_heads(out_BHTE))  # type: ignore[no-any-return]

    def backward(self, d_y_BTD: Array) -> tuple[Array, Array]:
        """Returns d_x_BTD and d_facts_BNF."""
        q_BHTE, k_BHNE, v_BHNE = self.memory
        assert self.weights_BHTN is not None
        d_out_BHTE = _split_heads(self.out.backward(d_y_BTD), self.n_head)
        d_q_BHTE, d_k_BHNE, d_v_BHNE = scaled_dot_product_attention_backward(
            d_out_BHTE, q_BHTE, k_BHNE, v_BHNE, self.weights_BHTN
        )
        d_facts_BNF: Array = self.key.backward(_join_heads(d_k_BHNE))
        d_facts_BNF += self.value.backward(_join_heads(d_v_BHNE))
        return self.query.backward(_join_heads(d_q_BHTE)), d_facts_BNF


def _split_heads(x_BTD: Array, n_head: int) -> Array:
    """(B, T, H*E) to (B, H, T, E), laid out anew so that each head is one block of memory."""
    batch, time, width = x_BTD.shape
    return np.ascontiguousarray(x_BTD.reshape(batch, time, n_head, width // n_head).swapaxes(1, 2))


def _join_heads(x_BHTE: Array) -> Array:
    """(B, H, T, E) to (B, T, H*E)."""
    batch, n_head, time, head_dim = x_BHTE.shape
    return x_BHTE.swapaxes(1, 2).reshape(batch, time, n_head * head_dim)


def demo() -> None:
    """Attention from one question to many heads, on six words."""
    words = ["the", "cat", "that", "the", "dog", "chased"]
    np.set_printoptions(precision=2, suppress=True)
    _demo_by_hand(words)
    print("4. A model that writes must not look ahead. The causal mask hides what comes later (rows ask):\n")
    for word, row in zip(words, causal_mask(6, 6), strict=True):
        print(f"   {word:>7s} |" + "".join(" see" if seen else "  . " for seen in row))
    rng = np.random.default_rng(1)
    attention = Attention(16, 4, 2, rng=rng, std=0.3, out_std=0.3)
    x = rng.standard_normal((1, 6, 16)).astype(np.float32)
    y = attention(x)
    assert attention.weights_BHTS is not None
    print("\n   Shares of a random head under the mask: hidden keys get exactly 0, each row still sums to 1.\n")
    for word, row in zip(words, attention.weights_BHTS[0, 0], strict=True):
        print(f"   {word:>7s} |" + "".join(f"{share:6.2f}" for share in row) + f"   sum {row.sum():.2f}")

    changed = x.copy()
    changed[0, 5] = 0.0
    same = int((attention(changed)[0] == y[0]).all(axis=-1).sum())
    print(f"\n   Change the last word: {same} of 6 outputs stay the same to the last bit; the past cannot see it.\n")
    print(f"5. Heads: 4 query heads over 2 key/value heads. Queries {attention.query.weight.shape}, keys")
    print(f"   {attention.key.weight.shape}: half as much to remember while writing, nearly as good.\n")
    cache = KVCache(1)
    steps = [attention(x[:, t : t + 1], cache=cache) for t in range(6)]
    apart = float(np.abs(np.concatenate(steps, axis=1) - y).max())
    print(f"6. Writing word by word with a cache of keys and values gives the same outputs (apart by {apart:.0e}), but")
    print("   each new word computes one row of the table above in place of all of them.\n")
    _demo_gradient(attention, x)


def _demo_by_hand(words: list[str]) -> None:
    """Queries, keys and values small enough to do the sums in one's head."""
    print(f"A model has read\n\n   {' '.join(words)}\n")
    print(
        "and the vector that stands for 'chased' should find out who did it. It must look at the other words: that is"
    )
    print("attention. Every word makes three vectors out of its own (by matrices that are learnt; here by hand):\n")
    print("   query  what I am looking for            'chased' is a verb, and asks for nouns")
    print("   key    what I can be found by           'cat' and 'dog' say: noun here")
    print("   value  what I tell those who find me    my meaning\n")
    key_SE = np.array([[0, 0], [1, 0], [0, 0], [0, 0], [1, 0], [0, 1.0]])  # [noun, verb]
    query_SE = key_SE @ np.array([[0, 0], [4, 0.0]])  # verbs ask for nouns, the others for nothing
    value_SE = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 1.0]])  # [cat, dog, other]
    print("              query [noun verb]   key [noun verb]   value [cat dog other]")
    for word, query, key, value in zip(words, query_SE, key_SE, value_SE, strict=True):
        print(f"   {word:>8s}   {query!s:17s}   {key!s:15s}   {value}")
    scores = query_SE @ key_SE.T / math.sqrt(2)
    print(
        "\n1. Scores: how well does each key fit what 'chased' asks? Multiply place by place, add up, divide by sqrt(2)"
    )
    print(f"   (2 places). For 'cat': (4*1 + 0*0) / 1.41 = {scores[-1, 1]:.2f}. For 'the': (4*0 + 0*0) / 1.41 = 0.\n")
    _print_row(words, scores[-1])
    shares = softmax(scores)
    print("\n2. Softmax makes shares of one out of scores (e^2.83 = 16.9 against e^0 = 1); the nouns take most:\n")
    _print_row(words, shares[-1])
    print("\n3. The output is the mean of all values, weighted with these shares:")
    terms = " + ".join(f"{share:.2f}*{value}" for share, value in zip(shares[-1], value_SE, strict=True))
    print(f"   {terms}")
    print(f"   = {shares[-1] @ value_SE}: 'chased' now knows of a cat and a dog.")
    print("   Which of them did it? Attention alone knows no order; positions (see layers) settle that.\n")


def _demo_gradient(attention: Attention, x: Array) -> None:
    """Show that nothing flows back from a word to what it could not see."""
    d_y = np.zeros_like(x)
    d_y[0, 2] = 1.0
    attention(x)
    d_x = attention.backward(d_y)
    reached = [bool(np.any(row)) for row in d_x[0]]
    print("7. Learning: send a gradient into the output of word 3 ('that'). It reaches the words that it looked at,")
    print(f"   and no later one: {['reached' if r else '-' for r in reached]}\n")
    print("Next: transformer, which stacks this with a layer that thinks about each word alone.")


def _print_row(words: list[str], numbers: Array) -> None:
    width = max(map(len, words)) + 2
    print("   " + "".join(f"{word:>{width}s}" for word in words))
    print("   " + "".join(f"{number:{width}.2f}" for number in numbers))


if __name__ == "__main__":
    demo()
