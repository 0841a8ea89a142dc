"""Our exceptions: message, remedy, exit code, JSON."""

from __future__ import annotations

import pytest

from groundzero import errors


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (errors.GroundzeroError, "error", 1),
        (errors.UsageError, "usage", 2),
        (errors.ConfigError, "config", 3),
        (errors.InputError, "input", 3),
        (errors.FormatError, "format", 3),
        (errors.StorageError, "storage", 3),
    ],
)
def test_each_kind_has_a_name_and_an_exit_code(kind: type[errors.GroundzeroError], name: str, code: int) -> None:
    error = kind("What was wrong.", remedy="What to do.")
    assert (error.kind, error.exit_code) == (name, code)
    assert str(error) == "What was wrong. What to do."
    assert error.as_json() == {"error": {"kind": name, "message": "What was wrong.", "remedy": "What to do."}}
    assert isinstance(error, ValueError)


def test_a_remedy_may_be_left_out() -> None:
    assert str(errors.InputError("What was wrong.")) == "What was wrong."
