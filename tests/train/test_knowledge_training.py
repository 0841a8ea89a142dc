"""The one trainer takes facts: they travel with the batch, and knowledge layers are saved and resumed with the rest."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from groundzero.errors import FormatError
from groundzero.model.facts import Fact, make_facts
from groundzero.model.knowledge import KnowledgeBlock, attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.weights import is_knowledge
from groundzero.run import RunDirectory
from groundzero.train.checkpoint import Progress, load_training
from groundzero.train.optimizer import GATE_RATE, Optimizers


class WithFacts:
    """A loader whose batches carry two facts a row, and a span that begins at place 3."""

    def __init__(self, loader) -> None:
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def _add(self, batch, step):
        facts = [
            [Fact([row % 30, step % 7], [3], [int(tokens[3])], number) for number in (1, 2)]
            for row, tokens in enumerate(batch.tokens_BT)
        ]
        starts_BT = torch.full_like(batch.targets_BT, -1)
        starts_BT[:, 3] = 1
        return dataclasses.replace(batch, extras={"facts": make_facts(facts), "starts_BTA": starts_BT})

    def batch(self, step):
        return self._add(self._loader.batch(step), step)

    def prefetch(self, *arguments, **options):
        return _Prefetch(self._loader.prefetch(*arguments, **options), self._add)

    def validation_batches(self, **options):
        return (self._add(batch, 0) for batch in self._loader.validation_batches(**options))


class _Prefetch:
    def __init__(self, inner, add) -> None:
        self._inner, self._add = inner, add

    def __enter__(self):
        return ((step, self._add(batch, step)) for step, batch in self._inner.__enter__())

    def __exit__(self, *raised):
        return self._inner.__exit__(*raised)


def knowing_trainer(lab, run=None, **values):
    base = lab.model()
    torch.manual_seed(1)
    model = attach_knowledge(base, KnowledgeConfig(blocks=(1,), d_copy=8))
    trainer = lab.trainer(lab.config(**values), run=run, model=model)
    trainer.loader = WithFacts(trainer.loader)
    return trainer


def state_of(trainer) -> dict[str, torch.Tensor]:
    weights = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    return weights | {name: value.clone() for name, value in trainer.optimizers.state_tensors().items()}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_facts_reach_the_loss_and_training_resumes_to_the_bit(lab, tmp_path, accumulate):
    whole = knowing_trainer(lab, accumulate=accumulate)
    begun = {name: parameter.detach().clone() for name, parameter in whole.model.named_parameters()}
    outcome = whole.fit(6)
    moved = {name for name, parameter in whole.model.named_parameters() if not torch.equal(parameter, begun[name])}
    assert {name for name in begun if is_knowledge(name)} <= moved
    assert outcome.evaluation is not None

    run = RunDirectory.create(tmp_path / "run")
    knowing_trainer(lab, run, accumulate=accumulate).fit(3)
    resumed = knowing_trainer(lab, run, accumulate=accumulate)
    resumed.restore(run.checkpoint("latest").checkpoint.path)
    resumed.fit(6)
    want, got = state_of(whole), state_of(resumed)
    assert set(want) == set(got)
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_a_checkpoint_without_the_layers_is_refused_for_a_model_with_them(lab, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    lab.trainer(run=run).fit(1)
    trainer = knowing_trainer(lab)
    with pytest.raises(FormatError, match=r"knowledge\.safetensors is missing"):
        load_training(run.checkpoint("latest").checkpoint.path, trainer.model, trainer.optimizers)
    assert trainer.progress == Progress()


def test_gates_and_roles_are_not_decayed(lab):
    """Pulling a gate towards shut, or a norm's scale to zero, helps nobody."""
    model = attach_knowledge(lab.model())
    adamw = Optimizers(model, lab.config()).optimizers[0]
    spared = {
        id(parameter) for group in adamw.param_groups if not group["weight_decay"] for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if is_knowledge(name):
            assert (id(parameter) in spared) == (parameter.dim() < 2), name
    rates = {id(parameter): group["lr"] for group in adamw.param_groups for parameter in group["params"]}
    gates = [block.knowledge_gate for block in model.blocks if isinstance(block, KnowledgeBlock)]
    assert gates
    assert {rates[id(gate)] for gate in gates} == {GATE_RATE * lab.config().learning_rate}
    assert rates[id(model.knowledge_copy.role)] == lab.config().learning_rate
