"""`gz graph forget`: take back everything that a source says."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from groundzero.cli.graph_options import GraphOption, Json

app = typer.Typer()


@app.command()
def forget(
    source: Annotated[str, typer.Argument(help="A source's key as answers cite it, or a file's path.")],
    graph: GraphOption,
    as_json: Json = False,
) -> None:
    """Take back everything that a source says.

    Its statements are retired in one transaction, and so are the names of what nothing else speaks of: no answer rests
    on it, no question finds what only it told of, and an embedding beside the graph loses those vectors. Earlier
    transactions still show what they showed. The pages of a dump and the later versions of a file go with it. A folder
    that is learnt again does not bring it back; `gz graph learn --again` or an import does.

    Example: gz graph forget notes/rumours.txt --graph facts.db
    """
    from groundzero.cli.ask import visible  # noqa: PLC0415
    from groundzero.cli.graph_learn import refresh_vectors  # noqa: PLC0415
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.graph import Graph  # noqa: PLC0415 - brings in SciPy
    from groundzero.ingest.folder import state_folder  # noqa: PLC0415
    from groundzero.ingest.forget import forget_source  # noqa: PLC0415

    with Graph.open(graph) as opened:
        found = forget_source(opened.store, source, state_folder(opened))
        payload: dict[str, Any] = {**found.as_json(), "graph": opened.location}
        refreshed = refresh_vectors(opened) if found.statements else None
        if refreshed is not None:
            payload["embedding"] = refreshed

    def tell() -> None:
        for key in found.sources:
            print(visible(key))
        left = f"{len(found.entities):,} entities and {len(found.relations):,} relations are left with nothing"
        print(f"{found.statements:,} facts retired, {found.quarantined:,} in quarantine; {left}.")
        if refreshed is not None:
            note(f"{refreshed['removed']} vectors removed, {refreshed['refreshed']} refreshed.")
        note(f"Transaction {found.transaction}. Earlier ones still show what they showed: --at.")

    emit(payload, as_json, tell)
