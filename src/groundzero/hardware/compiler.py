"""Whether `torch.compile` can work here: it writes C++ for CPUs and Triton for GPUs, and needs their compilers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Compiler:
    """The compiler that `torch.compile` would use."""

    path: str
    """Empty where there is none."""
    reason: str
    """What was found, or what is missing and how to get it."""

    @property
    def found(self) -> bool:
        """Whether compiling can work."""
        return bool(self.path)


def find_compiler(device: str = "cpu") -> Compiler:
    """The compiler for `device` ("cpu", "cuda", "xpu", "mps")."""
    kind = device.partition(":")[0]
    if kind == "mps":
        return Compiler("", "PyTorch's compiler for Apple GPUs is experimental")
    if kind in ("cuda", "xpu") and importlib.util.find_spec("triton") is None:
        return Compiler("", "Triton is not installed; PyTorch's GPU packages for Linux bring it")
    names = [os.environ["CXX"]] if os.environ.get("CXX") else _usual_names()
    path = next((found for name in names if (found := shutil.which(name))), "")
    if not path:
        return Compiler("", f"no C++ compiler ({' or '.join(names)}); {_how_to_get_one()}")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        return Compiler("", f"Python's headers are missing ({header}); install python3-dev or python3-devel")
    return Compiler(path, f"C++ compiler {path}")


def _usual_names() -> list[str]:
    if sys.platform == "win32":
        return ["cl"]
    return ["clang++", "g++"] if sys.platform == "darwin" else ["g++", "clang++"]


def _how_to_get_one() -> str:
    if sys.platform == "win32":
        return "install the Visual Studio Build Tools and start from their prompt"
    return "run `xcode-select --install`" if sys.platform == "darwin" else "install g++ (the package build-essential)"
