"""`gz tokenizer`: train one, use it, look inside."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.errors import InputError, UsageError

if TYPE_CHECKING:
    from groundzero.cli.output import Bar
    from groundzero.data.sources import Corpus
    from groundzero.tokenizer import Tokenizer
    from groundzero.tokenizer.inspection import Compression

# The rooms below are imported where they are used: `gz tokenizer --help` is to answer at once.

app = typer.Typer(help="Train, use and inspect tokenizers.", no_args_is_help=True, add_completion=False)

PathOption = Annotated[str, typer.Option("--tokenizer", help="A tokenizer.json, or a folder that holds one.")]
RunOption = Annotated[str, typer.Option("--run", help="Use the tokenizer of this run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def train(
    text: Annotated[str, typer.Option("--text", help="A file, a folder, or - for standard input.")],
    out: Annotated[Path, typer.Option("--out", help="The tokenizer.json to write, or a folder for it.")],
    kind: Annotated[str, typer.Option("--kind", help="bpe or char.")] = "bpe",
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", help="bpe: ids in all, 64 control tokens included.")
    ] = 8192,
    pattern: Annotated[
        str, typer.Option("--pattern", help="bpe: where words are cut: gpt2, llama3 or qwen2.")
    ] = "qwen2",
    min_frequency: Annotated[int, typer.Option("--min-frequency", help="bpe: least uses of a merge.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    as_json: Json = False,
) -> None:
    """Train a tokenizer on text.

    Examples:

    gz tokenizer train --text books/ --out tokenizer.json --vocab-size 8192

    gz tokenizer train --text book.txt --out tokenizer.json --kind char
    """
    from groundzero.cli.output import emit, progress  # noqa: PLC0415
    from groundzero.data import DataConfig  # noqa: PLC0415
    from groundzero.data.sources import open_corpus  # noqa: PLC0415
    from groundzero.tokenizer import TokenizerConfig, train_tokenizer  # noqa: PLC0415

    config = TokenizerConfig.parse(
        {"kind": kind, "vocab_size": vocab_size, "pattern": pattern, "min_frequency": min_frequency}
    )
    path = out / "tokenizer.json" if out.is_dir() or not out.suffix else out
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already.", remedy="Choose another --out, or replace it with --overwrite.")
    start = time.monotonic()
    with open_corpus(text, DataConfig(text=text)) as corpus:
        if next(iter(corpus), None) is None:
            raise InputError(f"{text} holds no text.", remedy="Give a file or folder with text in it.")
        with progress("Reading text", total=None, unit="MB") as bar:
            texts = _Counted(corpus, bar)
            tokenizer = train_tokenizer(texts, config)
        tokenizer.save(path)
    payload = {
        "out": str(path), **_facts(tokenizer), "requested_vocab_size": vocab_size if kind == "bpe" else None,
        "characters": texts.characters, "seconds": round(time.monotonic() - start, 3),
    }  # fmt: skip
    emit(payload, as_json, lambda: _print_trained(payload))


class _Counted:
    """A corpus that tells how much of it has been read; a second reading, which may stop early, does not count."""

    def __init__(self, corpus: Corpus, bar: Bar) -> None:
        self._corpus, self._bar = corpus, bar
        self.characters = 0

    def __iter__(self) -> Iterator[str]:
        characters = 0
        for text in self._corpus:
            characters += len(text)
            self.characters = max(self.characters, characters)
            self._bar.update(self.characters / 1e6)
            yield text


@app.command()
def encode(
    text: Annotated[str, typer.Argument(help="The text, or - for standard input.")],
    tokenizer: PathOption = "",
    run: RunOption = "",
    control: Annotated[bool, typer.Option("--control", help="Names such as <EOS> become control ids.")] = False,
    as_json: Json = False,
) -> None:
    """Text to ids, separated by spaces. Standard input may hold any bytes."""
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.tokenizer.inspection import show  # noqa: PLC0415

    loaded = _load(tokenizer, run)
    ids = loaded.encode(text, control=control) if text != "-" else _encode_input(loaded, control)
    payload = {"ids": ids, "n_tokens": len(ids), "tokens": [show(loaded, token) for token in ids]}
    emit(payload, as_json, lambda: _print_ids(loaded, ids))


@app.command()
def decode(
    ids: Annotated[list[str], typer.Argument(help="Ids, separated by spaces or commas, or - for standard input.")],
    tokenizer: PathOption = "",
    run: RunOption = "",
    keep_control: Annotated[bool, typer.Option("--keep-control", help="Show control tokens by name.")] = False,
    as_json: Json = False,
) -> None:
    """Ids to the exact bytes they stand for."""
    from groundzero.cli.output import emit  # noqa: PLC0415

    loaded = _load(tokenizer, run)
    numbers = _numbers(sys.stdin.read() if ids == ["-"] else " ".join(ids))
    text = loaded.decode(numbers, keep_control=keep_control)
    data = text.encode() if keep_control else loaded.decode_bytes(numbers)
    emit({"text": text, "n_bytes": len(data), "n_tokens": len(numbers)}, as_json, lambda: _write_bytes(data))


@app.command()
def inspect(
    text: Annotated[str, typer.Argument(help="Show this text's tokens; - for standard input.")] = "",
    tokenizer: PathOption = "",
    run: RunOption = "",
    corpus: Annotated[str, typer.Option("--text", help="Measure the compression of this file or folder.")] = "",
    compare: Annotated[str, typer.Option("--compare", help="Another tokenizer.json to set beside it.")] = "",
    as_json: Json = False,
) -> None:
    """What a tokenizer holds, how it cuts a text, how far it compresses one, and how it differs from another.

    Examples:

    gz tokenizer inspect --tokenizer tokenizer.json "The year 1984."

    gz tokenizer inspect --run runs/book --text book.txt --compare other/tokenizer.json
    """
    from groundzero.cli.output import emit  # noqa: PLC0415

    loaded = {"tokenizer": _load(tokenizer, run)} | ({"other": _load(compare, "")} if compare else {})
    text = sys.stdin.read() if text == "-" else text
    payload: dict[str, Any] = _inspection(loaded["tokenizer"], text, corpus)
    if compare:
        payload["comparison"] = _comparison(loaded["tokenizer"], loaded["other"])
        payload["comparison"]["other"] = _inspection(loaded["other"], text, corpus)
    emit(payload, as_json, lambda: _print_inspection(payload))


# --- reading -------------------------------------------------------------------------------------------------------


def _load(tokenizer: str, run: str) -> Tokenizer:
    from groundzero.tokenizer import Tokenizer  # noqa: PLC0415

    if bool(tokenizer) == bool(run):
        raise UsageError("Name one tokenizer.", remedy="Give --tokenizer PATH or --run RUN.")
    path = Path(tokenizer or run)
    return Tokenizer.load(path / "tokenizer.json" if path.is_dir() or run else path)


def _encode_input(tokenizer: Tokenizer, control: bool) -> list[int]:
    data = sys.stdin.buffer.read()
    if not control:
        return tokenizer.encode_bytes(data)
    try:
        return tokenizer.encode(data.decode("utf-8"), control=True)
    except UnicodeDecodeError as error:
        raise InputError(
            f"Standard input is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}.",
            remedy="Convert it to UTF-8, or leave out --control to encode any bytes.",
        ) from None


def _numbers(text: str) -> list[int]:
    words = re.split(r"[\s,\[\]]+", text.strip(" \t\r\n,[]"))
    try:
        return [int(word) for word in words if word]
    except ValueError:
        wrong = next(word for word in words if not re.fullmatch(r"[+-]?\d+", word))
        raise InputError(
            f"{wrong!r} is not an id.", remedy="Give whole numbers, as `gz tokenizer encode` prints."
        ) from None


# --- facts ---------------------------------------------------------------------------------------------------------


def _facts(tokenizer: Tokenizer) -> dict[str, Any]:
    pattern = tokenizer.pattern
    return {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "merges": len(tokenizer.merges),
        "pattern": pattern.name if pattern else None,
        "llama_cpp": pattern.llama_cpp if pattern else None,
        "fingerprint": tokenizer.fingerprint,
    }


def _inspection(tokenizer: Tokenizer, text: str, corpus: str) -> dict[str, Any]:
    from groundzero.data import DataConfig  # noqa: PLC0415
    from groundzero.data.sources import open_corpus  # noqa: PLC0415
    from groundzero.tokenizer.inspection import compression, show  # noqa: PLC0415

    payload = _facts(tokenizer)
    longest = sorted(range(64, tokenizer.vocab_size), key=lambda token: -len(tokenizer.token_bytes(token)))[:12]
    payload["longest"] = [show(tokenizer, token) for token in longest]
    if text:
        payload["tokens"] = [
            {"id": token, "text": show(tokenizer, token), "bytes": tokenizer.token_bytes(token).hex(" ")}
            for token in tokenizer.encode(text)
        ]
    if corpus:
        with open_corpus(corpus, DataConfig(text=corpus)) as texts:
            payload["compression"] = _compression_facts(compression(tokenizer, texts))
    return payload


def _compression_facts(measured: Compression) -> dict[str, Any]:
    return {**asdict(measured), "bytes_per_token": round(measured.bytes_per_token, 4)}


def _comparison(first: Tokenizer, second: Tokenizer) -> dict[str, Any]:
    from groundzero.tokenizer.inspection import compare, spell  # noqa: PLC0415

    found = compare(first, second)
    return {
        "identical": first == second,
        "shared_tokens": found.shared,
        "only_here": len(found.only_first),
        "only_there": len(found.only_second),
        "examples_here": [spell(token) for token in found.only_first if len(token) > 1][:12],
        "examples_there": [spell(token) for token in found.only_second if len(token) > 1][:12],
    }


# --- printing ------------------------------------------------------------------------------------------------------


def _print_trained(payload: dict[str, Any]) -> None:
    from groundzero.cli.output import console  # noqa: PLC0415

    out = console()
    out.print(f"{payload['out']}: {payload['kind']}, {payload['vocab_size']} ids", style="bold")
    if payload["requested_vocab_size"] and payload["vocab_size"] < payload["requested_vocab_size"]:
        out.print(f"The text holds no more frequent pairs; {payload['requested_vocab_size']} ids were asked for.")
    out.print(f"{payload['characters']:,} characters read in {payload['seconds']:.1f} s")
    out.print(f'Look inside:  gz tokenizer inspect --tokenizer {payload["out"]} "your text"')


def _print_ids(tokenizer: Tokenizer, ids: list[int]) -> None:
    print(*ids)
    if sys.stderr.isatty() and sys.stdout.isatty():
        from groundzero.cli.output import console  # noqa: PLC0415

        console(to_stderr=True).print(_coloured(tokenizer, ids))


def _coloured(tokenizer: Tokenizer, ids: list[int]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    from groundzero.tokenizer.inspection import show  # noqa: PLC0415

    styles = ("black on cyan", "black on green", "black on yellow", "black on magenta")
    return Text.assemble(*((show(tokenizer, token), styles[i % len(styles)]) for i, token in enumerate(ids)))


def _write_bytes(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data + (b"\n" if sys.stdout.isatty() else b""))
    sys.stdout.buffer.flush()


def _print_inspection(payload: dict[str, Any]) -> None:
    from groundzero.cli.output import console, table  # noqa: PLC0415

    out = console()
    other = payload.get("comparison", {}).get("other")
    sides = [payload, other] if other else [payload]
    names = ["kind", "vocab_size", "merges", "pattern", "llama_cpp"]
    rows = [[name.replace("_", " "), *(_cell(side[name]) for side in sides)] for name in names]
    rows.append(["fingerprint", *(side["fingerprint"][:16] for side in sides)])
    if "compression" in payload:
        rows += [
            [name.replace("_", " "), *(_cell(side["compression"][name]) for side in sides)]
            for name in ("bytes", "tokens", "bytes_per_token", "unknown", "ids_used")
        ]
    out.print(table(["", "tokenizer", *(["other"] if other else [])], rows))
    out.print("longest tokens: " + _quoted(payload["longest"]))
    if other:
        found = payload["comparison"]
        counts = [f"{found[f'{what}']} {label}" for what, label in _OVERLAP.items()]
        out.print("\n" + ", ".join(counts))
        for where in ("here", "there"):
            if found[f"examples_{where}"]:
                out.print(f"only {where}: " + _quoted(found[f"examples_{where}"]))
    for side, title in zip(sides, ("tokens", "tokens of the other"), strict=False):
        if "tokens" in side:
            cells = [[i, t["id"], f'"{t["text"]}"', t["bytes"]] for i, t in enumerate(side["tokens"])]
            out.print(table(["#", "id", "text", "bytes"], cells, title=f"{len(cells)} {title}", numbers="#, id"))


_OVERLAP = {"shared_tokens": "tokens shared", "only_here": "only here", "only_there": "only there"}


def _quoted(tokens: list[str]) -> str:
    return "  ".join(f'"{token}"' for token in tokens)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
