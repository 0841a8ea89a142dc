"""The network: its configuration, layers, attention, blocks and the GPT itself.

`GPTConfig`, `KnowledgeConfig` and the presets load without PyTorch; the rest brings it in when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundzero.model.config import GPTConfig
from groundzero.model.knowledge_config import KnowledgeConfig

if TYPE_CHECKING:
    from groundzero.model.gpt import GPT
    from groundzero.model.knowledge import KnowledgeGPT, attach_knowledge

__all__ = ["GPT", "GPTConfig", "KnowledgeConfig", "KnowledgeGPT", "attach_knowledge"]

_HOMES = {"GPT": "gpt", "KnowledgeGPT": "knowledge", "attach_knowledge": "knowledge"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
