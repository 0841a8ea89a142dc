"""`gz data`: text to datasets, names for them, and what is wrong with a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.errors import InputError, UsageError

if TYPE_CHECKING:
    from groundzero.data import TokenDataset
    from groundzero.data.doctor import Report
    from groundzero.data.preparation import Progress
    from groundzero.data.registry import Entry
    from groundzero.data.sources import Corpus
    from groundzero.tokenizer import Tokenizer

# What these commands need of the rooms below is imported where it is used: `gz data --help` is to answer at once.

app = typer.Typer(help="Prepare, name and examine datasets.", no_args_is_help=True, add_completion=False)

Source = Annotated[str, typer.Argument(help="A file, a folder of .txt/.md/.jsonl/.gz, or - for standard input.")]
Reference = Annotated[str, typer.Argument(help="A name from `gz data list`, or a path.")]
Name = Annotated[str, typer.Argument(help="Lower-case letters, digits, dots, dashes, underscores.")]
Separator = Annotated[
    str, typer.Option("--document-separator", help="Split text files at this text, `blank-line` or `line`.")
]
TextField = Annotated[str, typer.Option("--text-field", help="The key of .jsonl objects that holds the text.")]
Format = Annotated[str, typer.Option("--format", help="What files hold: auto (by name), text or jsonl.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Character encoding of the files.")]
Split = Annotated[str, typer.Option("--split", help="auto, document, or tail (the end of every document).")]
Fraction = Annotated[float, typer.Option("--validation-fraction", help="Share held back for validation.")]
Seed = Annotated[int, typer.Option("--seed", help="Decides which documents are held back.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def prepare(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it appears whole or not at all.")],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="A tokenizer.json, a folder with one, or char or bpe to train one.")
    ] = "bpe",
    vocab_size: Annotated[int, typer.Option("--vocab-size", help="Ids of a bpe tokenizer trained here.")] = 8192,
    document_separator: Separator = "",
    text_field: TextField = "text",
    format_: Format = "auto",
    encoding: Encoding = "utf-8",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report bad files and lines, instead of stopping.")
    ] = False,
    split: Split = "auto",
    validation_fraction: Fraction = 0.1,
    seed: Seed = 1337,
    name: Annotated[str, typer.Option("--name", help="Also give the dataset this name.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    as_json: Json = False,
) -> None:
    """Turn text into token shards with a train/validation split.

    Examples:

    gz data prepare book.txt --out data/book --tokenizer char

    zcat stories.txt.gz | gz data prepare - --out data/stories --document-separator "<|endoftext|>"
    """
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.data import DataConfig  # noqa: PLC0415
    from groundzero.data.preparation import prepare_corpus  # noqa: PLC0415
    from groundzero.data.registry import Registry, check_name  # noqa: PLC0415
    from groundzero.data.sources import open_corpus  # noqa: PLC0415

    config = DataConfig.parse(
        {
            "text": source, "document_separator": document_separator, "text_field": text_field, "format": format_,
            "encoding": encoding, "skip_bad": skip_bad, "split": split, "validation_fraction": validation_fraction,
            "seed": seed,
        }
    )  # fmt: skip
    if name:
        check_name(name)
    with open_corpus(source, config) as corpus:
        loaded = _tokenizer_for(corpus, tokenizer, vocab_size)
        with _progress("Preparing") as progress:
            dataset = prepare_corpus(corpus, out, loaded, overwrite=overwrite, progress=progress)
    if name:
        Registry().add(name, out, overwrite=overwrite)
    payload = _dataset_facts(dataset) | ({"name": name} if name else {})
    emit(payload, as_json, lambda: _print_dataset(dataset))


@app.command()
def download(
    what: Annotated[str, typer.Argument(help="An https address, or shakespeare.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; by default named as at its source.")
    ] = None,
    sha256: Annotated[str, typer.Option("--sha256", help="What the file must hash to.")] = "",
    max_bytes: Annotated[int, typer.Option("--max-bytes", help="Stop beyond this size.")] = 2**32,
    name: Annotated[str, typer.Option("--name", help="Also give the file this name, as `gz data add` does.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch one file of text over https. What it claims to be is for you to judge; its hash is printed."""
    from groundzero.cli.output import emit, human_bytes, progress  # noqa: PLC0415
    from groundzero.data.download import download as fetch  # noqa: PLC0415
    from groundzero.data.registry import Registry, check_name  # noqa: PLC0415

    if name:
        check_name(name)
    with progress("Downloading", total=None, unit="bytes") as bar:
        got = fetch(what, out, sha256=sha256, max_bytes=max_bytes, overwrite=overwrite, progress=bar.update)
    if name:
        Registry().add(name, got.path, overwrite=overwrite)
    payload = {"path": str(got.path), "bytes": got.bytes, "sha256": got.sha256} | ({"name": name} if name else {})
    emit(payload, as_json, lambda: print(f"{got.path}: {human_bytes(got.bytes)}, SHA-256 {got.sha256}"))


