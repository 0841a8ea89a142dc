"""What learning to answer from facts is set to: which lessons, through which channels, into which layers.

Without PyTorch, so that a build can be planned before anything heavy is imported.
"""

from __future__ import annotations

from pydantic import Field

from groundzero.ground.lessons import LessonSettings
from groundzero.ground.marks import N_MARK
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.settings import Settings


class ChannelSettings(Settings):
    """How often each channel is open while learning; every lesson with facts has one at least."""

    prompt_share: float = Field(0.5, ge=0, le=1)
    """Facts written into the prompt."""
    attention_share: float = Field(0.8, ge=0, le=1)
    """Blocks that read the facts' vectors."""
    copy_share: float = Field(0.85, ge=0, le=1)
    """Spans copied from the facts. In the other lessons names are spelt, as the prompt has them."""


class GroundingSettings(Settings):
    """What is taught, and to which knowledge layers."""

    lessons: LessonSettings = Field(default_factory=lambda: LessonSettings.parse({}))
    """Which questions, and how much evidence."""
    channels: ChannelSettings = Field(default_factory=lambda: ChannelSettings.parse({}))
    """How often each channel is open."""
    knowledge: KnowledgeConfig = Field(default_factory=lambda: KnowledgeConfig.parse({"n_mark": N_MARK}))
    """The layers that are added."""
    validation_lessons: int = Field(256, ge=1)
    """Held-out lessons that are validated with."""
