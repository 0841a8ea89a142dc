"""The stages that learn: from text, from the shape of the graph, and from lessons drawn from it.

Each goes on from its own checkpoints, so that a build that was interrupted or killed in the middle comes to the same
weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundzero.build.job import Job, StoppedError
from groundzero.build.observer import BuildObserver, Deadline, OverdueError
from groundzero.build.text import prepare_text
from groundzero.generate import load_engine
from groundzero.graph.embed.checkpoint import discard_training
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.embed.session import UnfinishedError, embed_graph
from groundzero.graph.embed.trainer import EmbedObserver, EmbedProgress
from groundzero.graph.milestones import beside
from groundzero.ground.tuning import Grounding, tune_on_graph
from groundzero.ground.vectors import stands_beside_texts
from groundzero.hardware import peak_memory_bytes
from groundzero.run import RunDirectory
from groundzero.run.files import storage_errors
from groundzero.run.summary import summarise
from groundzero.train import Observer, TrainResult, train_run
from groundzero.train.config import LENGTHS, RunConfig
from groundzero.train.interrupt import graceful_interrupt
from groundzero.train.plot import plot_loss

MEASURED = 0.7
"""Of the time for vectors, what training them may take; the rest is for measuring them."""
EVALUATED = 0.1
"""Of a training's time, what its evaluations may take."""
FORWARD = 3.0
"""How many times as fast as a training step a forward pass is."""
FEWEST_TOKENS, FEWEST_LESSONS = 2048, 32
"""Of an evaluation, however short the time is."""
LESSON_TOKENS = 128
"""With its facts, about."""
UNDRAWN = 0.85
"""Of the time for tuning, what is left when lessons have been drawn, beside the steps that are timed without: with both
cores busy 0.44 s a step, where 0.35 s had been measured."""
LATE = 1.6
"""Times its minutes, after which a training ends with the checkpoint it has."""
PASSES = 40.0
"""Over the text, at most: what is over goes to the stages after. Long before that the validation loss rises."""


def pretrain(job: Job, seconds: float) -> dict[str, Any]:
    """Learn to write from the text.

    Raises:
        StoppedError: a signal came; what there was is saved.
        TrainingError, StorageError: see `train.session`.
    """
    if not (job.data / "manifest.json").exists():  # a training that fails as it begins takes its tokens away
        prepare_text(job)
    config = job.config.pretraining
    config = config.replace(data={**config.data.model_dump(), "dataset": str(job.data.resolve())})
    seconds = min(seconds, _enough(job))
    if "evaluate_tokens" not in job.config.pretraining.train.model_fields_set:
        config = config.replace(train={**config.train.model_dump(), "evaluate_tokens": _looked_at(job, seconds, 32768)})
    config = _timed(config, seconds)
    resume = (job.base / "manifest.json").exists()
    return _in_time(
        job, job.base, config, lambda observer: train_run(config, job.base, resume=resume, observer=observer)
    )


def embed(job: Job, seconds: float) -> dict[str, Any]:
    """Learn a vector for every entity and relation, for as long as there is time.

    Raises:
        StoppedError: a signal came; what there was is saved.
    """
    folder, config = beside(str(job.graph_path), "embedding"), job.config.embed
    if (folder / "embedding.json").exists():
        return _of_embedding(Embedding.load(folder))
    watch = _Epochs(job.observer, MEASURED * seconds)
    with job.graph() as graph, graceful_interrupt() as stop:
        if not len(graph.store.triples()):
            return {"skipped": "no statement joins two entities"}
        try:
            return _of_embedding(
                embed_graph(
                    graph.store, config, folder, resume=True, observer=watch,
                    should_stop=lambda: stop.requested or watch.is_late,
                )
            )  # fmt: skip
        except UnfinishedError:
            if stop.requested:
                raise StoppedError from None
        if not watch.epochs:
            discard_training(folder)
            return {"skipped": "not one pass over the statements fits into the time"}
        # To be measured and kept as it is: the same training, set to end where it is.
        return _of_embedding(
            embed_graph(graph.store, config.replace(epochs=watch.epochs), folder, resume=True, observer=watch)
        )


class _Epochs(EmbedObserver):
    """Tells how far it is, by the epochs or by the time, whichever ends it first, and remembers how many are done."""

    def __init__(self, observer: BuildObserver, seconds: float) -> None:
        self._observer, self._seconds, self._started = observer, seconds, time.monotonic()
        self.epochs = 0
        self._of, self._steps = 1, 1

    @property
    def is_late(self) -> bool:
        """The time is over."""
        return time.monotonic() - self._started > self._seconds

    def begins(self, epoch: int, epochs: int, steps_per_epoch: int) -> None:
        """Epochs done, of how many."""
        self.epochs, self._of, self._steps = epoch, epochs, steps_per_epoch

    def stepped(self, progress: EmbedProgress) -> None:
        """One more step."""
        of_time = (time.monotonic() - self._started) / max(1e-9, self._seconds)
        of_steps = (progress.epoch + progress.step / self._steps) / self._of
        self._observer.preparing("vectors, per cent", int(100 * min(1.0, max(of_time, of_steps))), 100)

    def epoch_done(self, progress: EmbedProgress) -> None:
        """One more epoch."""
        self.epochs = progress.epoch


