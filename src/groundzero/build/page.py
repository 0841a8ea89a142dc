"""One HTML page that loads nothing and runs nothing, in the style of the exam's report card.

Every text goes through `text`: what a graph or a model says is shown, never obeyed, and keeps its direction to itself.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from groundzero.evaluate.grounding.card_style import STYLE

WIDTH, HEIGHT = 460, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 10, 24
_TICKS = 4
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MORE = """
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.6rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .84rem; margin-top: .3rem; }
figure svg { width: 100%; height: auto; display: block; } figure text { fill: var(--soft); font: 10px var(--sans); }
.lost { stroke: var(--fill); } .held { stroke: var(--bad); } circle.held { fill: var(--bad); stroke: none; }
.number { text-align: right; white-space: nowrap; }
.talk { margin: 0 0 1.1rem; } .talk:last-child { margin: 0; } .talk p { margin: .15rem 0; }
.talk .q { font: italic 1.05rem/1.4 var(--serif); } .talk .w { color: var(--soft); font-size: .84rem; }
blockquote { margin: 0 0 .9rem; padding: 0 0 0 1rem; border-left: 3px solid var(--line); white-space: pre-wrap; }
blockquote:last-child { margin-bottom: 0; } blockquote, .talk { overflow-wrap: anywhere; }
pre { margin: 0; overflow-x: auto; font: .88rem/1.7 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
section > p.meta { margin: 0 0 .8rem; }
"""


def text(value: object) -> str:
    """Any value as text of a page; characters that are not to be seen become visible."""
    return f"<bdi>{escaped(value)}</bdi>"


def escaped(value: object) -> str:
    """The same for a title or an attribute, which hold no elements."""
    shown = "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in str(value))
    return html.escape(shown)


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}{_MORE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def header(kicker: str, title: str, about: str) -> str:
    """What it is, what it is called, and how it came to be."""
    return (
        f'<header><div><p class="kicker">{text(kicker)}</p><h1>{text(title)}</h1>'
        f'<p class="meta">{text(about)}</p></div></header>'
    )


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Figures at a glance: (number, unit, what it is)."""
    inner = "".join(
        f'<div class="tile"><b>{text(number)}<small>{text(unit)}</small></b>'
        f'<span class="what">{text(name)}</span></div>'
        for number, unit, name in items
    )
    return f'<div class="tiles">{inner}</div>'


def section(title: str, *parts: str, about: str = "") -> str:
    """Parts under a heading."""
    small = f'<p class="meta">{text(about)}</p>' if about else ""
    return f"<section><h2>{text(title)}</h2>{small}{''.join(parts)}</section>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """A table; the columns named in `numbers` are aligned right."""
    right = set(numbers)
    kinds = [' class="number"' if name in right else "" for name in columns]
    head = "".join(f"<th{kind}>{text(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def talk(question: str, answer: str, under: str, *, good: bool) -> str:
    """A question with its answer, and what stands under it in small letters."""
    mark = '<span class="good">checked</span>' if good else '<span class="bad">not borne out</span>'
    return (
        f'<div class="talk"><p class="q">{text(question)}</p><p>{text(answer)}</p>'
        f'<p class="w">{mark} {text(under)}</p></div>'
    )


def quote(value: object) -> str:
    """Text as it was written, line breaks kept."""
    return f"<blockquote>{text(value)}</blockquote>"


def commands(lines: Iterable[str]) -> str:
    """Lines to copy."""
    return f"<pre>{text(chr(10).join(lines))}</pre>"


def curve(caption: str, train: Sequence[tuple[int, float]], held: Sequence[tuple[int, float]]) -> str:
    """Losses over steps as a drawing: of training a line, of what was held back a line with dots. Nothing where there
    is no point."""
    lines = [[(step, loss) for step, loss in points if math.isfinite(loss)] for points in (train, held)]
    points = [point for each in lines for point in each]
    if not points:
        return ""
    last = max(1, *(step for step, _ in points))
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    high = high if high > low else low + 1.0
    wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    parts = [_grid(low, high, last)]
    for each, kind in zip(lines, ("lost", "held"), strict=True):
        at = [(_LEFT + wide * step / last, _TOP + tall * (high - loss) / (high - low)) for step, loss in each]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline class="{kind}" points="{path}" fill="none" stroke-width="1.6"/>')
        parts += [f'<circle class="held" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in at if kind == "held"]
    label = escaped(caption)
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure>{drawing}<figcaption>{text(caption)}</figcaption></figure>"


def _grid(low: float, high: float, last: int) -> str:
    """Lines across with losses, and steps below."""
    wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    parts = []
    for tick in range(_TICKS + 1):
        y, value = _TOP + tall * tick / _TICKS, high - (high - low) * tick / _TICKS
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
            f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{value:.2f}</text>'
        )
        step, anchor = last * tick // _TICKS, "end" if tick == _TICKS else "middle" if tick else "start"
        x = _LEFT + wide * step / last
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}">{step:,}</text>')
    return "".join(parts)
