"""From a trained run and conversations to a tuned run: the model answers instead of continuing.

The new run needs nothing of the old one: it holds the tokenizer, the conversations (split into training and validation)
and, in its checkpoints, the weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundzero.errors import InputError
from groundzero.finetune.conversations import Conversation, Reading, problem_with, read_conversations
from groundzero.finetune.loader import ConversationLoader
from groundzero.finetune.packing import make_lessons
from groundzero.generate import Engine, Request, SamplingConfig
from groundzero.hardware import choose_device, choose_precision, keep_freed_memory, peak_flops
from groundzero.model.gpt import GPT
from groundzero.model.weights import load_weights
from groundzero.run import RunDirectory, sha256_of, write_atomic
from groundzero.run.files import storage_errors
from groundzero.tokenizer import Tokenizer
from groundzero.tokenizer.chat import ChatTemplate, Turn, template
from groundzero.train.config import RunConfig
from groundzero.train.inputs import DATA
from groundzero.train.observer import Observer
from groundzero.train.plot import plot_loss
from groundzero.train.result import TrainResult
from groundzero.train.session import restore, result_of, steps_for, stored_config
from groundzero.train.trainer import Sampler, Trainer

TRAINING, VALIDATION = "conversations.jsonl", "validation.jsonl"


@dataclass(frozen=True)
class Instruction:
    """What to tune, on what, and in which form."""

    base: Path
    """The run to start from."""
    conversations: Path
    """A file or folder of conversations."""
    template: str = "chat"
    """How turns are framed; see `tokenizer.chat`."""
    validation_fraction: float = 0.05
    """Share of the conversations that is held back."""


def tune_on_conversations(
    config: RunConfig,
    out: Path,
    *,
    instruction: Instruction | None = None,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> TrainResult:
    """Instruction tuning: learn what the assistant says, and nothing else, in every conversation.

    Args:
        config: its `train` section counts; model and tokenizer are those of the base.
        instruction: what to tune and on what; None when resuming.
        resume: go on with the run in `out`.

    Raises:
        InputError: no run, no conversation that can be used.
        FormatError, ConfigError, UsageError, StorageError: see the rooms that raise them.
    """
    observer = observer or Observer()
    if resume:
        run = RunDirectory.open(out)
        config = stored_config(run, config)
        form = template(run.manifest()["tuning"]["template"])
    else:
        assert instruction is not None, "there is nothing to tune on"
        form = template(instruction.template)
        base = RunDirectory.open(instruction.base)
        run = RunDirectory.create(out, overwrite=overwrite)
        config = _config_over(base, config)
        Tokenizer.load(base.tokenizer_path).save(run.tokenizer_path)
        _store_conversations(run, instruction, observer)
    run.sweep()
    keep_freed_memory()
    tokenizer = Tokenizer.load(run.tokenizer_path)
    device = choose_device(config.train.device)
    precision = choose_precision(device, config.train.precision)
    observer.message(f"{device.reason}; {precision.reason}")
    torch.manual_seed(config.train.seed)
    model = GPT(config.model)
    if not resume:
        found = base.checkpoint("best")
        assert found.checkpoint is not None
        load_weights(model, found.checkpoint.path)
    model.to(device.name)
    model.compute_dtype = None if precision.name == "float32" else getattr(torch, precision.name)
    trainer = Trainer(
        model,
        _loader(run, tokenizer, form, config, observer),
        config.train,
        run=run,
        observer=observer,
        peak_flops=peak_flops(device, precision),
        sampler=_sampler(model, tokenizer, form),
    )
    steps = config.train.steps or steps_for(config, trainer, observer)
    config = config.replace(train={**config.train.model_dump(), "steps": steps, "compile": "off"})
    config = config.replace(generate={**config.generate.model_dump(), "stop_ids": form.stop_ids(tokenizer)})
    if resume:
        restore(trainer, run, steps, observer)
    else:
        assert instruction is not None
        hardware = {"device": device.name, "precision": precision.name}
        _write_manifest(run, config, tokenizer, instruction, base, hardware)
    outcome = trainer.fit(steps)
    with storage_errors(f"write {run.path / 'loss.png'}"):
        plot_loss(run.metrics, run.path / "loss.png")
    return result_of(run, model, outcome)


def _config_over(base: RunDirectory, config: RunConfig) -> RunConfig:
    """The base's model and tokenizer, with the given training; documents of a row never see each other."""
    stored = RunConfig.parse(base.manifest()["config"])
    train = {**config.train.model_dump(), "isolate_documents": True}
    kept = {"model": stored.model.model_dump(), "tokenizer": stored.tokenizer.model_dump()}
    return RunConfig.parse({**config.model_dump(), **kept, "train": train})


