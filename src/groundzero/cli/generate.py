"""`gz generate`: text from a trained model; once, streamed, in several samples, or in a prompt loop."""

from __future__ import annotations

import sys
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.output import note, print_json
from groundzero.errors import InputError, UsageError

if TYPE_CHECKING:
    from groundzero.generate.config import SamplingConfig
    from groundzero.generate.engine import Engine
    from groundzero.generate.request import Completion, Event, Handle, Request

MAX_SAMPLES = 10_000
_BETWEEN_SAMPLES = "-" * 15


RunOption = Annotated[Path, typer.Option("--run", help="Run directory of a trained model.")]
PromptOption = Annotated[str | None, typer.Option("--prompt", "-p", help="Text to continue; nothing by default.")]
PromptFileOption = Annotated[
    str | None, typer.Option("--prompt-file", help="File to continue, - for stdin; one last line break is dropped.")
]
MaxTokensOption = Annotated[int | None, typer.Option("--max-tokens", "-t", help="Most tokens to generate.")]
TemperatureOption = Annotated[
    float | None, typer.Option("--temperature", "-T", help="0 always takes the likeliest token; higher is wilder.")
]
TopKOption = Annotated[int | None, typer.Option("--top-k", "-k", help="Among this many likeliest; 0 is off.")]
TopPOption = Annotated[float | None, typer.Option("--top-p", help="Among the likeliest that reach this probability.")]
MinPOption = Annotated[
    float | None, typer.Option("--min-p", help="Among those this fraction as likely as the likeliest.")
]
RepetitionOption = Annotated[
    float | None, typer.Option("--repetition-penalty", help="Above 1 avoids tokens seen so far.")
]
PresenceOption = Annotated[
    float | None, typer.Option("--presence-penalty", help="Avoid tokens already generated; -2 to 2.")
]
FrequencyOption = Annotated[
    float | None, typer.Option("--frequency-penalty", help="The same for each time they were; -2 to 2.")
]
StopOption = Annotated[list[str] | None, typer.Option("--stop", help="End before this text. May be repeated.")]
IgnoreEosOption = Annotated[bool | None, typer.Option("--ignore-eos", help="Go on after the end of a text.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Replays an answer; each further sample adds 1.")]
LogprobsOption = Annotated[
    int | None, typer.Option("--logprobs", help="With --json: this many likeliest tokens at each place.")
]
NumSamplesOption = Annotated[int, typer.Option("--num-samples", "-n", help="Answers to the same prompt.")]
StreamOption = Annotated[bool, typer.Option("--stream", help="Print text as it comes.")]
InteractiveOption = Annotated[bool, typer.Option("--interactive", "-i", help="Ask for one prompt after another.")]
EchoOption = Annotated[bool, typer.Option("--echo/--no-echo", help="Print the prompt before its continuation.")]
StepOption = Annotated[str, typer.Option("--checkpoint-step", help="Which checkpoint: best, latest or a step.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps, xpu.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object; `text` is the continuation.")]


