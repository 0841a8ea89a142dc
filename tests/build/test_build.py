"""The main job end to end: what it leaves, how it goes on, and that going on changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from groundzero.build import learning
from groundzero.build.observer import BuildObserver
from groundzero.build.order import Order
from groundzero.build.session import Built, build, order_for, plan_build, stages_of
from groundzero.build.state import State
from groundzero.errors import FormatError, InputError, StorageError, UsageError
from groundzero.graph.graph import Graph
from groundzero.ground.kept import kept_answers
from groundzero.run import RunDirectory
from tests.build.conftest import SMALL

STAGES = ["graph", "text", "pretrain", "embed", "ground", "exam", "report"]


class CrashError(Exception):
    """The process dies here."""


class Fate(BuildObserver):
    """Lets a build live until a moment: a stage's beginning or end, or a step of its training."""

    def __init__(self, moment: tuple[str, str | int]) -> None:
        self.moment = moment
        self.at = ""

    def stage(self, name: str, what: str, number: int, total: int) -> None:
        self.at = name
        self._strike("begins")

    def finished(self, name: str, figures: Mapping[str, Any], seconds: float) -> None:
        self._strike("ends")

    def stepped(self, step: int, record: Mapping[str, Any] | None) -> None:
        self._strike(step)

    def _strike(self, what: str | int) -> None:
        if (self.at, what) == self.moment:
            raise CrashError


