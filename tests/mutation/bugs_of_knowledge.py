"""Bugs in the layers that read facts and copy names, in both worlds."""

from __future__ import annotations

from tests.mutation.bug import Bug

TWIN = "reference/knowledge.py"

KNOWLEDGE_BUGS = (
    Bug(
        "facts: mean over padding too",
        TWIN,
        "np.maximum(there_BNL.sum(axis=-1, keepdims=True), 1)",
        "max(1, ids_BNL.shape[-1])",
    ),
    Bug(
        "facts: the object's words learn nothing",
        TWIN,
        "for layer in (self.subject, self.relation, self.object):",
        "for layer in (self.subject, self.relation):",
    ),
    Bug(
        "copying: a fact's gradient from one of its two keys",
        TWIN,
        "self.key.backward(d_key_BN2K.sum(axis=2))",
        "self.key.backward(d_key_BN2K[:, :, 0])",
    ),
    Bug(
        "copying: hidden does not hear from the gate",
        TWIN,
        "self.query.backward(d_scaled_BTS @ key_BSK) + self.gate.backward(d_gate_BT[..., None])",
        "self.query.backward(d_scaled_BTS @ key_BSK) + 0 * self.gate.backward(d_gate_BT[..., None])",
    ),
    Bug(
        "copying: one of several right slots takes all",
        TWIN,
        "d_scores_BTS = (all_BTS - only_right_BTS)",
        "d_scores_BTS = (all_BTS - (only_right_BTS == only_right_BTS.max(axis=-1, keepdims=True)))",
    ),
    Bug(
        "copying: slots that are not there are pointed to",
        TWIN,
        "softmax(np.where(visible_BTS, scores_BTS, -np.inf)",
        "softmax(np.where(visible_BTS, scores_BTS, scores_BTS)",
    ),
    Bug(
        "facts: marks learn nothing",
        TWIN,
        "self.mark.backward(d_facts_BNF[:, :, None] * self.known_BNM[..., None])",
        "self.mark.backward(d_facts_BNF[:, :, None] * self.known_BNM[..., :1, None])",
    ),
    Bug(
        "copying: a slot is used up by the very name it is for",
        TWIN,
        "np.cumsum(taken_BTS, axis=1) - taken_BTS == 0",
        "np.cumsum(taken_BTS, axis=1) == 0",
    ),
    Bug(
        "PyTorch, copying: used slots may be used again",
        "model/copying.py",
        "return (taken_BTS.cumsum(1) - taken_BTS) == 0",
        "return (taken_BTS.cumsum(1) - taken_BTS) >= 0",
    ),
    Bug(
        "PyTorch, knowledge block: gate without its tanh",
        "model/knowledge.py",
        "self.knowledge_gate.to(x_BTD.dtype).tanh() * read_BTD",
        "self.knowledge_gate.to(x_BTD.dtype) * read_BTD",
    ),
    Bug(
        "PyTorch, copying: slots ordered by role, not by fact",
        "model/copying.py",
        "(key_BNK[:, :, None] + self.role.to(key_BNK.dtype)).flatten(1, 2)",
        "(key_BNK[:, :, None] + self.role.to(key_BNK.dtype)).transpose(1, 2).flatten(1, 2)",
    ),
    Bug(
        "PyTorch, copying: gate's loss averaged over all places",
        "model/copying.py",
        "(surprise_BT * counted_BT).sum() / counted_BT.sum().clamp(min=1)",
        "(surprise_BT * counted_BT).sum() / counted_BT.numel()",
    ),
)
