"""What goes into the engine and what comes out: request, events, completion."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from groundzero.errors import InputError
from groundzero.generate.config import SamplingConfig
from groundzero.generate.evidence import CopiedSpan, Evidence
from groundzero.model.islands import MAINLAND

FinishReason = Literal["length", "stop", "eos", "cancelled", "error"]


class Processor(Protocol):
    """Changes a request's next-token log-probabilities; may keep state, since every request gets its own.

    It runs after penalties and before temperature. It must return a tensor of the shape it got, may set tokens to
    -inf, and must not change `ids_so_far` nor work in place.
    """

    def __call__(self, ids_so_far: Sequence[int], logprobs_V: Tensor) -> Tensor:
        """
        Args:
            ids_so_far: prompt and answer.
            logprobs_V: float32, nats, summing to 1 as probabilities.
        """
        ...

    def fresh(self) -> Processor:
        """A new one without state, for another request."""
        ...


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it. May be submitted any number of times."""

    prompt: str | Sequence[int] = ""
    """Text, or token ids taken as they are. Nothing starts from <BOS>."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How to choose tokens."""
    side_inputs: Mapping[str, Tensor] | None = None
    """Further inputs by name, each (N, d) with its own N; the names are the model's `side_input_names`."""
    processors: tuple[Processor, ...] = ()
    """Applied in order to each step's log-probabilities; the engine takes a `fresh()` one of each."""
    evidence: Evidence | None = None
    """Facts that knowledge layers may read and copy from, and through which channels."""
    add_bos: bool | None = None
    """Begin a text prompt with <BOS>; as the model was trained when None."""
    islands: Sequence[int] | None = None
    """The island of each id of the prompt (`model.islands`), for models that read facts apart; the last is the
    mainland, 0, and so is the answer. None has no islands."""


@dataclass(frozen=True)
class TokenLogprob:
    """How likely the model found one generated token, and what else it might have said; nats."""

    id: int
    """The token that was taken."""
    logprob: float
    """Its log-probability."""
    top: tuple[tuple[int, float], ...]
    """The likeliest tokens with their log-probabilities, best first."""


@dataclass(frozen=True)
class Completion:
    """A finished answer."""

    text: str
    """The continuation, without the prompt, up to the stop string if one was found."""
    ids: tuple[int, ...]
    """All generated tokens but the one that ended the text; with a stop string, they reach to its last token."""
    finish_reason: FinishReason
    """length: max_tokens (or the context, when overflow is "stop"); stop: a stop string or id; eos: end of text;
    cancelled: somebody asked; error: see `Handle.error`."""
    seed: int
    """Replays this completion."""
    prompt_tokens: int
    """Tokens of the prompt, a leading <BOS> included."""
    truncated_prompt_tokens: int
    """Tokens cut from the front of the prompt because it did not fit the model's context."""
    slides: int
    """How often the context filled up and its oldest tokens were dropped while generating."""
    cached_tokens: int
    """Prompt tokens whose keys and values came from the prefix cache."""
    seconds: float
    """From the start of the work on this request to its end."""
    tokens_per_second: float
    """Generated tokens over `seconds`."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    """One for each of `ids`, when asked for."""
    copied: tuple[CopiedSpan, ...] = ()
    """Which of `ids` were copied, and from which of the request's facts."""


@dataclass(frozen=True)
class Event:
    """What one step did for one request."""

    handle: Handle
    """Whose it is."""
    ids: tuple[int, ...]
    """The new token, or none when the step ended the text."""
    text: str
    """Text that became certain; may be empty while a character or a possible stop string is unfinished."""
    completion: Completion | None = None
    """Set in the request's last event."""


@dataclass(eq=False)
class Handle:
    """A submitted request."""

    id: int
    """Counts up from 0 in an engine."""
    request: Request
    """As submitted."""
    completion: Completion | None = None
    """Set when finished."""
    error: Exception | None = None
    """Why it failed, with `finish_reason` "error"."""
    cancelled: bool = False
    """Somebody asked to stop; the next step obeys."""
    events: deque[Event] | None = field(default=None, repr=False)
    """Not yet read by `Engine.stream`, when that is who asked."""

    def cancel(self) -> None:
        """Stop at the next step; what was generated so far becomes the completion. May be called from any thread."""
        self.cancelled = True

    def result(self) -> Completion:
        """The completion of a finished request.

        Raises:
            Exception: whatever made the request fail.
        """
        if self.error is not None:
            raise self.error
        assert self.completion is not None, "the request has not finished"
        return self.completion


def check_islands(request: Request) -> None:
    """
    Raises:
        InputError: the islands are not those of the prompt.
    """
    if request.islands is None:
        return
    if isinstance(request.prompt, str) or len(request.prompt) != len(request.islands):
        count = "text" if isinstance(request.prompt, str) else f"{len(request.prompt)} ids"
        raise InputError(
            f"A prompt of {count} has {len(request.islands)} islands.",
            remedy="Give the prompt as token ids, and one island for each.",
        )
    if not request.islands or request.islands[-1] != MAINLAND or min(request.islands) < 0:
        raise InputError(
            f"A prompt cannot have the islands {list(request.islands)}.",
            remedy="Give 0 or more, and 0 for the last id: the answer sees everything.",
        )
