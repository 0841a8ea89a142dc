"""Knowledge layers against the NumPy twin: outputs, losses and every gradient, in float64."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from groundzero.model import GPT, GPTConfig
from groundzero.model.attention import make_mask
from groundzero.model.copying import UNTAUGHT, CopyHead, copy_loss, pointer, unused
from groundzero.model.facts import FactEncoder, Facts
from groundzero.model.knowledge import KnowledgeBlock, KnowledgeGPT, attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.reference import knowledge as twin
from groundzero.reference.attention import CrossAttention
from groundzero.reference.config import GPTConfig as TwinConfig
from groundzero.reference.layers import rotary_frequencies, rotary_tables
from groundzero.reference.model import make_block, make_norm
from groundzero.reference.module import Array, Module
from groundzero.reference.transformer import KnowledgeBlock as TwinBlock

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
SHAPE = {"vocab_size": 31, "n_layer": 1, "n_head": 2, "d_model": 8, "d_ff": 12, "context": 16}


def same_weights(of_numpy: Module, of_torch: nn.Module) -> None:
    """Both get what each name draws; the names must be the same."""
    of_numpy.astype(np.float64)
    of_torch.double()
    values, parameters = of_numpy.parameters(), dict(of_torch.named_parameters())
    assert set(values) == set(parameters)
    for name, parameter in values.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        parameter.value[...] = rng.standard_normal(parameter.shape) * max(1, parameter.shape[-1]) ** -0.5
        with torch.no_grad():
            parameters[name].copy_(torch.from_numpy(parameter.value.copy()))


def same_gradients(of_numpy: Module, of_torch: nn.Module) -> None:
    parameters = dict(of_torch.named_parameters())
    for name, parameter in of_numpy.parameters().items():
        gradient = parameters[name].grad
        got = torch.zeros_like(parameters[name]) if gradient is None else gradient
        np.testing.assert_allclose(got.numpy(), parameter.gradient, **TOLERANCE, err_msg=name)


def random_facts(rng: np.random.Generator, batch: int, n_fact: int, d_vector: int) -> Facts:
    """Texts of all lengths, none among them; numbers beyond the table; some facts not there."""
    texts = [rng.integers(-1, 31, (batch, n_fact, longest)) for longest in (3, 1, 5)]
    texts[0][0, 0] = -1
    visible_BN = rng.random((batch, n_fact)) < 0.7
    visible_BN[0, 0] = True
    return Facts(
        torch.from_numpy(rng.standard_normal((batch, n_fact, 3 * d_vector))),
        *map(torch.from_numpy, texts),
        torch.from_numpy(rng.integers(0, 7, (batch, n_fact))),
        torch.from_numpy(visible_BN),
        marks_BNM=torch.from_numpy(rng.integers(-1, 4, (batch, n_fact, 3))),
    )


def arrays_of(facts: Facts) -> tuple[Array, ...]:
    return tuple(part.numpy() for part in facts[:5])


@pytest.mark.parametrize(("d_vector", "n_mark"), [(0, 0), (3, 3)])
def test_facts_become_the_same_vectors(d_vector, n_mark):
    rng = np.random.default_rng(0)
    config = KnowledgeConfig(d_vector=d_vector, max_number=4, n_mark=n_mark, d_fact=6, d_copy=5)
    of_torch = FactEncoder(8, config)
    of_numpy = twin.FactEncoder(8, 6, d_vector, 5, n_mark, rng=rng)
    same_weights(of_numpy, of_torch)
    facts, table = random_facts(rng, 2, 4, d_vector), rng.standard_normal((31, 8))
    tensor_VD = torch.tensor(table, requires_grad=True)
    vectors = facts.vectors_BNV.requires_grad_()
    arrays, marks = arrays_of(facts._replace(vectors_BNV=vectors.detach())), facts.marks_BNM.numpy()
    got, want = of_torch(facts, tensor_VD), of_numpy(*arrays, table, marks)
    np.testing.assert_allclose(got.detach().numpy(), want, **TOLERANCE)
    d_y = rng.standard_normal(want.shape)
    d_vectors = of_numpy.backward(d_y)
    got.backward(torch.from_numpy(d_y))
    same_gradients(of_numpy, of_torch)
    assert tensor_VD.grad is None, "facts read the table and do not change it"
    if d_vector:
        np.testing.assert_allclose(vectors.grad.numpy(), d_vectors, **TOLERANCE)


@pytest.mark.parametrize("n_alternative", [1, 3])
def test_copying_is_decided_alike(n_alternative):
    rng = np.random.default_rng(1)
    config = KnowledgeConfig(d_fact=6, d_copy=5)
    of_torch, of_numpy = CopyHead(8, config), twin.CopyHead(8, 6, 5, rng=rng)
    same_weights(of_numpy, of_torch)
    hidden, facts = rng.standard_normal((2, 7, 8)), rng.standard_normal((2, 4, 6))
    visible = np.repeat(rng.random((2, 1, 4)) < 0.8, 2, axis=-1)
    starts = rng.integers(-1, 8, (2, 7, n_alternative))
    starts[:, ::2] = -1
    for b in range(2):
        starts[b][~np.append(visible[b, 0], True)[starts[b]]] = -1
    assert (starts >= 0).any()
    starts[0, 0], counted = UNTAUGHT, rng.random((2, 7)) < 0.6
    counted[0, :2] = True
    given = [torch.tensor(array, requires_grad=True) for array in (hidden, facts)]
    gate, scores = of_torch(*given)
    gate_want, scores_want = of_numpy(hidden, facts)
    np.testing.assert_allclose(gate.detach().numpy(), gate_want, **TOLERANCE)
    np.testing.assert_allclose(scores.detach().numpy(), scores_want, **TOLERANCE)
    shares = pointer(scores, torch.from_numpy(visible)).detach().numpy()
    np.testing.assert_allclose(shares, twin.pointer(scores_want, visible), **TOLERANCE)
    parts = copy_loss(gate, scores, *map(torch.from_numpy, (visible, starts, counted)))
    loss, d_gate, d_scores = twin.copy_loss(gate_want, scores_want, visible, starts, counted)
    assert (parts.gate + parts.pointer).item() == pytest.approx(loss, rel=1e-12)
    (parts.gate + parts.pointer).backward()
    d_inputs = of_numpy.backward(d_gate, d_scores)
    same_gradients(of_numpy, of_torch)
    for tensor, gradient in zip(given, d_inputs, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, **TOLERANCE)


def test_the_same_slots_are_used_up():
    rng = np.random.default_rng(4)
    starts = rng.integers(UNTAUGHT, 6, (3, 8, 2))
    got = unused(torch.from_numpy(starts), 6).numpy()
    assert (got == twin.unused(starts, 6)).all()
    for b, t in np.ndindex(3, 8):
        assert set(np.flatnonzero(~got[b, t])) == {slot for slot in starts[b, :t, 0] if slot >= 0}


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
@pytest.mark.parametrize("kind", ["some", "none in a row", "no facts"])
def test_a_knowledge_block_computes_the_same(family, kind):
    rng = np.random.default_rng(2)
    of_numpy, of_torch = block_twins(family, rng)
    same_weights(of_numpy, of_torch)
    x, facts = rng.standard_normal((2, 5, 8)), rng.standard_normal((2, 3, 6))
    visible = np.array([[True, False, True], [True, True, True]])
    if kind == "none in a row":
        visible[0] = False
    x_tensor, facts_tensor = (torch.tensor(array, requires_grad=True) for array in (x, facts))
    turn, turn_want = turns(family)
    mask = make_mask(5, 5, dtype=torch.float64)
    if kind == "no facts":
        got, want = of_torch(x_tensor, turn, mask), of_numpy(x, turn_want)
    else:
        reading = of_torch.knowledge.project(facts_tensor, torch.from_numpy(visible)[:, None])
        got = of_torch(x_tensor, turn, mask, reading=reading)
        want = of_numpy(x, turn_want, facts_BNF=facts, visible_BN=visible)
    np.testing.assert_allclose(got.detach().numpy(), want, **TOLERANCE)
    d_y = rng.standard_normal(want.shape)
    d_x, d_facts = of_numpy.backward_with_facts(d_y)
    got.backward(torch.from_numpy(d_y))
    same_gradients(of_numpy, of_torch)
    np.testing.assert_allclose(x_tensor.grad.numpy(), d_x, **TOLERANCE)
    if d_facts is not None:
        np.testing.assert_allclose(facts_tensor.grad.numpy(), d_facts, **TOLERANCE)


def block_twins(family: str, rng: np.random.Generator) -> tuple[TwinBlock, KnowledgeBlock]:
    gpt = GPT(GPTConfig(family=family, **SHAPE))
    block = attach_knowledge(gpt, KnowledgeConfig(d_fact=6)).blocks[0]
    config = TwinConfig.of(family=family, **SHAPE)
    plain = make_block(config, rng)
    reader = CrossAttention(8, 6, 2, rng=rng)
    whole = TwinBlock(
        plain.attention_norm,
        plain.attention,
        plain.feed_forward_norm,
        plain.feed_forward,
        knowledge_norm=make_norm(config),
        knowledge=reader,
        rng=rng,
    )
    return whole, block


def turns(family: str) -> tuple[Any, Any]:
    """The rotation of five places for both; none where positions are a table."""
    config = GPTConfig(family=family, **SHAPE)
    if config.position != "rotary":
        return None, None
    frequency, factor = rotary_frequencies(config.rotary_dim, config.rotary_base, None)
    gpt = GPT(config).double()
    return gpt.rotary.at(slice(0, 5), 5, torch.float64), rotary_tables(np.arange(5), frequency, factor)


@torch.no_grad()
def test_the_whole_model_is_made_of_these_parts():
    """`KnowledgeGPT.losses` = encoder, blocks and head put together by hand."""
    torch.manual_seed(0)
    model = attach_knowledge(GPT(GPTConfig(**SHAPE)), KnowledgeConfig(d_vector=2, d_fact=6)).double().eval()
    assert isinstance(model, KnowledgeGPT)
    model.blocks[0].knowledge_gate.fill_(0.5)
    facts = random_facts(np.random.default_rng(3), 2, 4, 2)
    facts.visible_BN[...] = True
    facts.object_BNL[..., 0] = 5
    ids, targets = torch.randint(31, (2, 6)), torch.randint(-1, 31, (2, 6))
    starts = torch.full((2, 6), -1)
    starts[0, 2], starts[1, 5] = 3, 7
    next_token, copying = model.losses(ids, targets, facts=facts, starts_BTA=starts)
    facts_BNF = model.knowledge_facts(facts, model.embedding.weight)
    side_inputs = {"facts": (facts_BNF, facts.visible_BN)}
    _, want = model(ids, targets, side_inputs=side_inputs)
    assert float(next_token) == pytest.approx(float(want), rel=1e-12)
    hidden = model.hidden(ids, side_inputs=side_inputs)
    parts = copy_loss(
        *model.knowledge_copy(hidden, facts_BNF), facts.copyable()[:, None], starts[..., None], targets >= 0
    )
    assert [float(part) for part in copying] == pytest.approx([float(part) for part in parts], rel=1e-12)
    whole = model.loss(ids, targets, facts=facts, starts_BTA=starts)
    assert float(whole) == pytest.approx(float(next_token + parts.gate + parts.pointer), rel=1e-12)
