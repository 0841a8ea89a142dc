"""`gz reference`: the NumPy twin at the command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from groundzero.cli import reference_train
from groundzero.cli.checkpoint_option import CheckpointOption, step_of
from groundzero.errors import UsageError

# The rooms below are imported where they are used: `gz reference --help` is to answer at once.

app = typer.Typer(add_completion=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
FAILURE = 1


@app.callback()
def reference() -> None:
    """The NumPy twin: the whole model by hand, in NumPy alone."""


app.command()(reference_train.train)
app.command()(reference_train.finetune)
app.command()(reference_train.lora)


@app.command()
def diff(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Text to compute; at most a context of it.")],
    checkpoint: CheckpointOption = "best",
    dtype: Annotated[str, typer.Option("--dtype", help="Precision of both: float32 or float64.")] = "float32",
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="Largest relative difference; 1e-4 in float32, 1e-9 in float64."),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=0, help="Tokens to write after the prompt.")] = 16,
    device: Annotated[str, typer.Option("--device", help="Where PyTorch computes: cpu, cuda, mps, xpu.")] = "cpu",
    gradients: Annotated[bool, typer.Option("--gradients", help="Compare every gradient of the loss, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run NumPy and PyTorch side by side on a run, and show layer by layer how far apart they are.

    Each reads the run's weights for itself. Relative differences are measured against the largest number of the same
    token's vector. Exit code 1 when one is beyond the tolerance: the first such place is where the fault is.

    Example: gz reference diff runs/book --prompt "Once upon a time"
    """
    if dtype not in ("float32", "float64"):
        raise UsageError(f"--dtype cannot be {dtype!r}.", remedy="Give float32 or float64.")
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise UsageError(f"--tolerance cannot be {tolerance}.", remedy="Give a share such as 1e-4.")
    step = step_of(checkpoint)

    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.cli.twin_report import print_diff  # noqa: PLC0415
    from groundzero.evaluate.twin_diff import diff_run  # noqa: PLC0415 - PyTorch takes a second to import
    from groundzero.run import RunDirectory  # noqa: PLC0415
    from groundzero.tokenizer import Tokenizer  # noqa: PLC0415

    found = diff_run(
        run,
        prompt,
        step=step,
        dtype="float64" if dtype == "float64" else "float32",
        device=device,
        tolerance=tolerance,
        tokens=max_tokens,
        gradients=gradients,
    )
    emit(found.as_json(), as_json, lambda: print_diff(found, Tokenizer.load(RunDirectory.open(run).tokenizer_path)))
    if not found.ok:
        raise typer.Exit(FAILURE)
