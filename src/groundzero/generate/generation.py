"""One request under way: its tokens, its random numbers, its text so far, and when it ends."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import numpy as np

from groundzero.generate.config import MAX_SEED
from groundzero.generate.copying import Copier
from groundzero.generate.evidence import encode
from groundzero.generate.joints import TokenStarts
from groundzero.generate.request import Completion, Event, FinishReason, Handle, TokenLogprob
from groundzero.generate.text import TextStream
from groundzero.model.islands import MAINLAND, island_positions
from groundzero.model.knowledge import FACTS, KnowledgeGPT
from groundzero.tokenizer import Tokenizer


class Generation:
    """The state of a submitted request.

    Args:
        ids: the prompt's tokens; not empty.
        context: how many tokens the model sees at once.
    """

    def __init__(self, handle: Handle, ids: Sequence[int], text: TextStream, *, context: int) -> None:
        assert ids
        self.handle = handle
        self.config = handle.request.sampling
        self.side_inputs = handle.request.side_inputs
        """Those of the request, and what its evidence was encoded to."""
        self.evidence_digest = b""
        self.copier: Copier | None = None
        self.processors = [processor.fresh() for processor in handle.request.processors]
        self.ids = list(ids)
        """Prompt and answer."""
        given = handle.request.islands
        self.islands = None if given is None else list(given)
        """Of each of `ids`."""
        self.n_prompt = len(ids)
        self.row = -1
        """Row of the key/value cache, once it runs."""
        self.salt = b""
        """What the keys and values of its prefix hang on besides the tokens."""
        self.cached_tokens = 0
        self.slides = 0
        self.context = context
        # A longer prompt loses its beginning, and room to write is made at once.
        self.start = len(ids) - self._kept if len(ids) > context else 0
        """The first token that the model still sees."""
        self.truncated = self.start
        self._saved = self._places_saved()
        self.seed = self.config.seed if self.config.seed is not None else secrets.randbelow(MAX_SEED + 1)
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._text = text
        self._logprobs: list[TokenLogprob] | None = [] if self.config.logprobs else None
        self._started: float | None = None

    @property
    def finished(self) -> bool:
        """The completion is there."""
        return self.handle.completion is not None

    @property
    def n_generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.ids) - self.n_prompt

    @property
    def read_ids(self) -> list[int]:
        """The tokens whose keys and values the next step needs: all that are visible but the newest."""
        return self.ids[self.start : -1]

    @property
    def read_islands(self) -> list[int] | None:
        """The islands of those."""
        return None if self.islands is None else self.islands[self.start : -1]

    @property
    def reading(self) -> tuple[bytes, tuple[int, ...], tuple[int, ...] | None]:
        """What their keys and values depend on: equal for equal ones only."""
        islands = self.read_islands
        return self.salt, tuple(self.read_ids), None if islands is None else tuple(islands)

    @property
    def newest_position(self) -> int:
        """Where the newest token stands, on the mainland."""
        return self.n_read - self._saved

    @property
    def n_read(self) -> int:
        """How many those are."""
        return len(self.ids) - self.start - 1

    @property
    def _kept(self) -> int:
        """Tokens kept when the context is full. Three quarters, so that a step in (context / 4) reads them again."""
        return max(1, self.context * 3 // 4)

    def begin(self) -> None:
        """The clock starts with the work, not with the waiting."""
        self._started = time.perf_counter()

    def uniform(self) -> float:
        """The next random number of this request; one for each of its tokens, whoever shares the batch."""
        return 0.0 if self.config.greedy else float(self._random.random())

    def take_up(self, model: KnowledgeGPT, tokenizer: Tokenizer, starts: TokenStarts) -> None:
        """Encode the evidence and get ready to copy from it, as far as the channels are open."""
        evidence = self.handle.request.evidence
        assert evidence is not None
        channels, copies = evidence.channels, "copy" in evidence.channels and bool(evidence.surfaces)
        if not evidence.facts or not (copies or "attention" in channels):
            return
        facts_NF = encode(evidence, model)
        if "attention" in channels:
            self.side_inputs = {**(self.side_inputs or {}), FACTS: facts_NF}
            self.evidence_digest = evidence.digest()
        if copies:
            # Random numbers apart from those of the tokens, so that both stay one stream each.
            random = np.random.Generator(np.random.PCG64([self.seed, 1]))
            uniform = None if self.config.greedy else random.random
            self.copier = Copier(model.knowledge_copy, facts_NF, evidence.surfaces, tokenizer, starts, uniform=uniform)

    def take(self, token: int, logprob: TokenLogprob | None, eos_id: int) -> Event:
        """Append a chosen token and say what that did."""
        if (token == eos_id and not self.config.ignore_eos) or token in self.config.stop_ids:
            return self.finish("eos" if token == eos_id else "stop")
        self.ids.append(token)
        if self.islands is not None:
            self.islands.append(MAINLAND)
        if self.copier is not None:
            self.copier.took(token)
        if self._logprobs is not None and logprob is not None:
            self._logprobs.append(logprob)
        piece = self._text.push((token,))
        if self._text.stopped:
            return self.finish("stop", (token,), piece)
        if self.n_generated >= self.config.max_tokens:
            return self.finish("length", (token,), piece)
        if self.n_read >= self.context:  # the new token has no place left
            if self.config.overflow == "stop":
                return self.finish("length", (token,), piece)
            self.start = len(self.ids) - self._kept
            self.slides += 1
            self._saved = self._places_saved()
        return self._event((token,), piece)

    def finish(self, reason: FinishReason, ids: tuple[int, ...] = (), piece: str = "") -> Event:
        """End the answer; what was held back is text now, unless it completes a stop string."""
        piece += self._text.flush()
        reason = "stop" if self._text.stopped and reason in ("length", "eos") else reason
        seconds = time.perf_counter() - self._started if self._started is not None else 0.0
        self.handle.completion = Completion(
            text=self._text.text,
            ids=tuple(self.ids[self.n_prompt :]),
            finish_reason=reason,
            seed=self.seed,
            prompt_tokens=self.n_prompt,
            truncated_prompt_tokens=self.truncated,
            slides=self.slides,
            cached_tokens=self.cached_tokens,
            seconds=seconds,
            tokens_per_second=self.n_generated / seconds if seconds > 0 else 0.0,
            logprobs=tuple(self._logprobs) if self._logprobs is not None else None,
            copied=self.copier.finish() if self.copier is not None else (),
        )
        return self._event(ids, piece)

    def _places_saved(self) -> int:
        """How far behind its place among the visible tokens the newest one stands, since islands share positions."""
        if self.islands is None:
            return 0
        visible = self.islands[self.start :]
        return len(visible) - 1 - island_positions(visible)[-1]

    def fail(self, error: Exception) -> Event:
        """End with an error, which `Handle.result` raises."""
        self.handle.error = error
        return self.finish("error")

    def _event(self, ids: tuple[int, ...], piece: str) -> Event:
        event = Event(self.handle, ids, piece, self.handle.completion)
        if self.handle.events is not None:
            self.handle.events.append(event)
        return event
