"""`gz generate`: results on stdout, remarks on stderr, every bad value a line and an exit code."""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from groundzero.cli.app import main
from groundzero.generate.engine import Engine
from groundzero.model import GPT, GPTConfig
from groundzero.model.weights import save_weights
from groundzero.run import RunDirectory, sha256_of
from groundzero.tokenizer import TokenizerConfig, train_tokenizer

# The keys that DESIGN.md promises to scripts.
STABLE = {"text", "tokens", "finish_reason", "seed", "seconds", "tokens_per_second"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with random weights, whose letters outweigh control tokens."""
    directory = RunDirectory.create(tmp_path_factory.mktemp("runs") / "tiny")
    tokenizer = train_tokenizer(["abcdefghijklmnopqrstuvwxyz .\n"], TokenizerConfig(kind="char"))
    tokenizer.save(directory.tokenizer_path)
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, n_layer=1, n_head=2, d_model=16, context=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    directory.publish_checkpoint(10, partial(save_weights, model))
    directory.write_manifest(
        config={"model": model.config.model_dump(mode="json"), "generate": {"max_tokens": 15, "ignore_eos": True}},
        tokenizer={"sha256": sha256_of(directory.tokenizer_path)},
        data={"starts_with_bos": False},
    )
    return directory.path


def generate(capsys: pytest.CaptureFixture[str], run: Path, *words: str, code: int = 0) -> tuple[str, str]:
    assert main(["generate", "--run", str(run), "--device", "cpu", *words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def generate_json(capsys: pytest.CaptureFixture[str], run: Path, *words: str, code: int = 0) -> dict[str, Any]:
    out, _ = generate(capsys, run, *words, "--json", code=code)
    result = json.loads(out)
    assert isinstance(result, dict)
    return result


def test_json_has_the_promised_keys_and_replays(capsys, run):
    first = generate_json(capsys, run, "--prompt", "the cat")
    assert first.keys() >= STABLE
    assert (first["tokens"], first["finish_reason"], first["prompt_tokens"]) == (15, "length", 7)
    again = generate_json(capsys, run, "--prompt", "the cat", "--seed", str(first["seed"]))
    assert again["text"] == first["text"]
    assert again["ids"] == first["ids"]


def test_text_is_the_prompt_and_its_continuation_and_remarks_go_to_stderr(capsys, run):
    words = ("--prompt", "the cat", "--seed", "5")
    text = generate_json(capsys, run, *words)["text"]
    out, err = generate(capsys, run, *words)
    assert out == f"the cat{text}\n"
    assert "15 tokens" in err
    assert "seed 5" in err
    assert generate(capsys, run, *words, "--no-echo")[0] == f"{text}\n"


def test_a_stream_prints_the_same(capsys, run):
    words = ("--prompt", "the cat", "--seed", "5", "--num-samples", "2")
    assert generate(capsys, run, *words, "--stream")[0] == generate(capsys, run, *words)[0]


def test_samples_are_numbered_by_their_seeds(capsys, run):
    several = generate_json(capsys, run, "--prompt", "a", "--seed", "7", "--num-samples", "3")
    assert [sample["seed"] for sample in several["samples"]] == [7, 8, 9]
    assert several["text"] == several["samples"][0]["text"]
    one = generate_json(capsys, run, "--prompt", "a", "--seed", "9")
    assert one["text"] == several["samples"][2]["text"]
    assert "samples" not in one


def test_the_runs_own_defaults_hold_until_options_change_them(capsys, run):
    assert generate_json(capsys, run)["tokens"] == 15
    assert generate_json(capsys, run, "--max-tokens", "3")["tokens"] == 3
    assert generate_json(capsys, run, "--max_tokens", "0")["text"] == ""


def test_zero_temperature_repeats_without_a_seed(capsys, run):
    texts = {generate_json(capsys, run, "--prompt", "so", "--temperature", "0")["text"] for _ in range(2)}
    assert len(texts) == 1


def test_stop_strings_and_logprobs(capsys, run):
    words = ("--prompt", "a", "--seed", "3", "--max-tokens", "60")
    text = generate_json(capsys, run, *words)["text"]
    letter = next(char for char in text if char.isalpha())
    stopped = generate_json(capsys, run, *words, "--stop", "zzz", "--stop", letter, "--logprobs", "2")
    assert stopped["text"] == text[: text.index(letter)]
    assert stopped["finish_reason"] == "stop"
    entry = stopped["logprobs"][-1]
    assert entry["token"] == letter
    assert len(entry["top"]) == 2
    assert entry["logprob"] <= entry["top"][0]["logprob"] <= 0


def test_a_prompt_comes_from_a_file_or_stdin(capsys, run, tmp_path, monkeypatch):
    want = generate(capsys, run, "--prompt", "the cat", "--seed", "1")[0]
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbfthe cat\r\n")
    assert generate(capsys, run, "--prompt-file", str(tmp_path / "prompt.txt"), "--seed", "1")[0] == want
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n")))
    assert generate(capsys, run, "--prompt-file", "-", "--seed", "1")[0] == want


def test_a_long_prompt_and_a_long_answer_are_warned_of(capsys, run):
    words = ("--prompt", "a" * 40, "--max-tokens", "30", "--seed", "0")
    _, err = generate(capsys, run, *words)
    assert "the prompt has 40 tokens and the model sees 32; its first 16 were left out" in err
    assert "outgrew the 32 tokens" in err
    payload = generate_json(capsys, run, *words)
    assert (payload["truncated_prompt_tokens"], payload["context_slides"]) == (16, 3)


def test_characters_the_model_never_saw_are_warned_of(capsys, run):
    _, err = generate(capsys, run, "--prompt", "the Ж cat Q Ж")
    assert "the model never saw 'Q' 'Ж'" in err
    assert "never saw" not in generate(capsys, run, "--prompt", "the cat")[1]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C in the middle of a step, once."""
    real, count = Engine.step, iter(range(1000))

    def step(self: Engine) -> Any:
        if next(count) == steps:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Engine, "step", step)


