"""The same weights give the same logits, loss and gradients as Hugging Face's GPT-2, Llama and Qwen3."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb

from groundzero.model import GPT, GPTConfig, attention, gpt
from groundzero.model.fused import rotate
from groundzero.model.layers import Rotary, rotary_frequencies

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
GPT2 = {"family": "gpt2"}
LLAMA = {"family": "llama"}
QWEN3 = {"family": "qwen3"}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 16, "beta_fast": 2.0, "beta_slow": 0.25}
LINEAR = {"method": "linear", "factor": 3.0, "original_context": 16}
SWITCHES: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "gpt2-untied": GPT2 | {"tie_embeddings": False},
    "gpt2-exact-gelu": GPT2 | {"activation": "gelu"},
    "gpt2-eps": GPT2 | {"norm_eps": 0.3},
    "llama": LLAMA,
    "llama-untied": LLAMA | {"tie_embeddings": False},
    "llama-grouped": LLAMA | {"n_kv_head": 2},
    "llama-one-key-head": LLAMA | {"n_kv_head": 1, "head_dim": 12},
    "llama-biases": LLAMA | {"attention_bias": True, "feed_forward_bias": True},
    "llama-eps": LLAMA | {"norm_eps": 0.3},
    "llama-base": LLAMA | {"rotary_base": 50.0},
    "llama-linear": LLAMA | {"rotary_scaling": LINEAR},
    "llama-yarn": LLAMA | {"rotary_scaling": YARN},
    "qwen3": QWEN3,
    "qwen3-untied": QWEN3 | {"tie_embeddings": False},
    "qwen3-grouped": QWEN3 | {"n_kv_head": 2},
    "qwen3-head-dim": QWEN3 | {"n_kv_head": 2, "head_dim": 20},
    "qwen3-bias": QWEN3 | {"attention_bias": True},
    "qwen3-eps": QWEN3 | {"norm_eps": 0.3},
    "qwen3-window": QWEN3 | {"window": 5},
    "qwen3-linear": QWEN3 | {"rotary_scaling": LINEAR},
    "qwen3-yarn": QWEN3 | {"rotary_scaling": YARN, "n_kv_head": 2, "head_dim": 20},
}


def rope_parameters(config: GPTConfig) -> dict[str, Any]:
    scaling = config.rotary_scaling
    if scaling is None:
        return {"rope_type": "default", "rope_theta": config.rotary_base}
    parameters: dict[str, Any] = {"rope_type": scaling.method, "rope_theta": config.rotary_base}
    parameters["factor"] = scaling.factor
    if scaling.method == "yarn":
        parameters["original_max_position_embeddings"] = scaling.original_context
        parameters |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
    return parameters


def their_config(config: GPTConfig) -> Any:
    """What `config` is called over there."""
    if config.family == "gpt2":
        return transformers.GPT2Config(
            vocab_size=config.padded_vocab_size,
            n_positions=config.context,
            n_embd=config.d_model,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_inner=config.d_ff,
            activation_function={"gelu": "gelu", "gelu_tanh": "gelu_new"}[config.activation],
            layer_norm_epsilon=config.norm_eps,
            tie_word_embeddings=config.tie_embeddings,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    shared: dict[str, Any] = {
        "vocab_size": config.padded_vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "rope_parameters": rope_parameters(config),
    }
    if config.family == "llama":
        return transformers.LlamaConfig(mlp_bias=config.feed_forward_bias, **shared)
    window = {"use_sliding_window": True, "sliding_window": config.window, "max_window_layers": 0}
    return transformers.Qwen3Config(**shared, **(window if config.window else {}))


GPT2_NAMES = {
    "embedding": "transformer.wte",
    "position": "transformer.wpe",
    "final_norm": "transformer.ln_f",
    "attention_norm": "ln_1",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
    "head": "lm_head",
}
LLAMA_NAMES = {
    "embedding": "model.embed_tokens",
    "final_norm": "model.norm",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "head": "lm_head",
}
THIRDS = {"attention.query": 0, "attention.key": 1, "attention.value": 2}  # of GPT-2's c_attn


def in_theirs(family: str, name: str, table: dict[str, Tensor]) -> Tensor:
    """Where our parameter `name` lies among theirs: a view of the tensor in `table`, in our layout."""
    layer = ""
    if name.startswith("blocks."):
        _, number, name = name.split(".", 2)
        layer = f"transformer.h.{number}." if family == "gpt2" else f"model.layers.{number}."
    if name in ("attention.query_norm", "attention.key_norm"):
        return table[f"{layer}self_attn.{name[10]}_norm.weight"]
    part, _, kind = name.rpartition(".")
    if family != "gpt2":
        return table[f"{layer}{LLAMA_NAMES[part]}.{kind}"]
    if part in THIRDS:
        return table[f"{layer}attn.c_attn.{kind}"].t().chunk(3)[THIRDS[part]]
    tensor = table[f"{layer}{GPT2_NAMES[part]}.{kind}"]
    return tensor.t() if "." in part else tensor  # its matrices are (in, out)


def twin(model: GPT) -> torch.nn.Module:
    """Hugging Face's model, with the weights of ours."""
    family = model.config.family
    theirs = transformers.AutoModelForCausalLM.from_config(their_config(model.config)).eval()
    expected = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    assert type(theirs).__name__ == expected[family]
    table = {name: parameter.data for name, parameter in theirs.named_parameters()}
    for name, parameter in model.named_parameters():
        in_theirs(family, name, table).copy_(parameter.data)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in model.parameters())
    return theirs


