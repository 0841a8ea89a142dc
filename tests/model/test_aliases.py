"""The ancestors' config files in our sections."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import ConfigError
from groundzero.model.aliases import ALIASES, CONVERSIONS, HOME, translate
from groundzero.model.config import GPTConfig
from groundzero.model.presets import preset, preset_names
from groundzero.train.config import RunConfig, resolve


def test_a_flat_file_of_custom_gpt() -> None:
    theirs = {
        "model_preset": "medium",
        "batch_size": 32,
        "max_iters": 10_000,
        "dtype": "bfloat16",
        "compile_model": True,
        "gradient_accumulation_steps": 4,
        "gradient_checkpointing": True,
    }
    ours = translate(theirs)
    assert ours["preset"] == "custom-medium"
    assert ours["model"] == {"checkpoint_activations": True}
    assert ours["train"] == {
        "batch_size": 32,
        "steps": 10_000,
        "precision": "bfloat16",
        "compile": "on",
        "accumulate": 4,
    }


def test_the_config_class_of_custom_gpt() -> None:
    theirs = {
        "block_size": 512,
        "vocab_size": 50257,
        "n_layer": 12,
        "n_head": 12,
        "n_kv_head": 4,
        "n_embd": 768,
        "mlp_ratio": 4.0,
        "dropout": 0.1,
        "bias": False,
        "use_rms_norm": True,
        "use_swiglu": True,
    }
    ours = translate(theirs)
    network = GPTConfig.parse({"family": "llama", **ours["model"], **ours["tokenizer"]})
    assert network == preset("custom-gpt2").config


def test_the_camel_case_of_groundzero() -> None:
    model = {
        "EmbedDim": 384,
        "NumLayers": 6,
        "NumHeads": 6,
        "FFNDim": 1536,
        "MaxSeqLen": 512,
        "DropoutRate": 0.1,
        "UseRoPE": True,
        "UseRMSNorm": True,
        "UseSwiGLU": True,
    }
    training = {
        "BatchSize": 4,
        "LearningRate": 3e-4,
        "MinLR": 1e-5,
        "WarmupSteps": 1000,
        "TotalSteps": 100_000,
        "GradClipNorm": 1.0,
        "WeightDecay": 0.1,
        "Beta1": 0.9,
        "Beta2": 0.95,
        "LogInterval": 100,
        "SaveInterval": 1000,
        "EvalInterval": 500,
    }
    ours = translate({**model, **training, "VocabSize": 32000, "MinFrequency": 2})
    small = preset("groundzero-small")
    assert {**ours["train"], "schedule": "cosine", "optimizer": "adamw"} == dict(small.train)
    assert {**ours["tokenizer"], "kind": "bpe"} == dict(small.tokenizer)
    same = {"family": "llama", "norm_eps": 1e-6, "attention_bias": True, "feed_forward_bias": True}
    assert GPTConfig.parse({**same, "vocab_size": 32000, **ours["model"]}) == small.config


def test_the_sections_of_sheepop() -> None:
    theirs = {
        "model": {"vocab_size": 10_000, "d_model": 512, "num_layers": 6, "num_heads": 8},
        "training": {"batch_size": 32, "learning_rate": 1e-4, "max_epochs": 10, "betas": [0.9, 0.999], "use_amp": True},
        "data": {"max_length": 512, "data_dir": "data"},
    }
    assert translate(theirs) == {
        "model": {"vocab_size": 10_000, "d_model": 512, "n_layer": 6, "n_head": 8, "context": 512},
        "train": {
            "batch_size": 32,
            "learning_rate": 1e-4,
            "epochs": 10,
            "beta1": 0.9,
            "beta2": 0.999,
            "precision": "auto",
        },
        "data": {"text": "data"},
        "tokenizer": {"vocab_size": 10_000},
    }


def test_the_attributes_of_pico() -> None:
    ours = translate({"block_size": 256, "n_embd": 64, "max_iters": 5000, "eval_interval": 1000, "max_new_tokens": 10})
    assert ours == {
        "model": {"context": 256, "d_model": 64},
        "train": {"steps": 5000, "evaluate_every": 1000},
        "generate": {"max_tokens": 10},
    }


@pytest.mark.parametrize("name", preset_names())
def test_our_own_sections_come_back_unchanged(name: str) -> None:
    sections = preset(name).sections()
    assert translate(sections) == sections


def test_sections_that_are_none_are_left_to_validation() -> None:
    assert translate({"model": "tiny", "mlp_ratio": 4})["model"] == "tiny"
    assert translate({"model": {"vocab_size": 9}, "tokenizer": "bpe"})["tokenizer"] == "bpe"


def test_a_vocabulary_given_for_the_network_is_its_tokenizers() -> None:
    assert translate({"model": {"vocab_size": 500}})["tokenizer"] == {"vocab_size": 500}
    both = {"model": {"vocab_size": 500}, "tokenizer": {"vocab_size": 600}}
    characters = {"model": {"vocab_size": 65}, "tokenizer": {"kind": "char"}}
    assert translate(both) == both
    assert translate(characters) == characters


def test_none_of_their_spellings_is_a_key_of_ours() -> None:
    assert not (set(ALIASES) | set(CONVERSIONS)) & (set(GPTConfig.model_fields) | set(HOME))
    for path in ALIASES.values():
        section, _, key = path.partition(".")
        assert section in {"model", "tokenizer", "data", "train", "generate"}
        assert section != "model" or key in GPTConfig.model_fields


def test_ours_wins_over_theirs() -> None:
    ours = translate({"model": {"context": 64, "block_size": 128}, "model_preset": "tiny", "preset": "nano"})
    assert ours == {"model": {"context": 64}, "preset": "nano"}


def test_where_a_flat_key_belongs_is_a_section_that_has_it() -> None:
    for path in [*(f"{section}.{key}" for key, section in HOME.items()), *ALIASES.values()]:
        section, _, key = path.partition(".")
        assert key in RunConfig.model_fields[section].annotation.model_fields, path
    for convert in CONVERSIONS.values():
        for value in (True, False, [0.9, 0.95], "tiny"):
            with contextlib.suppress(ConfigError):
                RunConfig.parse(convert(value))


def test_a_json_file_of_an_ancestor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"n_embd": 96, "num_layers": 2, "n_head": 4, "max_iters": 7, "model_preset": "tiny"}))
    run = resolve(config_file=path)
    assert (run.preset, run.model.d_model, run.model.n_layer, run.train.steps) == ("custom-tiny", 96, 2, 7)
    assert run.train.batch_size == 4


def test_a_ratio_is_of_the_width_that_holds_in_the_end() -> None:
    assert translate({"mlp_ratio": 4})["model"]["d_ff"] == 4 * 384
    assert translate({"mlp_ratio": 2, "n_embd": 64})["model"]["d_ff"] == 128
    assert translate({"mlp_ratio": 2, "model_preset": "tiny"})["model"]["d_ff"] == 704
    assert translate({"mlp_ratio": 2, "d_ff": 100})["model"]["d_ff"] == 100


@given(st.dictionaries(st.text(st.characters(codec="ascii", categories=("Ll",)), min_size=12), st.integers()))
def test_what_it_does_not_know_is_handed_on(values: dict[str, Any]) -> None:
    assert translate(values) == values


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"betas": 0.9}, "betas"),
        ({"betas": [0.9]}, "betas"),
        ({"use_rope": "yes"}, "use_rope"),
        ({"bias": 1}, "bias"),
        ({"mlp_ratio": "four"}, "mlp_ratio"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio"),
        ({"model_preset": "huge", "mlp_ratio": 4}, "huge"),
    ],
)
def test_a_value_that_cannot_be_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        translate(values)
