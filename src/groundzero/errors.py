"""The exceptions that users see: each names what was wrong and, in `remedy`, what to do about it.

An invariant of ours that breaks is an `assert` and a traceback; what a person can cause is one of these, and the
command line turns it into one line (or one JSON object) and an exit code.
"""

from __future__ import annotations


class GroundzeroError(ValueError):
    """Something the user can mend.

    Args:
        message: what was wrong and where, in one line; it names the file, option or value.
        remedy: what to do, in one line.
    """

    kind = "error"
    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def as_json(self) -> dict[str, dict[str, str]]:
        """The object that `--json` prints: `{error: {kind, message, remedy}}`."""
        return {"error": {"kind": self.kind, "message": self.message, "remedy": self.remedy}}


class UsageError(GroundzeroError):
    """An option or argument that cannot be meant: out of range, or in conflict with another."""

    kind = "usage"
    exit_code = 2


class ConfigError(GroundzeroError):
    """A configuration that cannot work: an unknown key, a wrong type, an impossible shape."""

    kind = "config"
    exit_code = 3


class InputError(GroundzeroError):
    """Input that is missing, empty, unreadable, or not what it claims to be."""

    kind = "input"
    exit_code = 3


class FormatError(GroundzeroError):
    """A file of ours that is damaged, truncated, or of a version this release does not read."""

    kind = "format"
    exit_code = 3


class StorageError(GroundzeroError):
    """The disk refused: full, read-only, or no permission. What was saved before is untouched."""

    kind = "storage"
    exit_code = 3
