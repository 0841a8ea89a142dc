"""Copying names and numbers out of facts while writing: exact, whole, and with the fact they come from.

At a place where nothing is being copied, the next token is

    v  with  (1 - g) P(v) + g x (sum over surfaces s that begin with v of p_s)

with the gate g and the pointer p of `model.copying`. A surface that was begun is written to its end: its further tokens
come from the surfaces that agree with what is written, in the proportions the pointer gave them when the span began.
So a span as a whole is surface s with probability p_s, exactly, and nothing but a surface is ever a span. The slot
it was taken from is not pointed to again in the same answer (`model.copying.unused`). Where a
surface is complete and another goes on ("Man", "Manchester"), the first ends with its share of the proportions, and
the next token is then one of a free place.

A token may be explained in several ways (written, or the beginning of a span; the end of one, or its continuation).
Which it was is drawn from the posterior, or the likeliest of them for a greedy request; from random numbers of the
request's own, so that neighbours in the batch change nothing.

Shapes: V vocabulary, D d_model, N facts, F width of a fact, P slots with a surface, K width of the
pointer, C surfaces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from groundzero.generate.evidence import CopiedSpan, Surface
from groundzero.generate.joints import Kind, TokenStarts, first_kind, grows, kind_of, last_character, wants_space
from groundzero.model.copying import CopyHead, slot_of
from groundzero.tokenizer import Tokenizer


class Explanation(IntEnum):
    """How a token came about."""

    WRITTEN = 0
    """By the network, at a free place."""
    BEGINS = 1
    """As the first of a copied span."""
    GOES_ON = 2
    """As a further one."""


@dataclass(frozen=True)
class _Span:
    """A span being written: the surfaces that agree with it, and their shares."""

    start: int
    written: int
    alive: tuple[tuple[int, float], ...]
    """(surface, share); shares need not sum to 1."""


@dataclass(frozen=True)
class _Free:
    """What a free place offers."""

    gate: float
    """0 where no surface may begin."""
    own_V: Tensor
    """The network's own log-probabilities; -inf for what would grow into a span before."""
    shares_C: Tensor
    """Of each surface, by the pointer, float64 on the CPU; sum to 1 where the gate is not 0."""


