"""Text to token shards in two readings: the first learns what there is, the second encodes and writes.

Framing. Documents that stay whole become `<BOS> text <EOS>` each, so that generation can start from `<BOS>` with an
empty prompt and stop by itself at `<EOS>`. Text that is split by tail (a single document, above all) stays plain: an
`<EOS>` in the middle of a text would be false, and the validation tokens are then exactly nanoGPT's. Only the training
part of each document starts with `<BOS>`, so that generation can start from nothing there too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from groundzero.data.config import DataConfig
from groundzero.data.dataset import TOKEN_BYTES, TOKENIZER, Split, TokenDataset
from groundzero.data.manifest import (
    SCHEMA_VERSION,
    Manifest,
    SourceRecord,
    TokenizerRecord,
    canonical_digest,
    file_record,
)
from groundzero.data.publish import published
from groundzero.data.shards import SplitWriter
from groundzero.data.sources import Corpus, SourceFile, open_corpus
from groundzero.data.split import DocumentHash, Documents, SplitPlan, plan_split
from groundzero.errors import FormatError, InputError, StorageError

# Text handed to the tokenizer in one call: enough for its threads, little beside the shard in memory.
_BATCH_CHARACTERS = 2**22
_BATCH_SEGMENTS = 4096
_LISTED = 1000
# Settings that say where text is or how files are cut, not what the tokens are.
_NOT_CONTENT = {"text", "dataset", "shard_tokens", "skip_bad"}

_OURS = re.compile(r"(manifest|tokenizer)\.json|token_bytes\.npy|(train|validation)-(\d{5}|starts)\.npy")

Progress = Callable[[str, int, int], None]
"""Called with a stage (reading, encoding), how much is done, and the total: bytes on disk, then characters."""


class Encoder(Protocol):
    """What preparation needs of a tokenizer; `groundzero.tokenizer.Tokenizer` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def unk_id(self) -> int: ...
    def encode_batch(self, texts: Sequence[str]) -> Sequence[npt.NDArray[Any]]: ...
    def token_bytes(self, token: int, /) -> bytes: ...
    def save(self, path: Path, /) -> None: ...


