"""`gz` itself: lazy commands, exit codes, error lines and JSON errors, the ancestors' spellings."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any

import pytest
import typer

import groundzero
from groundzero.cli import app as gz
from groundzero.cli import loading
from groundzero.cli.app import COMMANDS, main
from groundzero.errors import ConfigError, FormatError, GroundzeroError, InputError, StorageError, UsageError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Install a function as `gz probe`."""

    def install(function: Callable[..., Any]) -> None:
        module = ModuleType("groundzero.cli.probe")
        module.command = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "groundzero.cli.probe", module)
        entry = gz.Command("Use", "groundzero.cli.probe", "command", "A probe.", "gz probe --json")
        monkeypatch.setitem(gz.COMMANDS, "probe", entry)

    return install


JsonOption = Annotated[bool, typer.Option("--json")]


def raising(error: BaseException) -> Callable[..., None]:
    def probe(as_json: JsonOption = False) -> None:
        raise error

    return probe


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Example" in text
    assert f"gz {name} " in text
    assert "--install-completion" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_unknown_option_with_exit_code_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--no-such-option"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: No such option")
    assert captured.err.count("\n") == 1
    assert main([name, "--no-such-option", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "usage"
    assert "--no-such-option" in error["message"]
    assert error["remedy"] == f"See `gz {name} --help`."


def test_help_imports_neither_commands_nor_torch_nor_pydantic_nor_typer() -> None:
    code = (
        "import sys\nfrom groundzero.cli.app import main\nassert main(['--help']) == 0\n"
        "heavy = {'torch', 'pydantic', 'typer', 'numpy', 'groundzero.cli.train'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    for name, entry in COMMANDS.items():
        assert name in done.stdout
        assert entry.help in done.stdout
        assert entry.panel in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_does_not_import_torch(name: str) -> None:
    code = (
        "import sys\nfrom groundzero.cli.app import main\n"
        f"sys.exit(main([{name!r}, '--help']) or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["--json", "--help"]])
def test_help_is_what_one_gets_without_a_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "Usage: gz COMMAND" in capsys.readouterr().out


def test_help_of_a_command_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "doctor"]) == 0
    assert "Usage: gz doctor" in capsys.readouterr().out


def test_a_group_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "compare" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"groundzero {groundzero.__version__}\n"
    assert main(["--json", "--version"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": groundzero.__version__}


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("hardwear", "hardware"), ("run", "runs")])
def test_an_unknown_command_is_answered_with_the_nearest(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed]) == 2
    assert capsys.readouterr().err == f"Error: No such command: {typed!r}. Did you mean `gz {meant}`?\n"
    assert main([typed, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["remedy"] == f"Did you mean `gz {meant}`?"


def test_a_command_like_no_other_is_answered_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert "See `gz --help`" in capsys.readouterr().err
    assert main(["--fast", "train"]) == 2
    assert "No such option: --fast." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (GroundzeroError("It broke.", remedy="Mend it."), 1, "error"),
        (UsageError("It broke.", remedy="Mend it."), 2, "usage"),
        (ConfigError("It broke.", remedy="Mend it."), 3, "config"),
        (InputError("It broke.", remedy="Mend it."), 3, "input"),
        (FormatError("It broke.", remedy="Mend it."), 3, "format"),
        (StorageError("It broke.", remedy="Mend it."), 3, "storage"),
    ],
)
def test_our_errors_are_one_line_or_one_object(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception, code: int, kind: str
) -> None:
    command(raising(error))
    assert main(["probe"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Error: It broke. Mend it.\n")
    assert main(["probe", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {"error": {"kind": kind, "message": "It broke.", "remedy": "Mend it."}}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_disk_that_refuses_anywhere_is_a_storage_error(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], code: int
) -> None:
    command(raising(OSError(code, os.strerror(code), "/some/file")))
    assert main(["probe"]) == 3
    line = capsys.readouterr().err
    assert os.strerror(code) in line
    assert "/some/file" in line
    assert "What was saved before is untouched" in line


def test_other_trouble_with_a_file_names_it(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300)))
    assert main(["probe"]) == 3
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_running_out_of_memory_suggests_something_smaller(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    command(raising(error))
    assert main(["probe", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["kind"] == "memory"
    assert "smaller batch" in told["remedy"]


def test_our_own_mistakes_are_one_line_unless_debugging(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(raising(KeyError("oops")))
    assert main(["probe"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("Error: Internal error: KeyError: 'oops'.")
    assert "--debug" in line
    assert "Traceback" not in line
    assert main(["probe", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["--debug", "probe", "--json"]) == 1
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert json.loads(captured.out)["error"]["kind"] == "internal"
    monkeypatch.setenv("GROUNDZERO_DEBUG", "1")
    assert main(["probe"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort(), EOFError()])
def test_an_interruption_is_one_line_and_130(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    command(raising(error))
    assert main(["probe"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    assert main(["probe", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "interrupted"


@pytest.mark.parametrize("outcome", [typer.Exit(4), 4])
def test_a_returned_exit_counts_as_a_raised_one(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], outcome: object
) -> None:
    command(lambda: outcome)
    assert main(["probe"]) == 4
    command(raising(typer.Exit(4)))
    assert main(["probe"]) == 4
    command(lambda: {"a": "result"})
    assert main(["probe"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_control_characters_and_line_breaks_in_an_error_are_made_harmless(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(InputError("No file \x1b[31mred\r\n\u202e\udcff.")))
    assert main(["probe"]) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not {"\x1b", "\r", "\u202e", "\udcff"} & set(line)
    assert "\\x1b[31mred" in line


def test_a_reader_that_leaves_early_is_no_error(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(BrokenPipeError()))
    assert main(["probe"]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name == "nt", reason="a POSIX pipe")
def test_piping_into_head_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys\nfrom groundzero.cli.app import main\nsys.exit(main(['--help']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""


def test_output_is_utf_8_whatever_the_platform_says(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., None]
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    command(lambda: print("\u4f60\u597d \udcff"))
    assert main(["probe"]) == 0
    assert raw.getvalue().decode("utf-8").strip() == "\u4f60\u597d ?"


def test_colour_only_on_a_terminal_and_not_under_no_color(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["trian"])
    assert "\x1b" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(["trian"])
    assert "\x1b[1;31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    main(["trian"])
    assert "\x1b" not in capsys.readouterr().err


def probe_parser() -> Any:
    def probe(
        run: Annotated[str, typer.Option("--run")] = "",
        max_tokens: Annotated[int, typer.Option("--max-tokens", "-t")] = 1,
        prompt: Annotated[str, typer.Option("--prompt", "-p")] = "",
        top_k: Annotated[int, typer.Option("--top_k")] = 0,
        stream: Annotated[bool, typer.Option("--stream/--no-stream")] = False,
        size: Annotated[tuple[int, int], typer.Option("--size")] = (0, 0),
    ) -> None:
        """A probe of [brackets] and `--flags [x]`."""

    module = ModuleType("groundzero.cli.probe")
    module.command = probe  # type: ignore[attr-defined]
    sys.modules["groundzero.cli.probe"] = module
    try:
        return loading.load("probe", "groundzero.cli.probe", "command", "gz probe [x]")
    finally:
        del sys.modules["groundzero.cli.probe"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--max_tokens 5", "--max-tokens 5"),
        ("--max_tokens=5", "--max-tokens=5"),
        ("--top_k 5", "--top_k 5"),
        ("--no_stream", "--no-stream"),
        ("--checkpoint a/b_c.pt", "--run a/b_c.pt"),
        ("--model=m_1", "--run=m_1"),
        ("--max_length 9", "--max-tokens 9"),
        ("--prompt --max_tokens", "--prompt --max_tokens"),
        ("-p --checkpoint --max_tokens 3", "-p --checkpoint --max-tokens 3"),
        ("--prompt=--max_tokens", "--prompt=--max_tokens"),
        ("--size 1 2 --max_tokens 3", "--size 1 2 --max-tokens 3"),
        ("--stream --max_tokens 3", "--stream --max-tokens 3"),
        ("--unknown_option --max_tokens 3", "--unknown_option --max-tokens 3"),
        ("some_word - --max_tokens 1", "some_word - --max-tokens 1"),
        ("-- --max_tokens --checkpoint", "-- --max_tokens --checkpoint"),
        ("", ""),
    ],
)
def test_the_ancestors_spellings_become_ours_and_values_stay(typed: str, read: str) -> None:
    assert loading.canonical(probe_parser(), typed.split()) == read.split()


def test_spellings_are_read_in_the_commands_of_a_group(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    parser = loading.load("runs", "groundzero.cli.runs", "app", "")
    assert loading.canonical(parser, ["list", "my_runs", "--json"]) == ["list", "my_runs", "--json"]
    assert main(["runs", "lst"]) == 2
    assert "lst" in capsys.readouterr().err


def test_help_texts_are_text_not_markup(capsys: pytest.CaptureFixture[str], command: Callable[..., None]) -> None:
    def probe() -> None:
        """Takes [brackets] as they are: [red]."""

    command(probe)
    assert main(["probe", "--help"]) == 0
    text = capsys.readouterr().out
    assert "[brackets]" in text
    assert "[red]" in text
    assert "Example: gz probe --json" in text


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundzero", "--version"], check=False, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.stdout == f"groundzero {groundzero.__version__}\n"
