"""The decisions: which device, which precision, compile or not. Each comes with its reason in words."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal, NamedTuple

from groundzero.errors import ConfigError
from groundzero.hardware.accelerators import Backend, detect_backends
from groundzero.hardware.compiler import find_compiler
from groundzero.hardware.cpu import detect_cpu

PrecisionName = Literal["float32", "bfloat16", "float16"]

_DEVICE_ALIASES = {"gpu": "auto-gpu", "rocm": "cuda", "hip": "cuda", "metal": "mps"}
_PRECISION_ALIASES: dict[str, PrecisionName] = {
    "float32": "float32",
    "fp32": "float32",
    "float": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
}
# On a CPU our own kernels leave a compiler nothing to win: the 29 M training step took 0.59 s compiled and 0.57 s plain
# (bfloat16, two cores, fastest of ten), after 40 s of compiling.
_COMPILED_CPU = "on a CPU the model's own kernels are as fast as compiled ones"
# Elsewhere compiling takes up to a minute, and nanoGPT's step of 250 ms became 135 ms on an A100 (its README); taken
# cautiously, it pays once a run is longer than 60 / (1 - 1 / 1.22) = 333 seconds.
COMPILE_SECONDS = 60.0
COMPILE_SPEEDUP = 1.22


@dataclass(frozen=True)
class Device:
    """Where to compute."""

    name: str
    """PyTorch's name: "cpu", "cuda", "cuda:1", "mps", "xpu"."""
    reason: str

    @property
    def kind(self) -> str:
        """The name without an index: "cpu", "cuda", "mps", "xpu"."""
        return self.name.partition(":")[0]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Precision:
    """What to compute in; weights stay in float32."""

    name: PrecisionName
    reason: str

    @property
    def autocast(self) -> bool:
        """Whether products run in fewer bits than the weights."""
        return self.name != "float32"

    @property
    def needs_scaler(self) -> bool:
        """float16 gradients underflow without loss scaling (Micikevicius et al. 2018)."""
        return self.name == "float16"

    def __str__(self) -> str:
        return self.name


class Compilation(NamedTuple):
    """Whether to compile."""

    compile: bool
    reason: str


def choose_device(name: str = "auto") -> Device:
    """The best device there is, or the one asked for.

    Raises:
        ConfigError: there is no such device, with the reason.
    """
    wanted = _DEVICE_ALIASES.get(name.lower(), name.lower())
    if wanted == "cpu":
        return Device("cpu", "as asked")
    backends = detect_backends()
    found = next((backend for backend in backends if backend.found), None)
    if wanted in ("auto", "auto-gpu"):
        if found is not None:
            return Device(found.device, f"{found.name} works: {found.devices[0].name}")
        if wanted == "auto":
            return Device("cpu", "no accelerator that PyTorch can use")
        raise ConfigError("There is no GPU that PyTorch can use.", remedy="`gz hardware` says why; use --device cpu.")
    kind, colon, index = wanted.partition(":")
    if kind not in ("cuda", "xpu", "mps") or (colon and not index.isdigit()):
        raise ConfigError(f"Unknown device {name!r}.", remedy="Use auto, cpu, cuda, cuda:0, mps or xpu.")
    backend = _backend_of(kind, backends)
    if not backend.found:
        raise ConfigError(
            f"Device {name!r} is not available: {backend.reason}.", remedy="Use --device auto, or see `gz hardware`."
        )
    if colon and (int(index) >= len(backend.devices) or not backend.devices[int(index)].usable):
        raise ConfigError(f"There is no usable device {name!r}.", remedy=f"There are {len(backend.devices)}, from 0.")
    return Device(wanted, "as asked")


def choose_precision(device: Device | str, wanted: str = "auto") -> Precision:
    """The fastest precision that trains well on `device`, or the one asked for.

    Raises:
        ConfigError: unknown, or one that the device cannot do.
    """
    kind = str(device).partition(":")[0]
    if wanted.lower() != "auto":
        return _as_asked(kind, wanted)
    if kind == "cpu":
        return _for_cpu()
    if kind == "cuda":
        return _for_cuda(str(device))
    if kind == "mps":
        if _macos() >= (14,):
            return Precision("bfloat16", "macOS 14 and newer compute bfloat16 on Apple GPUs")
        return Precision("float32", "bfloat16 on Apple GPUs needs macOS 14")
    if kind == "xpu":
        return Precision("bfloat16", "Intel GPUs compute bfloat16")
    return Precision("float32", f"nothing is known about {kind}")


