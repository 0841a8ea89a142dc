"""How a build looks on a terminal: the plan first, then stage by stage, each with a bar; all of it on stderr."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundzero.build.observer import BuildObserver
from groundzero.cli.output import console, human_bytes, human_seconds, note, table
from groundzero.cli.training import TrainingDisplay

if TYPE_CHECKING:
    from groundzero.build.plan import Plan


class BuildDisplay(TrainingDisplay, BuildObserver):
    """Draws what a `BuildObserver` hears."""

    def planned(self, plan: Plan) -> None:
        """The forecast."""
        print_plan(plan, to_stderr=True)

    def stage(self, name: str, what: str, number: int, total: int) -> None:
        """A heading."""
        self._close()
        self._note = ""
        note(f"\n[{number}/{total}] {name}: {what}")

    def finished(self, name: str, figures: Mapping[str, Any], seconds: float) -> None:
        """What it came to, in a line."""
        self._close()
        told = _told(name, figures)
        note(f"{name} done in {human_seconds(seconds)}{': ' if told else ''}{told}")


def print_plan(plan: Plan, *, to_stderr: bool = False) -> None:
    """The forecast as two tables: what it will be, and where the time goes."""
    out = console(to_stderr=to_stderr)
    rows = [
        ("model", f"{plan.parameters:,} parameters ({plan.n_layer} layers of {plan.d_model}, context {plan.context})"),
        ("text", f"{human_bytes(plan.text_bytes)}, {_count(plan.text_tokens)} tokens"),
        ("facts", f"{plan.statements:,}" if plan.statements else "none"),
        ("pretraining", f"{_count(plan.pretraining_tokens)} tokens, {plan.passes:.1f} passes over the text"),
        ("speed", f"{plan.tokens_per_second:,.0f} tokens/s on {plan.device} in {plan.precision}, measured"),
        ("memory", f"{human_bytes(plan.memory_bytes)}, and {human_bytes(plan.disk_bytes)} of disk"),
    ]
    out.print(table(("", "about"), rows, title=f"Plan for {plan.minutes:g} minutes"))
    total = sum(plan.seconds.values())
    spent = [(name, human_seconds(seconds)) for name, seconds in plan.seconds.items()]
    out.print(table(("stage", "time"), [*spent, ("in all", human_seconds(total))], numbers="time"))


def _count(number: float) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number:,.0f}"


def go_on(out: Path, command: str = "build") -> str:
    """What to type to go on with a build."""
    return f"gz {command} --out {shlex.quote(str(out))}"


def _told(name: str, figures: Mapping[str, Any]) -> str:
    if "skipped" in figures:
        return f"left out, {figures['skipped']}"
    match name:
        case "graph":
            return f"{figures['triples']:,} facts about {figures['entities']:,} things"
        case "text":
            kept = f", of it {human_bytes(figures['facts_bytes'])} of facts in words" if figures["facts_bytes"] else ""
            left = f" ({figures['left_out']:,} that name what is examined left out)" if figures["left_out"] else ""
            return f"{figures['train_tokens']:,} tokens of {human_bytes(figures['text_bytes'])}{kept}{left}"
        case "pretrain" | "ground":
            loss = figures["val_loss"]
            short = ", cut short" if figures.get("cut_short") else ""
            return f"{figures['steps']:,} steps{short}" + ("" if loss is None else f", validation loss {loss:.3f}")
        case "embed":
            return "" if figures.get("mrr") is None else f"MRR {figures['mrr']:.3f} after {figures['epochs']} epochs"
        case "exam":
            return exam_line(figures["summary"])
        case _:
            return str(figures.get("file", ""))


def exam_line(summary: Mapping[str, Any]) -> str:
    """The exam's summary in a line."""
    shares = {
        "right": summary["accuracy"],
        "by the model alone, one hop": summary["one_hop_by_model_alone"],
        "refused where the graph is silent": summary["refusal_recall"],
        "citations that bear out": summary["citation_precision"],
    }
    told = ", ".join(f"{value:.1%} {name}" for name, value in shares.items() if value is not None)
    return f"{told}, of {summary['questions']:,} questions" if told else "nothing could be asked"
