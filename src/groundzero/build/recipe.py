"""The recipes that a build lays under what is set, and that `gz finetune ground` shares. Loads without PyTorch."""

from __future__ import annotations

from typing import Any

PRETRAINING: dict[str, Any] = {"sample_tokens": 40}
"""Over the rates and batches of the size."""
TUNING: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 3e-3,
    "muon_learning_rate": 0.02,
    "warmup_steps": 20,
    "schedule": "wsd",
    "sample_tokens": 30,
}
"""Of learning to answer from facts; a batch is so many lessons."""
EMBEDDING: dict[str, Any] = {"dim": 128, "patience": 3}
"""Vectors that a few passes place."""
VERBALISED: dict[str, Any] = {"kinds": ("sentence", "question", "inverse", "description")}
"""No gaps to fill: nobody writes so."""
