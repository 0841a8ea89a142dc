"""Facts and copying as trials for the judges; see `judged_operations`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from groundzero.reference import knowledge
from groundzero.reference.module import Array
from tests.reference.judge import Tensors, Trial, of_module
from tests.reference.judged_operations import Draw, affine, draw_visible, judges


@judges(knowledge.FactEncoder)
def fact_encoder(draw: Draw, rng: np.random.Generator) -> Trial:
    """With vectors of a graph and without, with texts that are empty, with numbers beyond the table."""
    d_vector, width = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    n_mark = draw(st.sampled_from([0, 2]))
    encoder = knowledge.FactEncoder(width, draw(st.integers(1, 3)), d_vector, 3, n_mark, rng=rng)
    table_WD = rng.standard_normal((7, width))
    texts = [rng.integers(-1, 7, (*shape, draw(st.integers(0, 3)))) for _ in range(3)]
    number_BN, marks_BNM = rng.integers(0, 5, shape), rng.integers(-1, 4, (*shape, 2))
    vectors = rng.standard_normal((*shape, 3 * d_vector))

    def backward(d_y: Array) -> Any:
        d_vectors = encoder.backward(d_y)
        return d_vectors if d_vector else ()

    def expression(t: Tensors) -> torch.Tensor:
        known = torch.from_numpy(np.where(number_BN < 3, number_BN, 0))
        total = torch.nn.functional.one_hot(known, 3).double() @ t["number.weight"]
        if n_mark:
            table = torch.cat((t["mark.weight"], torch.zeros_like(t["mark.weight"][:1])))
            rows = np.where((marks_BNM >= 0) & (marks_BNM < n_mark), marks_BNM, n_mark)
            total = total + table[torch.from_numpy(rows[..., 0])] + table[torch.from_numpy(rows[..., 1])]
        for name, ids in zip(("subject", "relation", "object"), texts, strict=True):
            means = [
                [
                    torch.from_numpy(
                        table_WD[[i for i in text if i >= 0]].mean(axis=0) if (text >= 0).any() else 0 * table_WD[0]
                    )
                    for text in row
                ]
                for row in ids
            ]
            total = total + affine(t, f"{name}.", torch.stack([torch.stack(row) for row in means]))
        return total + affine(t, "vectors.", t["vectors"]) if d_vector else total

    return of_module(
        encoder,
        {"vectors": vectors} if d_vector else {},
        expression,
        forward=lambda: encoder(vectors, *texts, number_BN, table_WD, marks_BNM),
        backward=backward,
    )


def draw_copying(draw: Draw, rng: np.random.Generator) -> dict[str, Any]:
    """A head, what it reads, and what would be right."""
    batch, n_token, n_fact = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    width, d_fact = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    visible = draw_visible(draw, rng, (batch, 1, 2 * n_fact))
    visible_BTS = np.ones((batch, 1, 2 * n_fact), np.bool_) if visible is None else visible
    starts_BTA = rng.integers(-1, 2 * n_fact, (batch, n_token, draw(st.integers(1, 2))))
    starts_BTA[rng.random((batch, n_token)) < 0.4] = draw(st.sampled_from([-1, knowledge.UNTAUGHT]))
    for b in range(batch):  # what is right is there to point to
        hidden_BTA = (starts_BTA[b] >= 0) & ~visible_BTS[b, 0][np.maximum(starts_BTA[b], 0)]
        starts_BTA[b][hidden_BTA] = -1
    return {
        "head": knowledge.CopyHead(width, d_fact, draw(st.integers(1, 3)), rng=rng),
        "hidden": rng.standard_normal((batch, n_token, width)),
        "facts": rng.standard_normal((batch, n_fact, d_fact)),
        "visible_BTS": visible_BTS,
        "starts_BTA": starts_BTA,
        "counted_BT": rng.random((batch, n_token)) < 0.7,
    }


def scored(t: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Gate and scores, slot by slot."""
    query, key = affine(t, "query.", t["hidden"]), affine(t, "key.", t["facts"])
    columns = [
        (query * (key[:, n] + t["role"][role])[:, None]).sum(-1) / query.shape[-1] ** 0.5
        for n in range(key.shape[1])
        for role in (0, 1)
    ]
    return affine(t, "gate.", t["hidden"])[..., 0], torch.stack(columns, dim=-1)


@judges(knowledge.CopyHead)
def copying(draw: Draw, rng: np.random.Generator) -> Trial:
    """Gate and scores side by side, as one output."""
    case = draw_copying(draw, rng)
    head, hidden, facts = case["head"], case["hidden"], case["facts"]

    def forward() -> Array:
        gate_BT, scores_BTS = head(hidden, facts)
        return np.concatenate((gate_BT[..., None], scores_BTS), axis=-1)

    def expression(t: Tensors) -> torch.Tensor:
        gate, scores = scored(t)
        return torch.cat((gate[..., None], scores), dim=-1)

    return of_module(
        head,
        {"hidden": hidden, "facts": facts},
        expression,
        forward=forward,
        backward=lambda d_y: head.backward(d_y[..., 0], d_y[..., 1:]),
    )


@judges(knowledge.copy_loss)
def copy_loss(draw: Draw, rng: np.random.Generator) -> Trial:
    """Through the head, with places that do not count and places where several slots are right."""
    case = draw_copying(draw, rng)
    head, hidden, facts = case["head"], case["hidden"], case["facts"]
    visible_BTS, starts_BTA, counted_BT = case["visible_BTS"], case["starts_BTA"], case["counted_BT"]

    def loss() -> tuple[float, Array, Array]:
        return knowledge.copy_loss(*head(hidden, facts), visible_BTS, starts_BTA, counted_BT)

    def backward(d_loss: Array) -> Any:
        _, d_gate_BT, d_scores_BTS = loss()
        return head.backward(d_loss * d_gate_BT, d_loss * d_scores_BTS)

    def expression(t: Tensors) -> torch.Tensor:
        gate, scores = scored(t)
        zero = 0.0 * gate.sum()
        gate_parts, pointer_parts = [], []
        for b, row in enumerate(starts_BTA):
            there = np.flatnonzero(visible_BTS[b, 0])
            for place, slots in enumerate(row):
                right = sorted({int(slot) for slot in slots if slot >= 0})
                if right or (counted_BT[b, place] and slots[0] != knowledge.UNTAUGHT):
                    chance = 1 / (1 + torch.exp(-gate[b, place]))
                    gate_parts.append(-torch.log(chance if right else 1 - chance))
                if right:
                    share = torch.exp(scores[b, place])
                    pointer_parts.append(-torch.log(share[right].sum() / share[there].sum()))
        return sum((torch.stack(parts).mean() for parts in (gate_parts, pointer_parts) if parts), zero)

    return of_module(
        head,
        {"hidden": hidden, "facts": facts},
        expression,
        forward=lambda: np.array(loss()[0]),
        backward=backward,
    )