@app.command()
def add(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A text file, a folder of text, or a prepared dataset.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the name where it is taken.")] = False,
    as_json: Json = False,
) -> None:
    """Give a text source or a prepared dataset a name. Nothing is copied."""
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.data.registry import Registry  # noqa: PLC0415

    entry = Registry().add(name, path, overwrite=overwrite)
    emit(_entry_facts(entry), as_json, lambda: note(f"{entry.name} is {entry.path} ({entry.kind})."))


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the names, and which one is used when nothing else is said."""
    from groundzero.cli.output import console, emit, note, table  # noqa: PLC0415
    from groundzero.data.registry import Registry  # noqa: PLC0415

    registry = Registry()
    entries, default = registry.entries(), registry.default()
    payload = {"datasets": [_entry_facts(entry) for entry in entries], "default": default.name if default else None}

    def tell() -> None:
        if not entries:
            note("No datasets yet. Add one: `gz data add NAME PATH`.")
            return
        rows = [
            (entry.name + (" *" if entry == default else ""), entry.kind, entry.path if entry.path.exists() else "gone")
            for entry in entries
        ]
        console().print(table(("name", "kind", "path"), rows))

    emit(payload, as_json, tell)


@app.command()
def info(
    reference: Reference,
    verify: Annotated[bool, typer.Option("--verify", help="Check the hash of every file, whatever the size.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a dataset holds: splits, tokens, tokenizer, sources."""
    from groundzero.cli.output import emit, human_bytes  # noqa: PLC0415
    from groundzero.data import DataConfig, TokenDataset  # noqa: PLC0415
    from groundzero.data.manifest import MANIFEST  # noqa: PLC0415
    from groundzero.data.registry import Registry  # noqa: PLC0415
    from groundzero.data.sources import open_corpus  # noqa: PLC0415

    path = Registry().resolve(reference)
    if path.is_dir() and (path / MANIFEST).exists():
        dataset = TokenDataset.open(path, verify=True if verify else None)
        emit(_dataset_facts(dataset), as_json, lambda: _print_dataset(dataset))
        return
    with open_corpus(path, DataConfig()) as corpus:
        payload = {"path": str(path), "kind": "text", "files": len(corpus.files), "bytes": corpus.bytes}
        text = f"{path}: text, not prepared; {len(corpus.files)} files, {human_bytes(corpus.bytes)}."
        emit(payload, as_json, lambda: print(text))


@app.command()
def use(name: Name, as_json: Json = False) -> None:
    """Choose the dataset that is trained on when nothing else is said."""
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.data.registry import Registry  # noqa: PLC0415

    entry = Registry().use(name)
    emit(_entry_facts(entry), as_json, lambda: note(f"Using {entry.name}: {entry.path}"))


@app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Forget a name. The data stay where they are."""
    from groundzero.cli.output import emit, note  # noqa: PLC0415
    from groundzero.data.registry import Registry  # noqa: PLC0415

    Registry().remove(name)
    emit({"removed": name}, as_json, lambda: note(f"Forgot {name}; its data are where they were."))


@app.command()
def doctor(
    reference: Annotated[str, typer.Argument(help="Text, a prepared dataset, a name, or - for standard input.")],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="A tokenizer.json or a folder with one, to see how it fits.")
    ] = "",
    model_size: Annotated[
        str,
        typer.Option("--model-size", help="A preset's name, or parameters such as 10M, to see if the text is enough."),
    ] = "",
    document_separator: Separator = "",
    text_field: TextField = "text",
    format_: Format = "auto",
    encoding: Encoding = "utf-8",
    split: Split = "auto",
    validation_fraction: Fraction = 0.1,
    seed: Seed = 1337,
    as_json: Json = False,
) -> None:
    """Look for trouble in a corpus: encoding, duplicates, leaks into validation, tokenizer fit, size. Changes nothing.

    Exit code 0 whatever is found; findings are errors, warnings or notes.
    """
    from groundzero.cli.output import emit  # noqa: PLC0415
    from groundzero.data import DataConfig, TokenDataset  # noqa: PLC0415
    from groundzero.data.doctor import examine, examine_dataset  # noqa: PLC0415
    from groundzero.data.manifest import MANIFEST  # noqa: PLC0415
    from groundzero.data.registry import Registry  # noqa: PLC0415
    from groundzero.data.sources import open_corpus  # noqa: PLC0415

    config = DataConfig.parse(
        {
            "document_separator": document_separator, "text_field": text_field, "format": format_,
            "encoding": encoding, "split": split, "validation_fraction": validation_fraction, "seed": seed,
            "skip_bad": True,
        }
    )  # fmt: skip
    parameters = _parameters(model_size) if model_size else None
    loaded = _load_tokenizer(tokenizer) if tokenizer else None
    path = reference if reference == "-" else Registry().resolve(reference)
    if isinstance(path, Path) and (path / MANIFEST).is_file():
        dataset = TokenDataset.open(path, verify=True)
        if loaded:
            dataset.check_tokenizer(loaded.fingerprint)
        report = examine_dataset(dataset, parameters=parameters)
    else:
        with open_corpus(path, config) as corpus, _progress("Examining") as progress:
            report = examine(corpus, tokenizer=loaded, parameters=parameters, progress=progress)
    emit(report.as_json(), as_json, lambda: _print_report(report))


def _tokenizer_for(corpus: Corpus, tokenizer: str, vocab_size: int) -> Tokenizer:
    if tokenizer not in ("char", "bpe"):
        return _load_tokenizer(tokenizer)
    from groundzero.cli.output import note  # noqa: PLC0415
    from groundzero.tokenizer import TokenizerConfig, train_tokenizer  # noqa: PLC0415

    if next(iter(corpus), None) is None:
        raise InputError(f"{corpus.root} has no text: it is empty or only blanks.", remedy="Give text.")
    config = TokenizerConfig.parse({"kind": tokenizer, "vocab_size": vocab_size})
    note(f"Training a {tokenizer} tokenizer on {corpus.root}")
    return train_tokenizer(corpus, config)


def _load_tokenizer(path: str) -> Tokenizer:
    from groundzero.tokenizer import Tokenizer  # noqa: PLC0415

    place = Path(path)
    return Tokenizer.load(place / "tokenizer.json" if place.is_dir() else place)


def _parameters(size: str) -> int:
    """A preset's count, or a number such as 10M."""
    from groundzero.model.presets import preset  # noqa: PLC0415

    scale = {"k": 10**3, "m": 10**6, "b": 10**9}.get(size[-1:].lower(), 1)
    digits = size[:-1] if scale > 1 else size
    try:
        parameters = int(float(digits.replace("_", "")) * scale)
    except (ValueError, OverflowError):
        return preset(size).true_parameters
    if parameters < 1:
        raise UsageError(f"--model-size {size} is no number of parameters.", remedy="Write, for example, 10M.")
    return parameters


