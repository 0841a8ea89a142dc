"""The Python surface: a few lines for each job.

import groundzero as gz

run = gz.train(text="books/", preset="tiny", minutes=5)
print(run.generate("Once upon a time", max_tokens=60, temperature=0.8))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from groundzero.build.observer import BuildObserver
from groundzero.build.session import build as build_run
from groundzero.build.session import order_for
from groundzero.errors import InputError, UsageError
from groundzero.generate import Engine, Request, SamplingConfig, load_engine
from groundzero.generate.chat import chat_request, form_of
from groundzero.generate.ids import IdsOnly
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.graph import Graph
from groundzero.ground.answer import Answer
from groundzero.ground.conversation import answer_without_graph
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.kept import keep_answer
from groundzero.ground.opening import graph_of, knows_graph, open_grounded
from groundzero.ground.predict import PredictConfig, Predictor
from groundzero.ground.reason import Reasoner
from groundzero.ground.remember import remember_refusal
from groundzero.ground.verify import Verification
from groundzero.ground.verify import verify as verify_answer
from groundzero.model import GPT, GPTConfig
from groundzero.model.presets import preset
from groundzero.run import RunDirectory, fresh_run_path
from groundzero.settings import merge
from groundzero.tokenizer import Tokenizer
from groundzero.train import Observer, RunConfig, TrainResult, resolve, train_run


class Run:
    """A trained run: its directory, and the model in it ready to write.

    >>> run = Run("runs/books")
    >>> run.generate("Once upon a time", max_tokens=60)
    """

    def __init__(self, path: Path | str, *, step: Literal["best", "latest"] | int = "best", device: str = "auto"):
        self.directory = RunDirectory.open(path)
        self._step, self._device = step, device
        self.result: TrainResult | None = None
        """How the training ended, for a run that `train` has just made."""
        self._grounded: GroundedModel | None = None
        self._asked: Graph | Path | str | None = None

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration of the training."""
        return RunConfig.parse(self.directory.manifest()["config"])

    @cached_property
    def engine(self) -> Engine:
        """The generation engine, loaded when first used."""
        return load_engine(self.directory, self._step, device=self._device)

    @property
    def model(self) -> GPT:
        """The network."""
        return self.engine.model

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        return self.engine.tokenizer

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of `metrics.jsonl`."""
        return list(self.directory.metrics)

    def generate(self, prompt: str = "", **sampling: Any) -> str:
        """Continue a prompt and return the continuation.

        Args:
            sampling: fields of `SamplingConfig`: max_tokens, temperature, top_k, top_p, seed, stop, ...

        Raises:
            UsageError: an option that does not exist or is out of range.
        """
        settings = SamplingConfig.from_options({**self.engine.defaults.model_dump(), **sampling})
        return self.engine.run([Request(prompt, settings)])[0].text

    def chat(self, *turns: str, **sampling: Any) -> str:
        """The answer of a run that was tuned on conversations.

        Args:
            turns: what was said so far, the user first, the two sides in turn; the last is the user's. The oldest are
                left out where all do not fit the model's context.
            sampling: fields of `SamplingConfig`.

        Raises:
            UsageError: an option that does not exist, or the last word is not the user's.
            InputError: the run was not tuned on conversations.
        """
        form = form_of(self.directory.manifest())
        if form is None:
            raise InputError(f"{self.path} was not tuned to answer.", remedy="Tune it with `gz finetune instruct`.")
        if len(turns) % 2 == 0:
            raise UsageError("The last turn must be the user's.", remedy="Give an odd number of turns.")
        settings = SamplingConfig.from_options({**self.engine.defaults.model_dump(), **sampling})
        return self.engine.run([chat_request(self.engine, form, turns, settings)])[0].text

    def grounded(self, graph: Graph | Path | str | None = None) -> GroundedModel:
        """The model of a run tuned by `gz finetune ground` over a graph, loaded once and kept.

        Args:
            graph: what is asked; the run's own when None. One given by its place stays open with the run.

        Raises:
            InputError: the run was not tuned on a graph, or there is no such graph.
        """
        if self._grounded is None or self._asked != graph:
            own = graph if isinstance(graph, Graph) else Graph.open(graph or graph_of(self.directory), read_only=True)
            self._grounded, self._asked = open_grounded(self.directory, own, engine=self.engine), graph
        return self._grounded

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def train(
    text: Path | str | None = None,
    *,
    preset: str = "",
    out: Path | str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    tokenizer: Literal["bpe", "char"] | None = None,
    seed: int | None = None,
    config: Path | str | RunConfig | Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train a model on a file or folder of text and return its run.

    Args:
        text: a file, a folder, or `-` for standard input.
        preset: a name from `gz info --presets`; the settings below are laid over it.
        out: the run directory; a fresh one under `runs/` when not given.
        minutes, steps, epochs: how long; one epoch when none is given.
        config: a config file, a resolved `RunConfig`, or sections as a dictionary.
        resume: go on with the run in `out`.
        observer: receives progress.

    Raises:
        GroundzeroError: what is wrong with the input, the settings or the disk, with the remedy.
    """
    train_options = {"minutes": minutes, "steps": steps, "epochs": epochs, "seed": seed}
    options: dict[str, Any] = {
        "train": {name: value for name, value in train_options.items() if value is not None},
        "data": {} if text is None else {"text": str(text)},
        "tokenizer": {} if tokenizer is None else {"kind": tokenizer},
    }
    if isinstance(config, RunConfig):
        resolved = config
        if preset or any(options.values()):
            raise UsageError("A resolved RunConfig leaves nothing to lay over it.", remedy="Give one or the other.")
    elif isinstance(config, Mapping):
        resolved = resolve(preset_name=preset, options=merge(config, options))
    else:
        resolved = resolve(preset_name=preset, config_file=Path(config) if config else None, options=options)
    if resume and out is None:
        raise UsageError("Which run is to be resumed?", remedy="Give out=.")
    path = Path(out) if out is not None else fresh_run_path()
    result = train_run(resolved, path, resume=resume, overwrite=overwrite, observer=observer)
    run = Run(path)
    run.result = result
    return run


