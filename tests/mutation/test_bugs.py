"""The table of seeded bugs fits the source, and the runner tells which one was not noticed."""

from __future__ import annotations

import ast

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation import sowing
from tests.mutation.bug import Bug
from tests.mutation.bugs import BUGS
from tests.mutation.bugs_of_pytorch import PYTORCH_BUGS

HARMLESS = Bug("nothing", "reference/activations.py", '"""max(0, x)."""', '"""The larger of 0 and x."""')
WRONG = Bug(
    "ReLU: the negative", "reference/activations.py", "return np.maximum(x, 0.0)\n", "return np.minimum(x, 0.0)\n"
)
FAST = ("tests/reference/test_judges.py",)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_a_bug_fits_the_source(bug):
    source = (sowing.PACKAGE / bug.file).read_text(encoding="utf-8")
    spoilt = sowing.sow(bug, source)
    assert ast.dump(ast.parse(spoilt)) != ast.dump(ast.parse(source))


def test_there_are_enough_in_both_worlds():
    assert len({bug.what for bug in BUGS}) == len(BUGS) >= 30
    assert len({(bug.file, bug.before, bug.after) for bug in BUGS}) == len(BUGS)
    assert len(PYTORCH_BUGS) >= 5
    assert not any(bug.file.startswith("reference/") for bug in PYTORCH_BUGS)


def test_a_bug_without_its_place_is_an_error():
    source = (sowing.PACKAGE / HARMLESS.file).read_text(encoding="utf-8")
    for before, times in (("no such line", 0), ("return", source.count("return"))):
        with pytest.raises(ValueError, match=f"occurs {times} times in {HARMLESS.file}, not once"):
            sowing.sow(Bug("", HARMLESS.file, before, ""), source)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "by"),
    [(None, sowing.PASSED), (HARMLESS, sowing.PASSED), (WRONG, "test_judges.py::test_a_backward")],
    ids=["none", "harmless", "wrong"],
)
def test_the_runner_tells_what_was_noticed(tmp_path, bug, by):
    copies = sowing.Copies(tmp_path, 1)
    assert sowing.used(copies) == ""
    with sowing.quiet_workers():
        verdict = sowing.judge(bug, copies, FAST)
    assert verdict.noticed == (bug is WRONG)
    assert by in verdict.by
    if bug is not None:
        assert (tmp_path / "0" / "groundzero" / bug.file).read_bytes() == (sowing.PACKAGE / bug.file).read_bytes()


@pytest.mark.slow
def test_a_bug_that_nobody_notices_is_an_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(mutation, "BUGS", (HARMLESS, WRONG))
    monkeypatch.setattr(mutation, "TWIN", FAST)
    assert mutation.main(["--jobs", "2"]) == 1
    printed = capsys.readouterr().out
    assert f"NOT NOTICED: {sowing.PASSED}" in printed
    assert printed.endswith("1 of 2\n")
    assert mutation.main(["--jobs", "1", "ReLU"]) == 0
