"""Text out of a trained model: sampling, one batched engine, streaming, caches.

`SamplingConfig` loads without PyTorch; the rest brings it in when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundzero.generate.config import SamplingConfig

if TYPE_CHECKING:
    from groundzero.generate.engine import Engine
    from groundzero.generate.evidence import CopiedSpan, Evidence, Surface, surfaces_of
    from groundzero.generate.load import load_engine
    from groundzero.generate.meter import measure_channels
    from groundzero.generate.request import Completion, Event, Handle, Processor, Request, TokenLogprob
    from groundzero.generate.side_inputs import SideInput

__all__ = [
    "Completion",
    "CopiedSpan",
    "Engine",
    "Event",
    "Evidence",
    "Handle",
    "Processor",
    "Request",
    "SamplingConfig",
    "SideInput",
    "Surface",
    "TokenLogprob",
    "load_engine",
    "measure_channels",
    "surfaces_of",
]

_HOMES = {
    "CopiedSpan": "evidence",
    "Engine": "engine",
    "Evidence": "evidence",
    "SideInput": "side_inputs",
    "Surface": "evidence",
    "load_engine": "load",
    "measure_channels": "meter",
    "surfaces_of": "evidence",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'request')}"), name)
