"""`gz chat`: turns with a run. With a graph, answers that the graph bears out; without one, plain chat."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.ask import visible
from groundzero.cli.generate import (
    DeviceOption,
    DtypeOption,
    MaxTokensOption,
    MinPOption,
    RepetitionOption,
    RunOption,
    SeedOption,
    StepOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    checkpoint_wanted,
    sampling_asked,
)
from groundzero.cli.output import note, print_json
from groundzero.errors import GroundzeroError, StorageError, UsageError

if TYPE_CHECKING:
    from groundzero.cli.chat_commands import Commands
    from groundzero.graph.graph import Graph
    from groundzero.ground.answer import Answer
    from groundzero.ground.conversation import Conversation, Reply
    from groundzero.run import RunDirectory

HISTORY = "chat_history"
"""Living part of a run: the lines that were typed, for the arrow keys."""
PREFIX_BYTES = 128 << 20
"""Of keys and values kept: each turn reads again what was said before."""

GraphOption = Annotated[
    str, typer.Option("--graph", help="The graph to answer from; the run's own by default.", metavar="DB")
]
NoGraphOption = Annotated[bool, typer.Option("--no-graph", help="Chat without one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a turn.")]


def command(
    run: RunOption,
    graph: GraphOption = "",
    no_graph: NoGraphOption = False,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    min_p: MinPOption = None,
    repetition_penalty: RepetitionOption = None,
    seed: SeedOption = None,
    checkpoint_step: StepOption = "best",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Talk with a run, turn by turn; what was said before counts.

    With a graph, questions are answered from it and cite it, and what it does not say is not made up. /help lists the
    commands; Ctrl-C stops an answer, Ctrl-D leaves. Where stdin is no terminal, each of its lines is a turn.

    Examples:

    gz chat --run runs/chat --temperature 0.7

    gz chat --run runs/grounded --graph facts.db

    gz chat --run runs/grounded --json < questions.txt > answers.jsonl
    """
    asked = sampling_asked(locals())
    step = checkpoint_wanted(checkpoint_step)
    if graph and no_graph:
        raise UsageError("--graph and --no-graph cannot be used together.", remedy="Leave one of them out.")
    from groundzero.cli.chat_commands import Commands  # noqa: PLC0415 - PyTorch takes a second to import
    from groundzero.generate.load import load_engine  # noqa: PLC0415
    from groundzero.ground.opening import open_conversation  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415

    directory = RunDirectory.open(run)
    with _opened(directory, graph, no_graph) as (place, opened):
        engine = load_engine(directory, step, device=device, dtype=dtype, warn=note, prefix_cache_bytes=PREFIX_BYTES)
        conversation = open_conversation(directory, engine, opened)
        conversation.sampling = engine.defaults.replace(**asked)
        commands = Commands(conversation, directory, place)
        _introduce(conversation, opened, quiet=as_json)
        _Chat(conversation, commands, directory, as_json).loop(_reader(directory, commands))


@contextmanager
def _opened(run: RunDirectory, graph: str, no_graph: bool) -> Iterator[tuple[str, Graph | None]]:
    """Where the graph is, and it; the run's own may be gone, which is no reason not to talk."""
    from groundzero.graph.graph import Graph  # noqa: PLC0415
    from groundzero.ground.opening import graph_of, knows_graph  # noqa: PLC0415

    place = graph or (graph_of(run) if knows_graph(run) and not no_graph else "")
    opened = None
    if place:
        try:
            opened = Graph.open(place, read_only=True)
        except GroundzeroError as error:
            if graph:
                raise
            note(f"{error.message} So there is no graph to answer from; --graph DB names another.")
    if opened is None:
        yield "", None
        return
    with opened:
        yield place, opened


def _introduce(conversation: Conversation, graph: Graph | None, *, quiet: bool) -> None:
    """What the person should know, once."""
    from groundzero.ground.reason import Reasoner  # noqa: PLC0415

    if conversation.form is None:
        note(
            "This run was never tuned to answer: it goes on with what you write. "
            "`gz finetune instruct` tunes it on conversations."
        )
    if isinstance(conversation.source, Reasoner):
        note("This run was not tuned on facts: answers from the graph are worded by rule (`gz finetune ground`).")
    if not quiet and sys.stdin.isatty():
        over = "" if graph is None else f", over {visible(graph.location)}"
        note(f"Chatting{over}. /help lists commands; Ctrl-C stops an answer, Ctrl-D leaves.")


