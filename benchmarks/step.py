"""Training throughput of a 29 M model against nanoGPT: 8 layers, d 512, context 256, vocabulary 8192, batch 8.

Same family (learned positions, LayerNorm, exact GELU, no biases, tied), same AdamW, same clipping, same random batches.
The contestants stay alive in processes of their own and take turns, a few steps each, so that a busy machine slows
all of them; figures are medians over the turns. Peak memory is each process's own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.table import Row, peer_folder, row

BATCH, CONTEXT, VOCAB, LAYERS, HEADS, WIDTH = 8, 256, 8192, 8, 8, 512
TOKENS = BATCH * CONTEXT
WARM_UP = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many turns of how many steps."""
    parser.add_argument("--turns", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--steps", type=int, default=4, help="steps in one turn")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> list[Row]:
    """Start the contestants, let them take turns, compare."""
    if options.contestant:
        _serve(options.contestant)
        raise SystemExit(0)
    from groundzero.hardware import matrix_rate
    from groundzero.model import GPTConfig
    from groundzero.model.size import flops_per_token

    names = ["ours", "ours-muon-qwen3"]
    if peer_folder("nanoGPT"):
        names += ["nanogpt", "nanogpt-compiled-bf16"]
    contestants = {name: _Contestant(name) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    rate = []
    for _ in range(options.turns):
        for name, contestant in contestants.items():
            seconds[name] += contestant.take_turn(options.steps)
        rate.append(matrix_rate("cpu", "bfloat16", 1024))
    peaks = {name: contestant.finish() for name, contestant in contestants.items()}
    speed = {name: TOKENS / statistics.median(times) for name, times in seconds.items()}
    config = GPTConfig.parse(_our_model("ours"))
    share = speed["ours"] * flops_per_token(config, CONTEXT) / statistics.median(rate)
    note = f"{share:.0%} of this machine's own bfloat16 matrix rate ({statistics.median(rate) / 1e9:,.0f} GFLOP/s)"
    rows = []
    for peer, name in (("nanogpt", "nanoGPT as shipped"), ("nanogpt-compiled-bf16", "nanoGPT compiled, bfloat16")):
        rows.append(row("training step, 29 M", "tokens/s", speed["ours"], speed.get(peer), name, note=note))
        rows.append(
            row("peak memory", "GB", peaks["ours"] / 1e9, peaks[peer] / 1e9 if peer in peaks else None, name,
                lower_is_better=True)
        )  # fmt: skip
    rows.append(row("the same size, qwen3 family, Muon", "tokens/s", speed["ours-muon-qwen3"], None, "-", note=" "))
    return rows


class _Contestant:
    """A process that trains a few steps when told to."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks", "step", "--contestant", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        self.take_turn(WARM_UP)

    def take_turn(self, steps: int) -> list[float]:
        """Seconds of each step."""
        answer = self._ask(str(steps))
        assert isinstance(answer, list)
        return answer

    def finish(self) -> float:
        """Peak memory in bytes; the process ends."""
        peak = float(self._ask("finish"))
        self._process.wait(timeout=60)
        return peak

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        while answer and not answer.startswith(("[", "{", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")):
            answer = self._process.stdout.readline()  # whatever the peer prints
        return json.loads(answer)


def _our_model(name: str) -> dict[str, Any]:
    shape = {"context": CONTEXT, "vocab_size": VOCAB, "n_layer": LAYERS, "n_head": HEADS, "d_model": WIDTH}
    if name == "ours-muon-qwen3":
        return {"family": "qwen3", **shape}
    return {"family": "gpt2", "activation": "gelu", "attention_bias": False, "feed_forward_bias": False, **shape}


def _serve(name: str) -> None:
    """The child: answers each number on stdin with the seconds of so many steps."""
    import time

    import torch

    from groundzero.hardware import peak_memory_bytes

    torch.manual_seed(0)
    step = _nanogpt(name) if name.startswith("nanogpt") else _ours(name)
    for line in sys.stdin:
        if line.strip() == "finish":
            print(peak_memory_bytes("cpu"), flush=True)
            return
        times = []
        for _ in range(int(line)):
            ids = torch.randint(0, VOCAB, (BATCH, CONTEXT + 1))
            inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
            start = time.perf_counter()
            step(inputs, targets)
            times.append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)


def _ours(name: str) -> Any:
    import torch

    from groundzero.hardware import choose_precision, keep_freed_memory
    from groundzero.model import GPT, GPTConfig
    from groundzero.train import TrainConfig
    from groundzero.train.optimizer import Optimizers

    keep_freed_memory()  # as `gz train` does
    model = GPT(GPTConfig.parse(_our_model(name)))
    model.compute_dtype = getattr(torch, choose_precision("cpu").name)
    optimizer = "muon" if "muon" in name else "adamw"
    optimizers = Optimizers(model, TrainConfig(learning_rate=6e-4, optimizer=optimizer))

    def step(inputs: Any, targets: Any) -> None:
        model.loss(inputs, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step()

    return step


def _nanogpt(name: str) -> Any:
    from contextlib import nullcontext

    import torch

    sys.path.insert(0, str(peer_folder("nanoGPT")))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    shape = {"block_size": CONTEXT, "vocab_size": VOCAB, "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH}
    model = GPT(GPTConfig(**shape, dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), "cpu")
    fast = "compiled" in name
    context = torch.autocast("cpu", torch.bfloat16) if fast else nullcontext()
    forward = torch.compile(model) if fast else model

    def step(inputs: Any, targets: Any) -> None:
        with context:
            _, loss = forward(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