class Copier:
    """Mixes copying into one request's next-token distribution, and keeps account of what was copied.

    Args:
        facts_NF: the request's facts, encoded.
        uniform: random numbers for this request's copying; None takes the likeliest explanation.
    """

    def __init__(
        self,
        head: CopyHead,
        facts_NF: Tensor,
        surfaces: Sequence[Surface],
        tokenizer: Tokenizer,
        starts: TokenStarts,
        *,
        uniform: Callable[[], float] | None = None,
    ) -> None:
        assert surfaces
        self._head, self._surfaces, self._tokenizer, self._starts = head, tuple(surfaces), tokenizer, starts
        self._uniform = uniform
        slots = sorted({slot_of(surface.fact, surface.role) for surface in surfaces})
        place = {slot: place for place, slot in enumerate(slots)}
        self._slot_C = torch.tensor([place[slot_of(surface.fact, surface.role)] for surface in surfaces])
        self._unused_P = torch.ones(len(slots), dtype=torch.bool)
        self._keys_PK = head.keys(facts_NF[None])[0][slots].float()
        texts = [tokenizer.decode(surface.ids) for surface in surfaces]
        self._last_kinds = [kind_of(text[-1:]) for text in texts]
        self._first_kind_C = torch.tensor([int(first_kind(text)) for text in texts])
        self._spaced_C = torch.tensor([text[:1].isspace() for text in texts])
        bare_P, spaced_P = (torch.zeros(len(slots), dtype=torch.bool) for _ in range(2))
        bare_P[self._slot_C[~self._spaced_C]] = True
        spaced_P[self._slot_C[self._spaced_C]] = True
        self._both_C = (bare_P & spaced_P)[self._slot_C]
        self._first_C = torch.tensor([surface.ids[0] for surface in surfaces])
        self._n_tokens = 0
        self._span: _Span | None = None
        self._free: _Free | None = None
        self._after = Kind.OTHER
        """How the span that ended just now ends; OTHER when none did."""
        self._allowed: dict[tuple[bool | None, Kind], Tensor] = {}
        self.spans: list[CopiedSpan] = []

    def mix(self, hidden_D: Tensor, logits_V: Tensor, ids: Sequence[int]) -> Tensor:
        """The log-probabilities of the next token, copying included, in nats.

        Args:
            hidden_D: the last hidden state, normalised.
            logits_V: the network's own scores, float32.
            ids: prompt and answer.
        """
        own_V = logits_V.log_softmax(-1)
        span = self._span
        self._free = None
        if span is None:
            self._free = self._free_place(hidden_D, own_V, self._after, ids)
            return self._free_distribution(self._free, own_V)
        ended, going_on = self._split(span)
        total = ended + sum(going_on.values())
        mixed_V = torch.zeros_like(own_V)
        if ended:
            self._free = self._free_place(hidden_D, own_V, self._last_kind(span), ids)
            mixed_V += self._free_distribution(self._free, own_V).exp() * (ended / total)
        tokens = torch.tensor(list(going_on), device=own_V.device)
        shares = torch.tensor([share / total for share in going_on.values()], dtype=own_V.dtype, device=own_V.device)
        return mixed_V.index_add(0, tokens, shares).log()

    def took(self, token: int, how: Explanation | None = None) -> None:
        """A token was chosen from what `mix` returned.

        Args:
            how: it came about, where that is known (a replay).
        """
        span, free = self._span, self._free
        place = self._n_tokens
        self._n_tokens += 1
        going_on = 0.0
        beginning = written = 0.0
        free_share = 1.0
        if span is not None:
            ended, continued = self._split(span)
            free_share, going_on = ended, continued.get(token, 0.0)
        if free is not None:
            own = float(free.own_V[token].exp())
            written = free_share * (1 - free.gate) * own
            beginning = free_share * free.gate * float(free.shares_C[self._first_C == token].sum())
        choice = self._explain((written, beginning, going_on)) if how is None else how
        if choice == Explanation.GOES_ON and span is not None:
            self._go_on(span, token)
            return
        if span is not None:
            self._end(span, place)
        self._after = Kind.OTHER
        self._span = None
        if choice == Explanation.BEGINS:
            assert free is not None
            (begun,) = torch.nonzero((self._first_C == token) & (free.shares_C > 0), as_tuple=True)
            self._settle(_Span(place, 1, tuple(zip(begun.tolist(), free.shares_C[begun].tolist(), strict=True))))

    def finish(self) -> tuple[CopiedSpan, ...]:
        """Everything copied, at the end of the answer."""
        if self._span is not None:
            self._end(self._span, self._n_tokens)
            self._span = None
        return tuple(self.spans)

    # ------------------------------------------------------------------ free places

    def _free_place(self, hidden_D: Tensor, own_V: Tensor, after: Kind, ids: Sequence[int]) -> _Free:
        if after != Kind.OTHER:
            forbidden_V = self._starts.forbidden_after(after).to(own_V.device)
            own_V = own_V.masked_fill(forbidden_V, -torch.inf).log_softmax(-1)
        before = last_character(self._tokenizer, ids)
        allowed_C = torch.zeros_like(self._slot_C) > 0 if before is None else self._may_begin(before)
        unused_P = self._unused_P if self._span is None else self._without(self._span)
        allowed_C = allowed_C & unused_P[self._slot_C]
        if not bool(allowed_C.any()):
            return _Free(0.0, own_V, torch.zeros(len(self._surfaces), dtype=torch.float64))
        hidden_D = hidden_D.float()
        gate = min(float(self._head.gate(hidden_D).double().sigmoid()), 1 - 2**-50)  # so that its log is finite
        scores_P = self._head.point(hidden_D[None], self._keys_PK)[0].cpu().double()
        forms_P = torch.zeros(len(scores_P), dtype=torch.float64).index_add_(0, self._slot_C, allowed_C.double())
        slot_P = scores_P.masked_fill(forms_P == 0, -torch.inf).softmax(-1)
        shares_C = torch.where(allowed_C, (slot_P / forms_P.clamp(min=1))[self._slot_C], 0.0)
        return _Free(gate, own_V, shares_C)

    def _free_distribution(self, free: _Free, own_V: Tensor) -> Tensor:
        if not free.gate:
            return free.own_V
        shares_C = free.shares_C.to(own_V.device, own_V.dtype)
        copied_V = torch.zeros_like(own_V).index_add_(0, self._first_C.to(own_V.device), shares_C)
        return torch.logaddexp(free.own_V + math.log1p(-free.gate), copied_V.log() + math.log(free.gate))

    def _may_begin(self, before: str) -> Tensor:
        """Which surfaces, allowed_C, may stand behind a character."""
        key = wants_space(before), kind_of(before)
        if key not in self._allowed:
            space, last = key
            fits_C = torch.ones_like(self._spaced_C) if space is None else (self._spaced_C == space) | ~self._both_C
            growing = torch.tensor([int(kind) for kind in Kind if grows(last, kind)])
            self._allowed[key] = fits_C & ~torch.isin(self._first_kind_C, growing)
        return self._allowed[key]

    # ------------------------------------------------------------------ spans

    def _split(self, span: _Span) -> tuple[float, dict[int, float]]:
        """The share of the surfaces that are complete, and of each token that goes on."""
        ended, going_on = 0.0, dict[int, float]()
        for index, share in span.alive:
            ids = self._surfaces[index].ids
            if len(ids) == span.written:
                ended += share
            else:
                token = ids[span.written]
                going_on[token] = going_on.get(token, 0.0) + share
        return ended, going_on

    def _go_on(self, span: _Span, token: int) -> None:
        alive = tuple(
            (index, share)
            for index, share in span.alive
            if len(self._surfaces[index].ids) > span.written and self._surfaces[index].ids[span.written] == token
        )
        self._settle(_Span(span.start, span.written + 1, alive))

    def _settle(self, span: _Span) -> None:
        """Go on with a span, unless no surface goes on (or agrees at all, in a replay under other circumstances)."""
        self._span = span if span.alive else None
        if span.alive and not self._split(span)[1]:
            self._end(span, span.start + span.written)
            self._after = self._last_kind(span)
            self._span = None

    def _end(self, span: _Span, end: int) -> None:
        complete = [pair for pair in span.alive if len(self._surfaces[pair[0]].ids) == span.written]
        index, share = max(complete or span.alive, key=lambda pair: pair[1])
        surface = self._surfaces[index]
        self.spans.append(CopiedSpan(span.start, end, surface.fact, surface.role, bool(complete), share))
        self._unused_P[self._slot_C[index]] = False

    def _without(self, span: _Span) -> Tensor:
        """The unused slots, unused_P, if a span ends here."""
        complete = [pair for pair in span.alive if len(self._surfaces[pair[0]].ids) == span.written]
        unused_P = self._unused_P.clone()
        unused_P[self._slot_C[max(complete, key=lambda pair: pair[1])[0]]] = False
        return unused_P

    def _last_kind(self, span: _Span) -> Kind:
        """How the complete surface of a span ends; complete ones that agree so far are the same tokens."""
        index = next(index for index, _ in span.alive if len(self._surfaces[index].ids) == span.written)
        return self._last_kinds[index]

    def _explain(self, weights: Sequence[float]) -> Explanation:
        """Draw one of the explanations, or take the likeliest."""
        total = sum(weights)
        if total <= 0:  # a token that the mixture gives nothing: whatever forced it wrote it
            return Explanation.WRITTEN
        likeliest = Explanation(max(range(len(weights)), key=weights.__getitem__))
        if self._uniform is None:
            return likeliest
        target, so_far = self._uniform() * total, 0.0
        for index, weight in enumerate(weights):
            so_far += weight
            if target < so_far and weight > 0:
                return Explanation(index)
        return likeliest
