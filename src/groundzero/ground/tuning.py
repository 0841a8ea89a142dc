"""From a trained run and a graph to a run that answers from facts: knowledge layers are added and all of it is tuned.

The new run needs nothing of the old one. It remembers where the graph was and at which transaction, since its lessons
are drawn from it; answering works with any graph.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundzero.errors import InputError, UsageError
from groundzero.generate import Engine, Request, SamplingConfig
from groundzero.graph.graph import Graph
from groundzero.ground.classes import LessonLoader
from groundzero.ground.config import GroundingSettings
from groundzero.ground.prompt import FORM, Vectors, question_ids
from groundzero.ground.teacher import Teacher
from groundzero.ground.vectors import vectors_of
from groundzero.hardware import choose_device, choose_precision, keep_freed_memory, peak_flops
from groundzero.model.gpt import GPT
from groundzero.model.knowledge import KnowledgeGPT, attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.knowledge_file import with_saved_knowledge
from groundzero.model.weights import load_weights
from groundzero.run import RunDirectory, sha256_of
from groundzero.run.files import storage_errors
from groundzero.tokenizer import Tokenizer
from groundzero.tokenizer.chat import template
from groundzero.train.config import RunConfig
from groundzero.train.observer import Observer
from groundzero.train.plot import plot_loss
from groundzero.train.result import TrainResult
from groundzero.train.session import restore, result_of, steps_for, stored_config
from groundzero.train.trainer import Sampler, Trainer

KIND = "ground"
"""Of tuning, in a run's manifest."""


@dataclass(frozen=True)
class Grounding:
    """What to tune, from which graph."""

    base: Path
    """The run to start from."""
    graph: str
    """Path or address of the graph."""
    settings: GroundingSettings
    """Of the lessons."""
    embedding: Path | None = None
    """A folder of `gz graph embed`; its vectors stand beside the texts of facts."""


