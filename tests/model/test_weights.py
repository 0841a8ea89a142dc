"""Weights on disk: what is read back is what was written, and what disagrees with the model is refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from groundzero.errors import FormatError
from groundzero.model import GPT, GPTConfig
from groundzero.model.weights import INDEX, load_weights, save_weights

FAMILIES = ["gpt2", "classic", "llama", "qwen3", "speedrun"]
ONE_SHARD = "model-00001-of-00001.safetensors"


def index_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / INDEX).read_text(encoding="utf-8"))


def write_index(directory: Path, weight_map: Any) -> None:
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def same(one: GPT, other: GPT) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_bit_for_bit(make_model, tmp_path, family, dtype) -> None:
    model, other = make_model(family=family).to(dtype), make_model(family=family, seed=5).to(dtype)
    save_weights(model, tmp_path)
    assert not same(model, other)
    load_weights(other, tmp_path)
    assert same(model, other)


@pytest.mark.parametrize("limit", [1, 5000, 20_000, 10**9])
def test_shards_and_their_index_have_hugging_faces_form(make_model, tmp_path, limit) -> None:
    model = make_model(tie_embeddings=False)
    save_weights(model, tmp_path, max_shard_bytes=limit)
    index, files = index_of(tmp_path), sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)]
    assert (len(files) == 1) == (limit == 10**9)
    assert set(index) == {"metadata", "weight_map"}
    assert index["metadata"]["total_size"] == sum(p.nbytes for p in model.parameters())
    assert set(index["weight_map"].values()) == set(files)
    stored: dict[str, torch.Tensor] = {}
    for name in files:
        shard = load_file(tmp_path / name)
        assert {key for key, file in index["weight_map"].items() if file == name} == set(shard)
        assert len(shard) == 1 or sum(tensor.nbytes for tensor in shard.values()) <= limit
        stored |= shard
    assert list(index["weight_map"]) == [name for name, _ in model.named_parameters()]
    assert all(torch.equal(stored[name], parameter) for name, parameter in model.named_parameters())
    other = make_model(tie_embeddings=False, seed=5)
    load_weights(other, tmp_path)
    assert same(model, other)


def test_a_tied_head_is_stored_once(make_model, tmp_path) -> None:
    save_weights(make_model(), tmp_path)
    assert "head.weight" not in index_of(tmp_path)["weight_map"]


def test_precision_is_the_models(make_model, tmp_path) -> None:
    save_weights(make_model().bfloat16(), tmp_path)
    model = make_model(seed=5)
    load_weights(model, tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert same(model, make_model().bfloat16().float())


@pytest.fixture
def saved(make_model, tmp_path) -> Path:
    save_weights(make_model(), tmp_path)
    return tmp_path


def refuse(model: GPT, directory: Path, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        load_weights(model, directory)
    assert "gz runs verify" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", "{}", '{"weight_map": 3}', '{"weight_map": ["a"]}', "\udcff"], ids=repr
)
def test_an_index_that_is_none(make_model, saved, text) -> None:
    (saved / INDEX).write_bytes(text.encode("utf-8", "surrogateescape"))
    refuse(make_model(), saved, "weight index")


def test_no_index(make_model, saved) -> None:
    (saved / INDEX).unlink()
    refuse(make_model(), saved, "weight index")


def test_no_directory(make_model, tmp_path) -> None:
    refuse(make_model(), tmp_path / "absent", "absent")


@pytest.mark.parametrize("form", ["../{}", "{}/../secret/{}", "/{}", "absolute", "", ".", "..", "a/../{}", 7, None])
def test_nothing_outside_the_directory_is_read(make_model, tmp_path, monkeypatch, form) -> None:
    """Sound weights lie beside the directory; the index that points there is refused before any file is opened."""
    inside, outside = tmp_path / "inside", tmp_path / "secret"
    for directory in (inside, outside):
        directory.mkdir()
        save_weights(make_model(), directory)
    (outside / ONE_SHARD).replace(tmp_path / ONE_SHARD)
    target = str(tmp_path / ONE_SHARD) if form == "absolute" else form
    target = target.format(ONE_SHARD, ONE_SHARD) if isinstance(target, str) else target
    write_index(inside, dict.fromkeys(index_of(inside)["weight_map"], target))
    opened: list[Any] = []
    monkeypatch.setattr("groundzero.model.weights.safe_open", lambda path, **_: opened.append(path))
    refuse(make_model(), inside, "weight index")
    assert opened == []


def test_a_missing_shard(make_model, saved) -> None:
    (saved / ONE_SHARD).unlink()
    refuse(make_model(), saved, ONE_SHARD)


def test_one_of_many_shards_missing(make_model, tmp_path) -> None:
    save_weights(make_model(), tmp_path, max_shard_bytes=5000)
    victim = sorted(tmp_path.glob("*.safetensors"))[1]
    victim.unlink()
    refuse(make_model(), tmp_path, victim.name)


def test_truncated_anywhere(make_model, saved) -> None:
    content = (saved / ONE_SHARD).read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for length in (0, 1, 7, 8, 9, header - 1, header, header + 1, len(content) // 2, len(content) - 1):
        (saved / ONE_SHARD).write_bytes(content[:length])
        refuse(make_model(), saved, ONE_SHARD)


def test_a_flipped_bit_in_the_header_never_crashes_nor_misreads(make_model, saved) -> None:
    """Every bit of the length and of one tensor's description: refused, or what is read is what was written.

    A flip among the weights themselves is a number like any other; the manifest's hashes are there for that.
    """
    content = (saved / ONE_SHARD).read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    refused, model, want = 0, make_model(seed=5), make_model()
    for bit in range(8 * min(header, 160)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (saved / ONE_SHARD).write_bytes(damaged)
        try:
            load_weights(model, saved)
        except FormatError as error:
            assert ONE_SHARD in str(error)
            refused += 1
        else:
            assert same(model, want)
    assert refused > 600


def test_a_renamed_tensor_in_the_file(make_model, saved) -> None:
    tensors = load_file(saved / ONE_SHARD)
    tensors["other"] = tensors.pop("final_norm.weight")
    save_file(tensors, saved / ONE_SHARD)
    refuse(make_model(), saved, ONE_SHARD)


def test_a_renamed_tensor_in_the_index(make_model, saved) -> None:
    weight_map = index_of(saved)["weight_map"]
    weight_map["other"] = weight_map.pop("final_norm.weight")
    write_index(saved, weight_map)
    refuse(make_model(), saved, "final_norm.weight differs")


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"n_layer": 3}, r"blocks\.2\..* differs"),
        ({"qk_norm": False}, "key_norm differs"),
        ({"tie_embeddings": False}, "head.weight differs"),
        ({"d_model": 16}, r"embedding.weight .* is \(64, 32\), the model needs \(64, 16\)"),
        ({"vocab_size": 100}, r"\(64, 32\), the model needs \(128, 32\)"),
        ({"n_kv_head": 2}, r"key.weight .* is \(32, 32\), the model needs \(16, 32\)"),
    ],
    ids=str,
)
def test_weights_of_another_model(make_model, saved, switches, words) -> None:
    refuse(make_model(**switches), saved, words)


def test_whole_numbers_are_no_weights(make_model, saved) -> None:
    tensors = load_file(saved / ONE_SHARD)
    tensors["final_norm.weight"] = tensors["final_norm.weight"].view(torch.int32)
    save_file(tensors, saved / ONE_SHARD)
    refuse(make_model(), saved, r"final_norm.weight in .* is torch.int32")


def test_something_else_with_that_name(make_model, saved) -> None:
    (saved / ONE_SHARD).unlink()
    (saved / ONE_SHARD).mkdir()
    refuse(make_model(), saved, ONE_SHARD)


def test_loading_draws_no_random_number(saved) -> None:
    model = GPT(GPTConfig(family="qwen3", vocab_size=53, n_layer=2, n_head=4, d_model=32, d_ff=48, context=24))
    state = torch.get_rng_state()
    load_weights(model, saved)
    assert torch.equal(torch.get_rng_state(), state)
