"""One HTML page that needs nothing from elsewhere. Every text goes through `text`, so that what a graph or a model says
is shown and never obeyed."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

WIDTH, HEIGHT = 460, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 26
_TICKS = 4

STYLE = """
:root { --ink: #1c2430; --dim: #5d6b7c; --line: #d9dfe7; --page: #fbfcfd; --card: #ffffff; --one: #2563c9;
  --two: #d9731a; --good: #1a7f45; --bad: #b3352f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --dim: #9aa7b8; --line: #313b49; --page: #12171e;
  --card: #1a212b; --one: #6ea3ff; --two: #ffa657; --good: #57c785; --bad: #ff8078; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; color: var(--ink); background: var(--page);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; }
p { margin: .4rem 0; } .dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin-top: 1.2rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.card span { color: var(--dim); font-size: .87rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { color: var(--dim); font-size: .87rem; margin-top: .2rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 11px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; padding: .34rem .7rem .34rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--dim); font-weight: 500; } .number { text-align: right; font-variant-numeric: tabular-nums; }
blockquote { margin: .6rem 0; padding: .6rem .9rem; background: var(--card); border-left: 3px solid var(--line);
  white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font: .88rem/1.5 ui-monospace, monospace; } pre { background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; }
"""


def text(value: object) -> str:
    """Any value as text of a page; characters that no page may hold become visible."""
    shown = "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in str(value))
    return html.escape(shown)


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}\n<title>{text(title)}</title>\n<style>{STYLE}</style>'
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def cards(items: Iterable[tuple[str, str]]) -> str:
    """Figures at a glance: (figure, what it is)."""
    inner = "".join(f'<div class="card"><b>{text(value)}</b><span>{text(name)}</span></div>' for value, name in items)
    return f'<div class="cards">{inner}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """A table; the columns named in `numbers` are aligned right."""
    right = set(numbers)
    kinds = [' class="number"' if name in right else "" for name in columns]
    head = "".join(f"<th{kind}>{text(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def quote(value: object) -> str:
    """Text as it was written, line breaks kept."""
    return f"<blockquote>{text(value)}</blockquote>"


def curve(caption: str, train: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> str:
    """Losses over steps as a drawing: training a line, validation dots on a line. Nothing where there is no point."""
    points = [(step, loss) for step, loss in (*train, *validation) if math.isfinite(loss)]
    if not points:
        return ""
    last = max(1, *(step for step, _ in points))
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    high = high if high > low else low + 1.0
    wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def at(step: float, loss: float) -> str:
        return f"{_LEFT + wide * step / last:.1f},{_TOP + tall * (high - loss) / (high - low):.1f}"

    def line(of: Sequence[tuple[int, float]], colour: str) -> str:
        path = " ".join(at(step, loss) for step, loss in of if math.isfinite(loss))
        return f'<polyline points="{path}" fill="none" stroke="var(--{colour})" stroke-width="1.6"/>'

    parts = [_grid(low, high, last), line(train, "one"), line(validation, "two")]
    for step, loss in validation:
        if math.isfinite(loss):
            x, y = at(step, loss).split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="2.6" fill="var(--two)"/>')
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(caption)}">{"".join(parts)}</svg>'
    return f"<figure>{drawing}<figcaption>{text(caption)}</figcaption></figure>"


def _grid(low: float, high: float, last: int) -> str:
    wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    parts = []
    for tick in range(_TICKS + 1):
        y = _TOP + tall * tick / _TICKS
        value = high - (high - low) * tick / _TICKS
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        )
    for tick in range(_TICKS + 1):
        step = last * tick // _TICKS
        x = _LEFT + wide * step / last
        anchor = "end" if tick == _TICKS else "middle" if tick else "start"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{step:,}</text>')
    return "".join(parts)
