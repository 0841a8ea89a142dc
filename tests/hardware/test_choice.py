"""Each decision on each kind of machine, with its reason. PyTorch's answers are replaced, so any machine will do."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from groundzero import hardware
from groundzero.errors import ConfigError
from groundzero.hardware import accelerators, choice, compiler, cpu, measurement

GIB = 2**30


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A PyTorch that was built for CPUs."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    return monkeypatch


def give_cuda(
    patch: pytest.MonkeyPatch, *gpus: tuple[str, int, int], kernels: tuple[str, ...] = ("sm_75", "sm_90")
) -> None:
    """NVIDIA GPUs: name and compute capability."""
    patch.setattr(torch.version, "cuda", "13.0")
    patch.setattr(torch.version, "hip", None)
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    patch.setattr(torch.cuda, "get_arch_list", lambda: list(kernels))
    patch.setattr(torch.cuda, "mem_get_info", lambda index: (60 * GIB, 80 * GIB))
    patch.setattr(torch.cuda, "get_device_capability", lambda index=0: gpus[index][1:])
    patch.setattr(torch.cuda, "get_device_name", lambda device: gpus[int(str(device).partition(":")[2] or 0)][0])

    def properties(index: int) -> Any:
        name, major, minor = gpus[index]
        return SimpleNamespace(name=name, major=major, minor=minor, total_memory=80 * GIB)

    patch.setattr(torch.cuda, "get_device_properties", properties)


def give_rocm(patch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
    patch.setattr(torch.version, "cuda", None)
    patch.setattr(torch.version, "hip", "7.0")
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(torch.cuda, "mem_get_info", lambda index: (100 * GIB, 192 * GIB))
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
    gpu = SimpleNamespace(name="AMD Instinct MI300X", gcnArchName="gfx942:sramecc+", total_memory=192 * GIB)
    patch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)


def give_cpu(patch: pytest.MonkeyPatch, **features: bool) -> None:
    named = {name.replace("_", "-"): present for name, present in features.items()}
    patch.setattr(choice, "detect_cpu", lambda: cpu.Cpu("A CPU", "x86_64", 2, 4, 4, named))


def test_without_accelerators_the_cpu_is_chosen_and_every_absence_explained(no_accelerator: pytest.MonkeyPatch) -> None:
    device = hardware.choose_device("auto")
    assert (device.name, device.kind, str(device)) == ("cpu", "cpu", "cpu")
    reasons = {backend.name: backend.reason for backend in accelerators.detect_backends()}
    assert set(reasons) == {"CUDA", "ROCm", "XPU", "MPS"}
    assert "built without CUDA" in reasons["CUDA"]
    assert "built without ROCm" in reasons["ROCm"]
    assert "no Intel GPU" in reasons["XPU"]
    assert "Apple silicon" in reasons["MPS"]


@pytest.mark.parametrize(
    ("name", "reason"), [("cuda", "without CUDA"), ("rocm", "without CUDA"), ("xpu", "no Intel GPU")]
)
def test_an_absent_device_is_refused_with_the_reason(
    no_accelerator: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        hardware.choose_device(name)
    assert repr(name) in caught.value.message


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "cuda:-1"])
def test_an_unknown_device_is_refused(no_accelerator: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(ConfigError, match="Unknown device"):
        hardware.choose_device(name)


def test_gpu_means_any_accelerator(no_accelerator: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        hardware.choose_device("gpu")
    give_cuda(no_accelerator, ("NVIDIA H100", 9, 0))
    assert hardware.choose_device("gpu").name == "cuda"


@pytest.mark.parametrize(
    ("capability", "precision", "scaler"),
    [((9, 0), "bfloat16", False), ((8, 6), "bfloat16", False), ((7, 5), "float16", True), ((6, 1), "float32", False)],
)
def test_cuda_precision_follows_the_compute_capability(
    no_accelerator: pytest.MonkeyPatch, capability: tuple[int, int], precision: str, scaler: bool
) -> None:
    give_cuda(no_accelerator, ("NVIDIA something", *capability), kernels=("sm_60", "sm_90"))
    device = hardware.choose_device("auto")
    assert device.name == "cuda"
    chosen = hardware.choose_precision(device)
    assert (chosen.name, chosen.needs_scaler, chosen.autocast) == (precision, scaler, precision != "float32")
    assert f"{capability[0]}.{capability[1]}" in chosen.reason


def test_a_gpu_too_old_for_this_pytorch_is_found_but_not_chosen(no_accelerator: pytest.MonkeyPatch) -> None:
    give_cuda(no_accelerator, ("Tesla P100", 6, 0))
    backend = accelerators.detect_backends()[0]
    assert not backend.found
    assert "Tesla P100 is too old for this PyTorch, which needs compute capability 7.5" in backend.reason
    assert hardware.choose_device().name == "cpu"


def test_a_second_gpu_can_be_asked_for_and_a_third_cannot(no_accelerator: pytest.MonkeyPatch) -> None:
    give_cuda(no_accelerator, ("NVIDIA A100", 8, 0), ("NVIDIA T4", 7, 5))
    assert hardware.choose_device("cuda:1").name == "cuda:1"
    assert hardware.choose_precision("cuda:1").name == "float16"
    with pytest.raises(ConfigError, match="no usable device 'cuda:2'"):
        hardware.choose_device("cuda:2")


def test_a_driver_complaint_is_passed_on(no_accelerator: pytest.MonkeyPatch) -> None:
    def complain() -> bool:
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old", stacklevel=1)
        return False

    no_accelerator.setattr(torch.version, "cuda", "13.0")
    no_accelerator.setattr(torch.cuda, "is_available", complain)
    no_accelerator.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert accelerators.detect_backends()[0].reason == (
        "a driver is installed, but The NVIDIA driver on your system is too old"
    )
    no_accelerator.setattr(shutil, "which", lambda name: None)
    assert accelerators.detect_backends()[0].reason.startswith("no NVIDIA GPU or no driver")


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bfloat16"), (False, "float16")])
def test_rocm_is_reached_as_cuda(no_accelerator: pytest.MonkeyPatch, bfloat16: bool, precision: str) -> None:
    give_rocm(no_accelerator, bfloat16=bfloat16)
    device = hardware.choose_device("rocm")
    assert device.name == "cuda"
    assert hardware.choose_precision(device).name == precision
    rocm = accelerators.detect_backends()[1]
    assert rocm.devices[0].compute_capability == "gfx942"
    assert "ROCm works: AMD Instinct MI300X" in hardware.choose_device("auto").reason


@pytest.mark.parametrize(("macos", "precision"), [("13.6.1", "float32"), ("14.0", "bfloat16"), ("26.1", "bfloat16")])
def test_mps_precision_follows_the_release_of_macos(
    no_accelerator: pytest.MonkeyPatch, macos: str, precision: str
) -> None:
    no_accelerator.setattr(torch.backends.mps, "is_built", lambda: True)
    no_accelerator.setattr(torch.backends.mps, "is_available", lambda: True)
    no_accelerator.setattr(torch.mps, "recommended_max_memory", lambda: 12 * GIB)
    no_accelerator.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * GIB)
    no_accelerator.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), ""))
    device = hardware.choose_device("metal")
    assert device.name == "mps"
    assert hardware.choose_precision(device).name == precision
    assert accelerators.detect_backends()[3].devices[0].free_bytes == 10 * GIB
    assert hardware.peak_memory_bytes("mps") == 2 * GIB
    if precision == "float32":
        with pytest.raises(ConfigError, match="needs macOS 14"):
            hardware.choose_precision(device, "bf16")


def test_an_old_macos_is_named_as_the_reason(no_accelerator: pytest.MonkeyPatch) -> None:
    no_accelerator.setattr(torch.backends.mps, "is_built", lambda: True)
    no_accelerator.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="macOS 14 or newer"):
        hardware.choose_device("mps")


def test_xpu_computes_bfloat16(no_accelerator: pytest.MonkeyPatch) -> None:
    no_accelerator.setattr(torch.xpu, "is_available", lambda: True)
    no_accelerator.setattr(torch.xpu, "device_count", lambda: 1)
    gpu = SimpleNamespace(name="Intel Arc B580", total_memory=12 * GIB)
    no_accelerator.setattr(torch.xpu, "get_device_properties", lambda index: gpu)
    device = hardware.choose_device()
    assert device.name == "xpu"
    assert hardware.choose_precision(device).name == "bfloat16"


@pytest.mark.parametrize("feature", ["AMX_BF16", "AVX512_BF16", "ARM_BF16"])
def test_a_cpu_with_bfloat16_instructions_uses_them(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    give_cpu(monkeypatch, **{feature: True})
    chosen = hardware.choose_precision("cpu")
    assert chosen.name == "bfloat16"
    assert feature.replace("_", "-") in chosen.reason


def test_a_cpu_without_them_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    give_cpu(monkeypatch, AVX2=True, AVX_512=True, AMX_BF16=False, AVX512_BF16=False)
    assert hardware.choose_precision("cpu").name == "float32"
    assert hardware.choose_precision("cpu", "bf16").reason.startswith("as asked, though")
    with pytest.raises(ConfigError, match="no float16 instructions"):
        hardware.choose_precision("cpu", "fp16")
    with pytest.raises(ConfigError, match="Unknown precision 'int4'"):
        hardware.choose_precision("cpu", "int4")
    assert hardware.choose_precision("vulkan").name == "float32"


def test_compiling_waits_for_a_run_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_compiler", lambda device: compiler.Compiler("/usr/bin/g++", "C++ compiler"))
    worth = hardware.compiling_pays_from()
    assert not hardware.should_compile("auto", "cuda", worth * 0.99).compile
    assert hardware.should_compile("auto", "cuda", worth * 1.01).compile
    assert hardware.should_compile("auto", "cuda", 100, compile_seconds=5).compile
    assert not hardware.should_compile("auto", "cpu", 1e9).compile  # measured: nothing to win there
    assert hardware.should_compile("on", "cpu") == (True, "as asked")
    assert hardware.should_compile(True, "cpu").compile
    assert hardware.should_compile("off", "cpu", 1e9) == (False, "as asked")
    assert not hardware.should_compile(False, "cpu", 1e9).compile
    with pytest.raises(ConfigError, match="compile = 'maybe'"):
        hardware.should_compile("maybe")


def test_without_a_compiler_auto_says_why_and_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    chosen = hardware.should_compile("auto", "cpu", 1e9)
    assert not chosen.compile
    assert "no C++ compiler" in chosen.reason
    with pytest.raises(ConfigError, match=r"Cannot compile: no C\+\+ compiler"):
        hardware.should_compile("on", "cpu")


def test_the_compiler_is_the_one_of_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "Python.h").write_text("", encoding="utf-8")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    for system, name in (("linux", "g++"), ("darwin", "clang++"), ("win32", "cl")):
        monkeypatch.setattr(sys, "platform", system)
        assert compiler.find_compiler("cpu").path == f"/bin/{name}"
        monkeypatch.setattr(shutil, "which", lambda name: None)
        assert not compiler.find_compiler("cpu").found
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setenv("CXX", "icpx")
    assert compiler.find_compiler("cpu").path == "/bin/icpx"
    assert not compiler.find_compiler("mps").found
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "Triton" in compiler.find_compiler("cuda:0").reason
    (tmp_path / "Python.h").unlink()
    assert "Python's headers are missing" in compiler.find_compiler("cpu").reason


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("AMD Instinct MI300X", 1307.4),
    ],
)
def test_data_sheet_rates_are_found_by_the_name_pytorch_gives(name: str, tera: float) -> None:
    assert measurement.listed_peak(name) == tera * 1e12


@pytest.mark.parametrize("name", ["NVIDIA RTX A4000", "NVIDIA T400", "NVIDIA GeForce RTX 4090 Laptop GPU", "Some GPU"])
def test_unknown_gpus_have_no_data_sheet_rate(name: str) -> None:
    assert measurement.listed_peak(name) is None


def test_peak_is_the_data_sheets_for_known_gpus_and_measured_otherwise(no_accelerator: pytest.MonkeyPatch) -> None:
    give_cuda(no_accelerator, ("NVIDIA H200", 9, 0))
    no_accelerator.setattr(measurement, "matrix_rate", lambda device, precision, size: 1e12 * size)
    assert hardware.peak_flops("cuda", "bfloat16") == 989e12
    assert hardware.peak_flops("cuda", "float32") == 4096e12
    assert hardware.peak_flops("cpu", "float32") == 1024e12


def test_measuring_gives_positive_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.matrix_rate("cpu", "float32", 64) > 0
    assert hardware.read_bandwidth("cpu", 2**16) > 0
    monkeypatch.setattr(measurement, "matrix_rate", lambda device, precision, size: 2e9)
    monkeypatch.setattr(measurement, "read_bandwidth", lambda device: 3e9)
    monkeypatch.setattr(measurement, "detect_cpu", lambda: cpu.Cpu("A CPU", "x86_64", 1, 1, 1, {}))
    measured = hardware.measure("cpu")
    assert (measured.float32_gflops, measured.bfloat16_gflops, measured.read_gb_per_s) == (2.0, None, 3.0)
    assert hardware.measure("cuda").bfloat16_gflops == 2.0


def test_everything_found_is_plain_data(no_accelerator: pytest.MonkeyPatch) -> None:
    import json

    found = hardware.detect()
    assert hardware.summary(found).endswith("no GPU")
    assert json.loads(json.dumps(found.as_dict()))["backends"][0]["found"] is False
    give_cuda(no_accelerator, ("NVIDIA H200", 9, 0))
    found = hardware.detect()
    assert "1 x NVIDIA H200 (80 GiB, CUDA)" in hardware.summary(found)
    assert found.as_dict()["backends"][0]["devices"][0]["compute_capability"] == "9.0"
    assert hardware.peak_memory_bytes("cpu") > 2**20


def test_choosing_a_device_opens_no_context_on_any_gpu(no_accelerator: pytest.MonkeyPatch) -> None:
    give_cuda(no_accelerator, ("NVIDIA H200", 9, 0))
    no_accelerator.setattr(torch.cuda, "mem_get_info", None)
    assert hardware.choose_device().name == "cuda"
    assert accelerators.detect_backends()[0].devices[0].free_bytes is None
