"""`gz chat`: turns from lines and from a terminal, with a graph and without, and every slash command."""

from __future__ import annotations

import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import groundzero as gz
from groundzero.cli.app import main
from groundzero.generate.engine import Engine
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.ground.kept import kept_answers
from groundzero.model import GPT, GPTConfig, KnowledgeConfig, attach_knowledge
from groundzero.model.knowledge_file import save_knowledge
from groundzero.model.weights import save_weights
from groundzero.run import RunDirectory, sha256_of
from groundzero.tokenizer import TokenizerConfig, train_tokenizer

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "facts.db"
    with Graph.open(path, create=True) as graph:
        import_file(graph.store, FIXTURE)
        with graph.store.writer() as writer:
            odd = writer.add_entity("odd", label="\x1b[31mRed\x07")
            bolivia, currency = graph.store.find_entity("Bolivia"), writer.add_relation("currency", label="currency")
            assert bolivia is not None
            writer.add_statement(bolivia, currency, odd)
    return path


def make_run(folder: Path, tuning: dict[str, Any] | None, *, knowledge: bool = False) -> RunDirectory:
    """A tiny run with random weights, as a tuning leaves one."""
    run = RunDirectory.create(folder)
    text = "the capital of peru is lima. what is it? hello. abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\n"
    tokenizer = train_tokenizer([text * 20], TokenizerConfig(kind="bpe", vocab_size=380))
    tokenizer.save(run.tokenizer_path)
    torch.manual_seed(0)
    model: GPT = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, n_layer=1, n_head=2, d_model=16, context=256))
    if not knowledge:  # letters outweigh control tokens; else nothing is ever said
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
    if knowledge:
        model = attach_knowledge(model, KnowledgeConfig())

    def write(step_folder: Path) -> None:
        save_weights(model, step_folder)
        save_knowledge(model, step_folder)

    run.publish_checkpoint(1, write)
    run.write_manifest(
        config={"model": model.config.model_dump(mode="json"), "generate": {"max_tokens": 12, "ignore_eos": True}},
        tokenizer={"sha256": sha256_of(run.tokenizer_path)},
        data={"starts_with_bos": False},
        **({} if tuning is None else {"tuning": tuning}),
    )
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, atlas: Path) -> dict[str, Path]:
    """One of each kind: never tuned, tuned on conversations, tuned on facts."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "base", None)
    make_run(folder / "chat", {"kind": "instruct", "template": "chat"})
    ground = {"kind": "ground", "template": "chat", "graph": str(atlas), "settings": {}}
    make_run(folder / "ground", ground, knowledge=True)
    return {name: folder / name for name in ("base", "chat", "ground")}


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Say lines to a run: what is printed on stdout and on stderr."""

    def said(run: Path, *lines: str, options: tuple[str, ...] = (), code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        assert main(["chat", "--run", str(run), "--device", "cpu", *options]) == code
        return capsys.readouterr()

    return said


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_graph_answers_cites_follows_and_refuses(chat, runs):
    before = len(kept_answers(RunDirectory.open(runs["ground"])))
    out, err = chat(
        runs["ground"],
        "What is the capital of Peru?",
        "and its population?",
        "And of Chile?",
        "Thank you!",
        "What is the capital of Atlantis?",
    )
    assert out.splitlines() == [
        "The capital of Peru is Lima [S7].",
        "Lima has a population of 10092000 [S1].",
        "I do not know: the graph does not say the population of Chile.",
        "  (no fact)",
        "You are welcome.",
        "I do not know: the graph has nothing by a name in this question.",
        "  (no entity)",
    ]
    assert err == ""
    kept = kept_answers(RunDirectory.open(runs["ground"]))[before:]
    assert [answer["question"] for answer in kept] == [
        "What is the capital of Peru?",
        "and Lima's population?",
        "and Chile's population?",
        "What is the capital of Atlantis?",
    ], "small talk is not kept"


def test_json_is_one_object_a_turn(chat, runs):
    lines = (
        "What is the capital of Peru?",
        "/facts",
        "Hello!",
        "/graph off",
        "Hello!",
        "/nonsense",
        "/quit",
        "never said",
    )
    out, err = chat(runs["ground"], *lines, options=("--json",))
    asked, facts, talk, off, plain, wrong, left = objects(out)
    assert (asked["status"], asked["candidates"][0]["entity"]) == ("asserted", "Lima")
    assert facts == {"command": "facts", "question": asked["question"], "citations": asked["citations"]}
    assert (talk["status"], talk["reason"], talk["citations"]) == ("unknown", "talk", [])
    assert (off["command"], off["on"]) == ("graph", False)
    assert (plain["question"], plain["tokens"], plain["finish_reason"]) == ("Hello!", 12, "length")
    assert wrong["error"]["kind"] == "usage"
    assert left == {"command": "quit"}
    assert err == ""


def test_without_a_graph_it_is_plain_chat_that_remembers(chat, runs):
    options = ("--json", "--temperature", "0")
    out, err = chat(runs["chat"], "hello", "what is it?", options=options)
    first, second = objects(out)
    run = gz.Run(runs["chat"])
    assert first["text"] == run.chat("hello", temperature=0)
    assert second["text"] == run.chat("hello", first["text"], "what is it?", temperature=0)
    assert second["text"] != run.chat("what is it?", temperature=0), "what was said before must matter"
    assert err == ""
    shown, _ = chat(runs["chat"], "hello", options=("--temperature", "0"))
    assert shown == "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in first["text"]) + "\n"
    again, _ = chat(runs["ground"], "hello", options=("--no-graph", "--json"))
    assert "status" not in objects(again)[0]


def test_a_run_that_never_learnt_to_answer_goes_on_and_says_so_once(chat, runs):
    out, err = chat(runs["base"], "the capital", "of peru", options=("--json", "--temperature", "0"))
    first, second = objects(out)
    run = gz.Run(runs["base"])
    assert first["text"] == run.generate("the capital", temperature=0)
    assert second["text"] == run.generate(f"the capital\n{first['text']}\nof peru", temperature=0)
    assert err.count("never tuned to answer") == 1


def test_a_run_that_knows_no_facts_leaves_questions_to_the_reasoner(chat, runs, atlas):
    lines = ("What is the capital of Peru?", "And of Chile?", "What is the capital of Atlantis?", "Hello!")
    out, err = chat(runs["chat"], *lines, options=("--graph", str(atlas), "--json"))
    one, two, unknown, talk = objects(out)
    assert [each["candidates"][0]["entity"] for each in (one, two)] == ["Lima", "Santiago"]
    assert unknown["reason"] == "no_entity"
    assert "status" not in talk, "the model chats"
    assert err.count("worded by rule") == 1


def test_an_edit_shows_in_the_next_answer(chat, runs, atlas, tmp_path):
    graph = tmp_path / "facts.db"
    shutil.copy(atlas, graph)
    out, err = chat(
        runs["ground"],
        "What is the capital of Peru?",
        "/edit Peru capital Arequipa",
        "/edit Peru | capital | San Isidro",
        "and its population?",
        "What is the capital of Peru?",
        "/edit Peru capital Lima --retire",
        "/edit Atlantis capital Lima",
        '/edit Peru "shares border with" Brazil',
        '/edit Peru "shares border with" Brazil --add',
        "/edit Peru capital",
        '/edit Peru "capital',
        options=("--graph", str(graph)),
    )
    told = [re.sub(r"\[S?\d+\]", "[]", line) for line in out.splitlines()]
    assert told[:11] == [
        "The capital of Peru is Lima [].",
        "- [] Peru  capital  Lima",
        "+ [] Peru  capital  Arequipa",
        "Asked again: What is the capital of Peru?",
        "The capital of Peru is Arequipa [].",
        "- [] Peru  capital  Arequipa",
        "+ [] Peru  capital  San Isidro",
        "Asked again: What is the capital of Peru?",
        "The capital of Peru is San Isidro [].",
        "I do not know: the graph does not say the population of San Isidro.",
        "  (no fact)",
    ]
    assert told[11] == "The capital of Peru is San Isidro []."
    assert told[12:] == [
        "+ [] Peru  shares border with  Brazil",
        "Asked again: What is the capital of Peru?",
        "The capital of Peru is San Isidro [].",
    ]
    for message in (
        "does not say Peru capital",  # Lima is retired already
        "No entity is called 'Atlantis'",
        "has 2 answers",
        "wants a subject, a relation and an object",
        "No closing quotation",
    ):
        assert message in err
    with Graph.open(graph, read_only=True) as opened:
        assert gz.ask("What is the capital of Peru?", graph=opened).candidates[0].entity == "San Isidro"
    with Graph.open(atlas, read_only=True) as opened:
        assert gz.ask("What is the capital of Peru?", graph=opened).candidates[0].entity == "Lima"


def test_facts_and_why_tell_about_the_last_answer(chat, runs):
    out, err = chat(
        runs["ground"],
        "/facts",
        "/why",
        "Who is Ana Ruiz married to?",
        "Where was he born?",
        "/facts",
        "/why",
        "Where was the spouse of Ana Ruiz born?",
        "/why",
        "Where did Ana Ruiz die?",
        "/facts",
        "/why",
    )
    assert err.count("No question was answered from a graph yet") == 2
    assert "[S18] Luis Vega  place of birth  Cusco   (" in out
    assert "atlas.tsv)" in out
    assert "understood as: Where was Luis Vega born?" in out
    assert "path: Ana Ruiz -> spouse -> Luis Vega -> place of birth -> Cusco" in out
    assert "what moved the words: attention" in out
    assert "worded by rule" in out
    assert "unknown: no fact" in out
    assert "The last answer cites nothing." in out


def test_turns_are_taken_back_said_again_and_begun_anew(chat, runs):
    lines = ("hello", "what?", "/undo", "what is it?", "/retry", "/reset", "/retry", "hello")
    out, _ = chat(runs["chat"], *lines, options=("--json", "--temperature", "0"))
    hello, _, undone, asked, retried, again, reset, wrong, anew = objects(out)
    assert (undone["question"], retried["question"], reset["command"]) == ("what?", "what is it?", "reset")
    assert (
        again["text"]
        == asked["text"]
        == gz.Run(runs["chat"]).chat("hello", hello["text"], "what is it?", temperature=0)
    )
    assert wrong["error"]["message"].startswith("Nothing was said")
    assert anew["text"] == hello["text"]


def test_settings_change_what_is_said(chat, runs):
    lines = ("/temperature 0", "/max-tokens 3", "/seed 7", "/top_k 5", "/settings", "/temperature", "hello",
             "/temperature hot", "/top-p 2", "/stop", "/tempertaure 1")  # fmt: skip
    out, _ = chat(runs["chat"], *lines, options=("--json",))
    *_, settings, temperature, hello, hot, wide, stop, slip = objects(out)
    assert (settings["temperature"], settings["max_tokens"], settings["seed"], settings["top_k"]) == (0, 3, 7, 5)
    assert temperature == {"command": "temperature", "temperature": 0.0}
    assert hello["tokens"] == 3
    assert "--temperature cannot be 'hot'" in hot["error"]["message"]
    assert "--top-p cannot be 2" in wide["error"]["message"]
    assert stop == {"command": "stop", "stop": []}
    assert "/temperature" in slip["error"]["remedy"]


def test_what_was_said_is_saved_as_text_and_as_a_lesson(chat, runs, tmp_path):
    text, lesson = tmp_path / "said.txt", tmp_path / "said.json"
    lines = ("What is the capital of Peru?", "Thanks!", f"/save {text}", f"/save {lesson}", f"/save {lesson}", "/save",
             f"/save {tmp_path}/no/where.json")  # fmt: skip
    _, err = chat(runs["ground"], *lines)
    answer = "The capital of Peru is Lima [S7]."
    assert text.read_text() == f"> What is the capital of Peru?\n{answer}\n> Thanks!\nYou are welcome.\n"
    saved = json.loads(lesson.read_text())
    assert [turn["role"] for turn in saved["messages"]] == ["user", "assistant", "user", "assistant"]
    assert saved["answers"][0]["text"] == answer
    from groundzero.finetune.conversations import read_conversations

    (conversation,) = read_conversations(lesson)
    assert [turn.text for turn in conversation][:2] == ["What is the capital of Peru?", answer]
    assert "exists" in err
    assert "wants a file" in err
    assert "where.json" in err


def test_help_and_info_name_what_there_is(chat, runs):
    out, _ = chat(runs["ground"], "/help", "/info", "/?", "/exit")
    for word in ("/facts", "/why", "/edit S R O", "/temperature N", "/quit", "context: 256", "template: chat"):
        assert word in out


def test_a_line_may_begin_with_a_slash(chat, runs):
    out, _ = chat(runs["chat"], "//help", options=("--json",))
    assert objects(out)[0]["question"] == "/help"


def test_control_characters_are_shown_and_not_obeyed(chat, runs, monkeypatch):
    out, _ = chat(
        runs["ground"], "What is the currency of Bolivia?", "/facts", "/why", "\x1b[31mhm?", "/undo", "/edit \x1b b c"
    )
    assert "\x1b" not in out
    assert "\\x1b[31mRed\\x07" in out
    from groundzero.cli.chat import _print_piece

    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    _print_piece("a\x1b[31mb\tc\x9b\u202e\n")
    assert stream.getvalue() == "a\\x1b[31mb\tc\\x9b\\u202e\n"


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C in the middle of a step, once."""
    real, count = Engine.step, iter(range(1000))

    def step(self: Engine) -> Any:
        if next(count) == steps:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Engine, "step", step)


def test_ctrl_c_stops_an_answer_and_the_talk_goes_on(chat, runs, monkeypatch):
    interrupt_after(monkeypatch, 5)
    out, _ = chat(runs["chat"], "hello", "hello", options=("--json",))
    first, second = objects(out)
    assert (first["finish_reason"], first["tokens"]) == ("cancelled", 5)
    assert (second["finish_reason"], second["tokens"]) == ("length", 12)
    interrupt_after(monkeypatch, 5)
    out, _ = chat(runs["chat"], "hello")
    assert out.endswith("  (stopped)\n")
    interrupt_after(monkeypatch, 2)
    out, err = chat(runs["ground"], "What is the capital of Peru?", "And of Chile?", "What is the capital of Chile?")
    assert "Stopped." in err
    assert out.splitlines()[0].startswith("I do not know"), "the turn was not taken, so nothing was asked before"
    assert out.splitlines()[-1] == "The capital of Chile is Santiago [S8]."


def test_ctrl_c_at_the_prompt_leaves_when_it_is_said_twice(chat, runs, monkeypatch, capsys):
    class Lines:
        asked = 0

        def isatty(self) -> bool:
            return False

        def readline(self) -> str:
            self.asked += 1
            if self.asked in (1, 3):
                return "/info\n"
            raise KeyboardInterrupt

    lines = Lines()
    monkeypatch.setattr(sys, "stdin", lines)
    assert main(["chat", "--run", str(runs["chat"])]) == 0
    assert lines.asked == 5
    assert capsys.readouterr().err.count("Ctrl-C again") == 2


def test_a_graph_that_is_gone_is_told(chat, runs, tmp_path):
    run = tmp_path / "run"
    make_run(run, {"kind": "ground", "template": "chat", "graph": str(tmp_path / "gone.db")}, knowledge=True)
    out, err = chat(run, "hello", "/graph on", "/edit a b c", options=("--json",))
    plain, graph, edit = objects(out)
    assert "status" not in plain
    assert "gone.db" in err
    assert graph["error"]["remedy"] == edit["error"]["remedy"] == "Start with --graph DB."
    chat(run, options=("--graph", str(tmp_path / "gone.db")), code=3)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("--graph", "x.db", "--no-graph"), 2, "--graph and --no-graph"),
        (("--graph", "nowhere.db"), 3, "nowhere.db"),
        (("--temperature", "-1"), 2, "--temperature"),
        (("--checkpoint-step", "first"), 2, "--checkpoint-step"),
    ],
)
def test_a_bad_value_is_one_line_and_an_exit_code(chat, runs, words, code, named):
    _, err = chat(runs["chat"], options=words, code=code)
    assert named in err
    assert "Traceback" not in err


def test_asking_a_chat_model_without_a_graph_says_what_it_rests_on(runs, capsys):
    """`gz ask` and `gz.ask`: the model's own words, unknown, by a reason of its own."""
    before = kept_answers(RunDirectory.open(runs["chat"]))
    assert main(["ask", "hello", "--run", str(runs["chat"]), "--json"]) == 4
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert (answer["status"], answer["reason"], answer["citations"]) == ("unknown", "no_graph", [])
    assert answer["tokens_generated"] == 12
    assert "nothing bears it out" in err
    assert main(["ask", "hello", "--run", str(runs["chat"])]) == 4
    assert "(no graph)" in capsys.readouterr().out
    assert gz.ask("hello", run=runs["chat"]).reason == "no_graph"
    assert kept_answers(RunDirectory.open(runs["chat"])) == before
    assert main(["ask", "hello", "--run", str(runs["base"])]) == 3
    assert "knows no graph" in capsys.readouterr().err
    assert main(["ask", "Hello!", "--run", str(runs["ground"]), "--no-remember"]) == 4
    assert capsys.readouterr().out == "Hello! Ask me about anything in the graph.\n"


PATIENCE = 600
"""Seconds without any output after which a terminal counts as dead."""


class Terminal:
    """`gz chat` at the other end of a pseudo-terminal."""

    READY = "\x1b[?2004h"
    """What prompt_toolkit sends when it begins to read a line."""

    def __init__(self, *words: str) -> None:
        import pty

        self.master, slave = pty.openpty()
        # The terminal becomes the process's own, so that its Ctrl-C reaches it.
        program = (
            "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "from groundzero.cli.app import main; sys.exit(main(sys.argv[1:]))"
        )
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "chat", *words],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def wait_for(self, text: str) -> None:
        """Read until the text was printed; what was before it is gone."""
        self._read_until(lambda: text in self.seen)
        self.seen = self.seen.split(text, maxsplit=1)[1]

    def wait_for_words(self) -> None:
        """Read until a little was printed that is no control sequence."""
        self._read_until(lambda: len(re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\s", "", self.seen)) > 20)

    def _read_until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            assert select.select([self.master], [], [], PATIENCE)[0], self.seen
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(self.seen) from None

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_at_a_terminal_lines_are_edited_and_kept_and_ctrl_d_leaves(runs):
    with Terminal("--run", str(runs["ground"]), "--device", "cpu") as terminal:
        terminal.wait_for("/help lists commands")
        terminal.wait_for(Terminal.READY)
        terminal.type("What is the capital of Perx\x7fu?\r")  # a slip and a backspace
        terminal.wait_for("The capital of Peru is Lima [S7].")
        terminal.wait_for(Terminal.READY)
        terminal.type("\x1b[A\r")  # the line before
        terminal.wait_for("The capital of Peru is Lima [S7].")
        terminal.wait_for(Terminal.READY)
        terminal.type("/sav\t no.json\x03")  # completed, then thrown away
        terminal.wait_for("Ctrl-C again")
        terminal.wait_for(Terminal.READY)
        terminal.type("\x04")
        assert terminal.process.wait(PATIENCE) == 0
    history = runs["ground"] / "chat_history"
    assert history.read_text().count("+What is the capital of Peru?") == 1, "the same line twice is one"
    assert history.stat().st_mode & 0o777 == 0o600
    assert RunDirectory.open(runs["ground"]).verify() == []


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_at_a_terminal_ctrl_c_stops_what_is_being_said(runs):
    with Terminal("--run", str(runs["chat"]), "--device", "cpu", "--max-tokens", "100000") as terminal:
        terminal.wait_for(Terminal.READY)
        terminal.type("hello\r")
        terminal.wait_for("\x1b[?2004l")  # the line was read
        terminal.wait_for_words()
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for(Terminal.READY)
        terminal.type("/quit\r")
        assert terminal.process.wait(PATIENCE) == 0
