"""Examine a run: do its files belong together, and does its network compute what a language model must?

    examine_run("runs/book") -> RunReport: checks, the shape of every layer, the gradient of every block

Every check says ok, warning or failed in one line, with a remedy; a test shows each of them fail on a network or a
file that is broken on purpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from groundzero.data import TokenDataset
from groundzero.errors import GroundzeroError
from groundzero.evaluate.check import Check
from groundzero.evaluate.gradients import BlockGradient, check_gradients, gradient_flow
from groundzero.evaluate.greedy import check_greedy
from groundzero.evaluate.network import (
    LayerShape,
    check_attention,
    check_cache,
    check_causality,
    check_shapes,
    check_stream,
    check_weights,
    layer_shapes,
)
from groundzero.evaluate.run_files import check_files, check_round_trip, check_tokenizer, open_data, section_of
from groundzero.evaluate.twin_watch import record_pytorch
from groundzero.generate import Engine
from groundzero.generate.load import load_engine
from groundzero.reference.tokenizer import N_CONTROL
from groundzero.run import RunDirectory
from groundzero.tokenizer import Tokenizer

LONGEST = 64
"""Tokens of the sequence that is examined; every check is a matter of places, and these are enough of them."""
SEQUENCES = 4
"""In the batch whose gradient is taken."""


@dataclass
class RunReport:
    """What was found."""

    run: str
    step: int | None = None
    """Of the checkpoint that was examined; None when none could be loaded."""
    family: str = ""
    checks: list[Check] = field(default_factory=list)
    shapes: list[LayerShape] = field(default_factory=list)
    gradients: list[BlockGradient] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(check.status == "failed" for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        counts = Counter(check.status for check in self.checks)
        tally = {"passed": counts["ok"], "warnings": counts["warning"], "failed": counts["failed"]}
        return {"run": self.run, "ok": self.ok, **tally, **{k: v for k, v in asdict(self).items() if k != "run"}}


def examine_run(
    path: Path | str,
    *,
    step: Literal["best", "latest"] | int = "best",
    device: str = "cpu",
    progress: Callable[[str], object] = lambda what: None,
) -> RunReport:
    """Run every check on a run and one of its checkpoints, in float32.

    Args:
        progress: told what is examined next.

    Raises:
        InputError: there is no run.
        FormatError: its manifest is damaged, so nothing else can be told.
    """
    run = RunDirectory.open(path)
    manifest = run.manifest()
    report = RunReport(str(path))
    progress("files")
    report.checks.append(check_files(run))
    dataset, data = open_data(run, manifest)
    report.checks.append(data)
    progress("tokenizer")
    try:
        tokenizer = Tokenizer.load(run.tokenizer_path)
        report.checks.append(check_tokenizer(tokenizer, manifest, dataset))
        report.checks.append(check_round_trip(tokenizer, dataset, section_of(manifest, "data")))
        found = run.checkpoint(step).checkpoint
        assert found is not None
        engine = load_engine(run, found.step, device=device, dtype="float32")
    except GroundzeroError as error:
        message = f"It cannot be used: {error.message} The network was not examined."
        report.checks.append(Check("Loading", "failed", message, error.remedy))
        return report
    report.step, report.family = found.step, engine.model.config.family
    examine_network(engine, dataset, report, progress)
    return report


def examine_network(
    engine: Engine,
    dataset: TokenDataset | None,
    report: RunReport,
    progress: Callable[[str], object] = lambda what: None,
) -> None:
    """The checks that run the network, on the run's own tokens where there are any."""
    model = engine.model
    tokens_BT = sample_tokens(dataset, engine).to(model.device)
    ids_1T = tokens_BT[:1, :-1]
    progress("weights")
    weights = check_weights(model)
    report.checks.append(weights)
    if weights.status == "failed":  # with NaN everywhere, every other check would fail for this reason alone
        return
    progress("shapes")
    seen = record_pytorch(model, ids_1T[0].tolist())
    report.shapes = layer_shapes(model, seen, ids_1T.shape[1])
    report.checks.append(check_shapes(model, report.shapes))
    stream = check_stream(model, seen)
    report.checks.append(stream)
    if stream.status == "failed":
        return
    progress("attention")
    report.checks.append(check_attention(model, ids_1T))
    progress("causality")
    report.checks.append(check_causality(model, ids_1T))
    progress("cache")
    report.checks.append(check_cache(model, ids_1T))
    progress("gradients")
    report.gradients = gradient_flow(model, tokens_BT[:, :-1], tokens_BT[:, 1:])
    report.checks.append(check_gradients(report.gradients))
    progress("temperature 0")
    report.checks.append(check_greedy(engine, _prompts(tokens_BT)))


def sample_tokens(dataset: TokenDataset | None, engine: Engine) -> Tensor:
    """A batch of sequences, one token longer than what is examined: from the run's text, or else at random.

    Returns:
        tokens_BT, int64.
    """
    n_token = min(LONGEST, engine.model.config.context) + 1
    known = engine.tokenizer.vocab_size
    if dataset is not None and len(dataset.train) >= n_token:
        last = len(dataset.train) - n_token
        starts = [last * i // (SEQUENCES - 1) for i in range(SEQUENCES)]
        rows_BT = np.stack([dataset.train.read(start, start + n_token).astype(np.int64) for start in starts])
        if rows_BT.max() < known:
            return torch.from_numpy(rows_BT)
    lowest = min(N_CONTROL, known - 1)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(lowest, known, (SEQUENCES, n_token), generator=generator)


def _prompts(tokens_BT: Tensor) -> list[list[int]]:
    """Beginnings of different lengths, so that the rows of a batch are uneven."""
    n_token = tokens_BT.shape[1]
    return [
        row[: max(1, n_token * (number + 1) // (2 * len(tokens_BT)))] for number, row in enumerate(tokens_BT.tolist())
    ]
