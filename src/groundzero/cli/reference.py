"""`gz reference`: the NumPy twin at the command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli import reference_train
from groundzero.cli.checkpoint_option import CheckpointOption, step_of
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.evaluate.twin_diff import Difference, TwinDiff
    from groundzero.tokenizer import Tokenizer

# The rooms below are imported where they are used: `gz reference --help` is to answer at once.

app = typer.Typer(add_completion=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
FAILURE = 1
DIGITS = {"float32": 8, "float64": 16}
"""Decimal digits that a precision can agree in."""


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
    as_json: JsonOption = False,
) -> None:
    """Run NumPy and PyTorch side by side on a run, and show layer by layer how far apart they are.

    Each reads the run's weights for itself. Relative differences are measured against the largest number of the same
    token's vector. Exit code 1 when one is beyond the tolerance: the first such place is where the fault is.

    Example: gz reference diff runs/book --prompt "Once upon a time"
    """
    if dtype not in DIGITS:
        raise UsageError(f"--dtype cannot be {dtype!r}.", remedy="Give float32 or float64.")
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise UsageError(f"--tolerance cannot be {tolerance}.", remedy="Give a share such as 1e-4.")
    step = step_of(checkpoint)

    from groundzero.cli.output import emit  # noqa: PLC0415
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
    )
    emit(found.as_json(), as_json, lambda: _print(found, Tokenizer.load(RunDirectory.open(run).tokenizer_path)))
    if not found.ok:
        raise typer.Exit(FAILURE)


def _print(found: TwinDiff, tokenizer: Tokenizer) -> None:
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import console, note, table  # noqa: PLC0415

    out = console()
    shown = [_shown(tokenizer, token) for token in found.prompt]
    out.print(
        f"{found.run}, step {found.step:,}: {found.family} on {len(shown)} tokens in {found.dtype}, "
        f"tolerance {found.tolerance:g}"
    )
    out.print(Text(" ".join(shown), style="dim"))
    if found.prompt_tokens_cut:
        note(f"The context holds {len(shown)} tokens; the last {found.prompt_tokens_cut} of the prompt are left out.")
    rows: list[tuple[Any, ...]] = []
    block = ""
    for layer in found.layers:
        head, name = _in_block(layer.name)
        if head and head != block:
            rows.append((Text(head, style="bold"), "", "", "", "", ""))
        block = head
        rows.append(_row(layer, "  " + name if head else name, shown, DIGITS[found.dtype]))
    columns = ["Layer", "Shape", "Largest difference", "Relative", "Digits that agree", "First beyond the tolerance"]
    if found.first is None:  # nothing to say there
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    out.print(table(columns, rows, numbers="Shape,Largest difference,Relative"))
    for text, sound in _verdicts(found, tokenizer):
        out.print(Text(text, style="green" if sound else "bold red"))


def _in_block(name: str) -> tuple[str, str]:
    """`blocks.0.attention.query` as block 0 and the rest; no block for what stands outside."""
    if not name.startswith("blocks."):
        return "", name
    _, layer, rest = name.split(".", 2)
    return f"blocks.{layer}", rest


def _row(layer: Difference, name: str, shown: list[str], digits: int) -> tuple[Any, ...]:
    from rich.text import Text  # noqa: PLC0415

    style = "red" if layer.beyond else "green"
    agree = digits if not layer.relative else max(0.0, min(float(digits), -math.log10(layer.relative)))
    bar = "█" * round(agree * 8 / digits)
    where = _place(layer, shown) if layer.beyond else ""
    return (
        name,
        " x ".join(map(str, layer.shape)) or "1",
        f"{layer.absolute:.1e}" if layer.absolute else "0",
        Text(f"{layer.relative:.1e}" if layer.relative else "0", style=style),
        Text(f"{bar:<8} {agree:.1f}" if layer.relative else f"{bar} all", style=style),
        Text(where, style="red"),
    )


def _place(layer: Difference, shown: list[str]) -> str:
    if layer.first is None:
        return "the shapes differ"
    at = {**layer.first.at}
    words = [f"token {at.pop('token')} ({shown[layer.first.at['token']]})"] if "token" in at else []
    words += [f"{axis} {index}" for axis, index in at.items()]
    values = f"NumPy {layer.first.numpy:.6g}, PyTorch {layer.first.pytorch:.6g}"
    return ", ".join(words) + (": " if words else "") + values


def _verdicts(found: TwinDiff, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """Lines below the table, and whether each is good news."""
    ours, theirs = found.next_tokens.numpy, found.next_tokens.pytorch
    lines: list[tuple[str, bool]] = []
    for apart in found.parameters_apart:
        where = "" if apart.first is None else " at " + ", ".join(f"{k} {i}" for k, i in apart.first.at.items())
        lines.append((f"Weights differ: {apart.name}{where}, by up to {apart.absolute:.3g}.", False))
    if not found.parameters_apart:
        lines.append((f"Weights: {found.parameters} arrays, equal bit for bit.", True))
    lines.append((f"Loss: NumPy {found.loss[0]:.6f}, PyTorch {found.loss[1]:.6f} nats.", not _loss_apart(found)))
    if not ours:
        lines.append(("Next tokens: the prompt fills the context, or none were asked for.", True))
    elif found.next_tokens.verdict == "same":
        lines.append((f"Next tokens: the same {len(ours)}: {_one_line(tokenizer, ours)}", True))
    else:
        tie = found.next_tokens.verdict == "tie"
        reason = ", where two tokens are equally likely" if tie else ""
        parted = next(i for i in range(len(ours)) if ours[i] != theirs[i])
        lines.append((f"Next tokens part after {parted}{reason}:", tie))
        lines += [(f"  NumPy   {_one_line(tokenizer, ours)}", tie), (f"  PyTorch {_one_line(tokenizer, theirs)}", tie)]
    if found.first is None:
        worst = max(found.layers, key=lambda layer: layer.relative)
        lines.append((f"The layers agree: {worst.relative:.1e} at most, at {worst.name}.", True))
    else:
        lines.append((f"The first place beyond the tolerance is {found.first.name}: look there.", False))
    return lines


def _loss_apart(found: TwinDiff) -> bool:
    return next(layer for layer in found.layers if layer.name == "loss").beyond


def _shown(tokenizer: Tokenizer, token: int) -> str:
    """A token as one visible word."""
    return _visible(tokenizer.decode([token], keep_control=True)) if token < tokenizer.vocab_size else f"<{token}>"


def _one_line(tokenizer: Tokenizer, ids: tuple[int, ...]) -> str:
    return _visible(tokenizer.decode(list(ids), keep_control=True)).replace("␣", " ")


def _visible(text: str) -> str:
    return "".join("␣" if char == " " else char if char.isprintable() else repr(char)[1:-1] for char in text)
