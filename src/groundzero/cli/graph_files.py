"""`gz graph import`, `export` and `snapshot`: facts between files and graphs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.graph_options import At, GraphOption, Json, checked_at, opened
from groundzero.errors import InputError, UsageError

if TYPE_CHECKING:
    from groundzero.graph.exporting import ExportReport
    from groundzero.graph.importing import ImportReport
    from groundzero.graph.store import Store

app = typer.Typer()

# Files of names; each option may be given more than once.
Labels = Annotated[
    list[Path] | None, typer.Option("--labels", help="Labels of entities: key<TAB>label, or JSON.", metavar="FILE")
]
Aliases = Annotated[
    list[Path] | None, typer.Option("--aliases", help="Aliases of entities: key<TAB>alias<TAB>alias...", metavar="FILE")
]
Descriptions = Annotated[
    list[Path] | None, typer.Option("--descriptions", help="Descriptions of entities: key<TAB>text.", metavar="FILE")
]
Types = Annotated[
    list[Path] | None, typer.Option("--types", help="Types of entities: key<TAB>type, or JSON.", metavar="FILE")
]
RelationLabels = Annotated[
    list[Path] | None,
    typer.Option("--relation-labels", help="Labels of relations: key<TAB>label, or JSON.", metavar="FILE"),
]
RelationAliases = Annotated[
    list[Path] | None, typer.Option("--relation-aliases", help="Aliases of relations.", metavar="FILE")
]
Inverses = Annotated[
    list[Path] | None, typer.Option("--inverses", help="What the way back along a relation is called.", metavar="FILE")
]
Templates = Annotated[
    list[Path] | None,
    typer.Option(
        "--templates", help="Sentences for relations, with {subject} and {object}, or [X] and [Y].", metavar="FILE"
    ),
]


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Files of facts, or - for standard input; .gz, .bz2, .xz too.")],
    graph: GraphOption,
    format_: Annotated[
        str,
        typer.Option("--format", help="auto, tsv, csv, jsonl, ntriples, nquads, turtle, trig, rdfxml or wikidata."),
    ] = "auto",
    labels: Labels = None,
    aliases: Aliases = None,
    descriptions: Descriptions = None,
    types: Types = None,
    relation_labels: RelationLabels = None,
    relation_aliases: RelationAliases = None,
    inverses: Inverses = None,
    templates: Templates = None,
    all_names: Annotated[
        bool, typer.Option("--all-names", help="Also keep names of what no statement mentions.")
    ] = False,
    source: Annotated[str, typer.Option("--source", help="What to cite instead of the file's path.")] = "",
    delimiter: Annotated[str, typer.Option("--delimiter", help="Between cells of a table; told from the file.")] = "",
    columns: Annotated[
        str, typer.Option("--columns", help="Of a table without header, such as subject,object,relation.")
    ] = "",
    encoding: Annotated[str, typer.Option("--encoding", help="Of the text, where it is not UTF-8.")] = "auto",
    languages: Annotated[str, typer.Option("--languages", help="Of Wikidata's names, best first; or all.")] = "en",
    literals: Annotated[
        bool, typer.Option("--literals/--no-literals", help="Take numbers and dates of a table for values.")
    ] = True,
    derive_labels: Annotated[
        bool, typer.Option("--derive-labels/--no-derive-labels", help="Read labels off keys that have none.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Add files of facts to a graph.

    The graph is made if there is none. Repeating an import adds nothing, and completes one that was killed.

    Examples:

    gz graph import facts.tsv --graph facts.db

    gz graph import train.txt.gz --labels entity2label.txt --templates relation2template.json --graph wiki.db
    """
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.formats.options import ImportOptions  # noqa: PLC0415
    from groundzero.graph.importing import import_names  # noqa: PLC0415

    options = ImportOptions.parse(
        {
            "format": format_, "source": source, "delimiter": delimiter.replace("\\t", "\t"), "encoding": encoding,
            "columns": tuple(name.strip() for name in columns.split(",") if name.strip()), "literals": literals,
            "languages": tuple(languages.split(",")), "all_languages": languages == "all",
            "derive_labels": derive_labels,
        }
    )  # fmt: skip
    if source and len(files) > 1:
        raise UsageError("--source names one file.", remedy="Import the files one by one.")
    beside: list[tuple[list[Path] | None, Any, Any]] = [
        (labels, "label", "entity"), (aliases, "alias", "entity"), (descriptions, "description", "entity"),
        (types, "type", "entity"), (relation_labels, "label", "relation"), (relation_aliases, "alias", "relation"),
        (inverses, "inverse", "relation"), (templates, "template", "relation"),
    ]  # fmt: skip
    _require([*files, *(path for paths, _, _ in beside for path in paths or ())])
    reports: list[ImportReport] = []
    with opened(graph, create=True, read_only=False) as store:
        try:
            for file in files:
                with _local(file) as local:
                    piped = local != file and not source
                    chosen = options.replace(source="standard input") if piped else options
                    reports.append(_import_one(store, local, chosen))
            for paths, kind, owner in beside:
                reports += [import_names(store, path, kind, owner=owner, everyone=all_names) for path in paths or ()]
        except KeyboardInterrupt:
            kept = store.counts()
            note(f"{store.location} holds {kept.triples:,} triples; give the same command again to go on.")
            raise
        payload = {"graph": store.location, "transaction": store.transaction(), **_sizes(store)}
    payload["files"] = [report.as_json() for report in reports]
    emit(payload, as_json, lambda: _print_reports(reports, payload))


