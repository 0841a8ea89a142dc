"""Blocks that read facts, and a model that has them, built around a base whose weights and names stay as they are.

    x ----------------------(+)------------------------------------(+)---------------------(+)---->
      \\-- norm -- attention --/ \\-- norm -- reader -- tanh(gate) --/ \\-- norm -- feed-forward --/

The reader is cross-attention: queries from the text, keys and values from the facts; no mask of time, no positions. The
gate is one number that starts at 0 (Flamingo, Alayrac et al. 2022), so knowledge layers change nothing until they are
tuned; and without a visible fact they change nothing ever, to the last bit.

Shapes: B rows, T time, N facts, D d_model, F width of a fact, H heads, E width of a head, S = 2 N slots,
A alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundzero.errors import ConfigError
from groundzero.model.attention import EXPLICIT_UP_TO, Mask, explicit_attention
from groundzero.model.cache import CacheRows
from groundzero.model.config import GPTConfig
from groundzero.model.copying import CopyHead, CopyLoss, copy_loss, unused
from groundzero.model.facts import FactEncoder, Facts, start_as_identity
from groundzero.model.gpt import GPT, Block, Reading
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.layers import Linear, make_norm
from groundzero.model.loss import linear_cross_entropy
from groundzero.model.weights import is_knowledge

FACTS = "facts"
"""The name of the side input."""


class CrossAttention(nn.Module):
    """From tokens to facts; a token that may read none takes exactly zero."""

    def __init__(self, d_model: int, d_fact: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = Linear(d_model, d_model)
        self.key = Linear(d_fact, d_model)
        self.value = Linear(d_fact, d_model)
        self.out = Linear(d_model, d_model, bias=False)

    def reset_parameters(self) -> None:
        """Look for facts with the words that are read, and take in theirs; the gate in front is what keeps it out.

        Behind a gate that opens slowly, matrices at random learn slowly: over 400 steps of a toy that asks for a
        fact's object the loss fell from 2.48 to 2.16 with them and to 1.43 with these (one seed, the last batch).
        """
        for layer in (self.query, self.key, self.value, self.out):
            start_as_identity(layer)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def project(self, facts_BNF: Tensor, visible_BTN: Tensor) -> Reading:
        """Keys and values of the facts, which no token changes."""
        return Reading(self._heads(self.key(facts_BNF)), self._heads(self.value(facts_BNF)), visible_BTN)

    def forward(self, x_BTD: Tensor, reading: Reading) -> Tensor:
        """What each token takes from the facts it may read."""
        q_BHTE = self._heads(self.query(x_BTD))
        some_BT1 = reading.visible_BTN.any(-1, keepdim=True)
        seen_BTN = reading.visible_BTN | ~some_BT1  # softmax over nothing is NaN: over anything, and then dropped
        bias_B1TN = torch.zeros_like(seen_BTN, dtype=x_BTD.dtype).masked_fill_(~seen_BTN, -torch.inf)[:, None]
        n_fact, n_token = reading.keys_BHNE.shape[2], x_BTD.shape[1]
        if x_BTD.device.type == "cpu" and n_fact * n_token <= EXPLICIT_UP_TO**2:
            out_BHTE, _ = explicit_attention(q_BHTE, reading.keys_BHNE, reading.values_BHNE, bias_B1TN)
        else:
            out_BHTE = F.scaled_dot_product_attention(q_BHTE, reading.keys_BHNE, reading.values_BHNE, bias_B1TN)
        return self.out(out_BHTE.transpose(1, 2).flatten(2)) * some_BT1  # type: ignore[no-any-return]

    def _heads(self, x_BTD: Tensor) -> Tensor:
        batch, length, _ = x_BTD.shape
        return x_BTD.view(batch, length, self.n_head, -1).transpose(1, 2).contiguous()


class KnowledgeBlock(Block):
    """A block of a trained model with a reader between its halves; the block's own parts are shared, not copied."""

    def __init__(self, block: Block, gpt: GPTConfig, config: KnowledgeConfig) -> None:
        nn.Module.__init__(self)
        self.dropout = block.dropout
        for name, part in block.named_children():
            setattr(self, name, part)
        self.knowledge_norm = make_norm(gpt)
        self.knowledge = CrossAttention(gpt.d_model, config.d_fact, config.n_head)
        self.knowledge_gate = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        x_BTD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        mask: Mask | None,
        cache: CacheRows | None = None,
        weights_out: list[Tensor] | None = None,
        reading: Reading | None = None,
    ) -> Tensor:
        x_BTD = self._gather(x_BTD, turn, mask, cache, weights_out)
        if reading is not None:
            read_BTD = self.knowledge(self.knowledge_norm(x_BTD), reading)
            x_BTD = x_BTD + self.knowledge_gate.to(x_BTD.dtype).tanh() * read_BTD
        return self._think(x_BTD)