@pytest.mark.parametrize("mode", [(), ("--stream",)])
def test_ctrl_c_prints_what_there_is_and_exits_130(capsys, run, monkeypatch, mode):
    words = ("--prompt", "the cat", "--seed", "5", *mode)
    whole, _ = generate(capsys, run, *words)
    interrupt_after(monkeypatch, 6)
    part, err = generate(capsys, run, *words, code=130)
    assert whole.startswith(part.rstrip("\n"))
    assert len(part) < len(whole)
    assert "cancelled" in err


def test_ctrl_c_with_json_still_prints_one_object(capsys, run, monkeypatch):
    interrupt_after(monkeypatch, 6)
    payload = generate_json(capsys, run, "--prompt", "the cat", code=130)
    assert (payload["tokens"], payload["finish_reason"]) == (6, "cancelled")


def test_the_prompt_loop_answers_line_by_line(capsys, run, monkeypatch):
    want = [generate(capsys, run, "--prompt", text, "--seed", "1")[0] for text in ("the cat", "a dog")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n\na dog\n"))
    out, _ = generate(capsys, run, "--interactive", "--seed", "1")
    assert out == "".join(want)


def test_ctrl_c_in_the_prompt_loop_stops_the_answer_and_twice_leaves(capsys, run, monkeypatch):
    class Lines:
        """One prompt, then Ctrl-C for ever."""

        def __init__(self) -> None:
            self.asked = 0

        def isatty(self) -> bool:
            return False

        def readline(self) -> str:
            self.asked += 1
            if self.asked == 1:
                return "the cat\n"
            raise KeyboardInterrupt

    lines = Lines()
    monkeypatch.setattr(sys, "stdin", lines)
    _, err = generate(capsys, run, "--interactive")
    assert lines.asked == 3
    assert "Ctrl-C again" in err
    lines = Lines()
    monkeypatch.setattr(sys, "stdin", lines)
    interrupt_after(monkeypatch, 3)
    generate(capsys, run, "--interactive")
    assert lines.asked == 2


def test_a_terminal_gets_no_control_sequences_and_a_pipe_gets_every_byte(capsys, run, tmp_path, monkeypatch):
    (tmp_path / "prompt").write_bytes(b"a\x1b[31mb\tc\x9b\n\n".replace(b"\x9b", "\x9b".encode()))
    words = ("--prompt-file", str(tmp_path / "prompt"), "--max-tokens", "0")
    assert generate(capsys, run, *words)[0] == "a\x1b[31mb\tc\x9b\n\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for mode in ((), ("--stream",)):
        assert generate(capsys, run, *words, *mode)[0] == "a\ufffd[31mb\tc\ufffd\n\n"


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("--temperature", "-1"), 2, "--temperature cannot be -1.0. Give a number at least 0 and at most 100"),
        (("--temperature", "hot"), 2, "--temperature"),
        (("--top-p", "0"), 2, "--top-p"),
        (("--top_p", "1.5"), 2, "--top-p"),
        (("--min-p", "2"), 2, "--min-p"),
        (("--top-k", "-1"), 2, "--top-k"),
        (("--max-tokens", "-5"), 2, "--max-tokens"),
        (("--repetition-penalty", "0"), 2, "--repetition-penalty"),
        (("--presence-penalty", "3"), 2, "--presence-penalty"),
        (("--frequency-penalty", "-3"), 2, "--frequency-penalty"),
        (("--seed", "-1"), 2, "--seed"),
        (("--logprobs", "21", "--json"), 2, "--logprobs"),
        (("--logprobs", "2"), 2, "--logprobs needs --json"),
        (("--stop", ""), 2, "--stop"),
        (("--num-samples", "0"), 2, "--num-samples"),
        (("--checkpoint-step", "first"), 2, "--checkpoint-step"),
        (("--checkpoint-step", "99"), 3, "step 99"),
        (("--prompt", "a", "--prompt-file", "b"), 2, "--prompt and --prompt-file"),
        (("--json", "--stream"), 2, "--json and --stream"),
        (("--json", "--interactive"), 2, "--json and --interactive"),
        (("--interactive", "--prompt", "a"), 2, "--interactive and --prompt"),
        (("--prompt-file", "no-such-file.txt"), 3, "no-such-file.txt"),
        (("--dtype", "float12"), 3, "float12"),
        (("--device", "abacus"), 3, "abacus"),
    ],
)
def test_a_bad_value_is_one_line_and_an_exit_code(capsys, run, words, code, named):
    arguments = ["generate", "--run", str(run), *words]
    assert main(arguments) == code
    captured = capsys.readouterr()
    said = json.loads(captured.out)["error"]["message"] if "--json" in words else captured.err
    assert named in captured.out + captured.err
    assert said
    assert "Traceback" not in captured.err


def test_a_prompt_that_is_not_text_is_named(capsys, run, tmp_path):
    (tmp_path / "binary").write_bytes(b"ab\xff")
    _, err = generate(capsys, run, "--prompt-file", str(tmp_path / "binary"), code=3)
    assert "not UTF-8 (byte 2)" in err
    _, err = generate(capsys, run, "--prompt-file", str(tmp_path), code=3)
    assert str(tmp_path) in err


def test_a_missing_or_damaged_run_is_named(capsys, run, tmp_path):
    assert main(["generate", "--run", str(tmp_path / "nowhere"), "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert "nowhere" in error["message"]
    assert error["remedy"]
