"""Optimisers against PyTorch's, batches as pure functions, exact resume, early stopping, determinism."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from groundzero.errors import ConfigError, FormatError, InputError
from groundzero.graph.embed.batches import QuestionBatches, TripleBatches
from groundzero.graph.embed.checkpoint import resume_training, save_training
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.optimizer import RowOptimizer
from groundzero.graph.embed.splits import Splits, split_triples
from groundzero.graph.embed.trainer import EmbeddingTrainer, EmbedObserver

E, R = 40, 4
VARIANTS = {
    "all": {},
    "all, dropout, penalty": {"model": "complex", "dropout": 0.2, "regularization": 0.01},
    "uniform, adam": {"sampler": "uniform", "optimizer": "adam", "learning_rate": 0.01, "loss": "self_adversarial"},
    "bernoulli, rows": {"sampler": "bernoulli", "reciprocal": False, "optimizer": "rowwise_adagrad", "loss": "margin"},
    "shared, unit, sgd": {"sampler": "shared", "unit_entities": True, "optimizer": "sgd", "norm": 1},
    "rotate": {"sampler": "uniform", "model": "rotate", "optimizer": "rowwise_adam", "learning_rate": 0.03},
}


def make_splits(seed: int = 0) -> Splits:
    """A graph with structure: relation r leads from i to i + r + 1."""
    random = np.random.default_rng(seed)
    subjects, relations = random.integers(E, size=600), random.integers(R, size=600)
    triples = np.unique(np.stack([subjects, relations, (subjects + relations + 1) % E], 1), axis=0)
    return split_triples(triples, E, R, held_out=0.1, seed=seed)


def make_config(**changes) -> EmbedConfig:
    values = {"dim": 8, "batch_size": 16, "negatives": 6, "epochs": 4, "evaluate_every": 1, "patience": 0, "seed": 7}
    return EmbedConfig.parse({**values, **changes})


def tensors_of(trainer: EmbeddingTrainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.tensors().items()}


def assert_same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), f"{name} differs"


# Optimisers


@pytest.mark.parametrize("kind", ["adagrad", "adam", "sgd"])
def test_an_update_of_every_row_is_pytorchs(kind) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    peer = {"adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[kind]([theirs], lr=0.1)
    optimizer = RowOptimizer(kind, ours)
    for _ in range(5):
        gradient = torch.randn(9, 5, generator=generator, dtype=torch.float64)
        theirs.grad = gradient.clone()
        peer.step()
        optimizer.begin_step()
        optimizer.update(ours, slice(0, 4), gradient[:4].clone(), 0.1)
        optimizer.update(ours, torch.arange(4, 9), gradient[4:].clone(), 0.1)
    torch.testing.assert_close(ours, theirs.detach())


def test_adam_on_some_rows_is_sparse_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    peer, optimizer = torch.optim.SparseAdam([theirs], lr=0.1), RowOptimizer("adam", ours)
    for rows in ([0, 3], [3, 8], [1, 2, 3]):
        gradient = torch.randn(len(rows), 5, generator=generator, dtype=torch.float64)
        theirs.grad = torch.sparse_coo_tensor(torch.tensor([rows]), gradient.clone(), ours.shape, check_invariants=True)
        peer.step()
        optimizer.begin_step()
        optimizer.update(ours, torch.tensor(rows), gradient.clone(), 0.1)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)  # it places epsilon elsewhere


def test_rowwise_adagrad_keeps_one_number_a_row() -> None:
    table = torch.ones(3, 2, dtype=torch.float64)
    optimizer = RowOptimizer("rowwise_adagrad", table)
    assert optimizer.state["square"].shape == (3,)
    optimizer.update(table, torch.tensor([1]), torch.tensor([[3.0, 4.0]], dtype=torch.float64), 0.1)
    expected = torch.tensor([3.0, 4.0], dtype=torch.float64) / (25 / 2) ** 0.5
    torch.testing.assert_close(table[1], 1 - 0.1 * expected)
    assert (table[[0, 2]] == 1).all()


@pytest.mark.parametrize("name", [name for name in VARIANTS if "sampler" in VARIANTS[name]])
def test_a_sampled_step_touches_only_the_rows_it_names(name) -> None:
    config = make_config(**VARIANTS[name])
    trainer = EmbeddingTrainer(config, make_splits())
    before = trainer.entities_ED.clone()
    batch = trainer.batches.batch(0, 0, trainer.batches.epoch(0))
    trainer.step()
    named = torch.cat([batch.anchor_B, batch.answer_B, batch.negatives.reshape(-1)]).unique()
    changed = (trainer.entities_ED != before).any(1).nonzero()[:, 0]
    assert set(changed.tolist()) <= set(named.tolist())
    assert len(changed) > 0


def test_rowwise_adam_is_adam_with_one_root_a_row() -> None:
    """On a table of one column the two are the same; on more the squares are averaged over the row."""
    column = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    for width in (1, 3):
        ours, theirs = column.repeat(1, width), column.clone()
        rowwise, adam = RowOptimizer("rowwise_adam", ours), RowOptimizer("adam", theirs)
        for step in range(4):
            gradient = torch.tensor([[0.3 * step - 1.0], [2.0]], dtype=torch.float64)
            rowwise.begin_step()
            adam.begin_step()
            rowwise.update(ours, torch.arange(2), gradient.repeat(1, width), 0.1)
            adam.update(theirs, torch.arange(2), gradient.clone(), 0.1)
        torch.testing.assert_close(ours, theirs.repeat(1, width))
    assert rowwise.state["square"].shape == (2,)


# Batches


@pytest.mark.parametrize("reciprocal", [True, False])
def test_an_epoch_shows_every_triple_once(reciprocal) -> None:
    splits = make_splits()
    batches = TripleBatches(make_config(sampler="uniform", reciprocal=reciprocal), splits)
    order = batches.epoch(3)
    seen = []
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(3, step, order)
        anchor, relation, answer = batch.anchor_B, batch.relation_B, batch.answer_B
        turned = relation >= R if reciprocal else batch.backward_B
        subject, object_ = torch.where(turned, answer, anchor), torch.where(turned, anchor, answer)
        seen += torch.stack([subject, relation % R, object_], 1).tolist()
    assert sorted(seen) == sorted(splits.train.tolist() * (2 if reciprocal else 1))


@pytest.mark.parametrize("reciprocal", [True, False])
def test_questions_have_all_their_answers_once_an_epoch(reciprocal) -> None:
    splits = make_splits()
    batches = QuestionBatches(make_config(reciprocal=reciprocal), splits)
    order, seen, questions = batches.epoch(1), [], set()
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(1, step, order)
        position, answer = batch.answers_of
        turned = batch.relation_B >= R if reciprocal else batch.backward_B
        for p, a in zip(position.tolist(), answer.tolist(), strict=True):
            ends = (a, int(batch.anchor_B[p])) if turned[p] else (int(batch.anchor_B[p]), a)
            seen.append([ends[0], int(batch.relation_B[p]) % R, ends[1]])
        questions |= set(zip(batch.anchor_B.tolist(), batch.relation_B.tolist(), turned.tolist(), strict=True))
    assert sorted(seen) == sorted(splits.train.tolist() * 2)
    assert len(questions) == len(order)


def test_batches_are_a_function_of_seed_epoch_and_step() -> None:
    splits = make_splits()
    config = make_config(sampler="uniform", reciprocal=False)
    first, second = TripleBatches(config, splits), TripleBatches(config, splits)
    late = first.batch(5, 3, first.epoch(5))
    for _ in range(3):
        second.batch(2, 1, second.epoch(2))
    again = second.batch(5, 3, second.epoch(5))
    assert torch.equal(late.negatives, again.negatives)
    assert torch.equal(late.anchor_B, again.anchor_B)
    other = TripleBatches(config.replace(seed=8), splits)
    assert not torch.equal(other.batch(5, 3, other.epoch(5)).negatives, late.negatives)


def test_bernoulli_corrupts_the_side_with_more_answers() -> None:
    """One subject with 30 objects: replacing the object would often make a true triple, so the subject is replaced."""
    triples = np.stack([np.zeros(30, int), np.zeros(30, int), np.arange(1, 31)], 1)
    splits = Splits.make(31, 1, triples)
    batches = TripleBatches(make_config(sampler="bernoulli", reciprocal=False, batch_size=30), splits)
    share = np.mean([batches.batch(e, 0, batches.epoch(e)).backward_B.float().mean() for e in range(100)])
    assert share == pytest.approx(30 / 31, abs=0.02)


# Training


@pytest.mark.parametrize("name", VARIANTS)
def test_two_trainings_with_one_seed_are_equal_bit_for_bit(name) -> None:
    splits = make_splits()
    first, second = (EmbeddingTrainer(make_config(**VARIANTS[name]), splits) for _ in range(2))
    first.run()
    second.run()
    assert_same(tensors_of(first), tensors_of(second))
    other = EmbeddingTrainer(make_config(**VARIANTS[name], seed=8), splits)
    other.run()
    assert not torch.equal(other.entities_ED, first.entities_ED)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("stop_at", [1, 21])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, name, stop_at) -> None:
    splits, config = make_splits(), make_config(**VARIANTS[name])
    whole = EmbeddingTrainer(config, splits)
    whole.run()
    resumed = interrupted_then_resumed(config, splits, tmp_path, stop_at)
    assert_same(tensors_of(whole), tensors_of(resumed))
    without_time = [{**record, "seconds": 0} for record in whole.progress.history]
    assert [{**record, "seconds": 0} for record in resumed.progress.history] == without_time


def interrupted_then_resumed(config, splits, folder, stop_at) -> EmbeddingTrainer:
    first = EmbeddingTrainer(config, splits)
    steps = iter(range(10**6))
    first.run(save=lambda trainer: save_training(trainer, folder), should_stop=lambda: next(steps) >= stop_at)
    assert not first.finished
    second = EmbeddingTrainer(config, splits)
    assert resume_training(second, folder)
    assert (second.progress.epoch, second.progress.step) == (first.progress.epoch, first.progress.step)
    second.run()
    return second


@pytest.mark.parametrize("lost", ["entity_square", "steps", "step"])
def test_a_checkpoint_that_forgets_is_noticed(tmp_path, monkeypatch, lost) -> None:
    """The comparison above fails where a checkpoint leaves something out."""
    splits, config = make_splits(), make_config(**VARIANTS["uniform, adam"])
    tensors, state = EmbeddingTrainer.tensors, EmbeddingTrainer.state
    monkeypatch.setattr(
        EmbeddingTrainer,
        "tensors",
        lambda self: {name: t * 0 if name == lost else t for name, t in tensors(self).items()},
    )
    monkeypatch.setattr(
        EmbeddingTrainer, "state", lambda self: {**state(self), **({lost: 0} if lost in state(self) else {})}
    )
    first = EmbeddingTrainer(config, splits)
    steps = iter(range(10**6))
    first.run(save=lambda trainer: save_training(trainer, tmp_path), should_stop=lambda: next(steps) >= 21)
    second = EmbeddingTrainer(config, splits)
    assert resume_training(second, tmp_path)
    monkeypatch.undo()
    second.run()
    whole = EmbeddingTrainer(config, splits)
    whole.run()
    with pytest.raises(AssertionError, match="differs"):
        assert_same(tensors_of(whole), tensors_of(second))


def test_resuming_refuses_other_settings_and_other_triples(tmp_path) -> None:
    splits, config = make_splits(), make_config()
    trainer = EmbeddingTrainer(config, splits)
    trainer.step()
    save_training(trainer, tmp_path)
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.1 and is 0\.2"):
        resume_training(EmbeddingTrainer(config.replace(learning_rate=0.2), splits), tmp_path)
    with pytest.raises(ConfigError, match="graph has changed"):
        resume_training(EmbeddingTrainer(config, make_splits(1)), tmp_path)
    assert resume_training(EmbeddingTrainer(config.replace(epochs=9, patience=3), splits), tmp_path)
    assert not resume_training(EmbeddingTrainer(config, splits), tmp_path / "elsewhere")


def test_a_checkpoint_without_a_key_says_so(tmp_path) -> None:
    splits, config = make_splits(), make_config()
    trainer = EmbeddingTrainer(config, splits)
    trainer.step()
    state = trainer.state()
    del state["epoch"]
    trainer.state = lambda: state
    save_training(trainer, tmp_path)
    with pytest.raises(FormatError, match="epoch"):
        resume_training(EmbeddingTrainer(config, splits), tmp_path)


def test_training_stops_early_and_keeps_the_best() -> None:
    config = make_config(epochs=200, patience=3, plateau_patience=0, plateau_factor=0.5, learning_rate=1.0)
    trainer = EmbeddingTrainer(config, make_splits())
    progress = trainer.run()
    assert progress.stopped_early
    assert progress.epoch == progress.best_epoch + 3
    assert progress.rate < config.learning_rate
    best = max(progress.history, key=lambda record: record["mrr"])
    assert best["mrr"] == progress.best_mrr
    trainer.entities_ED, trainer.relations_RW = trainer.best_tables
    assert trainer.evaluate().mrr == progress.best_mrr


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns_what_is_there_to_learn(name) -> None:
    """Looked for among 40 entities at random, an answer's MRR is about 0.11."""
    config = make_config(**VARIANTS[name], epochs=60, evaluate_every=60, dim=16)
    trainer = EmbeddingTrainer(config.replace(learning_rate=0.05 if "adam" in config.optimizer else 0.3), make_splits())
    trainer.run()
    assert trainer.evaluate("train").mrr > 0.25