@dataclass(frozen=True, eq=False)
class EncodedFacts:
    """The facts of a batch as vectors."""

    facts_BNF: Tensor
    visible_BTN: Tensor
    """Which facts a token may read; (B, 1, N) where all tokens of a row may read the same."""
    copyable_BTS: Tensor | None = None
    """Which slots a place may copy from; T as in `visible_BTN`. None where that is not known."""


class PreparedFacts(list[Reading | None]):
    """What each block reads, ready for any number of forward passes (`KnowledgeGPT.prepare_side_inputs`)."""


class KnowledgeGPT(GPT):
    """A base model with knowledge layers, sharing every weight of the base; `attach_knowledge` makes one.

    The side input `facts` is a `Facts` (encoded on the way, with gradients), a pair (facts_BNF, visible_BN) of vectors
    from `encode_facts`, or what `prepare_side_inputs` made of either.
    """

    side_input_names = (FACTS,)

    def __init__(self, base: GPT, config: KnowledgeConfig) -> None:
        nn.Module.__init__(self)  # not GPT's: the base has built its parts, and they are shared
        self.config, self.compute_dtype = base.config, base.compute_dtype
        self.knowledge_config = config = config.resolve(base.config)
        assert config.blocks is not None
        for name, buffer in base.named_buffers(recurse=False):
            self.register_buffer(name, buffer, persistent=False)
        for name, part in base.named_children():
            setattr(self, name, part)
        self.blocks = nn.ModuleList(
            KnowledgeBlock(block, base.config, config) if layer in config.blocks else block
            for layer, block in enumerate(_blocks_of(base))
        )
        self.knowledge_facts = FactEncoder(base.config.d_model, config)
        self.knowledge_copy = CopyHead(base.config.d_model, config)

    def reset_knowledge(self) -> None:
        """Start the knowledge layers anew, and leave the base."""
        self.knowledge_facts.reset_parameters(self.embedding.weight)
        self.knowledge_copy.reset_parameters(self.knowledge_config.copy_bias)
        for block in self.blocks:
            if isinstance(block, KnowledgeBlock):
                block.knowledge.reset_parameters()
                nn.init.zeros_(block.knowledge_gate)

    def encode_facts(self, facts: Facts, documents_BT: Tensor | None = None) -> EncodedFacts:
        """Facts as vectors, in the precision of the computation.

        Args:
            documents_BT: the document of each token, where the facts name documents.
        """
        facts_BNF = self.knowledge_facts(facts, self.embedding.weight, self.compute_dtype)
        visible_BTN, copyable_BTS = facts.visible_BN[:, None], facts.copyable()[:, None]
        if facts.documents_BN is not None and documents_BT is not None:
            own_BTN = facts.documents_BN[:, None] == documents_BT[..., None]
            visible_BTN = visible_BTN & own_BTN
            copyable_BTS = copyable_BTS & own_BTN.repeat_interleave(2, dim=-1)
        if facts.readable_BN is not None:
            visible_BTN = visible_BTN & facts.readable_BN[:, None]
        return EncodedFacts(facts_BNF, visible_BTN, copyable_BTS)

    def prepare_side_inputs(self, side_inputs: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Encode the facts and project them for every reader, once."""
        if not side_inputs or FACTS not in side_inputs:
            return side_inputs
        return {**side_inputs, FACTS: PreparedFacts(self._readings(side_inputs, None))}

    def loss(
        self,
        ids_BT: Tensor,
        targets_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        islands_BS: Tensor | None = None,
        positions_BT: Tensor | None = None,
        facts: Facts | None = None,
        starts_BTA: Tensor | None = None,
    ) -> Tensor:
        """Next-token loss + `copy_weight` x (gate + pointer); see `losses`."""
        next_token, copying = self.losses(
            ids_BT,
            targets_BT,
            documents_BT=documents_BT,
            islands_BS=islands_BS,
            positions_BT=positions_BT,
            facts=facts,
            starts_BTA=starts_BTA,
        )
        if copying is None:
            return next_token
        return next_token + self.knowledge_config.copy_weight * (copying.gate + copying.pointer)

    def losses(
        self,
        ids_BT: Tensor,
        targets_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        islands_BS: Tensor | None = None,
        positions_BT: Tensor | None = None,
        facts: Facts | None = None,
        starts_BTA: Tensor | None = None,
    ) -> tuple[Tensor, CopyLoss | None]:
        """The loss of the next token and that of copying, in nats.

        Args:
            facts: what the rows may read; None is the base alone.
            starts_BTA: int64, aligned with `targets_BT`: the slots (`slot_of`) that are right where the target is the
                first token of a copied span, -1 elsewhere; (B, T) where there is one at most. A first of `UNTAUGHT`
                keeps a place out of the gate's lesson. The first is the one that the span is taken from, and nothing
                after it points there again. None trains no copying.
        """
        encoded = None if facts is None else self.encode_facts(facts, documents_BT)
        side_inputs = None if encoded is None else {FACTS: encoded}
        hidden_BTD = self.hidden(
            ids_BT,
            documents_BT=documents_BT,
            islands_BS=islands_BS,
            positions_BT=positions_BT,
            side_inputs=side_inputs,
        )
        next_token = linear_cross_entropy(
            hidden_BTD.flatten(0, 1),
            self.head_weight,
            targets_BT.flatten(),
            vocab_size=self.config.vocab_size,
            softcap=self.config.logit_softcap,
        )
        if encoded is None or starts_BTA is None:
            return next_token, None
        assert encoded.copyable_BTS is not None
        starts_BTA = starts_BTA if starts_BTA.dim() == 3 else starts_BTA[..., None]
        gate_BT, scores_BTS = self.knowledge_copy(hidden_BTD, encoded.facts_BNF)
        copyable_BTS = encoded.copyable_BTS & unused(starts_BTA, scores_BTS.shape[-1])
        return next_token, copy_loss(gate_BT, scores_BTS, copyable_BTS, starts_BTA, targets_BT >= 0)

    def _readings(self, side_inputs: Mapping[str, Any] | None, documents_BT: Tensor | None) -> Sequence[Reading | None]:
        given = (side_inputs or {}).get(FACTS)
        if given is None:
            return (None,) * len(self.blocks)
        if isinstance(given, PreparedFacts):
            return given
        if isinstance(given, Facts):
            given = self.encode_facts(given, documents_BT)
        elif not isinstance(given, EncodedFacts):
            facts_BNF, visible_BN = given
            given = EncodedFacts(facts_BNF, visible_BN[:, None])
        if not given.facts_BNF.shape[1]:
            return (None,) * len(self.blocks)
        return [
            block.knowledge.project(given.facts_BNF, given.visible_BTN) if isinstance(block, KnowledgeBlock) else None
            for block in self.blocks
        ]


def _blocks_of(base: GPT) -> Iterator[Block]:
    for block in base.blocks:
        assert isinstance(block, Block)
        yield block


def attach_knowledge(base: GPT, config: KnowledgeConfig | None = None) -> KnowledgeGPT:
    """A model with fresh knowledge layers around `base`, on its device and in its precision.

    It shares the base's weights: tuning one tunes the other. The base itself stays a model without knowledge layers.

    Raises:
        ConfigError: the settings do not fit the base, or it has knowledge layers already.
    """
    if isinstance(base, KnowledgeGPT):
        raise ConfigError("The model has knowledge layers already.", remedy="Tune those, or start from its base.")
    model = KnowledgeGPT(base, config or KnowledgeConfig())
    model.reset_knowledge()
    weight = base.embedding.weight
    for name, parameter in model.named_parameters():
        if is_knowledge(name):
            parameter.data = parameter.data.to(weight.device, weight.dtype)
    return model.train(base.training)