def weights(run: Path) -> dict[str, np.ndarray]:
    """Every tensor of the last checkpoint, optimiser and random state included."""
    step = RunDirectory.open(run).latest_verified().checkpoint
    assert step is not None
    return {
        f"{file.name}:{name}": tensor
        for file in sorted(step.path.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def same(one: Path, other: Path) -> bool:
    """Whether two runs are equal to the last bit."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, text: Path, table: Path) -> Built:
    """A build that nothing interrupted."""
    wanted = Order(text=str(text), graph=str(table), minutes=30.0, overrides=SMALL, device="cpu")
    return build(wanted, tmp_path_factory.mktemp("whole") / "run")


def test_a_build_is_a_run_that_needs_nothing_else(whole: Built, tmp_path: Path) -> None:
    import groundzero as gz

    assert list(whole.stages) == STAGES
    assert not whole.interrupted
    moved = tmp_path / "moved"
    shutil.copytree(whole.run, moved)
    run = RunDirectory.open(moved)
    assert run.verify() == []
    assert RunDirectory.open(moved / "stages" / "base").verify() == []
    answer = gz.ask("What is the capital of Peru?", run=moved)
    assert answer.status == "asserted"
    assert "Peru City" in answer.text
    assert gz.verify(answer, moved / "graph.db")
    assert answer.graph.id == str(moved / "graph.db")
    assert len(kept_answers(run)) == 1
    assert (moved / "graph.db.embedding" / "embedding.json").exists()
    for name in ("report.html", "samples.txt", "loss.png", "exam/exam.json", "exam/report.html"):
        assert (moved / name).is_file(), name


def test_figures_are_plain_data(whole: Built) -> None:
    plain = json.loads(json.dumps(whole.as_json()))
    assert set(plain) == {"run", "minutes", "seconds", "interrupted", "plan", "stages"}
    assert plain["stages"]["graph"]["triples"] == 80
    assert plain["stages"]["pretrain"]["steps"] == plain["stages"]["ground"]["steps"] == 4
    assert all(each["took"] >= 0 for each in plain["stages"].values())
    summary = plain["stages"]["exam"]["summary"]
    assert set(summary) >= {"accuracy", "questions", "refusal_recall", "citation_precision"}


def test_killed_at_every_stage_it_comes_to_the_same_weights(whole: Built, order: Order, tmp_path: Path) -> None:
    out = tmp_path / "run"
    moments: list[tuple[str, str | int]] = []
    for stage in STAGES:
        moments.append((stage, "begins"))
        if stage in ("pretrain", "ground"):
            moments += [(stage, 1), (stage, 3)]
        moments.append((stage, "ends"))
    for moment in moments:
        with pytest.raises(CrashError):
            build(order, out, observer=Fate(moment))
    built = build(None, out)
    assert list(built.stages) == STAGES
    assert same(out, whole.run)
    assert same(out / "stages" / "base", whole.run / "stages" / "base")
    assert (out / "tokenizer.json").read_bytes() == (whole.run / "tokenizer.json").read_bytes()
    assert (out / "stages" / "facts.jsonl").read_bytes() == (whole.run / "stages" / "facts.jsonl").read_bytes()


def test_a_resume_that_forgets_the_weights_is_noticed(
    whole: Built, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison above would see it."""
    out = tmp_path / "run"
    with pytest.raises(CrashError):
        build(order, out, observer=Fate(("ground", 3)))

    def forgetful(trainer: Any, run: Any, steps: int, observer: Any) -> None:
        trainer.progress.step = 2

    monkeypatch.setattr("groundzero.ground.tuning.restore", forgetful)
    build(order, out)
    assert not same(out, whole.run)
    assert same(out / "stages" / "base", whole.run / "stages" / "base")


class Impatient(BuildObserver):
    """Presses Ctrl-C at the first step."""

    def stepped(self, step: int, record: Mapping[str, Any] | None) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_keeps_what_is_done(order: Order, tmp_path: Path) -> None:
    built = build(order, tmp_path / "run", observer=Impatient())
    assert built.interrupted
    assert list(built.stages) == ["graph", "text"]
    state = State.find(tmp_path / "run")
    assert state is not None
    assert state.spent > 0


VICTIM = """
import os, sys
from pathlib import Path
from groundzero.build.observer import BuildObserver
from groundzero.build.order import Order
from groundzero.build.session import build

class Victim(BuildObserver):
    at = ""
    def stage(self, name, what, number, total):
        self.at = name
        if name == sys.argv[2]:
            os._exit(9)
    def stepped(self, step, record):
        if f"{self.at}-{step}" == sys.argv[2]:
            os._exit(9)
    def preparing(self, stage, done, total):
        if stage == sys.argv[2]:
            os._exit(9)

import json
build(Order.from_json(json.loads(sys.argv[3])), Path(sys.argv[1]), observer=Victim())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["importing world.tsv", "encoding", "pretrain-3", "embed", "ground-3", "exam", "none"]
)
def test_a_process_that_dies_loses_nothing(moment: str, whole: Built, order: Order, tmp_path: Path) -> None:
    """Not an exception but the end of the process: nothing is closed, flushed or tidied up."""
    out, words = tmp_path / "run", json.dumps(order.as_json())
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    died = subprocess.run([sys.executable, "-c", VICTIM, str(out), moment, words], env=environment, check=False)
    assert died.returncode == (0 if moment == "none" else 9)
    assert list(build(order, out).stages) == STAGES
    assert same(out, whole.run)


# ---------------------------------------------------------------------- what it can be built from


def test_text_alone_makes_a_model_that_writes(order: Order, tmp_path: Path) -> None:
    import groundzero as gz

    built = build(replace(order, graph=""), tmp_path / "run")
    assert list(built.stages) == ["text", "pretrain", "report"]
    assert gz.Run(built.run, device="cpu").generate("The", max_tokens=4, seed=1)
    assert RunDirectory.open(built.run).verify() == []
    assert not (built.run / "graph.db").exists()
    assert "cites" not in (built.run / "report.html").read_text(encoding="utf-8")


def test_the_python_surface(text: Path, table: Path, tmp_path: Path) -> None:
    import groundzero as gz

    given = {"text": text, "graph": table, "settings": (*SMALL, "train.steps=1", "tuning.steps=1"), "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        gz.build(**given, out=tmp_path / "run", observer=Impatient())
    run = gz.build(out=tmp_path / "run")
    assert gz.ask("What is the capital of Chile?", run=run).status == "asserted"
    assert callable(gz.build)
    with pytest.raises(UsageError, match="nothing to build from"):
        gz.build(out=tmp_path / "other")


def test_facts_alone_are_read_in_words(order: Order, tmp_path: Path) -> None:
    built = build(replace(order, text="", overrides=(*SMALL, "train.steps=1", "tuning.steps=1")), tmp_path / "run")
    assert list(built.stages) == STAGES
    assert built.stages["text"]["files"] == 1
    assert built.stages["text"]["facts_bytes"] == built.stages["text"]["text_bytes"] > 0


def test_a_graph_is_copied_with_its_history_and_left_alone(order: Order, table: Path, tmp_path: Path) -> None:
    from groundzero.graph.importing import import_file

    own = tmp_path / "own.db"
    with Graph.open(own, create=True) as graph:
        import_file(graph.store, table)
        peru = graph.store.find_entity("Peru")
        capital, cusco = graph.store.find_relation("capital"), graph.store.find_entity("Chile City")
        assert peru is not None and capital is not None and cusco is not None
        graph.edit(peru, capital, cusco)
    before = own.read_bytes()
    with pytest.raises(CrashError):
        build(replace(order, graph=str(own)), tmp_path / "run", observer=Fate(("text", "begins")))
    assert own.read_bytes() == before
    with Graph.open(tmp_path / "run" / "graph.db") as copy, Graph.open(own) as graph:
        assert copy.store.transaction() == graph.store.transaction()
        assert [each.object for each in copy.store.outgoing(peru, capital)] == [cusco]


@pytest.mark.parametrize(
    ("break_it", "named", "error"),
    [
        (lambda folder: {"text": str(folder / "missing")}, "missing", InputError),
        (lambda folder: {"text": str(_made(folder / "empty"))}, "empty", InputError),
        (lambda folder: {"text": str(_with(folder / "blank" / "a.txt", b""))}, "a.txt is empty", InputError),
        (lambda folder: {"text": str(_with(folder / "b.txt", bytes(range(256)) * 9))}, "b.txt", InputError),
        (lambda folder: {"graph": str(folder / "missing.tsv")}, "missing.tsv", InputError),
        (lambda folder: {"graph": str(_with(folder / "empty.tsv", b""))}, "empty.tsv is empty", InputError),
        (lambda folder: {"graph": str(_with(folder / "header.tsv", b"subject\trelation\tobject\n"))}, "header.tsv",
         InputError),
        (lambda folder: {"graph": str(_with(folder / "one.tsv", b"Peru\tcapital\tLima\n"))}, "too little", InputError),
        (lambda folder: {"graph": str(_with(folder / "cut.db", b"SQLite format 3\0" + b"x" * 99))}, "cut.db",
         FormatError),
        (lambda folder: {"graph": _empty_graph(folder / "void.db")}, "no statements", InputError),
        (lambda folder: {"minutes": 0.0}, "--minutes", UsageError),
        (lambda folder: {"seed": -1}, "--seed", UsageError),
        (lambda folder: {"text": "", "graph": ""}, "nothing to build from", UsageError),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_a_remedy(
    break_it: Callable[[Path], dict[str, Any]], named: str, error: Any, order: Order, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        build(replace(order, **break_it(tmp_path)), tmp_path / "run")
    assert named in raised.value.message
    assert raised.value.remedy


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _with(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def _empty_graph(path: Path) -> str:
    Graph.open(path, create=True).close()
    return str(path)


def test_what_can_be_seen_at_once_is_told_before_anything_is_written(order: Order, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for wrong in ({"text": str(tmp_path / "no")}, {"graph": str(tmp_path / "no.tsv")}, {"minutes": -1.0}):
        with pytest.raises((InputError, UsageError)):
            build(replace(order, **wrong), out)  # type: ignore[arg-type]
        assert not out.exists()


# ---------------------------------------------------------------------- the folder


def test_another_order_is_not_taken_for_the_same(whole: Built) -> None:
    state = State.find(whole.run)
    assert state is not None
    for other in ({"text": "other"}, {"minutes": 3.0}, {"overrides": ()}, {"seed": 1}, {"graph": ""}):
        with pytest.raises(UsageError, match="was begun with"):
            state.order.resumed_with(other)
    assert state.order.resumed_with({"minutes": 30.0, "overrides": SMALL}) == state.order


def test_a_folder_with_something_else_is_left_alone(order: Order, tmp_path: Path) -> None:
    (tmp_path / "graph.db").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"graph\.db"):
        build(order, tmp_path)
    assert (tmp_path / "graph.db").read_text(encoding="utf-8") == "mine"
    with pytest.raises(UsageError, match="No build was begun"):
        build(None, tmp_path / "nothing")


def test_a_damaged_state_is_told(whole: Built, tmp_path: Path) -> None:
    (tmp_path / "build.json").write_bytes((whole.run / "build.json").read_bytes()[:-20])
    with pytest.raises(FormatError, match="damaged"):
        State.find(tmp_path)


def test_a_finished_build_is_only_told_again(whole: Built) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.run.rglob("*") if path.is_file()}
    again = build(None, whole.run)
    assert again.stages == whole.stages
    changed = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert not changed


def test_two_at_once_do_not_spoil_it(order: Order, tmp_path: Path) -> None:
    class Twice(BuildObserver):
        def stage(self, name: str, what: str, number: int, total: int) -> None:
            with pytest.raises(StorageError, match="is being written to"):
                build(order, tmp_path / "run")
            raise CrashError

    with pytest.raises(CrashError):
        build(order, tmp_path / "run", observer=Twice())
    with pytest.raises(CrashError):  # and the right to go on is given back
        build(order, tmp_path / "run", observer=Fate(("graph", "ends")))


def test_a_build_goes_on_from_another_folder(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table.parent)
    given = {"graph": table.name, "minutes": 5.0}
    order = order_for(tmp_path / "run", given, {"overrides": SMALL, "device": "cpu"})
    with pytest.raises(CrashError):
        build(order, tmp_path / "run", observer=Fate(("graph", "begins")))
    assert order_for(tmp_path / "run", given, {}) == order
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CrashError):
        build(None, tmp_path / "run", observer=Fate(("text", "begins")))


def test_a_plan_spends_nothing(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, plan = plan_build(order)
    assert list(tmp_path.iterdir()) == []
    assert list(plan.seconds) == [stage.name for stage in stages_of(order)] == STAGES
    assert plan.parameters > 0
    assert plan.tokens_per_second > 0
    assert plan.memory_bytes > 0
    assert plan.statements == 81  # lines of the table
    assert sum(plan.seconds.values()) <= 60 * order.minutes


def test_the_tokens_come_back_where_a_failed_beginning_took_them(order: Order, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(CrashError):
        build(replace(order, graph=""), out, observer=Fate(("pretrain", "begins")))
    shutil.rmtree(out / "data")
    assert list(build(None, out).stages) == ["text", "pretrain", "report"]


def test_a_training_on_a_machine_that_became_busy_is_cut_short(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "LATE", 0.0)
    timed = (*(each for each in SMALL if ".steps" not in each), "train.log_every=1", "tuning.log_every=1")
    built = build(replace(order, minutes=1.0, overrides=timed), tmp_path / "run")
    assert list(built.stages) == STAGES
    assert RunDirectory.open(built.run / "stages" / "base").manifest()["config"]["train"]["evaluate_tokens"] == 256
    for stage, run in (("pretrain", built.run / "stages" / "base"), ("ground", built.run)):
        figures = built.stages[stage]
        assert figures["cut_short"]
        assert figures["steps"] == RunDirectory.open(run).checkpoints.steps()[-1]
        assert figures["parameters"] > 0
        assert RunDirectory.open(run).verify() == []
        assert (run / "loss.png").exists()
    assert json.dumps(built.as_json(), allow_nan=False)


def test_evaluations_are_as_short_as_the_time_asks(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundzero.build.plan.tokens_per_second", lambda *machine: 100.0)
    unset = ("train.evaluate_tokens=256", "ground.validation_lessons=8", "train.steps=4", "tuning.steps=4")
    few = (*(each for each in SMALL if each not in unset), "train.steps=1", "tuning.steps=1")
    built = build(replace(order, minutes=0.001, overrides=few), tmp_path / "run")
    base, tuned = (RunDirectory.open(run).manifest() for run in (built.run / "stages" / "base", built.run))
    assert base["config"]["train"]["evaluate_tokens"] == learning.FEWEST_TOKENS
    assert tuned["tuning"]["settings"]["validation_lessons"] == learning.FEWEST_LESSONS


def test_time_that_is_too_short_for_vectors_leaves_them_out(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "MEASURED", -1.0)
    built = build(replace(order, overrides=(*SMALL, "train.steps=1", "tuning.steps=1")), tmp_path / "run")
    assert "skipped" in built.stages["embed"]
    assert not (built.run / "graph.db.embedding" / "checkpoints").exists()
