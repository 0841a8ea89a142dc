"""Text on disk to batches in memory: sources -> documents -> token shards -> windows.

    sources.py, readers.py     files, folders, standard input -> pieces of documents
    split.py                   which side of train/validation a document falls on
    preparation.py, shards.py  pieces -> tokenizer -> shards, published in one rename
    manifest.py, dataset.py    what lies on disk, and reading it back through memory maps
    order.py, windows.py       the batch of a step, as a pure function of the step; loader.py: as tensors, made ahead
    registry.py, download.py   named datasets; one file over https
    doctor.py, findings.py     what is wrong with a corpus (textcheck.py, similarity.py: how it is found)

Only the loader needs PyTorch; it is brought in when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundzero.data.config import DataConfig

if TYPE_CHECKING:
    from groundzero.data.dataset import TokenDataset, TokenStream
    from groundzero.data.loader import Batch, BatchLoader, Loader
    from groundzero.data.preparation import prepare, prepare_cached
    from groundzero.data.sources import read_texts
    from groundzero.data.windows import WindowLoader, Windows

__all__ = [
    "Batch",
    "BatchLoader",
    "DataConfig",
    "Loader",
    "TokenDataset",
    "TokenStream",
    "WindowLoader",
    "Windows",
    "prepare",
    "prepare_cached",
    "read_texts",
]

_HOME = {
    "Batch": "groundzero.data.loader",
    "BatchLoader": "groundzero.data.loader",
    "Loader": "groundzero.data.loader",
    "TokenDataset": "groundzero.data.dataset",
    "TokenStream": "groundzero.data.dataset",
    "WindowLoader": "groundzero.data.windows",
    "Windows": "groundzero.data.windows",
    "prepare": "groundzero.data.preparation",
    "prepare_cached": "groundzero.data.preparation",
    "read_texts": "groundzero.data.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
