"""groundzero: your own GPT, trained from your text, grounded in your facts, on the machine you have.

The public names are loaded when first used, so that `import groundzero.reference` never pulls in PyTorch and
`gz --help` answers at once.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "train": "groundzero.api",
    "build": "groundzero.api",
    "ask": "groundzero.api",
    "verify": "groundzero.api",
    "create_model": "groundzero.api",
    "Run": "groundzero.api",
    "GPT": "groundzero.model",
    "GPTConfig": "groundzero.model",
    "Tokenizer": "groundzero.tokenizer",
    "TokenDataset": "groundzero.data",
    "Trainer": "groundzero.train",
    "Engine": "groundzero.generate",
    "Graph": "groundzero.graph.graph",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - keys of a dict of strings  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'groundzero' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
