"""Everything about the machine in one object."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from typing import Any

from groundzero.hardware.accelerators import Backend, detect_backends
from groundzero.hardware.compiler import Compiler, find_compiler
from groundzero.hardware.cpu import Cpu, Memory, detect_cpu, detect_memory


@dataclass(frozen=True)
class Hardware:
    """A machine, as far as training is concerned."""

    system: str
    """Operating system and release."""
    cpu: Cpu
    memory: Memory
    backends: tuple[Backend, ...]
    """CUDA, ROCm, XPU, MPS: found or not, with the reason."""
    compiler: Compiler
    """What `torch.compile` would use on the CPU."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and the run's manifest."""
        found = dataclasses.asdict(self)
        for plain, backend in zip(found["backends"], self.backends, strict=True):
            plain["found"] = backend.found
        return found

    @property
    def accelerator(self) -> Backend | None:
        """The backend that would be chosen over the CPU."""
        return next((backend for backend in self.backends if backend.found), None)


def detect() -> Hardware:
    """Look at the machine; a second or two, nearly all of it PyTorch's import."""
    return Hardware(
        system=f"{platform.system()} {platform.release()}",
        cpu=detect_cpu(),
        memory=detect_memory(),
        backends=detect_backends(free_memory=True),
        compiler=find_compiler("cpu"),
    )


def summary(hardware: Hardware) -> str:
    """The machine in one line: "AMD EPYC, 2 cores, 23.4 GiB, no GPU"."""
    cores = hardware.cpu.usable_cores
    backend = hardware.accelerator
    gpus = "no GPU"
    if backend is not None:
        usable = [device for device in backend.devices if device.usable]
        gpus = f"{len(usable)} x {usable[0].name} ({usable[0].memory_bytes / 2**30:.0f} GiB, {backend.name})"
    plural = "core" if cores == 1 else "cores"
    return f"{hardware.cpu.name}, {cores} {plural}, {hardware.memory.total / 2**30:.1f} GiB, {gpus}"
