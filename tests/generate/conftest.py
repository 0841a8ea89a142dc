"""Tiny models with weights far from their start, so that every path through them matters."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from groundzero.generate.engine import Engine
from groundzero.model import GPT, GPTConfig
from groundzero.model.weights import save_weights
from groundzero.run import RunDirectory, sha256_of
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

ALPHABET = "abcdefghijklmnopqrstuvwxyz .,!é日\U0001f600"


@pytest.fixture(scope="session")
def characters() -> Tokenizer:
    return train_tokenizer([ALPHABET], TokenizerConfig(kind="char"))


@pytest.fixture(scope="session")
def byte_pairs() -> Tokenizer:
    """Bytes and a few merges: characters beyond ASCII take several tokens."""
    return train_tokenizer(["the cat sat on the mat " * 20], TokenizerConfig(kind="bpe", vocab_size=330))


@pytest.fixture
def make_model():
    def make(vocab_size: int = 97, *, seed: int = 0, spread: float = 0.3, **switches) -> GPT:
        values = {"family": "qwen3", "n_layer": 2, "n_head": 4, "d_model": 32, "context": 48, **switches}
        config = GPTConfig(vocab_size=vocab_size, **values)
        generator = torch.Generator().manual_seed(seed)
        model = GPT(config)
        with torch.no_grad():
            for parameter in model.parameters():
                centre = 1.0 if parameter.dim() == 1 else 0.0
                parameter.copy_(centre + torch.randn(parameter.shape, generator=generator) * spread)
        return model.eval()

    return make


@pytest.fixture
def make_engine(make_model, characters):
    def make(*, tokenizer: Tokenizer | None = None, model: GPT | None = None, options=None, **switches) -> Engine:
        tokenizer = tokenizer or characters
        return Engine(model or make_model(tokenizer.vocab_size, **switches), tokenizer, **(options or {}))

    return make


@pytest.fixture
def make_run(tmp_path, make_model, characters):
    """A run directory as `gz train` leaves it, with checkpoints of the given seeds at steps 1, 2, ..."""

    def make(
        *, seeds: tuple[int, ...] = (0,), starts_with_bos: bool = False, generate=None, **switches
    ) -> RunDirectory:
        run = RunDirectory.create(tmp_path / "run")
        characters.save(run.tokenizer_path)
        for step, seed in enumerate(seeds, start=1):
            model = make_model(characters.vocab_size, seed=seed, **switches)
            run.publish_checkpoint(step, partial(save_weights, model))
        run.write_manifest(
            config={"model": model.config.model_dump(mode="json"), "generate": generate or {}},
            tokenizer={"sha256": sha256_of(run.tokenizer_path)},
            data={"starts_with_bos": starts_with_bos},
        )
        return run

    return make
