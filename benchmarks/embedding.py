"""Training and evaluation of TransE beside PyKEEN: same graph, dimension, negatives, batch, loss, and initial vectors.

Self-adversarial loss. PyKEEN and our independent negatives run Adam at one rate; ours moves only the rows of a batch.
Negatives shared in the batch run row-wise Adagrad, because a row that is seldom touched has stale averages (wiki27k, 3
epochs, 1,024 shared negatives: validation MRR .147 against Adam's .060). The contestants take turns, an epoch each, so
that a busy machine slows both; speed is the median over the epochs. After the same number of epochs both are ranked by
the same code on the same test triples. Evaluation is timed with the vectors that training left, filtered by all splits.

PyKEEN is looked for in this Python and then in `GROUNDZERO_PEERS`/pykeen-venv; rows say "peer absent" without it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._graphs import FILES, PublicGraph, load
from benchmarks.table import Row, peer_folder, row


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=sorted(FILES), default="wiki27k")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--negatives", type=int, default=64)
    parser.add_argument("--shared", type=int, nargs="*", default=[64, 1024], help="negatives of a whole batch")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--margin", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=0.01, help="of Adam")
    parser.add_argument("--shared-rate", type=float, default=0.1, help="of row-wise Adagrad")
    parser.add_argument("--norms", type=int, nargs="*", choices=(1, 2), default=[2, 1])
    parser.add_argument("--ranked", type=int, default=2000, help="test triples ranked for the MRR")
    parser.add_argument("--timed", type=int, default=96, help="test triples in the peer's timed evaluation")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves it to PyTorch")


def measure(options: argparse.Namespace) -> list[Row]:
    """Rows for every norm: two of training, two of quality, one of evaluation."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    graph = load(options.data)
    return [line for norm in options.norms for line in _rows(graph, norm, options)]


def _rows(graph: PublicGraph, norm: int, options: argparse.Namespace) -> list[Row]:
    own = {"sampler": "uniform", "negatives": options.negatives, "optimizer": "adam", "learning_rate": options.rate}
    ours = {"independent negatives": _trainer(graph, norm, own, options)}
    first = ours["independent negatives"]
    for count in options.shared:
        shared = {**own, "sampler": "shared", "negatives": count, "optimizer": "rowwise_adagrad"}
        shared["learning_rate"] = options.shared_rate
        ours[f"{count} negatives shared in the batch"] = _trainer(graph, norm, shared, options)
    work = (
        f"TransE L{norm}, {options.data}, dim {options.dim}, batch {options.batch}, peer {options.negatives} negatives"
    )
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.npz"
        np.savez(start, entities=first.entities_ED.numpy(), relations=first.relations_RW.numpy())
        peer = _Peer.start(graph, norm, start, Path(folder), options)
        speed = _take_turns(ours, peer, options.epochs, len(graph.splits.train))
        quality, evaluation = {}, {}
        for name, trainer in ours.items():
            quality[name], evaluation[name] = _ranked(graph, trainer.config, *_tables(trainer), options.ranked)
        if peer:
            vectors = peer.vectors()
            quality["peer"], _ = _ranked(graph, first.config, *vectors, options.ranked)
            answer = peer.ask({"do": "evaluate", "triples": options.timed})
            evaluation["peer"] = options.timed / answer["seconds"]
            peer.close()
    rows = []
    for name in ours:
        rows.append(row(f"{work}, {name}", "triples/s", speed[name], speed.get("peer"), "PyKEEN"))
        note = f"after {options.epochs} epochs; difference {quality[name] - quality['peer']:+.4f}" if peer else ""
        rows.append(
            row("the same: filtered MRR", "share of 1", quality[name], quality.get("peer"), "PyKEEN", note=note)
        )
    rows.append(
        row(f"filtered ranking, TransE L{norm}, {graph.splits.n_entities} entities", "triples/s",
            evaluation["independent negatives"], evaluation.get("peer"), "PyKEEN")
    )  # fmt: skip
    return rows


