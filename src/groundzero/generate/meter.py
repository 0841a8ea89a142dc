"""How much each channel of the evidence moved an answer: measured afterwards, and only when somebody asks.

A channel's figure is the total variation between the next-token distribution as it was and as it would have been with
that channel shut, averaged over the tokens of the answer: the share of probability that the channel moved, 0 to 1.
Total variation and not a divergence, because a trie gives exact zeros, over which divergences are infinite.

The answer is read again in one pass, once as it was and once for each channel that changes what the network reads;
closing the copy channel needs no pass of its own. So a meter costs about what reading prompt and answer costs, and
generation nothing.

Shapes: T tokens read, G generated tokens, V vocabulary, N facts, F width of a fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundzero.generate.copying import Copier, Explanation
from groundzero.generate.engine import Engine
from groundzero.generate.evidence import Channel, CopiedSpan, encode
from groundzero.generate.request import Completion, Request
from groundzero.model.islands import MAINLAND, island_positions
from groundzero.model.knowledge import FACTS, KnowledgeGPT


def measure_channels(
    engine: Engine, request: Request, completion: Completion, *, plain_prompt: str | Sequence[int] | None = None
) -> dict[Channel, float]:
    """The figure of each open channel that can be measured.

    Penalties, processors, temperature and truncations are left out: it is the model's own distribution that moves.

    Args:
        completion: what the engine answered to `request`.
        plain_prompt: the prompt without its facts; without it the channel "prompt" is not measured.
    """
    evidence = request.evidence
    if evidence is None or not completion.ids:
        return {}
    replay = _Replay(engine, request, completion)
    prompt_ids, islands = engine.prompt_ids(request), request.islands
    mixed_GV, own_GV = replay.distributions(prompt_ids, attention=True, islands=islands)
    found: dict[Channel, float] = {}
    if "prompt" in evidence.channels and plain_prompt is not None:
        plain_ids = engine.prompt_ids(Request(plain_prompt, add_bos=request.add_bos))
        found["prompt"] = _moved(mixed_GV, replay.distributions(plain_ids, attention=True)[0])
    if replay.attends:
        without_GV, _ = replay.distributions(prompt_ids, attention=False, islands=islands)
        found["attention"] = _moved(mixed_GV, without_GV)
    if replay.copies:
        found["copy"] = _moved(mixed_GV, own_GV)
    return found


def _moved(one_GV: Tensor, other_GV: Tensor) -> float:
    """Mean total variation; the last places of both, where a prompt was too long to see the first."""
    n_place = min(len(one_GV), len(other_GV))
    return float((one_GV[-n_place:] - other_GV[-n_place:]).abs().sum(-1).mean() / 2)


class _Replay:
    """Reads one answer again, with some channels shut."""

    def __init__(self, engine: Engine, request: Request, completion: Completion) -> None:
        assert request.evidence is not None
        self._engine, self._evidence, self._completion = engine, request.evidence, completion
        evidence = request.evidence
        channels = evidence.channels if evidence.facts else frozenset[Channel]()
        self.attends = "attention" in channels
        self.copies = "copy" in channels and bool(evidence.surfaces)

    @torch.inference_mode()
    def distributions(
        self, prompt_ids: Sequence[int], *, attention: bool, islands: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Probabilities at the places of the answer, with copying and without: each (G, V)."""
        model, answer = self._engine.model, list(self._completion.ids)
        ids = [*prompt_ids, *answer]
        first = max(0, len(ids) - 1 - self._engine.context)
        n_place = min(len(answer), len(ids) - 1 - first)
        facts_NF = self._facts(model) if self.attends or self.copies else None
        side_inputs = None
        if facts_NF is not None and self.attends and attention:
            visible_N = torch.ones(len(facts_NF), dtype=torch.bool, device=facts_NF.device)
            side_inputs = {FACTS: (facts_NF[None], visible_N[None])}
        places: dict[str, Any] = {}
        if islands is not None:
            seen = [*islands, *[MAINLAND] * len(answer)][first:-1]
            places["islands_BS"] = torch.tensor([seen], device=model.device)
            places["positions_BT"] = torch.tensor([island_positions(seen)], device=model.device)
        ids_1T = torch.tensor([ids[first:-1]], device=model.device)
        training = model.training
        model.eval()
        try:
            hidden_TD = model.hidden(ids_1T, side_inputs=side_inputs, **places)[0]
        finally:
            model.train(training)
        hidden_GD = hidden_TD[len(hidden_TD) - n_place :]
        logits_GV = model.logits(hidden_GD[None])[0, :, : self._engine.tokenizer.vocab_size].cpu().float()
        own_GV = logits_GV.softmax(-1)
        if facts_NF is None or not self.copies:
            return own_GV, own_GV
        return self._mixed(hidden_GD, logits_GV, prompt_ids, facts_NF), own_GV

    def _facts(self, model: torch.nn.Module) -> Tensor:
        assert isinstance(model, KnowledgeGPT)
        return encode(self._evidence, model)

    def _mixed(self, hidden_GD: Tensor, logits_GV: Tensor, prompt_ids: Sequence[int], facts_NF: Tensor) -> Tensor:
        """The mixture at each place, every token explained as it was when the answer was written."""
        engine, answer = self._engine, list(self._completion.ids)
        assert isinstance(engine.model, KnowledgeGPT)
        copier = Copier(
            engine.model.knowledge_copy, facts_NF, self._evidence.surfaces, engine.tokenizer, engine.token_starts()
        )
        skipped = len(answer) - len(hidden_GD)
        mixed = []
        for place, (hidden_D, logits_V) in enumerate(zip(hidden_GD, logits_GV, strict=True), skipped):
            mixed.append(copier.mix(hidden_D, logits_V, [*prompt_ids, *answer[:place]]).exp())
            how = _explanation(self._completion.copied, place, skipped)
            copier.took(answer[place], how)
        return torch.stack(mixed)


def _explanation(spans: Sequence[CopiedSpan], place: int, first: int) -> Explanation:
    """How the token at a place came about; a span whose beginning lies before `first` cannot be followed."""
    for span in spans:
        if first <= span.start <= place < span.end:
            return Explanation.BEGINS if place == span.start else Explanation.GOES_ON
    return Explanation.WRITTEN