def prepare(
    source: Path | str,
    out: Path | str,
    tokenizer: Encoder,
    config: DataConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TokenDataset:
    """Turn a file, a folder or `-` into a dataset at `out`, which appears whole or not at all.

    Raises:
        InputError: the text is missing, empty, unreadable, binary or badly encoded.
        StorageError: `out` exists and `overwrite` is false, or the disk refuses.
    """
    with open_corpus(source, config or DataConfig()) as corpus:
        return prepare_corpus(corpus, Path(out), tokenizer, overwrite=overwrite, progress=progress)


def prepare_cached(
    source: Path | str,
    cache: Path | str,
    tokenizer: Encoder,
    config: DataConfig | None = None,
    *,
    progress: Progress | None = None,
) -> TokenDataset:
    """`prepare` into a folder below `cache` that is named after content, tokenizer and settings; opened if there.

    A damaged entry is made again. Raises what `prepare` raises.
    """
    with open_corpus(source, config or DataConfig()) as corpus:
        key = canonical_digest([SCHEMA_VERSION, corpus.fingerprint(), tokenizer.fingerprint, _content(corpus.config)])
        out = Path(cache) / f"tokens-{key[:24]}"
        found = _open_if_whole(out)
        if found is None:
            try:
                return prepare_corpus(corpus, out, tokenizer, overwrite=out.exists(), progress=progress)
            except StorageError:
                found = _open_if_whole(out)  # another process may have been faster
                if found is None:
                    raise
        return found


def _open_if_whole(path: Path) -> TokenDataset | None:
    try:
        return TokenDataset.open(path)
    except (FormatError, InputError):
        return None


def prepare_corpus(
    corpus: Corpus, out: Path, tokenizer: Encoder, *, overwrite: bool = False, progress: Progress | None = None
) -> TokenDataset:
    """`prepare` for a corpus that is already open."""
    progress = progress or (lambda stage, done, total: None)
    _refuse_to_lose(out)
    with published(out, overwrite=overwrite) as folder:
        survey = _survey(corpus, progress)
        plan = plan_split(survey.documents, corpus.config)
        writers = _encode(corpus, survey, plan, tokenizer, folder, progress)
        tokenizer.save(folder / TOKENIZER)
        np.save(folder / TOKEN_BYTES, _lengths(tokenizer))
        Manifest(
            tokenizer=TokenizerRecord(
                kind=tokenizer.kind, vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
            ),
            dtype=_dtype(tokenizer).name,
            framing="document" if plan.kind == "document" else "stream",
            splits={split: writer.record() for split, writer in writers.items()},
            files=tuple(file_record(folder / name) for name in (TOKENIZER, TOKEN_BYTES)),
            sources=tuple(survey.sources[:_LISTED]),
            skipped=tuple(survey.skipped[:_LISTED]),
            counts={"sources": len(survey.sources), "skipped": len(survey.skipped)},
            config=_content(corpus.config),
        ).write(folder)
    return TokenDataset.open(out)


def _refuse_to_lose(out: Path) -> None:
    """Only what this room wrote, damaged or not, may be replaced: never a folder of someone's text.

    Raises:
        StorageError: `out` is a file, or a folder that holds anything else.
    """
    if not out.exists():
        return
    foreign = [path.name for path in out.iterdir() if not _OURS.fullmatch(path.name)] if out.is_dir() else [out.name]
    if foreign:
        raise StorageError(
            f"{out} already exists, and is no dataset: it holds {min(foreign)}.", remedy="Choose another folder."
        )


@dataclass
class _Survey:
    """What the first reading found."""

    documents: Documents = field(default_factory=Documents)
    files: list[SourceFile] = field(default_factory=list)
    sources: list[SourceRecord] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def _survey(corpus: Corpus, progress: Progress) -> _Survey:
    """Read everything once: sizes and hashes of the documents, and every fault before anything is encoded."""
    survey = _Survey(skipped=list(corpus.skipped))
    done = 0
    for file in corpus.files:
        try:
            found = _survey_file(corpus, file, survey)
        except InputError as error:
            if not corpus.config.skip_bad:
                raise
            survey.skipped.append(error.message)
            continue
        finally:
            done += file.bytes
            progress("reading", done, corpus.bytes)
        if not len(found):
            survey.skipped.append(f"{corpus.called(file)} is empty.")
            continue
        survey.documents.extend(found)
        survey.files.append(file)
        survey.sources.append(SourceRecord(name=file.name, bytes=file.bytes, documents=len(found)))
    if not len(survey.documents):
        reasons = f" {survey.skipped[0]}" if survey.skipped and len(corpus.files) > 1 else ""
        raise InputError(
            f"{'Standard input' if corpus.root == '-' else corpus.root} has no text: it is empty or only blanks."
            f"{reasons}",
            remedy="Give a file with text in it.",
        )
    return survey


def _survey_file(corpus: Corpus, file: SourceFile, survey: _Survey) -> Documents:
    found = Documents()
    hash_, characters = DocumentHash(corpus.config.seed), 0
    for piece in corpus.pieces(file, survey.skipped.append):
        hash_.update(piece.text.encode("utf-8"))
        characters += len(piece.text)
        if piece.last:
            found.hashes.append(hash_.value())
            found.characters.append(characters)
            hash_, characters = DocumentHash(corpus.config.seed), 0
    return found


@dataclass(frozen=True)
class _Segment:
    """Text of one document on one side of the split."""

    split: Split
    text: str
    starts: bool
    """It is the first of its document on its side."""
    ends: bool
    """It is the last of its document."""


def _encode(
    corpus: Corpus, survey: _Survey, plan: SplitPlan, tokenizer: Encoder, folder: Path, progress: Progress
) -> dict[Split, SplitWriter]:
    """Read everything again, and write both splits."""
    shard_tokens = corpus.config.shard_tokens
    writers: dict[Split, SplitWriter] = {
        "train": SplitWriter(folder, "train", _dtype(tokenizer), shard_tokens),
        "validation": SplitWriter(folder, "validation", _dtype(tokenizer), shard_tokens),
    }
    total = sum(survey.documents.characters)
    done = 0
    for batch in _batched(_segments(corpus, survey, plan)):
        encoded = tokenizer.encode_batch([segment.text for segment in batch])
        for segment, ids in zip(batch, encoded, strict=True):
            # The tail of a document does not begin it, so it gets no <BOS>; nor, in plain text, does anything <EOS>.
            begins = segment.starts and (plan.kind == "document" or segment.split == "train")
            writers[segment.split].add(
                ids,
                segment.text,
                starts=segment.starts,
                before=[tokenizer.bos_id] if begins else [],
                after=[tokenizer.eos_id] if segment.ends and plan.kind == "document" else [],
                unknown=tokenizer.unk_id,
            )
            done += len(segment.text)
        progress("encoding", done, total)
    for writer in writers.values():
        writer.close()
    return writers


def _segments(corpus: Corpus, survey: _Survey, plan: SplitPlan) -> Iterator[_Segment]:
    index = at = 0
    for file in survey.files:
        for piece in corpus.pieces(file):
            if index >= len(survey.documents):
                raise _changed(corpus, file)
            kept, end = plan.train_characters[index], at + len(piece.text)
            cut = min(max(kept - at, 0), len(piece.text))
            if cut or (piece.last and not piece.text and kept):
                yield _Segment("train", piece.text[:cut], starts=at == 0, ends=piece.last)
            if cut < len(piece.text) or (piece.last and not piece.text and not kept):
                yield _Segment("validation", piece.text[cut:], starts=at <= kept < end, ends=piece.last)
            at = end
            if piece.last:
                if at != survey.documents.characters[index]:
                    raise _changed(corpus, file)
                index, at = index + 1, 0
    if index != len(survey.documents):
        raise _changed(corpus, survey.files[-1])


def _changed(corpus: Corpus, file: SourceFile) -> InputError:
    return InputError(f"{corpus.called(file)} changed while it was read.", remedy="Try again when it is at rest.")


def _batched(segments: Iterator[_Segment]) -> Iterator[list[_Segment]]:
    batch: list[_Segment] = []
    characters = 0
    for segment in segments:
        batch.append(segment)
        characters += len(segment.text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_SEGMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _dtype(tokenizer: Encoder) -> np.dtype[Any]:
    return np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")


def _lengths(tokenizer: Encoder) -> npt.NDArray[np.uint32]:
    """Bytes of text that each id stands for; control ids stand for none."""
    lengths = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    return np.array(lengths, dtype="<u4")


def _content(config: DataConfig) -> dict[str, Any]:
    return {key: value for key, value in config.model_dump(mode="json").items() if key not in _NOT_CONTENT}
