"""Requests with facts: channels, batches, caches, and what may be asked at all."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from groundzero.errors import FormatError, InputError
from groundzero.generate import Engine, Evidence, Request, SamplingConfig, load_engine, rows, surfaces_of
from groundzero.generate.evidence import CHANNELS, Surface, surface_forms
from groundzero.generate.meter import _Replay, measure_channels
from groundzero.generate.prefix import salt_of
from groundzero.model.facts import Fact
from groundzero.model.knowledge import KnowledgeGPT, attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.knowledge_file import CONFIG, WEIGHTS, save_knowledge
from groundzero.model.weights import save_weights
from groundzero.tokenizer import Tokenizer

GREEDY = SamplingConfig(temperature=0, max_tokens=16, ignore_eos=True)
D_VECTOR = 3
PERU = [("peru", "lima"), ("france", "paris"), ("lima", "ten million")]
JAPAN = [("japan", "tokyo"), ("tokyo", "forty million")]


def tuned(base, seed: int = 3, *, gate_bias: float = 0.0) -> KnowledgeGPT:
    """Knowledge layers that do something, as after tuning."""
    torch.manual_seed(seed)
    model = attach_knowledge(base, KnowledgeConfig(d_vector=D_VECTOR, d_fact=16, d_copy=8))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("knowledge_gate"):
                parameter.fill_(0.7)
        model.knowledge_copy.gate.weight.normal_(std=0.5)
        model.knowledge_copy.gate.bias.fill_(gate_bias)
    return model.eval()


def evidence_of(tokenizer: Tokenizer, texts=PERU, *, seed: int = 0, channels=CHANNELS) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    facts = tuple(
        Fact(
            tokenizer.encode(subject),
            tokenizer.encode("has"),
            tokenizer.encode(object_),
            number,
            torch.randn(3 * D_VECTOR, generator=generator),
        )
        for number, (subject, object_) in enumerate(texts, 1)
    )
    return Evidence(facts, surfaces_of(tokenizer, texts), frozenset(channels))


@pytest.fixture
def model(make_model, characters) -> KnowledgeGPT:
    return tuned(make_model(characters.vocab_size, context=96))


def text_of(engine: Engine, completion, span) -> str:
    return engine.tokenizer.decode(completion.ids[span.start : span.end])


@pytest.mark.parametrize("temperature", [0, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["characters", "byte_pairs"])
def test_what_is_copied_is_a_text_of_the_fact_it_names(make_model, request, kind, temperature):
    tokenizer = request.getfixturevalue(kind)
    engine = Engine(tuned(make_model(tokenizer.vocab_size, context=96)), tokenizer)
    evidence = evidence_of(tokenizer)
    config = SamplingConfig(temperature=temperature, max_tokens=60, ignore_eos=True)
    requests = [Request("the cat", config.replace(seed=seed), evidence=evidence) for seed in range(12)]
    n_span = 0
    for completion in engine.run(requests):
        assert completion.finish_reason == "length"
        for span in completion.copied:
            got, want = text_of(engine, completion, span), PERU[span.fact][span.role]
            assert got.strip() == want if span.complete else want.startswith(got.strip())
            assert span.complete or span.end == len(completion.ids)
            start, end = span.characters(completion.ids, tokenizer)
            assert completion.text[start:end] == got.strip()
            assert 0 < span.share <= 1
            n_span += 1
        places = [place for span in completion.copied for place in (span.start, span.end)]
        assert places == sorted(places)
    assert n_span > 10, "little was copied, so little was proved"


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_rows_with_and_without_facts_act_together_as_they_do_alone(model, characters, temperature):
    config = SamplingConfig(temperature=temperature, max_tokens=24, ignore_eos=True, seed=5, logprobs=3)
    requests = [
        Request("the cat", config),
        Request("the cat", config, evidence=evidence_of(characters)),
        Request("the cat", config, evidence=evidence_of(characters, JAPAN)),
        Request("a dog sat there", config, evidence=evidence_of(characters, channels={"copy"})),
        Request("the cat", config, evidence=evidence_of(characters, channels={"attention"})),
        Request("the cat", config, evidence=evidence_of(characters, channels={"prompt"})),
        Request("the cat", config, evidence=Evidence(())),
    ]
    together = Engine(model, characters).run(requests)
    alone = [Engine(model, characters).run([request])[0] for request in requests]
    streamed = [list(Engine(model, characters).stream(request))[-1].completion for request in requests]
    assert [c.ids for c in together] == [c.ids for c in alone] == [c.ids for c in streamed]
    assert [c.copied for c in together] == [c.copied for c in alone] == [c.copied for c in streamed]
    for one, other in zip(together, alone, strict=True):
        got, want = ([entry.logprob for entry in c.logprobs] for c in (one, other))
        assert got == pytest.approx(want, abs=1e-4)
    assert together[0].ids == together[5].ids == together[6].ids
    assert len({together[i].ids for i in (0, 1, 2, 4)}) == 4, "the facts must matter for this to prove anything"
    assert together[1].copied
    assert not together[4].copied


def test_without_evidence_the_model_is_the_base(make_model, characters):
    base = make_model(characters.vocab_size, context=96)
    want = Engine(base, characters).run([Request("the cat", GREEDY)])[0]
    got = Engine(tuned(base), characters).run([Request("the cat", GREEDY)])[0]
    assert got.ids == want.ids


def test_reported_log_probabilities_are_those_of_the_mixture(model, characters):
    """A span with one way on is certain, and what the mixture says elsewhere sums to 1."""
    config = SamplingConfig(temperature=0, max_tokens=40, ignore_eos=True, logprobs=20)
    completion = Engine(model, characters).run([Request("the cat", config, evidence=evidence_of(characters))])[0]
    inside = {
        place
        for span in completion.copied
        for place in range(span.start + 3, span.end)  # with the space in front, three letters tell all names apart
    }
    assert inside
    for place in inside:
        assert completion.logprobs[place].logprob == pytest.approx(0, abs=1e-5)
    for entry in completion.logprobs:
        assert sum(torch.tensor([p for _, p in entry.top]).exp()) <= 1 + 1e-4


def test_penalties_and_truncation_leave_a_name_as_it_is(model, characters):
    config = SamplingConfig(
        temperature=2.0,
        max_tokens=60,
        ignore_eos=True,
        repetition_penalty=5.0,
        frequency_penalty=2.0,
        top_k=3,
        top_p=0.9,
        min_p=0.1,
    )
    engine = Engine(model, characters)
    requests = [Request("the", config.replace(seed=s), evidence=evidence_of(characters)) for s in range(8)]
    spans = [(c, span) for c in engine.run(requests) for span in c.copied if span.complete]
    assert spans
    assert all(text_of(engine, c, span).strip() == PERU[span.fact][span.role] for c, span in spans)


CHAT = "the cat sat on the mat and the dog sat"


def check_no_stale_prefix(model, characters):
    """Every request is answered as without a cache, and what may be shared is."""
    engine = Engine(model, characters, prefix_cache_bytes=10_000_000)
    edited = [("peru", "lime"), *PERU[1:]]
    anagram = [("peru", "mali"), *PERU[1:]]  # its tokens have the same mean, and yet it is another fact
    expected = [
        (None, 0),
        (evidence_of(characters), 0),
        (evidence_of(characters, edited), 0),
        (evidence_of(characters, anagram), 0),
        (evidence_of(characters, seed=1), 0),
        (evidence_of(characters, PERU[::-1]), 0),
        (evidence_of(characters), 32),
        (evidence_of(characters, channels={"attention"}), 32),
        (evidence_of(characters, channels={"copy"}), 32),  # keys and values above are those without facts
        (None, 32),
    ]
    for evidence, cached in expected:
        request = Request(CHAT, GREEDY, evidence=evidence)
        got = engine.run([request])[0]
        want = Engine(model, characters).run([request])[0]
        assert got.cached_tokens == cached
        assert (got.ids, got.copied) == (want.ids, want.copied)


def test_other_evidence_never_meets_a_kept_prefix(model, characters):
    check_no_stale_prefix(model, characters)


def test_a_cache_keyed_by_tokens_alone_is_seen(model, characters, monkeypatch):
    monkeypatch.setattr(rows, "salt_of", lambda version, evidence: salt_of(version, b""))
    with pytest.raises(AssertionError):
        check_no_stale_prefix(model, characters)


def test_a_context_that_slides_keeps_copying(model, characters):
    engine = Engine(model, characters, cache_capacity=20)
    config = SamplingConfig(temperature=1, max_tokens=80, ignore_eos=True, seed=1)
    completion = engine.run([Request("the cat", config, evidence=evidence_of(characters))])[0]
    assert completion.slides
    late = [span for span in completion.copied if span.start > 30 and span.complete]
    assert late
    assert all(text_of(engine, completion, span).strip() == PERU[span.fact][span.role] for span in late)


def test_an_answer_that_ends_in_a_name_says_so(model, characters):
    """A gate that is wide open: the first token begins a span."""
    with torch.no_grad():
        model.knowledge_copy.gate.weight.zero_()
        model.knowledge_copy.gate.bias.fill_(30.0)
    evidence = evidence_of(characters, [("france", "paris")])
    for n_token in range(1, 8):
        config = SamplingConfig(temperature=0, max_tokens=n_token, ignore_eos=True)
        completion = Engine(model, characters).run([Request("the cat", config, evidence=evidence)])[0]
        first = completion.copied[0]
        assert first.start == 0
        assert first.complete == (len(completion.text) >= len(" " + ("france", "paris")[first.role]))


def test_a_name_of_a_control_token_is_text(characters, byte_pairs):
    forms = surface_forms(byte_pairs, "<EOS>")
    assert forms
    assert all(token >= 64 for form in forms for token in form)
    assert surface_forms(characters, "Ω") == (), "what cannot be spelt is not copied"
    assert surface_forms(byte_pairs, " ") == ()
    assert surfaces_of(characters, [("", "a")]) == tuple(Surface(form, 0, 1) for form in surface_forms(characters, "a"))


def test_impossible_evidence_is_refused_at_the_door(model, make_model, characters):
    engine = Engine(model, characters)
    good = evidence_of(characters)
    word = characters.encode("a")
    bad = [
        (Evidence(good.facts, channels=frozenset({"smell"})), "no channel 'smell'"),
        (Evidence((Fact(word, word, [9999]),)), "holds token 9999"),
        (Evidence((Fact(word, word, word, 1, [1.0]),)), "have 1 numbers, and the model takes 9"),
        (Evidence(good.facts, (Surface((), 0, 1),)), "cannot be copied"),
        (Evidence(good.facts, (Surface((3,), 0, 1),)), "cannot be copied"),
        (Evidence(good.facts, (Surface(tuple(word), 3, 1),)), "cannot be copied"),
        (Evidence(good.facts, (Surface(tuple(word), 0, 2),)), "cannot be copied"),
    ]
    for evidence, message in bad:
        with pytest.raises(InputError, match=message):
            engine.submit(Request("a", evidence=evidence))
    plain = Engine(make_model(characters.vocab_size), characters)
    with pytest.raises(InputError, match="no knowledge layers"):
        plain.submit(Request("a", evidence=good))
    assert plain.run([Request("a", GREEDY, evidence=evidence_of(characters, channels={"prompt"}))])[0].ids


@pytest.fixture
def knowing_run(make_run, model, characters):
    run = make_run(context=96)

    def write(folder):
        save_weights(model, folder)
        save_knowledge(model, folder)

    run.publish_checkpoint(2, write)
    return run


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_the_meter_reads_the_answer_as_it_was_written(model, characters, temperature):
    engine = Engine(model, characters)
    config = SamplingConfig(temperature=temperature, max_tokens=40, ignore_eos=True, seed=4, logprobs=1)
    request = Request("the cat", config, evidence=evidence_of(characters))
    completion = engine.run([request])[0]
    assert completion.copied
    replay = _Replay(engine, request, completion)
    mixed_GV, own_GV = replay.distributions(engine.prompt_ids(request), attention=True)
    got = [float(mixed_V[token].log()) for mixed_V, token in zip(mixed_GV, completion.ids, strict=True)]
    assert got == pytest.approx([entry.logprob for entry in completion.logprobs], abs=2e-4)
    figures = measure_channels(engine, request, completion, plain_prompt="the")
    assert set(figures) == {"prompt", "attention", "copy"}
    assert all(0 < figure <= 1 for figure in figures.values())
    assert figures["copy"] == pytest.approx(float((mixed_GV - own_GV).abs().sum(-1).mean() / 2))
    assert measure_channels(engine, request, completion, plain_prompt="the cat")["prompt"] == 0


def test_the_meter_of_a_channel_that_is_shut_or_does_nothing(model, characters):
    engine = Engine(model, characters)
    for channels in ({"copy"}, {"attention"}, {"prompt"}, set()):
        request = Request("the cat", GREEDY, evidence=evidence_of(characters, channels=channels))
        completion = engine.run([request])[0]
        assert set(measure_channels(engine, request, completion)) == channels - {"prompt"}
    with torch.no_grad():
        for block in model.blocks:
            block.knowledge_gate.zero_()
    request = Request("the cat", GREEDY, evidence=evidence_of(characters))
    figures = measure_channels(engine, request, engine.run([request])[0])
    assert figures["attention"] == 0
    assert figures["copy"] > 0
    plain = Request("the cat", GREEDY)
    assert measure_channels(engine, plain, engine.run([plain])[0]) == {}


def test_the_meter_of_an_answer_longer_than_the_context(model, characters):
    engine = Engine(model, characters, cache_capacity=24)
    config = SamplingConfig(temperature=1, max_tokens=60, ignore_eos=True, seed=1)
    request = Request("the cat", config, evidence=evidence_of(characters))
    figures = measure_channels(engine, request, engine.run([request])[0], plain_prompt="a")
    assert all(0 <= figure <= 1 for figure in figures.values())


def test_a_run_brings_its_knowledge_layers(knowing_run, model, characters):
    request = Request("the cat", GREEDY, evidence=evidence_of(characters))
    want = Engine(model, characters).run([request])[0]
    engine = load_engine(knowing_run, 2, device="cpu")
    got = engine.run([request])[0]
    assert (got.ids, got.copied) == (want.ids, want.copied)
    assert not isinstance(load_engine(knowing_run, 1, device="cpu").model, KnowledgeGPT)
    half = load_engine(knowing_run, 2, device="cpu", dtype="bfloat16").run([request])[0]
    assert len(half.ids) == len(want.ids)


def test_a_run_with_altered_knowledge_layers_is_refused(knowing_run):
    folder = knowing_run.checkpoints.path_of(2)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(FormatError, match="SHA-256"):
        load_engine(knowing_run, 2)


def test_knowledge_layers_without_their_description_are_refused(make_run, model):
    run = make_run(context=96)

    def write(folder):
        save_weights(model, folder)
        save_knowledge(model, folder)
        (folder / CONFIG).unlink()

    run.publish_checkpoint(2, write)
    with pytest.raises(FormatError, match=r"without knowledge\.json"):
        load_engine(run, 2, device="cpu")


def test_the_base_in_a_checkpoint_is_that_of_a_model_without_knowledge(make_model, characters, tmp_path):
    base = make_model(characters.vocab_size)
    for name, model in (("base", base), ("knowing", tuned(base))):
        (tmp_path / name).mkdir()
        partial(save_weights, model)(tmp_path / name)
    for path in (tmp_path / "base").iterdir():
        assert path.read_bytes() == (tmp_path / "knowing" / path.name).read_bytes()