class _Chat:
    """The loop: reads lines, takes turns and prints."""

    def __init__(self, conversation: Conversation, commands: Commands, run: RunDirectory, as_json: bool) -> None:
        self.conversation, self.commands, self.run, self.as_json = conversation, commands, run, as_json
        self._warned = False

    def loop(self, read: Callable[[], str]) -> None:
        """Take turns until the lines end or somebody leaves."""
        asked_to_leave = False
        while True:
            try:
                line = read().strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if asked_to_leave:
                    return
                asked_to_leave = True
                note("Ctrl-C again, or Ctrl-D, leaves.")
                continue
            asked_to_leave = False
            try:
                if line and self._take(line):
                    return
            except KeyboardInterrupt:
                note("Stopped.")
            except GroundzeroError as error:
                self._complain(error)

    def _take(self, line: str) -> bool:
        """One line; true to leave."""
        if not line.startswith("/") or line.startswith("//"):
            self._turn(line.removeprefix("/") if line.startswith("//") else line)
            return False
        done = self.commands.do(line)
        if self.as_json:
            print_json({"command": done.command, **done.payload})
        else:
            for text in done.lines:
                print(visible(text), flush=True)
        if done.answer is not None:
            self._keep(done.answer)
            if not self.as_json:
                self._show(done.answer)
        if done.turn is not None:
            self._turn(done.turn)
        return done.leave

    def _turn(self, text: str) -> None:
        reply = self.conversation.say(text, (lambda piece: None) if self.as_json else _print_piece)
        if reply.answer is not None:
            self._keep(reply.answer)
        if self.as_json:
            print_json(_payload(text, reply))
        elif reply.answer is not None:
            self._show(reply.answer)
        else:
            print("  (stopped)" if reply.stopped else "", flush=True)

    def _show(self, answer: Answer) -> None:
        print(visible(answer.text, keep="\n\t"))
        if answer.status == "unknown" and answer.reason != "talk":
            print(f"  ({answer.reason.replace('_', ' ')})")
        sys.stdout.flush()

    def _keep(self, answer: Answer) -> None:
        """As `gz ask` does; a run that cannot be written to is no reason not to talk."""
        from groundzero.ground.kept import keep_answer  # noqa: PLC0415

        try:
            keep_answer(self.run, answer)
        except StorageError as error:
            if not self._warned:
                note(f"Answers are not kept: {error.message}")
            self._warned = True

    def _complain(self, error: GroundzeroError) -> None:
        if self.as_json:
            print_json(error.as_json())
        else:
            note(visible(str(error)))


def _print_piece(piece: str) -> None:
    print(visible(piece, keep="\n\t"), end="", flush=True)


def _payload(text: str, reply: Reply) -> dict[str, Any]:
    """A turn as `gz ask --json` prints an answer, or `gz generate --json` a text."""
    if reply.answer is not None:
        return reply.answer.as_json()
    completion = reply.completion
    assert completion is not None
    return {
        "question": text,
        "text": completion.text,
        "tokens": len(completion.ids),
        "finish_reason": completion.finish_reason,
        "seed": completion.seed,
        "seconds": completion.seconds,
        "tokens_per_second": completion.tokens_per_second,
    }


def _reader(run: RunDirectory, commands: Commands) -> Callable[[], str]:
    """Lines from the terminal with editing, completion and history; plain lines where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):

        def read_line() -> str:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            return line

        return read_line
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - only on a terminal; 0.1 s
    from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory  # noqa: PLC0415

    history: History = InMemoryHistory()
    path = run.path / HISTORY
    try:
        path.touch(mode=0o600)
        history = FileHistory(str(path))
    except OSError:
        note("What you type is not kept: the run cannot be written to.")
    names: Sequence[str] = [f"/{name}" for name in commands.names]
    session: PromptSession[str] = PromptSession(
        history=history, completer=WordCompleter(list(names), sentence=True), complete_while_typing=False
    )
    return lambda: session.prompt("> ")
