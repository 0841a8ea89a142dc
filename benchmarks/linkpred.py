"""Link prediction and triple classification beside published figures: filtered MRR and Hits on the test split.

A recipe's settings were chosen on the validation split alone, and what is reported is the test split as ranked by the
vectors of the epoch with the best validation MRR. The budget (dimensions, epochs, seconds of training on the cores
named below) stands in the last column. Trainings are kept in `--folder` and resumed from there.

Published: LibKGE (Ruffinelli et al. 2020, README), CoDEx (Safavi & Koutra 2020, tables 5 and 6).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._graphs import load
from benchmarks.table import Row, row

RECIPES: dict[str, tuple[str, dict[str, Any], dict[str, float]]] = {
    "codex-s-transe": (
        "codex-s",
        {
            "model": "transe", "dim": 256, "learning_rate": 0.1, "batch_size": 512, "sampler": "shared",
            "negatives": 256, "epochs": 40, "evaluate_every": 2,
        },
        {"mrr": 0.354, "hits_at_1": 0.219, "hits_at_10": 0.634, "accuracy": 0.829},
    ),
    "codex-s-complex": (
        "codex-s",
        {
            "model": "complex", "dim": 512, "learning_rate": 0.1, "batch_size": 512, "regularization": 0.02,
            "init": "normal", "init_scale": 0.001, "epochs": 60, "evaluate_every": 3, "patience": 4,
        },
        {"mrr": 0.465, "hits_at_1": 0.372, "hits_at_10": 0.646, "accuracy": 0.836},
    ),
    "codex-m-transe": (
        "codex-m",
        {
            "model": "transe", "dim": 256, "learning_rate": 0.1, "batch_size": 512, "epochs": 30, "evaluate_every": 2,
            "evaluate_triples": 4000, "patience": 3, "precision": "bfloat16",
        },
        {"mrr": 0.303, "hits_at_1": 0.223, "hits_at_10": 0.454, "accuracy": 0.797},
    ),
    "codex-m-complex": (
        "codex-m",
        {
            "model": "complex", "dim": 512, "learning_rate": 0.1, "batch_size": 256, "regularization": 0.03,
            "epochs": 40, "evaluate_every": 2, "evaluate_triples": 4000, "patience": 3, "precision": "bfloat16",
        },
        {"mrr": 0.337, "hits_at_1": 0.262, "hits_at_10": 0.476, "accuracy": 0.824},
    ),
    "fb15k-237-transe": (
        "fb15k-237",
        {
            "model": "transe", "dim": 256, "learning_rate": 0.1, "batch_size": 512, "epochs": 30, "evaluate_every": 2,
            "evaluate_triples": 4000, "patience": 3, "precision": "bfloat16",
        },
        {"mrr": 0.313, "hits_at_1": 0.221, "hits_at_10": 0.497},
    ),
    "fb15k-237-complex": (
        "fb15k-237",
        {
            "model": "complex", "dim": 512, "learning_rate": 0.1, "batch_size": 256, "regularization": 0.03,
            "epochs": 16, "evaluate_every": 2, "evaluate_triples": 4000, "patience": 3, "precision": "bfloat16",
        },
        {"mrr": 0.348, "hits_at_1": 0.253, "hits_at_10": 0.536},
    ),
    "wiki27k-gate": ("wiki27k", {}, {"loss": 0.01, "accuracy": 0.70}),
}  # fmt: skip
"""name: (graph, settings, figures to match). The gate's settings are those of `gz graph milestones`."""
PEERS = {"codex-s": "CoDEx", "codex-m": "CoDEx", "fb15k-237": "LibKGE", "wiki27k": "the gate"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="*", choices=sorted(RECIPES), default=sorted(RECIPES), help="recipes to run")
    parser.add_argument("--folder", type=Path, default=Path("runs/linkpred"), help="where trainings are kept")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings laid over the recipes")


def measure(options: argparse.Namespace) -> list[Row]:
    """Rows of every recipe asked for."""
    return [line for name in options.only for line in _rows(name, options)]


def _rows(name: str, options: argparse.Namespace) -> list[Row]:
    from groundzero.settings import parse_overrides

    graph_name, settings, published = RECIPES[name]
    embedding = _trained(name, graph_name, {**settings, **parse_overrides(options.set)}, options.folder)
    figures = embedding.figures
    budget = (
        f"dim {embedding.config.dim}, {figures['epochs']} epochs (best {figures['best_epoch']}), "
        f"{figures['seconds']:.0f} s, valid MRR {figures['validation_mrr']:.4f}"
    )
    rows = []
    for key, target in published.items():
        loss = key == "loss"
        work, unit = (f"{name} mean hinge", "score") if loss else (f"{name} {key}", "share of 1")
        note = "" if rows else budget
        rows.append(row(work, unit, figures[key], target, PEERS[graph_name], lower_is_better=loss, note=note))
    return rows


def _trained(name: str, graph_name: str, settings: dict[str, Any], folder: Path) -> Any:
    from groundzero.graph.embed import EmbedConfig, Embedding, train_embedding
    from groundzero.graph.milestones import GATE_CONFIG

    target = folder / name
    config = GATE_CONFIG.replace(**settings) if name == "wiki27k-gate" else EmbedConfig.parse(settings)
    if (target / "embedding.json").exists():
        embedding = Embedding.load(target)
        if embedding.config == config.resolved(embedding.n_entities):
            return embedding
    graph = load(graph_name)
    return train_embedding(
        config, graph.splits, target, negatives=graph.negatives, resume=(target / "checkpoints").exists(),
        observer=_observer(name),
    )  # fmt: skip


def _observer(name: str) -> Any:
    """Progress on stderr, a line for each evaluation, with the time left at this pace."""
    from groundzero.graph.embed.trainer import EmbedObserver

    class Progress(EmbedObserver):
        epochs, started, first = 0, time.monotonic(), 0

        def begins(self, epoch: int, epochs: int, steps_per_epoch: int) -> None:
            self.epochs, self.started, self.first = epochs, time.monotonic(), epoch

        def evaluated(self, record: Any) -> None:
            done = record["epoch"] - self.first
            left = (time.monotonic() - self.started) / done * (self.epochs - record["epoch"])
            shown = ", ".join(f"{key} {value:.4g}" for key, value in record.items())
            print(f"{name}: {shown}; at most {left / 60:.0f} min left on {os.cpu_count()} cores", file=sys.stderr)

    return Progress()
