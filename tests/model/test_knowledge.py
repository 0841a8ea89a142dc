"""What holds for knowledge layers whatever their weights: the base unmoved, facts without order, files apart."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from groundzero.errors import ConfigError, FormatError, GroundzeroError, InputError
from groundzero.model import GPT, GPTConfig
from groundzero.model.copying import copy_loss, pointer, slot_of
from groundzero.model.facts import Fact, Facts, make_facts, mean_embedding
from groundzero.model.knowledge import KnowledgeBlock, KnowledgeGPT, attach_knowledge
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.model.knowledge_file import (
    CONFIG,
    WEIGHTS,
    load_knowledge,
    read_knowledge_config,
    save_knowledge,
    with_saved_knowledge,
)
from groundzero.model.weights import load_weights, save_weights
from groundzero.reference.knowledge import mean_embedding as twin_mean

D_VECTOR = 3
FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]


@pytest.fixture(scope="session")
def knowing(make_model):
    """A model with knowledge layers whose gates are open, or shut when `gate` is 0."""

    def make(*, gate: float = 0.8, config: KnowledgeConfig | None = None, seed: int = 0, **switches) -> KnowledgeGPT:
        torch.manual_seed(seed)
        config = config or KnowledgeConfig(d_vector=D_VECTOR, d_fact=12, d_copy=8, max_number=5)
        model = attach_knowledge(make_model(seed=seed, **switches), config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("knowledge_gate"):
                    parameter.fill_(gate)
            model.knowledge_copy.gate.weight.normal_()
        return model

    return make


def random_fact(seed: int, **changes) -> Fact:
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(53, (length,), generator=generator).tolist() for length in (2, 1, 3)]
    return dataclasses.replace(
        Fact(*texts, number=seed % 5 + 1, vectors=torch.randn(3 * D_VECTOR, generator=generator)), **changes
    )


def facts_of(*rows: list[Fact], **options) -> dict[str, Facts]:
    return {"facts": make_facts(rows, D_VECTOR, **options)}


# --- the base stays what it was --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_fresh_layers_change_nothing(knowing, make_model, make_ids, family):
    """To the last bit: without facts whatever the gate, and with facts while it is shut."""
    base, ids_BT = make_model(family=family), make_ids(2, 9)
    want = base(ids_BT, ids_BT)
    some = facts_of([random_fact(1), random_fact(2)], [random_fact(3)])
    none = facts_of([], [])
    for gate, side_inputs in [(0.0, some), (0.8, None), (0.8, {}), (0.8, none)]:
        got = knowing(gate=gate, family=family)(ids_BT, ids_BT, side_inputs=side_inputs)
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])
    moved = knowing(gate=0.8, family=family)(ids_BT, side_inputs=some)[0]
    assert not torch.allclose(moved, want[0]), "the facts must matter for this to prove anything"


@torch.no_grad()
def test_a_row_without_facts_among_rows_with_some_is_the_base(knowing, make_model, make_ids):
    ids_BT = make_ids(3, 7)
    got = knowing()(ids_BT, side_inputs=facts_of([random_fact(1)], [], [random_fact(2), random_fact(3)]))[0]
    assert torch.equal(got[1], make_model()(ids_BT)[0][1])


def test_the_base_shares_its_weights_and_names(make_model):
    base = make_model()
    names = list(dict(base.named_parameters()))
    config = base.config
    model = attach_knowledge(base, KnowledgeConfig())
    of_model = dict(model.named_parameters())
    assert [name for name in of_model if "knowledge" not in name] == names
    assert all(of_model[name] is parameter for name, parameter in base.named_parameters())
    assert model.config is config
    roles = model.roles()
    assert {roles[name] for name in of_model if "knowledge" in name} == {"knowledge"}
    assert {name: role for name, role in roles.items() if name in names} == base.roles()
    assert type(base.blocks[1]) is not type(model.blocks[1])
    assert "facts" not in base.side_input_names


@pytest.mark.parametrize("blocks", [None, (), (0,), (1, 0, 1)])
def test_the_blocks_that_read_are_the_chosen_ones(make_model, blocks):
    model = attach_knowledge(make_model(n_layer=3), KnowledgeConfig(blocks=blocks))
    reading = tuple(i for i, block in enumerate(model.blocks) if isinstance(block, KnowledgeBlock))
    assert reading == model.knowledge_config.blocks == {None: (1, 2), (): (), (0,): (0,), (1, 0, 1): (0, 1)}[blocks]
    side_inputs = {"facts": make_facts([[Fact([1], [2], [3])]])}
    assert model(torch.zeros(1, 2, dtype=torch.int64), side_inputs=side_inputs)[0].isfinite().all()


def test_settings_that_do_not_fit_are_refused(make_model):
    base = make_model()
    for config, message in [
        (KnowledgeConfig(blocks=(2,)), "names block 2, and the model has blocks 0 to 1"),
        (KnowledgeConfig(n_head=5), "n_head.*d_model 32"),
    ]:
        with pytest.raises(ConfigError, match=message):
            attach_knowledge(base, config)
    with pytest.raises(ConfigError, match="already"):
        attach_knowledge(attach_knowledge(base))
    odd = GPT(GPTConfig(n_layer=1, n_head=3, head_dim=6, d_model=32, context=8, vocab_size=9))
    assert attach_knowledge(odd).knowledge_config.n_head == 1, "heads of the base that do not divide its width"


def test_the_layers_come_where_the_base_is(make_model):
    base = GPT(GPTConfig(n_layer=1, n_head=2, d_model=8, context=8, vocab_size=9)).to(torch.bfloat16)
    base.compute_dtype = torch.bfloat16
    model = attach_knowledge(base)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.compute_dtype == torch.bfloat16
    side_inputs = {"facts": make_facts([[Fact([1], [2], [3])]])}
    assert model(torch.zeros(1, 2, dtype=torch.int64), side_inputs=side_inputs)[0].dtype == torch.bfloat16


# --- facts have no order ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(order=st.permutations(range(4)), padding=st.integers(0, 3))
@torch.no_grad()
def test_order_and_padding_of_facts_mean_nothing(knowing, make_ids, order, padding):
    model, ids_BT = knowing(), make_ids(1, 6)
    facts = [random_fact(seed) for seed in range(4)]
    longer = [random_fact(9, object=[1] * 9) for _ in range(4 + padding)]
    plain = make_facts([facts], D_VECTOR)
    mixed = make_facts([[facts[i] for i in order], longer], D_VECTOR)
    alone, among = ({"facts": one} for one in (plain, mixed))
    want = model(ids_BT, side_inputs=alone)[0]
    got = model(ids_BT.repeat(2, 1), side_inputs=among)[0][:1]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    hidden = model.hidden(ids_BT, side_inputs=alone)
    shares = []
    for given_facts in (plain, mixed):
        encoded = model.encode_facts(given_facts)
        _, scores = model.knowledge_copy(hidden.expand(len(encoded.facts_BNF), -1, -1), encoded.facts_BNF)
        shares.append(pointer(scores, encoded.copyable_BTS)[:1])
    slots = [slot_of(fact, role) for fact in order for role in (0, 1)]
    torch.testing.assert_close(shares[1][..., :8], shares[0][..., slots], rtol=1e-5, atol=1e-6)
    assert not shares[1][..., 8:].any()


@torch.no_grad()
def test_a_number_tells_equal_facts_apart_and_one_too_high_is_none(knowing):
    model = knowing()
    same = [random_fact(1, number=number) for number in (0, 1, 2, 6, 99)]
    vectors_NF = model.encode_facts(make_facts([same], D_VECTOR)).facts_BNF[0]
    assert not torch.equal(vectors_NF[0], vectors_NF[1])
    assert not torch.equal(vectors_NF[1], vectors_NF[2])
    assert torch.equal(vectors_NF[0], vectors_NF[3])
    assert torch.equal(vectors_NF[0], vectors_NF[4])


@pytest.mark.parametrize("form", ["encoded", "pair", "prepared"])
@torch.no_grad()
def test_facts_may_come_encoded_or_prepared(knowing, make_ids, form):
    model, ids_BT = knowing(), make_ids(2, 5)
    raw = facts_of([random_fact(1)], [random_fact(2), random_fact(3)])
    want = model(ids_BT, side_inputs=raw)[0]
    encoded = model.encode_facts(raw["facts"])
    side_inputs = {
        "encoded": {"facts": encoded},
        "pair": {"facts": (encoded.facts_BNF, raw["facts"].visible_BN)},
        "prepared": model.prepare_side_inputs(raw),
    }[form]
    assert torch.equal(model(ids_BT, side_inputs=side_inputs)[0], want)
    assert model.prepare_side_inputs(None) is None
    with pytest.raises(InputError, match="no side input 'fact'"):
        model(ids_BT, side_inputs={"fact": encoded})


@torch.no_grad()
def test_token_by_token_as_all_at_once(knowing, make_ids):
    model, ids_BT = knowing(), make_ids(2, 8)
    side_inputs = model.prepare_side_inputs(facts_of([random_fact(1)], [random_fact(2), random_fact(3)]))
    want = model(ids_BT, side_inputs=side_inputs)[0]
    cache = model.new_cache(2)
    steps = [model(ids_BT[:, t : t + 1], cache=cache, side_inputs=side_inputs)[0] for t in range(8)]
    torch.testing.assert_close(torch.cat(steps, dim=1), want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_both_paths_of_attention_agree(knowing, make_ids, monkeypatch):
    model, ids_BT = knowing(), make_ids(2, 5)
    side_inputs = facts_of([random_fact(1)], [])
    want = model(ids_BT, side_inputs=side_inputs)[0]
    monkeypatch.setattr("groundzero.model.knowledge.EXPLICIT_UP_TO", 0)
    torch.testing.assert_close(model(ids_BT, side_inputs=side_inputs)[0], want, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_packed_texts_read_their_own_facts_alone(knowing, make_ids):
    """Two conversations in a row of one batch compute what each computes alone, copying included."""
    model, ids_BT = knowing(), make_ids(1, 8)
    own = [[random_fact(1), random_fact(2)], [random_fact(3)]]
    packed = [dataclasses.replace(fact, document=document) for document, facts in enumerate(own) for fact in facts]
    documents_BT = torch.tensor([[0] * 5 + [1] * 3])
    positions_BT = torch.tensor([[*range(5), *range(3)]])
    facts = make_facts([packed], D_VECTOR, isolate_documents=True)
    borders = {"documents_BT": documents_BT, "positions_BT": positions_BT}
    got = model.hidden(ids_BT, side_inputs={"facts": facts}, **borders)
    starts = torch.tensor([[1, -1, 3, -1, -1, 5, -1, 4]])
    targets = torch.tensor([[3, 4, 5, 6, -1, 8, 9, -1]])
    parts = model.losses(ids_BT, targets, facts=facts, starts_BTA=starts, **borders)[1]
    gates, pointers = [], []
    for span, row, shift in ((slice(0, 5), own[0], 0), (slice(5, 8), own[1], 4)):
        alone = make_facts([row], D_VECTOR)
        want = model.hidden(ids_BT[:, span], side_inputs={"facts": alone})
        torch.testing.assert_close(got[:, span], want, rtol=1e-4, atol=1e-5)
        own_starts = torch.where(starts[:, span] >= 0, starts[:, span] - shift, -1)
        one = model.losses(ids_BT[:, span], targets[:, span], facts=alone, starts_BTA=own_starts)[1]
        counted = (targets[:, span] >= 0) | (own_starts >= 0)
        gates.append(one.gate * counted.sum())
        pointers.append(one.pointer * (own_starts >= 0).sum())
    assert float(parts.gate) == pytest.approx(float(sum(gates)) / 7, rel=1e-4)
    assert float(parts.pointer) == pytest.approx(float(sum(pointers)) / 4, rel=1e-4)


def test_gradients_flow_through_checkpoints_too(make_model, make_ids):
    ids_BT = make_ids(1, 6)
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = attach_knowledge(
            make_model(checkpoint_activations=recompute), KnowledgeConfig(d_vector=D_VECTOR)
        ).train()
        with torch.no_grad():
            for block in model.blocks:
                block.knowledge_gate.fill_(0.5)
        model.zero_grad()
        model.loss(ids_BT, ids_BT, **facts_of([random_fact(1), random_fact(2)])).backward()
        gradients.append(model.blocks[0].knowledge.value.weight.grad.clone())
    assert gradients[0].any()
    torch.testing.assert_close(*gradients)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_the_mean_of_a_text(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(9, (length,), generator=generator).tolist() for length in lengths]
    table_VD = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    facts = make_facts([[Fact(text, [], []) for text in texts]])
    got = mean_embedding(table_VD, facts.subject_BNL)
    want = twin_mean(table_VD.numpy(), facts.subject_BNL.numpy()) if max(lengths) else torch.zeros(1, len(texts), 3)
    torch.testing.assert_close(got, torch.as_tensor(want, dtype=torch.float64))


def test_thousands_of_facts_fit():
    model = attach_knowledge(GPT(GPTConfig(n_layer=1, n_head=2, d_model=16, context=8, vocab_size=99)))
    facts = make_facts([[Fact([n % 99, n // 99], [1], [2], n) for n in range(5000)]])
    with torch.no_grad():
        logits = model(torch.zeros(1, 4, dtype=torch.int64), side_inputs={"facts": facts})[0]
    assert logits.isfinite().all()


def test_vectors_of_another_width_are_refused():
    with pytest.raises(InputError, match="have 2 numbers, and the model takes 9"):
        make_facts([[Fact([1], [2], [3], vectors=[1.0, 2.0])]], 3)


# --- copying ---------------------------------------------------------------------------------------------------------


def test_what_has_no_text_is_not_copied(knowing):
    facts = make_facts([[random_fact(1, object=()), random_fact(2)], [random_fact(3)]], D_VECTOR)
    assert facts.copyable().tolist() == [[True, False, True, True], [True, True, False, False]]
    none = pointer(torch.zeros(1, 2, 4), torch.zeros(1, 1, 4, dtype=torch.bool))
    assert not none.any()


def test_the_copy_loss_of_certainty_is_zero_and_of_ignorance_the_logarithm():
    starts = torch.full((1, 3, 2), -1)
    starts[0, 1] = torch.tensor([2, 0])
    visible, counted = torch.ones(1, 1, 4, dtype=torch.bool), torch.tensor([[True, True, False]])
    sure = copy_loss(
        torch.tensor([[-60.0, 60.0, 9.0]]), torch.tensor([9e9, 0, 9e9, 0]).expand(1, 3, 4), visible, starts, counted
    )
    assert [float(part) for part in sure] == pytest.approx([0, 0], abs=1e-20)
    unsure = copy_loss(torch.zeros(1, 3), torch.zeros(1, 3, 4), visible, starts, counted)
    assert [float(part) for part in unsure] == pytest.approx([0.6931472, 0.6931472])
    nothing = copy_loss(torch.zeros(1, 3), torch.zeros(1, 3, 4), visible, starts * 0 - 1, counted & False)
    assert [float(part) for part in nothing] == [0, 0]


def test_copying_can_be_learnt_for_facts_never_seen():
    """Subject and relation ask, the object of the fact is pointed to; new facts at every step."""
    torch.manual_seed(0)
    base = GPT(GPTConfig(n_layer=2, n_head=4, d_model=32, context=8, vocab_size=48))
    model = attach_knowledge(base, KnowledgeConfig(d_copy=32))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(1)
    right = []
    for step in range(150):
        rows, ids, starts = [], [], []
        for _ in range(24):
            subject, relation, object_ = (
                (torch.randperm(12, generator=generator)[:4] + low).tolist() for low in (10, 22, 34)
            )
            rows.append([Fact([s], [r], [o]) for s, r, o in zip(subject, relation, object_, strict=True)])
            asked = int(torch.randint(4, (), generator=generator))
            ids.append([1, subject[asked], relation[asked], 2])
            starts.append([-1, -1, -1, slot_of(asked, 1)])
        facts, ids_BT, starts_BT = make_facts(rows), torch.tensor(ids), torch.tensor(starts)
        targets_BT = torch.full_like(ids_BT, -1)
        targets_BT[:, 2] = 2
        model.loss(ids_BT, targets_BT, facts=facts, starts_BTA=starts_BT).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= 140:
            with torch.no_grad():
                encoded = model.encode_facts(facts)
                hidden = model.hidden(ids_BT, side_inputs={"facts": facts})
                gate, scores = model.knowledge_copy(hidden, encoded.facts_BNF)
                right += (scores[:, -1].argmax(-1) == starts_BT[:, -1]).tolist()
                assert (gate[:, 3] > 0).all()
                assert (gate[:, 2] < 0).all()
    assert sum(right) / len(right) > 0.9


# --- files -----------------------------------------------------------------------------------------------------------


def test_layers_go_to_their_own_file_and_come_back(knowing, make_model, make_ids, tmp_path):
    model = knowing()
    save_weights(model, tmp_path)
    save_knowledge(model, tmp_path)
    base = make_model(seed=5)
    load_weights(base, tmp_path)
    loaded = with_saved_knowledge(base, tmp_path)
    assert isinstance(loaded, KnowledgeGPT)
    assert loaded.knowledge_config == model.knowledge_config
    side_inputs = facts_of([random_fact(1)])
    with torch.no_grad():
        assert torch.equal(
            loaded(make_ids(1, 5), side_inputs=side_inputs)[0], model(make_ids(1, 5), side_inputs=side_inputs)[0]
        )
    assert all("knowledge" in name for name in load_file(tmp_path / WEIGHTS))


def test_a_model_without_knowledge_layers_writes_and_finds_none(make_model, tmp_path):
    base = make_model()
    save_knowledge(base, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert read_knowledge_config(tmp_path) is None
    assert with_saved_knowledge(base, tmp_path) is base


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (CONFIG, lambda text: text.replace(b'"schema": 1', b'"schema": 2'), "schema 2"),
        (CONFIG, lambda text: b"{", "Cannot read"),
        (CONFIG, lambda text: b"[]", "Cannot read"),
        (CONFIG, lambda text: text.replace(b'"d_copy"', b'"d_coby"'), "d_coby"),
        (CONFIG, lambda text: text.replace(b"\n   1\n", b"\n   7\n"), "names block 7"),
        (CONFIG, lambda text: text.replace(b'"d_fact": 12', b'"d_fact": 13'), "the model needs"),
        (WEIGHTS, lambda data: data[:-1], "damaged"),
        (WEIGHTS, lambda data: None, "missing"),
        (WEIGHTS, lambda data: save_file_of({}), "differs"),
    ],
)
def test_files_that_do_not_fit_are_refused(knowing, make_model, tmp_path, name, change, message):
    save_knowledge(knowing(), tmp_path)
    path = tmp_path / name
    changed = change(path.read_bytes())
    if changed is None:
        path.unlink()
    else:
        assert changed != path.read_bytes()
        path.write_bytes(changed)
    with pytest.raises(FormatError, match=message) as caught:
        with_saved_knowledge(make_model(), tmp_path)
    assert isinstance(caught.value, GroundzeroError)
    assert caught.value.remedy


def save_file_of(tensors) -> bytes:
    from safetensors.torch import save

    return save(tensors)


def test_integers_are_no_weights(knowing, tmp_path):
    model = knowing()
    save_knowledge(model, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["knowledge_copy.role"] = tensors["knowledge_copy.role"].to(torch.int32)
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(FormatError, match=r"knowledge_copy\.role.*int32"):
        load_knowledge(model, tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))["schema"] == 1
