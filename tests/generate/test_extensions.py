"""What a request may carry, and what the engine may remember: processors, side inputs, the prefix cache."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from groundzero.errors import GroundzeroError, InputError
from groundzero.generate.config import SamplingConfig
from groundzero.generate.engine import Engine
from groundzero.generate.prefix import BLOCK, PrefixCache, model_version, salt_of
from groundzero.generate.request import Request
from groundzero.generate.side_inputs import hash_side_inputs, pad_side_inputs
from groundzero.model import GPT

GREEDY = SamplingConfig(temperature=0, max_tokens=12, ignore_eos=True)


class Spell:
    """Forces given ids one after the other, then leaves the model alone: state that must not be shared."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self.place = 0
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, ids_so_far: Sequence[int], logprobs_V: Tensor) -> Tensor:
        assert float(logprobs_V.exp().sum()) == pytest.approx(1, abs=1e-4)
        self.seen.append(tuple(ids_so_far))
        if self.place < len(self.ids):
            forced_V = torch.full_like(logprobs_V, -torch.inf)
            forced_V[self.ids[self.place]] = 0
            self.place += 1
            return forced_V
        return logprobs_V

    def fresh(self) -> Spell:
        return Spell(self.ids)


class Forbid:
    def __call__(self, ids_so_far: Sequence[int], logprobs_V: Tensor) -> Tensor:
        return torch.full_like(logprobs_V, -torch.inf)

    def fresh(self) -> Forbid:
        return self


class Shorten(Forbid):
    def __call__(self, ids_so_far: Sequence[int], logprobs_V: Tensor) -> Tensor:
        return logprobs_V[:-1]


def test_a_processor_has_its_own_state_in_every_request(make_engine):
    engine = make_engine()
    word = engine.tokenizer.encode("hello")
    request = Request("the", GREEDY, processors=(Spell(word),))
    plain, one, two = engine.run([Request("the", GREEDY), request, request])
    assert one.text.startswith("hello")
    assert one.ids == two.ids
    assert plain.ids == make_engine().run([Request("the", GREEDY)])[0].ids
    assert engine.run([Request("thehello", GREEDY.replace(max_tokens=7))])[0].ids == one.ids[5:]


def test_processors_run_in_order_on_what_the_one_before_left(make_engine):
    engine = make_engine()
    first, second = engine.tokenizer.encode("x"), engine.tokenizer.encode("y")
    request = Request("the", GREEDY.replace(max_tokens=1), processors=(Spell(first), Spell(second)))
    assert engine.run([request])[0].text == "y"


@pytest.mark.parametrize(("processor", "error"), [(Forbid(), GroundzeroError), (Shorten(), AssertionError)])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_failing_processor_ends_its_request_alone(make_engine, processor, error, temperature):
    engine = make_engine()
    want = engine.run([Request("cat", GREEDY)])[0].ids
    config = SamplingConfig(temperature=temperature)
    bad = engine.submit(Request("the", config, processors=(processor,)))
    good = engine.submit(Request("cat", GREEDY))
    while good.completion is None:
        engine.step()
    assert good.result().ids == want
    assert bad.completion.finish_reason == "error"
    with pytest.raises(error):
        bad.result()
    with pytest.raises(error):
        list(engine.stream(Request("the", config, processors=(processor,))))


class Factual(GPT):
    """A toy with a side input: the mean of the facts is added to every embedded token."""

    side_input_names = ("facts",)

    def __init__(self, config) -> None:
        super().__init__(config)
        self.bridge = nn.Linear(3, config.d_model, bias=False)
        with torch.no_grad():
            self.bridge.weight.copy_(torch.randn(config.d_model, 3, generator=torch.Generator().manual_seed(9)))

    def hidden(self, ids_BT, *, side_inputs=None, **rest):
        self._shift_B1D = None
        if side_inputs is not None:
            values_BNd, mask_BN = side_inputs["facts"]
            assert mask_BN.dtype == torch.bool
            assert (values_BNd[~mask_BN] == 0).all()
            count_B1 = mask_BN.sum(1, keepdim=True)
            mean_Bd = values_BNd.sum(1) / count_B1.clamp(min=1)
            self._shift_B1D = self.bridge(mean_Bd)[:, None]
        return super().hidden(ids_BT, **rest)

    def _embed(self, *arguments):
        x_BTD, turn = super()._embed(*arguments)
        return (x_BTD if self._shift_B1D is None else x_BTD + self._shift_B1D), turn


