"""Every setting of a build, resolved before anything is spent: the sections that `--set` knows.

    model tokenizer data train     the network, and its pretraining on text
    tuning                         the `train` settings of learning to answer from facts
    ground                         lessons, channels, knowledge layers
    embed                          vectors of the graph
    verbalise                      the graph as text
    exam                           how much is asked at the end

What is not set comes from the size that the minutes afford, or from a preset.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import Field

from groundzero.build.order import Order
from groundzero.build.recipe import EMBEDDING, PRETRAINING, TUNING, VERBALISED
from groundzero.build.settings import ShortExam
from groundzero.build.sizes import CONTEXT_WITH_FACTS, Size, with_context
from groundzero.errors import ConfigError
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.verbalise import VerbaliseSettings
from groundzero.ground.config import GroundingSettings
from groundzero.model.aliases import translate
from groundzero.model.presets import preset
from groundzero.settings import Settings, merge, parse_overrides
from groundzero.train.config import LENGTHS, RunConfig, TrainConfig

_OWN = ("tuning", "ground", "embed", "verbalise", "exam")
_OF_RUN = ("model", "tokenizer", "data", "train", "generate")


class BuildConfig(Settings):
    """What the stages are done with."""

    pretraining: RunConfig = Field(default_factory=lambda: RunConfig.parse({}))
    """The network, its text and its training; sections of their own on the command line."""
    tuning: TrainConfig = Field(default_factory=lambda: TrainConfig.parse({}))
    """Learning to answer from facts."""
    ground: GroundingSettings = Field(default_factory=lambda: GroundingSettings.parse({}))
    """What is taught, and to which knowledge layers."""
    embed: EmbedConfig = Field(default_factory=lambda: EmbedConfig.parse({}))
    """Vectors of the graph."""
    verbalise: VerbaliseSettings = Field(default_factory=lambda: VerbaliseSettings.parse({}))
    """The graph as text."""
    exam: ShortExam = Field(default_factory=lambda: ShortExam.parse({}))
    """How much is asked at the end."""

    @classmethod
    def resolve(cls, order: Order, size: Size) -> Self:
        """Lay over each other: the size or the preset, our recipes, and what was set.

        Raises:
            ConfigError: an unknown key, or values that cannot work together.
        """
        given = parse_overrides(order.overrides)
        own = {name: given.pop(name, {}) for name in _OWN}
        given = translate(given)
        _refuse_unknown(given)
        drawn = {"seed": order.seed, "device": order.device}
        base: dict[str, Any] = preset(order.preset).sections() if order.preset else size.sections()
        if order.graph:
            base = with_context(base, CONTEXT_WITH_FACTS)
        kept = {key: value for key, value in base.get("train", {}).items() if key not in LENGTHS}  # ours are counted
        values = merge({**base, "preset": order.preset, "train": {**kept, **PRETRAINING, **drawn}}, given)
        if "vocab_size" in values.get("tokenizer", {}) and "vocab_size" not in given.get("model", {}):
            values = merge(values, {"model": {"vocab_size": values["tokenizer"]["vocab_size"]}})
        return cls.parse({
            "pretraining": RunConfig.parse(values),
            "tuning": merge({**TUNING, **drawn}, own["tuning"]),
            "ground": merge({"lessons": {"seed": order.seed}}, own["ground"]),
            "embed": merge({**EMBEDDING, **drawn}, own["embed"]),
            "verbalise": merge({**VERBALISED, "seed": order.seed}, own["verbalise"]),
            "exam": merge({"seed": order.seed}, own["exam"]),
        })  # fmt: skip


def _refuse_unknown(sections: Iterable[str]) -> None:
    known = (*_OF_RUN, *_OWN)
    unknown = next((name for name in sections if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"There is no section {unknown!r} to set.", remedy=f"There are: {', '.join(known)}.")
