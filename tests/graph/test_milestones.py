"""The gate: what counts as done, how far the rest is, and how long it will take."""

from __future__ import annotations

import pytest

from groundzero.errors import InputError, UsageError
from groundzero.graph.milestones import (
    EPOCHS,
    GATE_CONFIG,
    beside,
    milestones,
    note_size,
    note_stability,
)
from groundzero.graph.store import Counts
from groundzero.metrics import MetricLog

HOUR = 3600.0


def counts(triples: int, entities: int = 20_000, relations: int = 50) -> Counts:
    return Counts(triples=triples, entities=entities, relations=relations, sources=0, quarantined=0, retired=0)


def found_by_name(tmp_path, size=None, figures=None, now=0.0):
    history = MetricLog(tmp_path / "milestones.jsonl")
    made = milestones(size or counts(50_000), history, tmp_path / "gate", figures, now=now)
    return {each.name: each for each in made}


def write_training(tmp_path, epochs: int, loss_of, seconds_each: float = 2.0) -> None:
    (tmp_path / "gate").mkdir()
    log = MetricLog(tmp_path / "gate" / "metrics.jsonl")
    for epoch in range(1, epochs + 1):
        log.append(epoch=epoch, loss=loss_of(epoch), rate=0.1, seconds=epoch * seconds_each)
        if epoch % 50 == 0:
            log.append(epoch=epoch, loss=loss_of(epoch), mrr=0.1, hits_at_1=0.0, hits_at_10=0.2, rate=0.1, seconds=0)


def test_the_gate_is_the_one_that_was_promised() -> None:
    config = GATE_CONFIG
    assert (config.model, config.loss, config.margin, config.sampler) == ("transe", "margin", 1.0, "uniform")
    assert config.unit_entities
    assert (config.epochs, config.patience, config.plateau_factor) == (500, 0, 1.0)


def test_sizes_at_the_gate_are_done(tmp_path) -> None:
    found = found_by_name(tmp_path, counts(50_000, 20_000, 50))
    for name in ("triples", "entities", "relations"):
        assert found[name].done
        assert (found[name].percent, found[name].seconds_left) == (100.0, 0.0)


def test_one_short_is_not_done_and_not_100_per_cent(tmp_path) -> None:
    found = found_by_name(tmp_path, counts(49_999))
    assert not found["triples"].done
    assert found["triples"].percent == 99.9


def test_growth_tells_the_time_left(tmp_path) -> None:
    history = MetricLog(tmp_path / "milestones.jsonl")
    note_size(history, counts(10_000), now=0.0)
    found = found_by_name(tmp_path, counts(20_000), now=HOUR)
    assert found["triples"].seconds_left == pytest.approx(3 * HOUR)
    assert found["triples"].percent == 40.0
    assert found_by_name(tmp_path, counts(10_000), now=HOUR)["triples"].seconds_left is None  # it does not grow


def test_a_size_is_noted_once(tmp_path) -> None:
    history = MetricLog(tmp_path / "milestones.jsonl")
    for now, size in ((0.0, 5), (1.0, 5), (2.0, 6)):
        note_size(history, counts(size), now=now)
    assert [record["triples"] for record in history] == [5, 6]


def test_before_training_nothing_is_claimed(tmp_path) -> None:
    found = found_by_name(tmp_path)
    assert (found["epochs"].value, found["epochs"].percent, found["epochs"].seconds_left) == (0, 0.0, None)
    assert (found["hinge"].value, found["hinge"].done) == (None, False)
    assert (found["accuracy"].value, found["accuracy"].done, found["accuracy"].percent) == (None, False, 0.0)


def test_half_way_through_training(tmp_path) -> None:
    write_training(tmp_path, 250, lambda epoch: 0.1)
    found = found_by_name(tmp_path)
    assert found["epochs"].percent == 50.0
    assert found["epochs"].seconds_left == pytest.approx(500.0)
    assert not found["hinge"].done
    assert found["hinge"].seconds_left == pytest.approx(500.0)


def test_a_hinge_below_the_gate_counts_only_at_the_last_epoch(tmp_path) -> None:
    write_training(tmp_path, 100, lambda epoch: 0.5 / epoch**2)
    hinge = found_by_name(tmp_path)["hinge"]
    assert hinge.value < 0.01
    assert not hinge.done
    assert hinge.percent == 20.0


@pytest.mark.parametrize(("loss", "done"), [(0.0099, True), (0.01, False), (0.02, False)])
def test_the_hinge_is_judged_at_epoch_500(tmp_path, loss, done) -> None:
    write_training(tmp_path, EPOCHS, lambda epoch: loss if epoch == EPOCHS else 1.0)
    found = found_by_name(tmp_path)
    assert found["epochs"].done
    assert found["hinge"].done is done
    assert (found["hinge"].percent == 100.0) is done
    assert found["hinge"].seconds_left == (0.0 if done else None)


@pytest.mark.parametrize(
    ("accuracy", "done", "percent"), [(0.71, True, 100.0), (0.70, False, 99.9), (0.6, False, 50.0), (0.4, False, 0.0)]
)
def test_accuracy_counts_from_chance(tmp_path, accuracy, done, percent) -> None:
    found = found_by_name(tmp_path, figures={"accuracy": accuracy})["accuracy"]
    assert (found.done, found.percent) == (done, pytest.approx(percent))


def test_the_last_try_of_a_stability_item_counts(tmp_path) -> None:
    history = MetricLog(tmp_path / "milestones.jsonl")
    assert [found_by_name(tmp_path)[name].done for name in ("learning", "dashboard", "tests")] == [False] * 3
    note_stability(history, "tests", passed=True, now=0.0)
    note_stability(history, "learning", passed=True, now=1.0)
    note_stability(history, "learning", passed=False, now=2.0, note="no network")
    found = found_by_name(tmp_path)
    assert (found["tests"].done, found["tests"].percent) == (True, 100.0)
    assert (found["learning"].done, found["learning"].note) == (False, "no network")
    with pytest.raises(UsageError, match="no stability item 'weather'"):
        note_stability(history, "weather", passed=True, now=3.0)


def test_things_lie_beside_a_file_and_nowhere_else(tmp_path) -> None:
    assert beside(str(tmp_path / "facts.db"), "embedding") == tmp_path / "facts.db.embedding"
    with pytest.raises(InputError, match="postgresql://host/facts"):
        beside("postgresql://host/facts", "embedding")