def tune_on_graph(
    config: RunConfig,
    out: Path,
    *,
    grounding: Grounding | None = None,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> TrainResult:
    """Learn to answer from evidence.

    Args:
        config: its `train` section counts; model and tokenizer are those of the base.
        grounding: what to tune, on which graph; None when resuming.
        resume: go on with the run in `out`.

    Raises:
        InputError: no run, no graph, or none that lessons can be drawn from.
        UsageError: the run in `out` was not tuned on a graph.
        FormatError, ConfigError, StorageError: see the rooms that raise them.
    """
    observer = observer or Observer()
    if resume:
        run = RunDirectory.open(out)
        grounding = _stored(run)
        config = stored_config(run, config)
        source = run
    else:
        assert grounding is not None, "there is nothing to tune on"
        source = RunDirectory.open(grounding.base)
        config = _config_over(source, config)
    with Graph.open(grounding.graph, read_only=True) as graph:
        _check_unchanged(source if resume else None, graph)
        vectors, d_vector = vectors_of(grounding.embedding, graph)
        tokenizer = Tokenizer.load(source.tokenizer_path)
        observer.message("reading the graph")
        loader = _loader(graph, grounding.settings, config, tokenizer, vectors, d_vector)
        if not resume:
            run = RunDirectory.create(out, overwrite=overwrite)
            tokenizer.save(run.tokenizer_path)
        run.sweep()
        keep_freed_memory()
        device = choose_device(config.train.device)
        precision = choose_precision(device, config.train.precision)
        observer.message(f"{device.reason}; {precision.reason}")
        torch.manual_seed(config.train.seed)
        knowledge = grounding.settings.knowledge.replace(d_vector=d_vector)
        model = _model(config, knowledge, None if resume else source)
        model.to(device.name)
        model.compute_dtype = None if precision.name == "float32" else getattr(torch, precision.name)
        trainer = Trainer(
            model,
            loader,
            config.train,
            run=run,
            observer=observer,
            peak_flops=peak_flops(device, precision),
            sampler=_sampler(model, tokenizer),
        )
        steps = config.train.steps or steps_for(config, trainer, observer)
        config = config.replace(train={**config.train.model_dump(), "steps": steps, "compile": "off"})
        config = config.replace(
            generate={**config.generate.model_dump(), "stop_ids": template(FORM).stop_ids(tokenizer)}
        )
        if resume:
            restore(trainer, run, steps, observer)
        else:
            hardware = {"device": device.name, "precision": precision.name}
            _write_manifest(run, config, tokenizer, grounding, graph, source, hardware)
        outcome = trainer.fit(steps)
    with storage_errors(f"write {run.path / 'loss.png'}"):
        plot_loss(run.metrics, run.path / "loss.png")
    return result_of(run, model, outcome)


def _config_over(base: RunDirectory, config: RunConfig) -> RunConfig:
    """The base's model and tokenizer, with the given training; lessons of a row never see each other."""
    stored = RunConfig.parse(base.manifest()["config"])
    train = {**config.train.model_dump(), "isolate_documents": True}
    kept = {"model": stored.model.model_dump(), "tokenizer": stored.tokenizer.model_dump()}
    return RunConfig.parse({**config.model_dump(), **kept, "train": train})


def _stored(run: RunDirectory) -> Grounding:
    tuning = run.manifest().get("tuning", {})
    if tuning.get("kind") != KIND:
        raise UsageError(f"{run.path} was not tuned on a graph.", remedy="Start with --run BASE and --graph DB.")
    settings = GroundingSettings.parse(tuning["settings"])
    embedding = tuning.get("embedding")
    return Grounding(Path(tuning["base"]), tuning["graph"], settings, Path(embedding) if embedding else None)


def _check_unchanged(run: RunDirectory | None, graph: Graph) -> None:
    """A resumed training sees the lessons that an uninterrupted one would.

    Raises:
        InputError: the graph was changed since the training began.
    """
    if run is not None and run.manifest()["tuning"]["transaction"] != graph.transaction:
        raise InputError(
            f"{graph.location} was changed since the training began, so its lessons would be others.",
            remedy="Start anew with --overwrite, or resume with the graph as it was (`gz graph snapshot`).",
        )


def _loader(
    graph: Graph,
    settings: GroundingSettings,
    config: RunConfig,
    tokenizer: Tokenizer,
    vectors: Vectors | None,
    d_vector: int,
) -> LessonLoader:
    return LessonLoader(
        Teacher(graph, settings.lessons),
        Teacher(graph, settings.lessons, split="test"),
        tokenizer,
        batch_size=config.train.batch_size,
        context=config.model.context,
        channels=settings.channels,
        vectors=vectors,
        d_vector=d_vector,
        isolate_facts=settings.knowledge.isolate_facts,
        validation_lessons=settings.validation_lessons,
    )


def _model(config: RunConfig, knowledge: KnowledgeConfig, base: RunDirectory | None) -> KnowledgeGPT:
    """The base with knowledge layers: its own, where it has some of this kind, else fresh ones."""
    model: GPT = GPT(config.model)
    if base is not None:
        found = base.checkpoint("best")
        assert found.checkpoint is not None
        load_weights(model, found.checkpoint.path)
        model = with_saved_knowledge(model, found.checkpoint.path)
    if isinstance(model, KnowledgeGPT):
        model.knowledge_config = model.knowledge_config.replace(isolate_facts=knowledge.isolate_facts)
        return model
    return attach_knowledge(model, knowledge)


def _sampler(model: GPT, tokenizer: Tokenizer) -> Sampler:
    """Answers the fixed prompts along the way, as questions without facts."""
    engine = Engine(model, tokenizer)
    ends = template(FORM).stop_ids(tokenizer)

    def sample(prompt: str, tokens: int, seed: int) -> str:
        ids = question_ids(tokenizer, prompt or "Hello!", ())
        sampling = SamplingConfig(max_tokens=tokens, temperature=0.7, seed=seed, stop_ids=ends)
        return " -> " + engine.run([Request(ids, sampling)])[0].text

    return sample


def _write_manifest(
    run: RunDirectory,
    config: RunConfig,
    tokenizer: Tokenizer,
    grounding: Grounding,
    graph: Graph,
    base: RunDirectory,
    hardware: dict[str, Any],
) -> None:
    run.write_manifest(
        config=json.loads(config.model_dump_json()),
        seeds={"train": config.train.seed, "lessons": grounding.settings.lessons.seed},
        tokenizer={"sha256": sha256_of(run.tokenizer_path), "fingerprint": tokenizer.fingerprint},
        data={"path": "", "starts_with_bos": False, "sources": [Path(grounding.graph).name]},
        tuning={
            "kind": KIND,
            "base": str(base.path),
            "template": FORM,
            "stop_ids": template(FORM).stop_ids(tokenizer),
            "graph": grounding.graph,
            "transaction": graph.transaction,
            "embedding": None if grounding.embedding is None else str(grounding.embedding),
            "settings": grounding.settings.model_dump(mode="json"),
        },
        hardware=hardware,
        command=sys.argv[1:],
    )