def build(
    text: Path | str | None = None,
    graph: Path | str | None = None,
    *,
    out: Path | str | None = None,
    minutes: float | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    device: str | None = None,
    observer: BuildObserver | None = None,
) -> Run:
    """Build a model from text, from facts, or from both, within a time budget; or go on with a build.

    Args:
        text: a file or a folder.
        graph: a file of facts, or a graph. The run has its own copy, which `gz.ask(..., run=run)` asks.
        out: the run directory; where a build was begun in it, that one goes on. A fresh one under `runs/` when None.
        minutes: for everything; 20 when None.
        preset: size by name; by the minutes when None.
        settings: `section.key=value`, as `gz build --set` takes them.
        observer: receives progress.

    Raises:
        GroundzeroError: what is wrong with the input, the settings or the disk, with the remedy.
        KeyboardInterrupt: Ctrl-C came. What was done is kept, and the same call goes on.
    """
    named: dict[str, Any] = {
        "text": text if text is None else str(text), "graph": graph if graph is None else str(graph),
        "minutes": minutes, "preset": preset, "overrides": tuple(settings) or None, "seed": seed, "device": device,
    }  # fmt: skip
    path = Path(out) if out is not None else fresh_run_path(name="build")
    order = order_for(path, {name: value for name, value in named.items() if value is not None}, {"minutes": 20.0})
    built = build_run(order, path, observer=observer)
    if built.interrupted:
        raise KeyboardInterrupt
    return Run(path)


class Model(GPT):
    """A GPT with `generate` on token ids, through the one engine."""

    def generate(self, ids_BT: Tensor, max_tokens: int = 100, **sampling: Any) -> list[list[int]]:
        """Continue each row of ids.

        Args:
            ids_BT: prompts, int64; a row may not be empty.
            sampling: fields of `SamplingConfig`; the default is greedy.

        Returns:
            The new ids of each row.
        """
        settings = SamplingConfig.from_options(
            {"temperature": 0.0, "ignore_eos": True, **sampling, "max_tokens": max_tokens}
        )
        engine = Engine(self, IdsOnly(self.config.vocab_size), max_batch=max(1, len(ids_BT)))
        requests = [Request(row, settings) for row in ids_BT.tolist()]
        return [list(completion.ids) for completion in engine.run(requests)]


