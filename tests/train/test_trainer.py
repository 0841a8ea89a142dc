"""One step is the step of its whole batch; and what must never happen to weights and files when something fails."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from groundzero.data import BatchLoader
from groundzero.errors import StorageError
from groundzero.metrics import MetricLog
from groundzero.run import sha256_of
from groundzero.train import Observer
from groundzero.train import trainer as trainer_module
from groundzero.train.trainer import TrainingError


def in_float64(model: torch.nn.Module):
    """The loss in double precision throughout, where the fused one takes probabilities in single."""

    def loss(ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        logits_BTV, _ = model(ids_BT)
        total = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=-1, reduction="sum")
        return total / max(1, int((targets_BT >= 0).sum()))

    return loss


def ragged(loader: BatchLoader, seed: int = 0) -> None:
    """Mask targets unevenly: of some sequences all, of others none."""
    plain = loader.batch

    def batch(step: int) -> Any:
        made = plain(step)
        generator = torch.Generator().manual_seed(1000)
        whole = made.targets_BT
        first = step * loader.batch_size
        for row in range(len(whole)):
            generator.manual_seed(first + row)
            share = [0.0, 0.3, 0.8, 1.0][(first + row) % 4]
            whole[row, torch.rand(whole.shape[1], generator=generator) < share] = -1
        return made

    loader.batch = batch


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_accumulated_batches_equal_one_batch_that_much_larger(lab, accumulate, optimizer):
    ends, losses = [], []
    for batch_size, parts in ((8, 1), (8 // accumulate, accumulate)):
        config = lab.config(batch_size=batch_size, accumulate=parts, log_every=1, optimizer=optimizer, epsilon=1e-3)
        model = lab.model().double()
        trainer = lab.trainer(config, model=model, forward=in_float64(model))
        ragged(trainer.loader)
        seen = []
        trainer.observer = Record(seen)
        trainer.fit(5)
        ends.append(lab.state(trainer))
        losses.append(seen)
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-9, atol=1e-11, msg=name)
    for large, small in zip(*losses, strict=True):
        assert large["tokens"] == small["tokens"]
        assert large["train_loss"] == pytest.approx(small["train_loss"], rel=1e-6)
        assert large["grad_norm"] == pytest.approx(small["grad_norm"], rel=1e-9)
        assert large["epoch"] == small["epoch"]


def test_the_comparison_notices_micro_batches_that_weigh_the_same(lab):
    """A mean of means is wrong where micro-batches have unequal numbers of targets."""
    norms = []
    for batch_size, parts in ((8, 1), (2, 4)):
        model = lab.model().double()
        trainer = lab.trainer(lab.config(batch_size=batch_size, accumulate=parts), model=model)
        plain = in_float64(model)
        trainer.forward = lambda ids, targets, plain=plain: plain(ids, targets) / max(1, int((targets >= 0).sum()))
        ragged(trainer.loader)
        seen: list[dict[str, Any]] = []
        trainer.observer = Record(seen)
        trainer.fit(1)
        norms.append(seen[0]["grad_norm"])
    assert norms[0] != pytest.approx(norms[1], rel=1e-3)


class Record(Observer):
    def __init__(self, seen: list[dict[str, Any]]) -> None:
        self.seen = seen

    def stepped(self, step, record):
        if record is not None:
            self.seen.append(dict(record))


@pytest.mark.parametrize("clip", [0.0, 1e-3, 1e3])
def test_clipping_shortens_what_is_too_long_and_records_the_length_before(lab, monkeypatch, clip):
    trainer = lab.trainer(lab.config(clip=clip, log_every=1))
    lengths = []
    plain = trainer.optimizers.step

    def step() -> None:
        grads = [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]
        lengths.append(float(torch.linalg.vector_norm(torch.stack([grad.norm() for grad in grads]))))
        plain()

    monkeypatch.setattr(trainer.optimizers, "step", step)
    seen: list[dict[str, Any]] = []
    trainer.observer = Record(seen)
    trainer.fit(3)
    for length, record in zip(lengths, seen, strict=True):
        expected = min(record["grad_norm"], clip) if clip else record["grad_norm"]
        assert length == pytest.approx(expected, rel=1e-3)


# ------------------------------------------------------------------ numbers that are none


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("bad", ["nan loss", "infinite loss", "nan gradient", "infinite gradient"])
def test_no_byte_of_a_weight_changes_by_what_is_not_a_number(lab, make_run, bad, accumulate, optimizer):
    run = make_run()
    trainer = lab.trainer(lab.config(optimizer=optimizer, accumulate=accumulate), run=run)
    trainer.fit(3)
    before, files = lab.state(trainer), _hashes(run)
    plain = trainer.forward

    def forward(*tensors: torch.Tensor) -> torch.Tensor:
        loss = plain(*tensors)
        if bad == "nan loss":
            return loss * float("nan")
        if bad == "infinite loss":
            return loss + float("inf")  # its gradient is finite
        some = trainer.model.blocks[1].attention.out.weight
        factor = float("nan") if bad == "nan gradient" else float("inf")
        return loss + _BadGradient.apply(some, factor)

    trainer.forward = forward
    with pytest.raises(TrainingError, match="Step 4 gave a loss of") as caught:
        trainer.fit(6)
    assert caught.value.exit_code == 1
    assert "learning rate" in caught.value.remedy
    assert (
        lab.differences({k: v for k, v in lab.state(trainer).items() if k != "random"}, _without_random(before)) == []
    )
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert _hashes(run) == files
    assert run.latest_verified().checkpoint.step == 3


class _BadGradient(torch.autograd.Function):
    """Zero, with a gradient that is no number."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.shape, ctx.factor = weight.shape, factor
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.full(ctx.shape, ctx.factor), None


