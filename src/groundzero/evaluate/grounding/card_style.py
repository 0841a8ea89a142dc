"""How the report card looks: one style sheet, light and dark, for the screen and for paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f4ef; --sheet: #fffdf9; --ink: #1d1b17; --soft: #6d675d; --line: #e4dfd4;
  --fill: #2f5d8a; --track: #ebe6db; --good: #2f7d4f; --bad: #b4472f; --aim: #1d1b17; --whisker: #1d1b1799;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", P052, Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --sheet: #1b1e24; --ink: #eceae4; --soft: #98948b; --line: #2c3038;
    --fill: #6da3d8; --track: #2a2e36; --good: #62bd86; --bad: #e5806a; --aim: #eceae4; --whisker: #eceae4aa;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 3rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 var(--sans); font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 78rem; margin: 0 auto; }
bdi { overflow-wrap: anywhere; }
header { display: flex; gap: 2rem; align-items: center; justify-content: space-between; margin-bottom: 2rem; }
header > div:first-child { min-width: 0; }
.kicker { font-size: .78rem; letter-spacing: .14em; text-transform: uppercase; color: var(--soft); margin: 0 0 .35rem; }
h1 { font: 600 2.5rem/1.1 var(--serif); letter-spacing: -.015em; margin: 0 0 .6rem; }
.meta { color: var(--soft); margin: 0; max-width: 40rem; }
.ring { flex: none; width: 7.5rem; text-align: center; color: var(--soft); font-size: .84rem; }
.ring svg { display: block; width: 7.5rem; height: 7.5rem; margin-bottom: .1rem; }
.ring text { fill: var(--ink); font: 600 24px var(--serif); text-anchor: middle; }
.tiles { display: grid; gap: .9rem; margin-bottom: 1.6rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.8rem, 1fr)); }
.tile { background: var(--sheet); border: 1px solid var(--line); border-radius: .7rem; padding: 1rem 1.1rem 1.1rem; }
.tile b { display: block; font: 600 2rem/1.1 var(--serif); letter-spacing: -.02em; }
.tile b small { font-size: .55em; font-weight: 400; color: var(--soft); margin-left: .12em; }
.tile span.what { display: block; color: var(--soft); font-size: .84rem; margin: .15rem 0 .7rem; }
section {
  background: var(--sheet); border: 1px solid var(--line); border-radius: .7rem;
  padding: 1.35rem 1.5rem 1.5rem; margin-bottom: 1.1rem;
}
.sheets { columns: 2; column-gap: 1.1rem; margin-bottom: 1.1rem; }
.sheets section { break-inside: avoid; }
h2 { font: 600 1.3rem/1.2 var(--serif); margin: 0 0 .8rem; display: flex; justify-content: space-between; gap: 1rem; }
h2 small { font: .8rem var(--sans); color: var(--soft); white-space: nowrap; padding-top: .4rem; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .42rem .9rem .42rem 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 500; font-size: .8rem; color: var(--soft); padding-top: 0; }
thead th { border-bottom: 1px solid var(--line); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody th { font-weight: 500; }
table + table { margin-top: 1.1rem; }
.plain { table-layout: fixed; }
.plain th { width: 49%; }
.plain .value { font-weight: 600; white-space: nowrap; margin-right: .4rem; }
.plain .note { display: block; font-weight: 400; font-size: .84rem; color: var(--soft); }
.plain .rest, .grid .rest { font-weight: 400; color: var(--soft); font-size: .78rem; }
.grid { table-layout: fixed; }
.grid th:first-child { width: 28%; }
.sheets .grid th:first-child { width: 34%; }
.grid .value { font-weight: 600; display: block; white-space: nowrap; }
.grid .rest { margin-left: .35rem; }
.track { display: block; position: relative; height: .36rem; border-radius: .18rem; background: var(--track); }
td .track { margin: .24rem 0 .12rem; max-width: 15rem; }
.track i { position: absolute; top: 0; bottom: 0; left: 0; border-radius: inherit; background: var(--fill); }
.track.good i { background: var(--good); }
.track.bad i { background: var(--bad); }
.track s { position: absolute; top: 50%; height: 2px; margin-top: -1px; background: var(--whisker); }
.track u { position: absolute; top: -.22rem; bottom: -.22rem; width: 2px; margin-left: -1px; background: var(--aim); }
.error { margin: 0; color: var(--bad); }
.good { color: var(--good); } .bad { color: var(--bad); }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1.1rem 1.8rem; }
.samples p { margin: 0; }
.samples .q { font: italic 1.02rem/1.35 var(--serif); }
.samples .a { margin-top: .2rem; }
.samples .w { color: var(--soft); font-size: .8rem; margin-top: .15rem; }
footer { color: var(--soft); font-size: .84rem; margin-top: 1.6rem; }
footer p { margin: .35rem 0; max-width: 52rem; }
code { font: .92em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
@media (max-width: 64rem) { .sheets { columns: 1; } }
@media (max-width: 44rem) {
  header { flex-direction: column; align-items: start; }
  .samples { grid-template-columns: 1fr; }
  .grid .rest { display: none; }
  .grid th, .grid td { padding-right: .5rem; font-size: .86rem; }
  section { overflow-x: auto; padding: 1.1rem; }
}
@media print { body { padding: 0; background: none; } section, .tile { break-inside: avoid; } }
"""
