"""Training: the loop that all the rest is for.

    for each step:
        take a batch of text            ids and, one place later, what came next
        loss = model.loss(...)          how surprised the model is
        model.backward(...)             for every number of the model: which way makes it more surprised
        clip                            no single batch may pull too far
        optimizer.step()                a little the other way

and now and then, the loss on text that is never trained on: the only figure that tells learning from memorising.

The same loop pretrains a new model, goes on with a trained one on other text (full fine-tuning), and trains an adapter
(LoRA): what differs is which parameters the optimiser was given. `gz reference train`, `finetune` and `lora` run it.

Shapes: B batch, T context.

Run me: `python -m groundzero.reference.training`
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from groundzero.reference.config import GPTConfig
from groundzero.reference.layers import Dropout
from groundzero.reference.model import GPT
from groundzero.reference.module import Ids
from groundzero.reference.optimizer import clip_gradients
from groundzero.reference.roles import OptimizerConfig, Optimizers

Batch = tuple[Ids, Ids]
"""ids_BT and targets_BT, the token after each; -1 where none counts."""


class DivergedError(ValueError):
    """The loss or the gradient stopped being a number; the weights are those of before."""


@dataclass(frozen=True)
class Step:
    """What one step showed."""

    number: int
    """Counted from 1."""
    loss: float
    """Of the batch before the update, in nats."""
    gradient_length: float
    """Before clipping."""
    tokens: int
    """Targets learned from."""
    seconds: float


def fit(
    gpt: GPT,
    optimizers: Optimizers,
    batch_of: Callable[[int], Batch],
    rate_factor: Callable[[int], float],
    steps: Iterable[int],
    *,
    clip: float = 1.0,
    seed: int = 0,
) -> Iterator[Step]:
    """Train: one update for each of `steps`, yielding after each; whoever iterates may evaluate, save, or stop.

    Args:
        optimizers: hold the parameters to be trained; all others stay as they are.
        batch_of: the batch of a step, counted from 0.
        rate_factor: the learning rate at a step, as a factor of its peak.
        steps: their numbers, counted from 0; a resumed training begins where it stopped.
        clip: the longest gradient; 0 does not clip.
        seed: of dropout. What a step drops is a function of seed and step, so a resumed training drops the same.

    Raises:
        DivergedError: a loss or gradient is not finite.
    """
    gpt.train()
    try:
        for step in steps:
            started = time.perf_counter()
            ids_BT, targets_BT = batch_of(step)
            _seed_dropout(gpt, seed, step)
            gpt.zero_gradients()
            loss = gpt.loss(ids_BT, targets_BT, backward=True)
            length = clip_gradients(optimizers.parameters, clip)
            if not math.isfinite(loss + length):
                raise DivergedError(f"step {step + 1} gave a loss of {loss:.4g} and a gradient of length {length:.4g}")
            optimizers.set_factor(rate_factor(step))
            optimizers.step()
            yield Step(step + 1, loss, length, int((targets_BT >= 0).sum()), time.perf_counter() - started)
    finally:
        gpt.train(False)


def _seed_dropout(gpt: GPT, seed: int, step: int) -> None:
    rng = np.random.default_rng((seed, step))
    for _, module in gpt.modules():
        if isinstance(module, Dropout):
            module.rng = rng


@dataclass(frozen=True)
class Score:
    """How well a model predicts text."""

    loss: float
    """Mean surprise in nats."""
    accuracy: float
    """Share of tokens that were its first choice."""
    tokens: int


def evaluate(gpt: GPT, batches: Iterable[Batch]) -> Score:
    """The mean surprise over all targets of `batches`, dropout off."""
    training = gpt.training
    gpt.train(False)
    loss_sum, correct, counted = 0.0, 0, 0
    for ids_BT, targets_BT in batches:
        logits_BTV = gpt(ids_BT)
        places = np.nonzero(targets_BT >= 0)
        rows_NV, targets_N = logits_BTV[places].astype(np.float64), targets_BT[places]
        rows_NV -= rows_NV.max(axis=-1, keepdims=True)
        surprise_N = np.log(np.exp(rows_NV).sum(axis=-1)) - rows_NV[np.arange(len(targets_N)), targets_N]
        loss_sum += float(surprise_N.sum())
        correct += int((rows_NV.argmax(axis=-1) == targets_N).sum())
        counted += len(targets_N)
    gpt.train(training)
    return Score(loss_sum / max(1, counted), correct / max(1, counted), counted)


def demo() -> None:
    """Train on one half of a counting game, and see the loss fall on the other half, too."""
    vocabulary, context = 12, 16
    rng = np.random.default_rng(0)

    def game() -> Ids:
        """Count up from anywhere by a stride of 1, 2 or 3, round a clock of twelve."""
        start, stride = rng.integers(vocabulary), rng.integers(1, 4)
        return np.asarray((start + stride * np.arange(context + 1)) % vocabulary)

    seen = np.array([game() for _ in range(256)])
    unseen = np.array([game() for _ in range(64)])
    gpt = GPT(GPTConfig.of(vocab_size=vocabulary, vocab_multiple=1, context=context, n_layer=2, n_head=2, d_model=32))
    optimizers = Optimizers(gpt.parameters(), OptimizerConfig(learning_rate=3e-3))

    def batch_of(step: int) -> Batch:
        rows = seen[np.random.default_rng(step).integers(len(seen), size=16)]
        return rows[:, :-1], rows[:, 1:]

    print("A clock of 12 numbers; each row counts round it by 1, 2 or 3. After two numbers the rest is certain.")
    print(f"Knowing nothing, the loss is ln 12 = {math.log(12):.2f}.\n")
    print("  step   training loss   unseen loss   unseen right")
    for step in fit(gpt, optimizers, batch_of, lambda step: 1.0 - step / 120, range(120)):
        if step.number in {1, 20, 40, 80, 120}:
            score = evaluate(gpt, [(unseen[:, :-1], unseen[:, 1:])])
            print(f"  {step.number:4d}   {step.loss:13.3f}   {score.loss:11.3f}   {score.accuracy:12.1%}")
    least = math.log(3) / context
    print(
        f"\nThe first step of a row cannot be known: three strides, so at best ln 3 / {context} = {least:.3f} is left."
    )
    print("\nNow on real text: gz reference train --out runs/numpy")


if __name__ == "__main__":
    demo()
