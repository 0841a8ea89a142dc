"""Chat templates as data: how the turns of a conversation become ids, and which of them the model is to learn.

`chat` frames each turn with control ids, which no text can forge: a turn that contains the characters `<|end|>` is
encoded as those characters. `alpaca` is the plain-text form of Taori et al. (2023), for models that met it elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from groundzero.errors import InputError
from groundzero.tokenizer.tokenizer import Tokenizer

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turn:
    """What one side said."""

    role: Role
    text: str


@dataclass(frozen=True)
class ChatTemplate:
    """What stands before and after the text of each role's turns; names of control tokens in it become their ids."""

    name: str
    before: Mapping[Role, str]
    after: Mapping[Role, str]
    opening: str = ""
    """What begins a conversation that has no system turn."""

    def ids(self, tokenizer: Tokenizer, turns: Sequence[Turn], *, answer: bool = False) -> list[int]:
        """The conversation as ids; with `answer`, followed by what opens the assistant's turn."""
        ids, _ = self.lesson(tokenizer, turns)
        return ids + tokenizer.encode(self.before["assistant"], control=True) if answer else ids

    def lesson(self, tokenizer: Tokenizer, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
        """The conversation as ids, and which of them are to be learnt: what the assistant says, its ending included.

        Raises:
            InputError: there is no turn.
        """
        if not turns:
            raise InputError("A conversation needs at least one turn.", remedy="Leave empty ones out.")
        ids: list[int] = []
        learnt: list[bool] = []

        def add(new: list[int], learn: bool) -> None:
            ids.extend(new)
            learnt.extend([learn] * len(new))

        if turns[0].role != "system":
            add(tokenizer.encode(self.opening, control=True), False)
        for turn in turns:
            says = turn.role == "assistant"
            add(tokenizer.encode(self.before[turn.role], control=True), False)
            add(tokenizer.encode(turn.text), says)
            add(tokenizer.encode(self.after[turn.role], control=True), says)
        return ids, learnt

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Control ids that end the assistant's turn."""
        return tuple(
            {tokenizer.eos_id, *(i for i in tokenizer.encode(self.after["assistant"], control=True) if i < 64)}
        )


TEMPLATES: dict[str, ChatTemplate] = {
    template.name: template
    for template in (
        ChatTemplate(
            name="chat",
            before={role: f"<|{role}|>" for role in ROLES},
            after=dict.fromkeys(ROLES, "<|end|>"),
        ),
        ChatTemplate(
            name="alpaca",
            opening="Below is an instruction that describes a task. Write a response that appropriately completes the"
            " request.\n\n",
            before={"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"},
            after={"system": "\n\n", "user": "\n\n", "assistant": "<EOS>"},
        ),
    )
}


def template(name: str) -> ChatTemplate:
    """A template by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in TEMPLATES:
        raise InputError(f"There is no chat template {name!r}.", remedy=f"There are: {', '.join(TEMPLATES)}.")
    return TEMPLATES[name]
