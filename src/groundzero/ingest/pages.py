"""Facts from a page about one thing: (subject, relation, object) for objects that the page names, or suggests.

Distant supervision: every mention of something that the graph says stands in a relation to the page's subject is taken
for an example of how that relation is written, every other mention for an example of how it is not (Mintz et al.,
2009). A candidate's features are the patterns around its mentions, how often such a mention meant such a fact on other
pages, and what the whole page reads like. Logistic regression weighs them; what it says is calibrated on pages that it
was not trained on, and a relation's candidates are accepted only above a score at which they were right often enough.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundzero.graph.nouns import EntityId, RelationId
from groundzero.ingest.evidence import Evidence, page_evidence
from groundzero.ingest.facts import Facts
from groundzero.ingest.gazetteer import Gazetteer
from groundzero.ingest.logistic import fit
from groundzero.ingest.thresholds import Judge, judge_of
from groundzero.ingest.topics import Topics
from groundzero.ingest.words import Sentence, sentences

FOLDS = 5
_PENALTY = 8.0  # recall at the same precision on CoDEx-S: .306 with 1, .320 with 3, .329 with 8
_MIN_COUNT = 3  # examples a feature must be in
_SUGGESTED = 0.15  # a topic's score from which an object that no mention names becomes a candidate
_MOST_EVIDENCE = 8  # mentions of one object that are looked at

Key = tuple[RelationId, EntityId]


@dataclass(frozen=True, slots=True)
class Page:
    """A text about one entity."""

    subject: EntityId
    text: str
    kind: str = ""
    """What kind of thing the subject is, where the graph does not know it."""

    def kind_in(self, facts: Facts) -> str:
        """The subject's type in the graph; what is given where it has none."""
        return facts.type(self.subject) or self.kind


@dataclass(frozen=True, slots=True)
class Found:
    """A fact that a page may state. `start` and `end` are characters of the page's text: the sentence."""

    subject: EntityId
    relation: RelationId
    object: EntityId
    start: int
    end: int
    probability: float
    accepted: bool
    named: bool
    """Whether the page names the object; otherwise it only reads as if."""


@dataclass
class _Row:
    """A candidate: one relation to one object, with every mention of it."""

    page: int
    key: Key
    evidence: list[Evidence]
    topic: float
    features: set[str] = field(default_factory=set)

    @property
    def is_named(self) -> bool:
        """Whether a mention names the object, and does not only hint at it."""
        return any(each.kind != "word" for each in self.evidence)


class PageModel:
    """Trained weights, memories, topics and thresholds."""

    def __init__(
        self,
        facts: Facts,
        gazetteer: Gazetteer,
        topics: Topics,
        memory: dict[str, list[float]],
        weights: dict[str, float],
        bias: float,
        judge: Judge,
    ) -> None:
        self.facts, self.gazetteer, self.topics = facts, gazetteer, topics
        self.memory, self.weights, self.bias, self.judge = memory, weights, bias, judge
        self.pages = 0
        """How many pages it was trained on."""
        self.own: Callable[[int], list[Found]] = lambda number: []
        """What a training page holds, judged by a model that had not seen it."""

    def find(self, page: Page) -> list[Found]:
        """The candidates of a page, the likeliest first."""
        found_sentences = sentences(page.text)
        topic_scores = self.topics.score(found_sentences, page.kind_in(self.facts))
        rows = _rows(0, page, found_sentences, self.gazetteer, self.facts, self.topics, topic_scores)
        kind = page.kind_in(self.facts)
        for row in rows:
            row.features = _features(row, kind, self.facts, _recall(self.memory, row, kind, self.facts))
        scores = [self.bias + sum(self.weights.get(name, 0.0) for name in row.features) for row in rows]
        return self.judged(rows, scores, page.subject, found_sentences)

    def judged(
        self, rows: Sequence[_Row], scores: Sequence[float], subject: EntityId, found_sentences: Sequence[Sentence]
    ) -> list[Found]:
        """Rows with their scores as candidates with a probability and a verdict."""
        found = []
        reasons_sc = None
        for row, score in zip(rows, scores, strict=True):
            named = row.is_named
            probability, accepted = self.judge.judge(row.key[0], score, named=named)
            if probability < self.judge.least:
                continue
            if row.evidence:
                best = max(row.evidence, key=lambda each: self._speaks_for(row.key[0], each))
                where = (best.sentence_start, best.sentence_end)
            else:
                if reasons_sc is None:
                    reasons_sc = self.topics.reasons(found_sentences)
                sentence = found_sentences[int(reasons_sc[:, self.topics.index[row.key]].argmax())]
                where = (sentence.start, sentence.end)
            found.append(Found(subject, *row.key, *where, probability, accepted, named))
        return sorted(found, key=lambda each: -each.probability)

    def _speaks_for(self, relation: RelationId, evidence: Evidence) -> float:
        """How much a mention's surroundings say for a relation: of several sentences the best is cited."""
        return sum(self.weights.get(f"{relation}|{feature}", 0.0) for feature in evidence.features)


