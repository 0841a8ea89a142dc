"""Every gradient of the package that was worked out by hand stands before three judges (see `judge`)."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import groundzero.reference
from groundzero.reference.attention import Attention, CrossAttention
from groundzero.reference.layers import Linear, RMSNorm
from groundzero.reference.module import central_differences
from groundzero.reference.transformer import FeedForward, KnowledgeBlock
from tests.reference import judged_knowledge, judged_networks
from tests.reference.judge import Trial, ask_direction, ask_trying, judge, of_module
from tests.reference.judged_operations import TRIALS, affine

# Importing them entered their trials.
assert {judged_networks.whole_model.__name__, judged_knowledge.copying.__name__} <= set(TRIALS)

FEW = {"whole_model", "stack", "knowledge_block", "block"}
"""Trials of dozens of arrays, each of which is nudged twenty times."""


@pytest.mark.parametrize("name", [name for name in TRIALS if name not in FEW])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_backward(name, data):
    hold_trial(name, data)


@pytest.mark.parametrize("name", sorted(FEW))
@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_a_backward_through_many_layers(name, data):
    hold_trial(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_backward_at_length(name, data):
    hold_trial(name, data)


def hold_trial(name: str, data: st.DataObject) -> None:
    """One trial of this name, drawn at random."""
    _, draw_trial = TRIALS[name]
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    judge(draw_trial(data.draw, np.random.default_rng(seed)), seed)


def gradients_of_the_package() -> dict[str, object]:
    """Every public function called `..._backward`, class with a `backward`, and method called `backward_...`."""
    found: dict[str, object] = {}
    for module_info in pkgutil.iter_modules(groundzero.reference.__path__):
        module = importlib.import_module(f"groundzero.reference.{module_info.name}")
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(thing) and "backward" in name:
                found[f"{module.__name__}.{name}"] = thing
            if inspect.isclass(thing):
                methods = {key: value for key, value in vars(thing).items() if "backward" in key and key[0] != "_"}
                if "backward" in methods:
                    found[f"{module.__name__}.{name}"] = thing
                for key in set(methods) - {"backward"}:
                    found[f"{module.__name__}.{name}.{key}"] = methods[key]
    return found


def test_every_backward_of_the_package_is_judged():
    """Whoever adds a gradient brings it before the judges: a trial in `judged_operations` or `judged_networks`."""
    judged = {thing for things, _ in TRIALS.values() for thing in things}
    unjudged = [name for name, thing in gradients_of_the_package().items() if thing not in judged]
    assert not unjudged
    assert len(gradients_of_the_package()) >= 24


def test_backward_without_facts_is_that_with_facts():
    rng = np.random.default_rng(0)

    def make() -> KnowledgeBlock:
        attention = Attention(4, 2, rng=rng)
        reader = CrossAttention(4, 3, 1, rng=rng)
        thinker = FeedForward(4, 5, rng=rng)
        return KnowledgeBlock(
            RMSNorm(4), attention, RMSNorm(4), thinker, knowledge_norm=RMSNorm(4), knowledge=reader, rng=rng
        )

    block = make()
    block.knowledge_gate.value[0] = 0.5
    x, facts = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 2, 3))
    y = block(x, facts_BNF=facts)
    assert np.array_equal(block.backward(y), block.backward_with_facts(y)[0])


# --- the judges themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "spoil"),
    [
        ("autograd: d_x", lambda gradients: gradients | {"x": gradients["x"] * (1 + 1e-5)}),
        ("has the shape of", lambda gradients: gradients | {"x": gradients["x"][..., :0]}),
        ("autograd: d_weight", lambda gradients: gradients | {"weight": 0.0 * gradients["weight"]}),
    ],
)
def test_a_wrong_gradient_is_noticed(words, spoil):
    trial = a_linear_trial()
    with pytest.raises(AssertionError, match=words):
        judge(dataclasses.replace(trial, backward=lambda d_y: spoil(trial.backward(d_y))))


@pytest.mark.parametrize("ask", ["trying", "direction"])
def test_each_judge_notices_alone(ask):
    """Were the others bribed, one would still do."""
    trial = a_linear_trial()
    d_y = np.ones_like(trial.forward())
    gradients = {name: gradient * (1 + 1e-4) for name, gradient in trial.backward(d_y).items()}

    def loss() -> float:
        return float((trial.forward() * d_y).sum())

    with pytest.raises(AssertionError, match=ask):
        if ask == "trying":
            ask_trying(trial, loss, gradients, 1.0, np.random.default_rng(0))
        else:
            ask_direction(trial, loss, gradients, np.random.default_rng(0))


def a_linear_trial() -> Trial:
    rng = np.random.default_rng(0)
    return of_module(Linear(3, 2, rng=rng), {"x": rng.standard_normal((4, 3))}, lambda t: affine(t, "", t["x"]))


def test_central_differences_of_the_lesson():
    """The package's own judge: d (sum of x^3) = 3 x^2; and it leaves the array as it was."""
    value = np.array([[1.0, -2.0], [0.5, 0.0]])
    kept = value.copy()
    tried = central_differences(lambda: float((value**3).sum()), value)
    np.testing.assert_allclose(tried, 3 * kept**2, rtol=1e-6, atol=1e-9)
    assert np.array_equal(value, kept)