def _store_conversations(run: RunDirectory, instruction: Instruction, observer: Observer) -> None:
    """Read, split by a hash of what is said, and keep: the split depends on nothing but the conversation."""
    reading = Reading()
    sides: dict[str, list[str]] = {TRAINING: [], VALIDATION: []}
    for conversation in read_conversations(instruction.conversations, reading):
        line = json.dumps({"messages": [{"role": t.role, "content": t.text} for t in conversation]}, ensure_ascii=False)
        share = int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "big") / 2**64
        sides[VALIDATION if share < instruction.validation_fraction else TRAINING].append(line)
    for told in reading.lines():
        observer.message(told)
    if not reading.conversations:
        raise InputError(
            f"{instruction.conversations} holds no conversation that can be learnt from.",
            remedy='Give rows such as {"messages": [...]} or {"instruction", "input", "output"}.',
        )
    if not sides[VALIDATION] and len(sides[TRAINING]) > 1:
        sides[VALIDATION].append(sides[TRAINING].pop())  # a few conversations: the last one validates
    with storage_errors(f"write {run.path / DATA}"):
        (run.path / DATA).mkdir(exist_ok=True)
        for name, lines in sides.items():
            write_atomic(run.path / DATA / name, ("\n".join(lines) + "\n").encode())
    observer.message(
        f"{len(sides[TRAINING]):,} conversations to learn from, {len(sides[VALIDATION]):,} to validate with"
    )


def _loader(
    run: RunDirectory, tokenizer: Tokenizer, form: ChatTemplate, config: RunConfig, observer: Observer
) -> ConversationLoader:
    context = config.model.context
    reading = Reading()
    sides = [
        make_lessons(_stored(run.path / DATA / name), tokenizer, form, context, reading)
        for name in (TRAINING, VALIDATION)
    ]
    for told in reading.lines():
        observer.message(told)
    sizes = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    train = config.train
    loader = ConversationLoader(
        *sides, batch_size=train.batch_size, context=context, seed=train.seed, token_bytes=sizes
    )
    filled = float((loader.rows.targets_RT >= 0).mean())
    observer.message(f"{len(loader.rows):,} rows of {context} tokens; {filled:.0%} of the places are learnt from")
    return loader


def _stored(path: Path) -> Iterator[Conversation]:
    yield from (turns for turns in read_conversations(path) if not problem_with(turns))


def _sampler(model: GPT, tokenizer: Tokenizer, form: ChatTemplate) -> Sampler:
    """Answers the fixed prompts along the way, as questions."""
    engine = Engine(model, tokenizer)
    ends = form.stop_ids(tokenizer)

    def sample(prompt: str, tokens: int, seed: int) -> str:
        ids = form.ids(tokenizer, [Turn("user", prompt or "Hello!")], answer=True)
        sampling = SamplingConfig(max_tokens=tokens, temperature=0.7, seed=seed, stop_ids=ends)
        return " -> " + engine.run([Request(ids, sampling)])[0].text

    return sample


def _write_manifest(
    run: RunDirectory,
    config: RunConfig,
    tokenizer: Tokenizer,
    instruction: Instruction,
    base: RunDirectory,
    hardware: dict[str, Any],
) -> None:
    run.write_manifest(
        config=json.loads(config.model_dump_json()),
        seeds={"train": config.train.seed},
        tokenizer={"sha256": sha256_of(run.tokenizer_path), "fingerprint": tokenizer.fingerprint},
        data={"path": "", "starts_with_bos": False, "sources": [instruction.conversations.name]},
        conversations={"sha256": sha256_of(run.path / DATA / TRAINING)},
        tuning={
            "kind": "instruct",
            "base": str(base.path),
            "template": instruction.template,
            "stop_ids": template(instruction.template).stop_ids(tokenizer),
        },
        hardware=hardware,
        command=sys.argv[1:],
    )
