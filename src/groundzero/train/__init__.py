"""One training loop and what surrounds it: configuration, optimisers, schedules, checkpoints, evaluation, plots.

`RunConfig` and `resolve` load without PyTorch; the rest brings it in when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundzero.train.config import RunConfig, TrainConfig, resolve

if TYPE_CHECKING:
    from groundzero.train.observer import Observer
    from groundzero.train.session import TrainResult, train_run
    from groundzero.train.trainer import Trainer

__all__ = ["Observer", "RunConfig", "TrainConfig", "TrainResult", "Trainer", "resolve", "train_run"]

_HOME = {
    "Observer": "groundzero.train.observer",
    "TrainResult": "groundzero.train.session",
    "Trainer": "groundzero.train.trainer",
    "train_run": "groundzero.train.session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
