"""The processor and its memory, from what the operating system says: no PyTorch, no extra package.

Linux is read from /proc (and the container's limits from /sys/fs/cgroup), macOS from `sysctl`, Windows from its API.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROC_CPUINFO = Path("/proc/cpuinfo")
PROC_MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")

# What we call a feature -> what Linux calls it in /proc/cpuinfo, macOS in sysctl, and PyTorch in get_capabilities().
_X86 = {
    "AVX2": ("avx2", "hw.optional.avx2_0", "avx2"),
    "AVX-512": ("avx512f", "hw.optional.avx512f", "avx512_f"),
    "AVX512-BF16": ("avx512_bf16", "", "avx512_bf16"),
    "AVX512-FP16": ("avx512_fp16", "", "avx512_fp16"),
    "AMX-BF16": ("amx_bf16", "", "amx_bf16"),
    "AMX-FP16": ("amx_fp16", "", "amx_fp16"),
}
# Macs have ARM-BF16 as well, but nobody here has seen PyTorch use it there, so it does not count.
_ARM = {
    "NEON": ("asimd", "hw.optional.AdvSIMD", ""),
    "SVE": ("sve", "", ""),
    "ARM-BF16": ("bf16", "", ""),
    "ARM-FP16": ("asimdhp", "hw.optional.arm.FEAT_FP16", ""),
}


@dataclass(frozen=True)
class Cpu:
    """A processor."""

    name: str
    architecture: str
    """"x86_64", "arm64", ..."""
    physical_cores: int
    logical_cores: int
    usable_cores: int
    """Logical cores that this process may use: affinity and the container's quota taken into account."""
    features: dict[str, bool] = field(default_factory=dict)
    """The vector and matrix instructions that matter here: present or not."""

    @property
    def fast_bfloat16(self) -> bool:
        """Whether bfloat16 products run on instructions made for them; where they are emulated, bfloat16 is slower.

        On an AVX512-BF16 machine without AMX a 1024 x 1024 product is 4.4 times as fast as in float32, and a training
        step of the presets nano, micro and tiny 3.0 to 3.1 times (one thread, minimum of nine).
        """
        return any(self.features.get(name, False) for name in ("AMX-BF16", "AVX512-BF16", "ARM-BF16"))

    @property
    def fast_float16(self) -> bool:
        """Whether float16 products run on instructions made for them; elsewhere they are 200 times slower than float32
        (measured)."""
        return any(self.features.get(name, False) for name in ("AMX-FP16", "AVX512-FP16"))


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes, as far as this process may use it."""

    total: int
    available: int


def detect_cpu() -> Cpu:
    """Name, cores and instruction sets of this machine's processor."""
    logical = os.cpu_count() or 1
    architecture = platform.machine().lower() or "unknown"
    table = _ARM if architecture.startswith(("arm", "aarch")) else _X86
    if sys.platform == "darwin":
        name, physical = _sysctl("machdep.cpu.brand_string"), int(_sysctl("hw.physicalcpu") or logical)
        features = {ours: bool(key) and _sysctl(key) == "1" for ours, (_, key, _) in table.items()}
    elif PROC_CPUINFO.exists():
        text = PROC_CPUINFO.read_text(encoding="utf-8", errors="replace")
        name, physical = _linux_name(text), _linux_physical_cores(text) or logical
        flags = set(_field(text, "flags").split()) | set(_field(text, "Features").split())
        features = {ours: flag in flags for ours, (flag, _, _) in table.items()}
    else:
        name, physical, features = platform.processor(), logical, _features_by_torch(table)
    return Cpu(
        name=name.strip() or platform.processor() or architecture,
        architecture=architecture,
        physical_cores=physical,
        logical_cores=logical,
        usable_cores=_usable_cores(logical),
        features=features,
    )


def detect_memory() -> Memory:
    """Main memory: the machine's, or the container's limit where that is lower."""
    if sys.platform == "darwin":
        total = int(_sysctl("hw.memsize") or 0)
        return Memory(total, _mac_available(_run(["vm_stat"])) or total)
    if sys.platform == "win32":
        return _windows_memory()
    total, available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 0
    if PROC_MEMINFO.exists():
        line = _field(PROC_MEMINFO.read_text(encoding="utf-8"), "MemAvailable")
        available = int(line.split()[0]) * 1024 if line else 0
    limit, used = _cgroup_number("memory.max"), _cgroup_number("memory.current")
    if limit is not None and limit < total:
        total, available = limit, min(available or limit, limit - (used or 0))
    return Memory(total, available or total)


def _linux_name(text: str) -> str:
    return _field(text, "model name") or _field(text, "Model") or _field(text, "Hardware")


def _linux_physical_cores(text: str) -> int:
    """Distinct (package, core) pairs; 0 where the kernel does not tell (most ARM machines)."""
    cores = set()
    for block in text.split("\n\n"):
        package, core = _field(block, "physical id"), _field(block, "core id")
        if core:
            cores.add((package, core))
    return len(cores)


def _field(text: str, name: str) -> str:
    """The value of the first `name : value` line."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _features_by_torch(table: dict[str, tuple[str, str, str]]) -> dict[str, bool]:
    """Where the system has no list of features (Windows), PyTorch's own detection."""
    import torch  # noqa: PLC0415 - seconds, and only needed here

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {ours: bool(capabilities.get(key, ours == "NEON")) for ours, (_, _, key) in table.items()}


def _usable_cores(logical: int) -> int:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    quota = _cgroup_text("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        affinity = min(affinity, -(-int(quota[0]) // int(quota[1])))
    return max(1, affinity)


def _cgroup_number(name: str) -> int | None:
    text = _cgroup_text(name)
    return int(text) if text.isdigit() else None


def _cgroup_text(name: str) -> str:
    path = CGROUP / name
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _mac_available(vm_stat: str) -> int:
    """Free, inactive and speculative pages, in bytes."""
    page = 16384 if "page size of 16384" in vm_stat else 4096
    names = ("Pages free", "Pages inactive", "Pages speculative")
    return page * sum(int(_field(vm_stat, name).rstrip(".") or 0) for name in names)


def _windows_memory() -> Memory:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "c", "d", "e", "f", "g")),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    windll: Any = ctypes.windll  # type: ignore[attr-defined,unused-ignore]  # only there on Windows
    windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return Memory(int(status.total), int(status.available))


def _sysctl(key: str) -> str:
    return _run(["sysctl", "-n", key])


def _run(command: list[str]) -> str:
    """What a system tool prints; nothing where it is missing, fails or hangs."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [program, *command[1:]], capture_output=True, text=True, encoding="utf-8", timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
