"""What the machine has, and every decision that follows from it: device, precision, compilation.

`detect` looks, `measure` times, `choose_*` decides and says why. The model and the trainer know no device; they ask
here. PyTorch is imported only inside the functions that need it.
"""

from groundzero.hardware.accelerators import Accelerator, Backend
from groundzero.hardware.allocator import keep_freed_memory
from groundzero.hardware.choice import (
    Compilation,
    Device,
    Precision,
    PrecisionName,
    choose_device,
    choose_precision,
    compiling_pays_from,
    should_compile,
)
from groundzero.hardware.compiler import Compiler, find_compiler
from groundzero.hardware.cpu import Cpu, Memory, detect_cpu, detect_memory
from groundzero.hardware.detection import Hardware, detect, summary
from groundzero.hardware.measurement import Measurement, matrix_rate, measure, peak_flops, read_bandwidth
from groundzero.hardware.usage import peak_memory_bytes

__all__ = [
    "Accelerator",
    "Backend",
    "Compilation",
    "Compiler",
    "Cpu",
    "Device",
    "Hardware",
    "Measurement",
    "Memory",
    "Precision",
    "PrecisionName",
    "choose_device",
    "choose_precision",
    "compiling_pays_from",
    "detect",
    "detect_cpu",
    "detect_memory",
    "find_compiler",
    "keep_freed_memory",
    "matrix_rate",
    "measure",
    "peak_flops",
    "peak_memory_bytes",
    "read_bandwidth",
    "should_compile",
    "summary",
]
