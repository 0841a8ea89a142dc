"""A process that saves and prunes without pause is killed at any moment: what it had acknowledged is still there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from groundzero.run import RunDirectory

VICTIM = """
import sys
from pathlib import Path
from groundzero.run import RunDirectory

run = RunDirectory(Path(sys.argv[1]))
run.sweep()
found = run.latest_verified().checkpoint
step = found.step if found else 0
while True:
    step += 1
    run.publish_checkpoint(step, lambda folder: (folder / "weights").write_bytes(b"%d," % step * 20_000))
    if step % 7 == 0:
        run.mark_best(step)
    run.prune(2)
    print(step, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_had_saved(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    generator = random.Random(0)
    leftovers = 0
    for _ in range(20):
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(run.path)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert victim.stdout is not None
        acknowledged = [victim.stdout.readline()]
        time.sleep(generator.random() * 0.05)
        victim.kill()
        acknowledged += victim.stdout.read().splitlines()
        victim.wait()
        victim.stdout.close()
        last = int([line for line in acknowledged if line.strip()][-1])
        leftovers += any(path.name.startswith(".") for path in run.checkpoints.folder.iterdir())
        found = run.latest_verified()
        assert found.skipped == ()
        assert found.checkpoint is not None
        assert found.checkpoint.step >= last
        assert (found.checkpoint.path / "weights").read_bytes() == b"%d," % found.checkpoint.step * 20_000
        best = run.best()
        assert best is None or run.verify(best) == []
    run.sweep()
    assert not [path for path in run.checkpoints.folder.iterdir() if path.name.startswith(".")]
