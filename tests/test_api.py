"""The Python surface: the lines of the README work, names load lazily, and what is wrong is said."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import groundzero as gz
from groundzero.api import Run
from groundzero.errors import ConfigError, InputError, UsageError
from groundzero.run import fresh_run_path
from groundzero.train import Observer, TrainResult, resolve

TINY = {
    "model": {"n_layer": 1, "n_head": 2, "d_model": 32, "context": 16},
    "train": {"batch_size": 4, "device": "cpu", "precision": "float32", "compile": "off", "sample_tokens": 0},
    "tokenizer": {"kind": "char"},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = random.Random(2)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(generator.choices(["once", "upon", "a", "time"], k=300)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return gz.train(text=text, preset="nano", steps=4, out=tmp_path_factory.mktemp("runs") / "run", config=TINY)


def test_a_text_becomes_a_run_that_writes(run):
    assert isinstance(run, gz.Run)
    assert isinstance(run.result, TrainResult)
    assert run.result.steps == 4
    assert isinstance(run.generate("once", max_tokens=8, temperature=0.8, seed=1), str)
    assert run.generate("once", max_tokens=8, temperature=0.0) == run.generate("once", max_tokens=8, temperature=0.0)
    assert repr(run) == f"Run({str(run.path)!r})"


def test_train_stays_callable_though_a_room_has_its_name(text, tmp_path):
    """Importing the package `groundzero.train` sets the attribute that the function had."""
    code = (
        "import groundzero as gz, sys; first = gz.train; first.__call__; import groundzero.train.config; "
        "sys.exit(not (callable(first) and callable(gz.train) and gz.train.resolve))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
    for name in ("one", "two"):
        assert gz.train(text=text, preset="nano", steps=1, out=tmp_path / name, config=TINY).result.steps == 1


def test_a_run_opened_again_is_the_same(run):
    again = gz.Run(run.path, device="cpu")
    assert again.generate("once", max_tokens=8, temperature=0.0) == run.generate("once", max_tokens=8, temperature=0.0)
    assert again.config == run.config
    assert again.metrics == run.metrics
    assert again.result is None
    assert again.model.config == run.config.model
    assert again.tokenizer.fingerprint == run.tokenizer.fingerprint
    assert gz.Run(run.path, step="latest", device="cpu").model.config == run.config.model


def test_training_can_be_watched(text, tmp_path):
    class Watch(Observer):
        steps: list[int] = []  # noqa: RUF012 - one watch, one test

        def stepped(self, step: int, record: Any) -> None:
            self.steps.append(step)

    gz.train(text=text, preset="nano", steps=3, out=tmp_path / "run", config=TINY, observer=Watch())
    assert Watch.steps == [1, 2, 3]


def test_training_takes_a_resolved_configuration_and_resumes(text, tmp_path):
    config = resolve(preset_name="nano", options={**TINY, "data": {"text": str(text)}})
    first = gz.train(config=config.replace(train={**config.train.model_dump(), "steps": 2}), out=tmp_path / "run")
    assert first.result.steps == 2
    second = gz.train(out=tmp_path / "run", resume=True, steps=5)
    assert second.result.steps == 5


def test_a_config_file_lies_under_the_arguments(text, tmp_path):
    (tmp_path / "f.toml").write_text(
        '[tokenizer]\nkind="char"\n[model]\nn_layer=1\nd_model=32\nn_head=2\ncontext=16\n'
        '[train]\nsteps=9\nbatch_size=2\nseed=4\ndevice="cpu"\nsample_tokens=0\n',
        encoding="utf-8",
    )
    run = gz.train(text, preset="nano", config=tmp_path / "f.toml", steps=1, out=tmp_path / "run")
    assert (run.config.train.steps, run.config.train.batch_size, run.config.train.seed) == (1, 2, 4)


def test_what_is_wrong_is_said(text, tmp_path, run):
    with pytest.raises(InputError, match="nowhere"):
        gz.train(text=tmp_path / "nowhere", steps=1, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="no preset 'tinny'"):
        gz.train(text=text, preset="tinny", out=tmp_path / "run")
    with pytest.raises(ConfigError, match="nothing to train on"):
        gz.train(preset="nano", steps=1, out=tmp_path / "run")
    with pytest.raises(UsageError, match="Which run"):
        gz.train(resume=True)
    with pytest.raises(UsageError, match="leaves nothing"):
        gz.train(text=text, config=resolve())
    with pytest.raises(UsageError, match="There is a run"):
        gz.train(text=text, preset="nano", steps=1, out=run.path, config=TINY)
    with pytest.raises(InputError, match="No run at"):
        gz.Run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="temperatur"):
        run.generate("once", temperatur=1)
    with pytest.raises(UsageError, match="--top-p cannot be 2"):
        run.generate("once", top_p=2)


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_a_model_by_name_scores_and_continues_ids(family):
    model = gz.create_model("nano", seed=0, family=family, n_layer=2, vocab_size=100)
    ids = torch.randint(0, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    targets = ids.roll(-1, 1)
    targets[:, -1] = -1
    logits, loss = model(ids, targets)
    assert logits.shape == (2, 12, 100)
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(loss, expected)
    rows = model.generate(ids, max_tokens=5)
    assert [len(row) for row in rows] == [5, 5]
    assert rows == model.generate(ids, max_tokens=5)
    for row, new in zip(ids.tolist(), rows, strict=True):  # greedy, by hand
        for token in new:
            with torch.no_grad():
                assert int(model.eval()(torch.tensor([row]))[0][0, -1].argmax()) == token
            row.append(token)
    assert model.generate(ids, max_tokens=5, temperature=1.0, seed=3) == model.generate(
        ids, max_tokens=5, temperature=1.0, seed=3
    )


def test_ids_the_model_has_not_are_refused():
    model = gz.create_model("nano", vocab_size=100, n_layer=1)
    with pytest.raises(InputError, match="100"):
        model.generate(torch.tensor([[100]]), max_tokens=1)


def test_a_seed_decides_the_weights_and_a_config_is_taken_as_it_is():
    one, two, three = (gz.create_model("nano", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.embedding.weight, two.embedding.weight)
    assert not torch.equal(one.embedding.weight, three.embedding.weight)
    config = gz.GPTConfig(vocab_size=50, n_layer=1, n_head=1, d_model=16, context=8)
    assert gz.create_model(config).config == config
    assert gz.create_model(config, n_layer=2).config.n_layer == 2
    with pytest.raises(ConfigError, match="no preset"):
        gz.create_model("huge")
    with pytest.raises(ConfigError, match="n_layers"):
        gz.create_model("nano", n_layers=2)


def test_every_public_name_loads_and_no_other(run):
    for name in gz.__all__:
        assert getattr(gz, name) is not None
    assert set(gz.__all__) <= set(dir(gz))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gz.nonsense


@pytest.mark.parametrize(
    "statement",
    ["import groundzero", "import groundzero.cli.app", "import groundzero.cli.train", "import groundzero.cli.wizard",
     "import groundzero.train.config", "import groundzero.reference"],
)  # fmt: skip
def test_names_are_loaded_when_first_used(statement):
    """PyTorch takes a second to import, and `gz --help` has 0.3."""
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_fresh_run_paths_do_not_meet(tmp_path):
    first = fresh_run_path(tmp_path, "book")
    assert first == tmp_path / "book"
    first.mkdir()
    assert fresh_run_path(tmp_path, "book") == tmp_path / "book-2"
    (tmp_path / "book-2").mkdir()
    assert fresh_run_path(tmp_path, "book") == tmp_path / "book-3"
