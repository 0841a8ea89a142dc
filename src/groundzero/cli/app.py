"""`gz`: finds the command, loads only its module, runs it, and turns every failure into a line and an exit code.

Exit codes: 0 ok, 1 failure, 2 usage, 3 bad configuration or input, 4 not grounded, 130 interrupted. With `--json`,
errors are one JSON object on stdout: `{error: {kind, message, remedy}}`.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import groundzero
from groundzero.errors import GroundzeroError, InputError, StorageError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

INTERRUPTED = 130
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Command:
    """Where a command lives. The module is imported only when the command runs."""

    panel: str
    module: str
    attribute: str
    """A Typer application (a group), or a function with Typer annotations (one command)."""
    help: str
    example: str
    """A line to copy, printed below the command's help where that has none."""


COMMANDS = {
    "quickstart": Command(
        "Build & train",
        "groundzero.cli.quickstart",
        "command",
        "A model of your own in minutes.",
        "gz quickstart --text book.txt",
    ),
    "build": Command(
        "Build & train",
        "groundzero.cli.build",
        "command",
        "A model from your text and facts.",
        "gz build --text books/ --graph facts.tsv --out runs/mine",
    ),
    "train": Command(
        "Build & train",
        "groundzero.cli.train",
        "command",
        "Train a model on text, or resume.",
        "gz train --text book.txt --preset tiny --out runs/book",
    ),
    "finetune": Command(
        "Build & train",
        "groundzero.cli.finetune",
        "app",
        "Teach a trained model something further.",
        "gz finetune instruct --run runs/book --data chats.jsonl --out runs/chat",
    ),
    "config": Command(
        "Build & train",
        "groundzero.cli.config",
        "app",
        "Write, explain and check config files.",
        "gz config init train.toml --preset tiny",
    ),
    "data": Command(
        "Data",
        "groundzero.cli.data",
        "app",
        "Prepare, name and examine datasets.",
        "gz data add books ~/books",
    ),
    "tokenizer": Command(
        "Data",
        "groundzero.cli.tokenizer",
        "app",
        "Train, use and inspect tokenizers.",
        "gz tokenizer inspect runs/book/tokenizer.json --text book.txt",
    ),
    "graph": Command(
        "Knowledge",
        "groundzero.cli.graph",
        "app",
        "Keep, ask and examine a graph of facts.",
        "gz graph import facts.tsv --graph facts.db",
    ),
    "ask": Command(
        "Knowledge",
        "groundzero.cli.ask",
        "command",
        "Answers from a graph, with citations.",
        'gz ask "What is the capital of Peru?" --graph facts.db --no-model',
    ),
    "verify": Command(
        "Knowledge",
        "groundzero.cli.verify",
        "command",
        "Check an answer against its graph.",
        "gz verify answer.json --graph facts.db",
    ),
    "generate": Command(
        "Use",
        "groundzero.cli.generate",
        "command",
        "Write text with a trained model.",
        'gz generate --run runs/book --prompt "Once upon a time" --max-tokens 60 --temperature 0.8',
    ),
    "chat": Command(
        "Use",
        "groundzero.cli.chat",
        "command",
        "Talk with a run, with a graph or without.",
        "gz chat --run runs/grounded --graph facts.db",
    ),
    "eval": Command(
        "Inspect",
        "groundzero.cli.eval",
        "app",
        "Examine a run: answers from a graph, held-out loss.",
        "gz eval grounding --run runs/grounded --graph facts.db",
    ),
    "runs": Command(
        "Inspect", "groundzero.cli.runs", "app", "List, compare, verify and diff runs.", "gz runs compare runs/a runs/b"
    ),
    "hardware": Command(
        "Inspect", "groundzero.cli.hardware", "command", "What this machine has, measured.", "gz hardware"
    ),
    "info": Command(
        "Inspect", "groundzero.cli.info", "command", "This set-up, a preset or a run.", "gz info --preset tiny"
    ),
    "doctor": Command(
        "Inspect", "groundzero.cli.doctor", "command", "Check the installation, or a run.", "gz doctor --run runs/book"
    ),
    "reference": Command(
        "Learn",
        "groundzero.cli.reference",
        "app",
        "The model by hand, in NumPy.",
        'gz reference diff runs/book --prompt "Once upon a time"',
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gz` with `argv` (default: the process's) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _use_utf8()
    before_dashes = words[: words.index("--")] if "--" in words else words
    as_json = "--json" in before_dashes
    debug = "--debug" in before_dashes or bool(os.environ.get("GROUNDZERO_DEBUG"))
    if "--debug" in before_dashes:
        words.remove("--debug")
    try:
        code = _run(words, as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        return _leave_quietly()
    except Exception as error:
        if debug:
            traceback.print_exc()
        code = _report(error, as_json)
    except KeyboardInterrupt:
        code = _report(_InterruptedError("Interrupted."), as_json)
    return code


def _run(words: list[str], as_json: bool) -> int:
    """Dispatch on the first word; raises whatever the command raises."""
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    name = next((word for word in words if not word.startswith("-")), None)
    leading = words[: words.index(name)] if name is not None else words
    if "--version" in leading or "-V" in leading:
        print(f'{{"version": "{groundzero.__version__}"}}' if as_json else f"groundzero {groundzero.__version__}")
        return 0
    unknown = [word for word in leading if word not in ("--json", "--help", "-h", "--debug")]
    if unknown:
        raise UsageError(f"No such option: {unknown[0]}.", remedy="See `gz --help`.")
    if name is None or "--help" in leading or "-h" in leading:
        _print_help()
        return 0
    if name not in COMMANDS:
        raise _unknown_command(name)
    rest = words[len(leading) + 1 :] + [word for word in leading if word == "--json"]
    return _invoke(name, rest)


def _invoke(name: str, words: list[str]) -> int:
    """Load the command, tidy the words into the spellings it knows, and run it."""
    from groundzero.cli.loading import canonical, load  # noqa: PLC0415 - brings in Typer, 50 ms

    entry = COMMANDS[name]
    command = load(name, entry.module, entry.attribute, entry.example)
    if not words and hasattr(command, "commands") and not command.invoke_without_command:
        words = ["--help"]
    with command.make_context(f"gz {name}", canonical(command, words)) as context:
        outcome = command.invoke(context)
    # A command that *returns* typer.Exit(1), or a code, means it: returning must not turn a failure into success.
    outcome = getattr(outcome, "exit_code", outcome)
    return outcome if isinstance(outcome, int) and not isinstance(outcome, bool) else 0


def _unknown_command(name: str) -> UsageError:
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    remedy = f"Did you mean `gz {near[0]}`?" if near else "See `gz --help` for the commands."
    return UsageError(f"No such command: {name!r}.", remedy=remedy)


class _InterruptedError(GroundzeroError):
    kind = "interrupted"
    exit_code = INTERRUPTED


class _OutOfMemoryError(GroundzeroError):
    kind = "memory"


class _InternalError(GroundzeroError):
    kind = "internal"


def _report(error: Exception, as_json: bool) -> int:
    """Say what went wrong, in one line or one JSON object, and return the exit code."""
    if type(error).__name__ == "Exit":  # typer.Exit: the command has said what there was to say
        return int(getattr(error, "exit_code", 0))
    ours = _as_ours(error)
    if as_json:
        from groundzero.cli.output import print_json  # noqa: PLC0415 - only on failure

        print_json(ours.as_json())
        return ours.exit_code
    heading = "" if isinstance(ours, _InterruptedError) else _red("Error: ")
    print(heading + _one_line(str(ours)), file=sys.stderr)
    return ours.exit_code


def _as_ours(error: Exception) -> GroundzeroError:
    """Any exception as one that has a message, a remedy and an exit code."""
    if isinstance(error, GroundzeroError):
        return error
    if hasattr(error, "format_message"):  # a usage error of Typer's parser
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "gz"
        message = str(error.format_message())
        return UsageError(
            message if message.endswith(("?", ")")) else message.rstrip(".") + ".", remedy=f"See `{command} --help`."
        )
    if type(error).__name__ == "Abort" or isinstance(error, EOFError):
        return _InterruptedError("Interrupted.")
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        where = f" ({error.filename})" if error.filename else ""
        return StorageError(
            f"The disk refused: {error.strerror or error}{where}.",
            remedy="What was saved before is untouched; free space, or choose a folder you may write to.",
        )
    if isinstance(error, OSError) and error.filename:
        return InputError(f"Cannot use {error.filename}: {error.strerror}.", remedy="Check the path.")
    if isinstance(error, MemoryError) or ("memory" in str(error).lower() and isinstance(error, RuntimeError)):
        return _OutOfMemoryError(
            f"Out of memory: {str(error).splitlines()[0] if str(error) else 'an allocation was refused'}.",
            remedy="Use a smaller batch, a shorter context or a smaller model.",
        )
    return _InternalError(
        f"Internal error: {type(error).__name__}: {error}.",
        remedy="Please report it with the output of the same command run with --debug.",
    )


def _one_line(text: str) -> str:
    """`text` without line breaks, and with control characters (a file name may hold them) made visible."""
    return "".join(
        char if char.isprintable() else " " if char in "\r\n\t" else repr(char)[1:-1] for char in text
    ).strip()


def _red(text: str) -> str:
    return f"\x1b[1;31m{text}\x1b[0m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else text


def _use_utf8() -> None:
    """UTF-8 on every platform and in every pipe; what cannot be written becomes `?`, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def _leave_quietly() -> int:
    """The reader of our output has gone (`gz ... | head`): point stdout at nothing so that exiting stays silent."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):  # a stdout that is no file, as under a test
        pass
    return 1


def _print_help() -> None:
    from rich.table import Table  # noqa: PLC0415 - only for help
    from rich.text import Text  # noqa: PLC0415

    from groundzero.cli.output import console  # noqa: PLC0415

    out = console()
    out.print("\nUsage: gz COMMAND [OPTIONS]\n\nYour own GPT: trained from your text, on the machine you have.\n")
    for panel in dict.fromkeys(command.panel for command in COMMANDS.values()):
        rows = Table.grid(padding=(0, 2))
        for name, command in COMMANDS.items():
            if command.panel == panel:
                rows.add_row(Text(name.ljust(12), style="bold cyan"), command.help)
        out.print(_framed(rows, panel))
    options = Table.grid(padding=(0, 2))
    for option, meaning in (
        ("--json", "Print one JSON object; errors too."),
        ("--debug", "Show the traceback of a failure."),
        ("--version", "Print the version."),
        ("--help, -h", "Print this, or the help of a command."),
    ):
        options.add_row(Text(option.ljust(12), style="bold cyan"), meaning)
    out.print(_framed(options, "Options"))
    out.print("\nStart with:  gz quickstart      Then:  gz train --text book.txt --out runs/book\n")


def _framed(rows: RenderableType, title: str) -> Any:
    from rich.panel import Panel  # noqa: PLC0415 - only for help

    return Panel(rows, title=title, title_align="left", border_style="dim")
