"""How likely the network finds texts: what it would say if it had to choose, whatever it says by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from groundzero.generate import Engine

_TOKENS = 8192
"""In one forward pass, padding included."""


@torch.inference_mode()
def log_likelihoods(engine: Engine, asked: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """ln p(continuation | prefix), in nats, of each pair of token ids; -inf where they do not fit the context.

    Texts of like length go through the network together; what stands right of a text changes nothing in it.
    """
    model, found = engine.model, [float("-inf")] * len(asked)
    lengths = [len(prefix) + len(continuation) - 1 for prefix, continuation in asked]
    fitting = [place for place, length in enumerate(lengths) if 0 < length <= engine.context and asked[place][0]]
    order = sorted(fitting, key=lengths.__getitem__)
    was_training = model.training
    model.eval()
    while order:
        width = lengths[order[-1]]
        group = order[-max(1, _TOKENS // width) :]
        del order[-len(group) :]
        ids_BT = torch.zeros(len(group), width, dtype=torch.int64)
        targets_BT = torch.full((len(group), width), -1)
        for row, place in enumerate(group):
            prefix, continuation = asked[place]
            text = torch.tensor([*prefix, *continuation])
            ids_BT[row, : len(text) - 1] = text[:-1]
            targets_BT[row, len(prefix) - 1 : len(text) - 1] = text[len(prefix) :]
        hidden_BTD = model.hidden(ids_BT.to(model.device))
        counted_BT = (targets_BT >= 0).to(model.device)
        logits_NV = model.logits(hidden_BTD[counted_BT]).float()
        targets_N = targets_BT.to(model.device)[counted_BT]
        surprise_N = F.cross_entropy(logits_NV, targets_N, reduction="none").double()
        row_N = torch.arange(len(group), device=model.device)[:, None].expand_as(counted_BT)[counted_BT]
        sum_B = torch.zeros(len(group), dtype=torch.float64, device=model.device).index_add_(0, row_N, surprise_N)
        for place, total in zip(group, sum_B.tolist(), strict=True):
            found[place] = -total
    model.train(was_training)
    return found


def likeliest(engine: Engine, choices: Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]]) -> list[int]:
    """Of each list of pairs the place of the likeliest; the first of several."""
    flat = log_likelihoods(engine, [pair for pairs in choices for pair in pairs])
    chosen, first = [], 0
    for pairs in choices:
        scores = flat[first : first + len(pairs)]
        first += len(pairs)
        chosen.append(max(range(len(scores)), key=scores.__getitem__))
    return chosen
