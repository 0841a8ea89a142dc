"""How `gz reference diff` shows NumPy and PyTorch side by side: a line for every place, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groundzero.evaluate.twin_diff import Difference, TwinDiff
    from groundzero.tokenizer import Tokenizer

DIGITS = {"float32": 8, "float64": 16}
"""Decimal digits that a precision can agree in."""
LISTED = 8
"""Arrays of weights that differ and are named one by one."""
NARROW = 100
"""Columns of a terminal that has no room for everything."""
_BEYOND = "First beyond the tolerance"


def print_diff(found: TwinDiff, tokenizer: Tokenizer) -> None:
    """The table of places, that of gradients where they were asked for, and the verdicts."""
    from rich.text import Text  # noqa: PLC0415 - 45 ms that `--json` need not pay

    from groundzero.cli.output import console, note  # noqa: PLC0415

    out = console()
    words = [_word(tokenizer, token) for token in found.prompt]
    at = f"{found.run}, step {found.step:,}: {found.family} on {len(words)} tokens in {found.dtype}"
    out.print(f"{at}, tolerance {found.tolerance:g}")
    out.print(Text(" ".join(words), style="dim"))
    if found.prompt_tokens_cut:
        note(f"The context holds {len(words)} tokens; the last {found.prompt_tokens_cut} of the prompt are left out.")
    out.print(_table("Layer", found.layers, words, DIGITS[found.dtype], out.width))
    if found.gradients:
        out.print(_table("Gradient", found.gradients, words, DIGITS[found.dtype], out.width))
    for text, sound in _verdicts(found, tokenizer, words):
        out.print(Text(text, style="green" if sound else "bold red"))


def _table(title: str, places: Sequence[Difference], words: list[str], digits: int, width: int) -> Any:
    """A row for each place, under the names of the blocks."""
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import table  # noqa: PLC0415

    rows: list[list[Any]] = []
    block = ""
    for place in places:
        head, name = _in_block(place.name)
        if head and head != block:
            rows.append([Text(head, style="bold"), "", "", "", "", ""])
        block = head
        rows.append(_row(place, f"  {name}" if head else name, words, digits))
    columns = [title, "Shape", "Difference", "Relative", "Digits alike", _BEYOND]
    left_out = 5 if not any(place.beyond for place in places) else 1 if width < NARROW else None
    if left_out is not None:  # where nothing is beyond there is nothing to say; else places matter more than shapes
        columns, rows = _without(columns, left_out), [_without(row, left_out) for row in rows]
    shown = table(columns, rows, numbers="Shape,Difference,Relative")
    for column in shown.columns[: columns.index("Digits alike") + 1]:  # only what is last may fold
        column.no_wrap = True
    return shown


def _without(cells: list[Any], index: int) -> list[Any]:
    return cells[:index] + cells[index + 1 :]


def _in_block(name: str) -> tuple[str, str]:
    """`blocks.0.attention.query` as block 0 and the rest; no block for what stands outside."""
    if not name.startswith("blocks."):
        return "", name
    _, layer, rest = name.split(".", 2)
    return f"blocks.{layer}", rest


def _row(place: Difference, name: str, words: list[str], digits: int) -> list[Any]:
    from rich.text import Text  # noqa: PLC0415

    style = "red" if place.beyond else "green"
    agree = max(0.0, min(float(digits), -math.log10(place.relative))) if place.relative else float(digits)
    bar = "█" * round(agree * 8 / digits)
    return [
        name,
        " x ".join(map(str, place.shape)) or "1",
        f"{place.absolute:.1e}" if place.absolute else "0",
        Text(f"{place.relative:.1e}" if place.relative else "0", style=style),
        Text(f"{bar:<8} {agree:4.1f}" if place.relative else f"{bar}  all", style=style),
        Text(_where(place, words) if place.beyond else "", style=style),
    ]


def _where(place: Difference, words: list[str]) -> str:
    """`token 3 (cat), unit 7`."""
    if place.first is None:
        return "the shapes differ"
    named = {"token": lambda i: f"{i} ({words[i]})"}
    return ", ".join(f"{axis} {named.get(axis, str)(index)}" for axis, index in place.first.at.items())


def _verdicts(found: TwinDiff, tokenizer: Tokenizer, words: list[str]) -> list[tuple[str, bool]]:
    """Lines below the tables, and whether each is good news."""
    lines: list[tuple[str, bool]] = []
    for apart in found.parameters_apart[:LISTED]:
        lines.append((f"Weights differ: {apart.name}, {_where(apart, words)}, by up to {apart.absolute:.3g}.", False))
    if len(found.parameters_apart) > LISTED:
        lines.append((f"Weights differ in {len(found.parameters_apart)} arrays in all.", False))
    if not found.parameters_apart:
        lines.append((f"Weights: {found.parameters} arrays, equal bit for bit.", True))
    sound = not any(place.beyond for place in found.layers if place.name == "loss")
    lines.append((f"Loss: NumPy {found.loss[0]:.6f}, PyTorch {found.loss[1]:.6f} nats.", sound))
    lines += _writing(found, tokenizer)
    first = found.first
    if first is None:
        worst = max((*found.layers, *found.gradients), key=lambda place: place.relative)
        what = "layers and gradients" if found.gradients else "layers"
        lines.append((f"The {what} agree: {worst.relative:.1e} at most, at {worst.name}.", True))
        return lines
    values = f": NumPy {first.first.numpy:.6g}, PyTorch {first.first.pytorch:.6g}" if first.first else ""
    backwards = "" if first in found.layers else "the gradient of "
    where = f", {_where(first, words)}" if _where(first, words) else ""
    lines.append((f"First beyond the tolerance: {backwards}{first.name}{where}{values}. Look there.", False))
    return lines


def _writing(found: TwinDiff, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    ours, theirs = found.next_tokens.numpy, found.next_tokens.pytorch
    if not ours:
        return [("Next tokens: the prompt fills the context, or none were asked for.", True)]
    if found.next_tokens.verdict == "same":
        return [(f"Next tokens: the same {len(ours)}: {_text(tokenizer, ours)}", True)]
    tie = found.next_tokens.verdict == "tie"
    reason = ", where two tokens are equally likely" if tie else ""
    parted = next(i for i in range(len(ours)) if ours[i] != theirs[i])
    return [
        (f"Next tokens part after {parted}{reason}:", tie),
        (f"  NumPy   {_text(tokenizer, ours)}", tie),
        (f"  PyTorch {_text(tokenizer, theirs)}", tie),
    ]


def _word(tokenizer: Tokenizer, token: int) -> str:
    """A token as one visible word."""
    return _printable(tokenizer.decode([token], keep_control=True)).replace(" ", "␣")


def _text(tokenizer: Tokenizer, ids: tuple[int, ...]) -> str:
    """Ids as one line; a model may have rows that its tokenizer does not know, and choose one."""
    return "".join(
        _printable(tokenizer.decode([token], keep_control=True)) if token < tokenizer.vocab_size else f"<{token}>"
        for token in ids
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