def _trainer(graph: PublicGraph, norm: int, own: dict[str, Any], options: argparse.Namespace) -> Any:
    from groundzero.graph.embed import EmbedConfig, EmbeddingTrainer

    config = EmbedConfig.parse(
        {
            "model": "transe", "norm": norm, "dim": options.dim, "reciprocal": False, "loss": "self_adversarial",
            "margin": options.margin, "batch_size": options.batch, "epochs": 10_000, "device": "cpu", **own,
        }
    )  # fmt: skip
    return EmbeddingTrainer(config, graph.splits)


def _tables(trainer: Any) -> tuple[Any, Any]:
    return trainer.entities_ED, trainer.relations_RW


def _take_turns(ours: dict[str, Any], peer: _Peer | None, epochs: int, triples: int) -> dict[str, float]:
    """Median triples per second of each, an epoch at a time."""
    seconds: dict[str, list[float]] = {name: [] for name in (*ours, *(["peer"] if peer else []))}
    for epoch in range(epochs):
        for name, trainer in ours.items():
            started = time.perf_counter()
            trainer.run_epoch()
            seconds[name].append(time.perf_counter() - started)
        if peer:
            answer = peer.ask({"do": "train", "epochs": epochs})
            seconds["peer"].append(answer["seconds"])
            print(f"epoch {epoch + 1}: " + ", ".join(f"{n} {s[-1]:.1f} s" for n, s in seconds.items()), file=sys.stderr)
    if peer:
        peer.tell("go on")
    return {name: triples / statistics.median(times) for name, times in seconds.items()}


def _ranked(graph: PublicGraph, config: Any, entities: Any, relations: Any, count: int) -> tuple[float, float]:
    """(MRR on the first `count` test triples, triples ranked per second), by our code."""
    from groundzero.graph.embed import evaluate_ranking

    known = graph.splits.known
    triples = graph.splits.test[:count]
    started = time.perf_counter()
    mrr = evaluate_ranking(config, entities, relations, triples, known).mrr
    return mrr, len(triples) / (time.perf_counter() - started)


class _Peer:
    """A process with PyKEEN in it."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        self._read()

    @classmethod
    def start(
        cls, graph: PublicGraph, norm: int, start: Path, folder: Path, options: argparse.Namespace
    ) -> _Peer | None:
        """The peer on the same data and initial vectors, or None where PyKEEN is absent."""
        python = _python_with_pykeen()
        if python is None:
            return None
        splits = graph.splits
        np.savez(
            folder / "data.npz", train=splits.train, valid=splits.valid, test=splits.test,
            n_entities=splits.n_entities, n_relations=splits.n_relations,
        )  # fmt: skip
        settings = {
            "dim": options.dim, "norm": norm, "margin": options.margin, "temperature": 1.0, "seed": 1,
            "negatives": options.negatives, "batch_size": options.batch, "learning_rate": options.rate,
            "threads": options.threads, "start": str(start),
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        script = Path(__file__).with_name("_pykeen.py")
        command = [python, str(script), str(folder / "data.npz"), str(folder / "settings.json")]
        environment = {**os.environ, "PYSTOW_HOME": str(folder / "pystow")}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        return cls(process, folder)

    def ask(self, order: Any) -> Any:
        self.tell(order)
        return self._read()

    def tell(self, order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def vectors(self) -> tuple[Any, Any]:
        """PyKEEN's tables as ours are laid out."""
        import torch

        path = self._folder / "vectors.npz"
        self.ask({"do": "vectors", "path": str(path)})
        tables = np.load(path)
        return torch.from_numpy(tables["entities"]), torch.from_numpy(tables["relations"])

    def close(self) -> None:
        self.tell({"do": "stop"})
        self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("PyKEEN ended early; its messages are above.")
        return json.loads(line)


def _python_with_pykeen() -> str | None:
    if importlib.util.find_spec("pykeen"):
        return sys.executable
    folder = peer_folder("pykeen-venv")
    if folder is None:
        return None
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(python) if python.exists() else None
