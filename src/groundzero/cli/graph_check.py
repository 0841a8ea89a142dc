"""`gz graph lint` and `verbalise`: what looks wrong in a graph, and what it says, in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.graph_options import At, GraphOption, Json, Limit, checked_at, opened
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.graph.lint import Finding, LintReport
    from groundzero.graph.store import Reader
    from groundzero.graph.verbalise import Verbalised

app = typer.Typer()


@app.command()
def lint(
    graph: GraphOption,
    only: Annotated[
        str,
        typer.Option("--only", help="Of: contradiction, duplicate, type, cardinality, cycle, dangling, name."),
    ] = "",
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set contradicting facts aside, with their sources.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="Print at most so many of each kind; 0 for all.", min=0)] = 5,
    functional: Annotated[
        float, typer.Option("--functional", help="Share of subjects with one object that makes it a rule.")
    ] = 0.95,
    typed: Annotated[float, typer.Option("--typed", help="Share of ends that usual types cover.")] = 0.97,
    as_json: Json = False,
) -> None:
    """Look for what is wrong in a graph.

    Contradictions, duplicates, odd types and counts, circles, loose ends; the rules are learned from the graph. Exit
    code 0 whatever is found; nothing changes without --quarantine.

    Example: gz graph lint --graph facts.db --only contradiction --quarantine
    """
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.graph.lint import CHECKS, LintSettings  # noqa: PLC0415
    from groundzero.graph.lint import lint as look  # noqa: PLC0415
    from groundzero.graph.lint import quarantine as set_aside  # noqa: PLC0415

    wanted: list[Any] = [word.strip() for word in only.split(",") if word.strip()] or list(CHECKS)
    unknown = [word for word in wanted if word not in CHECKS]
    if unknown:
        raise UsageError(f"--only {unknown[0]!r} is no check.", remedy=f"Give some of {', '.join(CHECKS)}.")
    settings = LintSettings.parse({"functional": functional, "typed": typed})
    with opened(graph, read_only=not quarantine) as store:
        report = look(store, checks=wanted, settings=settings)
        moved = set_aside(store, report) if quarantine else []
        payload = {
            "graph": store.location,
            "transaction": report.transaction,
            "counts": {check: report.counts[check] for check in wanted},
            "functional": [store.relation(relation).label for relation in report.functional],
            "findings": [_finding(store, finding) for finding in _shown(report, limit)],
            "quarantined": [{"id": old, "now": new} for old, new in moved],
        }
    emit(payload, as_json, lambda: _print_report(report, payload, limit))


@app.command()
def verbalise(
    graph: GraphOption,
    out: Annotated[
        str, typer.Option("--out", help="A file to write: .jsonl, .txt or .tsv; - prints.", metavar="FILE")
    ] = "-",
    kinds: Annotated[
        str, typer.Option("--kinds", help="Of: sentence, question, inverse, cloze, description.")
    ] = "sentence,question,inverse,cloze,description",
    paraphrases: Annotated[int, typer.Option("--paraphrases", help="Ways to say one thing.", min=1)] = 2,
    max_answers: Annotated[int, typer.Option("--max-answers", help="Ask no question with more answers.", min=1)] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Decides which ways are taken.")] = 1337,
    at: At = None,
    limit: Limit = 0,
    as_json: Json = False,
) -> None:
    """Say what a graph says, in sentences and questions.

    Each comes with the statements it rests on, and a question with its answers.

    Example: gz graph verbalise --graph facts.db --out facts.jsonl --kinds question,inverse
    """
    from collections import Counter  # noqa: PLC0415

    from groundzero.cli.output import emit, progress  # noqa: PLC0415
    from groundzero.graph.verbalise import KINDS, VerbaliseReport, VerbaliseSettings  # noqa: PLC0415
    from groundzero.graph.verbalise import verbalise as say  # noqa: PLC0415

    wanted = tuple(word.strip() for word in kinds.split(",") if word.strip())
    unknown = [word for word in wanted if word not in KINDS]
    if unknown:
        raise UsageError(f"--kinds {unknown[0]!r} is no kind.", remedy=f"Give some of {', '.join(KINDS)}.")
    if out == "-" and as_json:
        raise UsageError("--json needs --out FILE: standard output would hold two things.", remedy="Add --out FILE.")
    settings = VerbaliseSettings.parse(
        {"kinds": wanted, "paraphrases": paraphrases, "max_answers": max_answers, "seed": seed}
    )
    report, written = VerbaliseReport(), Counter[str]()
    with opened(graph) as store:
        at = checked_at(store, at)
        rows = say(store, settings, at=at, report=report)
        chosen = islice(rows, limit or None)
        if out == "-":
            for row in chosen:
                print(_line(row, ".txt"))
            return
        with progress("Verbalising", total=store.counts(at=at).entities, unit="entities") as bar:

            def watched() -> Iterator[Verbalised]:
                for count, row in enumerate(chosen):
                    written[row.kind] += 1
                    yield row
                    if count % 5000 == 0:
                        bar.update(report.entities)

            _write(watched(), Path(out))
    payload = {
        "path": out,
        "rows": sum(written.values()),
        "kinds": dict(written),
        "unnamed": report.unnamed,
        "ambiguous": report.ambiguous,
        "seed": seed,
    }

    def tell() -> None:
        counts = ", ".join(f"{count:,} x {kind}" for kind, count in written.items())
        print(f"{out}: {payload['rows']:,} rows: {counts}.")
        if report.unnamed:
            print(f"{report.unnamed:,} statements left out: an end has no readable name.", file=sys.stderr)

    emit(payload, as_json, tell)


def _write(rows: Iterator[Verbalised], path: Path) -> None:
    """One row a line; the file appears whole or not at all."""
    from groundzero.graph.exporting import replacing  # noqa: PLC0415

    suffix = path.with_suffix("").suffix if path.suffix in (".gz", ".bz2") else path.suffix
    if suffix not in (".jsonl", ".txt", ".tsv"):
        raise UsageError(f"Cannot write {path.name}.", remedy="End its name in .jsonl, .txt or .tsv.")
    with replacing(path) as stream:
        for row in rows:
            stream.write((_line(row, suffix) + "\n").encode())


def _line(row: Verbalised, suffix: str) -> str:
    import json  # noqa: PLC0415

    if suffix == ".jsonl":
        record = {
            "kind": row.kind, "text": row.text, "answer": row.answer, "answers": row.answers,
            "statements": row.statements, "subject": row.subject, "relation": row.relation,
        }  # fmt: skip
        return json.dumps(record, ensure_ascii=False)
    text, answer = (" ".join(part.split()) for part in (row.text, row.answer))
    if suffix == ".tsv":
        return "\t".join((row.kind, text, answer, ",".join(map(str, row.statements))))
    return f"{text} {answer}".rstrip() if row.answers else text


def _shown(report: LintReport, limit: int) -> Iterator[Finding]:
    """The first few findings of each kind."""
    seen: dict[str, int] = {}
    for finding in report.findings:
        seen[finding.check] = seen.get(finding.check, 0) + 1
        if not limit or seen[finding.check] <= limit:
            yield finding


def _finding(reader: Reader, finding: Finding) -> dict[str, Any]:
    sources = []
    for id_ in finding.statements:
        statement = reader.statement(id_)
        if statement is not None and statement.source is not None:
            sources.append(reader.source(statement.source).key)
    return {
        "check": finding.check,
        "message": finding.message,
        "statements": finding.statements,
        "entities": [reader.entity(entity).key for entity in finding.entities],
        "relation": None if finding.relation is None else reader.relation(finding.relation).key,
        "sources": list(dict.fromkeys(sources)),
        "quarantine": finding.quarantine,
    }


def _print_report(report: LintReport, payload: dict[str, Any], limit: int) -> None:
    from groundzero.cli.output import note  # noqa: PLC0415

    if not any(payload["counts"].values()):
        print("Nothing found.")
    for check, count in payload["counts"].items():
        found = [finding for finding in payload["findings"] if finding["check"] == check]
        if not count:
            continue
        print(f"{check}: {count:,}")
        for finding in found:
            ids = finding["statements"][:6]
            print(f"  {finding['message']}" + (f"   [{', '.join(map(str, ids))}]" if ids else ""))
        if count > len(found):
            note(f"  ... and {count - len(found):,} more; --limit 0 shows them.")
    could = sum(bool(finding.quarantine) for finding in report.findings)
    if payload["quarantined"]:
        print(f"Quarantined {len(payload['quarantined']):,} statements; `gz graph query --quarantined` lists them.")
    elif could:
        note(f"--quarantine would set the facts of {could:,} contradictions aside.")