def check_parity(model: GPT, ids_BT: Tensor) -> None:
    """Logits, loss and the gradient of every parameter."""
    theirs = twin(model)
    result = theirs(ids_BT, labels=ids_BT, use_cache=False)
    targets_BT = torch.cat((ids_BT[:, 1:], torch.full_like(ids_BT[:, :1], -1)), dim=1)
    logits_BTV, loss = model(ids_BT, targets_BT)
    torch.testing.assert_close(logits_BTV, result.logits[..., : model.config.vocab_size], **CLOSE)
    torch.testing.assert_close(loss, result.loss, **CLOSE)
    theirs.zero_grad()
    result.loss.backward()
    fused = model.loss(ids_BT, targets_BT)
    torch.testing.assert_close(fused, result.loss, **CLOSE)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for ours in (loss, fused):
        model.zero_grad()
        ours.backward()
        for name, parameter in model.named_parameters():
            want = in_theirs(model.config.family, name, gradients)
            torch.testing.assert_close(
                parameter.grad, want, **CLOSE, msg=lambda text, name=name: f"gradient of {name}: {text}"
            )


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_logits_loss_and_gradients(make_model, make_ids, switches) -> None:
    model = make_model(**{"vocab_size": 64, **switches})  # 64 needs no padding, which they would score
    check_parity(model, make_ids(2, 24, vocab_size=64))


@pytest.mark.parametrize("broken", ["mask", "sign", "scale", "norm", "grouping"])
def test_a_broken_network_is_seen(make_model, make_ids, monkeypatch, broken) -> None:
    model = make_model(vocab_size=64, family="qwen3", n_kv_head=2)
    original = attention.explicit_attention
    if broken == "mask":
        monkeypatch.setattr(gpt.GPT, "_mask", lambda *_: None)
    elif broken == "sign":
        # Turning queries and keys the wrong way alike mirrors every distance; only zero would stay.
        monkeypatch.setattr(attention, "rotate", lambda x, cos, sin: rotate(x, cos, -sin))
    elif broken == "scale":
        monkeypatch.setattr(attention, "explicit_attention", lambda q, *rest, **k: original(q * 1.01, *rest, **k))
    elif broken == "norm":
        monkeypatch.setattr(attention, "rms_norm", lambda x, scale, eps: x * scale)
    else:

        def interleaved(q, k, v, bias, **options):
            out, weights = original(q[:, [0, 2, 1, 3]], k, v, bias, **options)
            return out[:, [0, 2, 1, 3]], weights

        monkeypatch.setattr(attention, "explicit_attention", interleaved)
    with pytest.raises(AssertionError):
        check_parity(model, make_ids(2, 24, vocab_size=64))


@pytest.mark.parametrize("head_dim", [8, 64, 128])
@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize("factor", [1.5, 4.0, 40.0])
@pytest.mark.parametrize("original", [64, 2048, 32_768])
@pytest.mark.parametrize("method", ["linear", "yarn"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_stretched_frequencies(head_dim, base, factor, original, method, fraction) -> None:
    scaling = {"method": method, "factor": factor, "original_context": original}
    config = GPTConfig(head_dim=head_dim, rotary_base=base, rotary_scaling=scaling, rotary_fraction=fraction)
    theirs = transformers.LlamaConfig(
        head_dim=head_dim, rope_parameters=rope_parameters(config) | {"partial_rotary_factor": fraction}
    )
    want_R, want_factor = ROPE_INIT_FUNCTIONS[method](theirs, torch.device("cpu"))
    got_R, got_factor = rotary_frequencies(config)
    torch.testing.assert_close(got_R.float(), want_R, rtol=1e-5, atol=0)
    assert got_factor == pytest.approx(want_factor)


def test_partial_rotation_is_neox() -> None:
    """Rotating a share of each head is GPT-NeoX's layout: the first units, halves paired."""
    config = GPTConfig(n_head=3, d_model=48, rotary_fraction=0.25, context=10)
    layer = attention.Attention(config, 0)
    turn = Rotary(config).at(slice(0, 10), 10, torch.float32)
    q_BHTE, k_BHTE = torch.randn(2, 2, 3, 10, 16, generator=torch.Generator().manual_seed(3))
    frequency_R, _ = rotary_frequencies(config)
    angle_TR = (torch.arange(10.0)[:, None] * frequency_R.float()).repeat(1, 2)
    theirs = apply_rotary_pos_emb(q_BHTE, k_BHTE, angle_TR.cos()[None], angle_TR.sin()[None])
    for x_BHTE, want in zip((q_BHTE, k_BHTE), theirs, strict=True):
        torch.testing.assert_close(layer._turn(x_BHTE, turn), want, rtol=1e-5, atol=1e-6)


def test_rotation_depends_on_distance_alone() -> None:
    """Su et al. (2021), equation 11: the product of a rotated query and key is a function of their distance."""
    config = GPTConfig(head_dim=8, context=64)
    turn = Rotary(config).at(slice(0, 64), 64, torch.float64)
    q_E, k_E = torch.randn(2, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    score_TS = rotate(q_E.expand(64, 8), *turn) @ rotate(k_E.expand(64, 8), *turn).t()
    for distance in range(-63, 64):
        same = score_TS.diagonal(distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-5)
    assert score_TS[:, 0].std() > 0.1
    assert not torch.allclose(score_TS, score_TS.t(), atol=0.1)


def test_one_pair_turns_as_a_rotation_matrix() -> None:
    turn = Rotary(GPTConfig(n_head=1, d_model=2)).at(slice(1, 2), 2, torch.float64)
    turned = rotate(torch.tensor([[1.0, 0.0]], dtype=torch.float64), *turn)
    want = torch.tensor([[math.cos(1), math.sin(1)]], dtype=torch.float64)
    torch.testing.assert_close(turned, want, rtol=1e-6, atol=0)
