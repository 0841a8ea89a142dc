"""Where an answer that is said anew ends: with everything named, at the next full stop, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundzero.generate import Engine
from groundzero.graph.graph import Graph
from groundzero.ground.finish import Finish, to_be_named
from groundzero.ground.grounded import GroundedModel, GroundedSettings
from groundzero.ground.lessons import Fact
from groundzero.ground.speech import Speaker
from groundzero.tokenizer import Tokenizer
from groundzero.tokenizer.chat import template

PERU = Fact("Peru", "capital", "Lima", 1, (1, 1, 2), step=1, named=(True, False))
MAYOR = Fact("Lima", "mayor", "Ana", 2, (2, 2, 3), step=2)
ASIDE = Fact("Peru", "currency", "Sol", 3, (1, 3, 4), named=(True, False))


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ((PERU, ASIDE), ("Lima",)),
        ((PERU, MAYOR), ("Lima", "Ana")),
        ((Fact("Peru", "capital", "Lima", 1, (1, 1, 2), 1, (False, True)),), ("Peru",)),
        ((Fact("Peru", "capital", "Lima", 1, (1, 1, 2), 1, (True, True)),), ("Peru", "Lima")),
        ((ASIDE,), ()),
    ],
    ids=["the object", "each hop", "the subject", "a verdict names both", "nothing that is not marked"],
)
def test_what_is_to_be_named(facts: tuple[Fact, ...], names: tuple[str, ...]) -> None:
    assert to_be_named(facts) == names


@given(st.lists(st.sampled_from(["Lima", "Peru", " is ", "Ana", ".", "Li"]), max_size=8), st.integers(0, 99))
def test_it_ends_with_everything_named_at_a_full_stop(words: Tokenizer, parts: list[str], seed: int) -> None:
    ends = template("chat").stop_ids(words)
    prompt, text = words.encode("Lima. Ana."), "".join(parts)
    ids = words.encode(text)
    logprobs_V = torch.randn(words.vocab_size, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    before_V = logprobs_V.clone()
    processed_V = Finish(words, ("Lima", "Ana"), ends, len(prompt))([*prompt, *ids], logprobs_V)
    assert torch.equal(logprobs_V, before_V), "it must not work in place"
    may_end = bool(torch.isfinite(processed_V[list(ends)]).any())
    others = [token for token in range(words.vocab_size) if token not in ends]
    may_go_on = bool(torch.isfinite(processed_V[others]).any())
    assert may_end == ("Lima" in text and "Ana" in text)
    assert may_go_on == (not (may_end and text.endswith(".")))


def test_in_the_middle_of_a_name_nothing_is_forced(words: Tokenizer) -> None:
    ends = list(template("chat").stop_ids(words))
    logprobs_V = torch.full((words.vocab_size,), -torch.inf)
    logprobs_V[70] = 0.0  # "St." of "St. Louis": the copy goes on, whatever has been named
    assert torch.equal(Finish(words, (), ends, 0)(words.encode("Lima, St."), logprobs_V), logprobs_V)


def test_said_anew_it_names_what_the_answer_rests_on(world: Graph, reader_engine: Engine) -> None:
    """An untrained model says anything; whatever it copies is of marked facts, and it ends only where all is named."""
    speaker = Speaker(reader_engine, max_tokens=300)
    model = GroundedModel(speaker, world, settings=GroundedSettings(meters=False, most_facts=6))
    asked = []
    for country in ("Peru", "Chile", "Brazil"):
        evidence, _ = model.evidence(f"Who is the mayor of the capital of {country}?")
        asked.append((evidence.question, model.facts_for(evidence)))
    ended = 0
    for seed in range(2):
        for said, (_, facts) in zip(speaker.say_all(asked, seed=seed, from_marked=True), asked, strict=True):
            marked = {fact.statement for fact in facts if fact.step}
            assert len(marked) == 2
            assert len(facts) > 2
            assert {span.fact.statement for span in said.spans} <= marked
            if said.ended:
                ended += 1
                assert all(name in said.text for name in to_be_named(facts)), said.text
    assert ended, "none came to its end, so that nothing was tested"
