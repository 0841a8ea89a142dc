"""Counts against built models, FLOPs against PyTorch's counter, memory against what autograd keeps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from groundzero.model import attention
from groundzero.model.config import FAMILIES, GPTConfig
from groundzero.model.gpt import GPT
from groundzero.model.presets import preset, preset_names
from groundzero.model.size import LONGEST_EXPLICIT_ATTENTION, flops_per_token, memory, parameter_count

SMALL: dict[str, Any] = {"vocab_size": 1000, "context": 128, "n_layer": 3, "n_head": 4, "d_model": 128}

CONFIGS = st.builds(
    GPTConfig,
    family=st.sampled_from(sorted(FAMILIES)),
    vocab_size=st.integers(1, 100),
    vocab_multiple=st.sampled_from([1, 64]),
    context=st.integers(1, 16),
    n_layer=st.integers(1, 3),
    n_head=st.just(4),
    n_kv_head=st.sampled_from([0, 1, 2, 4]),
    d_model=st.sampled_from([16, 32]),
    d_ff=st.sampled_from([0, 24]),
    head_dim=st.sampled_from([0, 6]),
    position=st.sampled_from(["learned", "sinusoidal", "rotary"]),
    norm=st.sampled_from(["layernorm", "rmsnorm"]),
    norm_affine=st.booleans(),
    activation=st.sampled_from(["gelu", "gelu_tanh", "swiglu", "relu2"]),
    qk_norm=st.booleans(),
    attention_bias=st.booleans(),
    feed_forward_bias=st.booleans(),
    tie_embeddings=st.booleans(),
    norm_embeddings=st.booleans(),
)


@given(CONFIGS)
@settings(max_examples=200, deadline=None)
def test_counts_equal_the_built_model_role_by_role(config: GPTConfig) -> None:
    with torch.device("meta"):
        gpt = GPT(config)
    built = dict.fromkeys(("embedding", "matrix", "vector", "head"), 0)
    for (name, parameter), role in zip(gpt.named_parameters(), gpt.roles().values(), strict=True):
        assert name in gpt.roles()
        built[role] += parameter.numel()
    count = parameter_count(config)
    assert count.allocated == sum(built.values())
    assert (count.matrix, count.vector) == (built["matrix"], built["vector"])
    assert count.embedding + count.head + count.padding == built["embedding"] + built["head"]
    assert count.total == count.allocated - count.padding
    assert (count.padding == 0) == (config.padded_vocab_size == config.vocab_size)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_builds_to_its_count(name: str) -> None:
    config = preset(name).config
    with torch.device("meta"):
        gpt = GPT(config)
    count = parameter_count(config)
    assert sum(parameter.numel() for parameter in gpt.parameters()) == count.allocated
    unpadded = GPTConfig.parse({**preset(name).model, "vocab_multiple": 1})
    assert parameter_count(unpadded).allocated == preset(name).true_parameters == count.total


def test_gpt2_without_embedding() -> None:
    assert parameter_count(preset("gpt2").config).without_embedding == 85_056_000


def test_flops_of_gpt2_by_hand() -> None:
    config = preset("gpt2").config
    matrices = 12 * 12 * 768**2 + 50257 * 768
    assert flops_per_token(config) == 6 * matrices + 12 * 12 * 768 * 1024
    assert flops_per_token(config, context=128) == 6 * matrices + 12 * 12 * 768 * 128


def test_a_window_bounds_the_flops_of_attention() -> None:
    full = GPTConfig.parse(SMALL)
    narrow = full.replace(window=32)
    assert flops_per_token(narrow) == flops_per_token(full, context=32)
    assert flops_per_token(full.replace(window=1000)) == flops_per_token(full)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_flops_equal_what_pytorch_counts(family: str, kv_heads: int) -> None:
    config = GPTConfig.parse({**SMALL, "family": family, "n_kv_head": kv_heads, "vocab_multiple": 1})
    gpt = GPT(config)
    ids_BT = torch.zeros(2, config.context, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        _, loss = gpt(ids_BT, ids_BT)
        assert loss is not None
        loss.backward()
    assert counter.get_total_flops() == ids_BT.numel() * flops_per_token(config)


def kept_by_autograd(config: GPTConfig, batch_size: int, dtype: torch.dtype) -> int:
    """Bytes of every storage that the forward pass of a training step keeps, parameters and buffers aside."""
    gpt = GPT(config)
    gpt.compute_dtype = dtype
    own = {tensor.untyped_storage().data_ptr() for tensor in [*gpt.parameters(), *gpt.buffers()]}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids_BT = torch.zeros(batch_size, config.context, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        gpt.loss(ids_BT, ids_BT)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("switch", [{}, {"dropout": 0.1}, {"n_kv_head": 2}, {"norm": "layernorm"}])
def test_activations_are_what_autograd_keeps(family: str, precision: Any, switch: dict[str, Any]) -> None:
    config = GPTConfig.parse({**SMALL, "family": family, **switch})
    estimate = memory(config, 4, precision=precision).activations
    assert estimate == pytest.approx(kept_by_autograd(config, 4, getattr(torch, precision)), rel=0.01)


def test_fused_kernels_keep_no_weights_of_attention() -> None:
    config = GPTConfig.parse(SMALL)
    saved = memory(config, 4).activations - memory(config, 4, fused_kernels=True).activations
    weights = 4 * 4 * config.n_layer * config.n_head * config.context**2
    assert saved == weights
    assert attention.EXPLICIT_UP_TO == LONGEST_EXPLICIT_ATTENTION
    longer = memory(config, 4, context=LONGEST_EXPLICIT_ATTENTION + 1).activations
    assert longer < memory(config, 4, context=LONGEST_EXPLICIT_ATTENTION).activations


def test_checkpointing_keeps_less_and_one_block_in_full() -> None:
    config = GPTConfig.parse({**SMALL, "n_layer": 8})
    checkpointed = memory(config.replace(checkpoint_activations=True), 4).activations
    assert kept_by_autograd(config.replace(checkpoint_activations=True), 4, torch.float32) < checkpointed
    assert checkpointed < memory(config, 4).activations / 2


def test_weights_gradients_and_moments() -> None:
    config = GPTConfig.parse(SMALL)
    count = parameter_count(config)
    adamw, muon, sgd = (memory(config, 1, optimizer=name) for name in ("adamw", "muon", "sgd"))
    assert adamw.weights == adamw.gradients == 4 * count.allocated
    assert adamw.optimizer == 8 * count.allocated
    assert adamw.optimizer - muon.optimizer == 4 * count.matrix
    assert sgd.optimizer == 0
    assert adamw.total == adamw.weights + adamw.gradients + adamw.optimizer + adamw.activations


@pytest.mark.parametrize("kv_heads", [4, 1])
def test_the_cache_is_what_a_full_one_takes(kv_heads: int) -> None:
    config = GPTConfig.parse({**SMALL, "n_kv_head": kv_heads})
    cache = GPT(config).new_cache(3, config.context)
    assert memory(config, 3).kv_cache == cache.nbytes


@given(batch_size=st.integers(1, 64), context=st.integers(1, 1024))
def test_activations_grow_in_step_with_the_batch(batch_size: int, context: int) -> None:
    config = GPTConfig.parse(SMALL)
    one, two, many = (memory(config, size, context=context).activations for size in (1, 2, batch_size))
    assert many - one == (batch_size - 1) * (two - one)


def test_sizing_needs_no_torch() -> None:
    code = (
        "import sys; from groundzero.model.size import memory; from groundzero.model.config import GPTConfig;"
        "memory(GPTConfig(), 1); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
