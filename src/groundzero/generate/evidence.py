"""The facts that a request may use, and through which channels: checked, encoded, and spelt for copying.

    prompt      facts written into the prompt: whoever writes the prompt obeys this switch
    attention   the blocks with a reader take from the facts' vectors
    copy        the output may copy texts of the facts (`copying`)

Shapes: N facts, F width of a fact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from groundzero.errors import InputError
from groundzero.model.copying import OBJECT, SUBJECT
from groundzero.model.facts import Fact, Facts, make_facts
from groundzero.model.gpt import GPT
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.tokenizer import Tokenizer

Channel = Literal["prompt", "attention", "copy"]
CHANNELS: frozenset[Channel] = frozenset({"prompt", "attention", "copy"})


@dataclass(frozen=True)
class Surface:
    """One way to write the subject or object of a fact."""

    ids: tuple[int, ...]
    """Its tokens, a leading space included where it has one."""
    fact: int
    """Which of the request's facts, from 0."""
    role: int
    """`SUBJECT` (0) or `OBJECT` (1)."""


@dataclass(frozen=True)
class CopiedSpan:
    """A stretch of the answer that was copied from a fact."""

    start: int
    """Its first token, counted in the answer."""
    end: int
    """One behind its last token."""
    fact: int
    """Which of the request's facts, from 0."""
    role: int
    """`SUBJECT` (0) or `OBJECT` (1)."""
    complete: bool
    """False when the answer ended in the middle of it (max_tokens, a stop string)."""
    share: float = field(default=1.0, compare=False)
    """What the pointer gave this way to write it when the span began, 0 to 1."""

    def characters(self, ids: Sequence[int], tokenizer: Tokenizer) -> tuple[int, int]:
        """Where it stands in the answer's text, a leading space left out: (start, end).

        Args:
            ids: the tokens of the answer.
        """
        before, text = tokenizer.decode(ids[: self.start]), tokenizer.decode(ids[self.start : self.end])
        return len(before) + len(text) - len(text.lstrip()), len(before) + len(text)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a request may use."""

    facts: tuple[Fact, ...]
    """In the order in which citations count them."""
    surfaces: tuple[Surface, ...] = ()
    """What may be copied; see `surfaces_of`."""
    channels: frozenset[Channel] = CHANNELS
    """The switches."""

    def digest(self) -> bytes:
        """Equal for equal facts only; for caches of what was computed from them."""
        digest = hashlib.sha256()
        for fact in self.facts:
            texts = map(_ints, (fact.subject, fact.relation, fact.object))
            digest.update(repr((*texts, fact.number, _ints(fact.marks))).encode())
            vectors = fact.vectors
            if vectors is not None:
                vector_V = torch.as_tensor(vectors, dtype=torch.float32).flatten().cpu()
                digest.update(vector_V.contiguous().numpy().tobytes())
            digest.update(b"\0")
        return digest.digest()


def surface_forms(tokenizer: Tokenizer, text: str) -> tuple[tuple[int, ...], ...]:
    """The token ids of a text at the start of a line and behind a word; none for what the tokenizer cannot spell.

    Texts are data: names of control tokens in them stay text.
    """
    forms = []
    for form in dict.fromkeys((text, f" {text}")) if text.strip() else ():
        ids = tokenizer.encode(form)
        if tokenizer.decode_bytes(ids) == form.encode():
            forms.append(tuple(ids))
    return tuple(dict.fromkeys(forms))


def surfaces_of(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> tuple[Surface, ...]:
    """What may be copied from facts with these texts of (subject, object); an empty one is not copied."""
    return tuple(
        Surface(ids, fact, role)
        for fact, pair in enumerate(texts)
        for role, text in zip((SUBJECT, OBJECT), pair, strict=True)
        for ids in surface_forms(tokenizer, text)
    )


def check_evidence(evidence: Evidence, model: GPT, tokenizer: Tokenizer) -> None:
    """
    Raises:
        InputError: the model cannot use it, or a part of it does not fit the rest.
    """
    unknown = evidence.channels - CHANNELS
    if unknown:
        raise InputError(
            f"There is no channel {sorted(unknown)[0]!r}.", remedy=f"Known: {', '.join(sorted(CHANNELS))}."
        )
    if not evidence.channels & {"attention", "copy"}:
        return
    if not isinstance(model, KnowledgeGPT):
        raise InputError(
            "This model has no knowledge layers to take facts with.",
            remedy='Tune them first, or use the channel "prompt" alone.',
        )
    tokens = {t for fact in evidence.facts for text in (fact.subject, fact.relation, fact.object) for t in text}
    wrong = next((token for token in sorted(tokens) if not 0 <= token < tokenizer.vocab_size), None)
    if wrong is not None:
        raise InputError(f"A fact's text holds token {wrong}.", remedy="Encode it with the model's tokenizer.")
    one_row(evidence.facts, model)
    tokens = {token for surface in evidence.surfaces for token in surface.ids}
    odd = {token for token in tokens if not 0 <= token < tokenizer.vocab_size or not tokenizer.token_bytes(token)}
    for surface in evidence.surfaces:
        whole = bool(surface.ids) and odd.isdisjoint(surface.ids)
        if not (whole and 0 <= surface.fact < len(evidence.facts) and surface.role in (SUBJECT, OBJECT)):
            raise InputError(
                f"{surface} cannot be copied.",
                remedy="Give text tokens, the number of a fact that is there, and 0 or 1.",
            )


def one_row(facts: Sequence[Fact], model: KnowledgeGPT) -> Facts:
    """The facts of one request as a batch of one.

    Raises:
        InputError: their vectors are not what the model takes.
    """
    return make_facts([facts], model.knowledge_config.d_vector)


def encode(evidence: Evidence, model: KnowledgeGPT) -> Tensor:
    """The facts as the knowledge layers see them, facts_NF."""
    facts = one_row(evidence.facts, model)
    moved = Facts(*(None if part is None else part.to(model.device) for part in facts))  # type: ignore[arg-type]
    return model.encode_facts(moved).facts_BNF[0]


def _ints(ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(token) for token in ids)
