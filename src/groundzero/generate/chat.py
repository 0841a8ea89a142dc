"""A conversation as a request: the newest turns that leave room for an answer, framed as the run learnt them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundzero.generate.config import SamplingConfig
from groundzero.generate.engine import Engine
from groundzero.generate.request import Request
from groundzero.tokenizer.chat import ChatTemplate, Role, Turn, template

ROOM = 0.5
"""Share of the context that an answer is kept free at most."""


def form_of(manifest: Mapping[str, Any]) -> ChatTemplate | None:
    """How a run frames turns; None for one that was never tuned to answer.

    Raises:
        InputError: it names a template that there is not.
    """
    tuning = manifest.get("tuning")
    name = tuning.get("template") if isinstance(tuning, Mapping) else None
    return template(name) if isinstance(name, str) else None


def chat_request(
    engine: Engine, form: ChatTemplate | None, said: Sequence[str], sampling: SamplingConfig | None = None
) -> Request:
    """What answers the last of `said`.

    Args:
        form: without one the model goes on with what was said, line after line.
        said: not empty; where turns are framed, the user's and the assistant's by turns, the last one the user's.
        sampling: as the run recommends when None.
    """
    sampling = sampling or engine.defaults
    room = min(sampling.max_tokens, int(ROOM * engine.context))
    first = (len(said) - 1) % 2
    while True:
        ids = _ids(engine, form, said[first:])
        if len(ids) + room <= engine.context or first + 2 >= len(said):
            return Request(ids, sampling)
        first += 2


def _ids(engine: Engine, form: ChatTemplate | None, said: Sequence[str]) -> list[int]:
    if form is None:
        return engine.prompt_ids(Request("\n".join(said)))
    roles: tuple[Role, Role] = ("user", "assistant")
    turns = [Turn(roles[place % 2], text) for place, text in enumerate(said)]
    return form.ids(engine.tokenizer, turns, answer=True)