# Where each stage lies on the bar, in percent: encoding is what takes the time.
_STAGES = {"reading": (0, 5), "encoding": (5, 100), "examining": (0, 100)}


@contextmanager
def _progress(label: str) -> Iterator[Progress]:
    from groundzero.cli.output import progress  # noqa: PLC0415

    with progress(label, total=100, unit="%") as bar:

        def show(stage: str, done: int, total: int) -> None:
            low, high = _STAGES[stage]
            bar.update(low + (high - low) * done / max(total, 1), note=stage)

        yield show


def _entry_facts(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "kind": entry.kind, "path": str(entry.path), "exists": entry.path.exists()}


def _dataset_facts(dataset: TokenDataset) -> dict[str, Any]:
    manifest = dataset.manifest
    assert manifest is not None
    splits: dict[str, Any] = {
        str(name): split.model_dump(
            include={"documents", "tokens", "text_tokens", "unknown_tokens", "characters", "bytes"}
        )
        for name, split in manifest.splits.items()
    }
    return {
        "path": str(dataset.path),
        "kind": "tokens",
        **splits,
        "framing": manifest.framing,
        "dtype": manifest.dtype,
        "tokenizer": manifest.tokenizer.model_dump(),
        "sources": [source.model_dump() for source in manifest.sources],
        "skipped": list(manifest.skipped),
        "counts": manifest.counts,
        "config": manifest.config,
        "disk_bytes": sum(record.bytes for record in manifest.all_files()),
    }


def _print_dataset(dataset: TokenDataset) -> None:
    from groundzero.cli.output import console, human_bytes, note, table  # noqa: PLC0415

    manifest = dataset.manifest
    assert manifest is not None
    rows = [
        (
            name,
            f"{split.documents:,}",
            f"{split.tokens:,}",
            human_bytes(split.bytes),
            f"{split.bytes / max(split.text_tokens, 1):.2f}",
            f"{split.unknown_tokens:,}",
        )
        for name, split in manifest.splits.items()
    ]
    columns = ("split", "documents", "tokens", "text", "bytes/token", "unknown")
    console().print(table(columns, rows, title=str(dataset.path), numbers=", ".join(columns[1:])))
    print(f"Tokenizer: {manifest.tokenizer.kind}, {manifest.tokenizer.vocab_size:,} ids.")
    skipped = manifest.counts.get("skipped", 0)
    for line in manifest.skipped[:10]:
        note(f"Left out: {line}")
    if skipped > 10:
        note(f"... and {skipped - 10} more; --json lists the first 1000.")


def _print_report(report: Report) -> None:
    from groundzero.cli.output import console, human_bytes, table  # noqa: PLC0415

    print(
        f"{report.source}: {report.documents:,} documents, {report.characters:,} characters, "
        f"{human_bytes(report.bytes)}" + (f", about {report.tokens:,} tokens" if report.tokens else "") + "."
    )
    if not report.findings:
        print("Nothing found.")
        return
    rows = [
        (finding.severity, finding.check, " ".join([finding.message, *finding.examples]), finding.remedy)
        for finding in report.findings
    ]
    console().print(table(("severity", "check", "finding", "what to do"), rows))
