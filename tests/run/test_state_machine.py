"""After any sequence of saving, failing, pruning, damage and restarts, something sound is there, and so is the best."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from groundzero.errors import FormatError, StorageError
from groundzero.run import RunDirectory

STEPS = st.integers(0, 6)


class Machine(RuleBasedStateMachine):
    """The run directory beside a model of it: what each step holds, and which steps are sound."""

    disk: ModuleType
    run_class: type[RunDirectory] = RunDirectory

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.run = self.run_class.create(self.folder / "run")
        self.content: dict[int, bytes] = {}
        self.damaged: set[int] = set()
        self.best: int | None = None
        self.saves = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def sound(self) -> list[int]:
        return sorted(set(self.content) - self.damaged)

    def write(self, content: bytes) -> Callable[[Path], None]:
        return lambda folder: self.disk.write_unflushed(folder / "weights", content)

    def fresh(self) -> bytes:
        self.saves += 1
        return b"save %d" % self.saves

    def read(self, step: int) -> bytes | None:
        found = self.run.checkpoints.find(step).checkpoint
        return None if found is None else (found.path / "weights").read_bytes()

    @initialize()
    def first(self) -> None:
        self.publish(0)

    @rule(step=STEPS)
    def publish(self, step: int) -> None:
        content = self.fresh()
        self.run.publish_checkpoint(step, self.write(content))
        self.content[step] = content
        self.damaged.discard(step)

    @rule(step=STEPS, at=st.integers(1, 25), mode=st.sampled_from(["refuse once", "refuse from then on", "lose power"]))
    def fail_to_publish(self, step: int, at: int, mode: Any) -> None:
        content = self.fresh()
        fault = self.disk.FaultyDisk(at, mode)
        finished = False
        with fault.installed(self.folder):
            try:
                self.run.publish_checkpoint(step, self.write(content))
                finished = True
            except StorageError:
                pass
        if mode == "lose power" and fault.struck:
            self.restart()
        now = self.read(step)
        before = None if step in self.damaged else self.content.get(step)
        assert now == content if finished else now in (content, before)
        if now == content:
            self.content[step] = content
            self.damaged.discard(step)

    @rule()
    def restart(self) -> None:
        self.run = self.run_class(self.folder / "run")
        self.run.sweep()

    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        newest = self.sound[-keep:]
        deleted = self.run.prune(keep)
        assert not set(deleted) & {*newest, self.best}
        for step in deleted:
            del self.content[step]
            self.damaged.discard(step)
        assert self.sound[-keep:] == newest

    @rule(step=STEPS)
    def mark_best(self, step: int) -> None:
        if step in self.sound:
            self.run.mark_best(step, val_loss=1.0)
            self.best = step
        else:
            with pytest.raises(FormatError, match=f"Step {step} cannot be the best"):
                self.run.mark_best(step)

    @precondition(lambda self: len(self.sound) > 1)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from([step for step in self.sound if step != self.best] or [self.sound[0]]))
        for folder in self.run.checkpoints.folder.glob(f"*{step}*"):  # a predecessor set aside would load as well
            if folder.name == f"step-{step}" or folder.name.startswith(f".old-{step}-"):
                (folder / "weights").write_bytes(b"damaged by someone")
        self.damaged.add(step)

    @invariant()
    def the_newest_sound_checkpoint_is_found(self) -> None:
        found = self.run.latest_verified().checkpoint
        assert found is not None
        assert found.step == self.sound[-1]
        assert (found.path / "weights").read_bytes() == self.content[found.step]

    @invariant()
    def the_best_is_found(self) -> None:
        if self.best in self.sound:
            found = self.run.checkpoint("best").checkpoint
            assert found is not None
            assert found.step == self.best


def run_machine(disk: ModuleType, run_class: type[RunDirectory], examples: int) -> None:
    class Bound(Machine):
        pass

    Bound.disk, Bound.run_class = disk, run_class
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # a failing sequence need not be shortened here; that takes a minute
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("examples", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_sound_checkpoint_and_the_best_survive_any_sequence(faulty_disk: ModuleType, examples: int) -> None:
    run_machine(faulty_disk, RunDirectory, examples)


class CountsDamagedOnes(RunDirectory):
    """Broken: prunes by name, sound or not, as many trainers do."""

    def prune(self, keep: int) -> list[int]:
        doomed = [step for step in self.checkpoints.steps()[:-keep] if step != self.best()]
        for step in doomed:
            shutil.rmtree(self.checkpoints.path_of(step))
        return doomed


class ForgetsTheBest(RunDirectory):
    """Broken: prunes the best with the rest."""

    def prune(self, keep: int) -> list[int]:
        return self.checkpoints.prune(keep)


@pytest.mark.parametrize("broken", [CountsDamagedOnes, ForgetsTheBest])
def test_the_state_machine_catches_broken_variants(faulty_disk: ModuleType, broken: type[RunDirectory]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        run_machine(faulty_disk, broken, 1000)  # stops soon after the first failure