def _without_random(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name != "random"}


def _hashes(run: Any) -> dict[str, str]:
    folder = run.checkpoints.folder
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


class FakeScaler:
    """What `torch.amp.GradScaler` does, without a device that has float16."""

    def __init__(self, device: str) -> None:
        self.scale_, self.bad, self.skipped = 1024.0, False, 0

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.scale_

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad /= self.scale_
                    self.bad |= not bool(torch.isfinite(parameter.grad).all())

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.bad:
            self.skipped += 1
        else:
            optimizer.step()

    def update(self) -> None:
        self.scale_, self.bad = self.scale_ / 2 if self.bad else self.scale_, False

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale_}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale_ = state["scale"]


@pytest.fixture
def half(lab, monkeypatch):
    """A trainer that believes in float16 and computes in float32."""
    monkeypatch.setattr(torch.amp, "GradScaler", FakeScaler)

    def make(run: Any = None) -> Any:
        model = lab.model()
        model.compute_dtype = torch.float16
        trainer = lab.trainer(lab.config(optimizer="adamw", sample_tokens=0, log_every=1), run=run, model=model)
        model.compute_dtype = None
        return trainer

    return make


def test_scaled_gradients_train_as_unscaled_ones(lab, half):
    scaled, plain = half(), lab.trainer(lab.config(optimizer="adamw", sample_tokens=0))
    scaled.fit(4)
    plain.fit(4)
    for ours, theirs in zip(scaled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_step_that_overflows_is_left_out_and_the_scale_falls_and_is_saved(lab, half, make_run):
    run = make_run()
    trainer = half(run)
    plain, calls = trainer.forward, []

    def forward(*tensors: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        loss = plain(*tensors)
        return loss + _BadGradient.apply(trainer.model.embedding.weight, float("inf")) if len(calls) == 2 else loss

    trainer.forward = forward
    trainer.fit(3)
    assert trainer.scaler.skipped == len(trainer.optimizers.optimizers)
    assert trainer.scaler.scale_ == 512
    assert [record["grad_norm"] is None for record in run.metrics if "train_loss" in record] == [False, True, False]
    again = half(run)
    again.restore(run.latest_verified().checkpoint.path)
    assert again.scaler.scale_ == 512


def test_a_loss_that_is_no_number_ends_a_float16_training_too(half):
    trainer = half()
    trainer.forward = lambda ids, targets: trainer.model.loss(ids, targets) * float("nan")
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    with pytest.raises(TrainingError, match="The loss is nan at step 1"):
        trainer.fit(3)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


# ------------------------------------------------------------------ a disk that fails


def _full(*args: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_while_saving_loses_nothing_saved(lab, make_run, monkeypatch):
    run = make_run()
    trainer = lab.trainer(run=run)
    trainer.fit(3)
    files = _hashes(run)
    monkeypatch.setattr("groundzero.train.trainer.save_training", _full)
    with pytest.raises(StorageError, match="No space left") as caught:
        trainer.fit(6)
    assert caught.value.exit_code == 3
    assert _hashes(run) == files
    monkeypatch.undo()
    again = lab.trainer(run=run)
    again.restore(run.latest_verified().checkpoint.path)
    again.fit(6)
    assert run.latest_verified().checkpoint.step == 6


def test_a_full_disk_while_logging_is_the_disks_fault(lab, make_run, monkeypatch):
    run = make_run()
    trainer = lab.trainer(run=run)
    trainer.fit(3)
    monkeypatch.setattr(MetricLog, "append", _full)
    with pytest.raises(StorageError, match=r"metrics\.jsonl.*No space left"):
        trainer.fit(6)
    assert run.latest_verified().checkpoint.step >= 3


# ------------------------------------------------------------------ signals, budgets, records


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_saves_and_returns(lab, make_run, number):
    run = make_run()
    trainer = lab.trainer(lab.config(checkpoint_every=100), run=run)
    trainer.observer = _At(2, lambda: signal.raise_signal(number))
    former = signal.getsignal(number)
    outcome = trainer.fit(50)
    assert outcome.interrupted
    assert run.latest_verified().checkpoint.step == outcome.progress.step == 3
    assert outcome.train_loss > 0
    assert outcome.tokens_per_second > 0
    assert signal.getsignal(number) is former


def test_the_second_interrupt_does_not_wait(lab):
    trainer = lab.trainer()

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer.observer = _At(2, twice)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(50)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_during_the_last_step_finishes_the_training(lab):
    trainer = lab.trainer()
    trainer.observer = _At(3, lambda: signal.raise_signal(signal.SIGINT))
    assert not trainer.fit(3).interrupted


class _At(Observer):
    def __init__(self, step: int, action: Any) -> None:
        self.at, self.action = step, action

    def stepped(self, step, record):
        if step == self.at:
            self.action()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_measuring_the_speed_changes_nothing(lab, optimizer):
    trainer = lab.trainer(lab.config(optimizer=optimizer, accumulate=2), dropout=0.3)
    before = lab.state(trainer)
    assert trainer.seconds_per_step() > 0
    assert lab.differences(lab.state(trainer), before) == []
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_records_come_at_their_steps_with_their_fields(lab, make_run):
    run = make_run()
    trainer = lab.trainer(lab.config(log_every=3, evaluate_every=4, sample_every=5), run=run)
    trainer.peak_flops = 1e12
    trainer.fit(11)
    records = list(run.metrics)
    trained = [record for record in records if "train_loss" in record]
    evaluated = [record for record in records if "val_loss" in record]
    sampled = [record for record in records if "sample" in record]
    assert [record["step"] for record in trained] == [3, 6, 9, 11]
    assert [record["step"] for record in evaluated] == [4, 8, 11]
    assert [(record["step"], record["prompt"]) for record in sampled] == [
        (step, prompt) for step in (5, 10, 11) for prompt in ("a", "b")
    ]
    assert set(trained[0]) == {
        "step", "tokens", "seconds", "epoch", "train_loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu",
        "memory_bytes",
    }  # fmt: skip
    assert set(evaluated[0]) == {
        "step", "val_loss", "val_perplexity", "val_accuracy", "val_tokens", "val_bpb"
    }  # fmt: skip
    assert all(0 < record["mfu"] < 1 for record in trained)
    assert trained[-1]["tokens"] == trainer.progress.tokens


def test_the_logged_loss_is_the_mean_since_the_last_record(lab, make_run):
    means = []
    for every in (1, 4):
        run = make_run(f"every-{every}")
        lab.trainer(lab.config(log_every=every), run=run).fit(8)
        means.append([record["train_loss"] for record in run.metrics if "train_loss" in record])
    fine, coarse = means
    assert coarse == pytest.approx([sum(fine[:4]) / 4, sum(fine[4:]) / 4], rel=1e-6)


def test_the_best_checkpoint_is_the_one_of_the_lowest_validation_loss_and_is_kept(lab, make_run, monkeypatch):
    run = make_run()
    losses = iter([3.0, 1.0, 2.0, 2.5, 4.0])
    plain = trainer_module.evaluate

    def evaluate(*args: Any, **named: Any) -> Any:
        return type(plain(*args, **named))(loss=next(losses), perplexity=1, bits_per_byte=1, accuracy=0, tokens=1)

    monkeypatch.setattr(trainer_module, "evaluate", evaluate)
    config = lab.config(evaluate_every=1, checkpoint_every=1, keep_checkpoints=1, sample_tokens=0)
    lab.trainer(config, run=run).fit(5)
    assert run.best() == 2
    assert run.checkpoints.steps() == [2, 5]
    assert run.verify() == [] or "manifest" in run.verify()[0]


def test_training_learns(lab):
    seen: list[dict[str, Any]] = []
    trainer = lab.trainer(lab.config(log_every=10, evaluate_every=100, sample_tokens=0))
    trainer.observer = Record(seen)
    outcome = trainer.fit(60)
    assert seen[0]["train_loss"] > 3
    assert outcome.evaluation is not None
    assert outcome.evaluation.loss < 2.7


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns of itself
def test_compiled_training_gives_the_same_losses(lab):
    curves = []
    for compiled in (False, True):
        seen: list[dict[str, Any]] = []
        trainer = lab.trainer(lab.config(log_every=1, sample_tokens=0))
        trainer.observer = Record(seen)
        if compiled:
            trainer.forward = torch.compile(trainer.model.loss)
        trainer.fit(5)
        curves.append([record["train_loss"] for record in seen])
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_resumes_bit_for_bit_with_dropout(lab, make_run, precision):
    """The real float16 scaler runs only here: few CPUs multiply float16."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")

    def trainer(run: Any) -> Any:
        model = lab.model(dropout=0.2).cuda()
        model.compute_dtype = None if precision == "float32" else getattr(torch, precision)
        return lab.trainer(lab.config(sample_tokens=0), run=run, model=model)

    whole_run, run = make_run("whole"), make_run("stopped")
    whole = trainer(whole_run)
    whole.fit(8)
    first = trainer(run)
    first.observer = _At(3, lambda: signal.raise_signal(signal.SIGINT))
    first.fit(8)
    again = trainer(run)
    again.restore(run.latest_verified().checkpoint.path)
    again.fit(8)
    assert lab.differences(lab.state(again), lab.state(whole)) == []
    assert lab.records(run) == lab.records(whole_run)