def test_unit_entities_stay_on_the_sphere() -> None:
    trainer = EmbeddingTrainer(make_config(**VARIANTS["shared, unit, sgd"]), make_splits())
    trainer.run()
    torch.testing.assert_close(torch.linalg.vector_norm(trainer.entities_ED, dim=1), torch.ones(E))


def test_an_observer_hears_of_everything() -> None:
    class Ears(EmbedObserver):
        steps, epochs, records = 0, 0, 0

        def stepped(self, progress) -> None:
            self.steps += 1

        def epoch_done(self, progress) -> None:
            self.epochs += 1

        def evaluated(self, record) -> None:
            self.records += 1

    ears = Ears()
    trainer = EmbeddingTrainer(make_config(evaluate_every=2), make_splits())
    trainer.run(ears)
    assert (ears.steps, ears.epochs, ears.records) == (4 * trainer.batches.steps_per_epoch, 4, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("name", VARIANTS)
def test_a_gpu_learns_the_same(name) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    splits, config = make_splits(), make_config(**VARIANTS[name], epochs=1)
    here, there = (EmbeddingTrainer(config.replace(device=device), splits) for device in ("cpu", "cuda"))
    here.run()
    there.run()
    torch.testing.assert_close(there.entities_ED.cpu(), here.entities_ED, rtol=1e-2, atol=1e-3)


# Splits


def test_what_is_held_out_has_vectors_from_what_stays() -> None:
    splits = make_splits()
    assert len(splits.valid) > 10
    assert len(splits.test) > 10
    for part in (splits.valid, splits.test):
        assert set(part[:, [0, 2]].reshape(-1)) <= set(splits.train[:, [0, 2]].reshape(-1))
        assert set(part[:, 1]) <= set(splits.train[:, 1])
    everything = np.concatenate([splits.train, splits.valid, splits.test])
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_a_chain_gives_up_nothing() -> None:
    """Every entity of a chain's ends occurs once; inner ones twice, and one triple more of each must stay."""
    triples = np.array([[i, 0, i + 1] for i in range(10)])
    splits = split_triples(triples, 11, 1, held_out=0.3, seed=0)
    used = set(splits.train[:, [0, 2]].reshape(-1))
    assert used == set(range(11))


@pytest.mark.parametrize(
    ("triples", "message"),
    [
        (np.empty((0, 3), int), "no triples"),
        (np.array([[0, 0, E]]), "outside of 40 entities"),
        (np.array([[0, R, 1]]), "outside of"),
        (np.array([[-1, 0, 1]]), "outside of"),
        (np.array([[0, 1]]), "shape"),
    ],
)
def test_triples_that_cannot_be_are_refused(triples, message) -> None:
    with pytest.raises(InputError, match=message):
        Splits.make(E, R, triples)


@pytest.mark.parametrize(
    ("changes", "n_entities", "sampler", "negatives"),
    [
        ({}, 30_000, "all", 64),
        ({}, 30_001, "shared", 1024),
        ({"negatives": 5000}, 30_001, "shared", 5000),
        ({"loss": "margin"}, 10, "uniform", 64),
        ({"sampler": "uniform"}, 10**6, "uniform", 64),
    ],
)
def test_the_sampler_suits_the_graph(changes, n_entities, sampler, negatives) -> None:
    config = EmbedConfig.parse(changes).resolved(n_entities)
    assert (config.sampler, config.negatives) == (sampler, negatives)
    assert config.resolved(n_entities) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "complex", "dim": 7}, "even number"),
        ({"loss": "margin", "sampler": "all"}, "needs sampled negatives"),
        ({"sampler": "bernoulli"}, "reciprocal"),
        ({"learning_rat": 1}, "learning_rate"),
        ({"model": "transh"}, "transh"),
        ({"dim": 0}, "dim"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        EmbedConfig.parse(changes)
