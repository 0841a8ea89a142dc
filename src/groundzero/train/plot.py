"""`loss.png`: the training and validation loss over steps, drawn from `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def plot_loss(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Draw the curves into a PNG; nothing is written when there is nothing to draw.

    The raw training loss is faint, its running mean (over a twentieth of the run) bold, evaluations are marked.
    """
    # Matplotlib takes half a second to import, and only the end of a run needs it. The object interface keeps it from
    # touching any display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    records = list(records)
    train = [(record["step"], record["train_loss"]) for record in records if "train_loss" in record]
    validation = [(record["step"], record["val_loss"]) for record in records if "val_loss" in record]
    if not train:
        return
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = zip(*train, strict=True)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=1)
    axes.plot(steps, _running_mean(losses, max(1, len(losses) // 20)), color="tab:blue", label="train")
    if validation:
        at, values = zip(*validation, strict=True)
        axes.plot(at, values, "o-", color="tab:orange", label="validation", markersize=4)
        axes.annotate(f"{values[-1]:.3f}", (at[-1], values[-1]), textcoords="offset points", xytext=(-4, 8), ha="right")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)


def _running_mean(values: tuple[float, ...], width: int) -> list[float]:
    """Mean of up to `width` values before each, itself included."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [(sums[i + 1] - sums[max(0, i + 1 - width)]) / (i + 1 - max(0, i + 1 - width)) for i in range(len(values))]
