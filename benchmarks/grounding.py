"""The exam of a grounded run as a table: every figure of `gz eval grounding`, beside the aim where it has one.

There is no peer to run; what is to be reached stands in the peer's column. The comparison that the exam itself makes
(the same model without the graph, with facts in the prompt only, the symbolic answer alone) is among its rows. Shares
are percent, with their 95 % interval and how many were counted behind them.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from benchmarks.table import Row, row

REPORTED_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and how much is asked."""
    parser.add_argument("--run", required=True, help="a run tuned by `gz finetune ground`")
    parser.add_argument("--graph", default="", help="what is right; the run's own when left out")
    parser.add_argument("--questions", type=int, default=200, help="questions of each row; 2000 as published")
    parser.add_argument("--only", default="", help="sections, with commas between")
    parser.add_argument("--seed", type=int, default=1337, help="of which questions are asked")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings: amounts.edits=1000")


def measure(options: argparse.Namespace) -> list[Row]:
    """Hold the exam."""
    from groundzero.evaluate.grounding.exam import chosen, hold
    from groundzero.evaluate.grounding.sections import planned
    from groundzero.evaluate.grounding.setting import ExamSettings, open_exam
    from groundzero.graph.graph import Graph
    from groundzero.ground.opening import graph_of
    from groundzero.run import RunDirectory
    from groundzero.settings import merge, parse_overrides

    parts = chosen([name for name in options.only.split(",") if name])
    asked = {"questions": options.questions, "questions_per_ablation": options.questions, "seed": options.seed}
    settings = ExamSettings.parse(merge(asked, parse_overrides(options.set)))
    run = RunDirectory.open(options.run)
    with Graph.open(options.graph or graph_of(run), read_only=True) as graph:
        exam = open_exam(run, graph, settings, advance=_Progress(sum(planned(parts, settings))))
        result = hold(exam, parts)
    return [_row(section, each) for section in result.sections for each in section.measures]


def _row(section: Any, measure: Any) -> Row:
    scale, unit = (100.0, "%") if measure.unit == "share" else (1.0, measure.unit)
    ours = scale * measure.value if measure.n else None
    aim = None if measure.aim is None else scale * measure.aim
    parts = [f"n {measure.n:,}"]
    if measure.low is not None and measure.high is not None:
        parts.insert(0, f"{scale * measure.low:.1f} to {scale * measure.high:.1f}")
    if measure.reached is not None:
        parts.append("reached" if measure.reached else "missed")
    work, note = f"{section.title}: {measure.name}", ", ".join(parts)
    name = "" if aim is None else "at most" if measure.at_most else "at least"
    if not ours or not aim:  # no ratio to nothing
        return Row(work, unit, ours, aim, name, None, note)
    return row(work, unit, ours, aim, name, lower_is_better=measure.at_most, note=note)


class _Progress:
    """A line on stderr now and then, with the time left at this pace."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._started = self._told = time.monotonic()

    def __call__(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._told >= REPORTED_S:
            self._told = now
            left = (now - self._started) / max(1, self._done) * max(0, self._total - self._done)
            print(f"{self._done:,} of {self._total:,} questions, {left / 60:.0f} min left", file=sys.stderr)
