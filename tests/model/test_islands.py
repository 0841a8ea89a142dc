"""Facts in a prompt are islands: nothing of one reaches another, and where one stands makes no difference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.model import GPT, attention, gpt
from groundzero.model.attention import make_mask
from groundzero.model.islands import island_positions
from groundzero.reference import islands as twin
from groundzero.reference.attention import KVCache
from tests.reference.twins import CASES, apart, make_twins

FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]
SWITCHES = st.fixed_dictionaries(
    {"family": st.sampled_from(FAMILIES)},
    optional={
        "position": st.sampled_from(["learned", "sinusoidal", "rotary"]),
        "n_kv_head": st.sampled_from([1, 2, 4]),
        "window": st.integers(1, 24),
        "n_layer": st.integers(1, 3),
    },
)
FACTS = st.lists(st.integers(1, 5), min_size=2, max_size=3)
LONGEST = 24
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # in float64


def layout(before: int, facts: list[int], after: int) -> list[int]:
    """The islands of a prompt: a beginning, facts of these lengths, and a question."""
    return [0] * before + [number for number, n in enumerate(facts, 1) for _ in range(n)] + [0] * after


def tensors(islands: list[int], rows: int = 1) -> dict[str, torch.Tensor]:
    return {
        "islands_BS": torch.tensor([islands] * rows),
        "positions_BT": torch.tensor([island_positions(islands)] * rows),
    }


def check_independent(model: GPT, ids_BT: torch.Tensor, islands: list[int], changed: int) -> None:
    """Other words in one fact change no hidden state before it or inside another fact: bit for bit."""
    own_T = torch.tensor(islands) == changed
    other_BT = torch.where(own_T, (ids_BT + 7) % 53, ids_BT)
    given = tensors(islands, len(ids_BT))
    with torch.no_grad():
        before_BTD, after_BTD = model.hidden(ids_BT, **given), model.hidden(other_BT, **given)
    elsewhere_T = (torch.tensor(islands) != 0) & ~own_T
    elsewhere_T[: islands.index(1)] = True
    assert torch.equal(before_BTD[:, elsewhere_T], after_BTD[:, elsewhere_T])
    assert not torch.equal(before_BTD[:, own_T], after_BTD[:, own_T])


@given(before=st.integers(0, 3), facts=FACTS, after=st.integers(0, 3), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_mask_says_what_the_words_say(before, facts, after, data) -> None:
    islands = layout(before, facts, after)
    n_query = data.draw(st.integers(1, len(islands)))
    mask = make_mask(n_query, len(islands), islands_BS=torch.tensor([islands]))
    place_0 = len(islands) - n_query
    for query, key in np.ndindex(n_query, len(islands)):
        one, other = islands[place_0 + query], islands[key]
        seen = key <= place_0 + query and (one == 0 or other in (0, one))
        assert (mask.bias[0, 0, query, key] == 0) == seen
    assert not mask.causal
    assert (twin.island_mask(np.array([islands]), n_query) >= (mask.bias == 0).numpy()).all()


@given(switches=SWITCHES, before=st.integers(0, 3), facts=FACTS, after=st.integers(0, 4), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_fact_changes_another(make_model, make_ids, switches, before, facts, after, data) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "EXPLICIT_UP_TO", data.draw(st.sampled_from([0, LONGEST])))
        islands = layout(before, facts, after)
        changed = data.draw(st.integers(1, len(facts)))
        check_independent(make_model(**switches), make_ids(2, len(islands)), islands, changed)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fact_has_no_gradient_in_another(make_model, make_ids, family) -> None:
    islands = layout(2, [4, 3], 3)
    model, embedded = make_model(family=family), []

    def keep(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        arguments[0].retain_grad()
        embedded.append(arguments[0])

    model.blocks[0].register_forward_pre_hook(keep)
    model.hidden(make_ids(1, len(islands)), **tensors(islands))[:, 6:9].square().sum().backward()
    reached_T = embedded[0].grad[0].ne(0).any(-1).tolist()
    assert reached_T == [True, True, *[False] * 4, *[True] * 3, *[False] * 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fact_is_read_as_if_it_stood_alone_and_the_order_is_nothing(make_model, make_ids, family) -> None:
    check_alone(make_model(family=family).double(), make_ids(1, 16))


def check_alone(model: GPT, ids_BT: torch.Tensor) -> None:
    facts = {1: slice(2, 6), 2: slice(6, 9), 3: slice(9, 14)}
    islands = layout(2, [4, 3, 5], 2)
    with torch.no_grad():
        together_TD = model.hidden(ids_BT, **tensors(islands))[0]
        for place in facts.values():
            alone_BT = torch.cat([ids_BT[:, :2], ids_BT[:, place]], 1)
            alone_TD = model.hidden(alone_BT)[0]
            torch.testing.assert_close(together_TD[place], alone_TD[2:], **CLOSE)
        for order in ((3, 1, 2), (2, 3, 1)):
            pieces = [ids_BT[:, :2], *(ids_BT[:, facts[number]] for number in order), ids_BT[:, 14:]]
            other_islands = [0, 0, *(n for n in order for _ in range(islands.count(n))), 0, 0]
            other_TD = model.hidden(torch.cat(pieces, 1), **tensors(other_islands))[0]
            torch.testing.assert_close(other_TD[14:], together_TD[14:], **CLOSE)
        plain_TD = model.hidden(ids_BT)[0]
    assert not torch.allclose(plain_TD[14:], together_TD[14:], rtol=1e-3), "islands must matter to prove anything"


@given(
    switches=SWITCHES,
    prompts=st.lists(st.tuples(st.integers(0, 2), FACTS, st.integers(1, 3)), min_size=1, max_size=2),
    cuts=st.lists(st.integers(1, LONGEST - 1), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_cached_reading_is_uncached_reading(make_model, make_ids, switches, prompts, cuts) -> None:
    """Rows with islands of their own, read in passes that end anywhere, in the middle of a fact too."""
    model = make_model(**switches).double()
    rows = [layout(*prompt) for prompt in prompts]
    length = max(map(len, rows))
    rows = [islands + [0] * (length - len(islands)) for islands in rows]
    islands_BS = torch.tensor(rows)
    positions_BT = torch.tensor([island_positions(islands) for islands in rows])
    ids_BT = make_ids(len(rows), length)
    borders = sorted({0, length, *(cut for cut in cuts if cut < length)})
    cache, pieces = model.new_cache(len(rows)), []
    with torch.no_grad():
        want_BTD = model.hidden(ids_BT, islands_BS=islands_BS, positions_BT=positions_BT)
        for start, stop in itertools.pairwise(borders):
            part = slice(start, stop)
            given = {"islands_BS": islands_BS[:, :stop], "positions_BT": positions_BT[:, part]}
            pieces.append(model.hidden(ids_BT[:, part], cache=cache, **given))
    torch.testing.assert_close(torch.cat(pieces, 1), want_BTD, rtol=1e-6, atol=1e-6)


@given(prompt=st.tuples(st.integers(0, 3), FACTS, st.integers(0, 3)), further=FACTS)
def test_positions_are_those_of_the_twin(prompt, further) -> None:
    islands = layout(*prompt) + layout(1, further, 2)
    before, facts, _ = prompt
    positions = island_positions(islands)
    assert positions == twin.island_positions(np.array([islands]))[0].tolist()
    assert {positions[islands.index(number)] for number in range(1, len(facts) + 1)} == {before}
    assert all(position <= place for place, position in enumerate(positions))


@pytest.mark.parametrize("case", ["gpt2", "classic", "llama", "qwen3", "speedrun", "window of four", "one key head"])
def test_the_twin_reads_the_same(case) -> None:
    """Logits, the loss and every gradient, in float64, with other islands in every row; and the twin's cache."""
    twins = make_twins(np.float64, **CASES[case])
    islands_BS = np.array([layout(1, [4, 3], 4), layout(2, [2, 2, 2], 4), [0] * 12])
    positions_BT = twin.island_positions(islands_BS)
    ids_BT, targets_BT, _ = twins.tensors()
    given = {"islands_BS": torch.from_numpy(islands_BS), "positions_BT": torch.from_numpy(positions_BT)}
    logits_BTV, loss = twins.torch(ids_BT, targets_BT, **given)
    got = twins.numpy.loss(twins.ids_BT, twins.targets_BT, islands_BS=islands_BS, backward=True)
    fused = twins.torch.loss(ids_BT, targets_BT, **given)
    fused.backward()
    assert apart(got, loss.detach().numpy()) < 1e-9
    assert apart(got, fused.detach().numpy()) < 1e-9
    assert apart(twins.numpy(twins.ids_BT, islands_BS=islands_BS), logits_BTV) < 1e-9
    gradients = {name: parameter.grad for name, parameter in twins.torch.named_parameters()}
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, parameter in twins.numpy.parameters().items():
        assert apart(parameter.gradient, gradients[name], largest) < 1e-9, name
    cache = KVCache(twins.numpy.config.n_layer)
    pieces = [
        twins.numpy(twins.ids_BT[:, start:stop], cache, islands_BS=islands_BS[:, :stop])
        for start, stop in ((0, 3), (3, 4), (4, 12))
    ]
    assert apart(np.concatenate(pieces, axis=1), logits_BTV) < 1e-9


@pytest.mark.parametrize("broken", ["no islands", "the mainland is an island", "positions of the row"])
def test_a_leak_is_seen(make_model, make_ids, monkeypatch, broken) -> None:
    model, original = make_model().double(), attention.make_mask
    islands = layout(2, [4, 3], 3)
    if broken == "positions of the row":
        monkeypatch.setitem(globals(), "island_positions", lambda islands: list(range(len(islands))))
    else:

        def wrong(n_query: int, n_key: int, **options: Any) -> attention.Mask:
            islands_BS = options.pop("islands_BS")
            shown = None if broken == "no islands" or islands_BS is None else islands_BS + 1
            return original(n_query, n_key, **options, islands_BS=shown)

        monkeypatch.setattr(gpt, "make_mask", wrong)
    with pytest.raises(AssertionError):
        check_independent(model, make_ids(2, 12), islands, 1)
        check_alone(model, make_ids(1, 16))
