"""How a training looks on a terminal: a bar with loss, speed and ETA; evaluations and samples above it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self

from groundzero.cli.output import Bar, note, progress
from groundzero.train.observer import Observer

SAMPLE_WIDTH = 160


class TrainingDisplay(Observer, AbstractContextManager["TrainingDisplay"]):
    """Draws what an `Observer` hears, all of it on stderr."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._stage = ""
        self._note = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def message(self, text: str) -> None:
        """A remark on its own line."""
        note(text)

    def preparing(self, stage: str, done: int, total: int | None) -> None:
        """A bar for each stage of preparation."""
        if stage != self._stage:
            self._close()
            self._stage = stage
            self._bar = self._stack.enter_context(progress(stage, total=total))
        assert self._bar is not None
        self._bar.update(done)

    def begins(self, step: int, steps: int) -> None:
        """The bar of the training."""
        self._close()
        self._bar = self._stack.enter_context(progress("training", total=steps, unit="steps"))
        self._bar.update(step)

    def stepped(self, step: int, record: Mapping[str, Any] | None) -> None:
        """Move the bar; the note shows the newest record."""
        if record is not None:
            mfu = f" | {record['mfu']:.0%} MFU" if record["mfu"] is not None else ""
            self._note = f"loss {record['train_loss']:.3f} | {record['tokens_per_second']:,.0f} tokens/s{mfu}"
        if self._bar is not None:
            self._bar.update(step, note=self._note)

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """One line per evaluation."""
        bits = f", {record['val_bpb']:.3f} bits per byte" if record["val_bpb"] is not None else ""
        note(
            f"step {record['step']}: validation loss {record['val_loss']:.4f} "
            f"(perplexity {record['val_perplexity']:.1f}{bits}, accuracy {record['val_accuracy']:.1%})"
        )

    def sampled(self, step: int, prompt: str, text: str) -> None:
        """The sample on one line, line breaks shown as such."""
        line = (prompt + text).replace("\n", " / ").strip()
        note(f"  > {line[:SAMPLE_WIDTH]}{'...' if len(line) > SAMPLE_WIDTH else ''}")

    def ends(self) -> None:
        """Take the bar away."""
        self._close()

    def _close(self) -> None:
        self._stack.close()
        self._bar, self._stage = None, ""
