"""Time to loss on tiny-shakespeare by characters, against nanoGPT's setting for CPUs.

Peer: nanoGPT's README line for a CPU, its finished run of 2,000 steps. Ours: `gz train --config
benchmarks/shakespeare.toml`, once per seed. Both are whole processes, imports, preparation and evaluation included, and
both losses are taken over the whole validation split, in windows of 64 side by side. A seed whose loss is above the
peer's counts as not arrived.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, peer_folder, row

CONTEXT = 64
CONFIG = Path(__file__).with_suffix(".toml")
NANOGPT = shlex.split(
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=100 --block_size=64 "
    "--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many seeds."""
    parser.add_argument("--seeds", type=int, default=5, help="runs of ours; the median counts")
    parser.add_argument("--config", type=Path, default=CONFIG, help="our settings")


def measure(options: argparse.Namespace) -> list[Row]:
    """Run the peer once and ours once per seed."""
    folder = Path(os.environ.get("GROUNDZERO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    text = gzip.decompress((folder / "text-tinyshakespeare" / "input.txt.gz").read_bytes()).decode()
    peer = peer_folder("nanoGPT")
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "shakespeare.txt"
        source.write_text(text, encoding="utf-8", newline="")
        peer_seconds, peer_loss = _run_nanogpt(peer, text, Path(scratch)) if peer else (None, None)
        runs = [_run_ours(source, Path(scratch) / f"run-{seed}", seed, options.config) for seed in range(options.seeds)]
    arrived = [s if peer_loss is None or loss <= peer_loss else math.inf for s, loss in runs]
    losses = sorted(loss for _, loss in runs)
    note = f"losses {losses[0]:.4f} to {losses[-1]:.4f}, median {statistics.median(losses):.4f}; " + (
        f"{sum(map(math.isfinite, arrived))} of {len(runs)} seeds at or below the peer's {peer_loss:.4f}"
        if peer_loss is not None
        else "no peer to compare with"
    )
    median = statistics.median(arrived)
    ours = median if math.isfinite(median) else None
    return [
        row("whole process to nanoGPT's loss", "s", ours, peer_seconds, "nanoGPT", lower_is_better=True, note=note),
        row("loss over the whole validation split", "nats", statistics.median(losses), peer_loss, "nanoGPT",
            lower_is_better=True),
    ]  # fmt: skip


def _run_ours(source: Path, out: Path, seed: int, config: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "groundzero", "train", "--text", str(source), "--out", str(out)]
    command += ["--config", str(config), "--seed", str(seed), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    result = json.loads(done.stdout)
    print(f"seed {seed}: {seconds:.2f} s, loss {result['val_loss']:.4f}", file=sys.stderr)
    return seconds, result["val_loss"]


def _run_nanogpt(checkout: Path, text: str, scratch: Path) -> tuple[float, float]:
    """Its run as its README writes it, in a copy of the checkout; then its loss over the whole validation split."""
    import numpy as np
    import torch

    copy = scratch / "nanoGPT"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    characters = sorted(set(text))
    ids = np.array([characters.index(character) for character in text], dtype=np.uint16)
    data = copy / "data" / "shakespeare_char"
    cut = int(len(ids) * 0.9)
    ids[:cut].tofile(data / "train.bin")
    ids[cut:].tofile(data / "val.bin")
    with (data / "meta.pkl").open("wb") as file:  # the peer reads its vocabulary size from there
        import pickle

        pickle.dump({"vocab_size": len(characters)}, file)
    start = time.perf_counter()
    subprocess.run([sys.executable, "train.py", *NANOGPT], cwd=copy, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    saved = torch.load(copy / "out-shakespeare-char" / "ckpt.pt", weights_only=True)
    sys.path.insert(0, str(copy))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    model = GPT(GPTConfig(**saved["model_args"])).eval()
    model.load_state_dict(saved["model"])
    inputs = torch.from_numpy(ids[cut:].astype(np.int64))
    loss_sum = counted = 0.0
    with torch.no_grad():
        for first in range(0, len(inputs) - 1, CONTEXT * 256):
            piece = inputs[first : first + CONTEXT * 256 + 1]
            for at in range(0, len(piece) - 1, CONTEXT):
                window = piece[at : at + CONTEXT + 1]
                _, loss = model(window[None, :-1], window[None, 1:])
                loss_sum += float(loss) * (len(window) - 1)
                counted += len(window) - 1
    print(f"nanoGPT: {seconds:.2f} s, loss {loss_sum / counted:.4f} over {counted:.0f} targets", file=sys.stderr)
    return seconds, loss_sum / counted
