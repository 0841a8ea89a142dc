"""The NumPy twin beside eager float32 PyTorch, one thread each: a whole training step on the Shakespeare setting.

4 layers, width 128, 4 heads, context 64, batch 12, 65 characters (nanoGPT's line for CPUs). A step is loss, every
gradient, clipping and the optimiser; the peer is our own PyTorch model and optimiser, not compiled.

The product's command for the other figure, validation loss in two minutes: `gz reference train`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from benchmarks.table import Row, row, turn_about

BATCH, CONTEXT, VOCABULARY = 12, 64, 65
SETTINGS = (("gpt2", "adamw"), ("classic", "adamw"), ("llama", "adamw"), ("qwen3", "adamw"), ("qwen3", "muon"))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=25)


def measure(options: argparse.Namespace) -> list[Row]:
    """A row for each family and optimiser; the first turn of each warms up and does not count."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read when NumPy and PyTorch are first imported
    rows = []
    for family, optimizer in SETTINGS:
        seconds = turn_about(_contestants(family, optimizer), options.repeats)
        tokens = BATCH * CONTEXT
        work = f"training step, {family}, {optimizer}, one thread"
        rows.append(
            row(work, "tokens/s", tokens / seconds["ours"], tokens / seconds["PyTorch"], "PyTorch eager float32")
        )
    return rows


def _contestants(family: str, optimizer: str) -> dict[str, Callable[[], object]]:
    import numpy as np
    import torch

    from groundzero.model import GPT, GPTConfig
    from groundzero.reference.config import GPTConfig as TwinConfig
    from groundzero.reference.model import GPT as Twin  # noqa: N811
    from groundzero.reference.optimizer import clip_gradients
    from groundzero.reference.roles import OptimizerConfig
    from groundzero.reference.roles import Optimizers as TwinOptimizers
    from groundzero.train.config import TrainConfig
    from groundzero.train.optimizer import Optimizers

    torch.set_num_threads(1)
    shape = {"n_layer": 4, "n_head": 4, "d_model": 128, "context": CONTEXT, "vocab_size": VOCABULARY}
    config = GPTConfig.parse({"family": family, **shape})
    gpt, twin = GPT(config), Twin(TwinConfig.from_mapping(config.model_dump()))
    gpt.train()
    torch_optimizers = Optimizers(gpt, TrainConfig.parse({"optimizer": optimizer}))
    twin_optimizers = TwinOptimizers(twin.parameters(), OptimizerConfig(optimizer=optimizer))  # type: ignore[arg-type]
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, CONTEXT + 1))
    tokens, targets = torch.tensor(ids[:, :-1]), torch.tensor(ids[:, 1:])

    def with_numpy() -> None:
        twin.zero_gradients()
        twin.loss(ids[:, :-1], ids[:, 1:], backward=True)
        clip_gradients(twin.parameters(), 1.0)
        twin_optimizers.step()

    def with_torch() -> None:
        gpt.loss(tokens, targets).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
        torch_optimizers.step()

    return {"ours": with_numpy, "PyTorch": with_torch}