def create_model(name: str | GPTConfig = "small", *, seed: int | None = None, **switches: Any) -> Model:
    """A freshly initialised model from a preset's name or a config.

    Args:
        switches: any field of `GPTConfig`, laid over the preset: `create_model("tiny", family="llama")`.
        seed: of the initial weights.

    Raises:
        ConfigError: no such preset, or switches that cannot work together.
    """
    if isinstance(name, GPTConfig):
        config = name.replace(**switches) if switches else name
    else:
        config = GPTConfig.parse({**preset(name).model, **switches})
    if seed is not None:
        torch.manual_seed(seed)
    return Model(config)


def ask(
    question: str,
    *,
    run: Run | Path | str | None = None,
    graph: Graph | Path | str | None = None,
    history: Sequence[str] = (),
    embedding: Embedding | Path | str | None = None,
    threshold: float = 0.5,
    remember: bool = True,
    **settings: Any,
) -> Answer:
    """Ask a graph: the answer cites the statements it rests on, or says why it is unknown.

    A run that was tuned to answer, and has no graph, says what it says: unknown, by the reason "no_graph".

    Args:
        run: a run tuned by `gz finetune ground`, whose model words the answer and which keeps it; by rule when None.
        graph: what is asked; the run's own when None.
        history: what was said before, oldest first.
        embedding: of the graph, or its folder: what the graph does not say is predicted where it is likely.
        threshold: least probability of a prediction, 0 to 1.
        remember: keep a question that the graph does not answer beside it, where that can be written (`gz graph gaps`).
        settings: fields of `GroundedSettings`: fallback, attempts, most_facts, meters, seed.

    Raises:
        UsageError: neither run nor graph is given.
        InputError: no such run, graph or embedding, or a run that was not tuned on a graph.
    """
    if run is None and graph is None:
        raise UsageError("There is no graph to ask.", remedy="Give graph=, or a run that has one.")
    with ExitStack() as stack:
        if run is None:
            assert graph is not None
            opened = graph if isinstance(graph, Graph) else stack.enter_context(Graph.open(graph, read_only=True))
            found = Reasoner(opened).ask(question, history)
            return _completed(found, opened, embedding, threshold, remember)
        whole = run if isinstance(run, Run) else Run(run)
        form = form_of(whole.directory.manifest())
        if graph is None and form is not None and not knows_graph(whole.directory):
            return answer_without_graph(whole.engine, form, question, history)
        model = whole.grounded(graph)
        if whole is not run and not isinstance(graph, Graph):
            stack.enter_context(model.graph)  # nobody else could close it
        model.settings = model.settings.replace(**settings)
        found = model.ask(question, history=history)
        answer = _completed(found, model.graph, embedding, threshold, remember)
        keep_answer(whole.directory, answer)
        return answer


def _completed(
    answer: Answer, graph: Graph, embedding: Embedding | Path | str | None, threshold: float, remember: bool
) -> Answer:
    """The answer, predicted where the graph is silent and an embedding is not; remembered where it is silent."""
    if embedding is not None:
        answer = Predictor(graph, embedding, PredictConfig.parse({"threshold": threshold})).fill_in(answer)
    if remember:
        remember_refusal(graph, answer)
    return answer


def verify(answer: Answer | Mapping[str, Any], graph: Graph | Path | str) -> Verification:
    """Check an answer against a graph, with no model; true where nothing is wrong with it."""
    if isinstance(graph, Graph):
        return verify_answer(answer, graph.store)
    with Graph.open(graph, read_only=True) as opened:
        return verify_answer(answer, opened.store)


__all__: Sequence[str] = ["Model", "Run", "ask", "build", "create_model", "fresh_run_path", "train", "verify"]
