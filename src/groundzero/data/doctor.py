"""What is wrong with a corpus, before time is spent on it. Reads once, changes nothing, and always comes to an end.

Every finding has a severity: an *error* makes preparation stop or validation meaningless, a *warning* makes the model
worse, a *note* is good to know. Everything is counted over the whole corpus but near duplicates (the first 20,000
documents, by their first 256 thousand characters) and what needs a tokenizer (a sample of two million characters).
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from groundzero.data import findings as say
from groundzero.data.config import DataConfig
from groundzero.data.dataset import TokenDataset, TokenStream
from groundzero.data.findings import Finding
from groundzero.data.preparation import Encoder, Progress
from groundzero.data.readers import Piece, is_jsonl
from groundzero.data.similarity import Hashes, code_points, near_pairs, sketch, window_hashes
from groundzero.data.sources import Corpus, SourceFile
from groundzero.data.split import DocumentHash, Documents, plan_split
from groundzero.data.textcheck import TextCheck
from groundzero.errors import InputError

_SKETCHED_DOCUMENTS = 20_000
_SHORTEST_SKETCHED = 200  # characters; below, 16-character shingles say little
_NEAR = 0.8
_SAMPLE_CHARACTERS = 2_000_000
_SAMPLE_PER_PIECE = 20_000
_WINDOW_LOG2 = 6  # 64 characters in both splits are a leak, not chance
_WINDOWS = 200_000  # sampled by hash, so that the same text is sampled on both sides
_DISTINCT = 12  # a window of fewer different characters is a rule of dashes or the like


@dataclass
class Report:
    """What was found; `tokens` is an estimate, or None without a tokenizer."""

    source: str
    kind: str
    files: int = 0
    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int | None = None
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        severities = Counter(finding.severity for finding in self.findings)
        counts = {severity: severities[severity] for severity in say.SEVERITIES}
        return {**vars(self), "findings": [vars(finding) for finding in self.findings], "counts": counts}


def examine(
    corpus: Corpus,
    *,
    tokenizer: Encoder | None = None,
    parameters: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Examine text, as `prepare` would read it with the corpus's settings.

    Args:
        tokenizer: say how well it fits this text.
        parameters: say whether the text is enough for a model of so many.
    """
    reading = _Reading(corpus)
    done = 0
    for file in corpus.files:
        reading.read(file)
        done += file.bytes
        if progress:
            progress("examining", done, corpus.bytes)
    report = Report(
        source="standard input" if corpus.root == "-" else corpus.root,
        kind="text",
        files=len(corpus.files),
        documents=len(reading.documents),
        bytes=reading.bytes,
        characters=sum(reading.documents.characters),
    )
    found = say.of_text(reading.check, reading.bad_files, reading.broken_lines, corpus.skipped, corpus.config)
    if len(reading.documents):
        found += reading.duplicates()
        found += reading.leak(corpus.config)
    else:
        found.append(say.no_text(report.source))
    bytes_per_token = None
    if tokenizer is not None and reading.sample:
        fit, bytes_per_token = _fit(reading.sample, tokenizer)
        found += fit
        report.tokens = round(report.bytes / bytes_per_token)
    if parameters:
        tokens = (report.tokens or report.bytes / say.USUAL_BYTES_PER_TOKEN) * (1 - corpus.config.validation_fraction)
        found += say.of_size(round(tokens), parameters, estimated=tokenizer is None)
    report.findings = say.by_severity(found)
    return report


def examine_dataset(dataset: TokenDataset, *, parameters: int | None = None) -> Report:
    """Examine a prepared dataset: repeated documents, leaks, unknown tokens, size. Text itself is gone by then."""
    manifest = dataset.manifest
    assert manifest is not None
    splits = manifest.splits.values()
    found = say.of_unknown(sum(s.unknown_tokens for s in splits), sum(s.text_tokens for s in splits))
    log2 = _WINDOW_LOG2 if manifest.tokenizer.kind == "char" else _WINDOW_LOG2 - 2
    rate = _rate(len(dataset.train) + len(dataset.validation))
    train, validation = (_stream_windows(stream, log2, rate) for stream in (dataset.train, dataset.validation))
    found += say.of_leak(*_overlap(train, validation), 2**log2, "tokens")
    copies = Counter(
        hashlib.blake2b(stream.document(index).tobytes(), digest_size=16).digest()
        for stream in (dataset.train, dataset.validation)
        for index in range(stream.documents)
    )
    found += say.of_copies(sum(copies.values()) - len(copies), sum(copies.values()), [])
    if parameters:
        found += say.of_size(len(dataset.train), parameters, estimated=False)
    return Report(
        source=str(dataset.path),
        kind="tokens",
        files=manifest.counts.get("sources", 0),
        documents=sum(split.documents for split in splits),
        bytes=sum(split.bytes for split in splits),
        characters=sum(split.characters for split in splits),
        tokens=sum(split.tokens for split in splits),
        findings=say.by_severity(found),
    )


