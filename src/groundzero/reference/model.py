"""The model: a table of tokens in, a stack of blocks, scores for the next token out, and how it learns and writes.

    ids -> embedding (+ position) -> block 1 -> ... -> block L -> norm -> scores of every token of the vocabulary

*Scores* (logits) become probabilities by softmax. Training compares them with the token that really came next: the
loss is -log p(next token), its surprise, averaged over all places (`cross_entropy`). A model that knows nothing spreads
its bets over V tokens and has a loss of ln V; one that halves it knows a good deal. Its gradient is the prettiest of
all: d loss / d scores = probabilities - truth.

*Tied embeddings*: the table that turns a token into a vector also scores it, by how well the final vector fits the row
of each token (Press & Wolf 2017). One parameter, used twice, so its gradient has two parts that add up.

*Writing* is predicting, choosing one token, appending it, and predicting again (`generate`). How to choose:

    temperature   divide the scores first: below 1 bolder, above 1 freer; 0 always takes the likeliest
    top-k         only the k likeliest may be chosen (Fan et al. 2018)
    top-p         only the likeliest that together hold a share p of the chances (Holtzman et al. 2020)

Shapes: B batch, T time, D model width, V vocabulary.

Run me: `python -m groundzero.reference.model`
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from groundzero.reference.activations import softmax
from groundzero.reference.attention import Attention, KVCache, causal_mask
from groundzero.reference.config import GPTConfig
from groundzero.reference.islands import island_mask, island_positions
from groundzero.reference.layers import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Norm,
    RMSNorm,
    rms_norm,
    rms_norm_backward,
    rotary_frequencies,
    rotary_tables,
    sinusoids,
)
from groundzero.reference.module import Array, Ids, Module, Parameter
from groundzero.reference.optimizer import AdamW
from groundzero.reference.transformer import Block, FeedForward, Stack, SwiGLU


def cross_entropy(logits_BTV: Array, targets_BT: Ids) -> tuple[float, Array]:
    """The mean surprise at the true next tokens, in nats, and its gradient.

    loss = mean of -log softmax(logits)[target]. Its gradient is (softmax(logits) - one_hot(target)) / count: push the
    true token's score up by what was missing, every other one's down by what it was given.

    Args:
        targets_BT: the tokens that came next; -1 where none counts.

    Returns:
        loss, 0 where nothing counts; and d_logits_BTV.
    """
    rows_NV, targets_N = logits_BTV.reshape(-1, logits_BTV.shape[-1]), targets_BT.reshape(-1)
    (counted,) = np.nonzero(targets_N >= 0)
    if not counted.size:
        return 0.0, np.zeros_like(logits_BTV)
    shifted_NV = rows_NV - rows_NV.max(axis=-1, keepdims=True)
    exp_NV = np.exp(shifted_NV)
    total_N = exp_NV.sum(axis=-1)
    true_N = shifted_NV[counted, targets_N[counted]]
    loss = float(np.mean(np.log(total_N[counted]) - true_N))
    d_rows_NV = exp_NV
    d_rows_NV /= total_N[:, None]
    d_rows_NV[counted, targets_N[counted]] -= 1.0
    d_rows_NV[targets_N < 0] = 0.0
    d_rows_NV /= counted.size
    return loss, d_rows_NV.reshape(logits_BTV.shape)


class GPT(Module):
    """A decoder-only transformer of any family (see `GPTConfig`), in float32 unless `astype` says otherwise.

    >>> gpt = GPT(GPTConfig.of(family="gpt2", vocab_size=100, n_layer=2, n_head=2, d_model=32, context=16))
    >>> logits_BTV = gpt(np.zeros((1, 16), dtype=np.int64))
    """

    def __init__(self, config: GPTConfig, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        self.embedding = Embedding(config.padded_vocab_size, config.d_model, rng=rng, std=config.init_std)
        if config.position == "learned":
            self.position = Embedding(config.context, config.d_model, rng=rng, std=config.init_std)
        self.embedding_dropout = Dropout(config.dropout, rng)
        self.blocks = Stack([make_block(config, rng) for _ in range(config.n_layer)])
        self.final_norm = make_norm(config)
        if not config.tie_embeddings:
            std = 0.0 if config.init == "zero" else config.init_std
            self.head = Linear(config.d_model, config.padded_vocab_size, bias=False, rng=rng, std=std)

    def forward(
        self,
        ids_BT: Ids,
        cache: KVCache | None = None,
        documents_BT: Ids | None = None,
        islands_BS: Ids | None = None,
    ) -> Array:
        """Scores of every next token.

        Args:
            cache: keys and values of the tokens before these; these are appended.
            documents_BT: the document of each token; none looks into another's.
            islands_BS: the island of each token, those in the cache included; see `islands`.

        Returns:
            logits_BTV over the real vocabulary.
        """
        past, n_new = 0 if cache is None else cache.length, ids_BT.shape[1]
        visible = causal_mask(n_new, past + n_new, window=self.config.window, documents_BT=documents_BT)
        places: Ids = np.arange(past, past + n_new)
        if islands_BS is not None:
            visible = visible & island_mask(islands_BS, n_new)
            places = island_positions(islands_BS)[:, past:]
        x_BTD = self._embed(ids_BT, places)
        x_BTD = self.blocks(x_BTD, self._turn(places, x_BTD.dtype), visible, cache)
        return self._score(self.final_norm(x_BTD))

    def backward(self, d_logits_BTV: Array) -> None:
        """Add to every parameter's gradient. Ids have none, so nothing is returned."""
        d_x_BTD = self.blocks.backward(self.final_norm.backward(self._score_backward(d_logits_BTV)))
        self._embed_backward(d_x_BTD)

    def loss(
        self,
        ids_BT: Ids,
        targets_BT: Ids,
        *,
        documents_BT: Ids | None = None,
        islands_BS: Ids | None = None,
        backward: bool = False,
    ) -> float:
        """The mean cross-entropy in nats; with `backward`, gradients are added to every parameter."""
        logits_BTV = self(ids_BT, documents_BT=documents_BT, islands_BS=islands_BS)
        loss, d_logits_BTV = cross_entropy(logits_BTV, targets_BT)
        if backward:
            self.backward(d_logits_BTV)
        return loss

    def _embed(self, ids_BT: Ids, places: Ids) -> Array:
        """Tokens to vectors, with their places (T, or B, T where rows differ) added where positions are a table."""
        config = self.config
        x_BTD: Array = self.embedding(ids_BT)
        if config.scale_embeddings:
            x_BTD = x_BTD * math.sqrt(config.d_model)
        if config.position != "rotary" and places.max() >= config.context:
            raise ValueError(f"place {places.max()} is beyond the {config.context} places that this model has")
        if config.position == "learned":
            x_BTD = x_BTD + self.position(places)
        elif config.position == "sinusoidal":
            x_BTD = x_BTD + sinusoids(config.context, config.d_model)[places].astype(x_BTD.dtype)
        self.together = places.ndim == 1
        if config.norm_embeddings:
            self.memory = x_BTD, _ = rms_norm(x_BTD, config.norm_eps)
        return self.embedding_dropout(x_BTD)  # type: ignore[no-any-return]

    def _embed_backward(self, d_x_BTD: Array) -> None:
        config = self.config
        d_x_BTD = self.embedding_dropout.backward(d_x_BTD)
        if config.norm_embeddings:
            d_x_BTD = rms_norm_backward(d_x_BTD, *self.memory)
        if config.position == "learned":
            # Every sequence of the batch stood at the same places, unless it had islands of its own.
            self.position.backward(d_x_BTD.sum(axis=0) if self.together else d_x_BTD)
        if config.scale_embeddings:
            d_x_BTD = d_x_BTD * math.sqrt(config.d_model)
        self.embedding.backward(d_x_BTD)

    def _turn(self, places: Ids, dtype: np.dtype[np.floating]) -> tuple[Array, Array] | None:
        """The rotation of each place, for models whose positions are rotations."""
        config = self.config
        if config.position != "rotary":
            return None
        frequency_R, factor = rotary_frequencies(config.rotary_dim, config.rotary_base, config.rotary_scaling)
        cos, sin = rotary_tables(places, frequency_R, factor)
        if places.ndim == 2:  # one turn for all heads of a row
            cos, sin = cos[:, None], sin[:, None]
        return cos.astype(dtype), sin.astype(dtype)

    def _score(self, hidden_BTD: Array) -> Array:
        """How well the final vector fits each token's row; squashed into (-cap, cap) where the config says so."""
        config = self.config
        table_VD = self._head.value[: config.vocab_size]
        logits_BTV = (hidden_BTD.reshape(-1, config.d_model) @ table_VD.T).reshape(*hidden_BTD.shape[:2], -1)
        cap = config.logit_softcap
        if cap:
            logits_BTV = cap * np.tanh(logits_BTV / cap)
        self._score_memory = hidden_BTD, logits_BTV
        return logits_BTV

    def _score_backward(self, d_logits_BTV: Array) -> Array:
        """As `Linear.backward`; y = c tanh(z / c) has the slope 1 - (y / c)^2."""
        config = self.config
        hidden_BTD, logits_BTV = self._score_memory
        if config.logit_softcap:
            d_logits_BTV = d_logits_BTV * (1.0 - np.square(logits_BTV / config.logit_softcap))
        rows_NV = d_logits_BTV.reshape(-1, config.vocab_size)
        self._head.gradient[: config.vocab_size] += rows_NV.T @ hidden_BTD.reshape(-1, config.d_model)
        return (rows_NV @ self._head.value[: config.vocab_size]).reshape(hidden_BTD.shape)

    @property
    def _head(self) -> Parameter:
        """The rows that score: the embedding table itself where they are tied."""
        return self.embedding.weight if self.config.tie_embeddings else self.head.weight

    def generate(
        self,
        ids: Iterable[int],
        max_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: Iterable[int] = (),
        seed: int = 0,
    ) -> Iterator[int]:
        """Write: yield one new token after another.

        A model with a table of positions stops at the end of its context; rotary positions have no end.

        Args:
            ids: the prompt, at least one token.
            temperature, top_k, top_p: how to choose; see `next_token_probabilities`.
            stop: tokens that end the text; they are not yielded.
            seed: of the choices.
        """
        rng, cache, stops = np.random.default_rng(seed), KVCache(self.config.n_layer), set(stop)
        new_1T = np.fromiter(ids, dtype=np.int64)[None]
        for _ in range(max_tokens):
            if self.config.position != "rotary" and cache.length + new_1T.shape[1] > self.config.context:
                return
            logits_V = self(new_1T, cache)[0, -1]
            probabilities_V = next_token_probabilities(logits_V, temperature=temperature, top_k=top_k, top_p=top_p)
            token = int(np.searchsorted(np.cumsum(probabilities_V), rng.random(), side="right"))
            token = min(token, int(np.nonzero(probabilities_V)[0][-1]))  # rounding may leave the sum a hair below 1
            if token in stops:
                return
            yield token
            new_1T = np.array([[token]])