@pytest.fixture
def factual(make_model, characters):
    plain = make_model(characters.vocab_size)
    model = Factual(plain.config)
    model.load_state_dict(plain.state_dict(), strict=False)
    return model.eval()


def facts(seed: int, n: int) -> dict[str, Tensor]:
    return {"facts": torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))}


def test_ragged_side_inputs_in_a_batch_act_as_they_do_alone(factual, characters):
    requests = [
        Request("the cat", GREEDY),
        Request("the cat", GREEDY, side_inputs=facts(1, 2)),
        Request("the cat", GREEDY, side_inputs=facts(2, 5)),
        Request("a dog sat there", GREEDY, side_inputs=facts(1, 2)),
        Request("the cat", GREEDY, side_inputs={"facts": torch.zeros(0, 3)}),
    ]
    together = Engine(factual, characters).run(requests)
    alone = [Engine(factual, characters).run([request])[0] for request in requests]
    assert [completion.ids for completion in together] == [completion.ids for completion in alone]
    assert together[0].ids == together[4].ids
    assert len({completion.ids for completion in together[:3]}) == 3, "the facts must matter for this to prove anything"


def test_side_inputs_of_the_wrong_name_or_shape_are_refused(factual, characters):
    engine = Engine(factual, characters)
    with pytest.raises(InputError, match=r"no side input 'fact'.*It takes: facts"):
        engine.submit(Request("a", side_inputs={"fact": torch.zeros(1, 3)}))
    with pytest.raises(InputError, match=r"'facts' has shape \(3,\)"):
        engine.submit(Request("a", side_inputs={"facts": torch.zeros(3)}))
    with pytest.raises(InputError, match="widths 3 and 4"):
        pad_side_inputs([facts(1, 1), {"facts": torch.zeros(1, 4)}], "cpu")


def test_side_inputs_hash_by_name_shape_type_and_value():
    base = torch.arange(6.0).reshape(2, 3)
    different = [
        {},
        {"a": base},
        {"b": base},
        {"a": base.reshape(3, 2)},
        {"a": base.double()},
        {"a": base + 1e-6},
        {"a": base, "b": base},
        {"a": torch.zeros(0, 3)},
    ]
    hashes = [hash_side_inputs(side_inputs) for side_inputs in different]
    assert len(set(hashes)) == len(different)
    assert hash_side_inputs(None) == hash_side_inputs({})
    assert hash_side_inputs({"a": base.t().contiguous().t()}) == hash_side_inputs({"a": base})


CHAT = "the cat sat on the mat and the dog sat on the log"


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
@pytest.mark.parametrize("switches", [{}, {"n_kv_head": 1, "window": 7}])
def test_a_remembered_prefix_changes_nothing_but_the_work(make_engine, family, switches):
    model = make_engine(family=family, context=128, **switches).model
    plain = make_engine(model=model)
    engine = make_engine(model=model, options={"prefix_cache_bytes": 10_000_000})
    cached = []
    for turn in (CHAT, CHAT + " so", CHAT + " so they sat and sat", CHAT[:20], "x" + CHAT, CHAT):
        got, want = engine.run([Request(turn, GREEDY)])[0], plain.run([Request(turn, GREEDY)])[0]
        assert got.ids == want.ids
        cached.append(got.cached_tokens)
    assert cached == [0, 48, 48, 16, 0, 48]


def test_an_answer_is_remembered_for_the_next_turn(make_engine):
    engine = make_engine(context=128, options={"prefix_cache_bytes": 10_000_000})
    first = engine.run([Request(CHAT, GREEDY.replace(max_tokens=40))])[0]
    second = engine.run([Request([*engine.tokenizer.encode(CHAT), *first.ids, 70, 71], GREEDY)])[0]
    assert second.cached_tokens == (len(CHAT) + 39) // BLOCK * BLOCK


def test_logits_after_a_remembered_prefix_agree(make_engine, characters):
    engine = make_engine(context=128)
    model, ids = engine.model, characters.encode(CHAT)
    with torch.inference_mode():
        want_V = model(torch.tensor([ids]))[0][0, -1]
        cache, store = model.new_cache(2), PrefixCache(10_000_000)
        model.hidden(torch.tensor([ids]), cache=cache.rows(0, 1))
        store.keep(cache, 0, ids, b"")
        held = store.restore(cache, 1, ids, b"")
        assert held == 48
        got_V = model(torch.tensor([ids[held:]]), cache=cache.rows(1, 2))[0][0, -1]
    torch.testing.assert_close(got_V, want_V, rtol=1e-4, atol=1e-5)