def command(
    run: RunOption,
    prompt: PromptOption = None,
    prompt_file: PromptFileOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    min_p: MinPOption = None,
    repetition_penalty: RepetitionOption = None,
    presence_penalty: PresenceOption = None,
    frequency_penalty: FrequencyOption = None,
    stop: StopOption = None,
    ignore_eos: IgnoreEosOption = None,
    seed: SeedOption = None,
    logprobs: LogprobsOption = None,
    num_samples: NumSamplesOption = 1,
    stream: StreamOption = False,
    interactive: InteractiveOption = False,
    echo: EchoOption = True,
    checkpoint_step: StepOption = "best",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Write text with a trained model. The continuation goes to stdout after its prompt, all remarks to stderr."""
    given = locals()
    _refuse_conflicts(
        prompt=prompt,
        prompt_file=prompt_file,
        logprobs=logprobs,
        num_samples=num_samples,
        stream=stream,
        interactive=interactive,
        as_json=as_json,
    )
    asked = sampling_asked(given)  # says what is out of range before a second is spent on loading
    step = checkpoint_wanted(checkpoint_step)
    text = _prompt(prompt, prompt_file)

    from groundzero.generate.load import load_engine  # noqa: PLC0415 - PyTorch takes a second to import

    engine = load_engine(run, step, device=device, dtype=dtype, warn=note)
    sampling = engine.defaults.replace(**asked)
    if interactive:
        _prompt_loop(engine, sampling, echo=echo)
    elif _answer(engine, text, _samples(text, sampling, num_samples), echo=echo, stream=stream, as_json=as_json):
        raise typer.Exit(INTERRUPTED)


def sampling_asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling settings that were given.

    Raises:
        UsageError: one is out of its range.
    """
    from groundzero.generate.config import SamplingConfig  # noqa: PLC0415

    asked = {name: given[name] for name in SamplingConfig.model_fields if given.get(name) not in (None, [])}
    SamplingConfig.from_options(asked)
    return asked


def _answer(engine: Engine, text: str, requests: Sequence[Request], *, echo: bool, stream: bool, as_json: bool) -> bool:
    """Complete the requests and print them; true when Ctrl-C cut them short."""
    _warn_of_unknown(engine, text)
    before = text if echo else ""
    if stream:
        completions, interrupted = _stream(engine, requests, before)
    else:
        completions, interrupted = _complete(engine, requests)
    if as_json:
        print_json(_payload(engine, text, completions))
    elif not stream:
        print(f"\n{_BETWEEN_SAMPLES}\n".join(_shown(before + completion.text) for completion in completions))
    _remark(engine, completions, quiet=as_json)
    return interrupted


def _refuse_conflicts(
    *,
    prompt: str | None,
    prompt_file: str | None,
    logprobs: int | None,
    num_samples: int,
    stream: bool,
    interactive: bool,
    as_json: bool,
) -> None:
    if logprobs and not as_json:
        raise UsageError("--logprobs needs --json.", remedy="Add --json, or leave --logprobs out.")
    conflicts = {
        ("--prompt", "--prompt-file"): prompt is not None and prompt_file is not None,
        ("--json", "--stream"): as_json and stream,
        ("--json", "--interactive"): as_json and interactive,
        ("--interactive", "--prompt"): interactive and prompt is not None,
        ("--interactive", "--prompt-file"): interactive and prompt_file is not None,
        ("--interactive", "--num-samples"): interactive and num_samples != 1,
    }
    for (one, other), both in conflicts.items():
        if both:
            raise UsageError(f"{one} and {other} cannot be used together.", remedy="Leave one of them out.")
    if not 1 <= num_samples <= MAX_SAMPLES:
        raise UsageError(f"--num-samples cannot be {num_samples}.", remedy=f"Give 1 to {MAX_SAMPLES}.")


def checkpoint_wanted(wanted: str) -> Any:
    """best, latest or a step, as `--checkpoint-step` says.

    Raises:
        UsageError: it says something else.
    """
    if wanted in ("best", "latest"):
        return wanted
    if wanted.isascii() and wanted.isdigit():
        return int(wanted)
    raise UsageError(f"--checkpoint-step cannot be {wanted!r}.", remedy="Give best, latest or a step's number.")


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    if prompt_file is None:
        return prompt or ""
    try:
        raw = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"No prompt file at {prompt_file}.", remedy="Check the path, or use --prompt.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"The prompt in {prompt_file} is not UTF-8 (byte {error.start}).", remedy="Save it as UTF-8 text."
        ) from None
    except OSError as error:
        raise InputError(f"Cannot read {prompt_file}: {error.strerror}.", remedy="Give a readable file.") from None
    return text.replace("\r\n", "\n").removesuffix("\n")


def _warn_of_unknown(engine: Engine, text: str) -> None:
    """A character tokenizer reads what its training text had not as <UNK>; the person should know."""
    if engine.tokenizer.unk_id in engine.tokenizer.encode(text):
        unknown = sorted({char for char in text if engine.tokenizer.unk_id in engine.tokenizer.encode(char)})
        note(f"Warning: the model never saw {' '.join(map(repr, unknown[:10]))}; it reads <UNK> in their place.")


def _samples(text: str, sampling: SamplingConfig, count: int) -> list[Request]:
    """One request for each sample; with a seed, each has the next one, so that any of them can be replayed alone."""
    from groundzero.generate.config import MAX_SEED  # noqa: PLC0415
    from groundzero.generate.request import Request  # noqa: PLC0415 - brings in PyTorch

    seeds = [None if sampling.seed is None else (sampling.seed + number) % (MAX_SEED + 1) for number in range(count)]
    return [Request(text, sampling.replace(seed=seed)) for seed in seeds]


def _complete(engine: Engine, requests: Sequence[Request]) -> tuple[list[Completion], bool]:
    """All completions; on Ctrl-C what there is of them, and True."""
    handles = [engine.submit(request) for request in requests]
    interrupted = _run(engine, handles, lambda: None)
    return [handle.result() for handle in handles], interrupted


