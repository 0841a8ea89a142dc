"""The one table of named models: our own sizes, and the shapes and recipes of the five designs that meet here.

A preset is plain data for the sections of a run's configuration, laid under whatever the user gives: a config file and
`--set` win. Our sizes name no family, so they cross all of them (`--preset tiny --set model.family=llama`). The
ancestors' presets keep their own prefixed names and reproduce what their documents state; several state a round number
that their own shapes do not give, so each preset holds the stated count and computes the true one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from groundzero.errors import ConfigError
from groundzero.model.config import GPTConfig
from groundzero.model.size import parameter_count


@dataclass(frozen=True)
class Preset:
    """A named model with the recipe that belongs to it; the dicts are sections of a run's configuration."""

    name: str
    origin: str
    """Which design it comes from."""
    model: Mapping[str, Any]
    """For `GPTConfig.parse`."""
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    generate: Mapping[str, Any] = field(default_factory=dict)
    grounded: Mapping[str, Any] = field(default_factory=dict)
    """Generation defaults for answers that lean on facts, where they differ."""
    stated_parameters: str = ""
    """What its document says, as it says it; empty where it says nothing."""
    knowledge_layers: int = 0
    """Blocks with cross-attention to facts in the original; not part of the base network built from `model`."""
    note: str = ""
    """What is assumed, left out or different, in full sentences."""

    @property
    def config(self) -> GPTConfig:
        """The network, validated."""
        return GPTConfig.parse(self.model)

    @property
    def true_parameters(self) -> int:
        """Learned numbers of the base network, computed from the shape."""
        return parameter_count(self.config).total

    @property
    def true_parameters_with_knowledge(self) -> int:
        """With the original's knowledge layers: four d x d projections with biases and one norm each."""
        width = self.config.d_model
        return self.true_parameters + self.knowledge_layers * (4 * width**2 + 5 * width)

    def sections(self) -> dict[str, dict[str, Any]]:
        """The preset as a run's configuration: the sections that it says something about."""
        parts = {"model": self.model, "tokenizer": self.tokenizer, "train": self.train, "generate": self.generate}
        return {name: dict(values) for name, values in parts.items() if values}