def test_other_evidence_never_hits(factual, characters):
    engine = Engine(factual, characters, prefix_cache_bytes=10_000_000)
    fresh = Engine(factual, characters)
    text = CHAT[:30]
    for side_inputs, cached in [(None, 0), (facts(1, 2), 0), (facts(2, 2), 0), (facts(1, 2), 16), (None, 16)]:
        request = Request(text, GREEDY, side_inputs=side_inputs)
        got = engine.run([request])[0]
        assert got.cached_tokens == cached
        assert got.ids == fresh.run([request])[0].ids


def change_in_place(model):
    with torch.no_grad():
        model.blocks[0].attention.key.weight.mul_(1.5)


def change_by_training(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.tensor([[70, 71]]), torch.tensor([[71, 72]]))[1].backward()
    optimizer.step()


def change_by_loading(model):
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})


def change_by_replacing(model):
    model.blocks[0].attention.key.weight = nn.Parameter(model.blocks[0].attention.key.weight * 1.5)


@pytest.mark.parametrize("change", [change_in_place, change_by_training, change_by_loading, change_by_replacing])
def test_other_weights_never_hit(make_engine, change):
    engine = make_engine(context=128, options={"prefix_cache_bytes": 10_000_000})
    request = Request(CHAT, GREEDY)
    assert [engine.run([request])[0].cached_tokens for _ in range(2)] == [0, 48]
    change(engine.model)
    changed = engine.run([request])[0]
    assert changed.cached_tokens == 0
    assert changed.ids == make_engine(model=engine.model).run([request])[0].ids


def test_forgetting_prefixes_covers_writes_around_the_counters(make_engine):
    engine = make_engine(context=128, options={"prefix_cache_bytes": 10_000_000})
    engine.run([Request(CHAT, GREEDY)])
    before = model_version(engine.model)
    engine.model.embedding.weight.data.mul_(2)
    assert model_version(engine.model) == before
    engine.forget_prefixes()
    assert engine.run([Request(CHAT, GREEDY)])[0].cached_tokens == 0


@given(
    texts=st.lists(st.lists(st.integers(0, 1), max_size=6), max_size=8),
    budget=st.integers(0, 6),
)
def test_the_store_keeps_to_its_bytes_and_returns_only_true_prefixes(tiny_cache, texts, budget):
    """Whole blocks of 0s or 1s; what is restored must be the keys of exactly these tokens."""
    cache, block_bytes = tiny_cache
    store = PrefixCache(budget * block_bytes)
    for blocks in texts:
        ids = list(itertools.chain.from_iterable([bit] * BLOCK for bit in blocks))
        cache.truncate(1, 0)
        held = store.restore(cache, 1, ids, b"salt")
        assert held <= len(ids)
        assert cache.lengths[1] == held
        keys, _ = cache.read_row(1)
        for place in range(held):
            assert keys[0, 0, place, 0] == hash(tuple(ids[: place + 1])) % 1000
        values = torch.tensor([hash(tuple(ids[: place + 1])) % 1000 for place in range(len(ids))], dtype=torch.float32)
        cache.truncate(0, 0)
        cache.write_row(
            0, values[None, None, :, None].expand(1, 1, -1, 2), values[None, None, :, None].expand(1, 1, -1, 2)
        )
        store.keep(cache, 0, ids, b"salt")
        assert store.nbytes == len(store) * block_bytes <= store.max_bytes
        assert store.restore(cache, 1, ids, b"other") == 0


@pytest.fixture(scope="module")
def tiny_cache():
    from groundzero.model import GPTConfig
    from groundzero.model.cache import KVCache

    config = GPTConfig(n_layer=1, n_head=1, d_model=2, context=128, vocab_size=2)
    return KVCache(config, 2), 2 * BLOCK * 2 * 4


def test_the_end_of_a_prefix_is_dropped_before_its_beginning(tiny_cache):
    cache, block_bytes = tiny_cache
    store = PrefixCache(3 * block_bytes)
    cache.truncate(0, 0)
    cache.write_row(0, torch.zeros(1, 1, 5 * BLOCK, 2), torch.zeros(1, 1, 5 * BLOCK, 2))
    ids = list(range(5 * BLOCK))
    store.keep(cache, 0, ids, b"")
    cache.truncate(1, 0)
    assert store.restore(cache, 1, ids, b"") == 3 * BLOCK


def test_salt_tells_versions_and_evidence_apart():
    salts = [salt_of(0, b""), salt_of(1, b""), salt_of(0, b"x"), salt_of(1, b"x")]
    assert len(set(salts)) == 4
