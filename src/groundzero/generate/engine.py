"""The one generation path: requests join a running batch, every step adds a token to each, and finished ones leave.

    engine = Engine(model, tokenizer)
    engine.run([Request("Once"), Request("Twice")])     # -> [Completion, Completion]
    for event in engine.stream(Request("Once")):        # pieces of text as they become certain
        print(event.text, end="")
    handle = engine.submit(Request("Once"))             # or step by step, as a server does
    while handle.completion is None:
        engine.step()

A step reads what is missing of each row (a new prompt, or the kept part of a full context), then runs the newest
token of every row through the model at once and chooses the next ones. One thread drives an engine; only
`Handle.cancel` may be called from another.

When a sequence outgrows the model's context, its last three quarters are read again from position 0 and the rest is
forgotten; the completion says so (`truncated_prompt_tokens`, `slides`), and `overflow="stop"` forbids it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from groundzero.errors import InputError, UsageError
from groundzero.generate.choice import advance
from groundzero.generate.config import SamplingConfig
from groundzero.generate.evidence import check_evidence
from groundzero.generate.generation import Generation
from groundzero.generate.joints import TokenStarts
from groundzero.generate.prefix import PrefixCache
from groundzero.generate.request import Completion, Event, Handle, Request, check_islands
from groundzero.generate.rows import LiveRows
from groundzero.generate.side_inputs import check_side_inputs
from groundzero.generate.text import TextStream
from groundzero.model.gpt import GPT
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.tokenizer import Tokenizer


class Engine:
    """Generates text with a model, where the model is and in its precision.

    Args:
        max_batch: requests that run at once; further ones wait their turn, first come first served.
        cache_capacity: tokens a row of the cache holds, allocated once; grows as needed when None. A smaller number
            than the model's context shortens the context.
        prefix_cache_bytes: memory for keys and values of prefixes seen before; 0 is off.
        add_bos: begin text prompts with <BOS>, as a model trained on separate documents expects.
        defaults: sampling settings that the run recommends, kept here for callers; requests carry their own.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 16,
        cache_capacity: int | None = None,
        prefix_cache_bytes: int = 0,
        add_bos: bool = False,
        defaults: SamplingConfig | None = None,
    ) -> None:
        for name, value in (("max_batch", max_batch), ("cache_capacity", cache_capacity)):
            if value is not None and value < 1:
                raise UsageError(f"{name} cannot be {value}.", remedy="Give at least 1.")
        if tokenizer.vocab_size > model.config.vocab_size:
            raise InputError(
                f"The tokenizer has {tokenizer.vocab_size} ids and the model {model.config.vocab_size}.",
                remedy="Use the tokenizer the model was trained with.",
            )
        self.model, self.tokenizer = model, tokenizer
        self.max_batch, self.add_bos = max_batch, add_bos
        self.defaults = defaults or SamplingConfig.parse({})
        self.context = min(model.config.context, cache_capacity or model.config.context)
        """Tokens a request sees at once."""
        self.prefixes = PrefixCache(prefix_cache_bytes) if prefix_cache_bytes else None
        capacity = None if cache_capacity is None else self.context
        self._rows = LiveRows(model, tokenizer.vocab_size, max_batch, capacity, self.prefixes)
        self._waiting: deque[Generation] = deque()
        self._n_submitted = 0
        self._starts: TokenStarts | None = None

    @property
    def n_running(self) -> int:
        """Requests in the batch."""
        return len(self._rows)

    @property
    def n_waiting(self) -> int:
        """Requests that wait for a row."""
        return len(self._waiting)

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values, the prefix cache included."""
        return self._rows.cache_bytes + (self.prefixes.nbytes if self.prefixes is not None else 0)

    def submit(self, request: Request) -> Handle:
        """Queue a request; it joins the batch at the next step that has a row free.

        Raises:
            InputError: a token id the model has not, side inputs or evidence it does not take, islands that are not
                those of the prompt, or a prompt that does not fit while `overflow` is "stop".
        """
        check_side_inputs(request.side_inputs, getattr(self.model, "side_input_names", ()))
        if request.evidence is not None:
            check_evidence(request.evidence, self.model, self.tokenizer)
        ids = self.prompt_ids(request)
        check_islands(request)
        if len(ids) > self.context and request.sampling.overflow == "stop":
            raise InputError(
                f"The prompt has {len(ids)} tokens and the model's context is {self.context}.",
                remedy='Shorten the prompt, or let it slide with overflow "slide".',
            )
        handle = Handle(self._n_submitted, request)
        self._n_submitted += 1
        text = TextStream(self.tokenizer.stream_decoder(), request.sampling.stop)
        self._waiting.append(Generation(handle, ids, text, context=self.context))
        return handle

    def step(self) -> list[Event]:
        """Let every running request take one token.

        A request that fails ends with `finish_reason` "error" and disturbs no other.

        Returns:
            One event for each request that moved or ended; none when there was nothing to do.
        """
        events: list[Event] = []
        with self._evaluating(), torch.inference_mode():
            self._drop_cancelled(events)
            self._admit(events)
            if len(self._rows):
                try:
                    self._rows.read_missing(self.context)
                    logits_BV = self._rows.next_logits()
                except Exception as error:  # Handle.result raises it to everyone it concerns
                    events.extend(generation.fail(error) for generation in self._rows if not generation.finished)
                else:
                    events.extend(advance(self._rows, logits_BV, self.tokenizer.eos_id))
                self._rows.release_finished()
        return events

    def run(self, requests: Iterable[Request]) -> list[Completion]:
        """Complete all requests, as many at once as fit, and return them in order.

        Raises:
            Exception: whatever made one of them fail; the others are abandoned.
        """
        handles: list[Handle] = []
        try:
            handles.extend(self.submit(request) for request in requests)
            while any(handle.completion is None for handle in handles):
                self.step()
            return [handle.result() for handle in handles]
        finally:
            self._abandon(handles)

    def stream(self, request: Request) -> Iterator[Event]:
        """The events of one request, the last with its completion; other submitted requests move along.

        Closing the iterator cancels the request.

        Raises:
            InputError: as `submit`, at the call; any other failure of the request, on the way.
        """
        handle = self.submit(request)
        handle.events = deque()
        return self._follow(handle, handle.events)

    def _follow(self, handle: Handle, events: deque[Event]) -> Iterator[Event]:
        try:
            while True:
                while events:
                    event = events.popleft()
                    if event.completion is not None:
                        handle.result()
                    yield event
                if handle.completion is not None:
                    return
                self.step()
        finally:
            self._abandon([handle])

    def forget_prefixes(self) -> None:
        """Empty the prefix cache; needed only after weights were written through `.data`."""
        if self.prefixes is not None:
            self.prefixes.clear()

    def prompt_ids(self, request: Request) -> list[int]:
        """The tokens of a request's prompt.

        Raises:
            InputError: a token id that the tokenizer has not.
        """
        if isinstance(request.prompt, str):
            ids = self.tokenizer.encode(request.prompt)
            bos = self.add_bos if request.add_bos is None else request.add_bos
            return [self.tokenizer.bos_id, *ids] if bos or not ids else ids
        ids = [int(token) for token in request.prompt] or [self.tokenizer.bos_id]
        known = self.tokenizer.vocab_size
        wrong = next((token for token in ids if not 0 <= token < known), None)
        if wrong is not None:
            raise InputError(
                f"The prompt holds token {wrong}, and the tokenizer's are 0 to {known - 1}.",
                remedy="Encode the prompt with the model's own tokenizer.",
            )
        return ids

    def _drop_cancelled(self, events: list[Event]) -> None:
        concerned = [g for g in (*self._waiting, *self._rows) if g.handle.cancelled and not g.finished]
        events.extend(generation.finish("cancelled") for generation in concerned)
        if concerned:
            self._waiting = deque(g for g in self._waiting if not g.finished)
        self._rows.release_finished()

    def _abandon(self, handles: Sequence[Handle]) -> None:
        """Take unfinished requests out at once."""
        for handle in handles:
            if handle.completion is None:
                handle.cancel()
        if any(handle.cancelled for handle in handles):
            with torch.inference_mode():
                self._drop_cancelled([])

    def _admit(self, events: list[Event]) -> None:
        """Let waiting requests into the free rows, first come first served."""
        fresh: list[Generation] = []
        while self._waiting and len(self._rows) + len(fresh) < self.max_batch:
            generation = self._waiting.popleft()
            if generation.config.max_tokens == 0:
                events.append(generation.finish("length"))
            else:
                fresh.append(generation)
        for generation in fresh:
            if generation.handle.request.evidence is not None and isinstance(self.model, KnowledgeGPT):
                generation.take_up(self.model, self.tokenizer, self.token_starts())
        self._rows.join(fresh)

    def token_starts(self) -> TokenStarts:
        """How each token begins; found once, when the first request may copy."""
        if self._starts is None:
            self._starts = TokenStarts(self.tokenizer, self._rows.sampling_device)
        return self._starts

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Dropout off while generating, and back as it was: a model may be sampled in the middle of its training."""
        training = self.model.training
        if training:
            self.model.eval()
        try:
            yield
        finally:
            if training:
                self.model.train()
