"""What a run is: one settings object with a section per room, resolved from a preset, a file and `--set`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from groundzero.data.config import DataConfig
from groundzero.errors import ConfigError
from groundzero.generate.config import SamplingConfig
from groundzero.model.aliases import translate
from groundzero.model.config import GPTConfig
from groundzero.model.presets import preset
from groundzero.settings import Settings, merge, parse_overrides, read_settings_file
from groundzero.tokenizer.config import TokenizerConfig

SCHEMA_VERSION = 1


class TrainConfig(Settings):
    """How the network is trained. A step is one update of the weights."""

    steps: int = Field(0, ge=0)
    """Updates of the weights; 0 leaves it to `epochs` or `minutes`."""
    epochs: float = Field(0.0, ge=0)
    """Passes over the training text, when `steps` is 0."""
    minutes: float = Field(0.0, ge=0)
    """Time budget, when `steps` and `epochs` are 0; resolved to steps before training starts, then stored."""
    batch_size: int = Field(16, gt=0)
    """Sequences in one forward pass."""
    accumulate: int = Field(1, gt=0)
    """Forward passes per step; their gradients add up to one larger batch."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """adamw for all weights, or muon for matrices inside blocks and adamw for the rest."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak rate of AdamW."""
    muon_learning_rate: float = Field(0.02, gt=0)
    """Peak rate of Muon."""
    min_learning_rate: float = Field(0.0, ge=0)
    """Where the cosine ends and the warm-down arrives, as a rate of AdamW; Muon's falls in proportion."""
    schedule: Literal["cosine", "wsd", "constant"] = "wsd"
    """After the warm-up: a half cosine, or stable and then linearly down (warm-up-stable-decay), or constant."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the rate rises linearly from 0."""
    decay_fraction: float = Field(0.6, gt=0, le=1)
    """wsd: the last part of training over which the rate falls."""
    weight_decay: float = Field(0.1, ge=0)
    """Share of each matrix taken off per step, times the rate (Loshchilov & Hutter 2019)."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW: memory of the gradient."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """AdamW: memory of its square."""
    epsilon: float = Field(1e-8, gt=0)
    """AdamW: added to the root of the square."""
    muon_momentum: float = Field(0.95, ge=0, lt=1)
    """Muon: memory of the gradient."""
    clip: float = Field(1.0, ge=0)
    """Longest gradient over all weights; 0 does not clip."""
    isolate_documents: bool = False
    """Attention stays within a document even when a batch row holds several."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of activations; weights and optimiser stay float32. auto takes bfloat16 where the hardware multiplies it fast."""
    compile: Literal["auto", "on", "off"] = "auto"
    """`torch.compile`; auto compiles where that pays (see `gz hardware`)."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, xpu or auto."""
    seed: int = Field(1337, ge=0)
    """Of initial weights, dropout and the order of batches."""
    log_every: int = Field(10, gt=0)
    """Steps between records of the training loss."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations; 0 makes about ten over the run. The last step is always evaluated."""
    evaluate_tokens: int = Field(0, ge=0)
    """Evaluate on this many first tokens of the validation split; 0 is all of it."""
    checkpoint_every: int = Field(0, ge=0)
    """Steps between checkpoints; 0 saves with each evaluation. The last step is always saved."""
    keep_checkpoints: int = Field(2, gt=0)
    """Newest checkpoints kept, besides the best."""
    sample_every: int = Field(0, ge=0)
    """Steps between samples from `sample_prompts`; 0 samples with each evaluation."""
    sample_prompts: tuple[str, ...] = ("",)
    """Prompts continued along the way, to see the model learn; an empty one starts a fresh text."""
    sample_tokens: int = Field(60, ge=0)
    """Length of those samples; 0 makes none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError("min_learning_rate is above learning_rate")
        return self


class RunConfig(Settings):
    """Everything a training needs to know; what a run's manifest stores, resolved."""

    schema_version: int = SCHEMA_VERSION
    """Version of this layout."""
    preset: str = ""
    """The preset the other values were laid over."""
    model: GPTConfig = Field(default_factory=lambda: GPTConfig.parse({}))
    """The network."""
    tokenizer: TokenizerConfig = Field(default_factory=lambda: TokenizerConfig.parse({}))
    """Text to ids."""
    data: DataConfig = Field(default_factory=lambda: DataConfig.parse({}))
    """Where text comes from."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.parse({}))
    """How to train."""
    generate: SamplingConfig = Field(default_factory=lambda: SamplingConfig.parse({}))
    """Defaults of `gz generate` for this run."""

    @model_validator(mode="after")
    def _known_schema(self) -> Self:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"this release reads schema {SCHEMA_VERSION}, and this is {self.schema_version}")
        return self


DEFAULT_PRESET = "micro"
LENGTHS = ("steps", "epochs", "minutes")
"""Settings of `train` that say how long; the first that is not 0 decides."""


def resolve(
    *,
    preset_name: str = "",
    config_file: Path | None = None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Lay the sources over each other: preset, then file, then `--set`, then options of the command line.

    Args:
        preset_name: wins over the one the file names; `DEFAULT_PRESET` where neither names one.
        overrides: `section.key=value` assignments.
        options: sections from dedicated options such as `--steps`.

    Raises:
        ConfigError: an unknown key, or values that cannot work together.
        InputError: the file cannot be read.
    """
    values: dict[str, Any] = translate(read_settings_file(config_file)) if config_file else {}
    values = _lay(values, translate(parse_overrides(overrides)))
    values = _lay(values, options or {})
    name = preset_name or values.get("preset") or DEFAULT_PRESET
    if not isinstance(name, str):
        raise ConfigError(f"Setting 'preset' cannot be {name!r}.", remedy="Give the name of a preset.")
    return RunConfig.parse(_lay(preset(name).sections(), {**values, "preset": name}))


def _lay(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`. A length of training in `changes`, of whatever kind, replaces every one in `base`: whoever
    asks for five minutes does not want the preset's steps."""
    below, above = base.get("train"), changes.get("train")
    if isinstance(below, Mapping) and isinstance(above, Mapping) and any(above.get(kind) for kind in LENGTHS):
        base = {**base, "train": {key: value for key, value in below.items() if key not in LENGTHS}}
    return merge(base, changes)
