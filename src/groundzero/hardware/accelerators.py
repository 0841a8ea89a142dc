"""The accelerators that PyTorch can drive: CUDA, ROCm, MPS, XPU; those found, and why the others were not."""

from __future__ import annotations

import platform
import shutil
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Accelerator:
    """One accelerator."""

    name: str
    memory_bytes: int
    free_bytes: int | None = None
    """None where it was not asked for, or the driver does not tell."""
    compute_capability: str = ""
    """NVIDIA's "9.0", AMD's "gfx942"; empty elsewhere."""
    usable: bool = True
    """Whether this PyTorch has kernels for it."""


@dataclass(frozen=True)
class Backend:
    """A way to reach accelerators."""

    name: str
    """"CUDA", "ROCm", "MPS" or "XPU"."""
    device: str
    """How PyTorch names its devices; ROCm's are "cuda" too."""
    devices: tuple[Accelerator, ...]
    reason: str
    """What was found, or why nothing was."""

    @property
    def found(self) -> bool:
        """Whether PyTorch can compute on it."""
        return any(device.usable for device in self.devices)


def detect_backends(*, free_memory: bool = False) -> tuple[Backend, ...]:
    """All four backends, the usable ones and the others, in the order in which they would be chosen.

    Args:
        free_memory: also ask each GPU how much memory is free. That opens a context on every one of them (hundreds of
            MB each), so whoever only chooses a device leaves it.
    """
    import torch  # noqa: PLC0415 - seconds; only when accelerators are asked for

    return (_cuda(torch, free_memory), _rocm(torch, free_memory), _xpu(torch), _mps(torch))


def _cuda(torch: ModuleType, free_memory: bool) -> Backend:
    if torch.version.cuda is None:
        return Backend("CUDA", "cuda", (), f"this PyTorch ({torch.__version__}) was built without CUDA")
    available, complaint = _available(torch.cuda)
    if not available:
        driver = "a driver is installed, but " if shutil.which("nvidia-smi") else "no NVIDIA GPU or no driver: "
        return Backend("CUDA", "cuda", (), driver + (complaint or "PyTorch sees no usable GPU"))
    architectures = _minimum_capability(torch)
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = (properties.major, properties.minor)
        usable = capability >= architectures
        free = torch.cuda.mem_get_info(index)[0] if free_memory and usable else None
        label = f"{capability[0]}.{capability[1]}"
        devices.append(Accelerator(properties.name, properties.total_memory, free, label, usable))
    unusable = [device for device in devices if not device.usable]
    reason = f"CUDA {torch.version.cuda}"
    if unusable:
        needed = ".".join(str(part) for part in architectures)
        reason += f"; {unusable[0].name} is too old for this PyTorch, which needs compute capability {needed}"
    return Backend("CUDA", "cuda", tuple(devices), reason)


def _rocm(torch: ModuleType, free_memory: bool) -> Backend:
    if torch.version.hip is None:
        return Backend("ROCm", "cuda", (), f"this PyTorch ({torch.__version__}) was built without ROCm")
    available, complaint = _available(torch.cuda)
    if not available:
        return Backend("ROCm", "cuda", (), complaint or "PyTorch sees no AMD GPU")
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free = torch.cuda.mem_get_info(index)[0] if free_memory else None
        architecture = str(getattr(properties, "gcnArchName", "")).partition(":")[0]
        devices.append(Accelerator(properties.name, properties.total_memory, free, architecture))
    return Backend("ROCm", "cuda", tuple(devices), f"ROCm {torch.version.hip}")


def _xpu(torch: ModuleType) -> Backend:
    xpu = getattr(torch, "xpu", None)
    available, complaint = _available(xpu) if xpu is not None else (False, "")
    if not available or xpu is None:
        return Backend("XPU", "xpu", (), complaint or "no Intel GPU, or this PyTorch was built without XPU")
    devices = []
    for index in range(xpu.device_count()):
        properties = xpu.get_device_properties(index)
        devices.append(Accelerator(properties.name, properties.total_memory))
    return Backend("XPU", "xpu", tuple(devices), "Intel XPU")


def _mps(torch: ModuleType) -> Backend:
    if not torch.backends.mps.is_built():
        return Backend("MPS", "mps", (), "this PyTorch was built without MPS (it is for Macs with Apple silicon)")
    if not torch.backends.mps.is_available():
        return Backend("MPS", "mps", (), "macOS 14 or newer on Apple silicon is needed")
    limit = int(torch.mps.recommended_max_memory())
    free = max(0, limit - int(torch.mps.driver_allocated_memory()))
    return Backend("MPS", "mps", (Accelerator("Apple GPU", limit, free),), f"macOS {platform.mac_ver()[0]}")


def _available(module: Any) -> tuple[bool, str]:
    """Whether the backend works, and what PyTorch complained about: it warns rather than raises for an old driver."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = bool(module.is_available())
    return available, str(caught[0].message).splitlines()[0] if caught else ""


def _minimum_capability(torch: ModuleType) -> tuple[int, int]:
    """The lowest compute capability that this PyTorch has kernels for."""
    known = [name.removeprefix("sm_").rstrip("af") for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    return min(((int(name[:-1]), int(name[-1])) for name in known if name.isdigit()), default=(0, 0))
