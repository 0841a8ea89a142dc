"""What a model is: the switches of the architecture, and the families that set them.

The fields are those of the PyTorch model's config, whose explanations hold here; `tests/reference` holds the two equal.
This one checks less: a run's manifest has been checked when it was written. The families are told here for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

# The families: Pico-GPT and GPT-2; SheepOp and the NumPy GPT; Custom GPT and GroundZero-LM; llama with QK-norm, which
# trains best among those that export losslessly; and whatever trains fastest, which does not export.
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "position": "learned",
        "norm": "layernorm",
        "activation": "gelu_tanh",
        "attention_bias": True,
        "feed_forward_bias": True,
    },
    # Scaled, as Vaswani et al. do: sinusoids of size 1 drown embeddings of 0.02 (loss 1.96 without, 1.18 with, after
    # 400 steps of a toy at which gpt2 reaches 1.17).
    "classic": {
        "position": "sinusoidal",
        "scale_embeddings": True,
        "norm": "layernorm",
        "activation": "gelu",
        "attention_bias": True,
        "feed_forward_bias": True,
    },
    "llama": {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu"},
    "qwen3": {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", "qk_norm": True},
    "speedrun": {
        "position": "rotary",
        "norm": "rmsnorm",
        "norm_affine": False,
        "activation": "relu2",
        "qk_norm": True,
        "tie_embeddings": False,
        "init": "zero",
        "norm_embeddings": True,
        "logit_softcap": 15.0,
    },
}


@dataclass(frozen=True)
class RotaryScaling:
    """Stretching rotary positions beyond the context that a model was trained at."""

    method: str
    """`linear`: all angles divided by the factor (Chen et al. 2023); `yarn`: only slow hands are (Peng et al. 2023)."""
    factor: float
    original_context: int
    beta_fast: float = 32.0
    """YaRN leaves hands alone that turn more often than this over the original context."""
    beta_slow: float = 1.0
    """YaRN divides those fully that turn less often than this."""


@dataclass(frozen=True)
class GPTConfig:
    """A decoder-only transformer. `GPTConfig.of(family=..., ...)` fills in what the family sets."""

    family: str = "qwen3"
    vocab_size: int = 8192
    vocab_multiple: int = 64
    """The tables are rounded up to this many rows; the extra ones are never predicted."""
    context: int = 256
    n_layer: int = 6
    n_head: int = 6
    n_kv_head: int = 0
    d_model: int = 384
    d_ff: int = 0
    head_dim: int = 0
    position: str = "rotary"
    rotary_base: float = 10_000.0
    rotary_fraction: float = 1.0
    rotary_scaling: RotaryScaling | None = None
    norm: str = "rmsnorm"
    norm_eps: float = 1e-5
    norm_affine: bool = True
    activation: str = "swiglu"
    qk_norm: bool = False
    attention_bias: bool = False
    feed_forward_bias: bool = False
    tie_embeddings: bool = True
    scale_embeddings: bool = False
    norm_embeddings: bool = False
    window: int = 0
    logit_softcap: float = 0.0
    dropout: float = 0.0
    init: str = "residual_scaled"
    init_std: float = 0.02

    @classmethod
    def of(cls, **values: Any) -> GPTConfig:
        """A config from a family and what differs from it; widths left at 0 are derived."""
        values = {**FAMILIES[values.get("family", "qwen3")], **values}
        if isinstance(values.get("rotary_scaling"), Mapping):
            values["rotary_scaling"] = RotaryScaling(**values["rotary_scaling"])
        config = cls(**values)
        narrow_d_ff = 4 * config.d_model if config.activation != "swiglu" else -(-8 * config.d_model // 3 // 64) * 64
        derived = {
            "n_kv_head": config.n_kv_head or config.n_head,
            "head_dim": config.head_dim or config.d_model // config.n_head,
            "d_ff": config.d_ff or narrow_d_ff,
        }
        return cls(**{**values, **derived})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> GPTConfig:
        """From the `model` section of a run's manifest; switches that only PyTorch has are passed over."""
        known = {field.name for field in fields(cls)}
        return cls.of(**{name: value for name, value in values.items() if name in known})

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding table."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def rotary_dim(self) -> int:
        """How many units of a head are rotated."""
        return int(self.head_dim * self.rotary_fraction)