@app.command()
def export(
    graph: GraphOption,
    out: Annotated[str, typer.Option("--out", help="The file to write, or - for standard output.", metavar="FILE")],
    format_: Annotated[
        str, typer.Option("--format", help="tsv, csv, jsonl, ntriples, nquads or turtle; told by the file's name.")
    ] = "auto",
    at: At = None,
    plain: Annotated[bool, typer.Option("--plain", help="Of a table: three columns, no header, no literals.")] = False,
    labels: Annotated[bool, typer.Option("--use-labels", help="Of a table: labels instead of keys.")] = False,
    as_json: Json = False,
) -> None:
    """Write a graph to a file.

    JSON lines lose nothing; N-Quads keep statements, names and sources; N-Triples and Turtle statements and names;
    tables statements alone.

    Example: gz graph export --graph facts.db --out facts.nq.gz --at 12
    """
    from groundzero.cli.output import emit, note, progress  # noqa: PLC0415
    from groundzero.graph.exporting import export_file, export_stream, format_of  # noqa: PLC0415

    known = ("tsv", "csv", "jsonl", "ntriples", "nquads", "turtle")
    if format_ != "auto" and format_ not in known:
        raise UsageError(f"Cannot write {format_!r}.", remedy=f"Give one of {', '.join(known)}.")
    if out == "-" and (format_ == "auto" or as_json):
        raise UsageError("Standard output needs --format, and no --json.", remedy="Write to a file, or say the format.")
    kind: Any = format_of(Path(out)) if format_ == "auto" else format_
    with opened(graph) as store:
        at = checked_at(store, at)
        if out == "-":
            export_stream(store, sys.stdout.buffer, "-", format=kind, at=at, plain=plain, labels=labels)
            sys.stdout.buffer.flush()
            return
        counts = store.counts(at=at)
        with progress("Exporting", total=counts.triples + counts.quarantined, unit="statements") as bar:
            report = export_file(
                store,
                Path(out),
                format=kind,
                at=at,
                plain=plain,
                labels=labels,
                progress=lambda done, _: bar.update(done),
            )

    def tell() -> None:
        print(f"{out}: {report.statements:,} statements as {report.format}, of transaction {report.transaction}.")
        for remark in _left_out(report):
            note(remark)

    emit(report.as_json(), as_json, tell)


@app.command()
def snapshot(
    graph: GraphOption,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write a copy: .db for a graph, else as `export`.", metavar="FILE")
    ] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Print the transaction that a graph is at, or copy the graph.

    The number is what --at takes later. With --out, the graph is copied as it is, or as it was then.

    Example: gz graph snapshot --graph facts.db --at 3 --out before.db
    """
    from dataclasses import asdict  # noqa: PLC0415

    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.graph.copying import copy_graph  # noqa: PLC0415
    from groundzero.graph.exporting import export_file  # noqa: PLC0415

    with opened(graph) as store:
        at = checked_at(store, at)
        shown = store.transaction() if at is None else at
        payload: dict[str, Any] = {"graph": store.location, "transaction": shown, **asdict(store.counts(at=shown))}
        if out is not None:
            if out.suffix in (".db", ".sqlite"):
                copy_graph(store, out, at=shown)
            else:
                export_file(store, out, at=shown)
            payload["path"] = str(out)

    def tell() -> None:
        print(f"{payload['graph']} at transaction {shown}: {payload['triples']:,} triples.")
        if out is not None:
            print(f"Copied to {out}.")

    emit(payload, as_json, tell)


def _import_one(store: Store, file: Path, options: Any) -> ImportReport:
    from groundzero.cli.output import progress  # noqa: PLC0415
    from groundzero.graph.importing import import_file  # noqa: PLC0415

    with progress(f"Importing {file.name}", total=100, unit="%") as bar:
        return import_file(
            store,
            file,
            options,
            progress=lambda done, total, remark: bar.update(100 * done / max(total, 1), note=remark),
        )


@contextmanager
def _local(file: Path) -> Iterator[Path]:
    """The file itself; what comes in by standard input, as a file that can be read twice."""
    if str(file) != "-":
        yield file
        return
    import shutil  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="groundzero-") as folder:
        spooled = Path(folder) / "stdin"
        with spooled.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        yield spooled


def _require(paths: list[Path]) -> None:
    """Every file is there before anything is written."""
    for path in paths:
        if str(path) != "-" and not path.exists():
            raise InputError(f"No file at {path}.", remedy="Check the path; nothing was imported.")


def _sizes(store: Store) -> dict[str, int]:
    counts = store.counts()
    return {"triples": counts.triples, "entities": counts.entities, "relations": counts.relations}


def _print_reports(reports: list[ImportReport], payload: dict[str, Any]) -> None:
    from groundzero.cli.output import human_seconds, note  # noqa: PLC0415

    for report in reports:
        if report.already:
            print(f"{report.path}: here already, nothing to add.")
            continue
        grown = [(count, what) for what, count in report.added.items() if count and what != "sources"]
        added = ", ".join(f"{count:,} new {what}" for count, what in grown) or "nothing new"
        print(f"{report.path}: {report.rows:,} rows as {report.format}, {added}, in {human_seconds(report.seconds)}.")
        for remark, count in report.read.notes.items():
            note(f"  {count:,} x {remark}")
        for reason, count in report.read.skipped.items():
            note(f"  skipped {count:,}: {reason}")
            for example in [one for one in report.read.examples if one.reason == reason][:2]:
                where = f"line {example.line}: " if example.line else ""
                note(f"    {where}{example.excerpt}")
    print(
        f"{payload['graph']}: {payload['triples']:,} triples, {payload['entities']:,} entities, "
        f"{payload['relations']:,} relations, transaction {payload['transaction']}."
    )


def _left_out(report: ExportReport) -> list[str]:
    skipped = [f"Left out {count:,} statements: {why}." for why, count in report.left_out.skipped.items()]
    return skipped + [f"Left out of {count:,}: {what}." for what, count in report.left_out.notes.items()]
