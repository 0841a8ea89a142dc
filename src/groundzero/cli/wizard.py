"""What `gz train` alone on a terminal asks: text, size, layers, how long, where; then it shows the command it means.

Everything is said and asked on stderr, so that stdout stays the result's. Ctrl-C and Ctrl-D leave with nothing started.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundzero.cli.output import human_bytes, note
from groundzero.errors import GroundzeroError, InputError

if TYPE_CHECKING:
    from groundzero.hardware.detection import Hardware

SIZES = ("nano", "micro", "tiny", "small", "medium")
LENGTHS = {"quick": 2.0, "short": 10.0, "medium": 60.0, "long": 480.0}
"""Minutes."""
MOST_LAYERS = 96
DEFAULT_LENGTH = "short"
# Bytes of text up to which a size is suggested: about 10 tokens to a parameter would be ideal (Hoffmann et al. 2022
# say 20), but few texts are that long, so these allow some tens of passes over the text.
SUGGESTED_CPU = (("nano", 500e3), ("micro", 10e6), ("tiny", float("inf")))
SUGGESTED_GPU = (("micro", 500e3), ("tiny", 10e6), ("small", 200e6), ("medium", float("inf")))

Read = Callable[[str, bool], str]
"""(question, whether a path is wanted) -> the line typed."""


@dataclass(frozen=True)
class Answers:
    """What was asked for, as `gz train` would parse it."""

    preset: str
    """Size by name."""
    out: Path
    """The run directory."""
    options: dict[str, dict[str, Any]]
    """Sections over the preset: `data`, `tokenizer`, `model`, `train`."""

    def command(self) -> str:
        """The line to type for the same training."""
        data = self.options["data"]
        words = ["gz", "train", *(("--text", data["text"]) if "text" in data else ("--dataset", data["dataset"]))]
        words += ["--preset", self.preset]
        if "tokenizer" in self.options:
            words += ["--tokenizer", self.options["tokenizer"]["kind"]]
        for key, value in self.options.get("model", {}).items():
            words += ["--set", f"model.{key}={value}"]
        for key, value in self.options.get("train", {}).items():
            whole = isinstance(value, float) and value.is_integer()
            words += [f"--{key.replace('_', '-')}", str(int(value) if whole else value)]
        return shlex.join([*words, "--out", str(self.out)])


def ask(
    given: Mapping[str, Mapping[str, Any]] | None = None, out: Path | None = None, *, read: Read | None = None
) -> Answers | None:
    """Ask what is not given yet; None when the person decides not to start.

    Args:
        given: options of the command line, which are kept and not asked for again.
        out: the run directory, where it is given.
        read: asks one question; a line editor on stderr when None.

    Raises:
        KeyboardInterrupt, EOFError: Ctrl-C, Ctrl-D.
    """
    from groundzero.hardware.detection import detect, summary  # noqa: PLC0415 - PyTorch takes a second to import
    from groundzero.model.presets import preset  # noqa: PLC0415

    read = read or _line_editor()
    options = {section: dict(values) for section, values in (given or {}).items()}
    note("A few questions; Enter takes what is in [brackets], Ctrl-C leaves.\n")
    hardware = detect()
    note(f"This machine: {summary(hardware)}.\n")
    data, n_byte = _ask_text(read)
    size = _ask_size(read, suggested_size(n_byte, hardware))
    layers = _ask_layers(read, preset(size).config.n_layer)
    train = options.get("train", {})
    if not any(train.get(kind) for kind in ("steps", "epochs", "minutes")):
        train["minutes"] = _ask_minutes(read)
    model = {} if layers == preset(size).config.n_layer else {"n_layer": layers}
    options |= {"data": data, "model": model, "train": train}
    answers = Answers(
        preset=size,
        out=out or _ask_out(read, data),
        options={section: values for section, values in options.items() if values},
    )
    note(f"\nThe same without questions:\n\n  {answers.command()}\n")
    return answers if _ask_yes(read, "Start now") else None


def suggested_size(n_byte: int, hardware: Hardware) -> str:
    """The preset to suggest for a text of so many bytes on this machine."""
    table = SUGGESTED_CPU if hardware.accelerator is None else SUGGESTED_GPU
    return next(name for name, most in table if n_byte <= most)


def _ask_text(read: Read) -> tuple[dict[str, Any], int]:
    """A text or dataset that can be read, and its size in bytes."""
    from groundzero.data.registry import Registry  # noqa: PLC0415 - as in `ask`

    registry = Registry()
    names = [entry.name for entry in registry.entries()]
    chosen = registry.default()
    default = chosen.name if chosen is not None else ""
    if names:
        note(f"Prepared datasets: {', '.join(names)}.")
    while True:
        answer = _ask(read, "Text to learn from (a file, a folder, or a dataset's name)", default, paths=True)
        if not answer:
            continue
        try:
            return _measure(registry, names, answer)
        except GroundzeroError as error:
            note(f"  {error}")


def _measure(registry: Any, names: list[str], answer: str) -> tuple[dict[str, Any], int]:
    from groundzero.data import TokenDataset  # noqa: PLC0415 - as in `ask`
    from groundzero.data.config import DataConfig  # noqa: PLC0415
    from groundzero.data.sources import open_corpus  # noqa: PLC0415

    path = Path(answer).expanduser()
    if answer in names or (path.is_dir() and (path / "manifest.json").is_file()):
        folder = registry.resolve(answer if answer in names else str(path))
        dataset = TokenDataset.open(folder)
        n_byte = sum(source.bytes for source in dataset.manifest.sources) if dataset.manifest else 0
        return {"dataset": str(folder)}, n_byte
    with open_corpus(str(path), DataConfig.parse({})) as corpus:
        if not any(text.strip() for text in corpus):  # stops at the first that is not
            raise InputError(f"There is no text in {answer}.", remedy="Give another.")
        note(f"  {human_bytes(corpus.bytes)} of text.")
        return {"text": str(path)}, corpus.bytes


def _ask_size(read: Read, suggested: str) -> str:
    from groundzero.model.presets import preset  # noqa: PLC0415 - as in `ask`

    note("")
    for number, name in enumerate(SIZES, start=1):
        each = preset(name)
        note(f"  {number}  {name:<8} about {each.stated_parameters} parameters. {each.note}")
    while True:
        answer = _ask(read, "Size", suggested)
        if answer.isdigit() and 1 <= int(answer) <= len(SIZES):
            return SIZES[int(answer) - 1]
        if answer in SIZES:
            return answer
        note(f"  {answer!r} is none of them: give a number from 1 to {len(SIZES)}, or a name.")


def _ask_layers(read: Read, default: int) -> int:
    while True:
        answer = _ask(read, "Layers", str(default))
        if answer.isdigit() and 1 <= int(answer) <= MOST_LAYERS:
            return int(answer)
        note(f"  {answer!r} does not work: give a whole number from 1 to {MOST_LAYERS}.")


def _ask_minutes(read: Read) -> float:
    choices = ", ".join(f"{name} ({minutes:g} min)" for name, minutes in LENGTHS.items())
    while True:
        answer = _ask(read, f"How long: {choices}, or minutes", DEFAULT_LENGTH)
        try:
            minutes = LENGTHS[answer] if answer in LENGTHS else float(answer)
        except ValueError:
            minutes = 0.0
        if 0 < minutes < float("inf"):
            return minutes
        note(f"  {answer!r} does not work: give {', '.join(LENGTHS)}, or a number of minutes above 0.")


def _ask_out(read: Read, data: Mapping[str, Any]) -> Path:
    from groundzero.run import fresh_run_path  # noqa: PLC0415

    stem = Path(data.get("text") or data["dataset"]).resolve().stem
    default = str(fresh_run_path(name=stem))
    while True:
        path = Path(_ask(read, "Where to put the run", default, paths=True)).expanduser()
        if not path.exists() or (path.is_dir() and not (path / "manifest.json").exists()):
            return path
        note(f"  There is something at {path} already: give another place.")


def _ask_yes(read: Read, question: str) -> bool:
    while True:
        answer = _ask(read, f"{question} (y/n)", "y").lower()
        if answer in ("y", "yes", "n", "no"):
            return answer.startswith("y")
        note("  Type y or n.")


def _ask(read: Read, question: str, default: str, *, paths: bool = False) -> str:
    shown = f" [{default}]" if default else ""
    return read(f"{question}{shown}: ", paths).strip() or default


def _line_editor() -> Read:
    """Prompt Toolkit on stderr, with completion of paths."""
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - 100 ms that only this needs
    from prompt_toolkit.completion import PathCompleter  # noqa: PLC0415
    from prompt_toolkit.output import create_output  # noqa: PLC0415

    session: PromptSession[str] = PromptSession(output=create_output(stdout=sys.stderr))
    completer = PathCompleter(expanduser=True)

    def read(question: str, paths: bool) -> str:
        return session.prompt(question, completer=completer if paths else None, complete_while_typing=False)

    return read
