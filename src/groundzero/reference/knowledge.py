"""Knowledge: facts as vectors, and an output that can copy a name instead of spelling it.

A model that reads facts (see `transformer.KnowledgeBlock`) needs each fact as one vector, and that vector must not
lose the fact. Three views of it are added up, each through a matrix of its own:

    fact = W [e_s; e_r; e_o]          where a graph embedding places subject, relation and object
         + W_s mean(subject's words) + W_r mean(relation's words) + W_o mean(object's words)
         + number[n]                  "fact 3": how the prompt calls it
         + sum of mark[m]             what is known of it already: that the question names its subject, say

The words' vectors are rows of the model's own table, which facts read and do not change: were it otherwise, learning to
answer from facts would rewrite what words mean. The cost grows with the number of facts and not with its square.

A vector says what a fact is about, but it cannot spell. A model that attends to the right fact and then writes
"1932" for "1923" has learnt nothing wrong; digits are simply lost in a mean. So the last layer may *copy*. At each
place it decides two things (a pointer network, Vinyals et al. 2015; copying, Gu et al. 2016):

    gate     g   = sigmoid(w . h + b)                            does a copied name begin here?
    pointer  p_s = softmax over s of (W_q h) . (W_k fact + role) / sqrt(K)      which one?

A *slot* s is the subject or the object of a fact; `role` tells the two apart. The next token is then

    v  with  (1 - g) P(v) + g * (sum of p_s over the slots whose text begins with v)

and a name that was begun is written to its end: `next_tokens` gives the rest of the way. Its share of the chances is
that of the slots that agree with what is written, so the name as a whole is slot s with chance p_s, and nothing that is
not a slot's text can come out.

The loss asks the gate at every place of the answer (`gate`: -log of the chance of what it should have said), and the
pointer wherever a name begins (-log of the chance of all slots that would have been right: several may say "Lima").
A slot is used once: what was copied from it is not copied from it again (`unused`), or lists would go in circles.

Shapes: B batch, T time, N facts, M marks of a fact, S = 2N slots (2n is fact n's subject, 2n + 1 its object), L tokens
of a text, D model width, V width of a fact's three embeddings, F fact width, K pointer width, A slots that are right at
once, W vocabulary.

Run me: `python -m groundzero.reference.knowledge`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from groundzero.reference.activations import sigmoid, softmax
from groundzero.reference.layers import Embedding, Linear
from groundzero.reference.module import Array, Ids, Module, Parameter, Visible

UNTAUGHT = -2
"""In place of a slot: whether a name begins here is not taught (where copying was switched off, say)."""


def mean_embedding(table_WD: Array, ids_BNL: Ids) -> Array:
    """The mean of the tokens' rows, mean_BND; -1 is no token, and a text without tokens is zero.

    It has no backward on purpose: facts read the table and do not change it.
    """
    there_BNL = ids_BNL >= 0
    count_BN1 = np.maximum(there_BNL.sum(axis=-1, keepdims=True), 1)
    rows_BNLD = table_WD[np.maximum(ids_BNL, 0)] * there_BNL[..., None]
    return np.asarray(rows_BNLD.sum(axis=2) / count_BN1, dtype=table_WD.dtype)


class FactEncoder(Module):
    """Each fact to one vector."""

    def __init__(
        self,
        d_model: int,
        d_fact: int,
        d_vector: int,
        n_number: int,
        n_mark: int = 0,
        *,
        rng: np.random.Generator,
        std: float = 0.02,
    ) -> None:
        """
        Args:
            d_vector: width of one embedding of the graph; 0 where there are none.
            n_number: numbers that a prompt may give, 0 (for "none") included.
            n_mark: things that may be known of a fact; 0 where there are none.
        """
        if d_vector:
            self.vectors = Linear(3 * d_vector, d_fact, bias=False, rng=rng, std=std)
        self.subject = Linear(d_model, d_fact, bias=False, rng=rng, std=std)
        self.relation = Linear(d_model, d_fact, bias=False, rng=rng, std=std)
        self.object = Linear(d_model, d_fact, bias=False, rng=rng, std=std)
        self.number = Embedding(n_number, d_fact, rng=rng, std=std)
        if n_mark:
            self.mark = Embedding(n_mark, d_fact, rng=rng, std=std)

    def forward(
        self,
        vectors_BNV: Array,
        subject_BNL: Ids,
        relation_BNL: Ids,
        object_BNL: Ids,
        number_BN: Ids,
        table_WD: Array,
        marks_BNM: Ids | None = None,
    ) -> Array:
        """
        Args:
            vectors_BNV: embeddings of subject, relation and object side by side.
            subject_BNL, relation_BNL, object_BNL: their texts as tokens, -1 where there is none.
            number_BN: numbers beyond the table count as 0, "none".
            marks_BNM: what is known of each fact, in any order; -1 and what is beyond the table are nothing.
            table_WD: the model's token table.

        Returns:
            facts_BNF.
        """
        known_BN = np.where(number_BN < len(self.number.weight.value), number_BN, 0)
        facts_BNF: Array = self.number(known_BN)
        facts_BNF = facts_BNF + self.subject(mean_embedding(table_WD, subject_BNL))
        facts_BNF = facts_BNF + self.relation(mean_embedding(table_WD, relation_BNL))
        facts_BNF = facts_BNF + self.object(mean_embedding(table_WD, object_BNL))
        self.known_BNM = None
        if hasattr(self, "mark") and marks_BNM is not None:
            self.known_BNM = (marks_BNM >= 0) & (marks_BNM < len(self.mark.weight.value))
            mark_BNMF = self.mark(np.where(self.known_BNM, marks_BNM, 0))
            facts_BNF = facts_BNF + (mark_BNMF * self.known_BNM[..., None]).sum(axis=2)
        return facts_BNF + self.vectors(vectors_BNV) if hasattr(self, "vectors") else facts_BNF

    def backward(self, d_facts_BNF: Array) -> Array | None:
        """A sum hands its gradient to every term. Returns d_vectors_BNV, where the model takes vectors."""
        self.number.backward(d_facts_BNF)
        if self.known_BNM is not None:
            self.mark.backward(d_facts_BNF[:, :, None] * self.known_BNM[..., None])
        for layer in (self.subject, self.relation, self.object):
            layer.backward(d_facts_BNF)
        return self.vectors.backward(d_facts_BNF) if hasattr(self, "vectors") else None


class CopyHead(Module):
    """Gate and pointer."""

    def __init__(self, d_model: int, d_fact: int, d_copy: int, *, rng: np.random.Generator, std: float = 0.02) -> None:
        self.gate = Linear(d_model, 1, rng=rng, std=std)
        self.query = Linear(d_model, d_copy, bias=False, rng=rng, std=std)
        self.key = Linear(d_fact, d_copy, bias=False, rng=rng, std=std)
        self.role = Parameter(rng.standard_normal((2, d_copy), dtype=np.float32) * np.float32(std))

    def forward(self, hidden_BTD: Array, facts_BNF: Array) -> tuple[Array, Array]:
        """
        Returns:
            gate_BT, its logit, and scores_BTS of the slots: those of facts that are not there, too.
        """
        query_BTK = self.query(hidden_BTD)
        key_BNK = self.key(facts_BNF)
        key_BSK = (key_BNK[:, :, None] + self.role.value).reshape(len(key_BNK), -1, key_BNK.shape[-1])
        self.memory = query_BTK, key_BSK
        scale = 1.0 / math.sqrt(query_BTK.shape[-1])
        return self.gate(hidden_BTD)[..., 0], query_BTK @ key_BSK.swapaxes(1, 2) * scale

    def backward(self, d_gate_BT: Array, d_scores_BTS: Array) -> tuple[Array, Array]:
        """Returns d_hidden_BTD and d_facts_BNF.

        scores = q k^T / sqrt(K):  d_q = d_scores k / sqrt(K),  d_k = d_scores^T q / sqrt(K). A fact has two keys, so
        its gradient is the sum of theirs; a role stands in one key of every fact, so its gradient is a sum over facts.
        """
        query_BTK, key_BSK = self.memory
        d_scaled_BTS = d_scores_BTS * (1.0 / math.sqrt(query_BTK.shape[-1]))
        d_key_BSK = d_scaled_BTS.swapaxes(1, 2) @ query_BTK
        d_key_BN2K = d_key_BSK.reshape(len(d_key_BSK), -1, 2, d_key_BSK.shape[-1])
        self.role.gradient += d_key_BN2K.sum(axis=(0, 1))
        d_hidden_BTD = self.query.backward(d_scaled_BTS @ key_BSK) + self.gate.backward(d_gate_BT[..., None])
        return d_hidden_BTD, self.key.backward(d_key_BN2K.sum(axis=2))


def unused(starts_BTA: Ids, n_slot: int) -> Visible:
    """Which slots, unused_BTS, no name before a place was taken from: the first of its right slots is where it is from.

    >>> unused(np.array([[[1], [-1], [0]]]), 2)[0].tolist()    # slot 1 is taken at place 0, so it is gone from place 1
    [[True, True], [True, False], [True, False]]
    """
    taken_BTS = starts_BTA[..., :1] == np.arange(n_slot)
    return np.asarray(np.cumsum(taken_BTS, axis=1) - taken_BTS == 0)


def pointer(scores_BTS: Array, visible_BTS: Visible) -> Array:
    """The chance of each slot: softmax over those that are there; zeros where none is."""
    return softmax(np.where(visible_BTS, scores_BTS, -np.inf).astype(scores_BTS.dtype))


def copy_loss(
    gate_BT: Array, scores_BTS: Array, visible_BTS: Visible, starts_BTA: Ids, counted_BT: Visible
) -> tuple[float, Array, Array]:
    """How surprised gate and pointer are, in nats: the mean of each, added up.

    gate:     -log g where a name begins, -log (1 - g) elsewhere; its slope along the logit is g - 1, or g.
    pointer:  -log of the summed chance of the right slots. With p over all slots and r over the right ones alone
              (p scaled up so that they sum to 1) its slope along the scores is p - r: cross-entropy with the truth
              spread over what is right, in the proportions that the pointer itself believes in.

    Args:
        visible_BTS: the slots that a place may point to; may be (B, 1, S).
        starts_BTA: the slots that are right where the next token begins a name; -1 beyond them, and elsewhere. A first
            of `UNTAUGHT` keeps the place out of the gate's loss.
        counted_BT: the places of the answer; those where a name begins count anyway.

    Returns:
        loss, d_gate_BT and d_scores_BTS.
    """
    begins_BT = np.asarray((starts_BTA >= 0).any(axis=-1))
    counted_BT = (counted_BT & (starts_BTA[..., 0] != UNTAUGHT)) | begins_BT
    n_counted, n_begin = max(1, int(counted_BT.sum())), max(1, int(begins_BT.sum()))
    surprise_BT = np.logaddexp(0.0, np.where(begins_BT, -gate_BT, gate_BT))
    gate_loss = float(surprise_BT[counted_BT].sum()) / n_counted
    d_gate_BT = (sigmoid(gate_BT) - begins_BT) * counted_BT / n_counted

    right_BTS = (starts_BTA[..., None] == np.arange(scores_BTS.shape[-1])).any(axis=-2) & visible_BTS
    all_BTS, only_right_BTS = pointer(scores_BTS, visible_BTS), pointer(scores_BTS, right_BTS)
    chance_BT = (all_BTS * right_BTS).sum(axis=-1)
    pointer_loss = -float(np.log(chance_BT[begins_BT]).sum()) / n_begin
    d_scores_BTS = (all_BTS - only_right_BTS) * begins_BT[..., None] / n_begin
    return gate_loss + pointer_loss, d_gate_BT, d_scores_BTS


def next_tokens(
    texts: Sequence[Sequence[int]], shares: Sequence[float], written: Sequence[int]
) -> tuple[float, dict[int, float]]:
    """How a name goes on, of which some tokens are written.

    Only texts that begin with what is written are still possible; their shares, scaled up to sum to 1, say what comes.

    Args:
        texts: the tokens of each slot's text.
        shares: what the pointer gave each when the name began.

    Returns:
        The chance that the name is complete (then a free place follows), and that of each further token.
    """
    agreeing = [
        (list(text), share)
        for text, share in zip(texts, shares, strict=True)
        if list(text[: len(written)]) == list(written)
    ]
    total = sum(share for _, share in agreeing)
    ended, tokens = 0.0, dict[int, float]()
    for text, share in agreeing:
        if len(text) == len(written):
            ended += share / total
        else:
            token = text[len(written)]
            tokens[token] = tokens.get(token, 0.0) + share / total
    return ended, tokens


def demo() -> None:
    """Two names that begin alike, a pointer that learns which one is meant, and spelling that cannot go wrong."""
    rng = np.random.default_rng(0)
    np.set_printoptions(precision=2, suppress=True)
    texts = ["Peru", "Lima", "Spain", "Manchester", "Iran", "Man"]
    names = [[ord(letter) for letter in text] for text in texts]
    shares = [0.0, 0.1, 0.0, 0.3, 0.0, 0.6]
    print("Three facts, each with a subject and an object, make six slots. At some place the pointer says:\n")
    print("  " + ", ".join(f"{text} {share:.1f}" for text, share in zip(texts, shares, strict=True)))
    print("\nA copied name is written letter by letter; what may follow is what some slot's text goes on with:\n")
    for written in ("", "L", "M", "Ma", "Man", "Manc"):
        ended, tokens = next_tokens(names, shares, [ord(letter) for letter in written])
        ways = [f"{chr(token)} {chance:.2f}" for token, chance in tokens.items() if chance]
        ways += [f"the end {ended:.2f}"] if ended else []
        print(f"  {written!r:8s} -> " + ", ".join(ways))
    whole = [1.0, 1.0]
    for index, name in enumerate((names[5], names[3])):
        for place, letter in enumerate(name):
            whole[index] *= next_tokens(names, shares, name[:place])[1][letter]
        whole[index] *= next_tokens(names, shares, name)[0]
    print(
        f"\nMultiplied up: 'Man' comes with chance {whole[0]:.2f} and 'Manchester' with {whole[1]:.2f}, as the pointer"
    )
    print("said; 'Manhattan' cannot come.\n")

    _demo_learning(rng)


def _demo_learning(rng: np.random.Generator) -> None:
    """Learn to copy the object of the fact that the hidden vector asks for."""
    n_fact, width = 4, 12
    encoder = FactEncoder(width, width, 0, 1, rng=rng, std=0.3)
    head = CopyHead(width, width, 8, rng=rng, std=0.3)
    table_WD = rng.standard_normal((30, width)).astype(np.float32)
    none_BNV, no_number_BN = np.zeros((1, n_fact, 0), np.float32), np.zeros((1, n_fact), np.int64)
    visible_BTS = np.ones((1, 1, 2 * n_fact), np.bool_)
    right = 0.0
    print("Learning to point: four random facts at a time, and a hidden vector that knows one fact's subject and")
    print("relation. Where it ends in +1 a name begins (the object of that fact), where in -1 none does.\n")
    for step in range(1, 601):
        subject_BNL, relation_BNL, object_BNL = (rng.integers(low, low + 10, (1, n_fact, 1)) for low in (0, 10, 20))
        facts_BNF = encoder(none_BNV, subject_BNL, relation_BNL, object_BNL, no_number_BN, table_WD)
        asked, begins = rng.integers(0, n_fact, (1, 4)), np.array([[True, True, False, True]])
        hidden_BTD = table_WD[subject_BNL[0, asked, 0]] + table_WD[relation_BNL[0, asked, 0]]
        hidden_BTD[..., -1] = np.where(begins, 1.0, -1.0)
        starts_BTA = np.where(begins, 2 * asked + 1, -1)[..., None]
        gate_BT, scores_BTS = head(hidden_BTD, facts_BNF)
        loss, d_gate_BT, d_scores_BTS = copy_loss(gate_BT, scores_BTS, visible_BTS, starts_BTA, np.ones((1, 4), bool))
        for part in (encoder, head):
            part.zero_gradients()
        encoder.backward(head.backward(d_gate_BT, d_scores_BTS)[1])
        for part in (encoder, head):
            for parameter in part.parameters().values():
                parameter.value -= 0.05 * parameter.gradient
        said = pointer(scores_BTS, visible_BTS).argmax(axis=-1)[begins]
        same = (subject_BNL[0, said // 2, 0] == subject_BNL[0, asked[begins], 0]) & (said % 2 == 1)
        right = 0.97 * right + 0.03 * float(same.mean())
        if step in {1, 100, 300, 600}:
            print(f"  step {step:3d}: loss {loss:.2f}, objects pointed to rightly (lately) {right:.0%}")
    print("\nEach step had facts it had never seen. What was learnt is not a fact, but how to look one up.")
    print("\nNext: quantize, which makes a trained model small.")


if __name__ == "__main__":
    demo()
