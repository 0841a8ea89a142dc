"""What is read in pretraining: the user's text as it is, and the graph in words, as tokens of a vocabulary of its own.

Nothing that the exam asks may have been read before, or a model that has learnt an answer by heart would pass for one
that reads its facts. So the graph in words, and the prose that comes with the package, leave out whatever names an
entity that is held out (`ground.teachable`) and that the graph says something of: as subject, as object, as an
answer, or in a description. The user's own text stays as it is; what the exam then finds without the graph is told.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundzero.build.config import BuildConfig
from groundzero.build.job import Job
from groundzero.build.order import EMBEDDED, Order
from groundzero.data import DataConfig
from groundzero.data.embedded import documents
from groundzero.data.preparation import prepare_corpus
from groundzero.data.readers import Piece, Report
from groundzero.data.sources import Corpus, SourceFile, open_corpus, read_texts
from groundzero.errors import InputError
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId
from groundzero.graph.verbalise import Verbalised, VerbaliseSettings, verbalise
from groundzero.ground.lessons import LessonSettings
from groundzero.ground.teachable import TeachableFacts
from groundzero.run.files import storage_errors
from groundzero.tokenizer import train_tokenizer

BYTES_PER_MINUTE = 4e6
"""Of the graph in words, at most: what two cores could just read in the time, whatever else they do."""
_REPORT_EVERY = 500
_PROSE, _FACTS = "prose.jsonl", "facts.jsonl"


def prepare_text(job: Job) -> dict[str, Any]:
    """Write down what is to be read besides the user's text, train the tokenizer, encode.

    Raises:
        InputError: there is no text, or it cannot be read.
        StorageError: the disk refused.
    """
    data, order = job.config.pretraining.data, job.order
    figures: dict[str, Any] = {"facts_bytes": 0, "left_out": 0}
    own: list[SourceFile] = []
    with storage_errors(f"write in {job.stages}"):
        job.stages.mkdir(exist_ok=True)
    if order.graph:
        with job.graph() as graph:
            names = HeldOut(graph, job.lessons)
            if order.text == EMBEDDED:
                kept = (text for text in documents() if not names.are_in(text))
                own.append(_write(job.stages / _PROSE, kept))
            limit = BYTES_PER_MINUTE * order.minutes
            spoken = _counted(spoken_facts(graph, job.config.verbalise, names, limit), graph, job)
            own.append(_write(job.stages / _FACTS, spoken))
            figures |= {"facts_bytes": own[-1].bytes, "left_out": names.left_out, "held_out": len(names.entities)}
    elif order.text == EMBEDDED:
        own.append(_write(job.stages / _PROSE, documents()))
    if order.text in ("", EMBEDDED):
        corpus = _Joined(str(job.stages), (), data, own=tuple(own))
        return figures | _encode(job, corpus)
    with open_corpus(order.text, data) as found:
        corpus = _Joined(found.root, found.files, data, list(found.skipped), own=tuple(own))
        return figures | _encode(job, corpus)


def texts_of(order: Order, config: BuildConfig, out: Path) -> Iterator[str]:
    """All that a finished build has read, the user's text first.

    Raises:
        InputError: the user's text is gone, or cannot be read.
    """
    if order.text not in ("", EMBEDDED):
        yield from read_texts(order.text, config.pretraining.data)
    for name in (_PROSE, _FACTS):
        if (out / "stages" / name).exists():
            yield from read_texts(out / "stages" / name)


class HeldOut:
    """The entities that an exam asks about, and whether a text names one of them."""

    def __init__(self, graph: Graph, lessons: LessonSettings) -> None:
        asked = TeachableFacts(graph, lessons, "test").asked
        self.entities: frozenset[EntityId] = frozenset(statement.subject for statement in asked)
        self.left_out = 0
        """Texts that named one."""
        self._graph = graph

    def are_in(self, text: str) -> bool:
        """Whether a text names one of them, by label or alias."""
        found = any(
            not self.entities.isdisjoint(mention.entities) for mention in self._graph.mentions(text, overlapping=True)
        )
        self.left_out += found
        return found


def spoken_facts(graph: Graph, settings: VerbaliseSettings, names: HeldOut, most_bytes: float) -> Iterator[str]:
    """The graph in words, one document for each entity: what it is, then questions about it with their answers."""
    written = 0
    for _, rows in itertools.groupby(verbalise(graph.store, settings), key=lambda row: row.subject):
        kept = [row for row in rows if not names.are_in(f"{row.text} {row.answer}")]
        if kept:
            document = _document(kept)
            written += len(document.encode())
            yield document
        if written > most_bytes:
            return


def _document(rows: Iterable[Verbalised]) -> str:
    told = list(rows)
    prose = " ".join(row.text for row in told if not row.answers)
    asked = [f"Question: {row.text}\nAnswer: {_sentence(row.answer)}" for row in told if row.answers]
    return "\n".join([prose, *asked] if prose else asked)


def _sentence(answer: str) -> str:
    return f"{answer[:1].upper()}{answer[1:]}" + ("" if answer.endswith(".") else ".")


def _counted(spoken: Iterator[str], graph: Graph, job: Job) -> Iterator[str]:
    """The same, with news of how far it is."""
    total = graph.store.counts().entities
    for count, document in enumerate(spoken, 1):
        if count % _REPORT_EVERY == 0:
            job.observer.preparing("putting facts into words", min(count, total), total)
        yield document


def _write(path: Path, texts: Iterable[str]) -> SourceFile:
    """One document a line."""
    with storage_errors(f"write {path}"), path.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return SourceFile(path, path.name, path.stat().st_size)


@dataclass(frozen=True)
class _Joined(Corpus):
    """The user's files, read as the settings say, and after them ours, which are JSON lines whatever they say."""

    own: tuple[SourceFile, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", (*self.files, *(file for file in self.own if file.bytes)))

    def pieces(self, file: SourceFile, report: Report = lambda message: None) -> Iterator[Piece]:
        """As in `Corpus`."""
        if file in self.own:
            return Corpus(self.root, self.own, DataConfig()).pieces(file, report)
        return super().pieces(file, report)


class _Watched:
    """Texts that tell how many bytes of them were read."""

    def __init__(self, corpus: Corpus, tell: Callable[[str, int, int], None]) -> None:
        self._corpus, self._tell = corpus, tell
        self._total = sum(file.bytes for file in corpus.files)

    def __iter__(self) -> Iterator[str]:
        done = 0
        for text in self._corpus:
            done += len(text.encode())
            self._tell("tokenizer", min(done, self._total), self._total)
            yield text


def _encode(job: Job, corpus: Corpus) -> dict[str, Any]:
    if not corpus.bytes:
        raise InputError(
            "There is nothing to read: no text, and nothing of the graph can be said.",
            remedy="Give --text, or names for what the graph speaks of (`gz graph import --labels`).",
        )
    tokenizer = train_tokenizer(_Watched(corpus, job.observer.preparing), job.config.pretraining.tokenizer)
    with storage_errors(f"create {job.base}"):
        job.base.mkdir(parents=True, exist_ok=True)
    dataset = prepare_corpus(corpus, job.data, tokenizer, overwrite=True, progress=job.observer.preparing)
    return {
        "text_bytes": corpus.bytes,
        "files": len(corpus.files),
        "vocab_size": tokenizer.vocab_size,
        "train_tokens": len(dataset.train),
        "validation_tokens": len(dataset.validation),
    }
