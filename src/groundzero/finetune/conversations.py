"""Conversations from files: JSON or JSON Lines, plain or .gz, in the forms that instruction sets come in.

    {"messages": [{"role": "user", "content": "..."}, ...]}      OpenAI's, Hugging Face's
    {"conversations": [{"from": "human", "value": "..."}, ...]}  ShareGPT's
    {"turns": [["user", "..."], ["assistant", "..."]]}           dialogues
    {"instruction": "...", "input": "...", "output": "..."}      Alpaca's; `response` for `output`
    {"instruction": "...", "instances": [{"input", "output"}]}   Self-Instruct's: one conversation for each
    {"question": "...", "answer": "..."}, {"prompt", "completion"}

A row that is none of these is left out, counted and told. What stands in it is data: names of control tokens in a text
never become control ids.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from groundzero.errors import InputError
from groundzero.tokenizer.chat import Role, Turn

Conversation = tuple[Turn, ...]

_ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_PAIRS = (("question", "answer"), ("prompt", "completion"), ("prompt", "response"), ("instruction", "response"))
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


@dataclass
class Reading:
    """What was read, and what was left out and why."""

    conversations: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows left out, by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """Where each reason came up first: file and row."""

    def skip(self, reason: str, where: str) -> None:
        """Count a row that cannot be used."""
        self.skipped[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self) -> list[str]:
        """One line for each reason."""
        return [f"{count:,} rows left out: {reason} (first: {self.first[reason]})" for reason, count in
                self.skipped.most_common()]  # fmt: skip


def read_conversations(source: Path | str, reading: Reading | None = None) -> Iterator[Conversation]:
    """Conversations of a file, or of all files with a fitting name in a folder, in the order of their names.

    Args:
        reading: counts what was read and what was left out.

    Raises:
        InputError: nothing there, no such file in the folder, or a file that is not JSON or not UTF-8.
    """
    reading = reading if reading is not None else Reading()
    for path in _files(Path(source)):
        for number, row in enumerate(_rows(path), 1):
            where = f"{path.name}, row {number}"
            found = list(conversations_of(row))
            if not found:
                reading.skip("no form that is known", where)
            for conversation in found:
                problem = problem_with(conversation)
                if problem:
                    reading.skip(problem, where)
                else:
                    reading.conversations += 1
                    yield conversation


def conversations_of(row: Any) -> Iterator[Conversation]:
    """The conversations in one row of a file; none where its form is not known."""
    if not isinstance(row, Mapping):
        return
    for key in ("messages", "conversations", "turns"):
        if isinstance(row.get(key), list):
            turns = [turn for turn in map(_turn, row[key]) if turn is not None]
            if len(turns) == len(row[key]):
                yield tuple(_with_assistant(turns))
            return
    if isinstance(row.get("instruction"), str) and isinstance(row.get("instances"), list):
        for instance in row["instances"]:
            if isinstance(instance, Mapping):
                yield from _instruction(row["instruction"], instance.get("input"), instance.get("output"))
        return
    if isinstance(row.get("instruction"), str):
        yield from _instruction(row["instruction"], row.get("input"), row.get("output", row.get("response")))
        return
    for asked, answered in _PAIRS:
        if isinstance(row.get(asked), str) and isinstance(row.get(answered), str):
            yield Turn("user", row[asked].strip()), Turn("assistant", row[answered].strip())
            return


def problem_with(conversation: Conversation) -> str:
    """Why nothing could be learnt from a conversation; empty where it can be used."""
    if not any(turn.role == "assistant" and turn.text.strip() for turn in conversation):
        return "the assistant says nothing"
    if any(not turn.text.strip() for turn in conversation):
        return "a turn is empty"
    if any(turn.role == "system" for turn in conversation[1:]):
        return "a system turn that is not the first"
    return ""


def _instruction(instruction: str, context: Any, output: Any) -> Iterator[Conversation]:
    if isinstance(output, str) and (context is None or isinstance(context, str)):
        asked = f"{instruction.strip()}\n\n{context.strip()}" if context and context.strip() else instruction.strip()
        yield Turn("user", asked), Turn("assistant", output.strip())


def _with_assistant(turns: list[Turn]) -> list[Turn]:
    """In dialogue corpora the machine that answers is called the system."""
    answers = all(turn.role != "assistant" for turn in turns) and any(turn.role == "system" for turn in turns[1:])
    return [Turn("assistant", turn.text) if answers and turn.role == "system" else turn for turn in turns]


def _turn(item: Any) -> Turn | None:
    if isinstance(item, Mapping):
        role, text = item.get("role", item.get("from")), item.get("content", item.get("value", item.get("text")))
    elif isinstance(item, list) and len(item) == 2:
        role, text = item
    else:
        return None
    if not isinstance(role, str) or role.lower() not in _ROLE_NAMES or not isinstance(text, str):
        return None
    return Turn(_ROLE_NAMES[role.lower()], text.strip())


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.exists():
        raise InputError(f"{source} does not exist.", remedy="Give a file or folder of conversations.")
    files = sorted(path for path in source.iterdir() if path.is_file() and path.name.lower().endswith(SUFFIXES))
    if not files:
        raise InputError(f"{source} holds no conversations.", remedy=f"Files end in {', '.join(SUFFIXES)}.")
    return files


def _rows(path: Path) -> Iterable[Any]:
    """The rows of a JSON array, or of JSON Lines; told apart by the first character."""
    try:
        with _open(path) as file:
            head = file.read(4096).lstrip()
            file.seek(0)
            if head.startswith("["):
                rows = json.load(file)
                yield from rows
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError):
                        yield f"line {number} is not JSON"
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}).", remedy="Convert it first.") from None
    except (ValueError, RecursionError, EOFError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}.", remedy="Give JSON or JSON Lines.") from None


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")
