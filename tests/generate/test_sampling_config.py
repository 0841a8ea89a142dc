"""Out-of-range sampling values: the message names the value's place and the range."""

from __future__ import annotations

import pytest

from groundzero.errors import ConfigError, UsageError
from groundzero.generate.config import SamplingConfig

OUT_OF_RANGE = [
    ("max_tokens", -1, "at least 0"),
    ("temperature", -0.1, "at least 0 and at most 100"),
    ("temperature", 101, "at least 0 and at most 100"),
    ("top_k", -1, "at least 0"),
    ("top_p", 0, "more than 0 and at most 1"),
    ("top_p", 1.01, "more than 0 and at most 1"),
    ("min_p", 2, "at least 0 and at most 1"),
    ("repetition_penalty", 0, "more than 0 and at most 100"),
    ("presence_penalty", 2.5, "at least -2 and at most 2"),
    ("frequency_penalty", -3, "at least -2 and at most 2"),
    ("seed", -1, "at least 0"),
    ("seed", 2**60, "at most 9007199254740991"),
    ("logprobs", 21, "at least 0 and at most 20"),
]


@pytest.mark.parametrize(("name", "value", "span"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named_with_its_range(name, value, span):
    with pytest.raises(ConfigError) as config_error:
        SamplingConfig.parse({name: value})
    with pytest.raises(UsageError) as usage_error:
        SamplingConfig.from_options({name: value})
    assert name in str(config_error.value)
    assert f"--{name.replace('_', '-')}" in str(usage_error.value)
    for error in (config_error.value, usage_error.value):
        assert str(value) in str(error)
        assert span in str(error)
    assert (config_error.value.exit_code, usage_error.value.exit_code) == (3, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "warm"])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(UsageError, match="--temperature"):
        SamplingConfig.from_options({"temperature": value})


def test_an_empty_stop_string_and_a_negative_stop_id_are_refused():
    with pytest.raises(UsageError, match=r"--stop.*must not be empty"):
        SamplingConfig.from_options({"stop": ["", "x"]})
    with pytest.raises(ConfigError, match="stop_ids"):
        SamplingConfig.parse({"stop_ids": [-1]})


def test_an_unknown_setting_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'temperature'\?"):
        SamplingConfig.parse({"temprature": 1})
    with pytest.raises(UsageError, match=r"no option --temprature. Did you mean --temperature\?"):
        SamplingConfig.from_options({"temprature": 1})
    with pytest.raises(UsageError, match=r"no option --xyzzy. Known: --max-tokens"):
        SamplingConfig.from_options({"xyzzy": 1})


def test_a_bare_stop_is_one_stop_and_none_is_none():
    assert SamplingConfig.parse({"stop": "end"}).stop == ("end",)
    assert SamplingConfig.parse({"stop": None}).stop == ()
    assert SamplingConfig.parse({"stop_ids": 3}).stop_ids == (3,)


def test_every_setting_says_what_it_is():
    assert all(field.description for field in SamplingConfig.model_fields.values())


def test_zero_temperature_is_greedy_and_nothing_else_is():
    assert SamplingConfig(temperature=0).greedy
    assert not SamplingConfig(temperature=0.01).greedy
