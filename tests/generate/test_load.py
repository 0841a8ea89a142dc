"""From a run directory to an engine: the right weights, and no file that was tampered with."""

from __future__ import annotations

import pytest
import torch

from groundzero.errors import ConfigError, FormatError, InputError
from groundzero.generate import Request, SamplingConfig, load_engine

GREEDY = SamplingConfig(temperature=0, max_tokens=8, ignore_eos=True)


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_a_loaded_model_is_the_saved_one_in_every_weight_and_buffer(make_run, make_model, characters, family):
    engine = load_engine(make_run(family=family).path, device="cpu")
    want = make_model(characters.vocab_size, family=family)
    for got, saved in ((engine.model.parameters, want.parameters), (engine.model.buffers, want.buffers)):
        assert all(torch.equal(one, other) for one, other in zip(got(), saved(), strict=True))
    assert not any(parameter.requires_grad for parameter in engine.model.parameters())
    assert not engine.model.training
    ids_BT = torch.tensor([[70, 71, 72]])
    assert torch.equal(engine.model(ids_BT)[0], want(ids_BT)[0])


def test_the_step_is_the_best_the_latest_or_the_one_asked_for(make_run, make_model, characters):
    run = make_run(seeds=(3, 4, 5))
    run.mark_best(2)
    for step, seed in (("best", 4), ("latest", 5), (1, 3), (3, 5)):
        got = load_engine(run, step, device="cpu").model.embedding.weight
        assert torch.equal(got, make_model(characters.vocab_size, seed=seed).embedding.weight)
    with pytest.raises(InputError, match=r"no checkpoint of step 9.*1, 2, 3"):
        load_engine(run, 9)


def test_what_the_run_knows_comes_along(make_run):
    run = make_run(starts_with_bos=True, generate={"temperature": 0.3, "top_k": 5})
    engine = load_engine(run, device="cpu", max_batch=2)
    assert (engine.defaults.temperature, engine.defaults.top_k, engine.max_batch) == (0.3, 5, 2)
    assert engine.add_bos
    assert not load_engine(run, device="cpu", add_bos=False).add_bos
    assert engine.run([Request("the", GREEDY)])[0].prompt_tokens == 4


def test_a_damaged_checkpoint_is_passed_over_aloud_or_refused(make_run):
    run = make_run(seeds=(1, 2))
    shard = next((run.path / "checkpoints" / "step-2").glob("*.safetensors"))
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    heard: list[str] = []
    load_engine(run, device="cpu", warn=heard.append)
    assert len(heard) == 1
    assert "step-2" in heard[0]
    assert "Using step 1" in heard[0]
    with pytest.raises(FormatError, match=shard.name):
        load_engine(run, 2)


def test_another_tokenizer_is_refused(make_run, byte_pairs):
    run = make_run()
    byte_pairs.save(run.tokenizer_path)
    with pytest.raises(FormatError, match=r"tokenizer.json.*SHA-256"):
        load_engine(run)


def test_a_manifest_without_a_model_is_refused(make_run):
    run = make_run()
    run.write_manifest(config={})
    with pytest.raises(FormatError, match=r"manifest\.json does not describe a model"):
        load_engine(run)


def test_a_missing_run_and_an_unknown_precision_or_device_are_refused(make_run, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_engine(tmp_path / "nowhere")
    run = make_run()
    with pytest.raises(ConfigError, match="float12"):
        load_engine(run, device="cpu", dtype="float12")
    with pytest.raises(ConfigError, match="abacus"):
        load_engine(run, device="abacus")


def test_bfloat16_weights_generate(make_run):
    run = make_run()
    engine = load_engine(run, device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in engine.model.parameters()} == {torch.bfloat16}
    exact = load_engine(run, device="cpu")
    prompt = torch.tensor([engine.tokenizer.encode("the cat")])
    got_V, want_V = (model(prompt)[0][0, -1].float() for model in (engine.model, exact.model))
    torch.testing.assert_close(got_V, want_V, rtol=5e-2, atol=5e-2 * float(want_V.abs().max()))
    assert len(engine.run([Request("the cat", GREEDY), Request("a", GREEDY)])[0].ids) == 8