def _of_embedding(embedding: Embedding) -> dict[str, Any]:
    kept = ("model", "mrr", "hits_at_1", "hits_at_10", "loss", "epochs", "seconds", "triples_per_second")
    return {name: embedding.figures.get(name) for name in kept}


def ground(job: Job, seconds: float) -> dict[str, Any]:
    """Learn to answer from facts: the finished run.

    Raises:
        StoppedError: a signal came; what there was is saved.
        TrainingError, StorageError: see `ground.tuning`.
    """
    config = RunConfig.parse({"train": job.config.tuning.model_dump(exclude_unset=True)})
    config = _timed(config, UNDRAWN * seconds)
    # A tuning that ended before its first checkpoint begins anew: it would go on without what the base has learnt.
    if (job.out / "manifest.json").exists() and RunDirectory(job.out).checkpoints.steps():
        return _in_time(
            job, job.out, config, lambda observer: tune_on_graph(config, job.out, resume=True, observer=observer)
        )
    settings = job.config.ground.replace(lessons=job.lessons)
    if "validation_lessons" not in job.config.ground.model_fields_set:
        lessons = _looked_at(job, seconds, settings.validation_lessons * LESSON_TOKENS) // LESSON_TOKENS
        settings = settings.replace(validation_lessons=max(FEWEST_LESSONS, lessons))
    grounding = Grounding(job.base.resolve(), str(job.graph_path.resolve()), settings, _vectors(job))
    return _in_time(
        job, job.out, config,
        lambda observer: tune_on_graph(config, job.out, grounding=grounding, overwrite=True, observer=observer),
    )  # fmt: skip


def _vectors(job: Job) -> Path | None:
    """The graph's vectors, to stand beside the texts of facts, where there are some that can."""
    folder = beside(str(job.graph_path.resolve()), "embedding")
    return folder if (folder / "embedding.json").exists() and stands_beside_texts(folder) else None


def _timed(config: RunConfig, seconds: float) -> RunConfig:
    """With the minutes there are, unless the settings say how long."""
    train = config.train
    if any(getattr(train, name) for name in LENGTHS):
        return config
    return config.replace(train={**train.model_dump(), "minutes": seconds / 60})


def _looked_at(job: Job, seconds: float, most: int) -> int:
    """Tokens of an evaluation that ten of them in a stage of so many seconds leave time for."""
    affordable = EVALUATED * seconds / 10 * FORWARD * job.state.plan.tokens_per_second
    return int(min(most, max(FEWEST_TOKENS, affordable)))


def _enough(job: Job) -> float:
    """Seconds in which the text is read PASSES times."""
    tokens: float = job.state.figures("text").get("train_tokens", job.state.plan.text_tokens)
    return PASSES * tokens / job.state.plan.tokens_per_second


def _in_time(job: Job, run: Path, config: RunConfig, train: Callable[[Observer], TrainResult]) -> dict[str, Any]:
    """A training; cut short where it takes LATE times its minutes, as on a machine that others have begun to use.

    Raises:
        StoppedError: a signal came; what there was is saved.
    """
    ends = time.monotonic() + LATE * 60 * config.train.minutes
    checkpoints = RunDirectory(run).checkpoints

    def late() -> bool:
        return bool(config.train.minutes) and time.monotonic() > ends and bool(checkpoints.steps())

    try:
        found = train(Deadline(job.observer, late))
    except OverdueError:
        job.observer.message("the machine is slower than it was when it was measured: this training is cut short")
        return _as_far_as_it_came(run)
    if found.interrupted:
        raise StoppedError
    return asdict(found)


def _as_far_as_it_came(path: Path) -> dict[str, Any]:
    """The figures of a training that was cut short, as `TrainResult` has them, with `cut_short`."""
    run = RunDirectory.open(path)
    latest = run.latest_verified().checkpoint
    assert latest is not None
    with storage_errors(f"write in {path}"):
        run.metrics.truncate_after(latest.step)
        plot_loss(run.metrics, path / "loss.png")
    known, engine = summarise(run), load_engine(run)
    result = TrainResult(
        run=str(path),
        steps=latest.step,
        tokens=int(latest.metadata.get("tokens", known.tokens or 0)),
        train_loss=math.nan if known.train_loss is None else known.train_loss,
        val_loss=known.val_loss,
        val_bpb=known.val_bpb,
        seconds=max((float(record.get("seconds", 0.0)) for record in run.metrics), default=0.0),
        tokens_per_second=known.tokens_per_second or 0.0,
        mfu=None,
        peak_memory_bytes=peak_memory_bytes(engine.model.device),
        parameters=sum(parameter.numel() for parameter in engine.model.parameters()),
        interrupted=False,
    )
    return {**asdict(result), "cut_short": True}
