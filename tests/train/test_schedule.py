"""The learning rate: its corners, where it may only rise or fall, and that it is always a share of the peak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.errors import ConfigError
from groundzero.train.config import TrainConfig
from groundzero.train.schedule import learning_rate_factor

SCHEDULES = ["cosine", "wsd", "constant"]


def curve(steps: int, **values: object) -> list[float]:
    config = TrainConfig.parse({"learning_rate": 1.0, **values})
    return [learning_rate_factor(step, steps, config) for step in range(steps + 1)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_in_equal_parts_to_the_peak(schedule):
    factors = curve(100, schedule=schedule, warmup_steps=4)
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_is_at_the_peak(schedule):
    assert curve(100, schedule=schedule)[0] == 1.0


def test_cosine_at_its_corners():
    factors = curve(100, schedule="cosine", min_learning_rate=0.2)
    assert factors[0] == 1.0
    assert factors[50] == pytest.approx(0.6)
    assert factors[25] == pytest.approx(0.2 + 0.8 * 0.5 * (1 + 2**-0.5))
    assert factors[100] == pytest.approx(0.2)


def test_wsd_at_its_corners():
    factors = curve(100, schedule="wsd", decay_fraction=0.4, min_learning_rate=0.2, warmup_steps=3)
    assert factors[3:61] == [1.0] * 58
    assert factors[80] == pytest.approx(0.6)
    assert factors[99] == pytest.approx(0.2 + 0.8 / 40)
    assert factors[100] == pytest.approx(0.2)


def test_constant_stays_and_knows_no_floor():
    assert curve(50, schedule="constant", min_learning_rate=0.1) == [1.0] * 51


def test_wsd_that_decays_from_the_start_falls_from_the_peak_of_its_warm_up():
    factors = curve(20, schedule="wsd", decay_fraction=1.0, warmup_steps=10)
    assert factors[10] == 1.0
    assert factors[9] < 1.0
    assert factors[15] == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_training_of_one_step_runs_at_the_peak(schedule):
    assert curve(1, schedule=schedule)[0] == 1.0


@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(1, 10**6),
    warmup=st.integers(0, 2000),
    decay=st.floats(1e-3, 1),
    floor=st.floats(0, 1),
    data=st.data(),
)
def test_always_a_share_of_the_peak_rising_then_falling(schedule, steps, warmup, decay, floor, data):
    config = TrainConfig.parse(
        {
            "schedule": schedule,
            "warmup_steps": warmup,
            "decay_fraction": decay,
            "learning_rate": 1.0,
            "min_learning_rate": floor,
        }
    )
    step = data.draw(st.integers(0, steps - 1))
    here, after = (learning_rate_factor(at, steps, config) for at in (step, step + 1))
    assert 0 < here <= 1
    if step < warmup:
        assert step + 1 > warmup or step + 1 >= steps or after > here
    else:
        assert after <= here + 1e-12
        assert here >= min(floor, 1.0) - 1e-12


def test_a_floor_above_the_peak_is_refused():
    with pytest.raises(ConfigError, match="min_learning_rate is above learning_rate"):
        TrainConfig.parse({"learning_rate": 1e-4, "min_learning_rate": 1e-3})
