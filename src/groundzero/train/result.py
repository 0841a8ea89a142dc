"""The figures that a training reports, whichever world it ran in."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Evaluation:
    """Figures over the validation split, or over its first part where one was asked for."""

    loss: float
    """Mean of -ln p(token), in nats."""
    perplexity: float
    """exp(loss)."""
    bits_per_byte: float | None
    """Bits to encode one byte of the text: comparable across tokenizers. None where bytes are not known."""
    accuracy: float
    """Share of tokens that were the model's first choice."""
    tokens: int
    """Tokens predicted."""

    @classmethod
    def of_sums(cls, loss_sum: float, correct: int, tokens: int, n_byte: int | None) -> Evaluation:
        """From the summed surprise in nats, the number of right first choices, and the bytes that the tokens stand for
        (None where that is not known)."""
        loss = loss_sum / max(1, tokens)
        return cls(
            loss=loss,
            perplexity=math.exp(min(loss, 700.0)),
            bits_per_byte=loss_sum / math.log(2) / n_byte if n_byte else None,
            accuracy=correct / max(1, tokens),
            tokens=tokens,
        )

    def as_record(self) -> dict[str, float | int | None]:
        """For `metrics.jsonl`, under the names of `gz train --json`."""
        values = asdict(self)
        return {f"val_{name}": values[name] for name in ("loss", "perplexity", "accuracy", "tokens")} | {
            "val_bpb": self.bits_per_byte
        }


@dataclass(frozen=True)
class TrainResult:
    """What `gz train --json` prints."""

    run: str
    """The run directory."""
    steps: int
    """Updates of the weights, in all."""
    tokens: int
    """Targets learned from, in all."""
    train_loss: float
    """Last logged training loss, in nats."""
    val_loss: float | None
    """Last validation loss, in nats."""
    val_bpb: float | None
    """The same in bits per byte."""
    seconds: float
    """Time spent in steps."""
    tokens_per_second: float
    """Median speed of the steps."""
    mfu: float | None
    """Share of the hardware's peak."""
    peak_memory_bytes: int
    """Most memory the process (or the GPU) has held."""
    parameters: int
    """Learned numbers."""
    interrupted: bool
    """Stopped by a signal; `--resume` goes on."""
