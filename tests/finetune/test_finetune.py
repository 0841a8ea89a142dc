"""Instruction tuning: every word of the assistant is a target once, nothing else is, and nobody reads a neighbour."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.api import Run
from groundzero.cli.app import main
from groundzero.errors import GroundzeroError, InputError, UsageError
from groundzero.finetune.conversations import Reading, conversations_of, problem_with, read_conversations
from groundzero.finetune.loader import ConversationLoader
from groundzero.finetune.packing import Lesson, make_lessons, pack
from groundzero.model import GPT, GPTConfig
from groundzero.reference.utils import load_weights
from groundzero.run import RunDirectory
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from groundzero.tokenizer.chat import TEMPLATES, Turn, template
from groundzero.train import resolve, train_run

TEXT = "Hello! What is the capital of Peru? The capital of Peru is Lima. User and assistant, <|end|> 0123456789\n"
lessons_strategy = st.lists(st.tuples(st.integers(2, 17), st.integers(1, 16)), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXT], TokenizerConfig.parse({"kind": "char"}))


def lesson(length: int, n_learnt: int, start: int) -> Lesson:
    learnt = np.zeros(length, np.bool_)
    learnt[-min(n_learnt, length - 1) :] = True
    return Lesson(np.arange(start, start + length), learnt)


def lessons_of(shapes: list[tuple[int, int]]) -> list[Lesson]:
    return [lesson(length, n_learnt, 100 * i) for i, (length, n_learnt) in enumerate(shapes)]


@given(lessons_strategy)
def test_every_learnt_token_is_a_target_once_and_nothing_else_is(shapes: list[tuple[int, int]]) -> None:
    lessons = lessons_of(shapes)
    rows = pack(lessons, 16)
    wanted = sorted(int(i) for each in lessons for i in each.ids[each.learnt])
    assert sorted(rows.targets_RT[rows.targets_RT >= 0].tolist()) == wanted
    assert (rows.targets_RT >= 0).any(axis=1).all(), "a row without a target would make a loss of nothing"


@given(lessons_strategy)
def test_inputs_precede_their_targets_in_their_own_conversation(shapes: list[tuple[int, int]]) -> None:
    rows = pack(lessons_of(shapes), 16)
    places = np.argwhere(rows.targets_RT >= 0)
    for row, column in places:
        assert rows.tokens_RT[row, column] == rows.targets_RT[row, column] - 1  # ids of a lesson count upwards
        assert rows.positions_RT[row, column] == rows.tokens_RT[row, column] % 100


def test_neighbours_in_a_row_change_no_loss() -> None:
    torch.manual_seed(0)
    gpt = GPT(GPTConfig.parse({"n_layer": 2, "n_head": 2, "d_model": 32, "context": 16, "vocab_size": 600})).double()
    lessons = lessons_of([(7, 3), (6, 2), (5, 4)])

    def loss(part: list[Lesson]) -> float:
        batch = ConversationLoader(part, part, batch_size=1, context=16).batch(0)
        kept = {"documents_BT": batch.documents_BT, "positions_BT": batch.positions_BT}
        return gpt.loss(batch.tokens_BT, batch.targets_BT, **kept).item()

    counts = [int(each.learnt[1:].sum()) for each in lessons]
    alone = sum(count * loss([each]) for count, each in zip(counts, lessons, strict=True)) / sum(counts)
    assert len(pack(lessons, 16)) == 1
    assert loss(lessons) == pytest.approx(alone, rel=1e-9)


@settings(max_examples=25)
@given(lessons_strategy, st.integers(1, 5), st.integers(0, 3))
def test_an_epoch_shows_every_row_and_a_step_is_always_the_same(
    shapes: list[tuple[int, int]], batch_size: int, seed: int
) -> None:
    lessons = lessons_of(shapes)
    loader = ConversationLoader(lessons, lessons, batch_size=batch_size, context=16, seed=seed)
    seen = [row for step in range(loader.steps_per_epoch) for row in loader.batch(step).tokens_BT.tolist()]
    assert {tuple(row) for row in seen} == {tuple(row) for row in loader.rows.tokens_RT.tolist()}
    again = ConversationLoader(lessons, lessons, batch_size=batch_size, context=16, seed=seed)
    assert torch.equal(loader.batch(3).tokens_BT, again.batch(3).tokens_BT)
    assert all((loader.batch(step).targets_BT >= 0).any() for step in range(5))


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_a_template_learns_the_assistant_and_its_ending(name: str, tokenizer: Tokenizer) -> None:
    turns = [Turn("user", "What is the capital?"), Turn("assistant", "Lima.")]
    ids, learnt = TEMPLATES[name].lesson(tokenizer, turns)
    said = [i for i, learn in zip(ids, learnt, strict=True) if learn]
    assert tokenizer.decode(said) == "Lima."
    assert said[-1] in TEMPLATES[name].stop_ids(tokenizer)
    prompt = TEMPLATES[name].ids(tokenizer, turns[:1], answer=True)
    assert ids[: len(prompt)] == prompt, "what is asked at use must be what was learnt from"


def test_names_of_control_tokens_in_a_turn_stay_text(tokenizer: Tokenizer) -> None:
    forged = Turn("user", "<|end|>")
    ids, _ = template("chat").lesson(tokenizer, [forged, Turn("assistant", "<|end|>")])
    assert [i for i in ids if i < 64] == [
        tokenizer.id_of(n) for n in ("<|user|>", "<|end|>", "<|assistant|>", "<|end|>")
    ]


def test_too_long_conversations_lose_their_oldest_turns_and_then_everything(tokenizer: Tokenizer) -> None:
    turns = tuple(Turn("user" if i % 2 == 0 else "assistant", f"{i}" * 6) for i in range(6))
    (kept,) = make_lessons([turns], tokenizer, template("chat"), 24)
    text = tokenizer.decode(kept.ids.tolist())
    assert text == "4" * 6 + "5" * 6
    reading = Reading()
    assert make_lessons([turns], tokenizer, template("chat"), 8, reading) == []
    assert sum(reading.skipped.values()) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, ["a", "b"]),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, ["a", "b"]),
        ({"turns": [["USER", "a"], ["SYSTEM", "b"], ["USER", "c"], ["SYSTEM", "d"]]}, ["a", "b", "c", "d"]),
        ({"instruction": "a", "input": "c", "output": "b"}, ["a\n\nc", "b"]),
        ({"instruction": "a", "input": "", "response": "b"}, ["a", "b"]),
        ({"instruction": "a", "instances": [{"input": "", "output": "b"}]}, ["a", "b"]),
        ({"question": "a", "answer": "b"}, ["a", "b"]),
        ({"prompt": "a", "completion": "b"}, ["a", "b"]),
    ],
)
def test_each_known_form_is_read(row: object, said: list[str]) -> None:
    (conversation,) = conversations_of(row)
    assert [turn.text for turn in conversation] == said
    assert [turn.role for turn in conversation] == ["user", "assistant"] * (len(said) // 2)
    assert not problem_with(conversation)


KEYS = st.sampled_from(["messages", "turns", "instruction", "output", "role", "content"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_no_row_crashes_the_reader(row: object) -> None:
    for conversation in conversations_of(row):
        assert all(isinstance(turn, Turn) for turn in conversation)


def test_broken_rows_are_left_out_and_told(tmp_path: Path) -> None:
    good = json.dumps({"question": "a", "answer": "b"})
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(
        gzip.compress(f'{good}\nnot json\n{{"x": 1}}\n\n{{"question": "a", "answer": " "}}\n{good}\n'.encode())
    )
    reading = Reading()
    assert len(list(read_conversations(path, reading))) == 2
    assert reading.skipped == {"no form that is known": 2, "the assistant says nothing": 1}
    assert "row 2" in reading.lines()[0]


@pytest.mark.parametrize("content", [b"[", b"\xff\xfe{}", b"[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.json"):
        list(read_conversations(path))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "text.txt").write_text(TEXT * 30, encoding="utf-8")
    model = {"n_layer": 1, "n_head": 2, "d_model": 32, "context": 48}
    train = {"batch_size": 4, "steps": 2, "precision": "float32", "device": "cpu", "sample_tokens": 0}
    options = {"data": {"text": str(folder / "text.txt")}, "tokenizer": {"kind": "char"}}
    train_run(resolve(preset_name="nano", options={**options, "model": model, "train": train}), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    rows = [{"question": f"What is {i}?", "answer": f"{i} is {i % 10}."} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def tune(base: Path, chats: Path, out: Path, *more: str) -> int:
    settings_ = [
        "train.batch_size=4",
        "train.precision=float32",
        "train.checkpoint_every=3",
        "train.keep_checkpoints=9",
    ]
    sets = [word for setting in settings_ for word in ("--set", setting)]
    return main(["finetune", "instruct", "--run", str(base), "--data", str(chats), "--out", str(out), *sets, *more])


def test_a_tuned_run_answers_and_its_base_is_untouched(base: Path, chats: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    assert tune(base, chats, tmp_path / "chat", "--steps", "6") == 0
    assert {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} == before
    run = Run(tmp_path / "chat")
    assert run.directory.verify() == []
    assert isinstance(run.chat("What is 3?", max_tokens=5), str)
    with pytest.raises(UsageError):
        run.chat("What is 3?", "3.")
    with pytest.raises(InputError, match="tuned"):
        Run(base).chat("What is 3?")


def test_learning_to_answer_lowers_the_loss(base: Path, chats: Path, tmp_path: Path) -> None:
    assert (
        tune(base, chats, tmp_path / "chat", "--steps", "60", "--lr", "3e-3", "--set", "train.evaluate_every=20") == 0
    )
    losses = [record["val_loss"] for record in RunDirectory.open(tmp_path / "chat").metrics if "val_loss" in record]
    assert losses[-1] < 0.8 * losses[0]


def test_interrupted_tuning_resumes_bit_for_bit(base: Path, chats: Path, tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    assert tune(base, chats, straight, "--steps", "6") == 0
    shutil.copytree(straight, cut)
    shutil.rmtree(cut / "checkpoints" / "step-6")
    (cut / "best").unlink(missing_ok=True)
    assert main(["finetune", "instruct", "--resume", "--out", str(cut)]) == 0
    one, other = (load_weights(run / "checkpoints" / "step-6") for run in (straight, cut))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert main(["train", "--resume", "--out", str(cut)]) == UsageError.exit_code


def test_mistakes_are_told_in_a_line(
    base: Path, chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"question": "", "answer": ""}\n', encoding="utf-8")
    out = tmp_path / "out"
    for words, error, said in (
        (["--run", str(base), "--out", str(out)], UsageError, "--data"),
        (["--resume"], UsageError, "--out"),
        (["--run", str(base), "--data", str(tmp_path / "none"), "--out", str(out)], InputError, "does not exist"),
        (["--run", str(base), "--data", str(empty), "--out", str(out)], InputError, "no conversation"),
        (["--run", str(base), "--data", str(chats), "--template", "x", "--out", str(out)], InputError, "template"),
    ):
        kind: type[GroundzeroError] = error
        assert main(["finetune", "instruct", *words]) == kind.exit_code
        assert said in capsys.readouterr().err
        assert not (out / "manifest.json").exists()
