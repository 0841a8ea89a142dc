"""The slash commands of `gz chat`, in the manner of Pico-GPT's: each looks at the conversation or changes it."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundzero.cli.ask import path_line
from groundzero.cli.graph_edit import PERSON, Edit, lines_of
from groundzero.cli.graph_options import opened
from groundzero.errors import InputError, UsageError
from groundzero.generate.config import SamplingConfig
from groundzero.run.files import storage_errors, write_atomic

if TYPE_CHECKING:
    from groundzero.ground.answer import Answer
    from groundzero.ground.conversation import Conversation
    from groundzero.run import RunDirectory

_HELP = (
    ("/help", "this list"),
    ("/facts", "the statements that the last answer cites"),
    ("/why", "the way to the last answer, or why there is none"),
    ("/graph on|off", "answer from the graph, or chat without it"),
    ("/edit S R O", "change a fact and ask again; quote names with spaces, or put | between; --add, --retire"),
    ("/retry, /undo", "answer the last turn again, or forget it"),
    ("/reset", "begin anew"),
    ("/save FILE", "write what was said: .txt as text, else as JSON that `gz finetune instruct` reads"),
    ("/temperature N", "and /max-tokens, /top-k, /top-p, /min-p, /seed, ...: how plain chat chooses words"),
    ("/settings", "how it chooses them now"),
    ("/info", "the run and the graph"),
    ("/quit", "leave; so do /exit and Ctrl-D"),
    ("//text", "say something that begins with a slash"),
)
_ALIASES = {"exit": "quit", "bye": "quit", "clear": "reset", "regen": "retry", "?": "help"}
_SOURCE = "gz chat"
_SETTINGS = tuple(name for name in SamplingConfig.model_fields if name not in ("stop_ids", "logprobs"))


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    command: str
    payload: dict[str, Any] = field(default_factory=dict)
    """For `--json`."""
    lines: tuple[str, ...] = ()
    """For people."""
    answer: Answer | None = None
    """To be shown behind the lines."""
    turn: str | None = None
    """What is to be said next, as if it had been typed."""
    leave: bool = False


class Commands:
    """Carries out lines that begin with a slash.

    Args:
        graph: where the graph is, as it was given; empty without one.
    """

    def __init__(self, conversation: Conversation, run: RunDirectory, graph: str) -> None:
        self._talk, self._run, self._place = conversation, run, graph
        self._known: dict[str, Callable[[str], Done]] = {
            "help": self._help, "facts": self._facts, "why": self._why, "graph": self._graph, "edit": self._edit,
            "retry": self._retry, "undo": self._undo, "reset": self._reset, "save": self._save,
            "settings": self._settings, "info": self._info, "quit": lambda rest: Done("quit", leave=True),
        }  # fmt: skip

    @property
    def names(self) -> list[str]:
        """Every command, without its slash."""
        return [*self._known, *_ALIASES, *(name.replace("_", "-") for name in _SETTINGS)]

    def do(self, line: str) -> Done:
        """
        Raises:
            UsageError: there is no such command, or it wants something else.
            GroundzeroError: it could not be done.
        """
        name, _, rest = line.removeprefix("/").partition(" ")
        name = _ALIASES.get(name.lower(), name.lower())
        if name in self._known:
            return self._known[name](rest.strip())
        if name.replace("-", "_") in _SETTINGS:
            return self._set(name.replace("-", "_"), rest.strip())
        near = difflib.get_close_matches(name, self.names, n=1)
        raise UsageError(
            f"There is no command /{name}.", remedy=f"Did you mean /{near[0]}?" if near else "/help lists them."
        )

    def _help(self, rest: str) -> Done:
        width = max(len(usage) for usage, _ in _HELP)
        return Done("help", {"commands": dict(_HELP)}, tuple(f"{usage:{width}}  {meaning}" for usage, meaning in _HELP))

    # ------------------------------------------------------------------ the last answer

    def _answer(self) -> Answer:
        answer = self._talk.answer
        if answer is None:
            raise UsageError("No question was answered from a graph yet.", remedy="Ask one.")
        return answer

    def _facts(self, rest: str) -> Done:
        answer = self._answer()
        lines = []
        for each in answer.citations:
            where = f", {each.start}-{each.end}" if each.start is not None else ""
            source = f"   ({each.source}{where})" if each.source else ""
            lines.append(f"[S{each.id}] {each.subject}  {each.relation}  {each.object}{source}")
        payload = {"question": answer.question, "citations": answer.as_json()["citations"]}
        return Done("facts", payload, tuple(lines) or ("The last answer cites nothing.",))

    def _why(self, rest: str) -> Done:
        answer = self._answer()
        known = answer.status == "asserted"
        lines = [f"{answer.status}" + (f": {answer.reason.replace('_', ' ')}" if answer.reason else "")]
        lines += [f"understood as: {answer.meant}"] if answer.meant else []
        lines += [f"path: {path_line(answer)}"] if answer.path else []
        lines += [f"probability that the question was read rightly: {answer.probability:.2f}"] if known else []
        others = answer.candidates[1:6] if known else answer.candidates[:5]
        lines += [f"else: {', '.join(f'{each.entity} ({each.score:.2f})' for each in others)}"] if others else []
        moved = ", ".join(f"{name} {figure:.2f}" for name, figure in sorted(answer.channels.items()))
        lines += [f"what moved the words: {moved}"] if moved else []
        by = f"by the model, {answer.tokens_generated} tokens" if answer.tokens_generated else "by rule"
        lines += [f"worded {by}"]
        return Done("why", {**answer.as_json(), "meant": answer.meant}, tuple(lines))

    # ------------------------------------------------------------------ the graph

    def _graph(self, rest: str) -> Done:
        talk = self._talk
        if talk.source is None:
            raise UsageError("There is no graph.", remedy="Start with --graph DB.")
        if rest and rest not in ("on", "off"):
            raise UsageError(f"/graph cannot be {rest!r}.", remedy="Give on or off.")
        talk.asks_graph = rest == "on" if rest else talk.asks_graph
        state = "on" if talk.asks_graph else "off"
        return Done("graph", {"graph": self._place, "on": talk.asks_graph}, (f"The graph is {state}.",))

    def _edit(self, rest: str) -> Done:
        if not self._place:
            raise UsageError("There is no graph to edit.", remedy="Start with --graph DB.")
        words, options = _split(rest)
        if len(words) != 3 or len(options) > 1:
            raise UsageError(
                "/edit wants a subject, a relation and an object.", remedy='As in: /edit Peru capital "San Isidro"'
            )
        subject, relation, object_ = words
        from groundzero.graph.lookup import find_entities, find_relations  # noqa: PLC0415

        with opened(self._place, read_only=False) as store:
            known = bool(find_entities(store, subject)) and bool(find_relations(store, relation))
            add, retire = "add" in options, "retire" in options
            # Only the object may be new: a slip in the others would make a fact about nothing.
            edit = Edit(store, subject, relation, object_, "", make=known and not retire)
            payload = edit.carry_out(edit.to_retire("", add=add, retire=retire), retire, source=f"{PERSON} ({_SOURCE})")
        again = self._talk.ask_again()
        if again is not None:
            payload["answer"] = again.as_json()
        asked = () if again is None else (f"Asked again: {again.meant or again.question}",)
        return Done("edit", payload, (*lines_of(payload), *asked), answer=again)

    # ------------------------------------------------------------------ turns

    def _retry(self, rest: str) -> Done:
        text = self._talk.take_back()
        if text is None:
            raise UsageError("Nothing was said yet.", remedy="Say something.")
        return Done("retry", {"question": text}, turn=text)

    def _undo(self, rest: str) -> Done:
        text = self._talk.take_back()
        if text is None:
            raise UsageError("Nothing was said yet.", remedy="Say something.")
        return Done("undo", {"question": text}, (f"Forgotten: {text}",))

    def _reset(self, rest: str) -> Done:
        self._talk.reset()
        return Done("reset", {}, ("Begun anew.",))

    def _save(self, rest: str) -> Done:
        path = Path(rest)
        if not rest:
            raise UsageError("/save wants a file.", remedy="As in: /save chat.json")
        if path.exists():
            raise InputError(f"{path} exists.", remedy="Give another name.")
        talk = self._talk
        roles = ("user", "assistant")
        messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(talk.history)]
        if path.suffix == ".txt":
            said = (
                "\n".join(f"{'> ' if place % 2 == 0 else ''}{text}" for place, text in enumerate(talk.history)) + "\n"
            )
        else:
            answers = [None if reply.answer is None else reply.answer.as_json() for reply in talk.replies]
            said = json.dumps({"messages": messages, "answers": answers}, ensure_ascii=False) + "\n"
        with storage_errors(f"write {path}"):
            write_atomic(path, said.encode())
        return Done("save", {"file": str(path), "turns": len(talk.replies)}, (f"{len(talk.replies)} turns in {path}.",))

    # ------------------------------------------------------------------ settings

    def _set(self, name: str, rest: str) -> Done:
        sampling = self._talk.sampling
        if rest:
            value = rest if name == "stop" else _value(rest)
            sampling = SamplingConfig.from_options({**sampling.model_dump(), name: value})
            self._talk.sampling = sampling
        shown = sampling.model_dump(mode="json")[name]
        return Done(name, {name: shown}, (f"{name.replace('_', ' ')}: {shown}",))

    def _settings(self, rest: str) -> Done:
        values = {
            name: value for name, value in self._talk.sampling.model_dump(mode="json").items() if name in _SETTINGS
        }
        width = max(map(len, values))
        lines = tuple(f"{name.replace('_', '-'):{width}}  {value}" for name, value in values.items())
        return Done("settings", values, lines)

    def _info(self, rest: str) -> Done:
        talk = self._talk
        config = talk.engine.model.config
        form = talk.form.name if talk.form is not None else ""
        payload = {
            "run": str(self._run.path), "graph": self._place, "template": form, "turns": len(talk.replies),
            "context": talk.engine.context, "layers": config.n_layer, "width": config.d_model,
            "vocabulary": talk.engine.tokenizer.vocab_size,
        }  # fmt: skip
        return Done("info", payload, tuple(f"{name}: {value}" for name, value in payload.items() if value != ""))


def _split(rest: str) -> tuple[list[str], set[str]]:
    """The words of an edit, and its options.

    Raises:
        UsageError: a quotation mark is not closed.
    """
    options = {option for option in ("add", "retire") if f"--{option}" in rest.split()}
    for option in options:
        rest = rest.replace(f"--{option}", "")
    if "|" in rest:
        return [word.strip() for word in rest.split("|") if word.strip()], options
    try:
        return shlex.split(rest), options
    except ValueError as error:
        raise UsageError(f"/edit cannot read {rest!r}: {error}.", remedy="Put | between the three parts.") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower())
    except ValueError:
        return text
