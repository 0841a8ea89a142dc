"""`gz finetune ground` and `gz ask --run`: from a base and a graph to cited answers, resumable to the last bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import groundzero as gz
from groundzero.cli.app import main
from groundzero.errors import GroundzeroError, InputError, UsageError
from groundzero.graph.graph import Graph
from groundzero.ground.kept import kept_answers
from groundzero.run import RunDirectory
from groundzero.train import resolve, train_run

TEXT = "Where is the capital of Peru? I do not know: the facts do not say. [1] South America | continent 0123456789\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "text.txt").write_text(TEXT * 60, encoding="utf-8")
    model = {"n_layer": 1, "n_head": 2, "d_model": 32, "context": 512}
    train = {"batch_size": 2, "steps": 1, "precision": "float32", "device": "cpu", "sample_tokens": 0}
    options = {
        "data": {"text": str(folder / "text.txt"), "validation_fraction": 0.3},
        "tokenizer": {"kind": "bpe", "vocab_size": 400},
    }
    train_run(resolve(preset_name="nano", options={**options, "model": model, "train": train}), folder / "run")
    return folder / "run"


SETTINGS = [
    "train.batch_size=4",
    "train.precision=float32",
    "train.sample_tokens=0",
    "ground.validation_lessons=8",
    "ground.lessons.test_share=0.4",
]


def tune(base: Path, graph: Path, out: Path, *more: str) -> int:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return main(["finetune", "ground", "--run", str(base), "--graph", str(graph), "--out", str(out), *sets, *more])


@pytest.fixture(scope="module")
def tuned(base: Path, world_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run"
    before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    more = ("--steps", "4", "--set", "train.checkpoint_every=2", "--set", "train.keep_checkpoints=9")
    assert tune(base, world_path, out, *more) == 0
    assert {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} == before
    return out


def test_the_run_is_whole_and_knows_its_graph(tuned: Path, world_path: Path) -> None:
    run = RunDirectory.open(tuned)
    assert run.verify() == []
    assert (tuned / "checkpoints" / "step-4" / "knowledge.safetensors").exists()
    tuning = run.manifest()["tuning"]
    assert tuning["graph"] == str(world_path)
    assert tuning["kind"] == "ground"
    losses = [record["val_loss"] for record in run.metrics if "val_loss" in record]
    assert len(losses) == 4


def test_interrupted_tuning_resumes_bit_for_bit(tuned: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(tuned, cut)
    shutil.rmtree(cut / "checkpoints" / "step-4")
    (cut / "best").unlink(missing_ok=True)
    assert main(["finetune", "ground", "--resume", "--out", str(cut)]) == 0
    for path in sorted((tuned / "checkpoints" / "step-4").glob("*.safetensors")):
        one, other = load_file(path), load_file(cut / "checkpoints" / "step-4" / path.name)
        assert all(np.array_equal(one[key], other[key]) for key in one), path.name
    assert main(["train", "--resume", "--out", str(cut)]) == UsageError.exit_code


def test_a_changed_graph_is_not_resumed_on(tuned: Path, world_path: Path, tmp_path: Path) -> None:
    out, graph = tmp_path / "cut", tmp_path / "w.db"
    shutil.copytree(tuned, out)
    shutil.copy(world_path, graph)
    run = RunDirectory.open(out)
    run.write_manifest(tuning={**run.manifest()["tuning"], "graph": str(graph)})
    with Graph.open(graph) as opened, opened.store.writer() as writer:
        writer.add_entity("Atlantis")
    assert main(["finetune", "ground", "--resume", "--out", str(out)]) == InputError.exit_code


def test_asking_a_run_prints_the_known_keys_and_keeps_the_answer(
    tuned: Path, world_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(kept_answers(RunDirectory.open(tuned)))
    assert main(["ask", "What is the capital of Peru?", "--run", str(tuned), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {
        "question", "text", "status", "reason", "probability", "citations", "path", "query", "candidates", "graph",
        "facts_retrieved", "channels", "tokens_generated", "seconds",
    }  # fmt: skip
    assert "Peru City" in answer["text"]
    assert set(answer["channels"]) == {"prompt", "attention", "copy"}
    assert answer["graph"]["id"] == str(world_path)
    assert kept_answers(RunDirectory.open(tuned))[before:] == [answer]
    assert main(["ask", "What is the capital of Atlantis?", "--run", str(tuned), "--json"]) == 4
    refused = json.loads(capsys.readouterr().out)
    assert (refused["status"], refused["citations"]) == ("unknown", [])
    assert main(["ask", "What is the capital of Peru?", "--run", str(tuned), "--channels", "copy", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["channels"]) == {"copy"}


def test_an_edit_lists_the_answers_that_it_changes(
    tuned: Path, world_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, graph = tmp_path / "run", str(tmp_path / "w.db")
    shutil.copytree(tuned, run)
    (run / "answers.jsonl").unlink(missing_ok=True)
    shutil.copy(world_path, graph)
    for question in ("What is the capital of Peru?", "What is the capital of Chile?", "What is the capital of Peru?"):
        assert main(["ask", question, "--run", str(run), "--graph", graph, "--json"]) == 0
    capsys.readouterr()
    edit = ["graph", "edit", "Peru", "capital", "Cusco", "--new", "--graph", graph, "--diff", str(run), "--json"]
    assert main(edit) == 0
    (change,) = json.loads(capsys.readouterr().out)["answers"]
    assert change["question"] == "What is the capital of Peru?"
    assert "Peru City" in change["before"]
    assert "Cusco" in change["after"]


def test_hostile_names_stay_data(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names with control tokens, escapes and markup are answered as they are, and printed so that none is obeyed."""
    assert main(["ask", "What is the capital of Paraguay?", "--run", str(tuned)]) == 0
    assert "<|end|> Town" in capsys.readouterr().out
    assert main(["ask", "What is the capital of Argentina?", "--run", str(tuned)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed


def test_the_python_surface(tuned: Path, world_path: Path) -> None:
    run = gz.Run(tuned)
    answer = gz.ask("What is the capital of Peru?", run=run)
    assert answer.status == "asserted"
    assert gz.verify(answer, world_path)
    with gz.Graph.open(world_path, read_only=True) as graph:
        by_rule = gz.ask("What is the capital of Peru?", graph=graph)
        assert by_rule.citations == answer.citations
        assert gz.ask("Who is its mayor?", run=run, graph=graph, history=[answer.text]).status == "asserted"
    assert gz.ask("What is the capital of Peru?", graph=world_path).text == by_rule.text
    run.grounded().graph.close()
    with pytest.raises(UsageError):
        gz.ask("What is the capital of Peru?")


def test_mistakes_are_told_in_a_line(
    base: Path, tuned: Path, world_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty.db"
    Graph.open(empty, create=True).close()
    tuning = ["finetune", "ground"]
    for words, error, said in (
        ([*tuning, "--run", str(base), "--out", str(out)], UsageError, "--graph"),
        ([*tuning, "--resume"], UsageError, "--out"),
        ([*tuning, "--run", str(base), "--graph", str(tmp_path / "no.db"), "--out", str(out)], InputError, "no.db"),
        ([*tuning, "--run", str(base), "--graph", str(empty), "--out", str(out)], InputError, "no lesson"),
        ([*tuning, "--resume", "--out", str(base)], UsageError, "not tuned on a graph"),
        (["ask", "Hm?", "--run", str(base)], InputError, "knows no graph"),
        (["ask", "Hm?", "--run", str(base), "--graph", str(world_path)], InputError, "not tuned to answer"),
        (["ask", "Hm?", "--run", str(tuned), "--channels", "prompt,x"], UsageError, "channel 'x'"),
    ):
        kind: type[GroundzeroError] = error
        assert main(words) == kind.exit_code, words
        assert said in capsys.readouterr().err
        assert not (out / "manifest.json").exists()
