"""The report card: one HTML page for people, made from the exam's JSON and from nothing else.

The page loads nothing and runs nothing, and says so to the browser. Whatever comes from a graph or a model is data:
escaped, its control characters made visible, and kept from turning the direction of the text around it.

A bar is a share from 0 to 1, the thin line its 95 % interval, the upright mark the aim.
"""

from __future__ import annotations

import html
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundzero.evaluate.grounding.card_style import STYLE

SEPARATOR = " · "
"""Between the row and the column of a measure's name."""
_HEADLINES = (
    ("answers", "One hop, unseen facts · fallback on", "one hop, unseen facts"),
    ("answers", "Two hops · fallback on", "two hops"),
    ("citations", "Citation precision", "citation precision"),
    ("refusal", "Refusal recall", "unanswerable, refused"),
    ("hallucination", "Contradicted · fallback on", "claims contradicted"),
)
"""What stands large on top, where it was measured."""
_FIRST = "answers"
"""The section that takes the whole width."""
_SHOWN = 12
"""Sample answers at most."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_RADIUS = 42


def card(found: Mapping[str, Any], *, made: str = "") -> str:
    """The page.

    Args:
        found: `ExamResult.as_json()`.
        made: the date, as it is to be read.
    """
    sections: Mapping[str, Any] = found["sections"]
    name = Path(found["run"]).name or "an untitled run"
    body = [
        _header(found, name, made),
        _tiles(sections),
        *(_section(each) for key, each in sections.items() if key == _FIRST),
        '<div class="sheets">',
        *(_section(each) for key, each in sections.items() if key != _FIRST),
        "</div>",
        _samples(sections),
        _footer(found),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(name)}: grounding exam</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(found: Mapping[str, Any], name: str, made: str) -> str:
    counted = f"{found['questions']:,} questions a row"
    size = f"{found['parameters'] / 1e6:.1f} M parameters"
    parts = [f"Graph {_data(_short(found['graph']))} at transaction {found['transaction']:,}", size, counted]
    parts += [f"seed {found['seed']}", *([made] if made else [])]
    early = " Interrupted: sections are missing." if found["interrupted"] else ""
    return (
        '<header><div><p class="kicker">Grounding exam</p>'
        f'<h1>{_data(name)}</h1><p class="meta">{", ".join(parts)}.{early}</p></div>{_ring(found["aims"])}</header>'
    )


def _ring(aims: Mapping[str, int]) -> str:
    """How many aims were reached, as a ring."""
    if not aims["of"]:
        return ""
    around = 2 * math.pi * _RADIUS
    part = around * aims["reached"] / aims["of"]
    circle = f'<circle cx="60" cy="60" r="{_RADIUS}" fill="none" stroke-width="9"'
    return (
        '<div class="ring"><svg viewBox="0 0 120 120" role="img" '
        f'aria-label="{aims["reached"]} of {aims["of"]} aims reached">'
        f'{circle} stroke="var(--track)"/>'
        f'{circle} stroke="var(--good)" stroke-dasharray="{part:.1f} {around - part:.1f}" '
        'transform="rotate(-90 60 60)"/>'
        f'<text x="60" y="68">{aims["reached"]}/{aims["of"]}</text></svg>aims reached</div>'
    )


def _tiles(sections: Mapping[str, Any]) -> str:
    tiles = []
    for key, name, title in _HEADLINES:
        measures = sections.get(key, {}).get("measures", ())
        measure = next((each for each in measures if each["name"] == name and each["n"]), None)
        if measure is not None:
            number, unit = _value(measure)
            tiles.append(
                f'<div class="tile"><b>{number}<small>{unit}</small></b>'
                f'<span class="what">{title}</span>{_bar(measure)}</div>'
            )
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _section(section: Mapping[str, Any]) -> str:
    measures: Sequence[Mapping[str, Any]] = section["measures"]
    gridded = [each for each in measures if SEPARATOR in each["name"]]
    plain = [each for each in measures if SEPARATOR not in each["name"]]
    tables = (_grid(gridded) if gridded else "") + (_plain(plain) if plain else "")
    if section["details"].get("error"):
        tables += f'<p class="error">Not held: {_data(section["details"]["error"])}</p>'
    seconds = f"<small>{_duration(section['seconds'])}</small>" if section["seconds"] >= 1 else ""
    return f"<section><h2>{_data(section['title'])}{seconds}</h2>{tables}</section>"


def _plain(measures: Iterable[Mapping[str, Any]]) -> str:
    """One measure a line."""
    lines = []
    for each in measures:
        note = f'<span class="note">{_data(each["note"])}</span>' if each["note"] else ""
        lines.append(
            f'<tr><th scope="row">{_data(_capital(each["name"]))}{note}</th><td>'
            f'<span class="value">{" ".join(_value(each))}</span><span class="rest">{_rest(each)}</span>{_bar(each)}'
            "</td></tr>"
        )
    return f'<table class="plain"><tbody>{"".join(lines)}</tbody></table>'


def _grid(measures: Iterable[Mapping[str, Any]]) -> str:
    """Measures by row and column, as their names say; columns with the same rows in one table."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in measures:
        row, _, column = each["name"].partition(SEPARATOR)
        rows.setdefault(row, {})[column] = each
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    head = "".join(f'<th scope="col">{_data(column)}</th>' for column in columns)
    lines = []
    for row, cells in rows.items():
        found = "".join(f"<td>{_cell(cells.get(column))}</td>" for column in columns)
        lines.append(f'<tr><th scope="row">{_data(_capital(row))}</th>{found}</tr>')
    return f'<table class="grid"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _cell(measure: Mapping[str, Any] | None) -> str:
    if measure is None or not measure["n"]:
        return '<span class="rest">nothing to count</span>' if measure is not None else ""
    return (
        f'<span class="value">{" ".join(_value(measure))}<span class="rest">{_interval(measure)}</span></span>'
        f"{_bar(measure)}"
    )


