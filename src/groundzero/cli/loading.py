"""Loading one command, and reading the spellings that its users bring from elsewhere.

The five ancestors wrote `--max_tokens` and `--checkpoint`; both are accepted quietly, where the command has
`--max-tokens` and `--run`. Values are never touched, nor anything after `--`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from rich.markup import escape

# An ancestor's name -> ours, where the command has ours and not theirs.
SYNONYMS = {
    "--checkpoint": "--run",
    "--checkpoint-step": "--checkpoint",
    "--model": "--run",
    "--max-length": "--max-tokens",
    "--num-tokens": "--max-tokens",
}


def load(name: str, module: str, attribute: str, example: str) -> Any:
    """The parser of a command: import its module and build it, from a Typer application or from a function. `example`
    goes below its help, unless that has one of its own."""
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        target.command(name)(function)
    command = typer.main.get_command(target)
    if "Example" not in (command.help or ""):
        command.help = f"{command.help or ''}\n\nExample: {example}".strip()
    for part in _walk(command):
        part.rich_markup_mode = "rich"
        part.context_settings = {**part.context_settings, "help_option_names": ["-h", "--help"]}
        # Help texts are text: `[a-z]` in one is not markup.
        part.help = escape(part.help) if part.help else part.help
        for parameter in part.params:
            if getattr(parameter, "help", None):
                parameter.help = escape(parameter.help)
    return command


def canonical(command: Any, words: Sequence[str]) -> list[str]:
    """`words` with every long option in the spelling that `command` knows."""
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*result, word, *rest]
        if word.startswith("-") and word != "-":
            spelling, equals, value = word.partition("=")
            options = _options(command)
            if word.startswith("--"):
                spelling = _spelling(spelling, options)
            result.append(spelling + equals + value)
            takes = 0 if equals else _values_taken(options.get(spelling))
            result.extend(rest[:takes])
            del rest[:takes]
            continue
        result.append(word)
        command = getattr(command, "commands", {}).get(word, command)
    return result


def _spelling(option: str, options: dict[str, Any]) -> str:
    if option in options:
        return option
    dashed = option.replace("_", "-")
    if dashed in options:
        return dashed
    return SYNONYMS[dashed] if SYNONYMS.get(dashed) in options else option


def _options(command: Any) -> dict[str, Any]:
    found = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return {spelling: parameter for parameter in found for spelling in (*parameter.opts, *parameter.secondary_opts)}


def _values_taken(option: Any) -> int:
    return 0 if option is None or option.is_flag or getattr(option, "count", False) else int(option.nargs)


def _walk(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _walk(child)
