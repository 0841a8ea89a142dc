"""How fast the machine is, measured: matrix products and memory reads, in a second or two."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundzero.hardware.choice import Device, Precision
from groundzero.hardware.cpu import detect_cpu, detect_memory

# Dense 16-bit matrix rates with float32 accumulation, in FLOP/s, from the makers' data sheets. First match wins.
PEAK_FLOPS_16_BIT = (
    ("gb200", 2.5e15),
    ("b200", 2.25e15),
    ("b100", 1.8e15),
    ("h200 nvl", 836e12),
    ("h200", 989e12),
    ("gh200", 989e12),
    ("h100 nvl", 835e12),
    ("h100 pcie", 756e12),
    ("h100", 989e12),
    ("h800", 989e12),
    ("h20", 148e12),
    ("a100", 312e12),
    ("a800", 312e12),
    ("a40", 149.7e12),
    ("a30", 165e12),
    ("a10g", 70e12),
    ("a10", 125e12),
    ("l40s", 362e12),
    ("l40", 181e12),
    ("l4", 121e12),
    ("rtx 6000 ada", 364e12),
    ("rtx a6000", 154.8e12),
    ("rtx 5090", 209.5e12),
    ("rtx 4090", 165.2e12),
    ("rtx 3090", 71e12),
    ("v100", 125e12),
    ("t4", 65e12),
    ("mi355x", 2.5e15),
    ("mi325x", 1307.4e12),
    ("mi300x", 1307.4e12),
    ("mi300a", 980.6e12),
    ("mi250x", 191.5e12),  # one of its two dies, which is what PyTorch sees as a device
)
_REPEATS = 7


@dataclass(frozen=True)
class Measurement:
    """What a device does, as opposed to what it promises. Medians of seven, after a warm-up."""

    device: str
    matrix_size: int
    float32_gflops: float
    bfloat16_gflops: float | None
    """None where the device would emulate it."""
    read_gb_per_s: float


def measure(device: Device | str = "cpu") -> Measurement:
    """Matrix rates in float32 and bfloat16, and read bandwidth of `device`; one to two seconds."""
    name = str(device)
    on_cpu = name == "cpu"
    bfloat16 = not on_cpu or detect_cpu().fast_bfloat16
    size = 1024 if on_cpu else 8192
    return Measurement(
        device=name,
        matrix_size=size,
        float32_gflops=matrix_rate(name, "float32", size) / 1e9,
        bfloat16_gflops=matrix_rate(name, "bfloat16", size) / 1e9 if bfloat16 else None,
        read_gb_per_s=read_bandwidth(name) / 1e9,
    )


def matrix_rate(device: Device | str, precision: Precision | str, size: int = 1024) -> float:
    """FLOP/s of a `size` x `size` matrix product (2 size^3 operations)."""
    import torch  # noqa: PLC0415 - this module is imported by commands that must answer at once

    dtype = getattr(torch, str(precision))
    left_NN = torch.randn(size, size, device=str(device)).to(dtype)
    right_NN = torch.randn(size, size, device=str(device)).to(dtype)
    out_NN = torch.empty(size, size, device=str(device), dtype=dtype)
    seconds = _median_seconds(lambda: torch.mm(left_NN, right_NN, out=out_NN), torch, str(device))
    return float(2 * size**3 / seconds)


def read_bandwidth(device: Device | str, size_bytes: int = 0) -> float:
    """Bytes a second of summing an array too large for any cache (256 MiB; 2 GiB on a GPU; less where memory is
    short)."""
    import torch  # noqa: PLC0415 - as above

    name = str(device)
    if not size_bytes:
        size_bytes = min(256 * 2**20, detect_memory().available // 8) if name == "cpu" else 2 * 2**30
    values = torch.ones(max(1, size_bytes // 4), device=name)
    seconds = _median_seconds(values.sum, torch, name)
    return float(values.numel() * 4 / seconds)


def peak_flops(device: Device | str, precision: Precision | str) -> float:
    """What 100 % utilisation means, in FLOP/s: the data sheet's figure for a known GPU in 16 bits, else measured."""
    name, kind = str(device), str(device).partition(":")[0]
    if kind == "cuda" and str(precision) != "float32":
        import torch  # noqa: PLC0415 - as above

        listed = listed_peak(torch.cuda.get_device_name(name))
        if listed is not None:
            return listed
    return matrix_rate(name, precision, 1024 if kind == "cpu" else 4096)


def listed_peak(gpu: str) -> float | None:
    """The data sheet's dense 16-bit rate of a GPU by its name, in FLOP/s."""
    lowered = gpu.lower()
    if "laptop" in lowered:  # the same name as the card's, half the power
        return None
    return next((flops for name, flops in PEAK_FLOPS_16_BIT if re.search(rf"\b{name}\b", lowered)), None)


def _median_seconds(work: Callable[[], Any], torch: Any, device: str) -> float:
    """The median time of one call, after two to warm caches, threads and kernels."""
    for _ in range(2):
        work()
    _wait(torch, device)
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        _wait(torch, device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait(torch: Any, device: str) -> None:
    kind = device.partition(":")[0]
    if kind != "cpu":
        getattr(torch, kind).synchronize()