def train(
    pages: Sequence[Page],
    facts: Facts,
    gazetteer: Gazetteer,
    *,
    precision: float = 0.85,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PageModel:
    """Learn how these pages write the facts that the graph has about their subjects.

    Args:
        precision: what share of the accepted must be right on pages not trained on.
        progress: told of steps done and steps in all.
    """
    total = len(pages) + FOLDS + 2
    split = [sentences(page.text) for page in pages]
    topics, topic_scores_dc = Topics.train(
        split, [page.subject for page in pages], [page.kind_in(facts) for page in pages], facts, FOLDS
    )
    rows: list[_Row] = []
    for number, (page, found_sentences) in enumerate(zip(pages, split, strict=True)):
        scores = (
            topic_scores_dc[number]
            if number < len(topic_scores_dc)
            else topics.score(found_sentences, page.kind_in(facts))
        )
        rows += _rows(number, page, found_sentences, gazetteer, facts, topics, scores)
        progress(number + 1, total)
    truth = np.asarray([row.key in facts.by_subject.get(pages[row.page].subject, ()) for row in rows], dtype=float)
    kinds = [page.kind_in(facts) for page in pages]
    memories = _memorise(rows, truth, kinds, facts)
    memory = _together(memories)
    for row in rows:
        kind = kinds[row.page]
        row.features = _features(row, kind, facts, _recall(memory, row, kind, facts, memories[row.page % FOLDS]))
    names, matrix = _matrix(rows)
    progress(len(pages) + 1, total)
    scores_n = _unseen_scores(matrix, truth, rows, lambda k: progress(len(pages) + 1 + k, total))
    weights = fit(matrix, truth, penalty=_PENALTY) if len(rows) else np.zeros(1)
    judge = judge_of([row.key[0] for row in rows], [row.is_named for row in rows], scores_n, truth, precision=precision)
    kept = {name: float(weight) for name, weight in zip(names, weights[:-1], strict=True) if abs(weight) > 1e-4}
    model = PageModel(facts, gazetteer, topics, memory, kept, float(weights[-1]), judge)
    model.pages = len(pages)
    model.own = _own(model, rows, scores_n, pages, split)
    progress(total, total)
    return model


def _own(
    model: PageModel, rows: list[_Row], scores: NDArray[np.float64], pages: Sequence[Page], split: list[list[Sentence]]
) -> Callable[[int], list[Found]]:
    by_page: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_page[row.page].append(i)
        row.features = set()

    def judged(number: int) -> list[Found]:
        chosen = by_page[number]
        values = [float(scores[i]) for i in chosen]
        return model.judged([rows[i] for i in chosen], values, pages[number].subject, split[number])

    return judged


def _rows(
    number: int,
    page: Page,
    found_sentences: Sequence[Sentence],
    gazetteer: Gazetteer,
    facts: Facts,
    topics: Topics,
    topic_scores: NDArray[np.float32],
) -> list[_Row]:
    """Candidates of a page: every possible relation to what is named, and to what the page suggests."""
    mentions: dict[EntityId, list[Evidence]] = defaultdict(list)
    for each in page_evidence(found_sentences, gazetteer, page.subject):
        if len(mentions[each.object]) < _MOST_EVIDENCE:
            mentions[each.object].append(each)
    rows = []
    kind = page.kind_in(facts)
    for target, evidence in mentions.items():
        for relation in facts.possible(kind, target):
            column = topics.index.get((relation, target))
            topic = float(topic_scores[column]) if column is not None else 0.0
            rows.append(_Row(number, (relation, target), evidence, topic))
    for column in np.flatnonzero(topic_scores >= _SUGGESTED).tolist():
        relation, target = topics.classes[column]
        if target not in mentions and target != page.subject and facts.allows(relation, kind):
            rows.append(_Row(number, (relation, target), [], float(topic_scores[column])))
    ranks = _ranks(mentions, facts)
    for row in rows:
        if row.evidence:
            row.features.add(f"rank={ranks[row.key[1]]}")
    return rows


def _ranks(mentions: dict[EntityId, list[Evidence]], facts: Facts) -> dict[EntityId, int]:
    """Which of the things of its type an object is, in the order in which the page names them."""
    seen: Counter[str] = Counter()
    ranks = {}
    for target in sorted(mentions, key=lambda each: mentions[each][0].start):
        ranks[target] = min(seen[facts.type(target)], 5)
        seen[facts.type(target)] += 1
    return ranks


def _memory_keys(row: _Row, subject_kind: str, facts: Facts) -> list[set[str]]:
    """What is remembered of a candidate, from the particular to the general."""
    (relation, target), kind = row.key, facts.type(row.key[1])
    if not row.evidence:
        return [{f"4|{relation}|{target}"}, {f"5|{relation}|{kind}|{subject_kind}"}]
    return [
        {f"0|{each.form}|{each.sentence == 0}|{relation}|{target}" for each in row.evidence},
        {f"1|{each.form}|{relation}|{target}" for each in row.evidence},
        {f"2|{relation}|{target}"},
        {f"3|{relation}|{kind}|{each.kind}" for each in row.evidence},
        {f"5|{relation}|{kind}|{subject_kind}"},
    ]


def _memorise(
    rows: Iterable[_Row], truth: NDArray[np.float64], kinds: Sequence[str], facts: Facts
) -> list[dict[str, list[float]]]:
    """Per fold: how often each memory came up, and how often it was a fact."""
    memories: list[dict[str, list[float]]] = [{} for _ in range(FOLDS)]
    for row, true in zip(rows, truth.tolist(), strict=True):
        memory = memories[row.page % FOLDS]
        for keys in _memory_keys(row, kinds[row.page], facts):
            for key in keys:
                counts = memory.setdefault(key, [0.0, 0.0])
                counts[0] += 1
                counts[1] += true
    return memories


def _together(memories: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    total: dict[str, list[float]] = {}
    for memory in memories:
        for key, (seen, right) in memory.items():
            counts = total.setdefault(key, [0.0, 0.0])
            counts[0] += seen
            counts[1] += right
    return total


def _recall(
    memory: dict[str, list[float]],
    row: _Row,
    subject_kind: str,
    facts: Facts,
    own: dict[str, list[float]] | None = None,
) -> list[float]:
    """The log odds that each kind of memory gives; `own` is the memory of the row's fold, left out."""
    own = own or {}
    found = []
    for keys in _memory_keys(row, subject_kind, facts):
        best = -5.0
        for key in keys:
            seen, right = memory.get(key, (0.0, 0.0))
            seen_here, right_here = own.get(key, (0.0, 0.0))
            seen, right = seen - seen_here, right - right_here
            if seen > 0:
                best = max(best, math.log((right + 0.3) / (seen - right + 1.0)))
        found.append(best)
    return found


def _features(row: _Row, subject_kind: str, facts: Facts, recalled: list[float]) -> set[str]:
    """Every feature of a candidate, those that depend on the relation marked with it."""
    relation, target = row.key
    kind = facts.type(target)
    forms = "+".join(sorted({each.kind for each in row.evidence})) or "none"
    topic = min(max(row.topic, 0.001), 0.999)
    levels = [f"m{i}={math.floor(value * 1.5)}" for i, value in enumerate(recalled)]
    levels.append(f"topic={math.floor(math.log(topic / (1 - topic)) * 1.5)}")
    own = {feature for each in row.evidence for feature in each.features} | set(levels) | row.features
    own |= {f"{level}/{forms}" for level in levels}
    own |= {f"o={target}", f"n={min(len(row.evidence), 4)}", f"of={subject_kind}", f"to={kind}", f"forms={forms}"}
    own |= {f"rank/{kind}={feature}" for feature in row.features}
    own |= {f"{subject_kind}>{kind}"} | {f"form={each.form}>{target}" for each in row.evidence}
    shared = {f"*|{level}/{forms}" for level in levels} | {f"*|{level}" for level in levels}
    return {f"{relation}|{feature}" for feature in own} | shared


def _matrix(rows: Sequence[_Row]) -> tuple[list[str], sparse.csr_matrix]:
    """Features that enough rows have, and which row has which."""
    column: dict[str, int] = {}
    counts: list[int] = []
    columns: list[int] = []
    ends = [0]
    for row in rows:
        for name in row.features:
            i = column.setdefault(name, len(column))
            if i == len(counts):
                counts.append(0)
            counts[i] += 1
            columns.append(i)
        ends.append(len(columns))
    shape = (len(rows), len(column))
    full = sparse.csr_matrix(
        (np.ones(len(columns)), np.asarray(columns, dtype=np.int64), np.asarray(ends)), shape=shape
    )
    kept = np.flatnonzero(np.asarray(counts) >= _MIN_COUNT) if counts else np.zeros(0, dtype=np.int64)
    names = list(column)
    return [names[i] for i in kept.tolist()], full[:, kept].tocsr()


def _unseen_scores(
    matrix: sparse.csr_matrix, truth: NDArray[np.float64], rows: Sequence[_Row], progress: Callable[[int], None]
) -> NDArray[np.float64]:
    """Each row's score by a regression trained without its page."""
    fold = np.asarray([row.page % FOLDS for row in rows])
    scores = np.zeros(len(rows))
    for k in range(FOLDS):
        inside = fold == k
        if inside.any() and not inside.all():
            weights = fit(matrix[~inside], truth[~inside], penalty=_PENALTY)
            scores[inside] = matrix[inside] @ weights[:-1] + weights[-1]
        progress(k + 1)
    return scores
