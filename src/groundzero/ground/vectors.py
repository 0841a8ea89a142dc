"""The graph's embedding as part of facts: vectors of subject, relation and object beside the texts (`gz graph embed`).

Lessons about things that nobody has know no vectors, so a model does without where there are none: for what was added
since, and in another graph, whose numbers mean other things.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from groundzero.errors import InputError
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.graph import Graph
from groundzero.ground.lessons import Fact
from groundzero.ground.prompt import Vectors


def vectors_of(embedding: Path | None, graph: Graph) -> tuple[Vectors | None, int]:
    """The vectors of facts from a folder of `gz graph embed`, and the width of one of the three.

    Raises:
        InputError: no such folder, one of another graph, or a kind of embedding whose relations are no vectors of the
            entities' width.
        FormatError: it is damaged.
    """
    if embedding is None:
        return None, 0
    found = Embedding.load(embedding)
    if not _is_even(found):
        raise InputError(
            f"{embedding} is of the kind {found.config.model}, whose relations have another width than its entities.",
            remedy="Use transe, distmult or complex.",
        )
    if not found.is_of(graph.store):
        raise InputError(
            f"{embedding} is of another graph than {graph.location}.",
            remedy="Give the folder that `gz graph embed` made from this graph.",
        )
    return _looked_up(found), found.entities_ED.shape[1]


def vectors_if_any(embedding: Path | None, graph: Graph) -> Vectors | None:
    """The same where they are there and are this graph's.

    Raises:
        FormatError: they are damaged.
    """
    if embedding is None or not (embedding / "embedding.json").exists():
        return None
    found = Embedding.load(embedding)
    return _looked_up(found) if _is_even(found) and found.is_of(graph.store) else None


def stands_beside_texts(embedding: Path) -> bool:
    """Whether it is of a kind that `vectors_of` takes.

    Raises:
        InputError: there is none.
        FormatError: it is damaged.
    """
    return _is_even(Embedding.load(embedding))


def _looked_up(embedding: Embedding) -> Vectors:
    # As long as `FactEncoder` expects. TransE leaves them 9 or 10 long, which drowned texts and marks: a model tuned so
    # on CoDEx-S listed 31 % right by itself, and 46 % when its vectors were taken away.
    entities_ED, relations_RD = normalize(embedding.entities_ED.float()), normalize(embedding.relations_RW.float())
    nothing_D = torch.zeros(entities_ED.shape[1])

    def vectors(fact: Fact) -> npt.NDArray[np.float32] | None:
        subject, relation, object_ = fact.ends
        if not (embedding.has(subject) and embedding.has_relation(relation)):
            return None
        has_object = object_ is not None and embedding.has(object_)
        last_D = entities_ED[embedding.row_of(object_)] if object_ is not None and has_object else nothing_D
        first_D, middle_D = entities_ED[embedding.row_of(subject)], relations_RD[embedding.relation_row_of(relation)]
        return torch.cat([first_D, middle_D, last_D]).numpy()

    return vectors


def _is_even(embedding: Embedding) -> bool:
    """Relations are vectors of the entities' width."""
    return embedding.relations_RW.shape[1] == embedding.entities_ED.shape[1]
