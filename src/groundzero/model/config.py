"""What a model is: every switch of the architecture, and what follows from them without building anything.

One `GPTConfig` describes a network completely. A *family* is a named combination of switches; it supplies the
defaults, and any switch given explicitly wins. Parameter count, FLOPs and memory are functions of the config alone,
so that `gz plan` and `gz info` never allocate a weight.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from groundzero.reference.config import FAMILIES
from groundzero.settings import Settings

Position = Literal["learned", "sinusoidal", "rotary"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "gelu_tanh", "swiglu", "relu2"]


class RotaryScaling(Settings):
    """Stretching rotary positions beyond the trained context."""

    method: Literal["linear", "yarn"]
    """linear: positions divided by `factor` (Chen et al. 2023); yarn: by frequency band (Peng et al. 2023)."""
    factor: float = Field(gt=1.0)
    """How many times longer the context becomes."""
    original_context: int = Field(gt=0)
    """The context the model was trained at, in tokens."""
    beta_fast: float = Field(32.0, gt=0)
    """YaRN: bands that turn more often than this over the original context are left alone, in turns."""
    beta_slow: float = Field(1.0, gt=0)
    """YaRN: bands that turn less often than this are fully interpolated, in turns."""


class GPTConfig(Settings):
    """A decoder-only transformer. Widths are in units, lengths in tokens."""

    family: Literal["gpt2", "classic", "llama", "qwen3", "speedrun"] = "qwen3"
    """Named combination of switches; any switch given here overrides it."""
    vocab_size: int = Field(8192, gt=0)
    """Ids the tokenizer can produce; the weight table is padded up to a multiple of `vocab_multiple`."""
    vocab_multiple: int = Field(64, gt=0)
    """Round the weight table up to this multiple, for aligned matrix products; 1 pads nothing."""
    context: int = Field(256, gt=0)
    """Longest sequence the model is trained on."""
    n_layer: int = Field(6, gt=0)
    """Transformer blocks."""
    n_head: int = Field(6, gt=0)
    """Query heads."""
    n_kv_head: int = Field(0, ge=0)
    """Key/value heads; `n_head` when 0; fewer is grouped-query attention (Ainslie et al. 2023)."""
    d_model: int = Field(384, gt=0)
    """Width of the residual stream."""
    d_ff: int = Field(0, ge=0)
    """Width of the feed-forward layer; when 0: 4 x d_model, or 8/3 x d_model up to a multiple of 64 for swiglu."""
    head_dim: int = Field(0, ge=0)
    """Width of one head; d_model / n_head when 0."""
    position: Position = "rotary"
    """How a token knows its place."""
    rotary_base: float = Field(10_000.0, gt=1)
    """Base of the geometric series of rotary wavelengths (Su et al. 2021)."""
    rotary_fraction: float = Field(1.0, gt=0, le=1)
    """Share of each head that is rotated."""
    rotary_scaling: RotaryScaling | None = None
    """Stretch positions beyond the trained context."""
    norm: Norm = "rmsnorm"
    """Normalisation before each sub-layer and before the head."""
    norm_eps: float = Field(1e-5, gt=0)
    """Added to the variance before its root."""
    norm_affine: bool = True
    """Learn a scale (and a shift, for layernorm) per unit."""
    activation: Activation = "swiglu"
    """Feed-forward non-linearity; swiglu has a third matrix."""
    qk_norm: bool = False
    """RMS-normalise queries and keys per head before the dot product (Henry et al. 2020)."""
    attention_bias: bool = False
    """Biases in the four attention projections."""
    feed_forward_bias: bool = False
    """Biases in the feed-forward projections."""
    tie_embeddings: bool = True
    """The output layer is the embedding table (Press & Wolf 2017)."""
    scale_embeddings: bool = False
    """Multiply token embeddings by the root of d_model (Vaswani et al. 2017)."""
    norm_embeddings: bool = False
    """Normalise the embedded tokens before the first block."""
    window: int = Field(0, ge=0)
    """Sliding attention window in tokens; 0 sees everything before."""
    logit_softcap: float = Field(0.0, ge=0)
    """Squash logits into (-cap, cap) with tanh; 0 is off (Gemma 2, 2024)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a unit of embeddings, attention weights and sub-layer outputs, in training only."""
    init: Literal["residual_scaled", "zero"] = "residual_scaled"
    """Output projections start at std 0.02 / sqrt(2 n_layer) (GPT-2), or at zero (so each block starts as identity)."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of all other initial matrices."""
    checkpoint_activations: bool = False
    """Recompute each block in the backward pass: less memory, about a third more time."""

    @model_validator(mode="before")
    @classmethod
    def _family_defaults(cls, values: Any) -> Any:
        """Fill in what the family sets and the caller did not; derive the widths left at 0."""
        if not isinstance(values, dict):
            return values
        family = values.get("family", cls.model_fields["family"].default)
        return {**FAMILIES.get(family, {}), **values}

    @model_validator(mode="after")
    def _derive_and_check(self) -> Self:
        if not self.head_dim and self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not divisible by n_head {self.n_head}")
        derived = {
            "n_kv_head": self.n_kv_head or self.n_head,
            "head_dim": self.head_dim or self.d_model // self.n_head,
            "d_ff": self.d_ff or self._default_d_ff(),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        if self.n_head % self.n_kv_head:
            raise ValueError(f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}")
        if self.position == "rotary" and (self.rotary_dim % 2 or not self.rotary_dim):
            raise ValueError(f"rotary positions need an even head_dim x rotary_fraction, got {self.rotary_dim}")
        return self

    def _default_d_ff(self) -> int:
        if self.activation != "swiglu":
            return 4 * self.d_model
        return -(-8 * self.d_model // 3 // 64) * 64

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the weight table; the ones beyond `vocab_size` are masked and never sampled."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def rotary_dim(self) -> int:
        """How many units of a head are rotated."""
        return int(self.head_dim * self.rotary_fraction)
