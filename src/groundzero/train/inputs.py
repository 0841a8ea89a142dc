"""What a training starts from: the text as tokens inside its run, the tokenizer, and the manifest that seals both."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from groundzero.data import TokenDataset
from groundzero.data.preparation import prepare_corpus
from groundzero.data.registry import Registry
from groundzero.data.sources import open_corpus
from groundzero.errors import ConfigError, InputError
from groundzero.run import RunDirectory, sha256_of
from groundzero.tokenizer import Tokenizer, train_tokenizer
from groundzero.train.config import RunConfig
from groundzero.train.observer import Observer

DATA = "data"
"""Prepared text, inside the run directory, so that a run needs nothing else to go on."""


def prepare_data(run: RunDirectory, config: RunConfig, observer: Observer) -> tuple[Tokenizer, TokenDataset]:
    """Train the tokenizer and encode the text into the run; or take a dataset that is prepared already."""
    place, prepared = _source(config)
    if prepared:
        dataset = TokenDataset.open(place)
        assert dataset.tokenizer_path is not None
        tokenizer = Tokenizer.load(dataset.tokenizer_path)
        tokenizer.save(run.tokenizer_path)
        return tokenizer, dataset
    with open_corpus(place, config.data) as corpus:
        if not corpus.bytes:
            raise InputError(f"{corpus.root} is empty.", remedy="Give a file or folder with text.")
        observer.message(f"training the {config.tokenizer.kind} tokenizer on {corpus.bytes / 1e6:.1f} MB")
        tokenizer = train_tokenizer(corpus, config.tokenizer)
        tokenizer.save(run.tokenizer_path)
        dataset = prepare_corpus(corpus, run.path / DATA, tokenizer, overwrite=True, progress=observer.preparing)
    return tokenizer, dataset


@contextmanager
def removed_on_failure(run: RunDirectory) -> Iterator[None]:
    """Text that cannot be used leaves no half-made run behind, and its name free for the next try."""
    try:
        yield
    except BaseException:
        if not run.manifest_path.exists():
            shutil.rmtree(run.path / DATA, ignore_errors=True)
            run.tokenizer_path.unlink(missing_ok=True)
            with suppress(OSError):  # a folder with anything else in it is not ours to remove
                run.checkpoints.folder.rmdir()
                run.path.rmdir()
        raise


def _source(config: RunConfig) -> tuple[str, bool]:
    """Where the data are, and whether they are tokens already: `data.text`, `data.dataset`, or the chosen dataset."""
    if config.data.text:
        return config.data.text, False
    registry = Registry()
    entry = registry.locate(config.data.dataset) if config.data.dataset else registry.default()
    if entry is None:
        raise ConfigError(
            "There is nothing to train on.",
            remedy="Give --text FILE or a folder, --dataset NAME, or `gz data use NAME`.",
        )
    return str(entry.path), entry.kind != "text"


def resume_data(run: RunDirectory) -> tuple[Tokenizer, TokenDataset]:
    tokenizer = Tokenizer.load(run.tokenizer_path)
    dataset = TokenDataset.open(run.manifest()["data"]["path"] or run.path / DATA)
    dataset.check_tokenizer(tokenizer.fingerprint)
    return tokenizer, dataset


def write_manifest(
    run: RunDirectory, config: RunConfig, tokenizer: Tokenizer, dataset: TokenDataset, hardware: Mapping[str, str]
) -> None:
    inside = dataset.path is not None and dataset.path.parent == run.path
    manifest = dataset.manifest
    run.write_manifest(
        config=json.loads(config.model_dump_json(exclude_defaults=False)),
        seeds={"train": config.train.seed, "data": config.data.seed},
        tokenizer={"sha256": sha256_of(run.tokenizer_path), "fingerprint": tokenizer.fingerprint},
        data={
            "path": "" if inside else str(dataset.path),
            "sha256": sha256_of(dataset.path / "manifest.json") if dataset.path else "",
            "starts_with_bos": dataset.starts_with_bos,
            "train_tokens": len(dataset.train),
            "validation_tokens": len(dataset.validation),
            "sources": [source.name for source in manifest.sources][:100] if manifest else [],
        },
        hardware=dict(hardware),
        command=sys.argv[1:],
    )
