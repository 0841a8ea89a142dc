"""How much memory this process has taken so far, at its peak."""

from __future__ import annotations

import ctypes
import sys
from typing import Any


def peak_memory_bytes(device: object = "cpu") -> int:
    """The most memory used so far: on a GPU what PyTorch allocated there, on a CPU the process's resident set.

    Args:
        device: a device's name, a `Device`, or a `torch.device`.
    """
    kind = str(device).partition(":")[0]
    if kind == "cpu":
        return _windows_peak() if sys.platform == "win32" else _resident_peak()
    import torch  # noqa: PLC0415 - already there when a model is on a GPU

    if kind == "mps":  # keeps no peak
        return int(torch.mps.driver_allocated_memory())
    return int(getattr(torch, kind).max_memory_allocated(str(device)))


def _resident_peak() -> int:
    import resource  # noqa: PLC0415 - not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def _windows_peak() -> int:
    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS of the Windows API."""

        _fields_ = (
            ("size", ctypes.c_ulong),
            ("page_faults", ctypes.c_ulong),
            ("peak", ctypes.c_size_t),
            *((f"other_{index}", ctypes.c_size_t) for index in range(7)),
        )

    counters = Counters()
    counters.size = ctypes.sizeof(Counters)
    windll: Any = ctypes.windll  # type: ignore[attr-defined,unused-ignore]  # only there on Windows
    process = windll.kernel32.GetCurrentProcess
    process.restype = ctypes.c_void_p
    windll.psapi.GetProcessMemoryInfo(ctypes.c_void_p(process()), ctypes.byref(counters), counters.size)
    return int(counters.peak)
