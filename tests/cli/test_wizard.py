"""`gz train` alone on a terminal: what it asks, what it makes of the answers, and that leaving starts nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from groundzero.cli import wizard
from groundzero.cli.app import main
from groundzero.cli.wizard import Answers, ask, suggested_size
from groundzero.data.registry import Registry
from groundzero.hardware.detection import detect

LINE = "the cat sat on the mat and the dog sat on the log.\n"


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the datasets nor the runs of the person who runs the tests."""
    monkeypatch.setenv("GROUNDZERO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "my book.txt"
    path.write_text(LINE * 40, encoding="utf-8")
    return path


class Typed:
    """Types the lines; remembers the questions. Leaves with Ctrl-D when there are no more."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.questions = list(lines), []

    def __call__(self, question: str, paths: bool) -> str:
        self.questions.append(question)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


def answers(*lines: str, **known: Any) -> Answers:
    typed = Typed(*lines)
    result = ask(**known, read=typed)
    assert result is not None
    assert typed.lines == []
    return result


def test_enter_takes_the_defaults(text):
    assert answers(str(text), "", "", "", "", "") == Answers(
        preset="nano",
        out=Path("runs/my book"),
        options={"data": {"text": str(text)}, "train": {"minutes": 10.0}},
    )


def test_what_is_chosen_is_taken(text):
    chosen = answers(str(text), "2", "7", "quick", "there", "yes")
    assert chosen.preset == "micro"
    assert chosen.options["model"] == {"n_layer": 7}
    assert chosen.options["train"] == {"minutes": 2.0}
    assert chosen.out == Path("there")


def test_sizes_by_name_and_minutes_by_number(text):
    chosen = answers(str(text), "small", "", "0.5", "there", "y")
    assert (chosen.preset, chosen.options["train"]) == ("small", {"minutes": 0.5})
    assert "model" not in chosen.options


def test_what_does_not_work_is_said_and_asked_again(text, tmp_path, capsys):
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_bytes(b"")
    binary.write_bytes(bytes(range(256)) * 20)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    chosen = answers(
        "", "nowhere.txt", str(empty), str(binary), str(text),
        "9", "huge", "nano",
        "0", "many", "3",
        "-1", "nan", "soon", "long",
        str(tmp_path / "file"), "there",
        "perhaps", "y",
    )  # fmt: skip
    assert chosen.options == {"data": {"text": str(text)}, "model": {"n_layer": 3}, "train": {"minutes": 480.0}}
    said = capsys.readouterr().err
    for named in ("nowhere.txt", "empty.txt", "binary.txt", "'9'", "'huge'", "'many'", "'soon'", "Type y or n"):
        assert named in said


def test_no_starts_nothing(text):
    assert ask(read=Typed(str(text), "", "", "", "", "n")) is None


def test_what_the_command_line_said_is_not_asked_again(text):
    typed = Typed(str(text), "", "", "")
    given = {"train": {"steps": 7, "seed": 3}, "tokenizer": {"kind": "char"}, "data": {}}
    chosen = ask(given, Path("there"), read=typed)
    assert chosen is not None
    assert chosen.out == Path("there")
    assert chosen.options["train"] == {"steps": 7, "seed": 3}
    assert not any("How long" in question or "Where" in question for question in typed.questions)
    assert shlex.split(chosen.command())[2:] == [
        "--text", str(text), "--preset", "nano", "--tokenizer", "char", "--steps", "7", "--seed", "3", "--out", "there"
    ]  # fmt: skip


def test_a_dataset_by_name(text, tmp_path):
    assert main(["data", "prepare", str(text), "--out", str(tmp_path / "prepared"), "--json"]) == 0
    Registry().add("mine", tmp_path / "prepared")
    chosen = answers("mine", "", "", "", "", "")
    assert chosen.options["data"] == {"dataset": str(Registry().resolve("mine"))}


def test_the_printed_command_trains_the_same(text, tmp_path, monkeypatch, capsys):
    """Through the wizard and through the command it prints, one configuration reaches the trainer."""
    seen = []
    monkeypatch.setattr("groundzero.train.train_run", lambda config, path, **rest: seen.append((config, path, rest)))
    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setattr("sys.stderr", _Terminal())
    plain = ask
    for lines in (
        [str(text), "2", "7", "0.25", "my runs/one", "y"],
        [str(text), "", "", "", "", ""],
        [str(text), "nano", "4", "long", "there", "y"],
    ):
        chosen: list[Answers] = []

        def scripted(given: Any, out: Any, lines: list[str] = lines, chosen: list[Answers] = chosen) -> Any:
            result = plain(given, out, read=Typed(*lines))
            assert result is not None
            chosen.append(result)
            return result

        monkeypatch.setattr(wizard, "ask", scripted)
        seen.clear()
        main(["train"])  # fails after the call, for want of a result
        main(shlex.split(chosen[0].command())[1:])
        assert len(seen) == 2
        assert seen[0][:2] == seen[1][:2]
    capsys.readouterr()


class _Terminal:
    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("n_answer", range(6))
@pytest.mark.parametrize("leaving", [KeyboardInterrupt, EOFError])
def test_leaving_at_any_question_is_130_and_leaves_nothing(text, tmp_path, monkeypatch, leaving, n_answer):
    before = sorted(tmp_path.rglob("*"))
    lines = iter([str(text), "", "", "", ""][:n_answer])

    def read(question: str, paths: bool) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise leaving from None

    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setattr("sys.stderr", _Terminal())
    monkeypatch.setattr(wizard, "_line_editor", lambda: read)
    assert main(["train"]) == 130
    assert sorted(tmp_path.rglob("*")) == before


def test_off_a_terminal_nothing_is_asked(capsys, monkeypatch):
    monkeypatch.setattr(wizard, "ask", lambda *given: pytest.fail("asked"))
    assert main(["train"]) == 3
    assert "--text" in capsys.readouterr().err


@pytest.mark.parametrize(("n_byte", "size"), [(10_000, "nano"), (1_100_000, "micro"), (10**9, "tiny")])
def test_the_size_suggested_for_a_cpu_grows_with_the_text(n_byte, size, monkeypatch):
    hardware = detect()
    monkeypatch.setattr(type(hardware), "accelerator", None)
    assert suggested_size(n_byte, hardware) == size


# ------------------------------------------------------------------ in a pseudo-terminal


class Session:
    """`gz train` in a pseudo-terminal of its own."""

    def __init__(self, folder: Path) -> None:
        import pty

        self.leader, follower = pty.openpty()
        environment = {
            **os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "GROUNDZERO_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1", "COLUMNS": "200",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "groundzero", "train"],
            stdin=follower, stdout=follower, stderr=follower, cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        self.output = ""

    def wait_for(self, text: str, seconds: float = 120) -> None:
        import select

        deadline = time.monotonic() + seconds
        while text not in self._plain():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.leader], [], [], left)[0] or not self._read():
                pytest.fail(f"{text!r} never came; there was:\n{self.output}")

    def type(self, text: str) -> None:
        self.output = ""
        os.write(self.leader, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self.leader)
        return self.process.wait(timeout=60)

    def _read(self) -> bool:
        try:
            piece = os.read(self.leader, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.output += piece.decode(errors="replace")
        return bool(piece)

    def _plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.output)


POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")


@POSIX
def test_a_person_at_a_terminal_trains_a_model(text, tmp_path):
    text.write_text(LINE * 200, encoding="utf-8")
    session = Session(tmp_path)
    for question, answer in (
        ("Text to learn from", str(text)),
        ("Size", "nano"),
        ("Layers", "1"),
        ("How long", "0.01"),
        ("Where to put the run", "there"),
        ("Start now", "y"),
    ):
        session.wait_for(question)
        session.type(answer + "\r")
    session.wait_for("gz generate --run there")
    assert session.end() == 0
    assert (tmp_path / "there" / "manifest.json").is_file()
    assert (tmp_path / "there" / "loss.png").is_file()


@POSIX
@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_ctrl_d_at_a_terminal_leave_with_130(text, tmp_path, key):
    before = sorted(tmp_path.rglob("*"))
    session = Session(tmp_path)
    session.wait_for("Text to learn from")
    session.type(key)
    assert session.end() == 130
    assert "Traceback" not in session.output
    assert sorted(tmp_path.rglob("*")) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