def preset(name: str) -> Preset:
    """Look a preset up by name.

    Raises:
        ConfigError: there is none; the message suggests the nearest.
    """
    known = {each.name: each for each in PRESETS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
    raise ConfigError(f"There is no preset {name!r}.", remedy=remedy)


def preset_names() -> list[str]:
    """Every name, our sizes first, from small to large."""
    return [each.name for each in PRESETS]


def _size(
    name: str, stated: str, shape: tuple[int, int, int, int, int], recipe: tuple[int, float], note: str
) -> Preset:
    """A size of our own. `shape`: d_model, layers, heads, vocabulary, context; `recipe`: batch, learning rate."""
    d_model, n_layer, n_head, vocab_size, context = shape
    batch_size, learning_rate = recipe
    return Preset(
        name=name,
        origin="groundzero",
        model={
            "vocab_size": vocab_size,
            "context": context,
            "n_layer": n_layer,
            "n_head": n_head,
            "d_model": d_model,
        },
        tokenizer={"kind": "bpe", "vocab_size": vocab_size},
        train={"batch_size": batch_size, "learning_rate": learning_rate},
        stated_parameters=stated,
        note=note,
    )


# Heads are 32 or 64 wide (what fused attention kernels like), widths multiples of 64. The vocabulary grows with the
# model, so that its table stays between an eighth and about a quarter of the whole. Learning rates fall with width, as
# they must for AdamW (Yang et al. 2022).
_SIZES = (
    _size("nano", "1 M", (128, 4, 4, 1024, 256), (16, 2e-3), "For tests and first tries."),
    _size("micro", "3 M", (192, 5, 6, 4096, 256), (16, 1.5e-3), "Minutes on a laptop."),
    _size("tiny", "10 M", (320, 6, 5, 8192, 256), (16, 1e-3), "An hour on a laptop."),
    _size("small", "25 M", (512, 6, 8, 12288, 512), (16, 8e-4), "An evening on a laptop."),
    _size("medium", "80 M", (640, 12, 10, 32768, 1024), (32, 6e-4), "For a GPU."),
    Preset(
        name="gpt2",
        origin="groundzero",
        model={
            "family": "gpt2",
            "vocab_size": 50257,
            "context": 1024,
            "n_layer": 12,
            "n_head": 12,
            "d_model": 768,
        },
        tokenizer={"kind": "bpe", "vocab_size": 50257},
        train={"batch_size": 32, "learning_rate": 6e-4},
        stated_parameters="124 M",
        note="The exact shape of GPT-2 (Radford et al. 2019), family included.",
    ),
    _size("large", "350 M", (1024, 24, 16, 49152, 1024), (32, 3e-4), "For a large GPU."),
)


_GROUNDZERO_MODEL = {
    "family": "llama",
    "vocab_size": 32000,
    "norm_eps": 1e-6,
    "attention_bias": True,
    "feed_forward_bias": True,
    "dropout": 0.1,
}
_GROUNDZERO_TRAIN = {
    "steps": 100_000,
    "batch_size": 4,
    "learning_rate": 3e-4,
    "min_learning_rate": 1e-5,
    "schedule": "cosine",
    "warmup_steps": 1000,
    "clip": 1.0,
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "log_every": 100,
    "evaluate_every": 500,
    "checkpoint_every": 1000,
}
_GROUNDZERO_NOTE = (
    "The base network; the original's knowledge layers (cross-attention to facts in the last three blocks) come with"
    " grounding and are counted apart. Its recipe trains on sequences of 512 tokens."
)


def _groundzero(name: str, stated: str, layers: tuple[int, int, int], context: int, note: str) -> Preset:
    """`layers`: d_model, layers, heads."""
    d_model, n_layer, n_head = layers
    shape = {"d_model": d_model, "n_layer": n_layer, "n_head": n_head, "d_ff": 4 * d_model, "context": context}
    return Preset(
        name=name,
        origin="GroundZero-LM",
        model={**_GROUNDZERO_MODEL, **shape},
        tokenizer={"kind": "bpe", "vocab_size": 32000, "min_frequency": 2},
        train=_GROUNDZERO_TRAIN,
        generate={"max_tokens": 100, "temperature": 1.0, "top_k": 50, "top_p": 0.9},
        grounded={"max_tokens": 200, "temperature": 0.7, "facts": 10},
        stated_parameters=stated,
        knowledge_layers=3,
        note=f"{_GROUNDZERO_NOTE} {note}".rstrip(),
    )


_GROUNDZERO = (
    _groundzero("groundzero-small", "10 M", (384, 6, 6), 512, "Its own counter gives 10.62 M without the token table."),
    _groundzero("groundzero-medium", "50 M", (512, 12, 8), 1024, ""),
    _groundzero("groundzero-large", "125 M", (768, 12, 12), 2048, ""),
)


_NUMPY = (
    Preset(
        name="numpy-gpt",
        origin="the NumPy GPT",
        model={
            "family": "classic",
            "vocab_size": 2000,
            "context": 128,
            "n_layer": 4,
            "n_head": 4,
            "d_model": 128,
        },
        tokenizer={"kind": "bpe", "vocab_size": 2000},
        train={"schedule": "cosine", "optimizer": "adamw"},
        generate={"top_k": 50},
        stated_parameters="~600,000",
        note="Two layers would give 652,800. The context (128) is ours: the document states none, nor a recipe beyond"
        " AdamW with warm-up and cosine decay; vocabulary 30 belongs to its tokenizer exercise.",
    ),
)


_CUSTOM_GENERATE = {"max_tokens": 100, "temperature": 0.8, "top_k": 200, "top_p": 0.9}
_CUSTOM_NOTE = (
    "No shape is stated for this size; this one is ours. Device, precision and compile follow the hardware found, so"
    " the original's are left out."
)


def _custom(
    name: str,
    stated: str,
    shape: tuple[int, int, int, int],
    train: Mapping[str, Any],
    note: str,
    *,
    vocab_size: int = 8192,
    **model: Any,
) -> Preset:
    """`shape`: d_model, layers, query heads, key/value heads."""
    d_model, n_layer, n_head, n_kv_head = shape
    network = {
        "family": "llama",
        "vocab_size": vocab_size,
        "context": 256,
        "n_layer": n_layer,
        "n_head": n_head,
        "n_kv_head": n_kv_head,
        "d_model": d_model,
        "d_ff": 4 * d_model,
        "dropout": 0.1,
        **model,
    }
    return Preset(
        name=name,
        origin="Custom GPT",
        model=network,
        tokenizer={"kind": "bpe", "vocab_size": vocab_size},
        train={"optimizer": "adamw", "schedule": "cosine", **train},
        generate=_CUSTOM_GENERATE,
        stated_parameters=stated,
        note=note,
    )


_CUSTOM = (
    _custom(
        "custom-default",
        "~25 M",
        (384, 6, 6, 3),
        {"steps": 5000},
        "With the 65 characters of Tiny Shakespeare, its default data, the same shape has 13,300,992 parameters"
        " (--tokenizer char). 5000 steps are those of its expected results; it states no batch.",
    ),
    _custom("custom-tiny", "~10 M", (352, 4, 4, 2), {"batch_size": 4, "steps": 1000}, _CUSTOM_NOTE),
    _custom("custom-small", "~25 M", (416, 8, 8, 4), {"batch_size": 8, "steps": 5000}, _CUSTOM_NOTE),
    _custom("custom-medium", "~80 M", (640, 12, 10, 5), {"batch_size": 32, "steps": 10_000}, _CUSTOM_NOTE),
    _custom(
        "custom-large",
        "~350 M",
        (992, 24, 16, 4),
        {"batch_size": 16, "accumulate": 4, "steps": 50_000},
        _CUSTOM_NOTE,
        checkpoint_activations=True,
    ),
    _custom(
        "custom-gpt2",
        "",
        (768, 12, 12, 4),
        {},
        "Its example of a custom architecture, with the vocabulary of GPT-2; no count or recipe is stated.",
        vocab_size=50257,
        context=512,
    ),
)


_PICO_TRAIN = {
    "steps": 5000,
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 3e-4,
    "schedule": "constant",
    "evaluate_every": 1000,
}


def _pico(name: str, stated: str, shape: tuple[int, int, int, int, int], dropout: float, note: str) -> Preset:
    """`shape`: d_model, layers, heads, vocabulary, context."""
    d_model, n_layer, n_head, vocab_size, context = shape
    return Preset(
        name=name,
        origin="Pico-GPT",
        model={
            "family": "gpt2",
            "vocab_size": vocab_size,
            "context": context,
            "n_layer": n_layer,
            "n_head": n_head,
            "d_model": d_model,
            "dropout": dropout,
        },
        tokenizer={"kind": "bpe", "vocab_size": vocab_size},
        train=_PICO_TRAIN,
        generate={"max_tokens": 100, "temperature": 0.8, "top_k": 20},
        stated_parameters=stated,
        note=note,
    )


_PICO = (
    _pico("pico-tiny", "", (64, 2, 2, 50304, 256), 0.2, "Nearly all of it is the token table."),
    _pico("pico-small", "", (384, 6, 6, 50304, 256), 0.2, ""),
    _pico(
        "pico-conversation",
        "26.2 M",
        (512, 8, 8, 8000, 256),
        0.0,
        "The context (256) is assumed, and dropout is its default. Its benchmark states 25.7 M for the same shape.",
    ),
    _pico("pico-large", "88.9 M", (768, 12, 12, 50304, 1024), 0.0, "Dropout is its default."),
)


_SHEEPOP = (
    Preset(
        name="sheepop",
        origin="SheepOp",
        model={
            "family": "classic",
            "vocab_size": 16384,
            "context": 512,
            "n_layer": 6,
            "n_head": 8,
            "d_model": 512,
            "attention_bias": False,
            "dropout": 0.1,
        },
        tokenizer={"kind": "bpe", "vocab_size": 16384},
        train={
            "epochs": 10,
            "schedule": "cosine",
            "optimizer": "adamw",
            "beta1": 0.9,
            "beta2": 0.999,
            "clip": 1.0,
        },
        note="The document states no numbers: this is the base shape of Vaswani et al. (2017), with ten epochs because"
        " its examples load the checkpoint of epoch 10. Its attention has no biases. It also knows rotary positions:"
        " --set model.position=rotary.",
    ),
)

PRESETS: tuple[Preset, ...] = (*_SIZES, *_GROUNDZERO, *_NUMPY, *_CUSTOM, *_PICO, *_SHEEPOP)
