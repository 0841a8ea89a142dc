"""`gz verify`: an answer checked against a graph, with no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from groundzero.cli.output import emit
from groundzero.errors import UsageError

FAILED = 1

AnswerArgument = Annotated[Path, typer.Argument(help="An answer, as `gz ask --json` prints it.", metavar="ANSWER")]
GraphOption = Annotated[
    str, typer.Option("--graph", help="The graph to check against; the answer's own by default.", metavar="DB")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command(answer: AnswerArgument, graph: GraphOption = "", as_json: JsonOption = False) -> int:
    """Check an answer: its statements, its path and its words, at the transaction it was given at.

    Exit code 1 says that something is wrong with it.

    Example: gz verify answer.json --graph facts.db
    """
    from groundzero.cli.ask import visible  # noqa: PLC0415 - with the rest of what reads graphs
    from groundzero.graph.opening import open_store  # noqa: PLC0415
    from groundzero.ground.verify import read_answer, verify  # noqa: PLC0415

    raw = read_answer(answer)
    location = graph or raw["graph"]["id"]
    if not location:
        raise UsageError("The answer does not say which graph it is from.", remedy="Add --graph DB.")
    store = open_store(location, read_only=True)
    try:
        found = verify(raw, store)
    finally:
        store.close()

    def tell() -> None:
        if found.ok:
            print(f"Verified: {found.statements} statements say so, and nothing else is said.")
        for problem in found.problems:
            print(visible(f"Wrong: {problem}"))
        for remark in found.unchecked:
            print(visible(f"Not checked: {remark}"))

    emit(found.as_json(), as_json, tell)
    return 0 if found.ok else FAILED