class _Reading:
    """What one pass over the corpus gathers; memory grows by some 30 bytes a document, and 1 KB a sketched one."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.check = TextCheck()
        self.bad_files: list[str] = []
        self.broken_lines: list[str] = []
        self.documents = Documents()
        self.bytes = 0
        self.sample: list[str] = []
        self._sampled = 0
        self._names: list[str] = []
        self._sketches: dict[int, Hashes] = {}
        self._rate = _rate(corpus.bytes)
        self._window_hash, self._window_document, self._window_at = array("Q"), array("q"), array("q")

    def read(self, file: SourceFile) -> None:
        """Take in one file, good or bad."""
        config, name = self.corpus.config, self.corpus.called(file)
        text_lines = config.format == "text" or (config.format == "auto" and not is_jsonl(file.path.name))
        several = bool(config.document_separator) or not text_lines
        if problem := self.check.bytes_of(file.path, name, config.encoding, line_ends=text_lines):
            self.bad_files.append(problem)
            return
        at, ordinal, hash_ = 0, 1, DocumentHash(config.seed)
        try:
            for piece in self.corpus.pieces(file, self.broken_lines.append):
                where = f"{file.name} document {ordinal}" if several else file.name
                self._take(piece, at, where)
                hash_.update(piece.text.encode("utf-8"))
                at += len(piece.text)
                if piece.last:
                    self.documents.hashes.append(hash_.value())
                    self.documents.characters.append(at)
                    self._names.append(where)
                    at, ordinal, hash_ = 0, ordinal + 1, DocumentHash(config.seed)
        except InputError as error:
            self.bad_files.append(error.message)

    def _take(self, piece: Piece, at: int, where: str) -> None:
        text, index = piece.text, len(self.documents)
        self.bytes += len(text.encode("utf-8"))
        self.check.content(text, where)
        if self._sampled < _SAMPLE_CHARACTERS:
            self.sample.append(text[:_SAMPLE_PER_PIECE])
            self._sampled += len(self.sample[-1])
        if at == 0 and index < _SKETCHED_DOCUMENTS and len(text) >= _SHORTEST_SKETCHED:
            self._sketches[index] = sketch(code_points(" ".join(text.lower().split())))
        hashes = window_hashes(code_points(text), _WINDOW_LOG2)
        for place in np.flatnonzero(_is_sampled(hashes, self._rate)).tolist():
            if len(set(text[place : place + 2**_WINDOW_LOG2])) >= _DISTINCT:
                self._window_hash.append(int(hashes[place]))
                self._window_document.append(index)
                self._window_at.append(at + place)

    def duplicates(self) -> list[Finding]:
        """Documents that are the same, or nearly."""
        first: dict[int, int] = {}
        copies = []
        for index, hash_ in enumerate(self.documents.hashes):
            if (original := first.setdefault(hash_, index)) != index:
                copies.append((original, index))
        examples = [f"{self._names[copy]} repeats {self._names[original]}." for original, copy in copies[:3]]
        found = say.of_copies(len(copies), len(self.documents), examples)

        repeated = {copy for _, copy in copies}
        indices = [index for index in self._sketches if index not in repeated]
        near = near_pairs([self._sketches[index] for index in indices], _NEAR)
        named = [
            f"{self._names[indices[b]]} is {share:.0%} like {self._names[indices[a]]}." for a, b, share in near[:3]
        ]
        return found + say.of_near_copies(len(near), len(indices), named)

    def leak(self, config: DataConfig) -> list[Finding]:
        """Passages of the validation split that are in the training split too."""
        try:
            plan = plan_split(self.documents, config)
        except InputError as error:
            return [say.unsplittable(error)]
        kept = np.array(plan.train_characters, dtype=np.int64)[np.array(self._window_document, dtype=np.int64)]
        at = np.array(self._window_at, dtype=np.int64)
        hashes = np.array(self._window_hash, dtype=np.uint64)
        sizes = np.array(self.documents.characters, dtype=np.int64)
        train = np.minimum(np.array(plan.train_characters, dtype=np.int64), sizes).sum()
        found = say.of_share(1 - float(train / sizes.sum()), config.validation_fraction)
        shared = _overlap(hashes[at + 2**_WINDOW_LOG2 <= kept], hashes[at >= kept])
        return found + say.of_leak(*shared, 2**_WINDOW_LOG2, "characters")


def _fit(sample: Sequence[str], tokenizer: Encoder) -> tuple[list[Finding], float]:
    encoded = tokenizer.encode_batch(sample)
    tokens = sum(map(len, encoded))
    unknown = sum(int(np.count_nonzero(ids == tokenizer.unk_id)) for ids in encoded)
    used = len(np.unique(np.concatenate(encoded)))
    bytes_per_token = sum(len(text.encode("utf-8")) for text in sample) / max(tokens, 1)
    found = say.of_unknown(unknown, tokens)
    found += say.of_fit(tokenizer.kind, bytes_per_token, used, tokenizer.vocab_size, tokens)
    return found, bytes_per_token


def _stream_windows(stream: TokenStream, log2: int, rate: int) -> Hashes:
    parts = []
    for first in range(0, len(stream), 2**20):
        hashes = window_hashes(stream.read(first, min(first + 2**20 + 2**log2, len(stream))), log2)
        parts.append(hashes[_is_sampled(hashes, rate)])
    return np.concatenate(parts)


def _overlap(train: Hashes, validation: Hashes) -> tuple[int, int]:
    """How many of the sampled validation windows are in training too, and how many there are."""
    return int(np.isin(validation, train).sum()), len(validation)


def _is_sampled(hashes: Hashes, rate: int) -> npt.NDArray[np.bool_]:
    sampled: npt.NDArray[np.bool_] = (hashes & np.uint64(rate - 1)) == 0
    return sampled


def _rate(size: int) -> int:
    """One window in so many, a power of two, is enough."""
    return 1 << max(0, size // _WINDOWS).bit_length()
