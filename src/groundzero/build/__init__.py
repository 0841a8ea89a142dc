"""The main job: the user's text and facts in, a chat model of their own out, within a time budget."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """A module that can be called, as `groundzero.train` is, and for the same reason: `gz.build(...)` builds, whether
    or not anything has imported this room before."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return importlib.import_module("groundzero.api").build(*arguments, **options)


sys.modules[__name__].__class__ = _Room