def should_compile(
    wanted: str | bool = "auto",
    device: Device | str = "cpu",
    expected_seconds: float = 0.0,
    *,
    compile_seconds: float = COMPILE_SECONDS,
) -> Compilation:
    """Whether to use `torch.compile`, and why.

    Args:
        wanted: "auto", "on" or "off" (or a boolean).
        device: where the model runs.
        expected_seconds: how long the run would take without compiling.
        compile_seconds: how long compiling is expected to take.

    Raises:
        ConfigError: `wanted` is no such word, or "on" where there is no compiler.
    """
    choice = {True: "on", False: "off"}.get(wanted, wanted) if isinstance(wanted, bool) else wanted.lower()
    if choice not in ("auto", "on", "off"):
        raise ConfigError(f"Cannot read compile = {wanted!r}.", remedy="Use auto, on or off.")
    if choice == "off":
        return Compilation(False, "as asked")
    compiler = find_compiler(str(device))
    if not compiler.found:
        if choice == "on":
            raise ConfigError(f"Cannot compile: {compiler.reason}.", remedy="Install it, or use compile = auto.")
        return Compilation(False, compiler.reason)
    if choice == "on":
        return Compilation(True, "as asked")
    if str(device).partition(":")[0] == "cpu":
        return Compilation(False, _COMPILED_CPU)
    worth = compiling_pays_from(compile_seconds)
    if expected_seconds < worth:
        return Compilation(
            False, f"about {expected_seconds:.0f} s of training; compiling pays from about {worth:.0f} s"
        )
    return Compilation(
        True, f"about {expected_seconds:.0f} s of training outlast about {compile_seconds:.0f} s of compiling"
    )


def compiling_pays_from(compile_seconds: float = COMPILE_SECONDS) -> float:
    """How many seconds a run must take uncompiled for what compiling saves to exceed what it costs."""
    return compile_seconds / (1 - 1 / COMPILE_SPEEDUP)


def _as_asked(kind: str, wanted: str) -> Precision:
    name = _PRECISION_ALIASES.get(wanted.lower())
    if name is None:
        raise ConfigError(f"Unknown precision {wanted!r}.", remedy="Use auto, float32, bfloat16 or float16.")
    if kind == "cpu" and name == "float16" and not detect_cpu().fast_float16:
        raise ConfigError(
            "This CPU has no float16 instructions: products would be some 200 times slower than in float32.",
            remedy="Use --set train.precision=auto.",
        )
    if kind == "mps" and name == "bfloat16" and _macos() < (14,):
        raise ConfigError("bfloat16 on Apple GPUs needs macOS 14.", remedy="Use float32.")
    if kind == "cpu" and name == "bfloat16" and not detect_cpu().fast_bfloat16:
        return Precision(name, "as asked, though this CPU emulates it, which is slower than float32")
    return Precision(name, "as asked")


def _for_cpu() -> Precision:
    cpu = detect_cpu()
    if cpu.fast_bfloat16:
        names = ", ".join(name for name, present in cpu.features.items() if present and name.endswith("BF16"))
        return Precision("bfloat16", f"this CPU has {names}")
    return Precision("float32", "this CPU has neither AMX nor AVX512-BF16, and emulated bfloat16 is slower")


def _for_cuda(device: str) -> Precision:
    import torch  # noqa: PLC0415 - the GPU's properties come from it

    index = int(device.partition(":")[2] or 0)
    if torch.version.hip is not None:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bfloat16", "this AMD GPU computes bfloat16")
        return Precision("float16", "this AMD GPU has no bfloat16")
    major, minor = torch.cuda.get_device_capability(index)
    capability = f"compute capability {major}.{minor}"
    if major >= 8:
        return Precision("bfloat16", f"{capability} has bfloat16 tensor cores")
    if major == 7:
        return Precision("float16", f"{capability} has float16 tensor cores but no bfloat16; with loss scaling")
    return Precision("float32", f"{capability} has no tensor cores")


def _backend_of(kind: str, backends: tuple[Backend, ...]) -> Backend:
    """The backend behind PyTorch's device name; of CUDA and ROCm, the one that is there."""
    candidates = [backend for backend in backends if backend.device == kind]
    return next((backend for backend in candidates if backend.found), candidates[0])


def _macos() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.mac_ver()[0].split(".") if part.isdigit())
