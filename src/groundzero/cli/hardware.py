"""`gz hardware`: what this machine has, how fast it is, and what would be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from groundzero.hardware import Device, Hardware, Measurement, Precision

# The rooms below are imported where they are used: `gz hardware --help` is to answer at once.


def command(
    recommended: Annotated[bool, typer.Option("--recommended", help="Print only the device to use.")] = False,
    measured: Annotated[bool, typer.Option("--measure/--no-measure", help="Time the hardware; 1-2 seconds.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What this machine has: processor, accelerators, memory, precisions, compiler; measured; and what would be chosen.

    Examples:

    gz hardware

    gz train --text book.txt --device $(gz hardware --recommended)
    """
    from groundzero import hardware  # noqa: PLC0415
    from groundzero.cli.output import emit  # noqa: PLC0415

    device = hardware.choose_device("auto")
    if recommended:
        emit({"device": device.name, "reason": device.reason}, as_json, lambda: print(device.name))
        return
    found = hardware.detect()
    precision = hardware.choose_precision(device)
    measurements = [hardware.measure(name) for name in dict.fromkeys(("cpu", device.name))] if measured else []
    chosen = _chosen(device, precision)
    payload = {
        **found.as_dict(),
        "summary": hardware.summary(found),
        "measured": [vars(each) for each in measurements],
        "chosen": chosen,
    }
    emit(payload, as_json, lambda: _print(found, measurements, chosen))


def _chosen(device: Device, precision: Precision) -> dict[str, Any]:
    """The choices with their reasons; for compilation also how long a run must be."""
    from groundzero.hardware import compiling_pays_from, find_compiler, should_compile  # noqa: PLC0415

    long_run = should_compile("auto", device, expected_seconds=24 * 3600)
    reason = long_run.reason
    if long_run.compile:
        reason = f"{find_compiler(device.name).reason}; pays from about {compiling_pays_from():.0f} s of training"
    return {
        "device": {"name": device.name, "reason": device.reason},
        "precision": {"name": precision.name, "reason": precision.reason},
        "compile": {"long_runs": long_run.compile, "reason": reason},
    }


def _print(found: Hardware, measurements: list[Measurement], chosen: dict[str, Any]) -> None:
    from groundzero.cli.output import console, human_bytes, table  # noqa: PLC0415

    out = console()
    cpu = found.cpu
    out.print(
        table(
            ("Machine", ""),
            [
                ("System", found.system),
                ("Processor", f"{cpu.name} ({cpu.architecture})"),
                ("Cores", f"{cpu.physical_cores} physical, {cpu.logical_cores} logical, {cpu.usable_cores} usable"),
                ("Memory", f"{human_bytes(found.memory.total)}, {human_bytes(found.memory.available)} free"),
            ],
        )
    )
    out.print(table(("Feature", "", ""), [*_processor_rows(found), *_backend_rows(found), _compiler_row(found)]))
    if measurements:
        out.print(_measured_table(measurements))
    compiling = "on long runs" if chosen["compile"]["long_runs"] else "never"
    out.print(
        table(
            ("Chosen", "", "Why"),
            [
                ("Device", chosen["device"]["name"], chosen["device"]["reason"]),
                ("Precision", chosen["precision"]["name"], chosen["precision"]["reason"]),
                ("Compile", compiling, chosen["compile"]["reason"]),
            ],
        )
    )


def _processor_rows(found: Hardware) -> list[tuple[object, object, object]]:
    return [
        (name, _verdict(present), "" if present else "not among this processor's instructions")
        for name, present in found.cpu.features.items()
    ]


def _backend_rows(found: Hardware) -> list[tuple[object, object, object]]:
    from groundzero.cli.output import human_bytes  # noqa: PLC0415

    rows: list[tuple[object, object, object]] = []
    for backend in found.backends:
        details = backend.reason
        for gpu in backend.devices:
            capability = f", compute capability {gpu.compute_capability}" if gpu.compute_capability else ""
            free = "" if gpu.free_bytes is None else f", {human_bytes(gpu.free_bytes)} free"
            memory = human_bytes(gpu.memory_bytes) + free
            details += f"; {gpu.name}{capability}, {memory}"
        rows.append((backend.name, _verdict(backend.found), details))
    return rows


def _compiler_row(found: Hardware) -> tuple[object, object, object]:
    return ("Compiler", _verdict(found.compiler.found), found.compiler.reason)


def _verdict(present: bool) -> object:
    from rich.text import Text  # noqa: PLC0415

    return Text("found", style="green") if present else Text("not found", style="dim")


def _measured_table(measurements: list[Measurement]) -> object:
    from groundzero.cli.output import table  # noqa: PLC0415

    def rate(gflops: float | None) -> str:
        return "emulated" if gflops is None else f"{gflops:,.0f}"

    return table(
        ("Measured", "matrix", "float32 GFLOP/s", "bfloat16 GFLOP/s", "read GB/s"),
        [
            (
                each.device,
                f"{each.matrix_size} x {each.matrix_size}",
                rate(each.float32_gflops),
                rate(each.bfloat16_gflops),
                f"{each.read_gb_per_s:.1f}",
            )
            for each in measurements
        ],
        numbers="float32 GFLOP/s, bfloat16 GFLOP/s, read GB/s",
    )
