"""Learning from sources: read some to learn how they write, then read all and record what they say."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from groundzero.graph.graph import Graph
from groundzero.ingest.config import IngestConfig
from groundzero.ingest.documents import Document
from groundzero.ingest.infobox import FieldMap
from groundzero.ingest.knowledge import Knowledge
from groundzero.ingest.pages import Page, PageModel, train
from groundzero.ingest.passages import PassageLog
from groundzero.ingest.patterns import learn_patterns
from groundzero.ingest.reading import Reader, subject_of
from groundzero.ingest.recording import NUMBERS, Counts, Reading, Recorder
from groundzero.ingest.sources import Source
from groundzero.ingest.state import LearnState

Progress = Callable[[str, float, float, str], None]
"""Called with the stage, how much is done, how much there is, and a remark."""


@dataclass
class LearnReport:
    """What a run of learning did."""

    counts: Counts = field(default_factory=Counts)
    trained_on: int = 0
    """Pages about known things from which prose was learnt; 0 where an earlier model, or none, was used."""
    relations: list[dict[str, Any]] = field(default_factory=list)
    """For each relation that prose is accepted for: facts accepted on unseen pages, and how many of them right."""
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def plus(self, other: LearnReport) -> LearnReport:
        """Both runs as one."""
        counts = Counts(by_way=dict(Counter(self.counts.by_way) + Counter(other.counts.by_way)))
        for name in NUMBERS:
            setattr(counts, name, getattr(self.counts, name) + getattr(other.counts, name))
        return LearnReport(
            counts, max(self.trained_on, other.trained_on), other.relations or self.relations,
            self.skipped + other.skipped, self.seconds + other.seconds,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """One plain object."""
        return {
            **self.counts.as_json(),
            "trained_on": self.trained_on,
            "relations": self.relations,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }


def learn(
    graph: Graph,
    sources: Iterable[Source],
    config: IngestConfig,
    state: LearnState,
    *,
    progress: Progress = lambda stage, done, total, note: None,
) -> LearnReport:
    """Read sources into a graph.

    What is recorded is safe: an interruption loses at most the documents of the current batch, which are read again
    next time.

    Raises:
        InputError: a source cannot be read.
        StorageError: the graph cannot be written.
    """
    started = time.monotonic()
    sources = list(sources)
    knowledge = Knowledge(graph)
    report = LearnReport()
    reader = Reader(knowledge, FieldMap(), suggested=config.suggested)
    _prepare(sources, reader, config, state, report, progress)
    recorder = Recorder(knowledge, PassageLog(state.folder), again=config.again)
    for source in sources:
        _read(source, reader, config, state, recorder, progress)
        report.skipped += source.skipped
    report.counts = recorder.counts
    report.seconds = round(time.monotonic() - started, 3)
    graph.refresh()
    return report


def _prepare(
    sources: list[Source],
    reader: Reader,
    config: IngestConfig,
    state: LearnState,
    report: LearnReport,
    progress: Progress,
) -> None:
    """Learn from pages about things that the graph knows; take up the earlier model where these are fewer."""
    knowledge = reader.knowledge
    if not knowledge.facts.triples:
        return  # an empty graph knows no examples
    pages: list[Page] = []
    digests: list[str] = []
    others: list[str] = []
    unread = [source for source in sources if config.again or not state.is_finished(source)]
    for document in _some(unread, config.training_read):
        subject = subject_of(document, knowledge)
        if isinstance(subject, int) and knowledge.facts.by_subject.get(subject):
            reader.fields.observe(document, subject, knowledge.facts, knowledge.lookup)
            pages.append(Page(subject, document.text))
            digests.append(document.digest)
        elif len(others) < config.training_pages:
            others.append(document.text)
        share = sum(min(source.done / max(source.total, 1.0), 1.0) for source in unread) / len(unread)
        progress("aligning", 100 * share, 100, f"{len(pages)} pages about known things")
        if len(pages) >= config.training_pages:
            break
    earlier = state.models(knowledge)
    reader.model, reader.patterns = earlier
    if len(pages) + len(others) >= config.least_pages and (earlier[0] is None or earlier[0].pages <= len(pages)):
        texts = [page.text for page in pages] + others
        reader.patterns = learn_patterns(texts, knowledge.facts, knowledge.gazetteer, precision=config.precision)
        state.save_patterns(reader.patterns, knowledge)
    if len(pages) < max(config.least_pages, earlier[0].pages if earlier[0] is not None else 0):
        return
    model = train(
        pages,
        knowledge.facts,
        knowledge.gazetteer,
        precision=config.precision,
        progress=lambda done, total: progress("learning", done, total, ""),
    )
    report.trained_on = len(pages)
    report.relations = _measured(model, knowledge)
    state.save_model(model)
    reader.model = model
    reader.own = {digest: partial(model.own, number) for number, digest in enumerate(digests)}


def _some(sources: list[Source], limit: int) -> Iterator[Document]:
    """The first documents of every source, in turn, until there are enough."""
    streams = [source.documents() for source in sources if source.repeatable]
    read = 0
    while streams and read < limit:
        for stream in list(streams):
            document = next(stream, None)
            if document is None:
                streams.remove(stream)
                continue
            read += 1
            yield document


def _measured(model: PageModel, knowledge: Knowledge) -> list[dict[str, Any]]:
    rows = []
    for (relation, named), (accepted, right) in sorted(model.judge.measured.items()):
        rows.append(
            {
                "relation": knowledge.store.relation(relation).label,
                "named": named,
                "accepted": accepted,
                "right": right,
                "precision": round(right / accepted, 3),
            }
        )
    return rows


def _read(
    source: Source,
    reader: Reader,
    config: IngestConfig,
    state: LearnState,
    recorder: Recorder,
    progress: Progress,
) -> None:
    """Read one source to its end, a batch at a time, remembering how far."""
    if state.is_finished(source) and not config.again:
        return
    batch: list[Reading] = []
    since = time.monotonic()
    for document in source.documents(0 if config.again else state.position(source)):
        if any(document.key == each.document.key for each in batch):  # a later version of it
            recorder.record(batch)
            batch = []
        if recorder.is_known(document):
            recorder.counts.unchanged += 1
        else:
            batch.append(reader.read(document))
        if len(batch) >= config.batch or time.monotonic() - since > config.batch_seconds:
            recorder.record(batch)
            state.reached(source)
            batch, since = [], time.monotonic()
        progress(source.name, source.done, source.total, f"{recorder.counts.accepted:,} facts")
    recorder.record(batch)
    recorder.alias(source.redirects)
    state.reached(source, finished=True)
