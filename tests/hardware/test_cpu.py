"""The processor and memory as Linux, macOS and Windows describe them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from groundzero.hardware import cpu

SAPPHIRE_RAPIDS = """processor : 0
model name : Intel(R) Xeon(R) Platinum 8481C
physical id : 0
core id : 0
flags : fpu sse2 avx2 avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_tile

processor : 1
model name : Intel(R) Xeon(R) Platinum 8481C
physical id : 0
core id : 0
flags : fpu sse2 avx2 avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_tile

processor : 2
physical id : 0
core id : 1
"""
GRAVITON = (
    "processor : 0\nFeatures : fp asimd asimdhp sve bf16\n\nprocessor : 1\nFeatures : fp asimd asimdhp sve bf16\n"
)
OLD = "model name : Intel(R) Core(TM) i5-4300U\nflags : fpu sse2 avx2\n"


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Linux whose /proc and /sys are in a folder of ours."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    monkeypatch.setattr(cpu, "PROC_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "PROC_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cpu, "CGROUP", tmp_path)
    return tmp_path


def test_a_xeon_with_amx(linux: Path) -> None:
    (linux / "cpuinfo").write_text(SAPPHIRE_RAPIDS, encoding="utf-8")
    found = cpu.detect_cpu()
    assert found.name == "Intel(R) Xeon(R) Platinum 8481C"
    assert (found.physical_cores, found.logical_cores, found.usable_cores) == (2, 4, 3)
    assert found.features == {
        "AVX2": True,
        "AVX-512": True,
        "AVX512-BF16": True,
        "AVX512-FP16": True,
        "AMX-BF16": True,
        "AMX-FP16": False,
    }
    assert found.fast_bfloat16
    assert found.fast_float16


def test_an_old_laptop_has_avx2_only(linux: Path) -> None:
    (linux / "cpuinfo").write_text(OLD, encoding="utf-8")
    found = cpu.detect_cpu()
    assert [name for name, present in found.features.items() if present] == ["AVX2"]
    assert not found.fast_bfloat16
    assert not found.fast_float16
    assert found.physical_cores == 4


def test_an_arm_server(linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "processor", lambda: "")
    (linux / "cpuinfo").write_text(GRAVITON, encoding="utf-8")
    found = cpu.detect_cpu()
    assert found.features == {"NEON": True, "SVE": True, "ARM-BF16": True, "ARM-FP16": True}
    assert found.fast_bfloat16
    assert found.name == "aarch64"


def test_a_container_limits_cores_and_memory(linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (linux / "cpuinfo").write_text(OLD, encoding="utf-8")
    (linux / "cpu.max").write_text("150000 100000\n", encoding="utf-8")
    assert cpu.detect_cpu().usable_cores == 2
    (linux / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    assert cpu.detect_cpu().usable_cores == 3
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 2**20, raising=False)
    assert cpu.detect_memory() == cpu.Memory(2**32, 2**32)
    (linux / "meminfo").write_text("MemTotal: 4194304 kB\nMemAvailable:  2097152 kB\n", encoding="utf-8")
    assert cpu.detect_memory() == cpu.Memory(2**32, 2**31)
    (linux / "memory.max").write_text("max\n", encoding="utf-8")
    assert cpu.detect_memory() == cpu.Memory(2**32, 2**31)
    (linux / "memory.max").write_text(f"{2**30}\n", encoding="utf-8")
    (linux / "memory.current").write_text(f"{2**28}\n", encoding="utf-8")
    assert cpu.detect_memory() == cpu.Memory(2**30, 2**30 - 2**28)


def test_a_mac_is_asked_through_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "machdep.cpu.brand_string": "Apple M3 Pro",
        "hw.physicalcpu": "11",
        "hw.optional.AdvSIMD": "1",
        "hw.optional.arm.FEAT_FP16": "1",
        "hw.memsize": str(2**34),
    }
    pages = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:  100.\nPages inactive: 50.\n"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(cpu, "_run", lambda command: pages if command == ["vm_stat"] else answers.get(command[-1], ""))
    found = cpu.detect_cpu()
    assert (found.name, found.physical_cores) == ("Apple M3 Pro", 11)
    assert found.features == {"NEON": True, "SVE": False, "ARM-BF16": False, "ARM-FP16": True}
    assert cpu.detect_memory() == cpu.Memory(2**34, 150 * 16384)


def test_where_the_system_lists_no_features_pytorch_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6")
    monkeypatch.setattr(cpu, "PROC_CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_f": False}, raising=False)
    found = cpu.detect_cpu()
    assert found.name == "Intel64 Family 6"
    assert [name for name, present in found.features.items() if present] == ["AVX2"]


def test_a_tool_that_hangs_or_fails_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu._run(["surely-no-such-tool"]) == ""
    assert cpu._run([sys.executable, "-c", "import sys; sys.exit(3)"]) == ""
    assert cpu._run([sys.executable, "-c", "print('here')"]) == "here"

    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("sysctl", 5)

    monkeypatch.setattr(subprocess, "run", hang)
    assert cpu._run([sys.executable]) == ""


def test_importing_hardware_brings_in_no_torch() -> None:
    code = "import sys, groundzero.hardware as h; h.detect_cpu(); h.detect_memory(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
