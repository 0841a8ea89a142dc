"""One training loop and what surrounds it: configuration, optimisers, schedules, checkpoints, evaluation, plots.

`RunConfig` and `resolve` load without PyTorch; the rest brings it in when first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from groundzero.train.config import RunConfig, TrainConfig, resolve

if TYPE_CHECKING:
    from groundzero.train.observer import Observer
    from groundzero.train.result import TrainResult
    from groundzero.train.session import train_run
    from groundzero.train.trainer import Trainer

__all__ = ["Observer", "RunConfig", "TrainConfig", "TrainResult", "Trainer", "resolve", "train_run"]

_HOME = {
    "Observer": "groundzero.train.observer",
    "TrainResult": "groundzero.train.result",
    "Trainer": "groundzero.train.trainer",
    "train_run": "groundzero.train.session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


class _Room(ModuleType):
    """A module that can be called: `gz.train(...)` trains.

    Python sets `groundzero.train` to this module as soon as anything imports it, which would hide the function of the
    same name in `groundzero.api`. Both are part of what we promise, so the module passes the call on.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return importlib.import_module("groundzero.api").train(*arguments, **options)


sys.modules[__name__].__class__ = _Room
