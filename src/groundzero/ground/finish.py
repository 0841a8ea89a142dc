"""Where an answer ends when it is said anew: once everything that it is to name has been named, and not before.

Small networks end lists too early, and go on where the question was answered. What is to be named is known from the
marked facts: each end of theirs that the question does not name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from groundzero.ground.lessons import Fact
from groundzero.tokenizer import Tokenizer


def to_be_named(facts: Sequence[Fact]) -> tuple[str, ...]:
    """Names and values that an answer resting on the marked facts holds, in their order, each once."""

    def open_ends(fact: Fact) -> Iterator[str]:
        for text, is_named in zip((fact.subject, fact.object), fact.named, strict=True):
            if text and (not is_named or all(fact.named)):
                yield text

    return tuple(dict.fromkeys(text for fact in facts if fact.step for text in open_ends(fact)))


class Finish:
    """A processor (`generate.request.Processor`): no end before all names are there, and an end at the next full stop.

    Args:
        names: what is to be named.
        ends: ids that end an answer.
        prompt_tokens: ids in front of the answer.
    """

    def __init__(self, tokenizer: Tokenizer, names: Sequence[str], ends: Sequence[int], prompt_tokens: int) -> None:
        self._tokenizer, self._names = tokenizer, tuple(names)
        self._ends, self._prompt_tokens = tuple(ends), prompt_tokens

    def __call__(self, ids_so_far: Sequence[int], logprobs_V: Tensor) -> Tensor:
        """See `generate.request.Processor`."""
        text = self._tokenizer.decode(ids_so_far[self._prompt_tokens :])
        is_end_V = torch.zeros_like(logprobs_V, dtype=torch.bool)
        is_end_V[list(self._ends)] = True
        if not all(name in text for name in self._names):
            return logprobs_V.masked_fill(is_end_V, -torch.inf)
        can_end = bool(torch.isfinite(logprobs_V[is_end_V]).any())  # not in the middle of a name
        return logprobs_V.masked_fill(~is_end_V, -torch.inf) if text.endswith(".") and can_end else logprobs_V

    def fresh(self) -> Finish:
        """Itself: it keeps no state."""
        return self
