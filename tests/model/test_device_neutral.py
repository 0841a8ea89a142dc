"""The network knows no device: it names none, and lives wherever its weights and inputs are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import groundzero.model
from groundzero.model import GPT, GPTConfig
from groundzero.model.config import FAMILIES

FOLDER = Path(groundzero.model.__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.py"))
DEVICES = {"cpu", "cuda", "mps", "xpu", "hip", "rocm", "tpu", "npu", "hpu"}
# Asking `x.device.type == "cpu"` chooses between two ways to compute the same; and a cache is somewhere when nobody
# says where.
MAY_ASK = {"attention.py", "knowledge.py", "loss.py", "fused.py"}
MAY_DEFAULT = {"cache.py"}


def device_words(source: str) -> list[str]:
    """Device names that a file holds as text or as an attribute, and why each might be allowed.

    Returns:
        "asks" for a comparison of `.device.type` with "cpu", "defaults" for the default of a `device` parameter, else
        the word itself with its line.
    """
    tree = ast.parse(source)
    excused: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".device.type"):
            excused |= {id(part): "asks" for part in node.comparators}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if argument.arg == "device" and default is not None:
                    excused[id(default)] = "defaults"
    found = []
    for node in ast.walk(tree):
        word = node.value if isinstance(node, ast.Constant) else getattr(node, "attr", getattr(node, "id", None))
        if isinstance(word, str) and word.lower().split(":")[0] in DEVICES:
            cpu_excuse = excused.get(id(node)) if word == "cpu" else None
            method = isinstance(node, ast.Attribute) and word == "cpu"  # `tensor.cpu()`, to write it to a file
            found.append(cpu_excuse or ("writes" if method else f"{word} at line {node.lineno}"))
    return found


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_a_device(name) -> None:
    allowed = set()
    allowed |= {"asks"} if name in MAY_ASK else set()
    allowed |= {"defaults"} if name in MAY_DEFAULT else set()
    allowed |= {"writes"} if name in {"weights.py", "knowledge_file.py"} else set()
    assert set(device_words((FOLDER / name).read_text(encoding="utf-8"))) <= allowed


def test_the_files_are_those_of_the_room() -> None:
    assert {"gpt.py", "layers.py", "attention.py", "loss.py", "fused.py", "cache.py", "weights.py"} <= set(FILES)


@pytest.mark.parametrize(
    "line",
    [
        'x = x.to("cuda")',
        'x = torch.zeros(3, device="cuda:0")',
        "ok = torch.cuda.is_available()",
        "x = x.cuda()",
        'fast = x.device.type == "cuda"',
        'x = torch.zeros(3, device="cpu")',
        'if device == "mps": pass',
    ],
)
def test_a_file_that_does_is_seen(line) -> None:
    assert not set(device_words(line)) <= {"asks", "defaults", "writes"}


def test_what_is_allowed_is_told_apart() -> None:
    assert device_words('short = q.device.type == "cpu"') == ["asks"]
    assert device_words('def f(*, device="cpu"): pass') == ["defaults"]
    assert device_words('"""On a cpu it is slow; on cuda it is not."""') == []


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_built_read_and_trained_on_a_device_that_holds_nothing(family) -> None:
    """On "meta" a tensor made on any other device would not mix; every path must follow its inputs."""
    config = GPTConfig(family=family, vocab_size=53, n_layer=2, n_head=4, d_model=32, context=24, window=8)
    with torch.device("meta"):
        model = GPT(config)
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}
    assert model.device.type == "meta"
    ids_BT = torch.zeros(2, 12, dtype=torch.int64, device="meta")
    logits_BTV, loss = model(ids_BT, ids_BT, documents_BT=ids_BT, positions_BT=ids_BT)
    assert (logits_BTV.device.type, logits_BTV.shape) == ("meta", (2, 12, 53))
    assert loss is not None and loss.device.type == "meta"
    model.loss(ids_BT, ids_BT).backward()
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in model.parameters())
    cache = model.new_cache(2)
    with torch.no_grad():
        model(ids_BT[:1, :3], cache=cache.rows(0, 1))  # uneven from here on
        assert model(ids_BT[:, :4], cache=cache)[0].shape == (2, 4, 53)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_built_nowhere_and_given_a_place_later(family) -> None:
    """As sharded training builds models: on "meta", then `to_empty`, then the start."""
    config = GPTConfig(
        family=family, vocab_size=53, n_layer=2, n_head=4, d_model=32, context=24, init="residual_scaled"
    )
    want = GPT(config)
    with torch.device("meta"):
        model = GPT(config)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().fill_(7.0)  # whatever lay there
    model.reset_tables()
    for one in (model, want):
        torch.manual_seed(0)
        one.reset_parameters()
    ids_BT = torch.arange(24)[None]
    assert torch.equal(model(ids_BT)[0], want(ids_BT)[0])
