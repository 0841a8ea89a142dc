"""A laboratory: models of a few thousand weights, texts of a few hundred tokens, trainings of a few steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundzero.data import BatchLoader, TokenDataset
from groundzero.generate import Engine, Request, SamplingConfig
from groundzero.generate.ids import IdsOnly
from groundzero.model import GPT, GPTConfig
from groundzero.run import RunDirectory
from groundzero.train import Observer, TrainConfig, Trainer

VOCABULARY, CONTEXT = 40, 16
TIMES = ("seconds", "tokens_per_second", "mfu", "memory_bytes")


class Laboratory:
    """Makes the parts of a training, each with a default that a test may replace."""

    def dataset(self, *, tokens: int = 700, documents: int = 9, seed: int = 0) -> TokenDataset:
        """Text that can be learned (each token is mostly a function of the one before), in several documents."""
        generator = np.random.default_rng(seed)

        def split(length: int) -> tuple[np.ndarray, np.ndarray]:
            ids = np.zeros(length, np.int64)
            for place in range(1, length):
                ids[place] = (ids[place - 1] * 7 + generator.integers(3)) % VOCABULARY
            inner = generator.choice(np.arange(1, length), size=documents - 1, replace=False)
            return ids, np.concatenate([[0], np.sort(inner)])

        (train, train_starts), (validation, validation_starts) = split(tokens), split(tokens // 4)
        return TokenDataset.from_ids(
            train,
            validation,
            train_starts=train_starts,
            validation_starts=validation_starts,
            token_bytes=generator.integers(1, 5, size=VOCABULARY),
        )

    def config(self, **values: Any) -> TrainConfig:
        """Frequent records at intervals that do not divide each other."""
        defaults = {
            "batch_size": 4,
            "precision": "float32",
            "learning_rate": 3e-3,
            "warmup_steps": 2,
            "log_every": 3,
            "evaluate_every": 4,
            "sample_every": 3,
            "sample_tokens": 6,
            "sample_prompts": ("a", "b"),
            "checkpoint_every": 1,
            "keep_checkpoints": 100,
        }
        return TrainConfig.parse({**defaults, **values})

    def model(self, *, seed: int = 0, **switches: Any) -> GPT:
        torch.manual_seed(seed)
        shape = {"n_layer": 2, "n_head": 2, "d_model": 32, "context": CONTEXT, "vocab_size": VOCABULARY}
        return GPT(GPTConfig.parse({**shape, **switches}))

    def trainer(
        self,
        config: TrainConfig | None = None,
        *,
        run: RunDirectory | None = None,
        model: GPT | None = None,
        dataset: TokenDataset | None = None,
        observer: Observer | None = None,
        forward: Callable[..., torch.Tensor] | None = None,
        **switches: Any,
    ) -> Trainer:
        config = config or self.config()
        model = model or self.model(**switches)
        loader = BatchLoader(dataset or self.dataset(), batch_size=config.batch_size, context=CONTEXT, seed=config.seed)
        return Trainer(model, loader, config, run=run, observer=observer, sampler=self.sampler(model), forward=forward)

    def sampler(self, model: GPT) -> Callable[[str, int, int], str]:
        def sample(prompt: str, tokens: int, seed: int) -> str:
            sampling = SamplingConfig(max_tokens=tokens, temperature=0.9, seed=seed, ignore_eos=True)
            engine = Engine(model, IdsOnly(VOCABULARY), max_batch=1)
            completion = engine.run([Request([ord(prompt) % VOCABULARY], sampling)])[0]
            return " ".join(map(str, completion.ids))

        return sample

    def state(self, trainer: Trainer) -> dict[str, torch.Tensor]:
        """Every byte that decides how a training goes on: weights, optimiser, random generator, progress."""
        weights = {f"weight/{name}": tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}
        optimizer = {f"optimizer/{name}": t.clone() for name, t in trainer.optimizers.state_tensors().items()}
        progress = torch.tensor([trainer.progress.step, trainer.progress.tokens])
        return {**weights, **optimizer, "random": torch.get_rng_state(), "progress": progress}

    def records(self, run: RunDirectory) -> list[dict[str, Any]]:
        """The metrics without what a clock or the operating system says."""
        return [{key: value for key, value in record.items() if key not in TIMES} for record in run.metrics]

    def differences(self, ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> list[str]:
        """Names of the tensors that are not equal bit for bit."""
        assert ours.keys() == theirs.keys()
        return [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.fixture(scope="session")
def lab() -> Laboratory:
    return Laboratory()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], RunDirectory]:
    def make(name: str = "run") -> RunDirectory:
        return RunDirectory.create(tmp_path / name)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_waiting_for_the_real_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/run proves what is flushed and when; here the machine does not lose power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
