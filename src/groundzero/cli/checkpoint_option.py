"""`--checkpoint`: which of a run's checkpoints a command takes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from groundzero.errors import UsageError

CheckpointOption = Annotated[str, typer.Option("--checkpoint", help="Which checkpoint: best, latest or step-N.")]


def step_of(wanted: str) -> Literal["best", "latest"] | int:
    """What `RunDirectory.checkpoint` understands: best, latest, or the number in `step-400` or `400`.

    Raises:
        UsageError: it is none of these.
    """
    if wanted == "best":
        return "best"
    if wanted == "latest":
        return "latest"
    number = wanted.removeprefix("step-")
    if number.isascii() and number.isdigit():
        return int(number)
    raise UsageError(f"--checkpoint cannot be {wanted!r}.", remedy="Give best, latest or step-N.")
