"""How `gz doctor --run` shows a run: the shape of every layer, the gradient of every block, the verdicts."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groundzero.evaluate.doctor import RunReport
    from groundzero.evaluate.gradients import BlockGradient
    from groundzero.evaluate.network import LayerShape

LEGEND = "T tokens, D d_model, H heads, K key/value heads, E head_dim, S keys, F d_ff, V vocabulary"
BAR = 16
"""Characters of the longest bar."""


def print_report(report: RunReport) -> None:
    """Everything, the verdicts last."""
    from rich.text import Text  # noqa: PLC0415 - 45 ms that `--json` need not pay

    from groundzero.cli.doctor import print_findings  # noqa: PLC0415
    from groundzero.cli.output import console  # noqa: PLC0415

    out = console()
    at = f", step {report.step:,}: {report.family}, in float32" if report.step is not None else ""
    out.print(f"{report.run}{at}")
    if report.shapes:
        out.print(_shapes(report.shapes))
        out.print(Text(LEGEND, style="dim"))
    if report.gradients:
        out.print(_gradients(report.gradients))
    print_findings(report.checks)
    failed = sum(check.status == "failed" for check in report.checks)
    warned = sum(check.status == "warning" for check in report.checks)
    verdict = f"{failed} of {len(report.checks)} checks failed." if failed else f"Sound: {len(report.checks)} checks."
    noted = f" {warned} with a warning." if warned else ""
    out.print(Text(verdict + noted, style="bold red" if failed else "green"))


def _shapes(rows: list[LayerShape]) -> Any:
    """Every layer; blocks that are alike are shown once."""
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import table  # noqa: PLC0415

    lines: list[tuple[Any, ...]] = []
    for title, count, members in _alike(rows):
        if title:
            total = sum(row.parameters for row in members)
            each = f"{count} x {total:,}" if count > 1 else f"{total:,}"
            lines.append((Text(title, style="bold"), "", "", Text(each, style="bold")))
        for row in members:
            name = row.name.split(".", 2)[-1] if title else row.name
            style = "" if row.shape == row.expected else "bold red"
            shape = Text(" x ".join(map(str, row.shape)), style=style)
            held = f"{row.parameters:,}" if row.parameters else "tied" if name == "logits" else ""
            lines.append((f"  {name}" if title else name, row.axes, shape, held))
    lines.append((Text("in all", style="bold"), "", "", Text(f"{sum(row.parameters for row in rows):,}", style="bold")))
    return table(("Layer", "Axes", "Shape", "Parameters"), lines, numbers="Shape,Parameters")


def _alike(rows: list[LayerShape]) -> list[tuple[str, int, list[LayerShape]]]:
    """(title, how many blocks, their rows): neighbouring blocks of the same shapes together; no title outside them."""
    found: list[tuple[str, int, list[LayerShape]]] = []
    for block, members in groupby(rows, key=lambda row: row.name.split(".")[1] if row.name[:7] == "blocks." else ""):
        own = list(members)
        if not block:
            found.append(("", 1, own))
            continue
        _, count, before = found[-1]
        if found[-1][0] and _content(before) == _content(own):
            first = before[0].name.split(".")[1]
            found[-1] = (f"blocks.{first} to {block}, each", count + 1, before)
        else:
            found.append((f"blocks.{block}", 1, own))
    return found


def _content(rows: list[LayerShape]) -> list[tuple[Any, ...]]:
    return [(row.name.split(".", 2)[2], row.shape, row.expected, row.parameters) for row in rows]


def _gradients(flow: list[BlockGradient]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import table  # noqa: PLC0415
    from groundzero.evaluate.gradients import level  # noqa: PLC0415

    largest = max(each.stream for each in flow)
    lines = []
    for each in flow:
        length = level(each.stream / largest, BAR) if 0 < largest < float("inf") else 0
        bar = Text("█" * length, style="green" if length > BAR // 2 else "red")
        lines.append((each.block, f"{each.stream:.2e}", f"{each.weights:.2e}", f"{each.share:.1e}", bar))
    columns = ("Block", "Gradient: output", "Weights", "Over weights", "")
    return table(columns, lines, numbers="Block,Gradient: output,Weights,Over weights")
