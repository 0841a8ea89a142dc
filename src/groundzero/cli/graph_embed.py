"""`gz graph embed`, `predict` and `milestones`: vectors of a graph, what they foretell, how far the graph has come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.graph_options import GraphOption, Json, opened
from groundzero.errors import UsageError

if TYPE_CHECKING:
    from groundzero.graph.embed import EmbedConfig, Embedding
    from groundzero.graph.embed.trainer import EmbedObserver
    from groundzero.graph.milestones import Milestone
    from groundzero.graph.store import Store

app = typer.Typer()
INTERRUPTED = 130
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the embedding; beside the graph by default.")]


@app.command()
def embed(
    graph: GraphOption,
    out: Out = None,
    model: Annotated[str | None, typer.Option("--model", help="transe, distmult, complex or rotate.")] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="Numbers per entity.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Longest training.", min=1)] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings, TOML or JSON.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of initial vectors, order and negatives.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps, xpu or auto.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Keep the vectors; place what is new, drop what is gone, refresh what changed."),
    ] = False,
    relations: Annotated[bool, typer.Option("--relations", help="Also report on each relation.")] = False,
    as_json: Json = False,
) -> int:
    """Learn a vector for every entity and relation, and measure how well they predict statements held out.

    Examples:

    gz graph embed --graph facts.db

    gz graph embed --graph facts.db --model complex --epochs 50 --set regularization=0.03
    """
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.milestones import beside  # noqa: PLC0415

    chosen = {"model": model, "dim": dim, "epochs": epochs, "seed": seed, "device": device}
    with opened(graph) as store:
        folder = out or beside(store.location, "embedding")
        if update:
            payload = _updated(store, folder)
            did = ", ".join(f"{payload[name]} {name}" for name in ("placed", "refreshed", "removed"))
            emit(payload, as_json, lambda: print(f"{did}."))
            return 0
        embedding = _trained(store, _config(config, overrides, chosen), folder, resume)
        by_relation = _by_relation(store, embedding) if relations and embedding else []
    if embedding is None:
        note(f"Interrupted; saved. Go on with: gz graph embed --graph {graph} --resume (and the same options)")
        return INTERRUPTED
    payload = _figures(embedding) | {"out": str(folder), "transaction": embedding.transaction}
    if relations:
        payload["by_relation"] = by_relation
    emit(payload, as_json, lambda: _tell(embedding, folder, by_relation))
    return 0


@app.command()
def predict(
    graph: GraphOption,
    relation: Annotated[str, typer.Argument(help="A label, alias or key.")],
    subject: Annotated[str | None, typer.Option("--subject", "-s", help="Ask for its objects.")] = None,
    object_: Annotated[str | None, typer.Option("--object", help="Ask for its subjects.")] = None,
    out: Out = None,
    limit: Annotated[int, typer.Option("--limit", help="Print at most so many.", min=1)] = 10,
    known: Annotated[bool, typer.Option("--known", help="Show also what the graph asserts.")] = False,
    as_json: Json = False,
) -> None:
    """Guess what the graph does not say, with a probability that supposes that there is an answer.

    A guess is no fact, and nothing is written. `gz ask --embedding` does the same for questions.

    Example: gz graph predict --graph facts.db "country of citizenship" --subject "Ada Lovelace"
    """
    from groundzero.cli.output import console, emit, note, table  # noqa: PLC0415
    from groundzero.graph.embed import Embedding  # noqa: PLC0415
    from groundzero.graph.lookup import resolve_entity, resolve_relation  # noqa: PLC0415
    from groundzero.graph.milestones import beside  # noqa: PLC0415

    if (subject is None) == (object_ is None):
        raise UsageError("A prediction needs --subject or --object, and not both.", remedy="Give one of them.")
    with opened(graph) as store:
        embedding = Embedding.load(out or beside(store.location, "embedding"))
        relation_id = resolve_relation(store, relation)
        anchor = resolve_entity(store, subject if subject is not None else str(object_))
        if subject is not None:
            asserted = {s.object for s in store.outgoing(anchor, relation_id) if s.object is not None}
            found = embedding.predict(
                relation=relation_id, subject=anchor, limit=limit, exclude=() if known else asserted
            )
        else:
            asserted = {s.subject for s in store.incoming(anchor, relation_id)}
            found = embedding.predict(
                relation=relation_id, object=anchor, limit=limit, exclude=() if known else asserted
            )
        rows = [
            {
                "entity": store.entity(each.entity).label,
                "key": store.entity(each.entity).key,
                "probability": each.probability,
                "score": each.score,
                "asserted": each.entity in asserted,
            }
            for each in found
        ]
        behind = store.transaction() - embedding.transaction
    payload = {"predictions": rows, "status": "predicted", "transaction": embedding.transaction, "graph": graph}

    def tell() -> None:
        shown = [(r["entity"], f"{r['probability']:.0%}", "asserted" if r["asserted"] else "") for r in rows]
        console().print(table(("entity", "probability", ""), shown, numbers="probability"))
        if behind:
            note(f"The vectors are {behind} transactions old; `gz graph embed --update` brings them up to date.")

    emit(payload, as_json, tell)


@app.command()
def milestones(
    graph: GraphOption,
    train: Annotated[
        bool, typer.Option("--train", help="Run or go on with the gate's training of 500 epochs.")
    ] = False,
    record: Annotated[
        list[str] | None, typer.Option("--record", help="ITEM=passed|failed: learning, dashboard or tests was tried.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder to remember in; beside the graph by default.")
    ] = None,
    as_json: Json = False,
) -> int:
    """How far the graph is from the GroundZero gate, in per cent, and how long the rest will take.

    Example: gz graph milestones --graph facts.db --train
    """
    import time  # noqa: PLC0415

    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.graph.milestones import GATE_CONFIG, beside, note_size, note_stability  # noqa: PLC0415
    from groundzero.graph.milestones import milestones as measure  # noqa: PLC0415
    from groundzero.metrics import MetricLog  # noqa: PLC0415

    with opened(graph) as store:
        gate = state / "gate" if state else beside(store.location, "gate")
        history = MetricLog(state / "milestones.jsonl" if state else beside(store.location, "milestones.jsonl"))
        history.path.parent.mkdir(parents=True, exist_ok=True)
        note_size(history, store.counts(), now=time.time())
        for each in record or ():
            item, _, verdict = each.partition("=")
            if verdict not in ("passed", "failed"):
                raise UsageError(f"Cannot read --record {each!r}.", remedy="Write ITEM=passed or ITEM=failed.")
            note_stability(history, item, passed=verdict == "passed", now=time.time())
        if train and not (gate / "embedding.json").exists() and _trained(store, GATE_CONFIG, gate, resume=True) is None:
            note("Interrupted; saved. The same command goes on.")
            return INTERRUPTED
        found = measure(store.counts(), history, gate, _figures_at(gate, store), now=time.time())
    payload = {
        "milestones": [_as_dict(each) for each in found],
        "done": sum(each.done for each in found),
        "of": len(found),
        "graph": graph,
    }
    emit(payload, as_json, lambda: _tell_milestones(found))
    return 0


def _config(file: Path | None, overrides: list[str] | None, options: dict[str, Any]) -> EmbedConfig:
    from groundzero.graph.embed.config import EmbedConfig  # noqa: PLC0415
    from groundzero.settings import merge, parse_overrides, read_settings_file  # noqa: PLC0415

    values = merge(read_settings_file(file) if file else {}, parse_overrides(overrides or ()))
    return EmbedConfig.parse(merge(values, {key: value for key, value in options.items() if value is not None}))


def _trained(store: Store, config: EmbedConfig, folder: Path, resume: bool) -> Embedding | None:
    """The embedding, with a bar on the way; None where Ctrl-C came first (what there was is saved)."""
    from groundzero.cli.output import progress  # noqa: PLC0415
    from groundzero.graph.embed import embed_graph  # noqa: PLC0415
    from groundzero.graph.embed.session import UnfinishedError  # noqa: PLC0415
    from groundzero.train.interrupt import graceful_interrupt  # noqa: PLC0415

    with graceful_interrupt() as request, progress("Embedding", total=config.epochs, unit="epochs") as bar:
        try:
            return embed_graph(
                store, config, folder, resume=resume, observer=_observer(bar), should_stop=lambda: request.requested
            )
        except UnfinishedError:
            return None


def _observer(bar: Any) -> EmbedObserver:
    from groundzero.graph.embed.trainer import EmbedObserver  # noqa: PLC0415

    class Watch(EmbedObserver):
        steps, mrr = 1, ""

        def begins(self, epoch: int, epochs: int, steps_per_epoch: int) -> None:
            self.steps = steps_per_epoch
            bar.update(epoch)

        def stepped(self, progress: Any) -> None:
            bar.update(progress.epoch + progress.step / self.steps)

        def epoch_done(self, progress: Any) -> None:
            bar.update(progress.epoch, note=f"loss {progress.loss:.4g}{self.mrr}")

        def evaluated(self, record: Any) -> None:
            self.mrr = f", MRR {record['mrr']:.3f}"

    return Watch()


def _updated(store: Store, folder: Path) -> dict[str, Any]:
    """Bring an embedding up to the store's transaction."""
    from groundzero.graph.embed import Embedding  # noqa: PLC0415
    from groundzero.graph.embed.updating import bring_up_to_date  # noqa: PLC0415

    embedding = Embedding.load(folder)
    update = bring_up_to_date(embedding, store)
    embedding.save(folder)
    return {
        "placed": len(update.placed),
        "refreshed": update.refreshed,
        "removed": len(update.removed_entities) + len(update.removed_relations),
        "transaction": update.transaction,
        "out": str(folder),
    }


