"""One step's choice for the running batch: penalties, each request's processors, the draw, the reported log-probs.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from groundzero.errors import GroundzeroError
from groundzero.generate.generation import Generation
from groundzero.generate.request import Event, TokenLogprob
from groundzero.generate.rows import LiveRows
from groundzero.generate.sampling import choose, penalise


def advance(rows: LiveRows, logits_BV: Tensor, eos_id: int) -> list[Event]:
    """Choose every row's next token and hand it to its request.

    A request whose processor fails, or that has no possible token, ends with an error of its own.

    Returns:
        One event for each row.
    """
    live = list(rows)
    settings = rows.settings
    own_BV = logits_BV
    if settings.any_penalty:
        assert rows.counts is not None
        counts = rows.counts
        logits_BV = penalise(logits_BV, settings, counts.seen_BV[: len(live)], counts.generated_BV[: len(live)])
    events: list[Event] = []
    logits_BV = _process(live, logits_BV, events)
    uniform_B = None
    if not settings.all_greedy:
        drawn = [generation.uniform() for generation in live]
        uniform_B = torch.tensor(drawn, dtype=torch.float64, device=logits_BV.device)
    ids_B, valid_B = choose(logits_BV, settings, uniform_B)
    if rows.counts is not None:
        rows.counts.add(ids_B)
    tokens, valid = torch.stack((ids_B, valid_B.to(ids_B.dtype))).tolist()  # the one wait for the device in a step
    logprobs = _logprobs(live, own_BV, tokens)
    for generation, token, possible in zip(live, tokens, valid, strict=True):
        if generation.finished:  # its processor failed
            continue
        if possible:
            events.append(generation.take(token, logprobs.get(generation.row), eos_id))
        else:
            events.append(generation.fail(_no_token(generation)))
    return events


def _process(live: Sequence[Generation], logits_BV: Tensor, events: list[Event]) -> Tensor:
    """Run the processors of the rows that have some."""
    concerned = [generation for generation in live if generation.processors]
    if concerned:
        logits_BV = logits_BV.clone()
    for generation in concerned:
        try:
            logprobs_V = logits_BV[generation.row].log_softmax(-1)
            for processor in generation.processors:
                processed_V = processor(generation.ids, logprobs_V)
                assert processed_V.shape == logprobs_V.shape, f"{processor} changed the shape of the log-probabilities"
                logprobs_V = processed_V
            logits_BV[generation.row] = logprobs_V
        except Exception as error:  # Handle.result raises it to the caller it belongs to
            events.append(generation.fail(error))
    return logits_BV


def _logprobs(live: Sequence[Generation], logits_BV: Tensor, tokens: Sequence[int]) -> dict[int, TokenLogprob]:
    """The model's own log-probabilities of the chosen and the likeliest tokens, for the rows that want them."""
    found: dict[int, TokenLogprob] = {}
    for generation, token in zip(live, tokens, strict=True):
        n_top = generation.config.logprobs
        if n_top:
            logprobs_V = logits_BV[generation.row].log_softmax(-1)
            values, ids = logprobs_V.topk(min(n_top, len(logprobs_V)))
            top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
            found[generation.row] = TokenLogprob(token, float(logprobs_V[token]), top)
    return found


def _no_token(generation: Generation) -> GroundzeroError:
    place = generation.n_generated
    if generation.processors:
        return GroundzeroError(
            f"No token is possible at place {place} of the answer: every log-probability is -inf, or one is NaN.",
            remedy="Let the request's processors leave at least one token possible.",
        )
    return GroundzeroError(
        f"The model gives no probability to any token at place {place} of the answer: its scores are NaN or -inf.",
        remedy="Its weights are damaged or its training diverged; choose an earlier checkpoint.",
    )
