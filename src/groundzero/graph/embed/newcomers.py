"""Vectors for entities that came after training: in closed form from their neighbours, at once; a short local refresh
after that moves only their own rows.

Every statement about a new entity asks a question whose answer it is, and the question has a vector q. For models that
compare by distance the point with the least sum of squared distances is the mean of the q. For those that compare by
dot product it is the ridge regression of the score that true triples have on the q.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from groundzero.graph.embed.batches import Batch, generator_for
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.embed.models import make_model
from groundzero.graph.embed.optimizer import RowOptimizer
from groundzero.graph.embed.ranking import question_vectors
from groundzero.graph.embed.splits import Ids
from groundzero.graph.embed.step import StepFunction
from groundzero.graph.nouns import Transaction

RIDGE = 0.1  # times the mean squared length of the questions: a prior as strong as a tenth of a statement
REFRESH_NEGATIVES = 256


def add_newcomers(embedding: Embedding, triples: Ids, *, transaction: Transaction) -> list[int]:
    """Give vectors to entities of `triples` (graph ids) that have none; returns them in the order they were placed.

    Newcomers joined only to other newcomers are placed after those, as far as the chain goes; what no chain joins to
    the known, or only relations without a vector do, gets none.
    """
    rows = [tuple(int(x) for x in triple[:3]) for triple in triples]
    rows = [(s, r, o) for s, r, o in rows if embedding.has_relation(r)]
    placed: list[int] = []
    while True:
        ready: dict[int, list[tuple[int, int, bool]]] = {}
        for subject, relation, object_ in rows:
            if embedding.has(object_) and not embedding.has(subject):
                ready.setdefault(subject, []).append((object_, relation, True))
            elif embedding.has(subject) and not embedding.has(object_):
                ready.setdefault(object_, []).append((subject, relation, False))
        if not ready:
            break
        vectors = [closed_form(embedding, questions) for questions in ready.values()]
        _append(embedding, list(ready), torch.stack(vectors))
        placed += ready
    embedding.transaction = transaction
    return placed


def closed_form(embedding: Embedding, questions: list[tuple[int, int, bool]]) -> Tensor:
    """vector_D of the answer to `questions`: (known entity, relation, whether the subject is asked for)."""
    model, config = make_model(embedding.config), embedding.config
    parts = []
    for backward in (False, True):
        own = [(embedding.row_of(e), embedding.relation_row_of(r)) for e, r, asked in questions if asked == backward]
        if own:
            anchors, relations = np.array(own, np.int64).T
            parts.append(
                question_vectors(
                    model, config, embedding.entities_ED, embedding.relations_RW, anchors, relations, backward=backward
                )
            )
    query_QD = torch.cat(parts)
    if config.model in ("transe", "rotate"):
        vector_D = query_QD.mean(0)
    else:
        vector_D = _ridge(query_QD, float(embedding.figures.get("positive_score") or 1.0))
    return torch.nn.functional.normalize(vector_D, dim=0) if config.unit_entities else vector_D


def refresh(embedding: Embedding, triples: Ids, entities: list[int], *, steps: int = 20, rate: float = 0.05) -> None:
    """Train the rows of `entities` alone on `triples` (graph ids; those that touch them), in place.

    Each step asks for the end that is in `entities`, or for both, against shared random negatives.
    """
    config = embedding.config.replace(
        sampler="shared", negatives=min(REFRESH_NEGATIVES, embedding.n_entities), dropout=0.0
    )
    known = [
        t
        for t in triples
        if embedding.has(int(t[0])) and embedding.has(int(t[2])) and embedding.has_relation(int(t[1]))
    ]
    if not known or not entities:
        return
    rows = embedding.rows(np.array(known, np.int64))
    moving = torch.tensor([embedding.row_of(entity) for entity in entities])
    step_function = StepFunction(config)
    optimizer = RowOptimizer("adagrad", embedding.entities_ED)
    for step in range(steps):
        batch = _questions(embedding, rows, step)
        gradients = step_function.gradients(embedding.entities_ED, embedding.relations_RW, batch)
        optimizer.begin_step()
        for touched, gradient_UD in gradients.entities.pieces(embedding.entities_ED):
            own = torch.isin(touched, moving)
            if own.any():
                optimizer.update(
                    embedding.entities_ED, touched[own], gradient_UD[own] / len(rows), rate, unit=config.unit_entities
                )


def _questions(embedding: Embedding, rows: Ids, step: int) -> Batch:
    """Both questions of every triple, with negatives for this step."""
    triples = torch.from_numpy(rows)
    subject, relation, object_ = triples.T
    config = embedding.config
    negatives = torch.randint(
        embedding.n_entities,
        (min(REFRESH_NEGATIVES, embedding.n_entities),),
        generator=generator_for(config.seed, step, "refresh"),
    )
    way_back = relation + len(embedding.relation_ids) if config.reciprocal else relation
    backward = None if config.reciprocal else torch.arange(2 * len(rows)) >= len(rows)
    return Batch(
        torch.cat([subject, object_]),
        torch.cat([relation, way_back]),
        backward,
        torch.cat([object_, subject]),
        negatives,
    )


def _ridge(query_QD: Tensor, target: float) -> Tensor:
    """The vector whose dot products with the questions are nearest to `target`, drawn towards 0.

    Solved in the smaller of the two spaces: there are few statements and many dimensions.
    """
    double_QD = query_QD.double()
    gram_QQ = double_QD @ double_QD.t()
    strength = RIDGE * float(gram_QQ.diagonal().mean()) + 1e-12
    system_QQ = gram_QQ + strength * torch.eye(len(gram_QQ), dtype=torch.float64)
    weight_Q: Tensor = torch.linalg.solve(system_QQ, torch.full((len(gram_QQ),), target, dtype=torch.float64))
    return (weight_Q @ double_QD).to(query_QD.dtype)


def _append(embedding: Embedding, entities: list[int], vector_ND: Tensor) -> None:
    embedding.entities_ED = torch.cat([embedding.entities_ED, vector_ND])
    embedding.entity_ids = np.concatenate([embedding.entity_ids, np.array(entities, np.int64)])
    embedding.__post_init__()
