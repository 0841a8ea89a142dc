"""`docs/ancestors.md` cannot rot: whatever a row says is there now is looked for, and found."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "ancestors.md"
ANCESTORS = ("GroundZero-LM", "SheepOp", "The NumPy GPT", "Custom GPT", "Pico-GPT")
SETTING = re.compile(r"(model|tokenizer|data|train|generate)\.[a-z_0-9]+")


@dataclass(frozen=True)
class Row:
    """One line of an ancestor's table."""

    ancestor: str
    promise: str
    status: str
    where: str

    @property
    def references(self) -> list[str]:
        """What stands in code style in the last column."""
        return re.findall(r"`([^`]+)`", self.where)


def rows() -> list[Row]:
    found = []
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        ancestor, _, body = section.partition("\n")
        for line in body.splitlines():
            if not line.startswith("| ") or line.startswith("| what it promises"):
                continue
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 3, f"not three cells: {line}"
            found.append(Row(ancestor, *cells))
    return found


def parts() -> set[str]:
    """The parts that planned things come with: the table at the head of the document."""
    head = DOCUMENT.read_text(encoding="utf-8").split("\n## ")[0]
    return {line.split("|")[1].strip() for line in head.splitlines() if line.startswith("| ")} - {"part"}


ROWS = rows()
NOW = [row for row in ROWS if row.status == "now"]
PLANNED = [row for row in ROWS if row.status == "planned"]
REFERENCES = sorted({reference for row in NOW for reference in row.references})


def test_every_ancestor_has_its_table_and_every_row_a_status() -> None:
    for ancestor in ANCESTORS:
        counts = [sum(row.ancestor == ancestor for row in some) for some in (ROWS, NOW, PLANNED)]
        print("{}: {} rows, {} now, {} planned".format(ancestor, *counts))
        assert counts[0] >= 40
    assert {row.ancestor for row in ROWS} == set(ANCESTORS)
    assert len(NOW) + len(PLANNED) == len(ROWS)


def test_no_promise_stands_twice_in_a_table() -> None:
    assert len({(row.ancestor, row.promise) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", PLANNED, ids=lambda row: f"{row.ancestor}: {row.promise}")
def test_what_is_planned_names_the_part_that_brings_it(row: Row) -> None:
    assert row.where.partition(":")[0] in parts()


@pytest.mark.parametrize("row", NOW, ids=lambda row: f"{row.ancestor}: {row.promise}")
def test_what_is_there_says_where(row: Row) -> None:
    assert row.references


@pytest.mark.parametrize("reference", REFERENCES)
def test_what_is_referred_to_is_there(reference: str) -> None:
    kind, _, rest = reference.partition(" ")
    if kind == "gz":
        find_command(rest.split())
    elif kind == "preset":
        assert rest in importlib.import_module("groundzero.model.presets").preset_names()
    elif kind == "make":
        assert re.search(rf"^{rest}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif SETTING.fullmatch(reference):
        section, _, key = reference.partition(".")
        assert key in settings(section)
    elif re.fullmatch(r"groundzero[.\w]*(:\w+)?", reference):
        module, _, name = reference.partition(":")
        assert not name or hasattr(importlib.import_module(module), name)
        importlib.import_module(module)
    else:
        assert (ROOT / reference).exists(), f"no file {reference}"


def find_command(words: list[str]) -> None:
    """The command exists and takes each option, in our spelling or in one that is quietly accepted."""
    from groundzero.cli.app import COMMANDS
    from groundzero.cli.loading import canonical

    assert words[0] in COMMANDS, f"no command gz {words[0]}"
    command = parser(words[0])
    for word in canonical(command, words[1:]):
        if word.startswith("-"):
            known = {spelling for option in command.params for spelling in (*option.opts, *option.secondary_opts)}
            assert word in known, f"gz {' '.join(words)} takes no {word}"
        else:
            assert word in getattr(command, "commands", {}), f"gz {words[0]} has no {word}"
            command = command.commands[word]


@cache
def parser(name: str) -> Any:
    from groundzero.cli.app import COMMANDS
    from groundzero.cli.loading import load

    command = COMMANDS[name]
    return load(name, command.module, command.attribute, command.example)


@cache
def settings(section: str) -> set[str]:
    """The keys of one section of a run's configuration."""
    run = importlib.import_module("groundzero.train.config").RunConfig
    return set(run.model_fields[section].annotation.model_fields)
