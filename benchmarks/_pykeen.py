"""PyKEEN as a contestant of `embedding`: a process that trains an epoch, or evaluates, when told to.

Runs under whichever Python has PyKEEN, which need not have groundzero. Orders come as JSON lines on stdin, answers go
to stdout. PyKEEN trains through its own loop; a callback holds it between epochs until its next turn.

    python _pykeen.py DATA.npz SETTINGS.json
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch


def main() -> None:
    """Load, say hello, obey."""
    warnings.filterwarnings("ignore")
    data, settings = np.load(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    answers, sys.stdout = sys.stdout, sys.stderr  # PyKEEN prints

    def answer(content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    factory = _factory(data["train"], data)
    model = _model(factory, settings)
    answer("ready")
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "train":
            _train(model, factory, settings, order["epochs"], answer)
        elif order["do"] == "vectors":
            entities = model.entity_representations[0](None).detach().numpy()
            relations = model.relation_representations[0](None).detach().numpy()
            np.savez(order["path"], entities=entities, relations=relations)
            answer("saved")
        elif order["do"] == "evaluate":
            answer(_evaluate(model, data, order["triples"]))
        else:
            break


def _factory(triples: Any, data: Any) -> Any:
    from pykeen.triples import CoreTriplesFactory

    return CoreTriplesFactory(
        torch.from_numpy(triples), num_entities=int(data["n_entities"]), num_relations=int(data["n_relations"])
    )


def _model(factory: Any, settings: dict[str, Any]) -> Any:
    """The same start as ours: the tables are given."""
    from pykeen.losses import NSSALoss
    from pykeen.models import TransE

    return TransE(
        triples_factory=factory,
        embedding_dim=settings["dim"],
        scoring_fct_norm=settings["norm"],
        entity_constrainer=None,
        relation_constrainer=None,
        loss=NSSALoss(margin=settings["margin"], adversarial_temperature=settings["temperature"]),
        random_seed=settings["seed"],
    )


def _train(model: Any, factory: Any, settings: dict[str, Any], epochs: int, answer: Any) -> None:
    """Every epoch is a turn: its seconds are answered, then the next order is awaited."""
    from pykeen.training import SLCWATrainingLoop, TrainingCallback

    class Turns(TrainingCallback):
        started = time.perf_counter()

        def pre_step(self, **kwargs: Any) -> None:
            if self.waiting:
                self.waiting = False
                self.started = time.perf_counter()

        waiting = True

        def post_epoch(self, epoch: int, epoch_loss: float, **kwargs: Any) -> None:
            answer({"seconds": time.perf_counter() - self.started, "loss": epoch_loss})
            sys.stdin.readline()
            self.started = time.perf_counter()

    start = np.load(settings["start"])
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=factory,
        optimizer="adam",
        optimizer_kwargs={"lr": settings["learning_rate"]},
        negative_sampler="basic",
        negative_sampler_kwargs={"num_negs_per_pos": settings["negatives"]},
    )
    reset = model.reset_parameters_

    def reset_to_start() -> Any:
        reset()
        with torch.no_grad():
            for representation, table in zip(
                (model.entity_representations[0], model.relation_representations[0]),
                (start["entities"], start["relations"]),
                strict=True,
            ):
                next(iter(representation.parameters())).copy_(torch.from_numpy(table))
        return model

    model.reset_parameters_ = reset_to_start
    loop.train(
        triples_factory=factory,
        num_epochs=epochs,
        batch_size=settings["batch_size"],
        use_tqdm=False,
        callbacks=Turns(),
        pin_memory=False,
    )


def _evaluate(model: Any, data: Any, count: int) -> dict[str, float]:
    from pykeen.evaluation import RankBasedEvaluator

    evaluator = RankBasedEvaluator(filtered=True)
    started = time.perf_counter()
    results = evaluator.evaluate(
        model,
        torch.from_numpy(data["test"][:count]),
        batch_size=32,
        additional_filter_triples=[torch.from_numpy(data["train"]), torch.from_numpy(data["valid"])],
        use_tqdm=False,
    )
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "mrr": float(results.get_metric("both.realistic.inverse_harmonic_mean_rank"))}


if __name__ == "__main__":
    main()
