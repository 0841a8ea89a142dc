"""What goes to stdout and stderr, on a terminal and in a pipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundzero.cli import output


def test_emit_prints_one_object_or_the_prose(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"a": 1}, True, lambda: print("prose"))
    assert capsys.readouterr().out == '{"a": 1}\n'
    output.emit({"a": 1}, False, lambda: print("prose"))
    assert capsys.readouterr().out == "prose\n"


def test_a_note_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.note("a remark")
    assert capsys.readouterr() == ("", "a remark\n")


def test_json_holds_only_what_json_knows(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json(
        {
            "nan": float("nan"),
            "inf": [float("-inf"), 1.5],
            "path": Path("a"),
            "scalar": np.float32(0.5),
            "array": np.arange(2),
            "tuple": (True, None),
            3: "\u4f60\n",
        }
    )
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "nan": None,
        "inf": [None, 1.5],
        "path": "a",
        "scalar": 0.5,
        "array": [0, 1],
        "tuple": [True, None],
        "3": "\u4f60\n",
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_whatever_is_printed_is_strict_json_of_the_same_shape(payload: dict[str, object]) -> None:
    text = json.dumps(output._plain(payload), allow_nan=False)
    assert json.loads(text).keys() == payload.keys()


def test_tables_never_cut_a_cell_short(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.console().print(output.table(("name", "figure"), [(long, 1), ("[red]", 2)], numbers="figure"))
    out = capsys.readouterr().out
    assert out.count("x") == 300
    assert "[red]" in out
    assert "\x1b" not in out
    assert "name" in out
    output.console().print(output.table(("", " "), [("key", "value")]))
    assert "\u2500" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (4000, "67 min"), (7500, "2 h 05 min")]
)
def test_durations_read_easily(seconds: float, text: str) -> None:
    assert output.human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (2**51, "2048.0 TiB")]
)
def test_sizes_read_easily(count: int, text: str) -> None:
    assert output.human_bytes(count) == text


def test_progress_in_a_pipe_is_plain_lines_at_most_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
    with output.progress("Training", total=100, unit="steps") as bar:
        for step in range(100):
            clock[0] += 0.25
            bar.advance(note=f"loss {step}")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "Training: 20/100 steps, loss 19, 20 s left"
    assert lines[-1] == "Training: 100/100 steps, loss 99, 25 s"
    assert len(lines) == 6


def test_progress_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("Reading", total=None, unit="files") as bar:
        bar.update(7)
    assert capsys.readouterr().err.startswith("Reading: 7 files, ")


def test_progress_on_a_terminal_is_a_bar_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with output.progress("Training", total=2, unit="steps") as bar:
        bar.advance(note="loss 1")
        bar.update(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Training" in captured.err