def _bar(measure: Mapping[str, Any]) -> str:
    """A share with its interval and aim; nothing for what is no share."""
    if measure["unit"] != "share" or not measure["n"]:
        return ""
    low, high, aim = measure["low"], measure["high"], measure["aim"]
    verdict = {True: " good", False: " bad", None: ""}[measure["reached"]]
    interval = f'<s style="left:{_percent(low)};width:{_percent(high - low)}"></s>' if None not in (low, high) else ""
    mark = "" if aim is None else f'<u style="left:{_percent(aim)}"></u>'
    fill = f'<i style="width:{_percent(measure["value"])}"></i>'
    return f'<span class="track{verdict}" title="{_title(measure)}">{fill}{interval}{mark}</span>'


def _title(measure: Mapping[str, Any]) -> str:
    return _text(f"{measure['name']}: {' '.join(_value(measure))}, n {measure['n']:,}{_aim(measure)}")


def _rest(measure: Mapping[str, Any]) -> str:
    verdict = {True: "good", False: "bad", None: ""}[measure["reached"]]
    aim = _aim(measure).removeprefix(", ")
    parts = [_interval(measure), f"n {measure['n']:,}", f'<span class="{verdict}">{aim}</span>' if aim else ""]
    return ", ".join(part for part in parts if part)


def _aim(measure: Mapping[str, Any]) -> str:
    if measure["aim"] is None:
        return ""
    number, unit = _number(measure["aim"], measure["unit"])
    return f", aim {'at most ' if measure['at_most'] else ''}{number} {unit}".rstrip()


def _interval(measure: Mapping[str, Any]) -> str:
    low, high = measure["low"], measure["high"]
    if None in (low, high) or measure["unit"] != "share" or not measure["n"]:
        return ""
    return f"{_digits(100 * low)}{'–' if low >= 0 else ' to '}{_digits(100 * high)}"


def _value(measure: Mapping[str, Any]) -> tuple[str, str]:
    """The figure and its unit."""
    if not measure["n"] or measure["value"] is None:
        return "–", ""
    return _number(measure["value"], measure["unit"])


def _number(value: float, unit: str) -> tuple[str, str]:
    if unit == "share":
        return _digits(100 * value), "%"
    if not math.isfinite(value):
        return "–", ""
    digits = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return digits, _text(unit)


def _digits(percent: float) -> str:
    """Percent to the digit that matters: 0.05, 97.4, 99.98, 100."""
    size = abs(percent)
    if min(size, abs(size - 100)) < 1e-9:
        digits = f"{size:.0f}"
    else:
        digits = f"{size:.2f}" if size < 1 or 99.95 <= size < 100 else f"{size:.1f}"
    return f"−{digits}" if percent < 0 and float(digits) else digits


def _percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def _samples(sections: Mapping[str, Any]) -> str:
    """Answers in the model's own words, those that went wrong among them."""
    rows: Sequence[Mapping[str, Any]] = sections.get("answers", {}).get("details", {}).get("samples", ())
    right = [each for each in rows if each["is_right"]][: _SHOWN * 2 // 3]
    wrong = [each for each in rows if not each["is_right"]][: _SHOWN - len(right)]
    found = []
    for each in (*right, *wrong):
        fate = "right" if each["is_right"] else "wrong" + (", withheld" if each["withheld"] else "")
        wanted = "" if each["is_right"] else f"; {', '.join(map(_data, each['right']))} is right"
        tone = "good" if each["is_right"] else "bad"
        found.append(
            f'<div><p class="q">{_data(each["question"])}</p><p class="a">{_data(each["answer"])}</p>'
            f'<p class="w">{_data(each["row"])}: <span class="{tone}">{fate}</span>{wanted}</p></div>'
        )
    if not found:
        return ""
    return f'<section><h2>In its own words</h2><div class="samples">{"".join(found)}</div></section>'


def _footer(found: Mapping[str, Any]) -> str:
    words = ["gz", "eval", "grounding", "--run", found["run"], "--graph", found["graph"],
             "--questions", str(found["questions"]), "--seed", str(found["seed"])]  # fmt: skip
    return (
        "<footer><p>An answer is right where it names every right answer and states nothing that the graph does not "
        "say; what is right comes from the graph alone, and no model judges. The entities asked about were kept from "
        "training. Bars run from 0 to 100 %; the thin line is the 95 % interval, the upright mark the aim.</p>"
        f"<p>Again: <code>{_text(shlex.join(words))}</code></p>"
        f"<p>groundzero {_text(found['version'])}, {_duration(found['seconds'])} in all.</p></footer>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(location: str) -> str:
    return location if "://" in location else Path(location).name


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _data(text: object) -> str:
    """Text from outside: escaped, and in its own direction."""
    return f"<bdi>{_text(text)}</bdi>"


def _text(text: object) -> str:
    """Escaped for elements and attributes, control characters made visible."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
    return html.escape(shown, quote=True)
