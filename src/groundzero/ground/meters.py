"""How much each channel moved an answer, between 0 (nothing would change) and 1.

    prompt, attention   half the L1 distance between the network's next-token distributions with the channel and
                        without, meaned over the answer's tokens (total variation)
    copy                share of the answer's tokens that were copied

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from groundzero.generate.evidence import Channel, one_row
from groundzero.ground.lessons import Fact
from groundzero.ground.prompt import network_facts, question_ids
from groundzero.ground.speech import Said, Speaker
from groundzero.model.facts import Facts
from groundzero.model.knowledge import FACTS, KnowledgeGPT


def measure_channels(
    speaker: Speaker, question: str, facts: Sequence[Fact], said: Said, channels: Collection[Channel]
) -> dict[str, float]:
    """A figure for each channel that was open."""
    open_ = frozenset(channels)
    ids = list(said.ids)
    meters: dict[str, float] = {}
    if not ids or not facts:
        return dict.fromkeys(sorted(open_), 0.0)
    with torch.inference_mode():
        whole_TV = _distributions(speaker, question, facts, ids, open_)
        for channel in ("prompt", "attention"):
            if channel in open_:
                without_TV = _distributions(speaker, question, facts, ids, open_ - {channel})
                meters[channel] = round(float((whole_TV - without_TV).abs().sum(-1).mean() / 2), 4)
    if "copy" in open_:
        meters["copy"] = round(said.copied_tokens / len(ids), 4)
    return meters


def _distributions(
    speaker: Speaker, question: str, facts: Sequence[Fact], ids: list[int], channels: frozenset[Channel]
) -> Tensor:
    """What the network would write at each place of the answer, probability_TV."""
    model = speaker.engine.model
    assert isinstance(model, KnowledgeGPT)
    tokenizer = speaker.engine.tokenizer
    prompt = question_ids(tokenizer, question, facts if "prompt" in channels else ())
    row = torch.tensor([[*prompt, *ids][-speaker.engine.context :]], device=model.device)
    side_inputs = None
    if "attention" in channels:
        given = one_row(network_facts(tokenizer, facts, channels, speaker.vectors), model)
        moved = Facts(*(None if part is None else part.to(model.device) for part in given))  # type: ignore[arg-type]
        side_inputs = {FACTS: model.encode_facts(moved)}
    hidden_BTD = model.hidden(row, side_inputs=side_inputs)
    return model.logits(hidden_BTD[0, -len(ids) - 1 : -1]).float().softmax(-1)
