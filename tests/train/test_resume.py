"""Interrupted-then-resumed equals uninterrupted, bit for bit: weights, optimiser, random state, metrics, samples.

Each way of forgetting something on resume is tried on purpose, and the comparison has to notice it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import groundzero.train.checkpoint as checkpoint_module
from groundzero.errors import FormatError
from groundzero.run import RunDirectory
from groundzero.train import Observer, TrainConfig, Trainer
from groundzero.train.checkpoint import Progress, load_training
from groundzero.train.optimizer import Optimizers

STEPS = 9
SWITCHES = {"dropout": 0.2}
"""Dropout, so that the random generator matters."""


@dataclass
class Ended:
    state: dict[str, torch.Tensor]
    records: list[dict[str, Any]]


class StopAt:
    """A loss function that sends SIGINT (or dies) in the first forward pass of a step, counted from 1."""

    def __init__(self, step: int, accumulate: int, action: Callable[[], None]) -> None:
        self.calls, self.at, self.action = 0, (step - 1) * accumulate + 1, action

    def bind(self, trainer: Trainer) -> Trainer:
        plain = trainer.forward

        def forward(*tensors: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls == self.at:
                self.action()
            return plain(*tensors, **named)

        trainer.forward = forward
        return trainer


class PowerCut(BaseException):
    """Ends a training without any chance to save."""


def cut_power() -> None:
    raise PowerCut


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def uninterrupted(lab, make_run) -> Callable[[TrainConfig], Ended]:
    def train(config: TrainConfig) -> Ended:
        run = make_run("uninterrupted")
        trainer = lab.trainer(config, run=run, **SWITCHES)
        outcome = trainer.fit(STEPS)
        assert not outcome.interrupted
        return Ended(lab.state(trainer), lab.records(run))

    return train


@pytest.fixture
def resumed(lab, make_run) -> Callable[..., Ended]:
    def train(
        config: TrainConfig,
        stop: int,
        action: Callable[[], None] = interrupt,
        tamper: Callable[[Trainer], None] = lambda trainer: None,
    ) -> Ended:
        run = make_run(f"stopped-{stop}-{action.__name__}")
        trainer = StopAt(stop, config.accumulate, action).bind(lab.trainer(config, run=run, **SWITCHES))
        if action is interrupt:
            outcome = trainer.fit(STEPS)
            assert outcome.interrupted
            assert outcome.progress.step == stop
        else:
            with pytest.raises(PowerCut):
                trainer.fit(STEPS)
        torch.manual_seed(999)  # another process knows nothing of the first
        again = lab.trainer(config, run=run, seed=77, **SWITCHES)
        found = run.checkpoint("latest").checkpoint
        assert found is not None
        again.restore(found.path)
        tamper(again)
        again.fit(STEPS)
        return Ended(lab.state(again), lab.records(run))

    return train


@pytest.mark.parametrize(
    ("optimizer", "accumulate", "isolate_documents"),
    [("adamw", 1, True), ("adamw", 2, False), ("muon", 1, False), ("muon", 2, True)],
)
def test_a_stop_at_any_step_changes_nothing(lab, uninterrupted, resumed, optimizer, accumulate, isolate_documents):
    config = lab.config(optimizer=optimizer, accumulate=accumulate, isolate_documents=isolate_documents)
    whole = uninterrupted(config)
    for stop in range(1, STEPS):
        ended = resumed(config, stop)
        assert lab.differences(ended.state, whole.state) == []
        assert ended.records == whole.records


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "speedrun"])
def test_every_family_resumes_in_bfloat16(lab, make_run, family):
    """Activations in half precision, weights and optimiser in single, as training runs where the hardware has it."""

    def trainer(run: RunDirectory, seed: int = 0) -> Trainer:
        model = lab.model(seed=seed, family=family, **SWITCHES)
        model.compute_dtype = torch.bfloat16
        return lab.trainer(lab.config(), run=run, model=model)

    whole, run = make_run("whole"), make_run("stopped")
    first = trainer(whole)
    first.fit(STEPS)
    expected = lab.state(first)
    StopAt(5, 1, interrupt).bind(trainer(run)).fit(STEPS)
    again = trainer(run, seed=9)
    again.restore(run.checkpoints.latest().checkpoint.path)
    again.fit(STEPS)
    assert lab.differences(lab.state(again), expected) == []
    assert lab.records(run) == lab.records(whole)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_death_between_checkpoints_loses_only_time(lab, uninterrupted, resumed, optimizer):
    config = lab.config(optimizer=optimizer, checkpoint_every=2, keep_checkpoints=1)
    whole = uninterrupted(config)
    for stop in range(3, STEPS + 1):
        ended = resumed(config, stop, cut_power)
        assert lab.differences(ended.state, whole.state) == []
        assert ended.records == whole.records


@pytest.mark.parametrize("moment", ["evaluated", "sampled"])
def test_death_after_the_checkpoint_but_before_its_report_repeats_the_report(lab, make_run, uninterrupted, moment):
    config = lab.config(evaluate_every=4, sample_every=4)
    whole = uninterrupted(config)
    run = make_run("died")

    class Dies(Observer):
        def evaluated(self, record):
            if moment == "evaluated":
                cut_power()

        def sampled(self, step, prompt, text):
            if moment == "sampled":
                cut_power()  # the first of two samples is written, the second is not

    with pytest.raises(PowerCut):
        lab.trainer(config, run=run, observer=Dies(), **SWITCHES).fit(STEPS)
    again = lab.trainer(config, run=run, **SWITCHES)
    again.restore(run.checkpoints.latest().checkpoint.path)
    again.fit(STEPS)
    assert lab.differences(lab.state(again), whole.state) == []
    assert lab.records(run) == whole.records
    assert run.best() == min((r for r in whole.records if "val_loss" in r), key=lambda r: r["val_loss"])["step"]


def test_a_chain_of_stops_changes_nothing(lab, make_run, uninterrupted):
    config = lab.config(optimizer="muon", accumulate=2)
    whole = uninterrupted(config)
    run = make_run("often")
    done = 0
    while done < STEPS:
        trainer = lab.trainer(config, run=run, seed=done + 50, **SWITCHES)
        if done:
            trainer.restore(run.checkpoints.latest().checkpoint.path)
        else:
            trainer.model.load_state_dict(lab.model(**SWITCHES).state_dict())
        StopAt(2 if done else 1, config.accumulate, interrupt).bind(trainer)
        done = trainer.fit(STEPS).progress.step
    assert lab.differences(lab.state(trainer), whole.state) == []
    assert lab.records(run) == whole.records


# ------------------------------------------------------------------ broken variants, each of which must be noticed


def _drop_optimizer_state(trainer: Trainer) -> None:
    for optimizer in trainer.optimizers.optimizers:
        optimizer.state.clear()


def _drop_one_momentum(trainer: Trainer) -> None:
    state = trainer.optimizers.optimizers[-1].state
    next(iter(state.values())).clear()


def _draw_once_more(trainer: Trainer) -> None:
    torch.rand(1)


def _shift_batches(trainer: Trainer) -> None:
    plain = trainer.loader.batch
    trainer.loader.batch = lambda step: plain(step + 1)


def _count_a_step_twice(trainer: Trainer) -> None:
    trainer.progress.step += 1


def _lose_pending_losses(trainer: Trainer) -> None:
    trainer.progress.pending_losses = []


def _fresh_weights(trainer: Trainer) -> None:
    trainer.model.reset_parameters()


def _one_bit(trainer: Trainer) -> None:
    with torch.no_grad():
        weight = trainer.model.blocks[0].attention.out.weight.flatten()[:1]
        weight.view(torch.int32).bitwise_xor_(1)


def _forget_the_report(trainer: Trainer) -> None:
    trainer._owes_report = False


@pytest.mark.parametrize(
    "breakage",
    [
        _drop_optimizer_state,
        _drop_one_momentum,
        _draw_once_more,
        _shift_batches,
        _count_a_step_twice,
        _lose_pending_losses,
        _fresh_weights,
        _one_bit,
        _forget_the_report,
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_comparison_notices_a_broken_resume(lab, uninterrupted, resumed, optimizer, breakage):
    config = lab.config(optimizer=optimizer)
    whole = uninterrupted(config)
    ended = resumed(config, 4, interrupt, breakage)
    assert lab.differences(ended.state, whole.state) or ended.records != whole.records


def test_the_comparison_notices_a_generator_that_is_not_restored(lab, uninterrupted, resumed, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "set_random_states", lambda states, device: None)
    whole = uninterrupted(lab.config())
    assert lab.differences(resumed(lab.config(), 4).state, whole.state)


def test_the_comparison_notices_momenta_that_are_not_saved(lab, uninterrupted, resumed, monkeypatch):
    plain = Optimizers.state_tensors
    monkeypatch.setattr(
        Optimizers,
        "state_tensors",
        lambda self: {key: value for key, value in plain(self).items() if not key.endswith(("exp_avg", "momentum"))},
    )
    monkeypatch.setattr(Optimizers, "load_state_tensors", _load_what_there_is)
    monkeypatch.setattr(lab, "state", lambda trainer: dict(trainer.model.state_dict()), raising=False)
    whole = uninterrupted(lab.config())
    assert lab.differences(resumed(lab.config(), 4).state, whole.state)


def _load_what_there_is(self: Optimizers, tensors: dict[str, torch.Tensor]) -> None:
    for key, tensor in tensors.items():
        name, _, what = key.rpartition("/")
        parameter = self.named[name]
        for optimizer in self.optimizers:
            if any(other is parameter for group in optimizer.param_groups for other in group["params"]):
                blank = {"exp_avg": torch.zeros_like(parameter)} if what != "momentum" else {}
                optimizer.state[parameter] = {**blank, **optimizer.state.get(parameter, {}), what: tensor}


# ------------------------------------------------------------------ more steps, other files


def test_fitting_on_with_more_steps_extends(lab, make_run):
    run = make_run()
    trainer = lab.trainer(lab.config(schedule="constant"), run=run)
    trainer.fit(4)
    again = lab.trainer(lab.config(schedule="constant"), run=run)
    again.restore(run.checkpoints.latest().checkpoint.path)
    assert again.fit(7).progress.step == 7
    longer = make_run("longer")
    whole = lab.trainer(lab.config(schedule="constant"), run=longer)
    whole.fit(7)
    assert lab.differences(lab.state(again), lab.state(whole)) == []


def test_resuming_a_finished_training_reports_its_figures_again(lab, make_run):
    run = make_run()
    trainer = lab.trainer(lab.config(), run=run)
    first = trainer.fit(4)
    before = lab.records(run)
    again = lab.trainer(lab.config(), run=run)
    again.restore(run.checkpoints.latest().checkpoint.path)
    second = again.fit(4)
    assert (second.train_loss, second.evaluation, second.progress.tokens) == (
        first.train_loss,
        first.evaluation,
        first.progress.tokens,
    )
    assert lab.records(run) == before


@pytest.fixture
def saved(lab, make_run) -> RunDirectory:
    run = make_run("saved")
    lab.trainer(run=run).fit(1)
    return run


@pytest.mark.parametrize("name", ["training.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_damaged_training_state_is_named(lab, saved, name, damage):
    folder = saved.checkpoints.latest().checkpoint.path
    path = folder / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20] if damage == "truncated" else b"\xff" * 100)
    model = lab.model()
    with pytest.raises(FormatError, match=str(folder)) as caught:
        load_training(folder, model, Optimizers(model, lab.config()))
    assert "gz runs verify" in caught.value.remedy


def test_optimiser_state_of_another_model_is_refused(lab, saved):
    folder = saved.checkpoints.latest().checkpoint.path
    model = lab.model()
    optimizers = Optimizers(model, lab.config())
    optimizers.named = {name: p for name, p in optimizers.named.items() if name != "embedding.weight"}
    with pytest.raises(FormatError, match=r"embedding\.weight"):
        load_training(folder, model, optimizers)


def test_a_checkpoint_holds_all_progress(lab, make_run):
    run = make_run()
    trainer = lab.trainer(run=run)
    trainer.fit(5)
    model = lab.model(seed=3)
    folder = run.checkpoints.latest().checkpoint.path
    loaded = load_training(folder, model, Optimizers(model, lab.config()))
    assert isinstance(loaded, Progress)
    assert (loaded.step, loaded.tokens) == (trainer.progress.step, trainer.progress.tokens)
    assert loaded.seconds == trainer.progress.seconds
    assert loaded.pending_losses == []