def _figures(embedding: Embedding) -> dict[str, Any]:
    names = ("model", "mrr", "hits_at_1", "hits_at_3", "hits_at_10", "loss", "seconds", "triples_per_second")
    more = (
        "accuracy",
        "f1",
        "calibration_error",
        "answer_calibration_error",
        "epochs",
        "best_epoch",
        "validation_mrr",
        "test_triples",
    )
    return {name: embedding.figures.get(name) for name in (*names, *more)}


def _figures_at(gate: Path, store: Store) -> dict[str, Any] | None:
    from groundzero.graph.embed import Embedding  # noqa: PLC0415
    from groundzero.graph.milestones import beside  # noqa: PLC0415

    for folder in (gate, beside(store.location, "embedding") if "://" not in store.location else gate):
        if (folder / "embedding.json").exists():
            return Embedding.load(folder).figures
    return None


def _by_relation(store: Store, embedding: Embedding) -> list[dict[str, Any]]:
    """The report of the held-out triples, relation by relation, with labels."""
    rows = embedding.figures.get("per_relation", [])
    return [{**row, "relation": store.relation(row["relation"]).label} for row in rows]


def _tell(embedding: Embedding, folder: Path, by_relation: list[dict[str, Any]]) -> None:
    from groundzero.cli.output import console, human_seconds, table  # noqa: PLC0415

    figures = _figures(embedding)
    ranks = ("mrr", "hits_at_1", "hits_at_3", "hits_at_10")
    shares = (*ranks, "accuracy", "f1", "calibration_error", "answer_calibration_error")
    rows = [(name, f"{figures[name]:.3f}") for name in shares if figures[name] is not None]
    rows += [(name, f"{figures[name]:,.4g}") for name in ("loss", "epochs", "best_epoch") if figures[name] is not None]
    rows.append(("training", human_seconds(figures["seconds"])))
    if figures["triples_per_second"]:
        rows.append(("triples per second", f"{figures['triples_per_second']:,.0f}"))
    console().print(table((figures["model"], "held-out statements"), rows, numbers="held-out statements"))
    if by_relation:
        columns = ("relation", "triples", "mrr", "mrr_objects", "mrr_subjects", "hits_at_10")
        lines = [(r["relation"], r["triples"], *(f"{r[name]:.3f}" for name in columns[2:])) for r in by_relation]
        console().print(table(columns, lines, numbers=", ".join(columns[1:])))
    print(f"{len(embedding.entities_ED):,} entities, {len(embedding.relation_ids):,} relations in {folder}")


def _as_dict(each: Milestone) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return asdict(each)


def _tell_milestones(found: list[Milestone]) -> None:
    from groundzero.cli.output import console, human_seconds, table  # noqa: PLC0415

    rows = []
    for each in found:
        left = "done" if each.done else "unknown" if each.seconds_left is None else human_seconds(each.seconds_left)
        value = "-" if each.value is None else f"{each.value:,.6g}"
        rows.append((each.title, value, f"{each.target:,.6g}", f"{each.percent:.1f} %", left, each.note))
    columns = ("milestone", "now", "gate", "progress", "time left", "")
    console().print(table(columns, rows, numbers="now, gate, progress, time left"))
    print(f"{sum(each.done for each in found)} of {len(found)} reached")
