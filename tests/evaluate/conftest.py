"""Runs with weights far from their start, so that every part of the network has something to say."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from groundzero.data import prepare
from groundzero.generate import Engine
from groundzero.generate.load import load_engine
from groundzero.model import GPT, GPTConfig
from groundzero.model.weights import save_weights
from groundzero.reference import model as reference
from groundzero.run import RunDirectory, sha256_of
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on; naïve café 日本. " * 30
TINY: dict[str, Any] = {"context": 24, "n_layer": 2, "n_head": 4, "d_model": 32, "d_ff": 48, "vocab_multiple": 16}
FAMILIES = ("gpt2", "classic", "llama", "qwen3", "speedrun")


def scatter(model: GPT, seed: int = 0) -> GPT:
    """Matrices at 1 / sqrt(fan-in), scales around 1, biases around 0: activations of order 1 everywhere."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * (0.5 if "embedding" in name else parameter.shape[-1] ** -0.5))
            else:
                parameter.copy_(0.3 * noise + (0.0 if name.endswith("bias") else 1.0))
    return model.eval().requires_grad_(False)


def build_run(path: Path, *, family: str = "qwen3", kind: str = "char", **switches: Any) -> RunDirectory:
    """A run as `gz train` leaves it: manifest, tokenizer, prepared text, one checkpoint; the text lies beside it."""
    source = path.with_name(path.name + ".txt")
    source.write_text(TEXT, encoding="utf-8")
    run = RunDirectory.create(path)
    tokenizer = train_tokenizer([TEXT], TokenizerConfig(kind=kind, vocab_size=400))
    tokenizer.save(run.tokenizer_path)
    prepare(source, run.path / "data", tokenizer)
    model = scatter(GPT(GPTConfig(family=family, vocab_size=tokenizer.vocab_size, **{**TINY, **switches})))
    run.publish_checkpoint(7, partial(save_weights, model))
    run.write_manifest(
        config={"model": model.config.model_dump(mode="json"), "data": {"text": str(source)}},
        tokenizer={"sha256": sha256_of(run.tokenizer_path), "fingerprint": tokenizer.fingerprint},
        data={"path": "", "starts_with_bos": False},
    )
    return run


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunDirectory]:
    """Runs by what they are; the same one is made once, and must not be changed."""
    made: dict[str, RunDirectory] = {}

    def make(**what: Any) -> RunDirectory:
        key = repr(sorted(what.items()))
        if key not in made:
            made[key] = build_run(tmp_path_factory.mktemp("runs") / "run", **what)
        return made[key]

    return make


@pytest.fixture
def fresh_run(tmp_path: Path) -> Callable[..., RunDirectory]:
    """A run that a test may damage."""
    return lambda **what: build_run(tmp_path / "run", **what)


@pytest.fixture
def pair(make_run: Callable[..., RunDirectory]) -> Callable[..., tuple[reference.GPT, Engine]]:
    """Both worlds on one run's weights, to be changed at will."""
    from groundzero.evaluate.twin_diff import load_twin

    def make(**what: Any) -> tuple[reference.GPT, Engine]:
        run = make_run(**what)
        twin = load_twin(run.checkpoints.path_of(7), run.manifest()["config"]["model"])
        return twin, load_engine(run, device="cpu", dtype="float32")

    return make


@pytest.fixture(scope="session")
def tokenizer(make_run: Callable[..., RunDirectory]) -> Tokenizer:
    return Tokenizer.load(make_run().tokenizer_path)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