def _stream(engine: Engine, requests: Sequence[Request], before: str) -> tuple[list[Completion], bool]:
    """Print one sample after the other as it comes."""
    completions: list[Completion] = []
    interrupted = False
    for number, request in enumerate(requests):
        print((f"{_BETWEEN_SAMPLES}\n" if number else "") + _shown(before), end="", flush=True)
        handle = engine.submit(request)
        handle.events = deque()
        interrupted = _run(engine, [handle], partial(_print_pieces, handle.events))
        print(flush=True)
        completions.append(handle.result())
        if interrupted:
            break
    return completions, interrupted


def _run(engine: Engine, handles: Sequence[Handle], after_step: Callable[[], object]) -> bool:
    """Step until all are done; Ctrl-C cancels them, which takes one step more, and is told by True."""
    interrupted = False
    while any(handle.completion is None for handle in handles):
        try:
            engine.step()
            after_step()
        except KeyboardInterrupt:
            interrupted = True
            for handle in handles:
                handle.cancel()
    after_step()
    return interrupted


def _print_pieces(events: deque[Event]) -> None:
    while events:
        print(_shown(events.popleft().text), end="", flush=True)


def _shown(text: str) -> str:
    """Text for a terminal, whose control sequences a model must not be able to speak; untouched for a file or pipe."""
    if not sys.stdout.isatty():
        return text
    return "".join(char if char in "\n\t" or unicodedata.category(char) != "Cc" else "\ufffd" for char in text)


def _payload(engine: Engine, prompt: str, completions: Sequence[Completion]) -> dict[str, Any]:
    """The JSON object: of the first sample, with `samples` holding every one when there are several."""
    samples = [_sample(engine, completion) for completion in completions]
    return {"prompt": prompt, **samples[0], **({"samples": samples} if len(samples) > 1 else {})}


def _sample(engine: Engine, completion: Completion) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "text": completion.text,
        "tokens": len(completion.ids),
        "finish_reason": completion.finish_reason,
        "seed": completion.seed,
        "seconds": completion.seconds,
        "tokens_per_second": completion.tokens_per_second,
        "prompt_tokens": completion.prompt_tokens,
        "truncated_prompt_tokens": completion.truncated_prompt_tokens,
        "context_slides": completion.slides,
        "ids": list(completion.ids),
    }
    if completion.logprobs is not None:

        def piece(token: int) -> str:
            return engine.tokenizer.decode([token], keep_control=True)

        payload["logprobs"] = [
            {
                "id": entry.id,
                "token": piece(entry.id),
                "logprob": entry.logprob,
                "top": [{"id": token, "token": piece(token), "logprob": value} for token, value in entry.top],
            }
            for entry in completion.logprobs
        ]
    return payload


def _remark(engine: Engine, completions: Sequence[Completion], *, quiet: bool = False) -> None:
    """What the person should know about the text, on stderr."""
    first = completions[0]
    if first.truncated_prompt_tokens:
        note(
            f"Warning: the prompt has {first.prompt_tokens} tokens and the model sees {engine.context}; "
            f"its first {first.truncated_prompt_tokens} were left out."
        )
    slides = max(completion.slides for completion in completions)
    if slides:
        note(
            f"Warning: the text outgrew the {engine.context} tokens that the model sees; "
            f"its beginning was forgotten on the way{f' ({slides} times)' if slides > 1 else ''}."
        )
    if not quiet:
        for completion in completions:
            note(
                f"{len(completion.ids)} tokens in {completion.seconds:.2f} s ({completion.tokens_per_second:.0f} "
                f"tokens/s), ended by {completion.finish_reason}, seed {completion.seed}"
            )


def _prompt_loop(engine: Engine, sampling: SamplingConfig, *, echo: bool) -> None:
    """Ask, answer, ask again. Ctrl-C stops an answer; twice at the prompt, or Ctrl-D, leaves."""
    ask = _asker()
    asked_to_leave = False
    while True:
        try:
            text = ask()
        except EOFError:
            return
        except KeyboardInterrupt:
            if asked_to_leave:
                return
            asked_to_leave = True
            note("Ctrl-C again, or Ctrl-D, leaves.")
            continue
        asked_to_leave = False
        if text:
            _warn_of_unknown(engine, text)
            completions, asked_to_leave = _stream(engine, _samples(text, sampling, 1), text if echo else "")
            _remark(engine, completions)


def _asker() -> Callable[[], str]:
    """Lines from the terminal with editing and history; plain lines where stdin is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):

        def read_line() -> str:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            return line.rstrip("\r\n")

        return read_line
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - only on a terminal; 0.1 s
    from prompt_toolkit.history import InMemoryHistory  # noqa: PLC0415

    note("Enter a beginning; the model goes on. Ctrl-C stops it, Ctrl-D leaves.")
    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    return lambda: session.prompt("> ")
