"""`gz graph learn` and `gz graph gaps`: facts from text, and what the graph was asked and could not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.graph_options import GraphOption, Json
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.graph.graph import Graph
    from groundzero.ingest.config import IngestConfig
    from groundzero.ingest.learn import LearnReport

app = typer.Typer()


@app.command()
def learn(
    graph: GraphOption,
    sources: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, Wikipedia dumps (.xml, .bz2, .gz), http(s) addresses.")
    ] = None,
    precision: Annotated[
        float, typer.Option("--precision", help="Share of accepted prose facts that must be right on unseen pages.")
    ] = 0.85,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="Accept also what no sentence names but the whole page suggests.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Read again what was read before.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking for new and changed files.")] = False,
    every: Annotated[float, typer.Option("--every", help="Seconds between two looks, with --watch.", min=0.1)] = 10.0,
    crawl: Annotated[
        bool,
        typer.Option("--crawl", help="Go on, unattended, to pages about gaps and about what the graph knows least of."),
    ] = False,
    site: Annotated[
        str, typer.Option("--site", help="Where --crawl finds the page of a title, with {title}.")
    ] = "https://en.wikipedia.org/wiki/{title}",
    max_pages: Annotated[int, typer.Option("--max-pages", help="Pages that one crawl fetches.", min=1)] = 100,
    delay: Annotated[
        float, typer.Option("--delay", help="Least seconds between two requests to one host.", min=0)
    ] = 1.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A host (host:port) that may be reached though its address is not public."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Where to remember; beside the graph by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read text into the graph: infoboxes, first sentences, and prose as far as the graph has shown how to read it.

    Examples:

    gz graph learn --graph facts.db notes/ enwiki.xml.bz2

    gz graph learn --graph facts.db --crawl --max-pages 500
    """
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.graph import Graph  # noqa: PLC0415
    from groundzero.ingest.config import IngestConfig  # noqa: PLC0415

    if not sources and not crawl:
        raise UsageError("Nothing to learn from.", remedy="Name files, folders, dumps or addresses, or give --crawl.")
    if watch and crawl:
        raise UsageError("--watch and --crawl at once.", remedy="Run two commands, one for each.")
    if "{title}" not in site or not site.startswith(("http://", "https://")):
        raise UsageError(f"--site {site!r} is no address with {{title}}.", remedy="Write https://host/wiki/{title}.")
    config = IngestConfig.parse({"precision": precision, "suggested": suggested, "again": again})
    with Graph.open(graph, create=True) as opened:
        if crawl:
            report: Any = _crawl(opened, sources or [], config, state, site, max_pages, delay, allow_host or [])
        elif watch:
            report = _watch(opened, sources or [], config, state, every, delay, allow_host or [])
        else:
            report = _learn(opened, sources or [], config, state, delay, allow_host or [])
        payload = {**report.as_json(), "graph": opened.location, "transaction": opened.store.transaction()}
        refreshed = refresh_vectors(opened) if payload["accepted"] or payload["retired"] else None
        if refreshed is not None:
            payload["embedding"] = refreshed

    def tell() -> None:
        print(
            f"{payload['accepted']:,} facts accepted ({payload['confirmed']:,} known before), "
            f"{payload['quarantined']:,} quarantined, {payload['entities']:,} new entities, from "
            f"{payload['documents']:,} documents; {payload['unchanged']:,} were read before."
        )
        for line in payload["skipped"][:10]:
            note(f"Passed over: {line}")
        if len(payload["skipped"]) > 10:
            note(f"... and {len(payload['skipped']) - 10} more; --json lists them.")

    emit(payload, as_json, tell)


@app.command()
def gaps(
    graph: GraphOption,
    accept: Annotated[
        list[int] | None, typer.Option("--accept", help="Accept these quarantined statements, by id.", metavar="ID")
    ] = None,
    reject: Annotated[
        list[int] | None, typer.Option("--reject", help="Retire these quarantined statements, by id.", metavar="ID")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Show candidates one by one: a accepts, r rejects, s skips.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="Show at most so many.", min=1)] = 20,
    state: Annotated[Path | None, typer.Option("--state", help="Where questions are remembered.")] = None,
    as_json: Json = False,
) -> None:
    """List what the graph was asked and could not answer, with candidates for the missing facts.

    Examples:

    gz graph gaps --graph facts.db

    gz graph gaps --graph facts.db --accept 1042 --accept 1043
    """
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.graph.graph import Graph  # noqa: PLC0415
    from groundzero.ingest.folder import state_folder  # noqa: PLC0415
    from groundzero.ingest.gaps import accept_statement, rank_gaps, reject_statement  # noqa: PLC0415

    if ask and as_json:
        raise UsageError("--ask and --json at once.", remedy="Accept by --accept ID in scripts.")
    with Graph.open(graph) as opened:
        accepted = [accept_statement(opened, each) for each in accept or []]
        for each in reject or []:
            reject_statement(opened, each)
        found = rank_gaps(opened, state or state_folder(opened), limit=limit)
        payload = {
            "gaps": [gap.as_json() for gap in found],
            "accepted": accepted,
            "rejected": list(reject or []),
            "graph": opened.location,
        }
        if ask:
            _ask(opened, found)
            return
    emit(payload, as_json, lambda: _print_gaps(payload))


