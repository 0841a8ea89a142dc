"""The five ancestors' spellings of settings, and how a config file of theirs becomes one of ours.

Their files are flat, or have sections of other names; their keys are snake_case or CamelCase; some settings are
switches where ours name the choice (`use_rope`). `translate` accepts all of that quietly and leaves ours as they are.
What it does not know it hands on, so that validation names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from groundzero.errors import ConfigError
from groundzero.model.presets import preset, preset_names
from groundzero.settings import merge

SECTIONS = {
    "model": "model",
    "model_config": "model",
    "gpt_config": "model",
    "tokenizer": "tokenizer",
    "tokenizer_config": "tokenizer",
    "data": "data",
    "data_config": "data",
    "train": "train",
    "training": "train",
    "training_config": "train",
    "generate": "generate",
    "generation": "generate",
    "inference": "generate",
}
"""Their section -> ours."""

ALIASES = {
    "block_size": "model.context",
    "context_length": "model.context",
    "max_len": "model.context",
    "max_length": "model.context",
    "max_seq_len": "model.context",
    "max_seq_length": "model.context",
    "seq_len": "model.context",
    "sequence_length": "model.context",
    "num_layers": "model.n_layer",
    "n_layers": "model.n_layer",
    "num_heads": "model.n_head",
    "n_heads": "model.n_head",
    "num_kv_heads": "model.n_kv_head",
    "n_kv_heads": "model.n_kv_head",
    "n_embd": "model.d_model",
    "embed_dim": "model.d_model",
    "embedding_dim": "model.d_model",
    "hidden_size": "model.d_model",
    "ffn_dim": "model.d_ff",
    "hidden_dim": "model.d_ff",
    "dropout_rate": "model.dropout",
    "gradient_checkpointing": "model.checkpoint_activations",
    "weight_tying": "model.tie_embeddings",
    "vocabulary_size": "tokenizer.vocab_size",
    "max_iters": "train.steps",
    "max_steps": "train.steps",
    "num_steps": "train.steps",
    "total_steps": "train.steps",
    "max_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "lr": "train.learning_rate",
    "max_lr": "train.learning_rate",
    "min_lr": "train.min_learning_rate",
    "warmup_iters": "train.warmup_steps",
    "gradient_accumulation_steps": "train.accumulate",
    "accumulation_steps": "train.accumulate",
    "grad_clip": "train.clip",
    "grad_clip_norm": "train.clip",
    "gradient_clip": "train.clip",
    "gradient_clip_norm": "train.clip",
    "max_grad_norm": "train.clip",
    "eval_interval": "train.evaluate_every",
    "save_interval": "train.checkpoint_every",
    "checkpoint_interval": "train.checkpoint_every",
    "log_interval": "train.log_every",
    "dtype": "train.precision",
    "data": "data.text",
    "data_dir": "data.text",
    "data_path": "data.text",
    "val_split": "data.validation_fraction",
    "validation_split": "data.validation_fraction",
    "max_new_tokens": "generate.max_tokens",
}
"""Their key -> our section and key, where only the name differs. None of these is a key of ours."""

_HOMES = {
    "model": "family context n_layer n_head n_kv_head d_model d_ff head_dim position norm activation dropout window",
    "tokenizer": "vocab_size min_frequency",
    "data": "text dataset validation_fraction",
    "train": "steps epochs minutes batch_size accumulate optimizer learning_rate min_learning_rate schedule"
    " warmup_steps weight_decay beta1 beta2 clip precision compile device seed log_every evaluate_every"
    " checkpoint_every",
    "generate": "max_tokens temperature top_k top_p",
}
HOME = {key: section for section, keys in _HOMES.items() for key in keys.split()}
"""Where a key of ours belongs when a flat file gives it without a section."""


def _switch(name: str, on: Mapping[str, Any], off: Mapping[str, Any]) -> Callable[[Any], Mapping[str, Any]]:
    """A switch of theirs as choices of ours."""

    def convert(value: Any) -> Mapping[str, Any]:
        if not isinstance(value, bool):
            raise ConfigError(f"Setting {name!r} cannot be {value!r}.", remedy="Give true or false.")
        return on if value else off

    return convert


def _betas(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"Setting 'betas' cannot be {value!r}.", remedy="Give two numbers: [0.9, 0.95].")
    return {"train": {"beta1": value[0], "beta2": value[1]}}


def _ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
        raise ConfigError(f"Setting 'mlp_ratio' cannot be {value!r}.", remedy="Give a number such as 4.0.")
    return value


def _model_preset(value: Any) -> Mapping[str, Any]:
    """Custom GPT's `model_preset = 'tiny'` is our `custom-tiny`."""
    name = f"custom-{value}"
    return {"preset": name if name in preset_names() else value}