def next_token_probabilities(
    logits_V: Array, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> NDArray[np.float64]:
    """The chance of each token to be chosen next.

    Args:
        temperature: divides the scores; 0 gives the likeliest token (the first of equals) all the chance.
        top_k: keep the k highest scores and their equals; 0 keeps all.
        top_p: then keep the fewest likeliest tokens whose chances reach p, and the equals of the last of them.
    """
    scores_V = logits_V.astype(np.float64)
    if temperature == 0.0:
        return np.asarray(np.eye(1, len(scores_V), int(scores_V.argmax()))[0])
    scores_V = scores_V / temperature
    if 0 < top_k < len(scores_V):
        scores_V[scores_V < np.sort(scores_V)[-top_k]] = -np.inf
    probabilities_V = softmax(scores_V)
    if top_p < 1.0:
        falling_V = -np.sort(-probabilities_V)
        last = int(np.searchsorted(np.cumsum(falling_V), top_p))  # the first at which the sum reaches p stays
        probabilities_V[probabilities_V < falling_V[min(last, len(falling_V) - 1)]] = 0.0
        probabilities_V /= probabilities_V.sum()
    return np.asarray(probabilities_V, dtype=np.float64)


def make_norm(config: GPTConfig) -> Norm:
    """The norm that the config asks for, over the residual stream."""
    norm = LayerNorm if config.norm == "layernorm" else RMSNorm
    return norm(config.d_model, eps=config.norm_eps, affine=config.norm_affine)


def make_block(config: GPTConfig, rng: np.random.Generator) -> Block:
    """One block as the config describes it.

    Matrices start normal with a spread of 0.02. Those that write to the stream start smaller, by the root of twice the
    depth, because 2L of them are added up (Radford et al. 2019); or at zero, so that each block starts as no change.
    """
    std = config.init_std
    out_std = 0.0 if config.init == "zero" else std / math.sqrt(2 * config.n_layer)
    attention = Attention(
        config.d_model,
        config.n_head,
        config.n_kv_head,
        config.head_dim,
        bias=config.attention_bias,
        qk_norm=config.qk_norm,
        norm_eps=config.norm_eps,
        norm_affine=config.norm_affine,
        rotary_dim=config.rotary_dim,
        dropout=config.dropout,
        rng=rng,
        std=std,
        out_std=out_std,
    )
    bias = config.feed_forward_bias
    feed_forward: FeedForward | SwiGLU
    if config.activation == "swiglu":
        feed_forward = SwiGLU(config.d_model, config.d_ff, bias=bias, rng=rng, std=std, out_std=out_std)
    else:
        feed_forward = FeedForward(
            config.d_model, config.d_ff, activation=config.activation, bias=bias, rng=rng, std=std, out_std=out_std
        )
    return Block(make_norm(config), attention, make_norm(config), feed_forward, dropout=config.dropout, rng=rng)


def demo() -> None:
    """Learn a nursery rhyme letter by letter, and write it."""
    text = "one two three four five, once i caught a fish alive. six seven eight nine ten, then i let it go again. " * 4
    letters = sorted(set(text))
    ids = np.array([letters.index(letter) for letter in text])
    config = GPTConfig.of(
        family="qwen3", vocab_size=len(letters), vocab_multiple=1, context=32, n_layer=2, n_head=4, d_model=48
    )
    gpt = GPT(config, seed=1)
    n_numbers = sum(math.prod(parameter.shape) for parameter in gpt.parameters().values())
    print(f"A GPT with {n_numbers:,} numbers in {len(gpt.parameters())} arrays is to learn a rhyme of 103 letters.")
    print(
        f"Knowing nothing, its loss is ln {len(letters)} = {math.log(len(letters)):.2f}: every letter equally likely.\n"
    )
    optimizer = AdamW(gpt.parameters(), learning_rate=3e-3)
    rng = np.random.default_rng(0)
    for step in range(1, 121):
        starts_B1 = rng.integers(0, len(ids) - config.context, size=(8, 1))
        window_BT = ids[starts_B1 + np.arange(config.context + 1)]
        gpt.zero_gradients()
        loss = gpt.loss(window_BT[:, :-1], window_BT[:, 1:], backward=True)
        optimizer.step()
        if step in {1, 10, 20, 40, 80, 120}:
            written = "".join(letters[i] for i in gpt.generate(ids[:4], 36, temperature=0.0))
            print(f"  step {step:3d}: loss {loss:.3f}  {text[:4]!r} -> {written!r}")
    logits_V = gpt(ids[None, :8])[0, -1]
    print(f"\nAfter {text[:8]!r} it expects:")
    for temperature in (0.5, 1.0, 3.0):
        chances_V = next_token_probabilities(logits_V, temperature=temperature)
        best = np.argsort(-chances_V)[:4]
        print(f"  temperature {temperature}: " + ", ".join(f"{letters[i]!r} {chances_V[i]:.3f}" for i in best))
    kept = np.count_nonzero(next_token_probabilities(logits_V, temperature=3.0, top_p=0.9))
    print(f"  top-p 0.9 at temperature 3 leaves {kept} of {len(letters)} letters to choose from")
    wild = "".join(letters[i] for i in gpt.generate(ids[:4], 36, temperature=1.5, seed=3))
    print(f"\nWritten at temperature 1.5: {text[:4] + wild!r}")
    print("\nNext: lora, which teaches a trained model something new by changing almost nothing.")


if __name__ == "__main__":
    demo()