def _print_gaps(payload: dict[str, Any]) -> None:
    from groundzero.cli.ask import visible  # noqa: PLC0415
    from groundzero.cli.output import note  # noqa: PLC0415

    if payload["accepted"]:
        print(f"Accepted {len(payload['accepted'])}.")
    if payload["rejected"]:
        print(f"Rejected {len(payload['rejected'])}.")
    if not payload["gaps"]:
        note("Nothing is missing that anybody asked for, and nothing waits in quarantine.")
    for gap in payload["gaps"]:
        asked = f", asked {gap['asked']} times" if gap["asked"] > 1 else ", asked once" if gap["asked"] else ""
        relation = gap["relation"] or "anything"
        print(f"{gap['subject']} - {f'is {relation} of' if gap['inverse'] else relation}{asked}")
        for question in gap["questions"][: 0 if gap["relation"] else 1]:
            print(f"  {visible(question)}")
        for candidate in gap["candidates"]:
            likely = f"({candidate['confidence']:.2f})"
            print(f"  {candidate['id']:>8}  {candidate['object']}  {likely}  {candidate['sentence']}")


def _ask(graph: Graph, found: list[Any]) -> None:
    """One key for each candidate."""
    from groundzero.cli.output import note  # noqa: PLC0415
    from groundzero.ingest.gaps import accept_statement, reject_statement  # noqa: PLC0415

    for gap in found:
        for candidate in gap.candidates:
            ends = (candidate.object, gap.subject) if gap.inverse else (gap.subject, candidate.object)
            print(f"{ends[0]} - {candidate.relation} - {ends[1]} ({candidate.confidence:.2f})")
            if candidate.sentence:
                print(f"  {candidate.sentence}")
            key = typer.prompt("a accept, r reject, s skip, q quit", default="s").strip().lower()[:1]
            if key == "a":
                note(f"Accepted as statement {accept_statement(graph, candidate.id)}.")
            elif key == "r":
                reject_statement(graph, candidate.id)
            elif key == "q":
                return


def _learn(
    graph: Graph, sources: list[str], config: IngestConfig, state: Path | None, delay: float, hosts: list[str]
) -> LearnReport:
    from groundzero.ingest.folder import state_folder  # noqa: PLC0415
    from groundzero.ingest.learn import learn as run  # noqa: PLC0415
    from groundzero.ingest.open import open_sources  # noqa: PLC0415
    from groundzero.ingest.state import LearnState  # noqa: PLC0415

    with _progress() as show:
        opened = open_sources(sources, delay=delay, allow_hosts=hosts)
        return run(graph, opened, config, LearnState(state or state_folder(graph)), progress=show)


def _watch(
    graph: Graph,
    sources: list[str],
    config: IngestConfig,
    state: Path | None,
    every: float,
    delay: float,
    hosts: list[str],
) -> LearnReport:
    from groundzero.cli.output import note  # noqa: PLC0415
    from groundzero.ingest.folder import state_folder  # noqa: PLC0415
    from groundzero.ingest.learn import learn as run  # noqa: PLC0415
    from groundzero.ingest.open import open_sources  # noqa: PLC0415
    from groundzero.ingest.state import LearnState  # noqa: PLC0415
    from groundzero.ingest.watch import changes  # noqa: PLC0415

    folder = LearnState(state or state_folder(graph))
    report: LearnReport | None = None
    note("Watching; Ctrl-C ends it.")
    try:
        for changed in changes([Path(each) for each in sources], every):
            latest = run(
                graph, open_sources([str(each) for each in changed], delay=delay, allow_hosts=hosts), config, folder
            )
            report = latest if report is None else report.plus(latest)
            note(f"{len(changed)} files: {latest.counts.accepted:,} facts accepted.")
    except KeyboardInterrupt:
        note("Stopped; everything read so far is in the graph.")
    from groundzero.ingest.learn import LearnReport as Report  # noqa: PLC0415

    return report or Report()


def _crawl(
    graph: Graph,
    seeds: list[str],
    config: IngestConfig,
    state: Path | None,
    site: str,
    max_pages: int,
    delay: float,
    hosts: list[str],
) -> Any:
    from groundzero.cli.output import note  # noqa: PLC0415
    from groundzero.ingest.crawl import CrawlConfig, crawl  # noqa: PLC0415
    from groundzero.ingest.folder import state_folder  # noqa: PLC0415

    folder = state or state_folder(graph)
    crawl_config = CrawlConfig.parse({"site": site, "max_pages": max_pages, "delay": delay, "allow_hosts": hosts})
    note(f"Crawling; the state is shown in {folder / 'crawl.html'}.")
    with _progress() as show:
        return crawl(graph, seeds, config, crawl_config, folder, progress=show)


def refresh_vectors(graph: Graph) -> dict[str, Any] | None:
    """Bring the embedding beside a graph up to date; None where it has none."""
    from groundzero.graph.milestones import beside  # noqa: PLC0415

    if "://" in graph.location:
        return None
    folder = beside(graph.location, "embedding")
    if not (folder / "embedding.json").is_file():
        return None
    from groundzero.cli.graph_embed import _updated  # noqa: PLC0415 - brings in PyTorch

    return _updated(graph.store, folder)


@contextmanager
def _progress() -> Iterator[Callable[[str, float, float, str], None]]:
    """One bar whose label changes with the stage."""
    from contextlib import ExitStack  # noqa: PLC0415

    from groundzero.cli.output import Bar, progress  # noqa: PLC0415

    with ExitStack() as stack:
        current: dict[str, Any] = {"stage": "", "bar": None, "stack": None}

        def show(stage: str, done: float, total: float, note: str) -> None:
            if stage != current["stage"]:
                if current["stack"] is not None:
                    current["stack"].close()
                current["stack"] = stack.enter_context(ExitStack())
                current["bar"] = current["stack"].enter_context(progress(stage, total=max(total, 1)))
                current["stage"] = stage
            bar: Bar = current["bar"]
            bar.update(done, note=note)

        yield show
