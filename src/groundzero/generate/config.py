"""How a request wants its tokens chosen: one frozen settings object, checked where it is made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator

from groundzero.errors import ConfigError, UsageError
from groundzero.settings import Settings

MAX_SEED = 2**53 - 1  # the largest whole number that every JSON reader keeps exact
GREEDY_BELOW = 1e-5  # a lower temperature overflows float32 and means the same as 0


class SamplingConfig(Settings):
    """One request's choice of tokens. The order in which the settings act is told in `generate.sampling`."""

    max_tokens: int = Field(100, ge=0)
    """Most tokens to generate; the prompt does not count. 0 generates nothing."""
    temperature: float = Field(0.8, ge=0, le=100)
    """Logits are divided by it: below 1 bolder, above 1 wilder; 0 always takes the likeliest token (greedy)."""
    top_k: int = Field(0, ge=0)
    """Sample among this many likeliest tokens; 0 is off. Tokens tied with the last of them stay too."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample among the likeliest tokens that reach this probability together (Holtzman et al. 2020); 1 is off."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Sample among tokens at least this fraction as probable as the likeliest (Nguyen et al. 2024); 0 is off."""
    repetition_penalty: float = Field(1.0, gt=0, le=100)
    """Divide positive and multiply negative logits of every token seen so far, prompt included (Keskar et al. 2019);
    1 is off."""
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    """Subtracted from the logit of every token already generated (OpenAI's definition); in nats."""
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    """Subtracted from a token's logit once for each time it was generated (OpenAI's definition); in nats."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation; the one found is left out of the text."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end the generation, beside the end of text; for chat turns."""
    ignore_eos: bool = False
    """Go on after the end of a text, for benchmarks that need an exact number of tokens."""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """Start of this request's own random numbers; drawn fresh and reported when absent."""
    logprobs: int = Field(0, ge=0, le=20)
    """Report the log-probability of each token and of this many likeliest ones, in nats; 0 is off. They are the
    model's own, before penalties, processors and temperature."""
    overflow: Literal["slide", "stop"] = "slide"
    """At the end of the model's context: slide drops the oldest tokens and goes on, stop ends with "length"."""

    @field_validator("stop", "stop_ids", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        """A single stop may be given bare, as OpenAI's clients do; null is none."""
        if value is None:
            return ()
        return (value,) if isinstance(value, str | int) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("a stop string must not be empty")
        return value

    @field_validator("stop_ids")
    @classmethod
    def _no_negative_stop(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(token < 0 for token in value):
            raise ValueError("a stop id must not be negative")
        return value

    @property
    def greedy(self) -> bool:
        """Takes the likeliest token, so that no random number is drawn."""
        return self.temperature < GREEDY_BELOW

    @property
    def penalised(self) -> bool:
        """Needs to know which tokens were seen."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain data.

        Raises:
            ConfigError: an unknown key, or a value out of its range; the message names both.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            found = _out_of_range(cls, error)
            if found is None:
                return super().parse(values)
            name, value, span = found
            raise ConfigError(f"Setting {name!r} cannot be {value!r}.", remedy=f"Give {span}.") from None

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """Validate what came from a command line or another interface with options of these names.

        Raises:
            UsageError: no such option, or a value out of its range; the message names the option and the range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            found = _out_of_range(cls, error)
            if found is None:
                problem = error.errors(include_url=False)[0]
                option = _option(str(problem["loc"][0]))
                if problem["type"] == "extra_forbidden":
                    raise UsageError(f"There is no option {option}.", remedy=_nearest(option, cls)) from None
                message = problem["msg"].removeprefix("Value error, ")
                raise UsageError(f"{option} cannot be {problem['input']!r}: {message}.") from None
            name, value, span = found
            raise UsageError(f"{_option(name)} cannot be {value!r}.", remedy=f"Give {span}.") from None


def _nearest(option: str, cls: type[SamplingConfig]) -> str:
    known = [_option(name) for name in cls.model_fields]
    near = difflib.get_close_matches(option, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _out_of_range(cls: type[SamplingConfig], error: ValidationError) -> tuple[str, Any, str] | None:
    """Field, value and range in words of the first problem, when it is a number outside its range."""
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else ""
    field = cls.model_fields.get(name)
    bounds = {"ge": "at least", "gt": "more than", "le": "at most"}
    if field is None or not field.metadata:
        return None
    parts = [
        f"{words} {getattr(rule, key)}"
        for rule in field.metadata
        for key, words in bounds.items()
        if hasattr(rule, key)
    ]
    kind = "a whole number" if "int" in str(field.annotation) else "a number"
    return name, problem["input"], f"{kind} {' and '.join(parts)}"
