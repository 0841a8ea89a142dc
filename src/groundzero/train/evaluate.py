"""How good the model is on text it has not seen: loss, perplexity, bits per byte and accuracy."""

from __future__ import annotations

import torch

from groundzero.data import Loader
from groundzero.model.gpt import GPT
from groundzero.model.loss import score_targets
from groundzero.train.result import Evaluation

EVALUATION_TOKENS = 4096
"""Tokens in one forward pass at least: without gradients there is room for more than a training batch."""


@torch.no_grad()
def evaluate(
    model: GPT, loader: Loader, *, max_tokens: int = 0, batch_size: int = 0, isolate_documents: bool = False
) -> Evaluation:
    """Predict every token of the validation split (or of its first `max_tokens`) once, dropout off.

    Windows stand side by side, so a token sees at most `context` before it: the figure that nanoGPT's setting gives.
    """
    was_training = model.training
    rows = batch_size or max(loader.batch_size, EVALUATION_TOKENS // loader.context)
    model.eval()
    loss_sum, correct, counted = 0.0, 0, 0
    for batch in loader.validation_batches(max_tokens=max_tokens or None, batch_size=rows):
        moved = batch.to(model.device)
        isolate = isolate_documents and moved.has_borders
        hidden_BTD = model.hidden(
            moved.tokens_BT,
            documents_BT=moved.documents_BT if isolate else None,
            islands_BS=moved.extras.get("islands_BS"),
            positions_BT=moved.positions_BT if isolate else None,
            side_inputs={name: moved.extras[name] for name in model.side_input_names if name in moved.extras},
        )
        scored = score_targets(
            hidden_BTD.flatten(0, 1),
            model.head_weight,
            moved.targets_BT.flatten(),
            vocab_size=model.config.vocab_size,
            softcap=model.config.logit_softcap,
        )
        loss_sum += float(scored.loss_sum)
        correct += int(scored.correct)
        counted += int(scored.counted)
    model.train(was_training)
    n_byte = loader.validation_bytes(max_tokens=max_tokens or None)
    return Evaluation.of_sums(loss_sum, correct, counted, n_byte)
