"""The table of presets: every number that the ancestors' documents state or that their shapes give."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from groundzero.errors import ConfigError
from groundzero.model.config import FAMILIES, GPTConfig
from groundzero.model.presets import PRESETS, preset, preset_names
from groundzero.model.size import parameter_count
from groundzero.train.config import resolve

# name: (d_model, layers, heads, kv heads, d_ff, vocabulary, context), stated, true
ANCESTORS: dict[str, tuple[tuple[int, ...], str, int]] = {
    "groundzero-small": ((384, 6, 6, 6, 1536, 32000, 512), "10 M", 26_478_720),
    "groundzero-medium": ((512, 12, 8, 8, 2048, 32000, 1024), "50 M", 66_808_320),
    "groundzero-large": ((768, 12, 12, 12, 3072, 32000, 2048), "125 M", 137_961_216),
    "numpy-gpt": ((128, 4, 4, 4, 512, 2000, 128), "~600,000", 1_049_344),
    "custom-default": ((384, 6, 6, 3, 1536, 8192, 256), "~25 M", 16_421_760),
    "custom-tiny": ((352, 4, 4, 2, 1408, 8192, 256), "~10 M", 10_320_992),
    "custom-small": ((416, 8, 8, 4, 1664, 8192, 256), "~25 M", 24_181_664),
    "custom-medium": ((640, 12, 10, 5, 2560, 8192, 256), "~80 M", 78_986_880),
    "custom-large": ((992, 24, 16, 4, 3968, 8192, 256), "~350 M", 350_629_344),
    "custom-gpt2": ((768, 12, 12, 4, 3072, 50257, 512), "", 142_425_600),
    "pico-tiny": ((64, 2, 2, 2, 256, 50304, 256), "", 3_335_936),
    "pico-small": ((384, 6, 6, 6, 1536, 50304, 256), "", 30_062_592),
    "pico-conversation": ((512, 8, 8, 8, 2048, 8000, 256), "26.2 M", 29_447_168),
    "pico-large": ((768, 12, 12, 12, 3072, 50304, 1024), "88.9 M", 124_475_904),
    "sheepop": ((512, 6, 8, 8, 2048, 16384, 512), "", 27_291_648),
}

SIZES = {
    "nano": 1_000_000,
    "micro": 3_000_000,
    "tiny": 10_000_000,
    "small": 25_000_000,
    "medium": 80_000_000,
    "gpt2": 124_439_808,
    "large": 350_000_000,
}


def test_the_table_holds_our_sizes_and_the_ancestors_and_nothing_else() -> None:
    assert preset_names() == [*SIZES, *ANCESTORS]


@pytest.mark.parametrize("name", ANCESTORS)
def test_an_ancestor_has_its_shape_and_both_its_counts(name: str) -> None:
    shape, stated, true = ANCESTORS[name]
    found = preset(name)
    config = found.config
    assert shape == (
        config.d_model,
        config.n_layer,
        config.n_head,
        config.n_kv_head,
        config.d_ff,
        config.vocab_size,
        config.context,
    )
    assert found.stated_parameters == stated
    assert found.true_parameters == true


def formula(name: str, config: GPTConfig) -> int:
    """The counts written out by hand, one formula per ancestor, independent of `size.py`."""
    d, layers, f, v = config.d_model, config.n_layer, config.d_ff, config.vocab_size
    match name.split("-", maxsplit=1)[0]:
        case "groundzero":
            return v * d + layers * (4 * d * d + 4 * d + 3 * d * f + 2 * f + d + 2 * d) + d
        case "custom":
            return v * d + layers * (2 * d * d + 2 * d * config.n_kv_head * config.head_dim + 3 * d * f + 2 * d) + d
        case "pico":
            return (v + config.context) * d + layers * (12 * d * d + 13 * d) + 2 * d
        case "sheepop":
            return v * d + layers * (12 * d * d + 9 * d) + 2 * d
        case _:
            return v * d + layers * (12 * d * d + 13 * d) + 2 * d


@pytest.mark.parametrize("name", ANCESTORS)
def test_an_ancestors_count_follows_the_formula_of_its_design(name: str) -> None:
    assert preset(name).true_parameters == formula(name, preset(name).config)


@pytest.mark.parametrize(("name", "count"), SIZES.items())
def test_our_sizes_are_within_a_tenth_of_their_name(name: str, count: int) -> None:
    assert preset(name).true_parameters == pytest.approx(count, rel=0.1)


def test_gpt2_is_the_published_shape_exactly() -> None:
    assert preset("gpt2").true_parameters == 124_439_808
    assert preset("gpt2").config.family == "gpt2"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in SIZES if name != "gpt2"])
def test_our_sizes_cross_every_family(name: str, family: str) -> None:
    config = GPTConfig.parse({**preset(name).model, "family": family})
    assert config.family == family
    assert 32 <= config.head_dim <= 64
    assert config.d_model % 64 == 0


@pytest.mark.parametrize(
    ("name", "count"),
    [("groundzero-small", 28_253_952), ("groundzero-medium", 69_961_728), ("groundzero-large", 145_050_624)],
)
def test_knowledge_layers_are_counted_apart_and_the_note_says_so(name: str, count: int) -> None:
    found = preset(name)
    assert found.true_parameters_with_knowledge == count
    assert found.knowledge_layers == 3
    assert "knowledge layers" in found.note


def test_only_groundzero_has_knowledge_layers() -> None:
    for each in PRESETS:
        if not each.name.startswith("groundzero-"):
            assert each.true_parameters_with_knowledge == each.true_parameters


def test_the_counts_that_the_documents_reach_by_other_roads() -> None:
    two_layers = preset("numpy-gpt").config.replace(n_layer=2)
    assert parameter_count(two_layers).total == 652_800
    characters = preset("custom-default").config.replace(vocab_size=65)
    assert parameter_count(characters).total == 13_300_992
    # GroundZero's own counter leaves out biases and the third matrix of SwiGLU: 10.62 M without the token table.
    small = preset("groundzero-small").config
    d, f = small.d_model, small.d_ff
    assert small.n_layer * (4 * d * d + 2 * d * f + 2 * d) + d == 10_621_824


@pytest.mark.parametrize("name", [name for name in ANCESTORS if name.startswith("groundzero-")])
def test_the_recipe_of_groundzero(name: str) -> None:
    found = preset(name)
    assert dict(found.train) == {
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
    assert dict(found.generate) == {"max_tokens": 100, "temperature": 1.0, "top_k": 50, "top_p": 0.9}
    assert dict(found.grounded) == {"max_tokens": 200, "temperature": 0.7, "facts": 10}
    assert found.tokenizer["min_frequency"] == 2
    assert "512 tokens" in found.note


@pytest.mark.parametrize("name", [name for name in ANCESTORS if name.startswith("pico-")])
def test_the_recipe_of_pico(name: str) -> None:
    found = preset(name)
    assert dict(found.train) == {
        "steps": 5000,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 3e-4,
        "schedule": "constant",
        "evaluate_every": 1000,
    }
    assert dict(found.generate) == {"max_tokens": 100, "temperature": 0.8, "top_k": 20}


def test_dropout_of_the_ancestors() -> None:
    expected = {"groundzero": 0.1, "custom": 0.1, "sheepop": 0.1, "numpy": 0.0}
    for name in ANCESTORS:
        origin = name.split("-")[0]
        if origin in expected:
            assert preset(name).config.dropout == expected[origin]
    assert preset("pico-tiny").config.dropout == preset("pico-small").config.dropout == 0.2
    assert preset("pico-conversation").config.dropout == preset("pico-large").config.dropout == 0.0


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("custom-default", {"steps": 5000}),
        ("custom-tiny", {"batch_size": 4, "steps": 1000}),
        ("custom-small", {"batch_size": 8, "steps": 5000}),
        ("custom-medium", {"batch_size": 32, "steps": 10_000}),
        ("custom-large", {"batch_size": 16, "accumulate": 4, "steps": 50_000}),
        ("custom-gpt2", {}),
    ],
)
def test_the_recipes_of_custom_gpt(name: str, recipe: dict[str, Any]) -> None:
    found = preset(name)
    assert dict(found.train) == {"optimizer": "adamw", "schedule": "cosine", **recipe}
    assert dict(found.generate) == {"max_tokens": 100, "temperature": 0.8, "top_k": 200, "top_p": 0.9}
    assert found.config.checkpoint_activations == (name == "custom-large")


def test_the_recipe_of_sheepop_and_that_its_numbers_are_ours() -> None:
    found = preset("sheepop")
    assert (found.train["beta1"], found.train["beta2"]) == (0.9, 0.999)
    assert found.train["clip"] == 1.0
    assert found.train["epochs"] == 10
    assert "states no numbers" in found.note


@pytest.mark.parametrize("name", preset_names())
def test_the_tokenizer_of_a_preset_fits_its_model(name: str) -> None:
    found = preset(name)
    assert found.tokenizer["vocab_size"] == found.model["vocab_size"]
    assert set(found.sections()) <= {"model", "tokenizer", "train", "generate"}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_run(name: str) -> None:
    run = resolve(preset_name=name)
    assert run.preset == name
    assert run.model == preset(name).config
    assert set(preset(name).train) <= run.train.model_fields_set
    ancestor = name not in SIZES
    assert run.train.optimizer == "adamw" or not ancestor  # none of the five knew Muon


def test_sections_are_copies() -> None:
    preset("tiny").sections()["model"]["d_model"] = 1
    assert preset("tiny").config.d_model == 320


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [("tny", "'tiny'"), ("Small", "'small'"), ("groundzero-smal", "'groundzero-small'"), ("7b!", "nano, micro")],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preset(wrong)
    assert repr(wrong) in caught.value.message
    assert remedy in caught.value.remedy


def test_looking_presets_up_needs_no_torch() -> None:
    code = (
        "import sys; from groundzero.model.presets import preset; preset('large').config; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
