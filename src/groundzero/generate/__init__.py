"""Text out of a trained model: sampling, one batched engine, streaming, caches.

`SamplingConfig` loads without PyTorch; the rest brings it in when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundzero.generate.config import SamplingConfig

if TYPE_CHECKING:
    from groundzero.generate.engine import Engine
    from groundzero.generate.load import load_engine
    from groundzero.generate.request import Completion, Event, Handle, Processor, Request, TokenLogprob
    from groundzero.generate.side_inputs import SideInput

__all__ = [
    "Completion",
    "Engine",
    "Event",
    "Handle",
    "Processor",
    "Request",
    "SamplingConfig",
    "SideInput",
    "TokenLogprob",
    "load_engine",
]

_HOMES = {"Engine": "engine", "load_engine": "load", "SideInput": "side_inputs"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'request')}"), name)
