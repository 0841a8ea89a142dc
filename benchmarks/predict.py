"""Predicted answers on CoDEx-S: what a graph of two of its splits does not say and the third does.

Every (subject, relation) of the test split that the graph says nothing of is asked in words (`graph.phrasing`), goes to
the `Reasoner`, and is filled in from an embedding by the `Predictor`. An answer is right if the test split has it; what
is true and in no split counts as wrong. "Said" is the mean of the probabilities given. What the same winners are given
as statements, each alone against one negative, stands beside it: that is what predictions were worth before answers
had a curve of their own.

Forgetting: a source of a hundred false statements is trained on, then taken back by `forget_source`, and the embedding
brought up to date, refreshed only, or trained anew. Counted: how often the false object is still the first guess.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.table import Row, row

if TYPE_CHECKING:
    from groundzero.graph.embed.embedding import Embedding
    from groundzero.graph.graph import Graph

THRESHOLD = 0.5
FALSE = 100
SEED = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """How the graph is embedded."""
    parser.add_argument("--models", nargs="*", default=["transe", "complex"], help="transe, complex, distmult, rotate")
    parser.add_argument("--epochs", type=int, default=20, help="of each of the three trainings a model takes")


def measure(options: argparse.Namespace) -> list[Row]:
    """Predict, then forget, with each model."""
    from groundzero.graph.graph import Graph

    data = Path(os.environ.get("GROUNDZERO_DATA", Path(__file__).parents[2] / "shared" / "data")) / "kg-codex"
    rows: list[Row] = []
    for model in options.models:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with Graph.open(folder / "codex.db", create=True) as graph:
                _fill(graph, data)
                rows += _predictions(graph, _embedded(graph, folder / "vectors", model, options.epochs), data, model)
                rows += _forgetting(graph, folder, model, options.epochs)
    return rows


def _fill(graph: Graph, data: Path) -> None:
    """Training and validation triples, with the names of what is in them."""
    with graph.store.writer() as writer:
        source = writer.add_source("CoDEx-S")
        for part in ("train", "valid"):
            triples = _triples(data, part)
            ends = ((writer.add_entity(s), writer.add_relation(r), writer.add_entity(o)) for s, r, o in triples)
            writer.add_triples(ends, source=source)
        with gzip.open(data / "codex-s.entities.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                entity = json.loads(line)
                writer.add_entity(entity["id"], label=entity["label"])
        text = (data / "codex-s.relation_text.tsv").read_text(encoding="utf-8")
        for _, key, label in (line.split("\t") for line in text.splitlines()[1:]):
            writer.add_relation(key, label=label)
    graph.refresh()


def _triples(data: Path, part: str) -> Iterator[list[str]]:
    with gzip.open(data / "codex-s" / f"{part}.txt.gz", "rt", encoding="utf-8") as lines:
        yield from (line.rstrip("\n").split("\t") for line in lines)


def _embedded(graph: Graph, folder: Path, model: str, epochs: int) -> Embedding:
    from groundzero.graph.embed import EmbedConfig, embed_graph

    return embed_graph(graph.store, EmbedConfig.parse({"model": model, "epochs": epochs}), folder)


def _predictions(graph: Graph, embedding: Embedding, data: Path, model: str) -> list[Row]:
    from groundzero.graph.phrasing import phrase
    from groundzero.ground.predict import PredictConfig, Predictor
    from groundzero.ground.reason import Reasoner
    from groundzero.ground.verify import verify

    answers: dict[tuple[int, int], set[int]] = defaultdict(set)
    for triple in _triples(data, "test"):
        subject, relation, object_ = (
            find(key)
            for find, key in zip(
                (graph.store.find_entity, graph.store.find_relation, graph.store.find_entity), triple, strict=True
            )
        )
        if subject and relation and object_ and not graph.store.outgoing(subject, relation):
            answers[subject, relation].add(object_)
    reasoner = Reasoner(graph)
    predictor = Predictor(graph, embedding, PredictConfig(threshold=0.0))
    found: list[tuple[float, float, bool]] = []  # said, said of the statement alone, right
    failed = 0
    for (subject, relation), right in answers.items():
        question = phrase(graph.relation(relation)).questions[0].replace("{subject}", graph.label(subject))
        asked = reasoner.ask(question)
        missing = asked.missing
        if missing is None or not missing.whole or (missing.entities, missing.relation) != ((subject,), relation):
            continue
        answer = predictor.fill_in(asked)
        failed += not verify(answer, graph.store).ok
        best = embedding.predict(subject=subject, relation=relation, limit=1, exclude=[subject])[0].entity
        alone = float(embedding.probability(np.array([[subject, relation, best]]))[0])
        found.append((answer.probability, alone, best in right))
    said, alone, truth = (np.array(column) for column in zip(*found, strict=True))
    likely = said >= THRESHOLD
    return [
        row(
            f"{model}: of {len(answers)} silent questions understood",
            "%",
            100 * len(found) / len(answers),
            None,
            "-",
            note=" ",
        ),
        _pair(f"{model}: all, right", truth, said, alone),
        row(f"{model}: predicted at {THRESHOLD}", "%", 100 * likely.sum() / len(answers), None, "-", note=" "),
        _pair(f"{model}: of those, right", truth[likely], said[likely], alone[likely]),
        row(f"{model}: predictions that do not verify", "", failed, None, "-", note=" "),
    ]


def _pair(work: str, truth: Any, said: Any, alone: Any) -> Row:
    note = f"said {100 * said.mean():.1f}; as statements alone {100 * alone.mean():.1f}"
    return row(work, "%", 100 * float(truth.mean()), None, "-", note=note)


def _forgetting(graph: Graph, folder: Path, model: str, epochs: int) -> list[Row]:
    from groundzero.graph.embed.embedding import Embedding
    from groundzero.graph.embed.updating import bring_up_to_date
    from groundzero.ingest.forget import forget_source

    random = np.random.default_rng(SEED)
    religion, occupation = graph.store.find_relation("P140"), graph.store.find_relation("P106")
    assert religion is not None
    triples = graph.store.triples()
    believers, faiths = triples[triples[:, 1] == religion][:, [0, 2]].T
    people = np.setdiff1d(triples[triples[:, 1] == occupation, 0], believers)
    false = [
        (int(each), religion, int(random.choice(np.unique(faiths))))
        for each in random.choice(people, FALSE, replace=False)
    ]
    with graph.store.writer() as writer:
        writer.add_triples(false, source=writer.add_source("a liar"))

    def believed(embedding: Embedding) -> float:
        firsts = [embedding.predict(subject=s, relation=r, limit=1)[0].entity for s, r, _ in false]
        return 100 * float(np.mean([first == o for first, (_, _, o) in zip(firsts, false, strict=True)]))

    before = believed(_embedded(graph, folder / "lied to", model, epochs))
    forget_source(graph.store, "a liar")
    updated = Embedding.load(folder / "lied to")
    bring_up_to_date(updated, graph.store)
    anew = believed(_embedded(graph, folder / "anew", model, epochs))
    note = f"{before:.0f} before it was forgotten, {anew:.0f} after training anew"
    return [row(f"{model}: false statements still believed", "%", believed(updated), None, "-", note=note)]