def _same_switch(name: str, section: str, *keys: str) -> Callable[[Any], Mapping[str, Any]]:
    return _switch(name, {section: dict.fromkeys(keys, True)}, {section: dict.fromkeys(keys, False)})


CONVERSIONS: dict[str, Callable[[Any], Mapping[str, Any]]] = {
    "model_preset": _model_preset,
    "betas": _betas,
    "bias": _same_switch("bias", "model", "attention_bias", "feed_forward_bias"),
    "use_rope": _switch("use_rope", {"model": {"position": "rotary"}}, {"model": {"position": "sinusoidal"}}),
    "use_rms_norm": _switch("use_rms_norm", {"model": {"norm": "rmsnorm"}}, {"model": {"norm": "layernorm"}}),
    "use_swiglu": _switch("use_swiglu", {"model": {"activation": "swiglu"}}, {"model": {"activation": "gelu"}}),
    "use_amp": _switch("use_amp", {"train": {"precision": "auto"}}, {"train": {"precision": "float32"}}),
    "compile_model": _switch("compile_model", {"train": {"compile": "on"}}, {"train": {"compile": "off"}}),
}
"""Their settings that say in another way what ours say."""


def translate(values: Mapping[str, Any]) -> dict[str, Any]:
    """An ancestor's settings (flat, or with their sections) in our sections; ours come back unchanged.

    Where a file gives a setting in both spellings, ours wins.

    Raises:
        ConfigError: a value that a setting of theirs cannot have.
    """
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    ratio: float | None = None
    for section, key, value in _entries(values):
        if _same(key, "mlp_ratio"):
            ratio = _ratio(value)
        elif conversion := _find(CONVERSIONS, key):
            theirs = merge(theirs, CONVERSIONS[conversion](value))
        elif alias := _find(ALIASES, key):
            home, _, name = ALIASES[alias].partition(".")
            theirs = merge(theirs, {home: {name: value}})
        elif section:
            ours = merge(ours, {section: {_find(HOME, key) or key: value}})
        elif native := _find(HOME, key):
            ours = merge(ours, {HOME[native]: {native: value}})
        else:
            ours = merge(ours, {key: value})
    found = merge(theirs, ours)
    if ratio is not None:
        found = merge({"model": {"d_ff": round(ratio * _width(found))}}, found)
    return _tokenizer_follows(found)


def _tokenizer_follows(found: dict[str, Any]) -> dict[str, Any]:
    """A vocabulary given for the network alone is meant for its tokenizer too, which decides in the end."""
    model, tokenizer = found.get("model"), found.get("tokenizer", {})
    if not isinstance(model, Mapping) or "vocab_size" not in model or not isinstance(tokenizer, Mapping):
        return found
    if "vocab_size" in tokenizer or tokenizer.get("kind") == "char":
        return found
    return merge(found, {"tokenizer": {"vocab_size": model["vocab_size"]}})


def _width(found: Mapping[str, Any]) -> int:
    """d_model of a translated file, for a ratio to it: given, or the preset's, or Custom GPT's default."""
    model = found.get("model")
    given = model.get("d_model") if isinstance(model, Mapping) else None
    return given if isinstance(given, int) else preset(str(found.get("preset", "custom-default"))).config.d_model


def _entries(values: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(our section or "", key as written, value)."""
    entries: list[tuple[str, str, Any]] = []
    for key, value in values.items():
        section = SECTIONS.get(_find(SECTIONS, key) or "")
        if section is not None and isinstance(value, Mapping):
            entries += [(section, inner, setting) for inner, setting in value.items()]
        else:
            entries.append(("", key, value))
    return entries


def _find(table: Iterable[str], key: str) -> str | None:
    """The name in `table` that `key` spells."""
    return next((name for name in table if _same(name, key)), None)


def _same(name: str, key: str) -> bool:
    """`embed_dim`, `embed-dim` and `EmbedDim` are one name, and so are `use_rope` and `UseRoPE`."""
    return _squeezed(name) == _squeezed(key)


def _squeezed(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()
