"""Bugs in the networks of the twin: attention, blocks, the model, the loss and writing."""

from __future__ import annotations

from tests.mutation.bug import Bug

ATTENTION = "reference/attention.py"
TRANSFORMER = "reference/transformer.py"
MODEL = "reference/model.py"

MODEL_BUGS = (
    Bug(
        "attention: mask missing",
        ATTENTION,
        "scores_BHTS += np.where(visible, 0.0, -np.inf).astype(scores_BHTS.dtype)",
        "pass",
    ),
    Bug(
        "attention: a token does not see itself",
        ATTENTION,
        "visible_TS = key_S <= query_T1",
        "visible_TS = key_S < query_T1",
    ),
    Bug("attention: window one too wide", ATTENTION, "key_S > query_T1 - window", "key_S >= query_T1 - window"),
    Bug(
        "attention: documents mask forgets the future",
        ATTENTION,
        "np.asarray(visible_TS & same_BTS)",
        "np.asarray(same_BTS)",
    ),
    Bug(
        "attention: queries stand at the cache's beginning",
        ATTENTION,
        "query_T1 = np.arange(n_key - n_query, n_key)[:, None]",
        "query_T1 = np.arange(n_query)[:, None]",
    ),
    Bug(
        "attention: scores divided by E, not its root",
        ATTENTION,
        "    scores_BHTS *= 1.0 / math.sqrt(q_BHTE.shape[-1])\n    if visible",
        "    scores_BHTS *= 1.0 / q_BHTE.shape[-1]\n    if visible",
    ),
    Bug(
        "attention backward: scale forgotten", ATTENTION, "    d_scores_BHTS *= 1.0 / math.sqrt(q_BHTE.shape[-1])\n", ""
    ),
    Bug(
        "attention backward: a dropped transpose in d_k",
        ATTENTION,
        "d_scores_BHTS.swapaxes(-1, -2) @ q_BHTE",
        "d_scores_BHTS @ q_BHTE",
    ),
    Bug(
        "attention backward: dropout forgotten in d_v",
        ATTENTION,
        "dropout.backward(d_weights_BHTS), dropout.backward(weights_BHTS)",
        "dropout.backward(d_weights_BHTS), weights_BHTS",
    ),
    Bug(
        "attention backward: x does not hear from the values",
        ATTENTION,
        "d_x_BTD += self.value.backward(_join_heads(d_v_BKSE))",
        "self.value.backward(_join_heads(d_v_BKSE))",
    ),
    Bug(
        "QK-norm: scale's gradient without the input",
        ATTENTION,
        "(d_x_BHTE * normal_BHTE).sum(axis=(0, 1, 2))",
        "d_x_BHTE.sum(axis=(0, 1, 2))",
    ),
    Bug(
        "partial rotary: the rest gets no gradient",
        ATTENTION,
        "np.concatenate((back, rest), axis=-1)",
        "np.concatenate((back, 0 * rest), axis=-1)",
    ),
    Bug(
        "grouped queries: mask dealt out in the wrong order",
        ATTENTION,
        "np.concatenate([visible] * group, axis=-2)",
        "np.repeat(visible, group, axis=-2)",
    ),
    Bug(
        "cross-attention: padding is read as facts",
        ATTENTION,
        "None if visible_BN is None else visible_BN[:, None, None, :]",
        "None",
    ),
    Bug(
        "cache: old values forgotten",
        ATTENTION,
        "np.concatenate((old_values, v_BKTE), axis=2)",
        "np.concatenate((v_BKTE, old_values), axis=2)",
    ),
    Bug(
        "block: the stream's own gradient lost",
        TRANSFORMER,
        "return d_y_BTD + self.attention_norm.backward(d_heard_BTD)",
        "return self.attention_norm.backward(d_heard_BTD)",
    ),
    Bug(
        "SwiGLU: gate's gradient without the other factor",
        TRANSFORMER,
        "silu_backward(d_hidden_BTF * up_BTF, gate_BTF)",
        "silu_backward(d_hidden_BTF, gate_BTF)",
    ),
    Bug("knowledge gate: slope of tanh missing", TRANSFORMER, "(1.0 - opened * opened) * (d_x_BTD", "(d_x_BTD"),
    Bug(
        "knowledge block: facts learn past the gate",
        TRANSFORMER,
        "self.knowledge.backward(opened * d_x_BTD)",
        "self.knowledge.backward(1.0 * d_x_BTD)",
    ),
    Bug("loss: places that do not count are learnt", MODEL, "    d_rows_NV[targets_N < 0] = 0.0\n", ""),
    Bug("loss: gradient averaged over all places", MODEL, "d_rows_NV /= counted.size", "d_rows_NV /= targets_N.size"),
    Bug(
        "loss: off-by-one label",
        MODEL,
        "d_rows_NV[counted, targets_N[counted]] -= 1.0",
        "d_rows_NV[counted, targets_N[counted] - 1] -= 1.0",
    ),
    Bug(
        "model: tied gradient lost on the way in",
        MODEL,
        "        self.embedding.backward(d_x_BTD)",
        "        self.embedding.backward(d_x_BTD * (not config.tie_embeddings))",
    ),
    Bug(
        "model: gradient of scaled embeddings not scaled",
        MODEL,
        "            d_x_BTD = d_x_BTD * math.sqrt(config.d_model)\n        self.embedding.backward",
        "            pass\n        self.embedding.backward",
    ),
    Bug(
        "model: position gradient averaged over the batch",
        MODEL,
        "self.position.backward(d_x_BTD.sum(axis=0)",
        "self.position.backward(d_x_BTD.mean(axis=0)",
    ),
    Bug(
        "model: normed embeddings backward missing", MODEL, "d_x_BTD = rms_norm_backward(d_x_BTD, *self.memory)", "pass"
    ),
    Bug(
        "model: soft-cap's slope missing",
        MODEL,
        "d_logits_BTV * (1.0 - np.square(logits_BTV / config.logit_softcap))",
        "d_logits_BTV * 1.0",
    ),
    Bug(
        "model: cached tokens start at place 0 again",
        MODEL,
        "places: Ids = np.arange(past, past + n_new)",
        "places: Ids = np.arange(n_new)",
    ),
    Bug(
        "model: cache position off by one",
        MODEL,
        "places: Ids = np.arange(past, past + n_new)",
        "places: Ids = np.arange(max(0, past - 1), max(0, past - 1) + n_new)",
    ),
    Bug(
        "islands: the question sees no fact",
        "reference/islands.py",
        "(asking_BT1 == 0) | (asked_B1S == 0)",
        "(asked_B1S == 0)",
    ),
    Bug(
        "islands: the mainland goes on behind the shortest",
        "reference/islands.py",
        "start += max(((run == each)",
        "start += min(((run == each)",
    ),
    Bug("start: residual outputs not scaled down", MODEL, "std / math.sqrt(2 * config.n_layer)", "std"),
    Bug(
        "writing: temperature multiplies",
        MODEL,
        "scores_V = scores_V / temperature",
        "scores_V = scores_V * temperature",
    ),
    Bug("writing: top-k keeps one more", MODEL, "np.sort(scores_V)[-top_k]", "np.sort(scores_V)[-top_k - 1]"),
    Bug(
        "writing: top-p border on the wrong side",
        MODEL,
        "np.searchsorted(np.cumsum(falling_V), top_p)",
        'np.searchsorted(np.cumsum(falling_V), top_p, side="right")',
    ),
    Bug(
        "model: the embeddings' dropout forgotten on the way back",
        MODEL,
        "        d_x_BTD = self.embedding_dropout.backward(d_x_BTD)\n",
        "",
    ),
)
