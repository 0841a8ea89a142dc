"""What the knowledge layers of a model are; apart from `GPTConfig`, so that the base stays what it was."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from groundzero.errors import ConfigError
from groundzero.model.config import GPTConfig
from groundzero.settings import Settings


class KnowledgeConfig(Settings):
    """Layers that read facts and copy from them, added to a model that may be trained already."""

    blocks: tuple[int, ...] | None = None
    """Blocks that read facts, counted from 0; the last two when absent, none when empty."""
    n_head: int = Field(0, ge=0)
    """Heads of a block's reader; the model's own when 0."""
    d_fact: int = Field(0, ge=0)
    """Width of a fact; `d_model` when 0."""
    d_vector: int = Field(0, ge=0)
    """Width of one entity's or relation's embedding from the graph; 0 where facts come as text alone."""
    max_number: int = Field(64, ge=0)
    """Highest number by which a prompt lists its facts; those beyond it are read without a number."""
    n_mark: int = Field(0, ge=0)
    """Things that may be known of a fact beside its words; 0 where none are."""
    isolate_facts: bool = False
    """Facts in a prompt do not see each other (`model.islands`): how the model learnt to read them, and is to read."""
    d_copy: int = Field(0, ge=0)
    """Width of the pointer's queries and keys; `d_model` when 0."""
    copy_weight: float = Field(1.0, ge=0)
    """Weight of the copy head's loss beside that of the next token."""
    copy_bias: float = Field(-4.0, le=0)
    """Where the copy gate starts: sigmoid(-4) is a span at one place in fifty."""

    def resolve(self, gpt: GPTConfig) -> KnowledgeConfig:
        """The same with every default filled in for this model.

        Raises:
            ConfigError: a block that the model has not, or heads that do not divide its width.
        """
        blocks = self.blocks if self.blocks is not None else tuple(range(max(0, gpt.n_layer - 2), gpt.n_layer))
        wrong = next((block for block in blocks if not 0 <= block < gpt.n_layer), None)
        if wrong is not None:
            raise ConfigError(
                f"Setting 'blocks' names block {wrong}, and the model has blocks 0 to {gpt.n_layer - 1}.",
                remedy="Name blocks that it has.",
            )
        n_head = self.n_head or (gpt.n_head if gpt.d_model % gpt.n_head == 0 else 1)
        if gpt.d_model % n_head:
            raise ConfigError(
                f"Setting 'n_head' cannot be {n_head}: d_model {gpt.d_model} is not divisible by it.",
                remedy="Give a divisor of d_model.",
            )
        filled: dict[str, Any] = {
            "blocks": tuple(sorted(set(blocks))),
            "n_head": n_head,
            "d_fact": self.d_fact or gpt.d_model,
            "d_copy": self.d_copy or gpt.d_model,
        }
        return self.replace(**filled)
