"""Embeddings of a graph: vectors from which missing statements are predicted, with a probability.

    comparisons, models     scores and their gradients, written by hand
    losses, batches, rows   what a step optimises, on which triples, and how it changes only the rows it touched
    trainer, checkpoint     the loop: schedule, early stopping, exact resume
    ranking, classification, calibration    how good the vectors are, and how sure to be
    embedding, newcomers    what is kept, what it predicts, and vectors for entities that came later

Everything works on plain arrays of ids; `embed_graph` in `session` takes them from a store. Settings load without
PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundzero.graph.embed.config import EmbedConfig

if TYPE_CHECKING:
    from groundzero.graph.embed.classification import Classification, classify
    from groundzero.graph.embed.embedding import Embedding, Prediction
    from groundzero.graph.embed.ranking import RankingReport, evaluate_ranking
    from groundzero.graph.embed.session import embed_graph, train_embedding
    from groundzero.graph.embed.splits import Splits
    from groundzero.graph.embed.trainer import EmbeddingTrainer

_HOME = {
    "Classification": "classification",
    "classify": "classification",
    "Embedding": "embedding",
    "Prediction": "embedding",
    "RankingReport": "ranking",
    "evaluate_ranking": "ranking",
    "embed_graph": "session",
    "train_embedding": "session",
    "Splits": "splits",
    "EmbeddingTrainer": "trainer",
}

__all__ = ["Classification", "EmbedConfig", "Embedding", "EmbeddingTrainer", "Prediction", "RankingReport", "Splits", "classify", "embed_graph", "evaluate_ranking", "train_embedding"]  # fmt: skip  # noqa: E501


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"groundzero.graph.embed.{_HOME[name]}"), name)
