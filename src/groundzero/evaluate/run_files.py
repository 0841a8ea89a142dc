"""Whether the files of a run are sound and belong together: checkpoints, prepared text, tokenizer."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from groundzero.data import DataConfig, TokenDataset
from groundzero.data.sources import open_corpus
from groundzero.errors import GroundzeroError
from groundzero.evaluate.check import Check
from groundzero.run import RunDirectory
from groundzero.tokenizer import Tokenizer

TEXT_CHARACTERS = 1_000_000
"""Of the original text that are encoded and decoded again; about a second."""
PREPARED_TOKENS = 200_000
"""Of each prepared split that are decoded and encoded again."""
_CONTEXT = 12
"""Characters shown on each side of the first one that was lost."""


def section_of(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of the configuration that a run's manifest holds; empty where it holds none."""
    config = manifest.get("config")
    section = config.get(name) if isinstance(config, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def check_files(run: RunDirectory) -> Check:
    """Every file that the manifests name is there, byte for byte."""
    steps = run.checkpoints.steps()
    problems = run.verify()
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Check("Files", "failed", f"{problems[0]}{more}.", "Restore it from a copy; `gz runs verify` lists all.")
    if not steps:
        return Check("Files", "failed", "There is no checkpoint yet.", "Train it further with --resume.")
    listed = ", ".join(f"step-{step}" for step in steps[-4:])
    return Check("Files", "ok", f"{_count(len(steps), 'checkpoint')} ({listed}) and tokenizer are as they were written")


def open_data(run: RunDirectory, manifest: Mapping[str, Any]) -> tuple[TokenDataset | None, Check]:
    """The prepared text of a run, inside it or where it was, if it can still be read."""
    recorded = manifest.get("data")
    path = recorded.get("path") if isinstance(recorded, Mapping) else ""
    place = Path(path) if path else run.path / "data"
    if not (place / "manifest.json").exists():
        return None, Check(
            "Data",
            "warning",
            f"The prepared text is no longer at {place}; random tokens take its place.",
            "Nothing, unless the run is to be resumed: then restore it.",
        )
    try:
        dataset = TokenDataset.open(place)
    except GroundzeroError as error:
        return None, Check("Data", "failed", error.message, error.remedy)
    tokens = f"{len(dataset.train):,} tokens to learn from, {len(dataset.validation):,} held back"
    return dataset, Check("Data", "ok", f"{tokens}, in {place}")


def check_tokenizer(tokenizer: Tokenizer, manifest: Mapping[str, Any], dataset: TokenDataset | None) -> Check:
    """The tokenizer is the one the run was trained with, and has as many ids as the model has rows."""
    recorded = manifest.get("tokenizer")
    expected = recorded.get("fingerprint") if isinstance(recorded, Mapping) else None
    restore = "Restore tokenizer.json from a copy of the run."
    if expected and expected != tokenizer.fingerprint:
        message = f"tokenizer.json is {tokenizer.fingerprint[:12]}, and the run was trained with {expected[:12]}."
        return Check("Tokenizer", "failed", message, restore)
    if dataset is not None and dataset.tokenizer_fingerprint not in ("", tokenizer.fingerprint):
        message = f"The prepared text was made with another tokenizer ({dataset.tokenizer_fingerprint[:12]})."
        return Check("Tokenizer", "failed", message, restore)
    rows = int(section_of(manifest, "model").get("vocab_size", tokenizer.vocab_size))
    if tokenizer.vocab_size > rows:
        message = f"The tokenizer makes {tokenizer.vocab_size:,} ids, and the model knows {rows:,}."
        return Check("Tokenizer", "failed", message, restore)
    if tokenizer.vocab_size < rows:
        message = f"The model has {rows - tokenizer.vocab_size:,} rows that no token uses."
        return Check("Tokenizer", "warning", message, "Harmless, but wasteful; train with the tokenizer's size.")
    known = "the fingerprint of the training" if expected else "no fingerprint was recorded to compare it with"
    return Check("Tokenizer", "ok", f"{tokenizer.kind} with {rows:,} ids, as many as the model; {known}")


def check_round_trip(tokenizer: Tokenizer, dataset: TokenDataset | None, data: Mapping[str, Any]) -> Check:
    """Encoding and decoding gives back the run's own text: the original where it is found, and the prepared.

    Args:
        data: the section of the run's configuration that says where the text was.
    """
    checked: list[str] = []
    missing = ""
    if dataset is not None:
        for split in ("train", "validation"):
            lost = _prepared_loses(tokenizer, dataset, split)
            if lost:
                return Check("Round trip", "failed", lost, _LOSES)
        checked.append("the prepared text")
    try:
        count = 0
        for text in _original_text(data):
            lost = first_loss(tokenizer, text)
            if lost:
                return Check("Round trip", "failed", f"{lost}, in {data['text']}.", _LOSES)
            count += len(text)
        if count:
            checked.append(f"{count:,} characters of {data['text']}")
    except GroundzeroError as error:
        missing = f" (the original cannot be read: {error.message.rstrip('.')})"
    if not checked:
        lost = first_loss(tokenizer, _alphabet(tokenizer))
        if lost:
            return Check("Round trip", "failed", f"{lost}, in its own alphabet.", _LOSES)
        message = f"The run's text is not found; only the tokenizer's own alphabet was tried, and comes back{missing}."
        return Check("Round trip", "warning", message, "Run this where the text is.")
    return Check("Round trip", "ok", f"back from the tokenizer as it was: {', '.join(checked)}{missing}")


def first_loss(tokenizer: Tokenizer, text: str) -> str:
    """What the tokenizer makes of the first character that it does not give back; empty when it gives back all."""
    back = tokenizer.decode(tokenizer.encode(text))
    if back == text:
        return ""
    at = next(
        (i for i, pair in enumerate(zip(text, back, strict=False)) if pair[0] != pair[1]), min(len(text), len(back))
    )
    around = slice(max(0, at - _CONTEXT), at + _CONTEXT)
    return f"Character {at} of {text[around]!r} comes back as {back[around]!r}"


_LOSES = "Train a tokenizer that knows this text; one of kind bpe loses nothing."


def _original_text(data: Mapping[str, Any]) -> Iterator[str]:
    """The first `TEXT_CHARACTERS` of the text that the run was trained on, piece by piece."""
    source = str(data.get("text") or "")
    if not source or source == "-":
        return
    left = TEXT_CHARACTERS
    with open_corpus(source, DataConfig.parse({**data})) as corpus:
        for text in corpus:
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def _prepared_loses(tokenizer: Tokenizer, dataset: TokenDataset, split: str) -> str:
    """What is wrong with the first tokens of a prepared split; empty when they come back as they were."""
    stream = dataset.train if split == "train" else dataset.validation
    ids = stream.read(0, min(len(stream), PREPARED_TOKENS))
    if int(ids.max()) >= tokenizer.vocab_size:
        return f"The prepared {split} text holds token {int(ids.max())}, which the tokenizer does not know."
    unknown = int((ids == tokenizer.unk_id).sum())
    if unknown:
        return (
            f"{unknown:,} of the first {len(ids):,} tokens of the prepared {split} text are <UNK>: their text is lost."
        )
    # The last character may be cut in two; anything else that is not UTF-8 is a fault.
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(tokenizer.decode_bytes(ids))
    except UnicodeDecodeError as error:
        return f"The prepared {split} text is not text: byte {error.start} is no UTF-8."
    lost = first_loss(tokenizer, text)
    return f"{lost}, in the prepared {split} text." if lost else ""


def _alphabet(tokenizer: Tokenizer) -> str:
    """Every token of the tokenizer that is text, one after another."""
    pieces = (tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size))
    return b"".join(pieces).decode("utf-8", errors="ignore")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
