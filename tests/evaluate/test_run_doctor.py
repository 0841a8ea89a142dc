"""`examine_run` finds sound runs of every family sound, and each check fails on what is broken on purpose for it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from groundzero.data import TokenDataset, prepare
from groundzero.errors import FormatError, InputError
from groundzero.evaluate.check import Check
from groundzero.evaluate.doctor import RunReport, examine_network, examine_run, sample_tokens
from groundzero.evaluate.gradients import BROKEN, UNEVEN, check_gradients, gradient_flow, level, sparkline
from groundzero.evaluate.greedy import check_greedy
from groundzero.evaluate.network import check_attention, check_causality
from groundzero.evaluate.run_files import check_round_trip, check_tokenizer, first_loss
from groundzero.generate import Engine
from groundzero.generate.load import load_engine
from groundzero.model import GPT, GPTConfig, attention, gpt, layers
from groundzero.run import RunDirectory
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

FAMILIES = ("gpt2", "classic", "llama", "qwen3", "speedrun")
NAMES = ["Files", "Data", "Tokenizer", "Round trip", "Weights", "Shapes", "Stream", "Attention", "Causality"]
NAMES += ["Cache", "Gradients", "Temperature 0"]


def verdicts(report: RunReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


@pytest.fixture
def engine(make_run) -> Callable[..., Engine]:
    """The engine of a sound run, to be broken."""
    return lambda **what: load_engine(make_run(**what), device="cpu", dtype="float32")


def examined(engine: Engine, run: RunDirectory) -> dict[str, Check]:
    """The checks that run the network."""
    report = RunReport("run")
    examine_network(engine, TokenDataset.open(run.path / "data"), report)
    return verdicts(report)


def failed(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if check.status == "failed"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switches", [{}, {"n_kv_head": 2, "window": 5, "kind": "bpe"}], ids=["plain", "switches"])
def test_a_sound_run_is_found_sound(make_run, family, switches) -> None:
    report = examine_run(make_run(family=family, **switches).path)
    assert [check.name for check in report.checks] == NAMES
    assert {check.status for check in report.checks} == {"ok"}, report.checks
    assert report.ok
    assert (report.step, report.family) == (7, family)
    assert len(report.gradients) == 2
    assert all(check.message and not check.remedy for check in report.checks)
    json.dumps(report.as_json(), allow_nan=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_counted_at_one_layer(make_run, engine, family) -> None:
    report = examine_run(make_run(family=family, n_layer=3).path)
    held = sum(parameter.numel() for parameter in engine(family=family, n_layer=3).model.parameters())
    assert sum(row.parameters for row in report.shapes) == held
    by_name = {row.name: row for row in report.shapes}
    assert by_name["logits"].shape == (24, Tokenizer.load(make_run().tokenizer_path).vocab_size)
    assert by_name["blocks.2.attention.weights"].shape == (4, 24, 24)


def test_it_says_what_it_examines(make_run) -> None:
    told: list[str] = []
    examine_run(make_run().path, progress=told.append)
    network = ["weights", "shapes", "attention", "causality", "cache", "gradients", "temperature 0"]
    assert told == ["files", "tokenizer", *network]


def test_examining_changes_nothing(make_run, engine) -> None:
    model = engine().model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    examined(engine(), make_run())
    found = engine()
    examined(found, make_run())
    assert all(torch.equal(before[name], tensor) for name, tensor in found.model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in found.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in found.model.modules())


# ---------------------------------------------------------------------- files, text, tokenizer


def test_a_changed_file_is_found_and_the_rest_is_not_examined(fresh_run) -> None:
    run = fresh_run()
    weights = next(run.checkpoints.path_of(7).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(bytes(content))
    report = examine_run(run.path)
    found = verdicts(report)
    assert found["Files"].status == "failed"
    assert "SHA-256" in found["Files"].message
    assert found["Loading"].status == "failed"
    assert "not examined" in found["Loading"].message
    assert "Gradients" not in found
    assert not report.ok
    assert report.step is None


def test_a_run_without_checkpoints_fails(fresh_run) -> None:
    run = fresh_run()
    shutil.rmtree(run.checkpoints.path_of(7))
    found = verdicts(examine_run(run.path))
    assert "no checkpoint yet" in found["Files"].message
    assert found["Files"].status == found["Loading"].status == "failed"


def test_a_step_that_is_not_there_and_a_run_that_is_none(make_run, tmp_path) -> None:
    assert "no checkpoint of step 8" in verdicts(examine_run(make_run().path, step=8))["Loading"].message
    with pytest.raises(InputError, match="No run"):
        examine_run(tmp_path / "absent")
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FormatError):
        examine_run(tmp_path)


def test_another_tokenizer_is_found(fresh_run) -> None:
    run = fresh_run()
    train_tokenizer(["other letters"], TokenizerConfig(kind="char")).save(run.tokenizer_path)
    found = verdicts(examine_run(run.path))
    assert found["Tokenizer"].status == "failed"
    assert "was trained with" in found["Tokenizer"].message
    assert {"Files", "Loading"} <= failed(found)


def test_a_tokenizer_of_another_size_than_the_model_is_found(tokenizer) -> None:
    def check(vocab_size: int, dataset: Any = None) -> Check:
        return check_tokenizer(tokenizer, {"config": {"model": {"vocab_size": vocab_size}}}, dataset)

    assert check(tokenizer.vocab_size).status == "ok"
    assert check(tokenizer.vocab_size - 1).status == "failed"
    assert check(tokenizer.vocab_size + 2).status == "warning"
    assert "2 rows that no token uses" in check(tokenizer.vocab_size + 2).message
    stranger = TokenDataset.from_ids([70, 71], [70], tokenizer_fingerprint="f" * 64)
    assert check(tokenizer.vocab_size, stranger).status == "failed"
    assert check_tokenizer(tokenizer, {}, None).status == "ok"  # what an empty manifest lacks, loading will say


def test_text_that_is_gone_is_said_and_text_that_is_damaged_fails(fresh_run) -> None:
    run = fresh_run()
    shutil.move(run.path / "data", run.path.parent / "elsewhere")
    found = verdicts(examine_run(run.path))
    assert found["Data"].status == "warning"
    assert found["Round trip"].status == "ok"  # the original is still there
    assert "run.txt" in found["Round trip"].message
    (run.path.parent / "run.txt").unlink()
    found = verdicts(examine_run(run.path))
    assert found["Round trip"].status == "warning"
    assert "own alphabet" in found["Round trip"].message
    assert not failed(found)
    shutil.move(run.path.parent / "elsewhere", run.path / "data")
    next((run.path / "data").glob("train-0*.npy")).write_bytes(b"")
    assert verdicts(examine_run(run.path))["Data"].status == "failed"


def test_text_prepared_elsewhere_is_found_there(fresh_run) -> None:
    run = fresh_run()
    place = run.path.parent / "shared"
    shutil.move(run.path / "data", place)
    run.write_manifest(data={"path": str(place), "starts_with_bos": False})
    assert str(place) in verdicts(examine_run(run.path))["Data"].message


class Loses(Tokenizer):
    """A tokenizer that forgets one letter on its way back."""

    def decode(self, ids: Any, **options: Any) -> str:
        return super().decode(ids, **options).replace("ï", "i")


def test_a_tokenizer_that_loses_characters_is_found(make_run, tmp_path) -> None:
    run = make_run()
    good = Tokenizer.load(run.tokenizer_path)
    bad = Loses.load(run.tokenizer_path)
    bad.__class__ = Loses
    dataset = TokenDataset.open(run.path / "data")
    text = {"text": str(run.path.parent / "run.txt")}
    assert check_round_trip(good, dataset, text).status == "ok"
    for arguments in ((dataset, {}), (None, text), (None, {})):
        found = check_round_trip(bad, *arguments)
        assert found.status == "failed"
        assert "ï" in found.message
    assert first_loss(good, "the fox") == ""
    assert "Character 4" in first_loss(good, "the Fox")  # no capitals in its alphabet


def test_text_with_characters_that_the_tokenizer_never_saw_is_found(tmp_path) -> None:
    (tmp_path / "text.txt").write_text("abc abd\n" * 40 + "abc é abd\n", encoding="utf-8")
    tokenizer = train_tokenizer(["abcd \n"], TokenizerConfig(kind="char"))
    dataset = prepare(tmp_path / "text.txt", tmp_path / "data", tokenizer)
    assert check_round_trip(tokenizer, dataset, {}).status == "failed"
    assert "<UNK>" in check_round_trip(tokenizer, dataset, {}).message
    found = check_round_trip(tokenizer, None, {"text": str(tmp_path / "text.txt")})
    assert found.status == "failed"
    assert "'é" in found.message or " é" in found.message


def test_prepared_tokens_that_are_no_text_are_found() -> None:
    tokenizer = train_tokenizer(["ab " * 20], TokenizerConfig(kind="bpe", vocab_size=330))
    lone = 64 + 0xE9  # the first byte of a character, with nothing behind it
    whole = tokenizer.encode("aé")
    assert check_round_trip(tokenizer, TokenDataset.from_ids(whole, whole[:-1]), {}).status == "ok"  # cut in two
    found = check_round_trip(tokenizer, TokenDataset.from_ids([lone, *whole], whole), {})
    assert found.status == "failed"
    assert "no UTF-8" in found.message
    found = check_round_trip(tokenizer, TokenDataset.from_ids(whole, [9999]), {})
    assert "does not know" in found.message


# ---------------------------------------------------------------------- the network


def test_weights_that_are_no_numbers_are_found_and_named(engine, make_run) -> None:
    found = engine()
    with torch.no_grad():
        found.model.blocks[1].feed_forward.up.weight[3, 4] = math.nan
    checks = examined(found, make_run())
    assert failed(checks) == {"Weights"}
    assert "blocks.1.feed_forward.up.weight holds 1 of" in checks["Weights"].message
    assert "Causality" not in checks


def test_logits_with_padding_are_a_wrong_shape(engine, make_run, monkeypatch) -> None:
    found = engine()
    monkeypatch.setattr(found.model, "logits", lambda hidden: hidden @ found.model.head_weight.T)
    checks = examined(found, make_run())
    assert failed(checks) == {"Shapes"}
    assert "logits is 24 x " in checks["Shapes"].message


def test_parameters_without_a_layer_are_found(engine, make_run) -> None:
    found = engine()
    found.model.extra = torch.nn.Parameter(torch.zeros(3))
    assert "Shapes" in failed(examined(found, make_run()))


def test_knowledge_layers_are_counted_apart(engine, make_run) -> None:
    from groundzero.evaluate.twin_diff import compare, load_twin

    found = engine()
    found.model.blocks[1].knowledge_gate = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    checks = examined(found, make_run())
    assert not failed(checks)
    assert "and 3 in knowledge layers" in checks["Shapes"].message
    run = make_run()
    twin = load_twin(run.checkpoints.path_of(7), run.manifest()["config"]["model"])
    assert compare(twin, found, [64, 65, 66], tolerance=1e-4, gradients=True).ok


def broken_softmax(patch: pytest.MonkeyPatch) -> None:
    explicit = attention.explicit_attention

    def unnormalised(*arguments: Any, **options: Any) -> Any:
        out, weights = explicit(*arguments, **options)
        return out * 1.01, weights * 1.01

    patch.setattr(attention, "explicit_attention", unnormalised)


def ahead_by_one(patch: pytest.MonkeyPatch) -> None:
    make = gpt.make_mask

    def shifted(n_query: int, n_key: int, **options: Any) -> attention.Mask:
        mask = make(n_query, n_key, **options)
        ahead = torch.ones_like(mask.bias, dtype=torch.bool).triu(2 + n_key - n_query)
        return attention.Mask(torch.zeros_like(mask.bias).masked_fill(ahead, -math.inf), causal=False)

    patch.setattr(gpt, "make_mask", shifted)


def no_mask(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gpt.GPT, "_mask", lambda *_: None)


def leak_beside_attention(patch: pytest.MonkeyPatch) -> None:
    """Through the feed-forward layer, where no attention weight shows it."""
    forward = gpt.FeedForward.forward
    patch.setattr(gpt.FeedForward, "forward", lambda self, x: forward(self, x + 1e-3 * x.mean(dim=1, keepdim=True)))


def cache_one_off(patch: pytest.MonkeyPatch) -> None:
    """What is read with the cache stands one place too late, but for the first token."""
    at = gpt.Rotary.at

    def late(self: Any, found: Any, longest: int, dtype: torch.dtype) -> Any:
        moved = slice(found.start + 1, found.stop + 1) if isinstance(found, slice) and found.start > 0 else found
        return at(self, moved, longest + 1, dtype)

    patch.setattr(gpt.Rotary, "at", late)


def random_draw(patch: pytest.MonkeyPatch) -> None:
    forward = gpt.FeedForward.forward
    patch.setattr(gpt.FeedForward, "forward", lambda self, x: forward(self, torch.nn.functional.dropout(x, 0.3)))


def rows_that_see_each_other(patch: pytest.MonkeyPatch) -> None:
    forward = gpt.FeedForward.forward

    def mixed(self: Any, x: torch.Tensor) -> torch.Tensor:
        return forward(self, x + (x.mean(dim=0, keepdim=True) if len(x) > 1 else 0.0))

    patch.setattr(gpt.FeedForward, "forward", mixed)


@pytest.mark.parametrize(
    ("broken", "must_fail", "says"),
    [
        (broken_softmax, {"Attention"}, {"Attention": "sum to 1.01"}),
        (ahead_by_one, {"Attention", "Causality"}, {"Attention": "looks ahead", "Causality": "before it, by up to"}),
        (no_mask, {"Attention", "Causality", "Cache"}, {"Attention": "token 0 looks ahead at token 1"}),
        (leak_beside_attention, {"Causality", "Cache"}, {"Causality": "changes the logits of token 0 before it"}),
        (cache_one_off, {"Cache"}, {"Cache": "Read token by token, token "}),
        (random_draw, {"Causality", "Cache", "Temperature 0"}, {"Temperature 0": "Asked twice"}),
        (rows_that_see_each_other, {"Temperature 0"}, {"Temperature 0": "alone and in a batch"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_network_is_found_by_its_check(make_run, engine, monkeypatch, broken, must_fail, says) -> None:
    broken(monkeypatch)
    checks = examined(engine(), make_run())
    assert must_fail <= failed(checks), checks
    assert "Shapes" not in failed(checks)
    for name, words in says.items():
        assert words in checks[name].message
        assert checks[name].remedy


def test_a_model_that_says_the_same_whatever_it_reads_is_noted(engine) -> None:
    model = engine().model
    with torch.no_grad():
        model.final_norm.weight.zero_()
    found = check_causality(model, torch.arange(64, 76)[None])
    assert found.status == "warning"
    assert "nothing at all" in found.message
    assert check_causality(model, torch.tensor([[64]])).status == "warning"


def test_weights_below_zero_are_found(engine, monkeypatch) -> None:
    model = engine().model
    weights = torch.full((1, 1, 2, 2), 0.0)
    weights[..., 0] = torch.tensor([1.0, 1.5])
    weights[..., 1, 1] = -0.5
    monkeypatch.setattr(model, "attention_weights", lambda ids: [weights])
    assert "below 0" in check_attention(model, torch.tensor([[64, 65]])).message


# ---------------------------------------------------------------------- gradients


def flow_of(model: GPT) -> Check:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(64, model.config.vocab_size, (4, 17), generator=generator)
    return check_gradients(gradient_flow(model, tokens[:, :-1], tokens[:, 1:]))


def deep(family: str = "llama", **switches: Any) -> GPT:
    torch.manual_seed(0)
    shape = {"vocab_size": 100, "n_layer": 8, "n_head": 2, "d_model": 32, "context": 16}
    return GPT(GPTConfig(family=family, **{**shape, **switches})).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_networks_have_even_gradients(family) -> None:
    assert flow_of(deep(family, **({"init": "residual_scaled"} if family == "speedrun" else {}))).status == "ok"


def enlarge(blocks: Any, factor: float) -> None:
    with torch.no_grad():
        for block in blocks:
            for parameter in block.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(factor)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_an_init_that_explodes_in_the_upper_half_is_found(family) -> None:
    model = deep(family)
    enlarge(model.blocks[4:], 300.0)
    found = flow_of(model)
    assert found.status == "failed"
    assert "The gradient of the stream explodes on its way down" in found.message
    assert "in block 0" in found.message
    assert "init_std" in found.remedy


def test_an_init_that_explodes_everywhere_is_found_in_the_stream_where_norms_hide_it(engine, make_run) -> None:
    found = engine(n_layer=3)
    enlarge(found.model.blocks, 300.0)
    checks = examined(found, make_run(n_layer=3))
    assert checks["Stream"].status == "warning"
    assert "float16 ends at" in checks["Stream"].message
    enlarge(found.model.blocks, 1e20)
    checks = examined(found, make_run(n_layer=3))
    assert failed(checks) == {"Stream"}
    assert "not finite" in checks["Stream"].message


def test_logits_that_leave_no_choice_are_said(engine, monkeypatch) -> None:
    found = engine()
    monkeypatch.setattr(found.model, "logits", lambda hidden: hidden @ found.model.head_weight[:-16].T * math.nan)
    assert "no probability to any token" in check_greedy(found, [[64, 65]]).message


def test_a_tie_is_a_warning(engine, monkeypatch) -> None:
    """In a batch another of two equal tokens wins: rounding, and no fault."""
    found = engine()
    run = found.run
    monkeypatch.setattr(found.model, "logits", lambda hidden: hidden[..., :1] * torch.zeros(80))

    def other(requests: Any) -> Any:
        completions = run(requests)
        return [dataclasses.replace(c, ids=tuple(i + (len(requests) > 1) for i in c.ids)) for c in completions]

    monkeypatch.setattr(found, "run", other)
    answer = check_greedy(found, [[64, 65], [66]])
    assert answer.status == "warning"
    assert "equally likely" in answer.message


def test_norms_that_do_nothing_let_the_gradient_explode(monkeypatch) -> None:
    monkeypatch.setattr(layers.F, "layer_norm", lambda x, *rest: x)
    assert flow_of(deep("gpt2")).status == "ok"
    found = flow_of(deep("gpt2", init_std=0.4))
    assert found.status == "failed"
    assert "explodes" in found.message


@pytest.mark.parametrize(("factor", "status"), [(0.9, "ok"), (0.4, "warning"), (0.1, "failed")])
def test_a_gradient_that_fades_from_block_to_block_is_found(factor, status) -> None:
    model = deep()
    for block in model.blocks:
        block.register_full_backward_hook(lambda module, d_in, d_out: (d_in[0] * factor, *d_in[1:]))
    found = flow_of(model)
    assert found.status == status
    assert ("vanishes" in found.message) == (status != "ok")


def test_a_gradient_that_is_cut_is_found(monkeypatch) -> None:
    model = deep()
    forward = model.blocks[3].forward
    monkeypatch.setattr(model.blocks[3], "forward", lambda x, *rest: forward(x.detach(), *rest))
    found = flow_of(model)
    assert found.status == "failed"
    assert "No gradient reaches" in found.message


def test_a_gradient_that_is_no_number_is_found() -> None:
    model = deep()
    model.blocks[2].register_full_backward_hook(lambda module, d_in, d_out: (d_in[0] * math.nan, *d_in[1:]))
    assert "is nan" in flow_of(model).message


def test_a_head_of_zeros_says_so() -> None:
    found = flow_of(deep("speedrun"))
    assert found.status == "failed"
    assert "zero head" in found.remedy


def test_bars_are_logarithmic_down_to_what_counts_as_broken() -> None:
    assert sparkline([1.0, 1.0]) == "██"
    assert sparkline([1.0, 1.0 / BROKEN, 0.0]) == "█▁▁"
    assert sparkline([math.nan, 1.0]) == sparkline([0.0, 0.0]) == "??"
    assert level(1.0 / UNEVEN, 16) == 8


def test_without_text_the_network_is_examined_on_random_tokens(engine) -> None:
    found = engine()
    tokens = sample_tokens(None, found)
    assert tokens.shape == (4, 25)
    assert tokens.min() >= 64
    assert tokens.max() < found.tokenizer.vocab_size
    assert torch.equal(tokens, sample_tokens(None, found))
    short = TokenDataset.from_ids([70, 71], [70])
    assert torch.equal(tokens, sample_tokens(short, found))
    foreign = TokenDataset.from_ids([9999] * 99, [70])
    assert torch.equal(tokens, sample_tokens(foreign, found))
