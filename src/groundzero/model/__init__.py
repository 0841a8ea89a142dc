"""The network: its configuration, layers, attention, blocks and the GPT itself.

`GPTConfig` and the presets load without PyTorch; `GPT` brings it in when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundzero.model.config import GPTConfig

if TYPE_CHECKING:
    from groundzero.model.gpt import GPT

__all__ = ["GPT", "GPTConfig"]


def __getattr__(name: str) -> Any:
    if name == "GPT":
        from groundzero.model.gpt import GPT  # noqa: PLC0415  PyTorch takes a second to import

        return GPT
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
