"""Whether temperature 0 says the same every time: asked twice, and alone or among others."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from groundzero.errors import GroundzeroError
from groundzero.evaluate.check import Check
from groundzero.evaluate.network import CACHE_TOLERANCE
from groundzero.generate import Engine, Request, SamplingConfig

TOKENS = 24
"""Written after each prompt."""


def check_greedy(engine: Engine, prompts: Sequence[Sequence[int]]) -> Check:
    """Greedy answers to a few prompts are equal when asked again, and when asked together.

    In a batch matrices have other shapes and sums another order, so answers may part where two tokens are equally
    likely to the last digits; that is said, and is no failure.
    """
    sampling = SamplingConfig(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    requests = [Request(list(prompt), sampling) for prompt in prompts]
    try:
        alone = [engine.run([request])[0].ids for request in requests]
        again = [engine.run([request])[0].ids for request in requests]
        together = [completion.ids for completion in engine.run(requests)]
    except GroundzeroError as error:
        return Check("Temperature 0", "failed", error.message, error.remedy)
    for number, (first, second) in enumerate(zip(alone, again, strict=True)):
        if first != second:
            message = f"Asked twice, prompt {number} is answered differently from token {_parted(first, second)} on."
            return Check("Temperature 0", "failed", message, "Something draws at random: dropout, or a kernel.")
    for number, (first, second) in enumerate(zip(alone, together, strict=True)):
        if first == second:
            continue
        at = _parted(first, second)
        gap = _gap(engine, [*prompts[number], *first[:at]], first[at], second[at])
        message = f"Prompt {number} is answered differently alone and in a batch from token {at} on"
        if gap <= CACHE_TOLERANCE:
            why = f"{message}: two tokens are equally likely there (gap {gap:.0e})."
            return Check("Temperature 0", "warning", why, "Rounding decides such a tie; longer training breaks it.")
        remedy = "Rows of a batch see each other: this is a fault of the code, please report it."
        return Check("Temperature 0", "failed", f"{message}.", remedy)
    answered = f"{len(prompts)} prompts, {sum(map(len, alone))} tokens"
    return Check("Temperature 0", "ok", f"{answered}: the same twice, and alone as in a batch")


def _parted(first: Sequence[int], second: Sequence[int]) -> int:
    """The place of the first token that differs."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)) - 1)


@torch.no_grad()
def _gap(engine: Engine, ids: Sequence[int], a: int, b: int) -> float:
    """How far apart the scores of two tokens are, relative to the largest."""
    kept = list(ids)[-engine.context :]
    logits_V = engine.model(torch.tensor([kept], device=engine.model.device))[0][0, -1]
    return abs(float(logits_V[a] - logits_V[b])) / max(float(logits_V.abs().max()), 1e-30)
